//! Seeds that found something, by what they found. A change of the simulator gives a seed another run: the
//! test named beside it holds the behaviour itself.

use ringwire_sim::{Config, run};

fn holds(seed: u64) {
    run(Config::from_seed(seed)).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
}

/// A send waited for ever: `stack`, `sockets_closed_while_they_waited_for_chunks_take_no_event_from_their_successor`.
#[test]
fn a_send_that_waits_for_chunks_is_woken_though_another_socket_had_its_slot() {
    for seed in [481, 513, 1775] {
        holds(seed);
    }
}
