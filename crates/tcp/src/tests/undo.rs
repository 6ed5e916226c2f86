//! Reductions that were a mistake, and how that is found out: D-SACK (RFC 3708), Eifel (RFC 3522).

use super::peer::{RTT, ack, echoing, flight, numbers, sack, stamped};
use super::script::{MSS, Script, ms};
use crate::{Algorithm, Segment};

/// The window and the threshold of a connection that has lost nothing.
fn unreduced(script: &Script, window: u32) -> bool {
    script.window() >= window && script.threshold() == u32::MAX / MSS
}

/// Ten segments were sent, with timestamps; returns their stamp too.
fn stamped_flight() -> (Script, Option<u32>) {
    let mut script = stamped();
    script.push(10 * MSS);
    let sent = script.sent();
    let stamp = sent[0].options.timestamps.map(|own| own.value);
    script.skip(RTT);
    (script, stamp)
}

#[test]
fn a_needless_fast_retransmission_is_undone_when_the_peer_has_it_twice() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    assert_eq!(script.threshold(), 7);
    script.reply(ack(9, &[]));
    assert_eq!(script.threshold(), 7, "it may have been the second");
    script.reply(ack(9, &[(0, 1)]));
    assert!(unreduced(&script, 10));
}

#[test]
fn it_is_undone_though_nothing_is_outstanding_any_more() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    script.reply(ack(10, &[]));
    assert_eq!(script.threshold(), 7);
    script.reply(ack(10, &[(0, 1)]));
    assert!(unreduced(&script, 10));
}

#[test]
fn all_that_was_sent_again_must_have_come_twice() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(2, 7)])), [0, 1]);
    script.reply(ack(9, &[]));
    script.reply(ack(9, &[(0, 1)]));
    assert_eq!(script.threshold(), 7);
    script.reply(ack(9, &[(1, 2)]));
    assert!(unreduced(&script, 10));
}

#[test]
fn one_block_tells_of_several() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(3, 8)])), [0, 1, 2]);
    script.reply(ack(9, &[]));
    script.reply(ack(9, &[(0, 2)]));
    assert_eq!(script.threshold(), 7);
    script.reply(ack(9, &[(2, 3)]));
    assert!(unreduced(&script, 10));
}

#[test]
fn a_needless_timeout_is_undone_by_the_echo_of_the_first_transmission() {
    let (mut script, first) = stamped_flight();
    script.at_deadline();
    script.at_deadline();
    assert_eq!(script.window(), 1);
    assert_eq!(script.reply(echoing(ack(1, &[]), first)), []);
    assert!(unreduced(&script, 10));
    assert_eq!(script.connection.info(script.now).lost, 0);
}

#[test]
fn a_needless_fast_retransmission_is_undone_by_the_echo() {
    let (mut script, first) = stamped_flight();
    assert_eq!(script.reply(echoing(ack(0, &[(1, 4)]), first)), [0]);
    assert_eq!(script.threshold(), 7);
    script.reply(echoing(ack(4, &[]), first));
    assert!(unreduced(&script, 10));
}

#[test]
fn a_loss_that_was_repaired_stays_answered_for() {
    let (mut script, first) = stamped_flight();
    let sent = script.answer(echoing(ack(0, &[(1, 10)]), first));
    assert_eq!(numbers(&sent), [0]);
    script.skip(RTT);
    let second = sent[0].options.timestamps.map(|own| own.value);
    script.reply(echoing(ack(10, &[]), second));
    assert_eq!((script.window(), script.threshold()), (7, 7));
}

#[test]
fn a_timeout_that_was_none_too_soon_stays_answered_for() {
    let (mut script, _) = stamped_flight();
    script.at_deadline();
    let _ = script.fire_within(ms(1000));
    let again = script.sent_one().options.timestamps.map(|own| own.value);
    script.skip(RTT);
    script.reply(echoing(ack(1, &[]), again));
    assert_eq!((script.window(), script.threshold()), (2, 7));
}

#[test]
fn what_the_network_doubles_undoes_nothing() {
    let mut script = flight(sack(), 10);
    // The peer has two segments twice, and nothing was sent again.
    script.reply(ack(2, &[(0, 1)]));
    script.reply(ack(2, &[(1, 2)]));
    assert_eq!(script.reply(ack(2, &[(3, 9)])), [2]);
    script.skip(RTT);
    script.reply(ack(9, &[]));
    script.reply(ack(9, &[(2, 3)]));
    assert!(!unreduced(&script, 10));
}

#[test]
fn what_the_network_doubles_later_undoes_nothing() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 10)])), [0]);
    script.skip(RTT);
    script.reply(ack(10, &[]));
    script.push(2 * MSS);
    script.sent();
    script.skip(RTT);
    script.reply(ack(11, &[]));
    // It was sent once.
    script.reply(ack(11, &[(10, 11)]));
    assert_eq!(script.threshold(), 7);
}

#[test]
fn an_algorithm_chosen_during_recovery_stays() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    script.choose(|options| options.algorithm = Algorithm::NewReno);
    script.reply(ack(10, &[]));
    script.reply(ack(10, &[(0, 1)]));
    assert!(unreduced(&script, 10));
    // It halves the flight.
    script.push(10 * MSS);
    script.sent();
    script.skip(RTT);
    script.reply(ack(10, &[(11, 20)]));
    assert_eq!(script.threshold(), 5);
}

#[test]
fn a_reduction_for_a_mark_stays() {
    let mut script = sack();
    script.connection.ecn.agreed = true;
    let mut script = flight(script, 10);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    script.reply(ack(10, &[]));
    script.push(4 * MSS);
    script.sent();
    let marked = Segment {
        ece: true,
        ..ack(11, &[])
    };
    script.reply(marked);
    let threshold = script.threshold();
    script.reply(ack(11, &[(0, 1)]));
    assert_eq!(script.threshold(), threshold);
}
