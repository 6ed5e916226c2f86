//! Segments that the NIC has received together come to what they would one by one.

use std::time::Duration;

use ringwire_tcp::Info;

use super::harness::{Pair, Random, ip, pattern};
use crate::Counters;
use crate::checksum::Checksum;

const SERVER: &str = "10.0.0.3:80";
/// Bytes of a full segment.
const FULL: usize = 1448;

/// What a receiver has come to.
#[derive(Debug, PartialEq)]
struct Outcome {
    read: Vec<u8>,
    /// What it has said.
    answers: Vec<Vec<u8>>,
    counters: Counters,
    info: Option<Info>,
}

/// How frames reach the receiver.
#[derive(Clone, Copy)]
enum Arrival {
    Together,
    OneByOne,
}

/// Sends so many bytes in bursts, each of which `disturb` may change on its way.
fn transfer(arrival: Arrival, bytes: &[u8], mut disturb: impl FnMut(&mut Vec<Vec<u8>>)) -> Outcome {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(SERVER);
    let (mut sent, mut read, mut answers) = (0, Vec::new(), Vec::new());
    pair.a.no_delay(client);
    let mut lens = [[10 * FULL, 14 * FULL], [15_000, 20_000]];
    while read.len() < bytes.len() {
        let mut frames = Vec::new();
        // Of full segments alone, or with short ones between.
        lens.rotate_left(1);
        for len in lens[0] {
            let end = (sent + len).min(bytes.len());
            sent += pair.a.write(client, &bytes[sent..end]).unwrap_or(0);
            frames.extend(pair.a.sent());
            // The next ones acknowledge something new, or have another timestamp.
            if lens[0][0].is_multiple_of(FULL) {
                pair.b.write(server, b"more").unwrap();
                let said = pair.b.sent();
                said.iter().for_each(|frame| pair.a.receive(frame));
            } else {
                pair.a.pass(Duration::from_millis(2));
                pair.b.pass(Duration::from_millis(2));
            }
        }
        disturb(&mut frames);
        match arrival {
            Arrival::Together => pair.b.receive_together(&frames),
            Arrival::OneByOne => frames.iter().for_each(|frame| pair.b.receive(frame)),
        }
        read.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
        let said = pair.b.sent();
        said.iter().for_each(|frame| pair.a.receive(frame));
        answers.extend(said);
        // Shorter than anything waits: what was lost comes again in time.
        for host in [&mut pair.a, &mut pair.b] {
            host.pass(Duration::from_millis(7));
        }
    }
    Outcome {
        read,
        answers,
        counters: pair.b.stack.counters(),
        info: pair.b.stack.tcp_info(pair.b.now, server),
    }
}

/// Loses, doubles, swaps and damages frames.
fn scramble(random: &mut Random, frames: &mut Vec<Vec<u8>>) {
    for _ in 0..frames.len() / 8 {
        let at = random.below(frames.len());
        match random.below(4) {
            0 => {
                frames.remove(at);
            }
            1 => frames.insert(at, frames[at].clone()),
            2 => {
                let other = random.below(frames.len());
                frames.swap(at, other);
            }
            _ => {
                // The headers more often than what they would by their length.
                let len = [60, frames[at].len()][random.below(2)];
                let byte = random.below(len.min(frames[at].len()));
                frames[at][byte] ^= 1 << random.below(8);
            }
        }
    }
}

#[test]
fn a_burst_is_read_as_it_was_sent() {
    let bytes = pattern(300_000);
    let together = transfer(Arrival::Together, &bytes, |_| {});
    assert!(together.read == bytes);
    assert!(
        together == transfer(Arrival::OneByOne, &bytes, |_| {}),
        "together and one by one"
    );
}

#[test]
fn a_burst_that_was_disturbed_comes_to_the_same_as_its_segments() {
    let bytes = pattern(200_000);
    for seed in 1..40 {
        let outcome = |arrival| {
            let mut random = Random(seed);
            transfer(arrival, &bytes, |frames| scramble(&mut random, frames))
        };
        let (together, one_by_one) = (outcome(Arrival::Together), outcome(Arrival::OneByOne));
        assert!(together.read == bytes, "seed {seed}");
        assert_eq!(together.counters, one_by_one.counters, "seed {seed}");
        assert_eq!(together.info, one_by_one.info, "seed {seed}");
        assert!(together == one_by_one, "seed {seed}");
    }
}

#[test]
fn what_is_of_another_flow_ends_a_run_and_loses_nothing() {
    let bytes = pattern(100_000);
    let intruder = super::build::udp("10.0.0.9:9", "10.0.0.3:9", b"between");
    let disturb = |frames: &mut Vec<Vec<u8>>| {
        if frames.len() > 2 {
            frames.insert(2, intruder.clone());
        }
    };
    let together = transfer(Arrival::Together, &bytes, disturb);
    assert!(together.read == bytes);
    assert!(together == transfer(Arrival::OneByOne, &bytes, disturb));
}

/// Changes a segment from the first host to the second, by its TCP header; its checksum is right again.
fn forge(frame: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let tcp = &mut frame[34..];
    change(tcp);
    tcp[16..18].fill(0);
    let mut sum = Checksum::pseudo(ip("10.0.0.2"), ip("10.0.0.3"), 6, tcp.len() as u32);
    sum.add(tcp);
    tcp[16..18].copy_from_slice(&sum.finish().to_be_bytes());
}

#[test]
fn a_segment_from_before_is_refused_inside_a_run_too() {
    let bytes = pattern(100_000);
    let mut outcomes = [Arrival::Together, Arrival::OneByOne].map(|arrival| {
        let mut bursts = 0;
        transfer(arrival, &bytes, |frames| {
            bursts += 1;
            if bursts == 2 {
                // The highest byte of its timestamp.
                forge(&mut frames[2], |tcp| tcp[24] ^= 0x80);
            }
        })
    });
    assert_eq!(outcomes[0].counters.tcp_refused, 1);
    let [together, one_by_one] = &mut outcomes;
    assert!(together.read == bytes);
    assert!(together == one_by_one);
}

#[test]
fn a_run_ends_with_the_window_whatever_its_sender_believes() {
    let mut pair = Pair::new();
    let listener = pair.b.listener(SERVER, 8);
    let mut options = pair.b.stack.options(listener).unwrap();
    options.ask_receive_buffer(20 * FULL as u32 + 100);
    pair.b.stack.set_options(listener, options).unwrap();
    let client = pair.a.connecting(SERVER);
    pair.exchange();
    let server = pair.b.accept(listener).unwrap();
    pair.a.write(client, &pattern(2 * FULL)).unwrap();
    let mut frames = pair.a.sent();
    frames.truncate(1);
    for index in 1..30 {
        let mut frame = frames[0].clone();
        forge(&mut frame, |tcp| {
            let seq = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
            let moved = seq.wrapping_add(index * FULL as u32);
            tcp[4..8].copy_from_slice(&moved.to_be_bytes());
        });
        frames.push(frame);
    }
    pair.b.receive_together(&frames);
    let read = pair.b.read(server, usize::MAX).unwrap();
    let room = 20 * FULL + 100;
    assert!(
        (room..room + FULL).contains(&read.len()),
        "{} bytes of {room}",
        read.len()
    );
}
