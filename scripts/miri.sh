#!/usr/bin/env bash
# Runs under Miri the tests of what has unsafe code and needs no kernel: the casts between entries and
# fields, UMEM and its ledger, the rings of an AF_XDP socket in plain memory, the queues, the application's
# pointers, and the engine on no network with what is above it. Needs a nightly compiler with Miri: without
# one it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "Miri: skipped, there is no Miri (rustup toolchain install nightly; rustup +nightly component add miri rust-src)"
    exit 0
fi
if ! cargo +nightly miri setup >/dev/null 2>&1; then
    echo "Miri: skipped, the standard library cannot be built for it (rustup +nightly component add rust-src)"
    exit 0
fi

# An address in an entry is a number: what it points at is found by what was exposed.
addresses="-Zmiri-permissive-provenance"

# What needs the running kernel's io_uring is left out. Tree Borrows: of SetSockOpt, which is built in a
# test, the io-uring crate makes a reference that Stacked Borrows does not allow.
MIRIFLAGS="-Zmiri-tree-borrows" \
    cargo +nightly miri test --quiet -p ringwire-abi --lib -- --skip sweep --skip kernel

cargo +nightly miri test --quiet -p ringwire-umem --lib

# The rest of the crate is system calls.
cargo +nightly miri test --quiet -p ringwire-xsk --lib -- ring::

# The safe layer frees what it was given, whatever comes of it.
MIRIFLAGS="$addresses" cargo +nightly miri test --quiet -p ringwire --lib -- owned::

# Those beside it leave the memory that they register to the engine. Left out are tables as large as they
# get, filled slot by slot, groups of registered memory, on streams of many turns, and the watchdog, which waits
# for thousands: minutes, and no unsafe code that small ones, and zero-copy sends and provided buffers by
# themselves, do not go through; and what asks the kernel which file a descriptor is, which interfaces there are,
# or what it does itself, or to sleep (loom looks at that).
MIRIFLAGS="$addresses -Zmiri-ignore-leaks" cargo +nightly miri test --quiet -p ringwire --lib -- \
    --skip owned:: \
    --skip builder:: \
    --skip on_the_kernel \
    --skip poller:: \
    --skip registered_group:: \
    --skip watchdog:: \
    --skip a_table_is_registered_once_and_within_limits \
    --skip a_group_holds_as_many_buffers_as_there_are_ids \
    --skip a_ring_is_found_while_it_is_listed \
    --skip no_argument_breaks_the_engine \
    --skip all_personalities_are_taken_some_time
