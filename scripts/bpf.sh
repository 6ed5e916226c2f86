#!/usr/bin/env bash
# The steering program's object, which is committed so that users need no clang.
#   scripts/bpf.sh build   compiles bpf/steer.bpf.c into bpf/steer.bpf.o
#   scripts/bpf.sh check   says whether the committed object is what the source compiles to
# Needs Debian's clang-14, llvm-14 and libbpf-dev. Another clang emits other instructions, so `check`
# says that it was skipped where that one is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly MAJOR=14
readonly SOURCE=bpf/steer.bpf.c
readonly OBJECT=bpf/steer.bpf.o

# Both names are looked at: Debian installs `clang-14`, other systems only `clang`.
find_tool() {
    local name version
    for name in "$1-$MAJOR" "$1"; do
        command -v "$name" >/dev/null || continue
        version=$("$name" --version | grep -oE 'version [0-9]+' | head -n 1 | cut -d' ' -f2)
        if [ "$version" = "$MAJOR" ]; then
            command -v "$name"
            return
        fi
    done
    return 1
}

include_dir() {
    echo "/usr/include/$(uname -m)-linux-gnu"
}

# Whoever has this clang for something else need not have libbpf's headers.
has_headers() {
    echo '#include <bpf/bpf_endian.h>' | "$1" -target bpf -I"$(include_dir)" -fsyntax-only -x c - 2>/dev/null
}

# The path prefix is mapped away so that the object is the same wherever it is built.
compile() {
    "$1" -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 \
        -ffile-prefix-map="$PWD"=. -I"$(include_dir)" \
        -c "$SOURCE" -o "$2"
    "$3" --strip-debug "$2"
}

# Everything that decides what runs: instructions with their relocations, maps, licence.
listing() {
    "$1" --disassemble --reloc --no-show-raw-insn --section=xdp.frags "$2" | tail -n +3
    "$1" --full-contents --section=.maps --section=license "$2" | tail -n +3
}

build() {
    local clang strip
    clang=$(find_tool clang) || { echo "bpf.sh: clang $MAJOR is missing: apt-get install clang-$MAJOR" >&2; exit 1; }
    strip=$(find_tool llvm-strip) || { echo "bpf.sh: llvm-strip $MAJOR is missing: apt-get install llvm-$MAJOR" >&2; exit 1; }
    has_headers "$clang" || { echo "bpf.sh: libbpf's headers are missing: apt-get install libbpf-dev" >&2; exit 1; }
    compile "$clang" "$OBJECT" "$strip"
    echo "bpf.sh: wrote $OBJECT"
}

check() {
    local clang strip objdump dir
    if ! clang=$(find_tool clang) || ! strip=$(find_tool llvm-strip) || ! objdump=$(find_tool llvm-objdump); then
        echo "bpf.sh: check skipped: the committed object was built by clang $MAJOR, which is not installed" \
            "(apt-get install clang-$MAJOR llvm-$MAJOR libbpf-dev)"
        return
    fi
    if ! has_headers "$clang"; then
        echo "bpf.sh: check skipped: libbpf's headers are not installed (apt-get install libbpf-dev)"
        return
    fi
    dir=$(mktemp -d)
    # shellcheck disable=SC2064  # the directory is known now and is a local later
    trap "rm -rf '$dir'" EXIT
    compile "$clang" "$dir/steer.bpf.o" "$strip"
    listing "$objdump" "$OBJECT" >"$dir/committed"
    listing "$objdump" "$dir/steer.bpf.o" >"$dir/built"
    if ! [ -s "$dir/built" ] || ! diff -u "$dir/committed" "$dir/built"; then
        echo "bpf.sh: $OBJECT is not what $SOURCE compiles to: run scripts/bpf.sh build" >&2
        exit 1
    fi
    echo "bpf.sh: $OBJECT is what $SOURCE compiles to"
}

case "${1:-}" in
build) build ;;
check) check ;;
*)
    echo "usage: scripts/bpf.sh build|check" >&2
    exit 2
    ;;
esac
