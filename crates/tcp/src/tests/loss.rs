//! Losses where selective acknowledgements say what has arrived: RFC 2018 and 6675 (what is sent again),
//! RFC 8985 (when, and probes of the tail), RFC 6937 (how much).

use super::peer::{RTT, ack, connected, flight, sack, with_blocks};
use super::script::{MSS, Script, config, ms, ours, segment};
use crate::{Algorithm, Config, Segment, TcpOptions};

// What is sent again.

#[test]
fn only_the_holes_are_sent_again_in_order() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 3)])), [], "two prove nothing");
    assert_eq!(script.reply(ack(0, &[(5, 10), (1, 3)])), [0, 3, 4]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(10, &[])), []);
    assert_eq!(script.connection.totals.segments_again, 3);
}

#[test]
fn what_was_lost_goes_before_anything_new() {
    let mut script = flight(sack(), 20);
    assert_eq!(script.reply(ack(0, &[(5, 10)])), [0, 1, 2, 3, 4]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(1, &[(5, 10)])), [10, 11]);
}

#[test]
fn a_retransmission_that_is_lost_is_found_by_what_was_sent_after_it() {
    let mut script = flight(sack(), 20);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    script.skip(ms(1));
    assert_eq!(script.reply(ack(0, &[(1, 10)]))[..2], [10, 11]);
    script.skip(RTT);
    let sent = script.reply(ack(0, &[(10, 11), (1, 10)]));
    assert_eq!(sent.first(), Some(&0));
}

#[test]
fn blocks_of_what_was_never_sent_or_straddle_what_is_acknowledged_mean_nothing() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 11)])), []);
    assert_eq!(script.reply(ack(0, &[(20, 30)])), []);
    assert_eq!(script.reply(ack(0, &[(5, 4)])), []);
    assert_eq!(script.reply(ack(3, &[(1, 7)])), []);
    let info = script.connection.info(script.now);
    assert_eq!((info.sacked, info.lost, info.outstanding), (0, 0, 7));
}

#[test]
fn a_segment_of_which_a_part_arrived_goes_again_whole() {
    let mut script = flight(sack(), 10);
    let part = (MSS / 2, 10 * MSS);
    assert_eq!(script.reply(with_blocks(segment(0, 0, 0), &[part])), [0]);
}

#[test]
fn what_was_sacked_is_not_sent_again_after_a_timeout() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(2, 10)])), [0, 1]);
    assert_eq!(script.at_timeout().1, [0]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(1, &[(2, 10)])), [1]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(10, &[])), []);
}

#[test]
fn a_peer_that_drops_what_it_sacked_gets_it_again_after_a_timeout() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 10)])), [0]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(1, &[])), [], "it may still come to it");
    let (_, sent) = script.at_deadline();
    assert_eq!(sent, [1]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(2, &[])), [2, 3]);
}

#[test]
fn a_fast_retransmission_has_time_to_arrive_before_the_timeout() {
    // The round trip is longer than the variance that the timeout allows for: 300 ms and 200 ms more.
    let rtt = ms(300);
    let mut script = connected(config(), false, rtt);
    for sent in 1..30 {
        script.push(MSS);
        script.sent();
        script.skip(rtt);
        script.reply(ack(sent, &[]));
    }
    script.push(5 * MSS);
    script.sent();
    script.skip(rtt);
    assert_eq!(script.reply(ack(29, &[(30, 34)])), [29]);
    let (timeout, _) = script.at_timeout();
    assert!(timeout > rtt, "in {timeout:?}");
}

// When: RACK.

#[test]
fn what_is_late_by_less_than_a_quarter_of_the_round_trip_is_not_sent_again() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 3)])), []);
    script.skip(ms(9));
    assert_eq!(script.reply(ack(3, &[])), []);
    let info = script.connection.info(script.now);
    assert!(info.reordering);
    assert_eq!(info.totals.segments_again, 0);
    assert_eq!(script.threshold(), u32::MAX / MSS, "nothing was reduced");
}

#[test]
fn what_is_later_is_sent_again_by_the_timer() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 3)])), []);
    assert_eq!(script.at_deadline(), (RTT / 4, vec![0]));
    assert_eq!(script.threshold(), 7);
}

#[test]
fn three_small_segments_that_overtook_it_prove_as_much_as_full_ones() {
    let mut script = sack();
    script.choose(|options| options.no_delay = true);
    for _ in 0..4 {
        script.push(10);
        assert_eq!(script.sent().len(), 1);
    }
    script.skip(RTT);
    let two = with_blocks(segment(0, 0, 0), &[(10, 30)]);
    assert_eq!(script.answer(two), []);
    let three = with_blocks(segment(0, 0, 0), &[(10, 40)]);
    assert_eq!(script.reply(three), [0]);
}

#[test]
fn no_more_goes_when_the_timer_begins_recovery_than_what_is_lost() {
    let mut script = flight(sack(), 5);
    assert_eq!(script.reply(ack(0, &[(1, 2)])), []);
    // The window of ten had room for more than the first retransmission.
    script.push(20 * MSS);
    assert_eq!(script.at_deadline().1, [0]);
}

/// A path that is known to reorder; 10 segments are outstanding, from number 10 on.
fn reordering() -> Script {
    let mut script = flight(sack(), 10);
    script.reply(ack(0, &[(1, 2)]));
    script.reply(ack(10, &[]));
    script.push(10 * MSS);
    assert_eq!(script.sent().len(), 10);
    script.skip(RTT);
    script
}

#[test]
fn on_a_path_that_reorders_three_that_overtook_it_prove_nothing() {
    let mut script = reordering();
    assert_eq!(script.reply(ack(10, &[(11, 20)])), []);
    assert_eq!(script.at_deadline(), (RTT / 4, vec![10]));
}

#[test]
fn a_needless_retransmission_makes_it_more_patient() {
    let mut script = reordering();
    script.reply(ack(10, &[(11, 12)]));
    assert_eq!(script.at_deadline().1, [10]);
    script.reply(ack(12, &[]));
    script.reply(ack(12, &[(10, 11)]));
    script.skip(ms(1));
    script.reply(ack(12, &[(13, 14)]));
    assert_eq!(script.at_deadline(), (RTT / 2, vec![12]));
}

#[test]
fn what_the_network_doubles_makes_it_no_more_patient() {
    let mut script = reordering();
    script.reply(ack(11, &[(9, 10)]));
    script.reply(ack(11, &[(12, 13)]));
    assert_eq!(script.at_deadline(), (RTT / 4, vec![11]));
}

#[test]
fn after_16_recoveries_without_a_needless_retransmission_it_is_as_patient_as_before() {
    let mut script = reordering();
    script.reply(ack(10, &[(11, 12)]));
    assert_eq!(script.at_deadline().1, [10]);
    script.reply(ack(20, &[]));
    script.reply(ack(20, &[(10, 11)]));
    let mut waits = Vec::new();
    for first in (20..54).step_by(2) {
        script.push(2 * MSS);
        assert_eq!(script.sent().len(), 2);
        script.skip(RTT);
        script.reply(ack(first, &[(first + 1, first + 2)]));
        let (waited, sent) = script.at_deadline();
        assert_eq!(sent, [first]);
        waits.push(waited);
        script.skip(RTT);
        script.reply(ack(first + 2, &[]));
    }
    assert_eq!(waits[..16], [RTT / 2; 16]);
    assert_eq!(waits[16], RTT / 4);
}

#[test]
fn an_acknowledgement_that_came_too_soon_for_a_retransmission_says_nothing_of_it() {
    let mut script = flight(sack(), 20);
    assert_eq!(script.reply(ack(0, &[(1, 4)])), [0]);
    // The original of the first arrives late; what was sent before its retransmission is not lost.
    script.skip(ms(1));
    assert_eq!(script.reply(ack(4, &[])).first(), Some(&10));
    assert_eq!(script.connection.info(script.now).lost, 0);
}

// Probes of the tail.

#[test]
fn after_two_round_trips_of_silence_something_new_goes_as_a_probe() {
    let mut script = flight(sack(), 11);
    let (waited, sent) = script.at_deadline();
    assert_eq!((waited, sent), (RTT + ms(2), vec![10]));
    assert_eq!(script.threshold(), u32::MAX / MSS, "nothing is known lost");
}

#[test]
fn with_nothing_new_the_last_segment_goes_again() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.at_deadline(), (RTT + ms(2), vec![9]));
}

#[test]
fn a_probe_waits_for_no_full_segment() {
    let mut script = sack();
    script.push(10);
    script.sent();
    script.push(10);
    assert_eq!(script.sent(), [], "Nagle's algorithm");
    let _ = script.fire_within(ms(1000));
    assert_eq!(script.sent_one().seq, ours(10));
}

#[test]
fn a_single_segment_is_probed_when_the_timeout_would_be() {
    // The peer may delay its acknowledgement: 2 * 40 ms + 200 ms would be later than the timeout.
    let mut script = flight(sack(), 1);
    assert_eq!(script.at_deadline(), (ms(240) - RTT, vec![0]));
    assert_eq!(script.connection.info(script.now).backoff, 0);
    assert_eq!(script.window(), 10);
    assert_eq!(script.at_timeout(), (ms(240), vec![0]));
}

#[test]
fn one_probe_is_outstanding_at_a_time() {
    let mut script = flight(sack(), 12);
    assert_eq!(script.at_deadline().1, [10]);
    let (waited, sent) = script.at_deadline();
    assert_eq!((waited, sent), (ms(240), vec![0]), "the next is a timeout");
    assert_eq!(script.window(), 1);
}

#[test]
fn a_probe_that_is_not_needed_any_more_does_not_put_the_timeout_off() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 10)])), [0]);
    assert_eq!(script.at_timeout(), (ms(240), vec![0]));
}

#[test]
fn without_sack_there_are_no_probes() {
    let mut script = Script::established();
    script.push(10 * MSS);
    script.sent();
    assert_eq!(script.at_deadline(), (ms(200), vec![0]));
}

#[test]
fn a_probe_that_has_made_good_for_a_loss_reduces_the_window_once() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.at_deadline().1, [9]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(10, &[])), []);
    assert_eq!(script.window(), 20, "it may have been late");
    for number in 10..13 {
        script.push(MSS);
        script.sent();
        script.skip(RTT);
        script.reply(ack(number + 1, &[]));
        assert_eq!(script.window(), 14);
    }
}

#[test]
fn what_was_outstanding_with_the_probe_is_what_new_reno_halves() {
    let mut script = sack();
    script.choose(|options| options.algorithm = Algorithm::NewReno);
    let mut script = flight(script, 10);
    assert_eq!(script.at_deadline().1, [9]);
    script.skip(RTT);
    script.reply(ack(10, &[]));
    script.push(MSS);
    script.sent();
    script.reply(ack(11, &[]));
    assert_eq!(script.window(), 5);
}

#[test]
fn a_timeout_after_a_probe_reduces_once() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.at_deadline().1, [9]);
    assert_eq!(script.at_timeout().1, [0]);
    script.skip(RTT);
    script.reply(ack(10, &[]));
    script.push(MSS);
    script.sent();
    script.reply(ack(11, &[]));
    assert_eq!(script.threshold(), 7);
}

#[test]
fn a_tail_is_probed_too_while_the_window_is_reduced_for_a_mark() {
    let mut script = sack();
    script.connection.ecn.agreed = true;
    let mut script = flight(script, 10);
    let marked = Segment {
        ece: true,
        ..ack(1, &[])
    };
    assert_eq!(script.reply(marked), []);
    assert_eq!(script.threshold(), 7);
    assert_eq!(script.at_deadline().1, [9]);
}

#[test]
fn a_probe_that_arrived_beside_the_last_segment_reduces_nothing() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.at_deadline().1, [9]);
    script.reply(ack(9, &[]));
    script.push(MSS);
    script.sent();
    script.reply(ack(10, &[]));
    script.reply(ack(10, &[(9, 10)]));
    script.reply(ack(11, &[]));
    assert_eq!(script.threshold(), u32::MAX / MSS);
}

#[test]
fn what_came_twice_is_heard_of_though_nothing_is_outstanding() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.at_deadline().1, [9]);
    // The last segment, and then its repetition.
    script.reply(ack(10, &[]));
    script.reply(ack(10, &[(9, 10)]));
    script.push(MSS);
    script.sent();
    script.reply(ack(11, &[]));
    assert_eq!(script.threshold(), u32::MAX / MSS);
}

#[test]
fn a_tail_of_several_lost_segments_is_found_without_a_timeout() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(7, &[])), []);
    assert_eq!(script.at_deadline().1, [9]);
    script.skip(RTT);
    let mut sent = script.reply(ack(7, &[(9, 10)]));
    script.skip(RTT);
    sent.extend(script.reply(ack(8, &[(9, 10)])));
    assert_eq!(sent, [7, 8]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(10, &[])), []);
    assert_eq!(script.connection.info(script.now).backoff, 0);
    assert!(script.window() >= 7, "no slow start from one segment");
}

// How much.

#[test]
fn the_first_two_that_overtake_a_segment_let_new_data_out() {
    let mut script = flight(sack(), 20);
    assert_eq!(script.reply(ack(0, &[(1, 2)])), [10]);
    assert_eq!(script.reply(ack(0, &[(1, 3)])), [11]);
}

/// Loses the first of ten; each acknowledgement says that one more has arrived. Returns how many
/// segments went for each, from the one that began the recovery, and for the one that ended it.
fn recovery(algorithm: Algorithm) -> (Vec<usize>, usize) {
    let mut script = sack();
    script.choose(|options| options.algorithm = algorithm);
    let mut script = flight(script, 40);
    let mut sent = Vec::new();
    for end in 2..13 {
        sent.push(script.answer(ack(0, &[(1, end)])).len());
        script.skip(ms(1));
    }
    assert_eq!(sent.drain(..2).as_slice(), [1, 1], "before it began");
    (sent, script.answer(ack(12, &[])).len())
}

#[test]
fn during_recovery_segments_go_in_the_proportion_by_which_the_window_falls() {
    // Twelve are outstanding when it begins, two of them let out by the first duplicates; as many as
    // the threshold allows are when it is over.
    let (sent, at_the_end) = recovery(Algorithm::Cubic);
    assert_eq!(sent[0], 1);
    assert!(sent.iter().all(|&count| count <= 1), "{sent:?}");
    assert_eq!(sent.iter().sum::<usize>(), 7, "{sent:?}");
    assert!(at_the_end <= 2, "a burst of {at_the_end}");
    let (sent, at_the_end) = recovery(Algorithm::NewReno);
    assert!(sent.iter().all(|&count| count <= 1), "{sent:?}");
    assert_eq!(sent.iter().sum::<usize>(), 6, "{sent:?}");
    assert!(at_the_end <= 2, "a burst of {at_the_end}");
}

#[test]
fn after_many_losses_no_more_goes_than_has_arrived() {
    let mut script = flight(sack(), 40);
    assert_eq!(script.reply(ack(0, &[(7, 8)])), [10]);
    assert_eq!(script.reply(ack(0, &[(7, 9)])), [11]);
    script.skip(ms(1));
    // Of ten seven are lost; three have arrived, the first two of which let new data out.
    assert_eq!(script.reply(ack(0, &[(7, 10)])), [0]);
    script.skip(RTT);
    assert_eq!(script.reply(ack(0, &[(7, 11)])), [1]);
}

#[test]
fn a_timeout_after_others_were_repaired_reduces_the_threshold_again() {
    let mut script = sack();
    script.choose(|options| options.algorithm = Algorithm::NewReno);
    let mut script = flight(script, 10);
    assert_eq!(script.at_deadline().1, [9], "a probe");
    assert_eq!(script.at_timeout().1, [0]);
    assert_eq!(script.threshold(), 5);
    assert_eq!(script.at_timeout().1, [0]);
    assert_eq!(script.threshold(), 5, "the same segment");
    script.skip(RTT);
    assert_eq!(script.reply(ack(4, &[])), [4, 5, 6]);
    assert_eq!(script.at_timeout().1, [4]);
    assert_eq!(script.threshold(), 3, "half of the six that are left");
}

#[test]
fn what_was_sent_just_before_a_timeout_is_not_taken_to_be_lost() {
    let mut script = flight(sack(), 1);
    assert_eq!(script.at_deadline().1, [0], "a probe");
    script.skip(ms(230));
    script.push(2 * MSS);
    assert_eq!(script.sent().len(), 2);
    assert_eq!(script.at_timeout(), (ms(10), vec![0]));
    assert_eq!(script.connection.info(script.now).lost, 0);
    assert_eq!(script.window(), 3, "one more than is in the network");
}

#[test]
fn a_timeout_during_recovery_reduces_the_threshold_no_further() {
    let mut script = flight(sack(), 10);
    assert_eq!(script.reply(ack(0, &[(1, 10)])), [0]);
    assert_eq!(script.at_timeout().1, [0]);
    assert_eq!(script.threshold(), 7);
}

#[test]
fn new_reno_halves_the_flight_where_cubic_takes_three_tenths() {
    let threshold = |algorithm| {
        let options = TcpOptions {
            algorithm,
            ..TcpOptions::default()
        };
        let config = Config {
            options,
            ..config()
        };
        let mut script = flight(connected(config, false, RTT), 10);
        script.reply(ack(0, &[(1, 10)]));
        script.threshold()
    };
    assert_eq!(threshold(Algorithm::Cubic), 7);
    assert_eq!(threshold(Algorithm::NewReno), 5);
}

#[test]
fn another_algorithm_goes_on_from_the_window_as_it_is() {
    let mut script = flight(sack(), 10);
    script.reply(ack(10, &[]));
    script.choose(|options| options.algorithm = Algorithm::NewReno);
    assert_eq!(script.window(), 20);
    script.push(20 * MSS);
    script.sent();
    script.skip(RTT);
    script.reply(ack(10, &[(11, 30)]));
    assert_eq!(script.threshold(), 10);
}

#[test]
fn time_in_which_only_lost_segments_went_is_no_pause() {
    let mut script = flight(sack(), 10);
    script.reply(ack(10, &[]));
    script.push(20 * MSS);
    assert_eq!(script.sent().len(), 20);
    // 350 ms, and no silence of a whole timeout (240 ms) in them.
    script.skip(ms(150));
    assert_eq!(script.reply(ack(10, &[(11, 30)])), [10]);
    script.skip(ms(200));
    script.reply(ack(30, &[]));
    assert_eq!(script.window(), 14);
    script.push(MSS);
    script.sent();
    assert_eq!(script.window(), 14);
}

#[test]
fn after_a_pause_the_window_is_the_initial_one_again() {
    let mut script = flight(sack(), 10);
    script.reply(ack(10, &[]));
    assert_eq!(script.window(), 20);
    script.skip(ms(10_000));
    script.push(40 * MSS);
    assert_eq!(script.sent().len(), 10);
    assert_eq!(script.threshold(), u32::MAX / MSS);
}
