use super::*;
use crate::{Connection, Disposition, State};

const OFFSET: u32 = 0xdead_beef;

fn ends(v6: bool, port: u16) -> (SocketAddr, SocketAddr) {
    if v6 {
        let local = "[fd00::2]:80".parse().unwrap();
        (local, format!("[fd00::9]:{port}").parse().unwrap())
    } else {
        let local = SocketAddr::from(([10, 0, 0, 2], 80));
        (local, SocketAddr::from(([10, 0, 0, 9], port)))
    }
}

fn at(secs: u64) -> Instant {
    Instant::from_nanos(secs * 1_000_000_000)
}

fn syn(mss: u16, window_scale: Option<u8>, clock: Option<u32>) -> Segment {
    Segment {
        seq: SeqNumber(0xffff_fff0),
        syn: true,
        window: 60_000,
        options: Options {
            mss: Some(mss),
            window_scale,
            timestamps: clock.map(|value| Timestamps { value, echo: 0 }),
            ..Options::default()
        },
        ..Segment::default()
    }
}

/// The segment that ends the handshake, a millisecond after the answer to the SYN.
fn last(syn: &Segment, answer: &Segment) -> Segment {
    Segment {
        seq: syn.seq + 1,
        ack: Some(answer.seq + 1),
        window: 100,
        options: Options {
            timestamps: answer.options.timestamps.map(|option| Timestamps {
                value: option.echo + 1,
                echo: option.value,
            }),
            ..Options::default()
        },
        ..Segment::default()
    }
}

struct Host {
    cookies: SynCookies,
    config: Config,
}

impl Host {
    fn new() -> Host {
        Host {
            cookies: SynCookies::new([1, 2]),
            config: Config::default(),
        }
    }

    fn answer(&self, now: Instant, v6: bool, syn: &Segment) -> Segment {
        self.cookies
            .answer(now, &self.config, OFFSET, ends(v6, 7), syn)
    }

    fn check(&self, now: Instant, v6: bool, segment: &Segment) -> Option<Segment> {
        self.cookies.check(now, OFFSET, ends(v6, 7), segment)
    }

    /// What is remembered of a SYN that was answered with a cookie.
    fn remembered(&self, v6: bool, syn: &Segment) -> Segment {
        let answer = self.answer(at(1000), v6, syn);
        let back = self.check(at(1001), v6, &last(syn, &answer));
        back.expect("a cookie that comes back at once is good")
    }
}

#[test]
fn the_segment_size_comes_back_as_the_next_smaller_of_a_table() {
    let host = Host::new();
    let cases_v4 = [
        (100, 536),
        (536, 536),
        (1299, 536),
        (1300, 1300),
        (1459, 1440),
        (1460, 1460),
        (9000, 1460),
    ];
    let cases_v6 = [(1000, 1220), (1419, 1220), (1440, 1440), (65_000, 8940)];
    for (v6, cases) in [(false, &cases_v4[..]), (true, &cases_v6[..])] {
        for &(offered, expected) in cases {
            let back = host.remembered(v6, &syn(offered, None, None));
            assert_eq!(back.options.mss, Some(expected), "{offered}, v6 {v6}");
        }
    }
}

#[test]
fn with_timestamps_every_window_scale_comes_back() {
    let host = Host::new();
    for scale in 0..=14 {
        let syn = syn(1460, Some(scale), Some(7));
        assert_eq!(
            host.remembered(false, &syn).options.window_scale,
            Some(scale)
        );
    }
    let none = host.remembered(false, &syn(1460, None, Some(7)));
    assert_eq!(none.options.window_scale, None);
    let beyond = host.remembered(false, &syn(1460, Some(15), Some(7)));
    assert_eq!(
        beyond.options.window_scale,
        Some(14),
        "RFC 7323, section 2.3"
    );
}

#[test]
fn with_timestamps_sack_and_ecn_come_back() {
    for (sack, ecn) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut syn = syn(1460, Some(7), Some(5));
        syn.options.sack_permitted = sack;
        (syn.ece, syn.cwr) = (ecn, ecn);
        let host = Host::new();
        let answer = host.answer(at(1000), false, &syn);
        assert_eq!((answer.options.sack_permitted, answer.ece), (sack, ecn));
        let check = host.check(at(1001), false, &last(&syn, &answer)).unwrap();
        assert_eq!(
            (check.options.sack_permitted, check.ece, check.cwr),
            (sack, ecn, ecn)
        );
        assert_eq!(check.options.window_scale, Some(7));
    }
}

#[test]
fn without_timestamps_nothing_is_scaled() {
    let host = Host::new();
    let mut syn = syn(1460, Some(7), None);
    (syn.ece, syn.cwr) = (true, true);
    let answer = host.answer(at(1000), false, &syn);
    assert!(!answer.ece, "nor is ECN granted: nobody would know of it");
    assert_eq!(answer.options.window_scale, None);
    assert_eq!(answer.options.timestamps, None);
    let back = host.remembered(false, &syn);
    assert_eq!(back.options.window_scale, None);
}

#[test]
fn the_timestamp_of_a_cookie_is_not_ahead_of_the_clock() {
    let host = Host::new();
    for millis in 5000..5200u64 {
        let now = Instant::from_nanos(millis * 1_000_000);
        for scale in [None, Some(0), Some(14)] {
            let answer = host.answer(now, false, &syn(1460, scale, Some(7)));
            let sent = answer.options.timestamps.unwrap().value;
            let age = Clock::new(OFFSET).value(now).wrapping_sub(sent);
            assert!(age < 128, "{age} ms old");
        }
    }
}

#[test]
fn a_cookie_is_good_for_one_to_two_minutes() {
    let host = Host::new();
    let syn = syn(1460, None, None);
    for begin in [0, 59, 60, 119, 256 * 60 - 1] {
        let answer = host.answer(at(begin), false, &syn);
        let good = |after| host.check(at(begin + after), false, &last(&syn, &answer));
        assert!(good(60).is_some(), "made at {begin}");
        assert_eq!(good(SynCookies::VALID.as_secs()), None, "made at {begin}");
    }
}

#[test]
fn a_cookie_is_of_no_use_to_another_peer() {
    let host = Host::new();
    let syn = syn(1460, None, None);
    let answer = host.answer(at(1000), false, &syn);
    let stolen = last(&syn, &answer);
    let check = |port| {
        host.cookies
            .check(at(1000), OFFSET, ends(false, port), &stolen)
    };
    assert!(check(7).is_some());
    assert!((8..2000).all(|port| check(port).is_none()));
}

#[test]
fn a_cookie_is_of_no_use_with_other_numbers() {
    let host = Host::new();
    let syn = syn(1460, None, None);
    let good = last(&syn, &host.answer(at(1000), false, &syn));
    // The next three numbers are this cookie with another size of the table, as with Linux.
    for offset in 4..2000 {
        for (seq, ack) in [(offset, 0), (0, offset)] {
            let forged = Segment {
                seq: good.seq + seq,
                ack: good.ack.map(|number| number + ack),
                ..good
            };
            let back = host.check(at(1000), false, &forged);
            assert_eq!(back, None, "{seq} {ack}");
        }
    }
    let bare = Segment { ack: None, ..good };
    assert_eq!(host.check(at(1000), false, &bare), None);
}

#[test]
fn another_secret_makes_other_cookies() {
    let syn = syn(1460, None, None);
    let number = |secret| {
        let cookies = SynCookies::new(secret);
        let answer = cookies.answer(at(1), &Config::default(), 0, ends(false, 7), &syn);
        answer.seq
    };
    assert_eq!(number([1, 2]), number([1, 2]));
    assert_ne!(number([1, 2]), number([1, 3]));
    assert_ne!(number([1, 2]), number([2, 2]));
}

#[test]
fn guessed_cookies_are_not_good() {
    let host = Host::new();
    let mut guess = 1u32;
    for _ in 0..1_000_000 {
        guess = guess.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let segment = Segment {
            seq: SeqNumber(1),
            ack: Some(SeqNumber(guess)),
            ..Segment::default()
        };
        assert_eq!(host.check(at(1000), false, &segment), None, "{guess}");
    }
}

/// A connection made from a cookie, after the segment that brought it.
fn connected(syn: &Segment, change: impl Fn(Segment) -> Segment) -> (Connection, Disposition) {
    let host = Host::new();
    let answer = host.answer(at(1000), false, syn);
    let segment = change(last(syn, &answer));
    let back = host.check(at(1001), false, &segment).unwrap();
    let config = host.config;
    let mut connection = Connection::from_cookie(at(1001), config, answer.seq, OFFSET, &back);
    let disposition = connection.on_segment(at(1001), &segment);
    (connection, disposition)
}

#[test]
fn a_cookie_that_comes_back_makes_a_connection() {
    let (mut connection, disposition) = connected(&syn(1300, Some(5), Some(7)), |last| last);
    assert!(disposition.established && disposition.refusal.is_none());
    assert_eq!(connection.state(), State::Established);
    assert!(connection.is_passive());
    // The segment size less the timestamps, and the peer's window as it scales it.
    assert_eq!(connection.send_mss(), 1300 - 12);
    connection.push(100_000, false);
    let mut sent = 0;
    while let Some(segment) = connection.poll_transmit(at(1001), &mut |_| u32::MAX) {
        assert!(!segment.syn);
        sent += segment.len;
    }
    assert_eq!(sent / 1288, (100 << 5) / 1288);
}

#[test]
fn data_that_comes_with_a_cookie_is_delivered() {
    let (connection, disposition) =
        connected(&syn(1460, None, None), |last| Segment { len: 1000, ..last });
    assert_eq!(disposition.delivered, 1000);
    assert_eq!(connection.receive_next(), SeqNumber(0xffff_fff1) + 1000);
}

/// The timestamp of a cookie carries options: as a clock it is wrong by up to 64 ms.
#[test]
fn a_cookie_measures_no_round_trip() {
    let (mut connection, _) = connected(&syn(1460, Some(2), Some(7)), |last| last);
    connection.push(100, false);
    assert!(connection.poll_transmit(at(1001), &mut |_| 100).is_some());
    let first_timeout = Some(at(1001) + Config::default().initial_rto);
    assert_eq!(connection.next_deadline(), first_timeout);
}
