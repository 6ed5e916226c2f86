//! What connections may take of the heap. Counted by the allocator, so the same on every machine.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ringwire_bench::count;
use ringwire_bench::hosts::Pair;
use ringwire_bench::take::Taken;

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

static ALONE: Mutex<()> = Mutex::new(());

/// The accounts are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_hundred_thousand_idle_connections_take_at_most_150_mb() {
    let _alone = alone();
    // Of malloc(3): a header, and rounding up.
    const BLOCK_OVERHEAD: isize = 8 + 15;
    let mut pair = Pair::new();
    pair.connect(100_000 - 1);
    for end in [1, 2] {
        let bytes = count::bytes(end) + count::blocks(end) * BLOCK_OVERHEAD;
        assert!(bytes <= 150_000_000, "end {end}: {bytes} bytes");
    }
}

#[test]
fn what_a_connection_needed_while_it_was_busy_is_given_back() {
    let _alone = alone();
    let taken = Taken::measure(1000);
    // A timer's entry more, and the tables' growth.
    let most = |fresh: f64| fresh + 128.0;
    assert!(taken.used_client <= most(taken.client), "{taken:?}");
    assert!(taken.used_server <= most(taken.server), "{taken:?}");
}

#[test]
fn half_open_and_closed_connections_take_no_more_than_open_ones() {
    let _alone = alone();
    let taken = Taken::measure(1000);
    assert!(taken.half_open <= 1500.0, "{taken:?}");
    assert!(taken.time_wait <= 400.0, "{taken:?}");
}
