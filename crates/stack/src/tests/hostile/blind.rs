//! Forged segments of connections that somebody knows of but does not see (RFC 5961).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringwire_tcp::{Options, Segment, SeqNumber, Timestamps};

use super::peer::{packet, read};
use crate::SocketId;
use crate::tests::build::{self, ETHERNET};
use crate::tests::harness::{OUR_MAC, Pair, Random, pattern};

/// What is known of one direction of a connection.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// The next number that its receiver expects, and the last that it acknowledged.
    next: SeqNumber,
    ack: SeqNumber,
    /// The next number of the other direction.
    sent: SeqNumber,
    timestamps: Timestamps,
}

struct Net {
    pair: Pair,
    flows: BTreeMap<(SocketAddr, SocketAddr), Flow>,
    /// (at `a`, at `b`)
    connections: Vec<(SocketId, SocketId)>,
}

impl Net {
    /// Two hosts with two connections over each family.
    fn new() -> Net {
        let mut net = Net {
            pair: Pair::new(),
            flows: BTreeMap::new(),
            connections: Vec::new(),
        };
        let servers = ["10.0.0.3:80", "[fd00::3]:80"];
        let listeners = servers.map(|to| net.pair.b.listener(to, 8));
        for (to, listener) in servers.into_iter().zip(listeners) {
            for _ in 0..2 {
                let client = net.pair.a.connecting(to);
                net.exchange();
                let server = net.pair.b.accept(listener).unwrap();
                net.pair.a.no_delay(client);
                net.pair.b.no_delay(server);
                net.connections.push((client, server));
            }
        }
        net
    }

    /// Carries frames both ways until nobody has anything to say, and notes the numbers.
    fn exchange(&mut self) {
        for _ in 0..1000 {
            let (to_b, to_a) = (self.pair.a.sent(), self.pair.b.sent());
            if to_b.is_empty() && to_a.is_empty() {
                return;
            }
            for frame in to_b {
                self.note(&frame);
                self.pair.b.receive(&frame);
            }
            for frame in to_a {
                self.note(&frame);
                self.pair.a.receive(&frame);
            }
        }
        panic!("the hosts do not stop talking");
    }

    fn note(&mut self, frame: &[u8]) {
        let Some((from, to, segment, _)) = read(frame) else {
            return;
        };
        let flow = Flow {
            next: segment.end(),
            ack: segment.ack.unwrap_or_default(),
            sent: SeqNumber(0),
            timestamps: segment.options.timestamps.unwrap_or_default(),
        };
        let known = self.flows.entry((from, to)).or_insert(flow);
        let next = known.next.max(flow.next);
        *known = Flow { next, ..flow };
    }

    /// Delivers a segment to whoever it says it is for.
    fn forge(&mut self, (from, to): (SocketAddr, SocketAddr), segment: &Segment) {
        let payload = vec![0xee; segment.len as usize];
        let mut frame = build::frame(&packet(from, to, segment, &payload));
        let to_a = matches!(to.ip().to_string().as_str(), "10.0.0.2" | "fd00::2");
        let host = if to_a {
            &mut self.pair.a
        } else {
            frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 3]);
            &mut self.pair.b
        };
        assert!(frame.len() > ETHERNET && (!to_a || frame[..6] == OUR_MAC));
        host.receive(&frame);
    }

    /// Bytes go both ways on every connection at once, and are what they were.
    fn check(&mut self, len: usize) {
        for (client, server) in self.connections.clone() {
            let bytes = pattern(len);
            self.pair.a.write(client, &bytes).unwrap();
            self.pair.b.write(server, &bytes[1..]).unwrap();
            self.exchange();
            let there = self.pair.b.read(server, 2 * len).expect("bytes");
            assert_eq!(there.len(), len);
            assert!(there == bytes);
            let back = self.pair.a.read(client, 2 * len).expect("bytes");
            assert_eq!(back.len(), len - 1);
            assert!(back == bytes[1..]);
        }
        for host in [&self.pair.a, &self.pair.b] {
            let counters = host.stack.counters();
            assert_eq!(counters.tcp_failed, 0, "{counters:?}");
            assert_eq!(host.stack.tcp.sizes().heap_bytes, 0);
        }
    }

    /// Sends forgeries in both directions of every connection, again and again, with traffic and time
    /// between.
    fn attack(&mut self, rounds: usize, make: impl Fn(&mut Random, &Flow) -> Vec<Segment>) {
        let mut random = Random(6);
        for round in 0..rounds {
            self.check(2 + random.below(2000));
            for ((from, to), flow) in self.flows.clone() {
                let sent = self.flows[&(to, from)].next;
                let flow = Flow { sent, ..flow };
                for segment in make(&mut random, &flow) {
                    self.forge((from, to), &segment);
                }
            }
            self.exchange();
            if round % 10 == 0 {
                self.pair.pass(Duration::from_millis(100));
            }
        }
        self.check(5000);
        let refused = [&self.pair.a, &self.pair.b].map(|host| host.stack.counters().tcp_refused);
        assert!(refused.iter().all(|&count| count > 0), "{refused:?}");
    }
}

/// Numbers at the edges of everything that is known, but for `number` itself: before and after it, of
/// the window of 256 KiB, of half of all numbers.
fn edges(number: SeqNumber) -> Vec<SeqNumber> {
    const WINDOW: u32 = 256 << 10;
    let mut edges = vec![SeqNumber(0), SeqNumber(u32::MAX), number - 1, number + 1];
    for distance in [0xffff, 0x1_0000, WINDOW, 1 << 30, 1 << 31] {
        for step in [distance - 1, distance, distance + 1] {
            edges.extend([number + step, number - step]);
        }
    }
    edges.retain(|&edge| edge != number);
    edges
}

fn stamped(segment: Segment, value: u32, echo: u32) -> Segment {
    Segment {
        options: Options {
            timestamps: Some(Timestamps { value, echo }),
            ..segment.options
        },
        ..segment
    }
}

#[test]
fn a_reset_at_every_edge_but_the_next_number_changes_nothing() {
    Net::new().attack(30, |random, flow| {
        let resets = edges(flow.next).into_iter().flat_map(|seq| {
            let rst = Segment {
                seq,
                rst: true,
                ..Segment::default()
            };
            let acknowledging = Segment {
                ack: Some(flow.ack),
                ..rst
            };
            [rst, acknowledging]
        });
        let stamp = flow.timestamps;
        let mut all: Vec<Segment> = resets.collect();
        all.extend(
            all.clone()
                .iter()
                .map(|rst| stamped(*rst, stamp.value, stamp.echo)),
        );
        random.shuffle(&mut all);
        all
    });
}

#[test]
fn a_syn_at_every_edge_changes_nothing() {
    Net::new().attack(30, |random, flow| {
        let numbers = edges(flow.next).into_iter().chain([flow.next]);
        let mut all: Vec<Segment> = numbers
            .flat_map(|seq| {
                let syn = Segment {
                    seq,
                    syn: true,
                    window: 1,
                    ..Segment::default()
                };
                let answer = Segment {
                    ack: Some(flow.ack),
                    ..syn
                };
                [syn, answer, stamped(syn, flow.timestamps.value, 0)]
            })
            .collect();
        random.shuffle(&mut all);
        all
    });
}

/// Without the timestamps nothing that has data is taken; with them, nothing outside of the windows.
#[test]
fn data_and_acknowledgements_at_the_edges_change_nothing() {
    Net::new().attack(30, |random, flow| {
        let stamp = flow.timestamps;
        let bare = |seq, ack, len, fin| Segment {
            seq,
            ack: Some(ack),
            window: 0,
            len,
            fin,
            ..Segment::default()
        };
        let mut all = Vec::new();
        for seq in edges(flow.next).into_iter().chain([flow.next]) {
            all.push(bare(seq, flow.ack, 100, false));
            all.push(bare(seq, flow.ack, 0, true));
            let old = bare(seq, flow.ack, 100, true);
            all.push(stamped(old, stamp.value.wrapping_sub(1 << 30), stamp.echo));
        }
        let wrong = edges(flow.sent).into_iter().chain(edges(flow.ack));
        let unsent = |ack: SeqNumber| ack.after(flow.sent);
        let ancient = |ack| flow.ack.after(ack) && flow.ack.since(ack) > 256 << 10;
        for ack in wrong.filter(|&ack| unsent(ack) || ancient(ack)) {
            let data = bare(flow.next, ack, 100, true);
            all.push(stamped(data, stamp.value, stamp.echo));
        }
        random.shuffle(&mut all);
        all
    });
}

#[test]
fn segments_made_at_random_change_nothing() {
    Net::new().attack(200, |random, _| {
        let segment = |_| {
            let flags = random.below(32);
            let segment = Segment {
                seq: SeqNumber(random.next() as u32),
                ack: (flags & 1 == 0).then(|| SeqNumber(random.next() as u32)),
                window: random.next() as u16,
                syn: flags & 2 != 0,
                fin: flags & 4 != 0,
                rst: flags & 8 != 0,
                psh: flags & 16 != 0,
                len: random.below(1000) as u32,
                ..Segment::default()
            };
            stamped(segment, random.next() as u32, random.next() as u32)
        };
        (0..50).map(segment).collect()
    });
}

/// A connection that is being made is in nobody's hands but the peer's either.
#[test]
fn a_connection_that_is_being_made_survives_forgeries() {
    let mut pair = Pair::new();
    let listener = pair.b.listener("10.0.0.3:80", 8);
    pair.a.connecting("10.0.0.3:9");
    pair.exchange();
    let client = pair.a.connecting("10.0.0.3:80");
    let syn = pair.a.sent();
    let (from, to, segment, _) = read(&syn[0]).unwrap();
    for number in edges(segment.seq + 1) {
        for (syn, rst) in [(true, false), (false, true), (false, false)] {
            let forged = Segment {
                seq: SeqNumber(7),
                ack: Some(number),
                syn,
                rst,
                ..Segment::default()
            };
            pair.a
                .receive(&build::frame(&packet(to, from, &forged, &[])));
        }
    }
    let answers: Vec<_> = pair.a.sent();
    let only_resets = |frame: &Vec<u8>| read(frame).is_some_and(|(_, _, segment, _)| segment.rst);
    assert!(
        answers.iter().all(only_resets),
        "RFC 9293, section 3.10.7.3"
    );
    pair.b.receive(&syn[0]);
    pair.exchange();
    assert_eq!(pair.a.stack.tcp_connected(client), Some(Ok(())));
    pair.b.accept(listener).unwrap();
}
