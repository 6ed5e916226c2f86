//! Explicit congestion notification (RFC 3168), from the SYN to the reduced window.

use super::script::{MSS, Script, config, ms, ours, segment, syn, syn_ack, theirs};
use crate::{Algorithm, Config, CongestionState, Ecn, Options, SackBlocks, Segment, TcpOptions};

/// Makes of a SYN one that asks for ECN.
fn asking(syn: Segment) -> Segment {
    Segment {
        ece: true,
        cwr: true,
        ..syn
    }
}

/// The same segment from a peer that was told of congestion.
fn echoing(segment: Segment) -> Segment {
    Segment {
        ece: true,
        ..segment
    }
}

/// The same segment, marked by a router.
fn marked(segment: Segment) -> Segment {
    Segment {
        ecn: Ecn::Congested,
        ..segment
    }
}

fn with_ecn() -> Config {
    Config {
        options: TcpOptions {
            ecn: true,
            no_delay: true,
            algorithm: Algorithm::NewReno,
            ..TcpOptions::default()
        },
        ..config()
    }
}

/// A connection that began with a SYN that asked for ECN.
fn agreed() -> Script {
    Script::established_with(with_ecn(), asking(syn()))
}

/// The same, with `count` full segments outstanding.
fn flight(count: u32) -> Script {
    let mut script = agreed();
    script.push(count * MSS);
    assert_eq!(script.sent().len(), count as usize);
    script
}

/// A connection with ECN and SACK.
fn selective() -> Script {
    let options = Options {
        sack_permitted: true,
        ..syn().options
    };
    Script::established_with(with_ecn(), asking(Segment { options, ..syn() }))
}

/// The same, in fast recovery: of ten segments all but the first have arrived, and that was sent again.
fn recovering() -> Script {
    let mut script = selective();
    script.push(10 * MSS);
    script.sent();
    let again = script.answer(sacking(0, &[(1, 10)]));
    assert_eq!((again.len(), again[0].seq), (1, ours(0)));
    script
}

/// An acknowledgement of so many segments with SACK blocks, all counted in full segments.
fn sacking(ack: u32, blocks: &[(u32, u32)]) -> Segment {
    let mut sack = SackBlocks::default();
    for &(start, end) in blocks {
        sack.push(ours(start * MSS), ours(end * MSS));
    }
    Segment {
        options: Options {
            sack,
            ..Options::default()
        },
        ..segment(0, ack * MSS, 0)
    }
}

/// An active connection whose SYN asks for ECN, up to the answer of the peer.
fn answered(answer: Segment) -> Script {
    let mut script = Script::active(with_ecn());
    script.sent_one();
    assert!(script.feed(answer).established);
    script.sent();
    script
}

fn info(script: &Script) -> crate::Info {
    script.connection.info(script.now)
}

/// What a segment says of ECN: the mark of its packet, ECE and CWR.
fn said(segment: &Segment) -> (Ecn, bool, bool) {
    (segment.ecn, segment.ece, segment.cwr)
}

const PLAIN: (Ecn, bool, bool) = (Ecn::Incapable, false, false);
const CAPABLE: (Ecn, bool, bool) = (Ecn::Capable, false, false);
const REDUCED: (Ecn, bool, bool) = (Ecn::Capable, false, true);

// The handshake.

#[test]
fn our_syn_asks_with_both_bits_and_the_answer_has_one() {
    let mut script = Script::active(with_ecn());
    assert_eq!(said(&script.sent_one()), (Ecn::Incapable, true, true));
    assert!(script.feed(echoing(syn_ack())).established);
    assert_eq!(
        said(&script.sent_one()),
        PLAIN,
        "the third segment is plain"
    );
    assert!(info(&script).ecn);
}

#[test]
fn a_syn_asks_only_if_the_user_wants_it() {
    let mut script = Script::active(config());
    assert_eq!(said(&script.sent_one()), PLAIN);
    assert!(script.feed(echoing(syn_ack())).established);
    assert!(!info(&script).ecn);
}

#[test]
fn a_peer_that_asks_is_answered_with_one_bit() {
    let mut script = Script::passive(config(), &asking(syn()));
    assert_eq!(said(&script.sent_one()), (Ecn::Incapable, true, false));
    assert!(script.feed(segment(0, 0, 0)).established);
    assert!(info(&script).ecn);
}

#[test]
fn a_syn_with_one_bit_alone_asks_for_nothing() {
    for bits in [(true, false), (false, true)] {
        let one = Segment {
            ece: bits.0,
            cwr: bits.1,
            ..syn()
        };
        let mut script = Script::passive(config(), &one);
        assert_eq!(said(&script.sent_one()), PLAIN, "{bits:?}");
    }
}

#[test]
fn a_peer_that_mirrors_both_bits_knows_nothing_of_it() {
    let mut script = answered(asking(syn_ack()));
    assert!(!info(&script).ecn);
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), PLAIN);
}

#[test]
fn a_peer_that_answers_without_it_is_sent_nothing_capable() {
    let mut script = answered(syn_ack());
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), PLAIN);
}

#[test]
fn a_syn_that_was_lost_goes_again_without_asking() {
    let mut script = Script::active(with_ecn());
    script.sent_one();
    let _ = script.fire_within(ms(1000));
    assert_eq!(said(&script.sent_one()), PLAIN);
    // The answer may be the one to the first SYN, but the second has said otherwise.
    assert!(script.feed(echoing(syn_ack())).established);
    assert!(!info(&script).ecn, "RFC 3168, section 6.1.1");
}

#[test]
fn a_peer_that_asks_again_without_it_has_given_it_up() {
    for again in [syn(), echoing(syn())] {
        let mut script = Script::passive(config(), &asking(syn()));
        script.sent_one();
        assert_eq!(said(&script.answer(again)[0]), PLAIN);
        assert!(script.feed(segment(0, 0, 0)).established);
        // It ignores what the first answer granted.
        assert!(!info(&script).ecn);
    }
}

#[test]
fn where_both_open_at_once_both_must_have_asked() {
    for (asks, agrees) in [(false, false), (true, true)] {
        let config = if asks { with_ecn() } else { config() };
        let mut script = Script::active(config);
        script.sent_one();
        let answer = script.answer(asking(syn()));
        assert_eq!(answer[0].ece, agrees, "we have asked: {asks}");
        assert!(script.feed(segment(0, 0, 0)).established);
        assert_eq!(info(&script).ecn, agrees);
    }
}

// What is marked as capable.

#[test]
fn new_data_is_capable_and_acknowledgements_are_not() {
    let mut script = agreed();
    script.push(2 * MSS);
    assert!(script.sent().iter().all(|sent| said(sent) == CAPABLE));
    let acks = script.answer(segment(0, 0, MSS));
    assert_eq!(acks.iter().map(said).collect::<Vec<_>>(), [PLAIN]);
}

#[test]
fn what_is_sent_again_is_not_capable() {
    let mut script = flight(3);
    let _ = script.fire_within(ms(1000));
    assert_eq!(said(&script.sent_one()), PLAIN);
}

#[test]
fn the_tail_sent_again_as_a_probe_is_not_capable() {
    let mut script = selective();
    script.push(2 * MSS);
    assert!(script.sent().iter().all(|sent| said(sent) == CAPABLE));
    let _ = script.fire_within(ms(300));
    assert_eq!(info(&script).retransmits, 0);
    let probe = script.sent_one();
    assert_eq!((probe.len, said(&probe)), (MSS, PLAIN));
}

#[test]
fn probes_of_a_closed_window_are_not_capable() {
    let mut script = agreed();
    let _ = script.feed(Segment {
        window: 0,
        ..segment(0, 0, 1)
    });
    script.push(MSS);
    script.sent();
    let _ = script.fire_within(ms(1000));
    assert_eq!(said(&script.sent_one()), PLAIN);
}

#[test]
fn a_fin_without_data_is_not_capable() {
    let mut script = agreed();
    script.connection.close(script.now);
    let fin = script.sent_one();
    assert_eq!((fin.fin, said(&fin)), (true, PLAIN));
}

// The receiver.

#[test]
fn a_mark_is_echoed_on_every_segment_until_the_sender_has_reduced() {
    let mut script = agreed();
    let first = script.answer(marked(segment(0, 0, MSS)));
    assert!(first[0].ece);
    let second = script.answer(segment(MSS, 0, MSS));
    assert!(second[0].ece, "unmarked, but nothing has changed");
    script.push(10);
    assert!(script.sent_one().ece, "data echoes it too");
    let reduced = Segment {
        cwr: true,
        ..segment(2 * MSS, 10, MSS)
    };
    assert!(!script.answer(reduced)[0].ece);
    script.push(10);
    assert!(!script.sent_one().ece);
}

#[test]
fn a_mark_on_the_segment_that_says_reduced_is_a_new_one() {
    let mut script = agreed();
    script.answer(marked(segment(0, 0, MSS)));
    let both = Segment {
        cwr: true,
        ..marked(segment(MSS, 0, MSS))
    };
    assert!(script.answer(both)[0].ece);
}

/// A connection that is past the segments that are acknowledged at once: data has answered data.
fn slow() -> Script {
    let mut script = agreed();
    script.answer(segment(0, 0, 1));
    script.push(1);
    script.sent();
    let _ = script.feed(segment(1, 1, 0));
    assert_eq!(script.answer(segment(1, 1, 1)), []);
    let _ = script.fire_within(ms(40));
    script.sent_one();
    script
}

#[test]
fn a_mark_is_told_at_once() {
    let mut script = slow();
    let acks = script.answer(marked(segment(2, 1, 100)));
    assert_eq!((acks.len(), acks[0].ece), (1, true));
}

#[test]
fn the_first_segment_of_a_reduced_window_is_acknowledged_at_once() {
    let mut script = slow();
    script.answer(marked(segment(2, 1, 100)));
    // It may be all that fits into the sender's window (Linux `tcp_ecn_accept_cwr`).
    let reduced = Segment {
        cwr: true,
        ..segment(102, 1, 100)
    };
    let acks = script.answer(reduced);
    assert_eq!((acks.len(), acks[0].ece), (1, false));
}

#[test]
fn marks_mean_nothing_where_nothing_was_agreed_on() {
    let mut script = Script::established();
    assert!(!script.answer(marked(segment(0, 0, MSS)))[0].ece);
}

#[test]
fn a_mark_on_what_is_outside_of_the_window_means_nothing() {
    let mut script = agreed();
    script.answer(segment(0, 0, MSS));
    let old = script.answer(marked(segment(0, 0, MSS)));
    assert_eq!(old[0].ack, Some(theirs(MSS)));
    assert!(!old[0].ece, "RFC 3168, section 6.1.5");
}

// The sender.

/// Acknowledges up to `ack` segments, with an echo. Returns what is sent for it.
fn echo(script: &mut Script, ack: u32) -> Vec<Segment> {
    script.answer(echoing(segment(0, ack * MSS, 0)))
}

#[test]
fn an_echo_halves_the_window_sends_nothing_again_and_is_answered_on_new_data() {
    let mut script = flight(10);
    script.push(20 * MSS);
    let mut sent = echo(&mut script, 1);
    assert_eq!(info(&script).congestion, CongestionState::Reduced);
    assert_eq!(info(&script).threshold, 5 * MSS);
    for ack in 2..10 {
        sent.extend(echo(&mut script, ack));
    }
    assert_eq!(info(&script).totals.segments_again, 0);
    let said: Vec<_> = sent.iter().map(said).collect();
    assert_eq!(said[0], REDUCED);
    assert!(said[1..].iter().all(|&said| said == CAPABLE), "{said:?}");
    // About one segment for two that arrive, as PRR has it.
    assert_eq!(sent.len(), 4);
    sent.extend(echo(&mut script, 10));
    assert_eq!(info(&script).window, 5 * MSS);
    assert_eq!(info(&script).outstanding, 5);
}

#[test]
fn a_window_is_reduced_once_in_a_round_trip() {
    let mut script = flight(10);
    script.push(20 * MSS);
    // The peer echoes up to the last segment that was sent before it could hear of the reduction.
    for ack in 1..=10 {
        echo(&mut script, ack);
    }
    assert_eq!(info(&script).threshold, 5 * MSS);
    // What acknowledges more has heard of it: this is a second mark.
    echo(&mut script, 11);
    echo(&mut script, 12);
    assert_eq!(info(&script).congestion, CongestionState::Reduced);
    assert!(info(&script).threshold < 5 * MSS);
}

#[test]
fn an_echo_that_acknowledges_everything_counts_too() {
    let mut script = flight(10);
    assert_eq!(echo(&mut script, 10), []);
    let now = info(&script);
    assert_eq!((now.threshold, now.window), (5 * MSS, 5 * MSS));
    script.push(20 * MSS);
    let sent = script.sent();
    assert_eq!(sent.len(), 5);
    assert_eq!(said(&sent[0]), REDUCED);
}

#[test]
fn an_echo_that_acknowledges_much_costs_half_and_no_more() {
    let mut script = flight(10);
    echo(&mut script, 9);
    assert_eq!(info(&script).threshold, 5 * MSS);
}

#[test]
fn a_window_does_not_grow_by_an_acknowledgement_that_echoes() {
    for algorithm in Algorithm::ALL {
        for ack in [1, 5, 10] {
            let mut script = agreed();
            script.choose(|options| options.algorithm = algorithm);
            script.push(10 * MSS);
            script.sent();
            echo(&mut script, ack);
            let now = info(&script);
            assert!(now.window <= 10 * MSS, "{ack}: {}", now.window);
            assert!(now.threshold <= 7 * MSS, "{ack}: {}", now.threshold);
        }
    }
}

#[test]
fn the_segment_that_tells_of_a_reduction_is_sent_again_by_duplicates_too() {
    let mut script = flight(10);
    script.push(20 * MSS);
    for ack in 1..=10 {
        echo(&mut script, ack);
    }
    script.push(10 * MSS);
    (0..2).for_each(|_| drop(echo(&mut script, 10)));
    let again = echo(&mut script, 10);
    assert_eq!(again[0].seq, ours(10 * MSS), "{again:?}");
    assert_eq!(info(&script).totals.segments_again, 1);
}

#[test]
fn a_loss_at_the_end_of_a_reduction_is_not_taken_for_its_echo() {
    // Everything is acknowledged, and the first of what follows is lost.
    let mut script = flight(10);
    echo(&mut script, 10);
    script.push(5 * MSS);
    assert_eq!(script.sent().len(), 5);
    for _ in 0..3 {
        script.answer(segment(0, 10 * MSS, 0));
    }
    assert_eq!(info(&script).totals.segments_again, 1);
}

#[test]
fn an_echo_for_nothing_outstanding_reduces_nothing() {
    let mut script = agreed();
    let before = info(&script);
    let _ = script.feed(echoing(segment(0, 0, 10)));
    let after = info(&script);
    assert_eq!(
        (after.window, after.threshold),
        (before.window, before.threshold)
    );
}

#[test]
fn an_echo_means_nothing_where_nothing_was_agreed_on() {
    let mut script = Script::established();
    script.push(10 * MSS);
    script.sent();
    echo(&mut script, 1);
    assert_eq!(info(&script).threshold, u32::MAX);
}

#[test]
fn a_loss_in_a_reduced_window_is_repaired_and_reduces_no_further() {
    let mut script = flight(10);
    echo(&mut script, 1);
    let threshold = info(&script).threshold;
    (0..2).for_each(|_| assert_eq!(echo(&mut script, 1), []));
    let again = echo(&mut script, 1);
    assert_eq!(again.len(), 1, "the third duplicate");
    assert_eq!(info(&script).congestion, CongestionState::Recovery);
    assert_eq!(info(&script).threshold, threshold);
}

#[test]
fn every_reduction_is_told() {
    // By duplicates.
    let mut script = flight(10);
    for _ in 0..3 {
        script.answer(segment(0, 0, 0));
    }
    script.push(MSS);
    let new = script.answer(segment(0, 10 * MSS, 0));
    assert_eq!(new.iter().map(said).collect::<Vec<_>>(), [REDUCED]);
    // By the timer.
    let mut script = flight(10);
    let _ = script.fire_within(ms(1000));
    script.sent();
    script.push(MSS);
    let new = script.answer(segment(0, 10 * MSS, 0));
    assert_eq!(new.iter().map(said).collect::<Vec<_>>(), [REDUCED]);
}

#[test]
fn a_reduction_after_the_reordering_time_is_told() {
    let mut script = selective();
    // The round trip is learnt.
    for done in 0..20 {
        script.push(MSS);
        script.sent();
        script.skip(ms(20));
        let _ = script.feed(sacking(done + 1, &[]));
    }
    script.push(5 * MSS);
    script.sent();
    script.skip(ms(20));
    // Too few for a loss at once.
    assert_eq!(script.answer(sacking(20, &[(21, 22)])), []);
    let _ = script.fire_within(ms(20));
    assert_eq!(script.sent_one().seq, ours(20 * MSS));
    assert_eq!(info(&script).congestion, CongestionState::Recovery);
    script.push(MSS);
    let new = script.answer(sacking(25, &[]));
    assert_eq!(new.iter().map(said).collect::<Vec<_>>(), [REDUCED]);
}

#[test]
fn a_reduction_for_a_tail_that_its_probe_made_good_is_told() {
    let mut script = selective();
    script.push(2 * MSS);
    script.sent();
    let _ = script.fire_within(ms(300));
    assert_eq!(script.sent_one().seq, ours(MSS), "the probe");
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), CAPABLE);
    // Nothing has come twice: the first of the two that were sent was lost.
    let _ = script.feed(sacking(3, &[]));
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), REDUCED);
}

#[test]
fn a_reduction_that_was_a_mistake_is_not_told() {
    let mut script = recovering();
    let _ = script.feed(sacking(10, &[(0, 1)]));
    assert_eq!(info(&script).window, 10 * MSS);
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), CAPABLE);
}

#[test]
fn a_reduction_is_no_mistake_where_a_router_has_marked_something() {
    let mut script = recovering();
    let threshold = info(&script).threshold;
    let _ = script.feed(echoing(sacking(10, &[(0, 1)])));
    assert_eq!(info(&script).threshold, threshold);
    script.push(MSS);
    assert_eq!(said(&script.sent_one()), REDUCED);
}
