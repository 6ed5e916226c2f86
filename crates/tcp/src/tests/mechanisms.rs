//! One mechanism at a time.

use super::script::{
    ISS, MSS, Script, config, fin, flags, ms, ours, segment, syn, syn_ack, theirs,
};
use crate::{Algorithm, Config, Connection, Options, Segment, SeqNumber, Timestamps};

fn lens(sent: &[Segment]) -> Vec<u32> {
    sent.iter().map(|segment| segment.len).collect()
}

fn syn_with(options: Options) -> Segment {
    Segment { options, ..syn() }
}

// Options of the SYN.

#[test]
fn segments_are_as_long_as_both_ends_and_the_options_allow() {
    let mss = |ours: u16, theirs: Option<u16>, stamped: bool| {
        let timestamps = stamped.then_some(Timestamps::default());
        let options = Options {
            mss: theirs,
            timestamps,
            ..Options::default()
        };
        let config = Config {
            mss: ours,
            ..config()
        };
        Script::passive(config, &syn_with(options))
            .connection
            .send_mss()
    };
    assert_eq!(mss(1460, Some(1400), false), 1400);
    assert_eq!(mss(1400, Some(1460), false), 1400);
    assert_eq!(mss(1460, None, false), 536);
    assert_eq!(mss(1460, Some(1460), true), 1448);
    assert_eq!(
        mss(1460, Some(1), true),
        52,
        "no peer makes us send single bytes"
    );
}

#[test]
fn windows_are_scaled_only_if_both_ends_say_so() {
    let big = Config {
        receive_buffer: 1 << 20,
        ..config()
    };
    let mut script = Script::passive(big, &syn());
    assert_eq!(script.sent_one().options.window_scale, None);
    let scaled = Options {
        window_scale: Some(2),
        ..syn().options
    };
    let mut script = Script::established_with(big, syn_with(scaled));
    script.push(1_000_000);
    // The peer's field counts fourfold.
    let _ = script.feed(Segment {
        window: 1000,
        ..segment(0, 0, 1)
    });
    let sent: u32 = lens(&script.sent()).iter().sum();
    assert_eq!(sent, 4000);
}

#[test]
fn timestamps_echo_the_peers_clock() {
    let stamp = Timestamps { value: 77, echo: 0 };
    let options = Options {
        timestamps: Some(stamp),
        ..syn().options
    };
    let mut script = Script::passive(config(), &syn_with(options));
    let stamp = script.sent_one().options.timestamps.unwrap();
    assert_eq!((stamp.value, stamp.echo), (1000, 77));
}

// Acknowledging.

#[test]
fn every_second_full_segment_is_acknowledged_and_a_single_one_after_the_delay() {
    let mut script = Script::settled();
    assert_eq!(script.answer(segment(1, 2, MSS)), []);
    assert_eq!(script.answer(segment(1 + MSS, 2, MSS)).len(), 1);
    assert_eq!(script.answer(segment(1 + 2 * MSS, 2, MSS)), []);
    let _ = script.fire_within(ms(40));
    assert_eq!(script.sent_one().ack, Some(theirs(1 + 3 * MSS)));
}

#[test]
fn a_hole_is_reported_at_once_and_so_is_its_end() {
    let mut script = Script::settled();
    assert_eq!(script.answer(segment(101, 2, 50))[0].ack, Some(theirs(1)));
    assert_eq!(script.answer(segment(151, 2, 50))[0].ack, Some(theirs(1)));
    assert_eq!(script.answer(segment(1, 2, 100))[0].ack, Some(theirs(201)));
    assert_eq!(script.answer(fin(201, 2)).len(), 1, "a FIN too");
}

#[test]
fn data_takes_the_acknowledgement_along() {
    let mut script = Script::settled();
    let _ = script.feed(segment(1, 2, 100));
    script.push(10);
    assert_eq!(script.sent_one().ack, Some(theirs(101)));
    assert!(script.connection.ack.deadline().is_none());
}

// Small segments.

#[test]
fn a_small_segment_waits_while_another_is_outstanding() {
    let mut script = Script::established();
    script.push(10);
    assert_eq!(script.sent_one().len, 10);
    script.push(10);
    script.push(10);
    assert_eq!(script.sent(), []);
    assert_eq!(lens(&script.answer(segment(0, 10, 0))), [20]);
}

#[test]
fn no_delay_sends_small_segments_at_once() {
    let mut script = Script::established();
    script.choose(|options| options.no_delay = true);
    script.push(10);
    script.sent();
    script.push(10);
    assert_eq!(script.sent_one().len, 10);
}

#[test]
fn more_to_come_holds_the_last_segment_for_200_ms() {
    let mut script = Script::established();
    script.connection.push(MSS + 10, true);
    assert_eq!(lens(&script.sent()), [MSS]);
    let start = script.now;
    let _ = script.feed(segment(0, MSS, 0));
    assert_eq!(script.sent(), []);
    let _ = script.fire_within(ms(200));
    assert_eq!(script.now - start, ms(200));
    assert_eq!(script.sent_one().len, 10);
}

#[test]
fn what_comes_after_more_takes_it_along() {
    let mut script = Script::established();
    script.connection.push(10, true);
    assert_eq!(script.sent(), []);
    script.push(20);
    assert_eq!(script.sent_one().len, 30);
}

#[test]
fn a_cork_is_pulled() {
    let mut script = Script::established();
    script.choose(|options| options.cork = true);
    script.push(10);
    assert_eq!(script.sent(), []);
    script.choose(|options| options.cork = false);
    assert_eq!(script.sent_one().len, 10);
}

#[test]
fn pulling_a_cork_sends_what_was_said_to_have_more_to_come() {
    let mut script = Script::established();
    script.choose(|options| options.cork = true);
    script.connection.push(10, true);
    assert_eq!(script.sent(), []);
    script.choose(|options| options.cork = false);
    assert_eq!(script.sent_one().len, 10);
}

#[test]
fn the_algorithm_can_be_changed_in_mid_connection() {
    let threshold = |algorithm: Algorithm| {
        let mut script = Script::established();
        script.choose(|options| options.algorithm = algorithm);
        script.push(10 * MSS);
        script.sent();
        (0..3).for_each(|_| drop(script.answer(segment(0, 0, 0))));
        script.connection.info(script.now).threshold
    };
    assert_eq!(threshold(Algorithm::NewReno), 5 * MSS);
    assert_eq!(threshold(Algorithm::Cubic), 7 * MSS);
}

#[test]
fn a_segment_ends_where_its_piece_ends() {
    let mut script = Script::established();
    script.push(1500);
    let piece = |seq: SeqNumber| 600 - seq.since(ours(0)) % 600;
    let sent: Vec<u32> = std::iter::from_fn(|| {
        let segment = script
            .connection
            .poll_transmit(script.now, &mut { piece })?;
        Some(segment.len)
    })
    .collect();
    assert_eq!(sent, [600, 600, 300]);
}

// Losses.

/// A connection with 10 segments outstanding.
fn flight() -> Script {
    let mut script = Script::established();
    script.push(10 * MSS);
    assert_eq!(script.sent().len(), 10);
    script
}

#[test]
fn the_third_duplicate_sends_the_first_hole_again() {
    let mut script = flight();
    assert_eq!(script.answer(segment(0, 0, 0)), []);
    assert_eq!(script.answer(segment(0, 0, 0)), []);
    let again = script.answer(segment(0, 0, 0));
    assert_eq!((again.len(), again[0].seq, again[0].len), (1, ours(0), MSS));
}

#[test]
fn a_loss_after_gigabytes_without_one_is_still_recovered() {
    // Beyond 2^31 bytes the end of the last recovery (RFC 6582's "recover") would lie ahead again.
    let scaled = Options {
        mss: Some(60_000),
        window_scale: Some(8),
        ..Options::default()
    };
    let big = Config {
        mss: 60_000,
        ..config()
    };
    let mut script = Script::established_with(big, syn_with(scaled));
    let mut acked = 0u32;
    while acked < 3 << 30 {
        script.push(2 * 60_000);
        acked += script.sent().iter().map(|sent| sent.len).sum::<u32>();
        let _ = script.feed(segment(0, acked, 0));
    }
    script.push(5 * 60_000);
    script.sent();
    (0..2).for_each(|_| drop(script.answer(segment(0, acked, 0))));
    assert_eq!(script.answer(segment(0, acked, 0))[0].seq, ours(acked));
}

#[test]
fn the_first_duplicates_let_new_data_out() {
    let mut script = flight();
    script.push(5 * MSS);
    assert_eq!(script.sent(), [], "the congestion window is full");
    assert_eq!(script.answer(segment(0, 0, 0))[0].seq, ours(10 * MSS));
    assert_eq!(script.answer(segment(0, 0, 0))[0].seq, ours(11 * MSS));
}

#[test]
fn a_partial_acknowledgement_sends_the_next_hole_again_at_once() {
    let mut script = flight();
    (0..3).for_each(|_| drop(script.answer(segment(0, 0, 0))));
    let again = script.answer(segment(0, 3 * MSS, 0));
    assert_eq!(again[0].seq, ours(3 * MSS));
    let again = script.answer(segment(0, 7 * MSS, 0));
    assert_eq!(again[0].seq, ours(7 * MSS));
    assert_eq!(script.answer(segment(0, 10 * MSS, 0)), []);
}

#[test]
fn what_was_sent_during_recovery_is_not_sent_again_when_it_is_over() {
    let mut script = flight();
    script.push(20 * MSS);
    (0..9).for_each(|_| drop(script.answer(segment(0, 0, 0))));
    assert!(script.connection.send.next.after(ours(12 * MSS)));
    let sent = script.answer(segment(0, 12 * MSS, 0));
    assert!(
        sent.iter().all(|segment| segment.seq.after(ours(12 * MSS))),
        "{sent:?}"
    );
}

#[test]
fn the_end_of_a_recovery_lets_no_burst_out() {
    let mut script = flight();
    script.push(20 * MSS);
    (0..3).for_each(|_| drop(script.answer(segment(0, 0, 0))));
    // Nothing is in the network then (RFC 6582, section 3.2, (3)).
    assert_eq!(script.answer(segment(0, 12 * MSS, 0)).len(), 2);
}

#[test]
fn more_duplicates_than_there_can_be_begin_no_recovery() {
    let mut script = Script::established();
    script.push(3 * MSS);
    script.sent();
    (0..5).for_each(|_| assert_eq!(script.answer(segment(0, 0, 0)), []));
}

#[test]
fn duplicates_of_what_a_timeout_sent_again_begin_no_recovery() {
    let mut script = flight();
    let _ = script.fire_within(ms(1000));
    script.sent();
    for acked in [4, 8, 10] {
        let _ = script.answer(segment(0, acked * MSS, 0));
    }
    script.push(5 * MSS);
    assert_eq!(script.sent().len(), 5);
    // RFC 6582, section 3.2, (1): they may answer what was sent twice.
    (0..3).for_each(|_| assert_eq!(script.answer(segment(0, 10 * MSS, 0)), []));
}

#[test]
fn data_and_window_changes_are_no_duplicates() {
    let mut script = flight();
    for index in 0..3u16 {
        let _ = script.feed(Segment {
            window: 50_000 + index,
            ..segment(0, 0, 0)
        });
        let _ = script.feed(segment(u32::from(index) * 10, 0, 10));
    }
    assert!(script.sent().iter().all(|segment| segment.len == 0));
}

#[test]
fn after_a_timeout_everything_goes_again_in_slow_start() {
    let mut script = flight();
    let _ = script.fire_within(ms(1000));
    let first = script.sent_one();
    assert_eq!((first.seq, first.len), (ours(0), MSS));
    let next = script.answer(segment(0, MSS, 0));
    assert_eq!(
        next.iter().map(|segment| segment.seq).collect::<Vec<_>>(),
        [ours(MSS), ours(2 * MSS)]
    );
    // What had arrived after the hole is not sent again.
    let next = script.answer(segment(0, 8 * MSS, 0));
    assert!(
        next.iter()
            .all(|segment| !segment.seq.before(ours(8 * MSS)))
    );
}

#[test]
fn nothing_new_goes_before_what_was_lost() {
    let mut script = flight();
    let _ = script.fire_within(ms(1000));
    assert_eq!(script.sent_one().seq, ours(0));
    // The window has room for one segment and a little: the little would fit beside it.
    script.push(10);
    let sent = script.answer(segment(0, 900, 0));
    assert_eq!((sent.len(), sent[0].seq), (1, ours(MSS)), "{sent:?}");
}

/// A connection with SACK on a path whose round trip takes 20 ms, as it knows.
fn selective() -> Script {
    let options = Options {
        sack_permitted: true,
        ..syn().options
    };
    let mut script = Script::passive(config(), &syn_with(options));
    script.sent_one();
    script.skip(ms(20));
    assert!(script.feed(segment(0, 0, 0)).established);
    script
}

#[test]
fn the_tail_of_a_flight_is_probed_long_before_the_timeout() {
    let mut script = selective();
    script.push(2 * MSS);
    script.sent();
    let before = script.now;
    let _ = script.fire_within(ms(1000));
    assert_eq!(script.now - before, ms(42), "two round trips and a little");
    assert_eq!(script.sent_one().seq, ours(MSS));
    assert_eq!(script.connection.info(script.now).retransmits, 0);
    let rto = script.connection.rtt.rto(&config());
    let due = script.connection.next_deadline().unwrap();
    assert_eq!(due - script.now, rto, "a whole timeout for its answer");
}

#[test]
fn a_single_segment_is_probed_no_later_than_the_timeout_and_instead_of_it() {
    let mut script = selective();
    script.push(10);
    script.sent_one();
    let (before, rto) = (script.now, script.connection.rtt.rto(&config()));
    let _ = script.fire_within(ms(1000));
    // RFC 8985, section 7.2: the peer may delay its acknowledgement.
    assert_eq!(script.now - before, rto);
    assert_eq!(script.sent_one().len, 10);
    let info = script.connection.info(script.now);
    assert_eq!((info.retransmits, info.backoff), (0, 0));
    assert_eq!(info.window, 10 * MSS);
}

#[test]
fn timeouts_double_until_a_new_measurement() {
    let mut script = Script::established();
    script.push(10);
    script.sent();
    let mut waits = Vec::new();
    for _ in 0..3 {
        let before = script.now;
        let _ = script.fire_within(ms(60_000));
        waits.push(script.now - before);
        script.sent();
    }
    assert!(
        waits.windows(2).all(|pair| pair[1] == pair[0] * 2),
        "{waits:?}"
    );
}

#[test]
fn what_was_sent_twice_measures_nothing() {
    let mut script = Script::established();
    script.push(10);
    script.sent();
    let rto = script.connection.rtt.rto(&config());
    let _ = script.fire_within(ms(60_000));
    script.sent();
    script.skip(ms(5000));
    let _ = script.feed(segment(0, 10, 0));
    assert_eq!(
        script.connection.rtt.rto(&config()),
        rto * 2,
        "backed off, and not measured"
    );
}

#[test]
fn of_several_segments_the_first_is_measured() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    script.skip(ms(60));
    assert!(script.feed(segment(0, 0, 0)).established);
    for _ in 0..2 {
        script.push(MSS);
        script.sent();
        script.skip(ms(30));
    }
    let _ = script.feed(segment(0, 2 * MSS, 0));
    assert_eq!(script.connection.rtt.srtt(), Some(ms(60)));
}

#[test]
fn a_syn_that_was_sent_twice_measures_nothing() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    let _ = script.fire_within(ms(1000));
    script.sent();
    script.skip(ms(10));
    assert!(script.feed(segment(0, 0, 0)).established);
    // RFC 6298, section 5.7.
    assert_eq!(
        script.connection.rtt.rto(&script.connection.config),
        ms(3000)
    );
}

#[test]
fn the_echo_of_an_early_syn_measures_nothing() {
    let mut script = Script::active(config());
    let first = script.sent_one().options.timestamps.unwrap();
    for _ in 0..3 {
        let _ = script.fire_within(ms(10_000));
        script.sent();
    }
    let mut answer = syn_ack();
    answer.options.timestamps = Some(Timestamps {
        value: 9,
        echo: first.value,
    });
    assert!(script.feed(answer).established);
    assert_eq!(script.connection.rtt.srtt(), None);
}

#[test]
fn a_syn_ack_that_the_peer_asked_for_again_measures_nothing() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    script.skip(ms(900));
    assert_eq!(script.answer(syn()).len(), 1);
    script.skip(ms(10));
    assert!(script.feed(segment(0, 0, 0)).established);
    // RFC 6298, section 3: it may answer the first or the second.
    assert_eq!(script.connection.rtt.srtt(), None);
    // What follows is measured again.
    script.push(10);
    script.sent();
    script.skip(ms(7));
    let _ = script.feed(segment(0, 10, 0));
    assert_eq!(script.connection.rtt.srtt(), Some(ms(7)));
}

#[test]
fn the_congestion_window_limits_a_flight() {
    let mut script = Script::established();
    script.push(50 * MSS);
    assert_eq!(script.sent().len(), 10);
    // Slow start: two for each that is acknowledged.
    assert_eq!(script.answer(segment(0, MSS, 0)).len(), 2);
}

#[test]
fn a_retransmitted_syn_makes_a_careful_start() {
    let mut script = Script::passive(config(), &syn());
    script.sent();
    let _ = script.fire_within(ms(1000));
    script.sent();
    let _ = script.feed(segment(0, 0, 0));
    script.push(10 * MSS);
    assert_eq!(script.sent().len(), 1, "RFC 5681, section 3.1");
}

#[test]
#[should_panic(expected = "closed for sending")]
fn data_behind_the_fin_is_a_broken_promise() {
    let mut script = Script::established();
    script.connection.close(script.now);
    script.push(1);
}

#[test]
#[should_panic(expected = "an MSS of 20")]
fn a_link_too_small_is_refused() {
    Connection::active(
        Config {
            mss: 20,
            ..config()
        },
        ISS,
        0,
    );
}

#[test]
fn pushed_data_is_marked() {
    let mut script = Script::established();
    script.push(MSS + 1);
    let marks: Vec<String> = script.sent().iter().map(flags).collect();
    assert_eq!(marks, [".", "P."]);
}

#[test]
fn the_echo_measures_what_was_sent_twice() {
    let stamped = |segment: Segment, value, echo| Segment {
        options: Options {
            timestamps: Some(Timestamps { value, echo }),
            ..segment.options
        },
        ..segment
    };
    let mut script = Script::established_with(config(), stamped(syn(), 5, 0));
    script.push(10);
    script.sent();
    let _ = script.fire_within(ms(60_000));
    let again = script.sent_one().options.timestamps.unwrap();
    script.skip(ms(30));
    let rto = script.connection.rtt.rto(&config());
    let _ = script.feed(stamped(segment(0, 10, 0), 6, again.value));
    assert!(
        script.connection.rtt.rto(&config()) < rto,
        "the backing off is over"
    );
}
