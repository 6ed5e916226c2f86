#!/usr/bin/env bash
# Runs libFuzzer on every target in fuzz/ (or those named), each for SECONDS_EACH seconds, beginning
# with the committed inputs. What is new goes to fuzz/corpus/TARGET, what breaks a target to
# fuzz/artifacts/TARGET. Needs a nightly compiler: without one it says so and does nothing.
#
#   scripts/fuzz.sh                               ten seconds of each
#   SECONDS_EACH=600 scripts/fuzz.sh tcp_engine   ten minutes of one
#   scripts/fuzz.sh --minimise                    fuzz/seeds made again from all that was found
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzzers: skipped, there is no nightly compiler (rustup toolchain install nightly)"
    exit 0
fi

if ! cargo +nightly fetch --quiet 2>/dev/null; then
    echo "fuzzers: skipped, what they depend on cannot be fetched"
    exit 0
fi

minimise=
if [ "${1-}" = --minimise ]; then
    minimise=yes
    shift
fi
seconds=${SECONDS_EACH:-10}
host=$(rustc -vV | sed -n 's/^host: //p')
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(basename -s .rs fuzz_targets/*.rs))

# What cargo-fuzz would pass: coverage for libFuzzer, and the checks of a debug build. There is no
# address sanitizer: what is fuzzed is safe Rust.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks \
-Ccodegen-units=1"
CARGO_TARGET_DIR=target cargo +nightly build --quiet --release --target "$host"

for target in "${targets[@]}"; do
    mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
    binary=target/$host/release/$target
    if [ -n "$minimise" ]; then
        small=$(mktemp -d)
        # What covers everything that was found, in pieces that are short enough to look at...
        "$binary" -set_cover_merge=1 -max_len=400 "$small" "seeds/$target" "corpus/$target" 2>/dev/null
        # Names that are hashes are libFuzzer's; the others somebody chose.
        find "seeds/$target" -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
        # ... and of that 14 KiB, the long ones first: they go through most.
        total=0
        for input in $(ls -S "$small"); do
            total=$((total + $(stat -c %s "$small/$input")))
            [ "$total" -le 14336 ] || break
            cp "$small/$input" "seeds/$target/"
        done
        rm -r "$small"
        echo "$target: $(ls "seeds/$target" | wc -l) inputs"
        continue
    fi
    log=$(mktemp)
    if ! "$binary" -max_total_time="$seconds" -print_final_stats=1 -timeout=20 \
        -artifact_prefix="artifacts/$target/" "corpus/$target" "seeds/$target" >"$log" 2>&1; then
        cat "$log" >&2
        rm "$log"
        echo "fuzzers: $target is broken by what is in fuzz/artifacts/$target" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    rm "$log"
    echo "fuzzers: $target: $runs runs in $seconds s, nothing found"
done
