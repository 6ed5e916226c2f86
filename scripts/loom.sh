#!/usr/bin/env bash
# Runs what two threads do with each other in every order that there is (loom), up to three preemptions:
# the queues of a ring, those of an AF_XDP socket, wake-ups, the engine's hand-over, messages, chunks that come
# back from other threads.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=3
# Built apart, so that the other builds stay.
exec cargo test --quiet --target-dir target/loom -p ringwire-umem -p ringwire-xsk -p ringwire --lib -- loom_tests::
