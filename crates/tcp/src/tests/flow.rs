//! Flow control: the windows of both ends, probes, and the silly window syndrome (RFC 9293, section
//! 3.8.6).

use super::script::{MSS, Script, config, ms, ours, segment};
use crate::Segment;

fn lens(sent: &[Segment]) -> Vec<u32> {
    sent.iter().map(|segment| segment.len).collect()
}

/// A segment that offers `window`.
fn offers(window: u16, segment: Segment) -> Segment {
    Segment { window, ..segment }
}

#[test]
fn a_closed_window_is_probed_with_doubling_waits_and_opens() {
    let mut script = Script::established();
    let _ = script.feed(Segment {
        window: 0,
        ..segment(0, 0, 1)
    });
    script.sent();
    script.push(100);
    assert_eq!(script.sent(), []);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let before = script.now;
        let _ = script.fire_within(ms(120_000));
        waits.push((script.now - before).as_millis());
        let probe = script.sent_one();
        assert_eq!((probe.seq, probe.len), (ours(0) - 1, 0));
        // The peer is there, and its window is still closed.
        let _ = script.feed(Segment {
            window: 0,
            ..segment(1, 0, 0)
        });
    }
    assert_eq!(waits, [200, 400, 800, 1600]);
    let opened = script.answer(segment(1, 0, 0));
    assert_eq!(lens(&opened), [100]);
}

#[test]
fn a_window_that_stays_closed_does_not_keep_an_orphan_for_ever() {
    let mut script = Script::established();
    let _ = script.feed(Segment {
        window: 0,
        ..segment(0, 0, 1)
    });
    script.push(100);
    script.connection.close(script.now);
    script.connection.orphan(script.now);
    script.sent();
    for probes in 0.. {
        assert!(probes < 10, "it is probed for ever");
        if script.fire_within(ms(120_000)).closed {
            break;
        }
        script.sent();
        let _ = script.feed(Segment {
            window: 0,
            ..segment(1, 0, 0)
        });
    }
}

#[test]
fn a_peer_that_takes_its_window_back_is_asked_as_long_as_it_answers() {
    let mut script = Script::established();
    script.push(1000);
    script.sent();
    for round in 0..40 {
        let _ = script.fire_within(ms(120_000));
        assert_eq!(script.sent_one().len, 1000, "round {round}");
        let _ = script.feed(Segment {
            window: 0,
            ..segment(0, 0, 0)
        });
    }
}

#[test]
fn a_peer_that_takes_its_window_back_does_not_keep_an_orphan_for_ever() {
    let mut script = Script::established();
    script.push(1000);
    script.connection.close(script.now);
    script.connection.orphan(script.now);
    script.sent();
    for round in 0.. {
        assert!(round <= 2 * config().orphan_retries, "it is sent for ever");
        if script.fire_within(ms(120_000)).closed {
            break;
        }
        script.sent();
        let _ = script.feed(Segment {
            window: 0,
            ..segment(0, 0, 0)
        });
    }
}

#[test]
fn a_peer_that_answers_no_probe_is_gone() {
    let mut script = Script::established();
    let _ = script.feed(Segment {
        window: 0,
        ..segment(0, 0, 1)
    });
    script.sent();
    script.push(100);
    script.sent();
    for _ in 0..15 {
        assert!(!script.fire_within(ms(120_000)).closed);
        script.sent();
    }
    assert!(script.fire_within(ms(120_000)).closed);
}

#[test]
fn a_window_that_was_offered_is_not_taken_back() {
    let mut script = Script::established();
    let ack = script.answer(segment(0, 0, MSS))[0];
    let edge = ack.ack.unwrap() + u32::from(ack.window);
    script.connection.set_receive_room(0);
    let ack = script.answer(segment(MSS, 0, MSS))[0];
    assert_eq!(ack.ack.unwrap() + u32::from(ack.window), edge);
}

#[test]
fn a_window_that_opens_again_is_announced() {
    let mut script = Script::established();
    for part in 0..10 {
        let _ = script.feed(segment(part * MSS, 0, MSS));
        script.connection.set_receive_room((9 - part) * MSS);
        script.sent();
    }
    assert_eq!(script.answer(segment(10 * MSS, 0, 1))[0].window, 0);
    script.connection.read(100);
    assert_eq!(script.sent(), [], "too little to speak of");
    script.connection.read(5 * MSS);
    assert_eq!(u32::from(script.sent_one().window), 5 * MSS);
}

#[test]
fn what_exceeds_the_window_is_cut_off() {
    let mut script = Script::established();
    let _ = script.feed(segment(0, 0, MSS));
    let most = script.feed(segment(MSS, 0, 20 * MSS));
    assert_eq!(most.delivered, 9 * MSS);
}

#[test]
fn nothing_is_sent_beyond_the_peers_window() {
    let mut script = Script::established();
    let _ = script.feed(Segment {
        window: 2500,
        ..segment(0, 0, 1)
    });
    script.push(10 * MSS);
    let sent = script.sent();
    let end = sent
        .iter()
        .map(|segment| segment.end())
        .next_back()
        .unwrap();
    assert!(end.since(ours(0)) <= 2500);
}

#[test]
fn the_window_of_a_newer_acknowledgement_counts_though_its_data_is_old() {
    let mut script = Script::established();
    script.push(20 * MSS);
    script.sent();
    // Data behind a hole, then what fills the hole: it was sent later, and has the later window.
    let _ = script.feed(Segment {
        window: 10_000,
        ..segment(100, MSS, 10)
    });
    let _ = script.feed(Segment {
        window: 9_000,
        ..segment(0, 2 * MSS, 100)
    });
    let end = script.sent().iter().map(Segment::end).next_back();
    assert_eq!(end, Some(ours(11 * MSS)));
}

#[test]
fn a_small_window_is_not_used_until_half_of_the_largest_is_open() {
    let mut script = Script::established();
    let _ = script.feed(offers(600, segment(0, 0, 0)));
    // The largest was 60 000 bytes: 600 are not worth a segment, but for the probe's timer.
    script.push(5000);
    assert_eq!(script.sent(), []);
    let _ = script.fire_within(ms(1000));
    assert_eq!(lens(&script.sent()), [600]);
}

#[test]
fn a_window_smaller_than_a_segment_is_used_when_it_never_was_larger() {
    let mut script = Script::passive(config(), &offers(600, super::script::syn()));
    script.sent();
    assert!(script.feed(offers(600, segment(0, 0, 0))).established);
    script.push(5000);
    assert_eq!(lens(&script.sent()), [600]);
    // Half of it is worth a segment, but not beside what is outstanding.
    assert_eq!(script.answer(offers(400, segment(0, 300, 0))), []);
    assert_eq!(lens(&script.answer(offers(300, segment(0, 600, 0)))), [300]);
}

#[test]
fn a_probe_is_not_sent_while_something_is_outstanding() {
    let mut script = Script::established();
    script.push(2 * MSS);
    script.sent();
    script.push(MSS);
    let _ = script.feed(offers(0, segment(0, MSS, 0)));
    assert_eq!(script.sent(), []);
    // It is the retransmission that asks.
    let _ = script.fire_within(ms(1000));
    assert_eq!(script.sent_one().seq, ours(MSS));
}

#[test]
fn a_window_that_opens_by_old_news_stays_closed() {
    let mut script = Script::established();
    let _ = script.feed(offers(0, segment(100, 0, 10)));
    script.push(100);
    script.sent();
    // It was sent before the one that closed the window, and has come late.
    let _ = script.feed(segment(0, 0, 100));
    assert!(script.sent().iter().all(|sent| sent.len == 0));
}

#[test]
fn a_closed_window_still_takes_acknowledgements_and_the_fin() {
    let mut script = Script::established();
    for part in 0..10 {
        let _ = script.feed(segment(part * MSS, 0, MSS));
        script.connection.set_receive_room((9 - part) * MSS);
    }
    assert_eq!(script.sent_one().window, 0);
    script.push(10);
    assert_eq!(script.sent_one().len, 10);
    assert_eq!(script.feed(segment(10 * MSS, 10, 5)).acked, 10);
    assert_eq!(script.sent_one().window, 0);
    assert!(script.feed(super::script::fin(10 * MSS, 10)).finished);
}
