//! Seeds that found something, by what they found. A change of the simulator, or of an engine, gives a seed another
//! run: where a test is named beside it, that one holds the behaviour itself.

use ringwire_sim::{Config, run};

/// Of seeds that were found with addresses that were the rings' own.
fn holds(seed: u64) {
    let mut config = Config::from_seed(seed);
    config
        .shapes
        .iter_mut()
        .for_each(|shape| shape.shared = false);
    holds_as_it_is(config);
}

fn holds_as_it_is(config: Config) {
    let seed = config.seed;
    run(config).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
}

/// A send waited for ever: `stack`, `sockets_closed_while_they_waited_for_chunks_take_no_event_from_their_successor`.
#[test]
fn a_send_that_waits_for_chunks_is_woken_though_another_socket_had_its_slot() {
    for seed in [481, 513, 1775] {
        holds(seed);
    }
}

/// Streams in a black hole, whose timers had backed off, held every send chunk but the reserve.
#[test]
fn datagrams_get_through_while_streams_wait_in_a_black_hole() {
    holds(9886);
}

/// The simulator's own: a connection that was closed needed nothing but the application's memory, and the end did not
/// wait for it.
#[test]
fn the_end_waits_for_memory_that_a_closed_connection_sends_from() {
    holds(2002);
}

/// The simulator's own: the notification of a slot came before a flush that another send had forestalled, and the slots
/// had been registered anew meanwhile.
#[test]
fn a_slot_that_was_registered_anew_is_told_of_though_its_second_flush_is_not() {
    for seed in [6079, 14332] {
        holds(seed);
    }
}

/// The simulator's own: an address was back and gone again before the ring heard of either, and what had waited for a
/// neighbour went out between the two.
#[test]
fn what_waited_goes_out_from_an_address_that_is_back_for_a_moment() {
    holds_as_it_is(Config::from_seed(15229));
}

/// The simulator's own: a full queue dropped each of a client's answers for a minute, since both hosts' timers ran in
/// step.
#[test]
fn a_handshake_is_not_kept_from_its_end_by_timers_that_run_in_step() {
    holds_as_it_is(Config::from_seed(17593));
}

/// The simulator's own: what was linked behind a poll that closing a socket ended began after all had been cancelled.
#[test]
fn the_end_cancels_what_is_linked_behind_what_ends_by_itself() {
    holds_as_it_is(Config::from_seed(4036));
}
