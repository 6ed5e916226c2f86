#!/usr/bin/env bash
# Makes DIRECTORY/vmlinux and DIRECTORY/initramfs.gz of what packages.sh unpacked there and of PROGRAM, which is the
# guest's first process, and COMMAND, which it runs.
#
#   scripts/zc/image.sh DIRECTORY PROGRAM COMMAND
set -euo pipefail
directory=$1
program=$2
command=$3
busybox=$directory/tools/bin/busybox

# QEMU enters an uncompressed kernel directly (PVH), in a third of the time that a bzImage takes to unpack
# itself. Where its payload lies: Documentation/arch/x86/boot.rst, setup_sects, payload_offset, payload_length.
if [ ! -e "$directory/vmlinux" ] || [ "$directory/packages.done" -nt "$directory/vmlinux" ]; then
    image=$(find "$directory/kernel" -name vmlinuz)
    number() { od -An -t "u$2" -j "$1" -N "$2" "$image" | tr -d ' '; }
    start=$(((1 + $(number 0x1f1 1)) * 512 + $(number 0x248 4)))
    # Its last four bytes are the length of what is in it.
    length=$(($(number 0x24c 4) - 4))
    head -c "$((start + length))" "$image" | tail -c "$length" |
        "$directory/tools/usr/bin/zstd" -dcq >"$directory/vmlinux.new"
    mv "$directory/vmlinux.new" "$directory/vmlinux"
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{dev,proc,sys,tmp,bin,lib/modules}

# A program with its shared libraries, where it looks for them.
install_program() {
    install -D -s "$1" "$root/$2"
    ldd "$1" | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$root$library" ] || install -D "$library" "$root$library"
    done
}
install_program "$program" init
install_program "$command" "bin/$(basename "$command")"
install_program "$(PATH=$PATH:/sbin:/usr/sbin command -v ip)" bin/ip

find "$directory/kernel" -name '*.ko.xz' | while read -r module; do
    "$busybox" unxz -c "$module" >"$root/lib/modules/$(basename "$module" .xz)"
done

(cd "$root" && find . | "$busybox" cpio -o -H newc 2>/dev/null) | gzip -1 >"$directory/initramfs.gz"
