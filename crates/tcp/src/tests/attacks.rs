//! What only an attacker sends, or a host that has lost its mind (RFC 5961; RFC 7323, section 5).

use super::script::{
    MSS, Script, config, fin, flags, ms, ours, rst, segment, syn, syn_ack, theirs,
};
use crate::{
    Answer, Instant, Options, Refusal, Segment, State, TimeWait, Timestamps, closed, listen,
};

fn stamped(segment: Segment, value: u32) -> Segment {
    let timestamps = Some(Timestamps { value, echo: 0 });
    Segment {
        options: Options {
            timestamps,
            ..segment.options
        },
        ..segment
    }
}

#[test]
fn an_old_acknowledgement_does_not_cost_the_data_that_came_with_it() {
    let mut script = Script::established();
    script.push(100);
    script.sent();
    let _ = script.feed(segment(0, 100, 0));
    let late = script.feed(segment(0, 50, 10));
    assert_eq!((late.delivered, late.refusal), (10, None));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_challenged() {
    let mut script = Script::established();
    let early = script.feed(segment(0, 1, 10));
    assert_eq!(early.refusal, Some(Refusal::AckOfUnsent));
    assert_eq!(early.delivered, 0);
    let challenge = script.sent_one();
    assert_eq!((challenge.seq, challenge.ack), (ours(0), Some(theirs(0))));
}

#[test]
fn an_acknowledgement_from_before_any_window_is_challenged() {
    let mut script = Script::established();
    let old = Segment {
        ack: Some(ours(0) - 60_001),
        ..segment(0, 0, 10)
    };
    assert_eq!(script.feed(old).refusal, Some(Refusal::AckTooOld));
    assert_eq!(script.sent().len(), 1);
}

#[test]
fn only_the_very_next_number_resets() {
    for offset in [1, MSS, 9 * MSS] {
        let mut script = Script::established();
        let blind = script.feed(rst(offset));
        assert_eq!(
            (blind.refusal, blind.closed),
            (Some(Refusal::BlindReset), false)
        );
        assert_eq!(script.sent_one().ack, Some(theirs(0)), "the challenge");
    }
    let mut script = Script::established();
    assert_eq!(
        script.answer(rst(20 * MSS)),
        [],
        "outside of the window: no answer"
    );
    assert!(script.feed(rst(0)).closed);
}

#[test]
fn a_syn_inside_a_connection_is_challenged() {
    let mut script = Script::established();
    let blind = Segment {
        seq: theirs(10),
        ..syn()
    };
    assert_eq!(script.feed(blind).refusal, Some(Refusal::BlindSyn));
    assert_eq!(flags(&script.sent_one()), ".");
    assert_eq!(script.state(), State::Established);
}

#[test]
fn challenges_are_limited() {
    let mut script = Script::established();
    assert_eq!(script.answer(rst(5)).len(), 1);
    for _ in 0..100 {
        script.skip(ms(4));
        assert_eq!(script.answer(rst(5)), []);
    }
    script.skip(ms(100));
    assert_eq!(script.answer(rst(5)).len(), 1);
}

#[test]
fn data_that_comes_twice_is_always_acknowledged() {
    let mut script = Script::established();
    script.answer(segment(0, 0, 10));
    for _ in 0..5 {
        assert_eq!(script.answer(segment(0, 0, 10)).len(), 1);
    }
}

#[test]
fn a_timestamp_from_before_is_refused_and_answered() {
    let mut script = Script::established_with(config(), stamped(syn(), 100));
    let _ = script.feed(stamped(segment(0, 0, 10), 110));
    script.sent();
    let old = script.feed(stamped(segment(10, 0, 10), 109));
    assert_eq!(
        (old.refusal, old.delivered),
        (Some(Refusal::OldTimestamp), 0)
    );
    assert_eq!(script.sent().len(), 1);
    assert_eq!(script.feed(stamped(segment(10, 0, 10), 110)).delivered, 10);
}

#[test]
fn a_segment_outside_of_the_window_does_not_set_the_timestamp() {
    let mut script = Script::established_with(config(), stamped(syn(), 100));
    let _ = script.feed(stamped(segment(50 * MSS, 0, 10), 1_000_000));
    // Nor does one inside that leaves a hole.
    let _ = script.feed(stamped(segment(5, 0, 10), 1_000_000));
    assert_eq!(script.feed(stamped(segment(0, 0, 5), 101)).delivered, 15);
}

#[test]
fn a_segment_without_the_timestamp_that_was_agreed_on_is_dropped() {
    let mut script = Script::established_with(config(), stamped(syn(), 100));
    let bare = script.feed(segment(0, 0, 10));
    assert_eq!(bare.refusal, Some(Refusal::NoTimestamp));
    assert_eq!(script.sent(), []);
    assert!(script.feed(rst(0)).closed, "but not a RST");
}

#[test]
fn a_syn_without_the_timestamp_is_challenged_all_the_same() {
    // A peer that has started anew may not offer timestamps this time (RFC 5961, section 4.2).
    for seq in [theirs(10), theirs(50 * MSS)] {
        let mut script = Script::established_with(config(), stamped(syn(), 100));
        let challenge = script.answer(Segment { seq, ..syn() });
        assert_eq!(challenge.len(), 1);
        assert_eq!(challenge[0].ack, Some(theirs(0)));
        assert_eq!(script.state(), State::Established);
    }
}

#[test]
fn a_fin_before_data_that_is_there_already_is_no_end() {
    let mut script = Script::established();
    let _ = script.feed(segment(100, 0, 50));
    let _ = script.feed(fin(120, 0));
    let filled = script.feed(segment(0, 0, 100));
    assert_eq!((filled.delivered, filled.finished), (150, false));
    assert_eq!(script.feed(segment(150, 0, 10)).delivered, 10);
    assert!(script.feed(fin(160, 0)).finished);
}

#[test]
fn small_segments_with_holes_do_not_shut_out_what_comes_next() {
    let mut script = Script::established();
    let mut kept = 0;
    for hole in 0..200 {
        kept += u32::from(script.feed(segment(100 + 2 * hole, 0, 1)).keep.is_some());
    }
    assert_eq!(kept, 64, "holes are bounded");
    // It fills no hole to its end.
    let next = script.feed(segment(0, 0, 10));
    assert_eq!((next.delivered, next.refusal), (10, None));
    let far = script.feed(segment(5000, 0, 10));
    assert_eq!(far.refusal, Some(Refusal::TooManyHoles));
    let again = script.feed(segment(100, 0, 1));
    assert_eq!(again.refusal, Some(Refusal::Duplicate));
}

#[test]
fn an_acknowledgement_resets_a_syn_only_if_it_is_for_it() {
    let mut script = Script::active(config());
    script.sent();
    let wrong = Segment {
        ack: Some(ours(5)),
        ..syn_ack()
    };
    let answer = script.feed(wrong);
    assert!(
        answer
            .reply
            .is_some_and(|reply| reply.rst && reply.seq == ours(5))
    );
    let blind = Segment {
        rst: true,
        syn: false,
        ..wrong
    };
    assert!(!script.feed(blind).closed);
    assert_eq!(script.state(), State::SynSent);
}

/// Every combination of flags, numbers, lengths and windows, in every synchronized state and in
/// SYN-SENT: nothing panics, numbers never go back, and only a RST exactly in its place ends it.
#[test]
fn no_segment_does_harm() {
    let makers: [fn() -> Script; 11] = [
        || Script::active(config()),
        || Script::passive(config(), &syn()),
        Script::established,
        || Script::established_with(config(), stamped(syn(), 100)),
        || closing(Script::established()),
        || half_closed(Script::established()),
        || {
            let mut script = Script::established();
            let _ = script.feed(segment(MSS, 0, MSS));
            script.push(5 * MSS);
            script
        },
        || closing(half_closed(Script::established())),
        || half_closed(closing(Script::established())),
        || {
            let mut script = closing(Script::established());
            script.sent();
            let _ = script.feed(segment(0, 1, 0));
            script
        },
        || {
            let mut script = Script::active(config());
            script.sent();
            let _ = script.feed(syn());
            script
        },
    ];
    let states: Vec<State> = makers.iter().map(|maker| maker().state()).collect();
    for state in [
        State::SynSent,
        State::SynReceived,
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
        State::Closing,
        State::LastAck,
    ] {
        assert!(states.contains(&state), "{state:?} is left out");
    }
    for maker in makers {
        let mut base = maker();
        base.sent();
        for flags in 0..32u32 {
            for seq in numbers(
                base.connection.receive_next(),
                base.connection
                    .receive
                    .window
                    .edge(base.connection.receive_next()),
            ) {
                for ack in numbers(base.connection.send_una(), base.connection.send.next) {
                    for (len, window, value) in [
                        (0, 0, 100),
                        (1, 1, 101),
                        (MSS, 65_535, 99),
                        (1 << 20, 7, 100),
                    ] {
                        let one = Segment {
                            seq: crate::SeqNumber(seq),
                            ack: (flags & 1 != 0).then_some(crate::SeqNumber(ack)),
                            window,
                            syn: flags & 2 != 0,
                            fin: flags & 4 != 0,
                            rst: flags & 8 != 0,
                            psh: flags & 16 != 0,
                            len,
                            ..Segment::default()
                        };
                        harmless(&base, one);
                        harmless(&base, stamped(one, value));
                    }
                }
            }
        }
    }
}

/// The same for what no connection answers.
#[test]
fn no_segment_does_harm_where_there_is_no_connection() {
    let mut script = closing(Script::established_with(config(), stamped(syn(), 100)));
    script.sent();
    let _ = script.feed(stamped(fin(0, 1), 100));
    let waiting = script.connection.time_wait(script.now).unwrap();
    let (next, una) = (
        script.connection.receive_next(),
        script.connection.send_una(),
    );
    for flags in 0..16u32 {
        for (seq, ack) in numbers(next, next)
            .into_iter()
            .flat_map(|seq| numbers(una, una).map(|ack| (seq, ack)))
        {
            for (len, value) in [(0, 99), (1, 100), (MSS, 101), (1 << 20, u32::MAX)] {
                let one = Segment {
                    seq: crate::SeqNumber(seq),
                    ack: (flags & 1 != 0).then_some(crate::SeqNumber(ack)),
                    syn: flags & 2 != 0,
                    fin: flags & 4 != 0,
                    rst: flags & 8 != 0,
                    len,
                    ..Segment::default()
                };
                harmless_without_connection(waiting, script.now, one);
                harmless_without_connection(waiting, script.now, stamped(one, value));
            }
        }
    }
}

fn harmless_without_connection(mut waiting: TimeWait, now: Instant, segment: Segment) {
    let answer = waiting.on_segment(now, &segment, &config());
    let bare_syn = segment.syn && segment.ack.is_none() && !segment.rst;
    match answer {
        Answer::Ack(ack) => assert!(!segment.rst && !ack.rst, "{segment:?}"),
        Answer::Reopen(_) => assert!(bare_syn, "{segment:?}"),
        Answer::Ignore => {}
    }
    assert_eq!(waiting.until(), now + config().time_wait);
    // Two hosts that know nothing of each other do not go on for ever.
    match closed::on_segment(&segment) {
        Some(rst) => assert!(rst.rst && closed::on_segment(&rst).is_none(), "{segment:?}"),
        None => assert!(segment.rst, "{segment:?}"),
    }
    if listen::on_segment(&segment) == listen::Arrival::Syn {
        assert!(bare_syn, "{segment:?}");
    }
}

fn closing(mut script: Script) -> Script {
    script.connection.close(script.now);
    script
}

fn half_closed(mut script: Script) -> Script {
    let _ = script.feed(fin(0, 0));
    script
}

fn numbers(low: crate::SeqNumber, high: crate::SeqNumber) -> [u32; 8] {
    let (low, high) = (low.0, high.0);
    [
        low.wrapping_sub(1 << 30),
        low.wrapping_sub(1),
        low,
        low.wrapping_add(1),
        high.wrapping_sub(1),
        high,
        high.wrapping_add(1),
        high.wrapping_add(1 << 30),
    ]
}

fn harmless(base: &Script, segment: Segment) {
    let mut script = Script {
        connection: base.connection.clone(),
        now: base.now,
    };
    let before = (
        script.connection.receive_next(),
        script.connection.send_una(),
    );
    let was = script.state();
    let disposition = script.feed(segment);
    script.sent();
    if disposition.failure.is_some() {
        let exact = segment.rst && segment.seq == before.0;
        let refused = was == State::SynSent && segment.rst && segment.ack.is_some();
        assert!(exact || refused, "{was:?} was ended by {segment:?}");
    } else if was != State::SynSent {
        assert!(
            !script.connection.receive_next().before(before.0),
            "{segment:?}"
        );
        assert!(
            !script.connection.send_una().before(before.1),
            "{segment:?}"
        );
    }
    if let Some(keep) = disposition.keep {
        assert!(keep.skip + keep.len <= segment.len, "{segment:?}");
    }
    // Whatever it was, an honest peer goes on.
    let went_on = !disposition.finished && script.connection.receive.fin.is_none();
    if disposition.refusal.is_some()
        && went_on
        && was == State::Established
        && base.connection.clock.is_none()
    {
        let next = script.connection.receive_next();
        let honest = Segment {
            seq: next,
            ack: Some(script.connection.send_una()),
            ..super::script::segment(0, 0, 5)
        };
        assert!(script.feed(honest).delivered >= 5, "after {segment:?}");
    }
}
