//! Scripts of segments for transitions that take more than one.

use super::script::{
    ISS, MSS, Script, config, fin, flags, ms, ours, rst, segment, syn, syn_ack, theirs,
};
use crate::{Answer, Failure, Options, Segment, State, TimeWait, Timestamps};

#[test]
fn an_active_open_is_three_segments() {
    let mut script = Script::active(config());
    let sent = script.sent_one();
    assert_eq!((flags(&sent).as_str(), sent.seq), ("S", ISS));
    assert_eq!(sent.options.mss, Some(MSS as u16));
    assert!(script.feed(syn_ack()).established);
    let ack = script.sent_one();
    assert_eq!((flags(&ack).as_str(), ack.seq), (".", ours(0)));
    assert_eq!(ack.ack, Some(theirs(0)));
}

#[test]
fn data_that_comes_with_the_answer_to_our_syn_is_taken() {
    // RFC 9293, section 3.10.7.3, "fourth"; our SYN has offered a window for it.
    let mut script = Script::active(config());
    let offered = u32::from(script.sent_one().window);
    let answer = script.feed(Segment {
        len: offered + 1,
        ..syn_ack()
    });
    assert!(answer.established);
    let keep = answer.keep.expect("payload is kept");
    assert_eq!((keep.seq, keep.skip, keep.len), (theirs(0), 0, offered));
    assert_eq!(script.sent_one().ack, Some(theirs(offered)));
}

#[test]
fn a_passive_open_is_three_segments() {
    let mut script = Script::passive(config(), &syn());
    let sent = script.sent_one();
    assert_eq!(
        (flags(&sent).as_str(), sent.seq, sent.ack),
        ("S.", ISS, Some(theirs(0)))
    );
    assert!(script.feed(segment(0, 0, 0)).established);
    assert_eq!(script.state(), State::Established);
    assert_eq!(script.sent(), []);
}

#[test]
fn both_ends_may_open_at_once() {
    let mut script = Script::active(config());
    script.sent();
    let _ = script.feed(syn());
    assert_eq!(script.state(), State::SynReceived);
    let sent = script.sent_one();
    assert_eq!(
        (flags(&sent).as_str(), sent.seq, sent.ack),
        ("S.", ISS, Some(theirs(0)))
    );
    // The peer's SYN-ACK is answered, and its acknowledgement completes the connection.
    assert_eq!(script.answer(syn_ack()).len(), 1);
    assert!(script.feed(segment(0, 0, 0)).established);
}

#[test]
fn a_syn_that_comes_again_is_answered_again() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    let again = script.answer(syn());
    assert_eq!(again.len(), 1);
    assert_eq!(flags(&again[0]), "S.");
}

#[test]
fn a_lost_syn_is_sent_again_with_doubling_waits_and_given_up() {
    let mut script = Script::active(config());
    script.sent();
    for retry in 0..6 {
        let _ = script.fire_within(ms(1000 << retry));
        assert_eq!(flags(&script.sent_one()), "S", "retry {retry}");
    }
    let last = script.fire_within(ms(64_000));
    assert_eq!((last.failure, last.closed), (Some(Failure::TimedOut), true));
}

#[test]
fn a_half_open_connection_is_forgotten() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    for _ in 0..5 {
        let _ = script.fire_within(ms(32_000));
        assert_eq!(flags(&script.sent_one()), "S.");
    }
    assert!(script.fire_within(ms(64_000)).closed);
}

#[test]
fn our_side_closes_and_the_peers_data_goes_on() {
    let mut script = Script::established();
    script.connection.close(script.now);
    assert_eq!(flags(&script.sent_one()), "F.");
    let _ = script.feed(segment(0, 1, 0));
    assert_eq!(script.state(), State::FinWait2);
    let late = script.feed(segment(0, 1, 100));
    assert_eq!(late.delivered, 100);
    assert!(script.feed(fin(100, 1)).time_wait);
    assert_eq!(script.sent_one().ack, Some(theirs(101)));
}

#[test]
fn data_for_what_is_shut_down_both_ways_resets_it() {
    let mut script = Script::established();
    script.connection.shut_receive();
    assert_eq!(script.feed(segment(0, 0, 100)).delivered, 100);
    script.connection.close(script.now);
    script.sent();
    let late = script.feed(segment(100, 1, 1));
    assert_eq!(late.failure, Some(Failure::Reset));
    assert!(late.closed && late.reply.is_some_and(|reply| reply.rst));
    assert_eq!(script.state(), State::Closed);
}

#[test]
fn the_peer_closes_and_our_data_goes_on() {
    let mut script = Script::established();
    assert!(script.feed(fin(0, 0)).finished);
    script.push(500);
    assert_eq!(script.sent_one().len, 500);
    script.connection.close(script.now);
    assert_eq!(flags(&script.sent_one()), "F.");
    assert_eq!(script.state(), State::LastAck);
    assert!(script.feed(segment(1, 501, 0)).closed);
}

#[test]
fn both_ends_may_close_at_once() {
    let mut script = Script::established();
    script.connection.close(script.now);
    script.sent();
    let _ = script.feed(fin(0, 0));
    assert_eq!(script.state(), State::Closing);
    assert!(script.feed(segment(1, 1, 0)).time_wait);
}

#[test]
fn the_fin_goes_with_the_last_data() {
    let mut script = Script::established();
    script.push(MSS + 10);
    script.connection.close(script.now);
    let sent = script.sent();
    assert_eq!(sent.iter().map(flags).collect::<Vec<_>>(), [".", "FP."]);
    assert_eq!(sent[1].len, 10);
}

#[test]
fn a_fin_that_comes_early_waits_for_what_is_before_it() {
    let mut script = Script::established();
    let early = script.feed(Segment {
        len: 10,
        ..fin(100, 0)
    });
    assert!(!early.finished);
    assert_eq!(script.sent_one().ack, Some(theirs(0)));
    let filled = script.feed(segment(0, 0, 100));
    assert!(filled.finished);
    assert_eq!(filled.delivered, 110);
    assert_eq!(script.sent_one().ack, Some(theirs(111)));
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut script = Script::established();
    script.connection.close(script.now);
    script.sent();
    let _ = script.fire_within(ms(1000));
    let again = script.sent_one();
    assert_eq!((flags(&again).as_str(), again.seq), ("F.", ours(0)));
}

#[test]
fn fin_wait_2_ends_only_when_nobody_has_the_socket() {
    let mut script = Script::established();
    script.connection.close(script.now);
    script.sent();
    let _ = script.feed(segment(0, 1, 0));
    assert_eq!(script.connection.next_deadline(), None);
    script.connection.orphan(script.now);
    assert!(script.fire_within(ms(60_000)).closed);
}

#[test]
fn data_for_a_socket_that_nobody_has_is_reset() {
    let mut script = Script::established();
    script.connection.close(script.now);
    script.connection.orphan(script.now);
    script.sent();
    let answer = script.feed(segment(0, 1, 10));
    assert!(answer.closed);
    assert!(answer.reply.is_some_and(|reply| reply.rst));
}

#[test]
fn data_that_is_never_acknowledged_ends_the_connection() {
    let mut script = Script::established();
    script.push(10);
    script.sent();
    for _ in 0..15 {
        assert!(!script.fire_within(ms(120_000)).closed);
        assert_eq!(script.sent().len(), 1);
    }
    let end = script.fire_within(ms(120_000));
    assert_eq!(end.failure, Some(Failure::TimedOut));
}

#[test]
fn a_refused_connection_is_told_from_a_reset_one() {
    let mut script = Script::active(config());
    script.sent();
    let refused = script.feed(Segment {
        rst: true,
        syn: false,
        ..syn_ack()
    });
    assert_eq!(refused.failure, Some(Failure::Refused));
    let mut script = Script::established();
    assert_eq!(script.feed(rst(0)).failure, Some(Failure::Reset));
    let mut script = Script::established();
    let _ = script.feed(fin(0, 0));
    assert_eq!(script.feed(rst(1)).failure, Some(Failure::Pipe));
}

/// A connection in TIME-WAIT, with timestamps.
fn time_wait() -> (Script, TimeWait) {
    let stamp = Timestamps { value: 50, echo: 0 };
    let options = Options {
        timestamps: Some(stamp),
        ..syn().options
    };
    let mut script = Script::established_with(config(), Segment { options, ..syn() });
    script.connection.close(script.now);
    script.sent();
    let options = Options {
        timestamps: Some(stamp),
        ..Options::default()
    };
    let end = script.feed(Segment {
        options,
        ..fin(0, 1)
    });
    assert!(end.time_wait);
    let waiting = script.connection.time_wait(script.now).unwrap();
    (script, waiting)
}

#[test]
fn time_wait_acknowledges_the_fin_again_and_begins_again() {
    let (script, mut waiting) = time_wait();
    let before = waiting.until();
    let later = script.now + ms(1000);
    match waiting.on_segment(later, &fin(0, 1), &config()) {
        Answer::Ack(ack) => assert_eq!((ack.seq, ack.ack), (ours(1), Some(theirs(1)))),
        answer => panic!("{answer:?}"),
    }
    assert_eq!(waiting.until() - before, ms(1000));
}

#[test]
fn time_wait_is_not_cut_short_by_a_reset() {
    let (script, mut waiting) = time_wait();
    let answer = waiting.on_segment(script.now, &rst(1), &config());
    assert_eq!(answer, Answer::Ignore);
}

#[test]
fn a_newer_syn_takes_the_place_of_time_wait() {
    let (script, waiting) = time_wait();
    let syn_at = |seq: u32, value: u32| {
        let timestamps = Some(Timestamps { value, echo: 0 });
        Segment {
            seq: theirs(seq),
            options: Options {
                timestamps,
                ..syn().options
            },
            ..syn()
        }
    };
    // RFC 6191, section 2: the timestamp decides, and the number only where it is the same.
    for (seq, value, reopens) in [
        (5, 50, true),
        (0, 51, true),
        (0, 50, false),
        (0, 49, false),
        (5, 49, false),
    ] {
        let answer = waiting
            .clone()
            .on_segment(script.now, &syn_at(seq, value), &config());
        let reopened = matches!(answer, Answer::Reopen(_));
        assert_eq!(reopened, reopens, "number {seq}, timestamp {value}");
    }
}
