//! How long a connection waits for its peer: keepalive (RFC 1122, section 4.2.3.6), the user timeout
//! (RFC 5482; tcp(7)), the numbers of retransmissions; and the other options of tcp(7).

use std::time::Duration;

use super::script::{MSS, Script, config, fin, flags, ms, ours, segment, syn, syn_ack, theirs};
use crate::{Config, Failure, KeepAlive, Options, Segment, State, TcpOptions, Timestamps};

const IDLE: Duration = ms(10_000);
const INTERVAL: Duration = ms(2000);
const COUNT: u8 = 3;

const ALIVE: KeepAlive = KeepAlive {
    enabled: true,
    idle: IDLE,
    interval: INTERVAL,
    count: COUNT,
};

fn options(change: impl FnOnce(&mut TcpOptions)) -> Config {
    let mut config = config();
    change(&mut config.options);
    config
}

fn alive() -> Script {
    let config = options(|options| options.keep_alive = ALIVE);
    Script::established_with(config, syn())
}

fn impatient(most: Duration) -> Config {
    options(|options| options.user_timeout = Some(most))
}

/// Passes time until the next deadline and serves it. Returns how long that took, what failed, and
/// what was sent.
fn step(script: &mut Script) -> (Duration, Option<Failure>, Vec<Segment>) {
    let before = script.now;
    let disposition = script.fire_within(Duration::from_secs(100_000));
    let mut sent = script.sent();
    sent.extend(disposition.reply.map(|reply| *reply));
    (script.now - before, disposition.failure, sent)
}

/// Serves deadlines until the connection fails. Returns how long that took from now, why, and how many
/// segments were sent.
fn until_failure(script: &mut Script) -> (Duration, Failure, usize) {
    let before = script.now;
    let mut count = 0;
    for _ in 0..1000 {
        let (_, failure, sent) = step(script);
        if let Some(failure) = failure {
            return (script.now - before, failure, count);
        }
        count += sent.len();
    }
    panic!("it lives for ever");
}

/// What a window without room says.
fn closed_window(segment: Segment) -> Segment {
    Segment {
        window: 0,
        ..segment
    }
}

fn is_probe(sent: &[Segment]) -> bool {
    matches!(sent, [probe] if probe.len == 0 && probe.seq == ours(0) - 1 && flags(probe) == ".")
}

// Keepalive.

#[test]
fn silence_is_probed_after_idle_and_then_every_interval() {
    let mut script = alive();
    let (waited, _, sent) = step(&mut script);
    assert_eq!(waited, IDLE);
    assert!(is_probe(&sent), "{sent:?}");
    for _ in 1..COUNT {
        let (waited, _, sent) = step(&mut script);
        assert_eq!(waited, INTERVAL);
        assert!(is_probe(&sent), "{sent:?}");
    }
}

#[test]
fn probes_that_nobody_answers_end_the_connection_with_a_reset() {
    let mut script = alive();
    for _ in 0..COUNT {
        assert_eq!(step(&mut script).1, None);
    }
    let (waited, failure, sent) = step(&mut script);
    assert_eq!((waited, failure), (INTERVAL, Some(Failure::TimedOut)));
    assert_eq!(flags(&sent[0]), "R.");
    assert_eq!((sent[0].seq, sent[0].ack), (ours(0), Some(theirs(0))));
    assert_eq!(script.state(), State::Closed);
    assert_eq!(script.connection.next_deadline(), None);
}

#[test]
fn an_answered_probe_starts_the_wait_and_the_count_over() {
    let mut script = alive();
    step(&mut script);
    step(&mut script);
    script.skip(ms(500));
    assert_eq!(script.answer(segment(0, 0, 0)), []);
    let answered = script.now;
    // The deadline that was set before the answer finds that it was answered.
    while script.now < answered + IDLE {
        let (_, failure, sent) = step(&mut script);
        assert_eq!(failure, None);
        assert_eq!(sent.is_empty(), script.now < answered + IDLE);
    }
    assert_eq!(script.now, answered + IDLE);
    for _ in 1..COUNT {
        assert!(is_probe(&step(&mut script).2));
    }
    assert_eq!(step(&mut script).1, Some(Failure::TimedOut));
}

#[test]
fn data_from_the_peer_is_as_good_as_an_answer() {
    let mut script = alive();
    script.skip(IDLE - ms(1));
    assert_eq!(script.answer(segment(0, 0, 10)).len(), 1);
    let heard = script.now;
    step(&mut script);
    assert!(is_probe(&step(&mut script).2));
    assert_eq!(script.now, heard + IDLE);
}

#[test]
fn nothing_is_probed_while_data_is_outstanding() {
    let mut script = alive();
    script.skip(IDLE - ms(1));
    script.push(10);
    script.sent_one();
    let sent_at = script.now;
    let end = sent_at + IDLE;
    while script.now < end {
        let (_, failure, sent) = step(&mut script);
        assert_eq!(failure, None);
        assert!(sent.iter().all(|sent| sent.len == 10), "{sent:?}");
    }
}

#[test]
fn nothing_is_probed_if_data_goes_out_instead() {
    let mut script = alive();
    let _ = script.fire_within(IDLE);
    script.push(10);
    let sent = script.sent();
    assert_eq!(sent.iter().map(|sent| sent.len).collect::<Vec<_>>(), [10]);
}

#[test]
fn silence_before_it_is_switched_on_counts() {
    let mut script = Script::established();
    script.skip(IDLE / 2);
    script.choose(|options| options.keep_alive = ALIVE);
    let (waited, _, sent) = step(&mut script);
    assert_eq!(waited, IDLE / 2);
    assert!(is_probe(&sent));
}

#[test]
fn it_can_be_switched_off() {
    let mut script = alive();
    step(&mut script);
    script.choose(|options| options.keep_alive.enabled = false);
    assert_eq!(script.connection.next_deadline(), None);
}

#[test]
fn a_probe_that_is_due_when_it_is_switched_off_is_not_sent() {
    let mut script = alive();
    let _ = script.fire_within(IDLE);
    script.choose(|options| options.keep_alive.enabled = false);
    assert_eq!(script.sent(), []);
}

#[test]
fn data_that_waits_for_a_window_has_the_timer_of_the_window() {
    let mut script = alive();
    let _ = script.feed(closed_window(segment(0, 0, 1)));
    script.push(10);
    script.sent();
    let (took, _, _) = until_failure(&mut script);
    assert!(took > Duration::from_secs(600), "tcp_retries2: {took:?}");
}

#[test]
fn other_times_do_not_forget_the_probes_that_were_sent() {
    let mut script = alive();
    for _ in 0..COUNT {
        step(&mut script);
    }
    script.choose(|options| options.keep_alive.interval = ms(1));
    let (_, failure, _) = step(&mut script);
    assert_eq!(failure, Some(Failure::TimedOut));
}

#[test]
fn it_watches_in_every_state_in_which_nothing_else_does() {
    // Only our side has closed.
    let mut script = alive();
    script.connection.close(script.now);
    script.sent_one();
    let _ = script.feed(segment(0, 1, 0));
    assert_eq!(script.state(), State::FinWait2);
    let probe = step(&mut script).2;
    assert_eq!((probe.len(), probe[0].seq), (1, ours(0)));
    assert_eq!(until_failure(&mut script).1, Failure::TimedOut);
    // Only the peer has.
    let mut script = alive();
    let _ = script.feed(fin(0, 0));
    script.sent();
    assert_eq!(script.state(), State::CloseWait);
    assert!(is_probe(&step(&mut script).2));
    assert_eq!(until_failure(&mut script).1, Failure::TimedOut);
}

#[test]
fn nothing_is_probed_before_the_connection_stands() {
    let config = options(|options| {
        options.keep_alive = KeepAlive {
            idle: ms(100),
            ..ALIVE
        };
    });
    for mut script in [Script::active(config), Script::passive(config, &syn())] {
        let mut sent = script.sent();
        while script.state() != State::Closed {
            sent.extend(step(&mut script).2);
        }
        assert!(sent.iter().all(|sent| sent.syn), "{sent:?}");
    }
}

#[test]
fn it_begins_when_the_connection_stands() {
    let config = options(|options| options.keep_alive = ALIVE);
    let mut script = Script::active(config);
    script.sent_one();
    script.skip(ms(500));
    assert!(script.feed(syn_ack()).established);
    script.sent_one();
    let (waited, _, sent) = step(&mut script);
    assert_eq!(waited, IDLE);
    assert!(is_probe(&sent));
}

#[test]
fn a_user_timeout_takes_the_place_of_the_count() {
    for (most, probes) in [(IDLE + INTERVAL / 2, 1), (IDLE + INTERVAL * 6, 6)] {
        let mut script = alive();
        script.choose(|options| options.user_timeout = Some(most));
        let (took, failure, sent) = until_failure(&mut script);
        assert_eq!((failure, sent), (Failure::TimedOut, probes));
        assert_eq!(took, IDLE + INTERVAL * probes as u32);
    }
}

#[test]
fn a_user_timeout_shorter_than_the_silence_waits_for_a_probe() {
    let mut script = alive();
    script.choose(|options| options.user_timeout = Some(ms(1)));
    let (took, _, sent) = until_failure(&mut script);
    assert_eq!((took, sent), (IDLE + INTERVAL, 1));
}

// The user timeout.

#[test]
fn data_that_is_not_acknowledged_for_so_long_ends_the_connection() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    script.push(10);
    script.sent_one();
    let (took, failure, _) = until_failure(&mut script);
    assert_eq!((took, failure), (ms(5000), Failure::TimedOut));
}

#[test]
fn only_the_user_timeout_counts_and_not_the_retransmissions() {
    let mut script = Script::established_with(impatient(Duration::from_secs(5000)), syn());
    script.push(10);
    script.sent_one();
    let (took, _, sent) = until_failure(&mut script);
    assert_eq!(took, Duration::from_secs(5000));
    assert!(sent > 15, "{sent}");
}

#[test]
fn every_acknowledgement_of_something_new_starts_the_wait_over() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    script.push(3 * MSS);
    script.sent();
    script.skip(ms(4000));
    let _ = script.feed(segment(0, MSS, 0));
    script.sent();
    let (took, _, _) = until_failure(&mut script);
    assert_eq!(took, ms(5000));
}

#[test]
fn a_timeout_that_has_grown_long_is_cut_to_what_the_user_waits() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    script.push(3 * MSS);
    script.sent();
    // Without a new measurement (Karn's rule) the timeout stays as long as it has become.
    script.choose(|options| options.user_timeout = None);
    for _ in 0..8 {
        let _ = script.fire_within(Duration::from_secs(1000));
        script.sent();
    }
    script.choose(|options| options.user_timeout = Some(ms(5000)));
    let _ = script.feed(segment(0, MSS, 0));
    script.sent();
    assert!(script.connection.rtt.rto(&config()) > ms(5000));
    let (took, failure, _) = until_failure(&mut script);
    assert_eq!((took, failure), (ms(5000), Failure::TimedOut));
}

#[test]
fn a_window_that_stays_closed_for_so_long_ends_the_connection_though_the_peer_answers() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    let _ = script.feed(closed_window(segment(0, 0, 1)));
    script.push(10);
    script.sent();
    let begun = script.now;
    loop {
        let (_, failure, sent) = step(&mut script);
        if let Some(failure) = failure {
            assert_eq!(failure, Failure::TimedOut);
            break;
        }
        assert!(is_probe(&sent), "{sent:?}");
        let _ = script.feed(closed_window(segment(1, 0, 0)));
    }
    assert_eq!(script.now - begun, ms(5000));
}

#[test]
fn a_window_that_opens_in_time_starts_the_wait_over() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    let _ = script.feed(closed_window(segment(0, 0, 1)));
    script.push(10);
    script.sent();
    script.skip(ms(4000));
    let _ = script.answer(segment(1, 0, 0));
    let (took, _, _) = until_failure(&mut script);
    assert_eq!(took, ms(5000));
}

#[test]
fn a_syn_is_given_up_after_so_long() {
    for (most, again) in [(ms(500), 0), (ms(2500), 1), (ms(3500), 2)] {
        let mut script = Script::active(impatient(most));
        script.sent_one();
        let (took, failure, sent) = until_failure(&mut script);
        assert_eq!((took, failure, sent), (most, Failure::TimedOut, again));
    }
}

#[test]
fn silence_without_anything_outstanding_is_no_failure() {
    let mut script = Script::established_with(impatient(ms(5000)), syn());
    script.push(10);
    script.sent_one();
    let _ = script.feed(segment(0, 10, 0));
    assert_eq!(script.connection.next_deadline(), None);
}

// Numbers of retransmissions.

#[test]
fn a_syn_goes_as_often_as_the_user_says() {
    for retries in [1, 4] {
        let config = options(|options| options.syn_retries = retries);
        let mut script = Script::active(config);
        script.sent_one();
        let (took, failure, sent) = until_failure(&mut script);
        assert_eq!((failure, sent), (Failure::TimedOut, usize::from(retries)));
        assert_eq!(took, ms(1000) * ((2 << retries) - 1), "doubling waits");
    }
}

#[test]
fn what_nobody_waits_for_any_more_is_given_up_sooner() {
    let attempts = |orphaned: bool| {
        let mut script = Script::established();
        script.push(10);
        if orphaned {
            script.connection.close(script.now);
            script.connection.orphan(script.now);
        }
        script.sent_one();
        until_failure(&mut script).2
    };
    assert_eq!(attempts(false), 15, "tcp_retries2");
    assert_eq!(attempts(true), 8, "tcp_orphan_retries");
}

#[test]
fn an_orphans_user_timeout_counts_if_it_is_shorter() {
    let mut script = Script::established_with(impatient(ms(700)), syn());
    script.push(10);
    script.sent_one();
    script.connection.close(script.now);
    script.connection.orphan(script.now);
    script.sent_one();
    assert_eq!(until_failure(&mut script).0, ms(700));
}

// TCP_MAXSEG.

#[test]
fn the_users_most_bounds_segments_both_ways() {
    let config = options(|options| options.max_segment = Some(600));
    let mut script = Script::active(config);
    assert_eq!(script.sent_one().options.mss, Some(600));
    assert!(script.feed(syn_ack()).established);
    assert_eq!(script.connection.send_mss(), 600);
    let mut script = Script::passive(config, &syn());
    assert_eq!(script.sent_one().options.mss, Some(600));
    assert_eq!(script.connection.send_mss(), 600);
}

#[test]
fn the_users_most_makes_no_segment_longer() {
    let config = options(|options| options.max_segment = Some(9000));
    let mut script = Script::passive(config, &syn());
    assert_eq!(script.sent_one().options.mss, Some(MSS as u16));
    assert_eq!(script.connection.send_mss(), MSS);
}

// TCP_QUICKACK.

#[test]
fn without_quick_acknowledgements_a_single_segment_waits() {
    let config = options(|options| options.quick_ack = false);
    let mut script = Script::established_with(config, syn());
    assert_eq!(script.answer(segment(0, 0, 10)), []);
    let _ = script.fire_within(ms(40));
    assert_eq!(script.sent_one().ack, Some(theirs(10)));
}

#[test]
fn quick_acknowledgements_switched_on_send_the_one_that_waits() {
    let mut script = Script::settled();
    assert!(!script.connection.options().quick_ack);
    assert_eq!(script.answer(segment(1, 2, 10)), []);
    script.choose(|options| options.quick_ack = true);
    assert_eq!(script.sent_one().ack, Some(theirs(11)));
    assert_eq!(script.answer(segment(11, 2, 10)).len(), 1);
}

#[test]
fn another_option_does_not_touch_quick_acknowledgements() {
    let mut script = Script::settled();
    script.choose(|options| options.no_delay = true);
    assert_eq!(script.answer(segment(1, 2, 10)), []);
}

#[test]
fn a_peer_whose_segments_have_become_shorter_still_hears_of_every_second() {
    let mut script = Script::settled();
    script.answer(segment(1, 2, MSS));
    assert_eq!(script.answer(segment(1 + MSS, 2, MSS)).len(), 1);
    // The path takes less now: what is full has changed (Linux `tcp_measure_rcv_mss`).
    let mut next = 1 + 2 * MSS;
    let mut acks = 0;
    for _ in 0..8 {
        acks += script.answer(segment(next, 2, 600)).len();
        next += 600;
    }
    assert!(acks >= 3, "{acks}");
}

// TCP_INFO.

#[test]
fn the_figures_are_those_of_the_exchange() {
    let stamped = |segment: Segment, value, echo| Segment {
        options: Options {
            timestamps: Some(Timestamps { value, echo }),
            ..segment.options
        },
        ..segment
    };
    let offer = Segment {
        options: Options {
            sack_permitted: true,
            window_scale: Some(3),
            ..syn().options
        },
        ..syn()
    };
    let mut script = Script::established_with(config(), stamped(offer, 5, 0));
    let info = script.connection.info(script.now);
    assert!(info.sack && info.timestamps && !info.ecn);
    assert_eq!(info.window_scales, Some((3, 0)));
    assert_eq!(info.send_mss, MSS - 12);
    assert_eq!(info.advertised_mss, MSS - 12);
    assert_eq!(
        (info.rtt, info.min_rtt.is_some()),
        (Some((ms(0), ms(0))), false)
    );

    let full = MSS - 12;
    script.push(3 * full);
    assert_eq!(script.sent().len(), 3);
    script.skip(ms(20));
    let _ = script.feed(stamped(segment(0, full, 100), 6, 1000));
    script.skip(ms(5));
    let info = script.connection.info(script.now);
    assert_eq!(
        (info.outstanding, info.lost, info.again, info.sacked),
        (2, 0, 0, 0)
    );
    assert_eq!(info.min_rtt, Some(ms(20)));
    assert_eq!(info.send_window, 60_000 << 3);
    assert_eq!(info.receive_window, 10 * MSS - 100);
    assert_eq!(info.since_data_sent, Some(ms(25)));
    assert_eq!(info.since_data_received, Some(ms(5)));
    assert_eq!(info.since_heard, ms(5));
    let totals = info.totals;
    assert_eq!((totals.segments_in, totals.data_segments_in), (2, 1));
    assert_eq!((totals.segments_out, totals.data_segments_out), (4, 3));
    assert_eq!(
        (totals.bytes_sent, totals.bytes_acked),
        (3 * u64::from(full), u64::from(full))
    );
    assert_eq!((totals.bytes_received, totals.bytes_again), (100, 0));
}

#[test]
fn the_figures_tell_of_a_timeout_and_of_its_end() {
    let mut script = Script::established();
    script.push(3 * MSS);
    script.sent();
    let rto = script.connection.info(script.now).rto;
    let _ = script.fire_within(rto);
    let info = script.connection.info(script.now);
    assert_eq!((info.retransmits, info.backoff, info.rto), (1, 1, rto * 2));
    assert_eq!((info.lost, info.outstanding), (3, 3));
    script.sent();
    let info = script.connection.info(script.now);
    assert_eq!((info.lost, info.again), (2, 1));
    assert_eq!(info.totals.segments_again, 1);
    assert_eq!(info.totals.bytes_again, u64::from(MSS));
    let _ = script.feed(segment(0, 3 * MSS, 0));
    let info = script.connection.info(script.now);
    assert_eq!((info.retransmits, info.lost, info.outstanding), (0, 0, 0));
    assert_eq!(info.backoff, 1, "until something is measured");
}

#[test]
fn the_figures_tell_of_probes_of_a_closed_window() {
    let mut script = Script::established();
    let _ = script.feed(closed_window(segment(0, 0, 1)));
    script.push(10);
    script.sent();
    step(&mut script);
    step(&mut script);
    let info = script.connection.info(script.now);
    assert_eq!((info.probes, info.unsent, info.send_window), (2, 10, 0));
    let _ = script.feed(closed_window(segment(1, 0, 0)));
    assert_eq!(script.connection.info(script.now).probes, 0);
}
