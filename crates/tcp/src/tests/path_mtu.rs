//! The longest segment that the path takes (RFC 1191, RFC 8201, RFC 4821).

use std::time::Duration;

use super::script::{Script, config, ms, ours, segment, syn, syn_ack};
use crate::{Config, Options, SackBlocks, Segment, Timestamps};

/// Bytes of payload that link and peer allow, and what a path is guessed to take.
const MOST: u32 = 1400;
const GUESS: u32 = 1024;

fn offer() -> Segment {
    Segment {
        options: Options {
            mss: Some(MOST as u16),
            sack_permitted: true,
            ..Options::default()
        },
        ..syn()
    }
}

fn wide() -> Config {
    Config {
        mss: MOST as u16,
        ..config()
    }
}

/// A connection with `count` full segments outstanding.
fn flight(count: u32) -> Script {
    let mut script = Script::established_with(wide(), offer());
    script.push(count * MOST);
    assert_eq!(script.sent().len(), count as usize);
    script
}

/// An acknowledgement up to `ack` with everything from `start` to `end` sacked.
fn sacking(ack: u32, start: u32, end: u32) -> Segment {
    let mut sack = SackBlocks::default();
    sack.push(ours(start), ours(end));
    Segment {
        options: Options {
            sack,
            ..Options::default()
        },
        ..segment(0, ack, 0)
    }
}

fn too_big(script: &mut Script, at: u32, mss: u16) -> bool {
    script
        .connection
        .on_packet_too_big(script.now, ours(at), mss)
}

/// Lets retransmissions go unanswered until a segment is shorter. Returns how often the timer had fired.
fn until_shorter(script: &mut Script) -> u32 {
    loop {
        let _ = script.fire_within(Duration::from_secs(200));
        script.sent();
        let retransmits = script.connection.info(script.now).retransmits;
        if script.connection.send_mss() < MOST || retransmits > 12 {
            return retransmits;
        }
    }
}

#[test]
fn a_message_about_what_is_not_outstanding_is_nobodys() {
    let mut script = flight(2);
    let _ = script.feed(segment(0, MOST, 0));
    for at in [0, MOST - 1, 2 * MOST] {
        assert!(!too_big(&mut script, at, 600), "RFC 5927, section 7: {at}");
    }
    assert_eq!(script.connection.send_mss(), MOST);
    assert!(too_big(&mut script, MOST, 600));
    assert_eq!(script.connection.send_mss(), 600);
}

#[test]
fn a_message_that_allows_more_changes_nothing() {
    let mut script = flight(1);
    assert!(!too_big(&mut script, 0, MOST as u16));
    assert_eq!(script.sent(), []);
}

#[test]
fn what_a_message_allows_is_for_options_and_payload() {
    let options = Options {
        timestamps: Some(Timestamps { value: 1, echo: 0 }),
        ..offer().options
    };
    let mut script = Script::established_with(wide(), Segment { options, ..offer() });
    script.push(MOST - 12);
    script.sent_one();
    assert!(too_big(&mut script, 0, 700));
    assert_eq!(script.connection.send_mss(), 688);
}

#[test]
fn what_was_too_long_goes_again_in_shorter_segments_and_no_window_is_reduced() {
    let mut script = flight(4);
    let window = script.connection.info(script.now).window;
    assert!(too_big(&mut script, 0, 700));
    let sent = script.sent();
    let lens: Vec<u32> = sent.iter().map(|sent| sent.len).collect();
    assert_eq!(lens, [700; 8]);
    let info = script.connection.info(script.now);
    assert_eq!((info.window, info.threshold), (window, u32::MAX));
}

#[test]
fn more_is_tried_ten_minutes_after_a_message() {
    let mut script = flight(1);
    too_big(&mut script, 0, 700);
    script.sent();
    let _ = script.feed(segment(0, MOST, 0));
    let due = script.connection.next_deadline().unwrap();
    assert_eq!(due - script.now, Duration::from_secs(600));
    let _ = script.fire_within(Duration::from_secs(600));
    script.push(3 * MOST);
    let lens: Vec<u32> = script.sent().iter().map(|sent| sent.len).collect();
    assert_eq!(&lens[..2], [MOST, 700], "one long segment at a time");
}

#[test]
fn long_segments_that_vanish_are_guessed_to_be_too_long_after_the_third_timeout() {
    let mut script = flight(2);
    assert_eq!(until_shorter(&mut script), 3);
    assert_eq!(script.connection.send_mss(), GUESS);
}

#[test]
fn a_path_on_which_long_segments_arrive_is_not_suspected_so_soon() {
    // What lies behind the lost one has arrived.
    let mut script = flight(3);
    let _ = script.feed(sacking(0, MOST, 3 * MOST));
    script.sent();
    assert_eq!(until_shorter(&mut script), 6);
}

#[test]
fn short_segments_that_vanish_say_nothing_of_the_path() {
    let mut script = Script::established_with(wide(), offer());
    script.push(GUESS);
    script.sent_one();
    for _ in 0..8 {
        let _ = script.fire_within(Duration::from_secs(200));
        script.sent();
    }
    assert_eq!(script.connection.send_mss(), MOST);
}

/// A connection that has guessed, with everything acknowledged.
fn guessed() -> Script {
    let mut script = flight(2);
    until_shorter(&mut script);
    let _ = script.feed(segment(0, 2 * MOST, 0));
    assert_eq!(script.sent(), []);
    script
}

/// Waits until more is tried, and sends one segment, which must be a long one. Returns how long that
/// took.
fn try_more(script: &mut Script) -> Duration {
    let before = script.now;
    while script.connection.send_mss() < MOST {
        let _ = script.fire_within(Duration::from_secs(700));
        script.sent();
    }
    script.push(MOST);
    assert_eq!(script.sent_one().len, MOST);
    script.now - before
}

#[test]
fn a_longer_segment_that_arrives_makes_all_longer() {
    let mut script = guessed();
    assert!(try_more(&mut script) <= ms(1000), "to try costs little");
    let _ = script.feed(segment(0, 3 * MOST, 0));
    script.push(2 * MOST);
    let lens: Vec<u32> = script.sent().iter().map(|sent| sent.len).collect();
    assert_eq!(lens, [MOST, MOST]);
}

/// The long segment goes again, in shorter ones.
fn vanish(script: &mut Script) {
    let again = loop {
        let _ = script.fire_within(Duration::from_secs(200));
        if let [again, ..] = script.sent()[..] {
            break again;
        }
    };
    assert_eq!(again.len, GUESS);
}

#[test]
fn what_arrives_in_pieces_does_not_make_segments_longer() {
    let mut script = guessed();
    try_more(&mut script);
    vanish(&mut script);
    let _ = script.feed(segment(0, 3 * MOST, 0));
    assert_eq!(script.connection.send_mss(), GUESS);
}

#[test]
fn a_guess_that_proves_right_is_put_to_the_test_less_and_less_often() {
    let mut script = guessed();
    let mut waits = Vec::new();
    let mut done = 2 * MOST;
    for _ in 0..3 {
        waits.push(try_more(&mut script));
        done += MOST;
        vanish(&mut script);
        let _ = script.feed(segment(0, done, 0));
    }
    assert!(
        waits.windows(2).all(|pair| pair[1] > pair[0] * 3 / 2),
        "{waits:?}"
    );
    // One that arrives begins again with short waits.
    try_more(&mut script);
    done += MOST;
    let _ = script.feed(segment(0, done, 0));
    script.push(2 * MOST);
    script.sent();
    until_shorter(&mut script);
    let _ = script.feed(segment(0, done + 2 * MOST, 0));
    script.sent();
    assert!(try_more(&mut script) <= ms(1000));
}

#[test]
fn a_link_that_takes_less_shortens_segments_at_once_and_no_window_is_reduced() {
    let mut script = flight(4);
    let window = script.connection.info(script.now).window;
    script.connection.on_link_mtu(script.now, 700);
    let again: Vec<u32> = script.sent().iter().map(|sent| sent.len).collect();
    assert_eq!(again, [700; 8]);
    assert_eq!(script.connection.info(script.now).window, window);
    let _ = script.feed(segment(0, 4 * MOST, 0));
    script.push(1400);
    let next: Vec<u32> = script.sent().iter().map(|sent| sent.len).collect();
    assert_eq!(next, [700; 2]);
}

#[test]
fn a_link_that_takes_more_changes_nothing() {
    let mut script = flight(1);
    script.connection.on_link_mtu(script.now, MOST as u16 + 1);
    assert_eq!(script.sent(), []);
    assert_eq!(script.connection.send_mss(), MOST);
}

#[test]
fn more_than_the_link_takes_is_never_tried() {
    let mut script = flight(1);
    assert!(too_big(&mut script, 0, 600));
    script.connection.on_link_mtu(script.now, 700);
    script.sent();
    let _ = script.feed(segment(0, MOST, 0));
    let _ = script.fire_within(Duration::from_secs(600));
    script.push(2 * MOST);
    let lens: Vec<u32> = script.sent().iter().map(|sent| sent.len).collect();
    assert_eq!(&lens[..2], [700, 600]);
}

#[test]
fn a_link_that_takes_less_during_the_handshake_shortens_segments() {
    let mut script = Script::active(wide());
    script.sent();
    script.connection.on_link_mtu(script.now, 700);
    let answer = Segment {
        options: offer().options,
        ..syn_ack()
    };
    let _ = script.feed(answer);
    assert_eq!(script.connection.send_mss(), 700);
}
