//! What connections may take of the heap. Counted by the allocator, so the same on every machine.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ringwire_bench::count;
use ringwire_bench::hosts::{Bytes, Pair, SEGMENT_BYTES};
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

/// Runs a round until nothing is new to it, and counts the allocator's calls in those that follow.
fn calls_of(mut round: impl FnMut(usize)) -> u64 {
    (0..2000).for_each(&mut round);
    let before = count::calls();
    (0..1000).for_each(&mut round);
    count::calls() - before
}

#[test]
fn connections_that_were_used_before_ask_for_no_memory() {
    const CONNECTIONS: usize = 100;
    let _alone = alone();
    let mut pair = Pair::new();
    pair.connect(CONNECTIONS - 1);
    let (source, mut sink) = (vec![7; 64 * SEGMENT_BYTES], vec![0; 256 << 10]);
    let clients = pair.clients.clone();
    for len in [100, SEGMENT_BYTES, 2 * SEGMENT_BYTES, source.len()] {
        let calls = calls_of(|round| {
            let client = clients[round % CONNECTIONS];
            pair.turn(client, &source[..len], &mut sink, Bytes::Copied);
        });
        assert_eq!(calls, 0, "writes of {len} bytes");
    }
}

#[test]
fn requests_and_answers_on_many_connections_at_a_time_ask_for_no_memory() {
    const CONNECTIONS: usize = 50;
    let _alone = alone();
    let mut pair = Pair::new();
    pair.connect(CONNECTIONS - 1);
    let (source, mut sink) = (vec![7; 4 * SEGMENT_BYTES], vec![0; 256 << 10]);
    let ends: Vec<_> = pair
        .clients
        .iter()
        .copied()
        .zip(pair.servers.clone())
        .collect();
    let calls = calls_of(|_| {
        for &(client, server) in &ends {
            pair.a.write(client, &source, Bytes::Copied);
            pair.b.write(server, &source, Bytes::Copied);
        }
        for _ in 0..2 {
            pair.exchange();
            pair.a.read_ready(&mut sink, Bytes::Copied);
            pair.b.read_ready(&mut sink, Bytes::Copied);
            // In all less than after which the neighbours ask for each other again.
            pair.pass(100_000);
        }
    });
    assert_eq!(calls, 0);
}
