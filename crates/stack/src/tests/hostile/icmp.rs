//! ICMP messages of every type about connections, true and false (RFC 5927): bytes in flight arrive, and
//! connections stand.

use std::net::SocketAddr;
use std::time::Duration;

use ringwire_tcp::{Segment, State};

use super::peer::{packet, read};
use crate::tests::build::{self, ETHERNET};
use crate::tests::harness::{Pair, Random, pattern};
use crate::{SocketError, SocketId};

struct Family {
    server: &'static str,
    /// Our address, and who says that something is wrong: a router, the peer, or somebody.
    ours: &'static str,
    from: [&'static str; 3],
}

const FAMILIES: [Family; 2] = [
    Family {
        server: "10.0.0.3:80",
        ours: "10.0.0.2",
        from: ["10.0.0.1", "10.0.0.3", "192.0.2.7"],
    },
    Family {
        server: "[fd00::3]:80",
        ours: "fd00::2",
        from: ["fd00::1", "fd00::3", "2001:db8::7"],
    },
];

/// What messages quote of a packet that was sent.
fn quotes(sent: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let (from, to, segment, payload) = read(sent).expect("a segment");
    let forged = |from: SocketAddr, to: SocketAddr, segment: Segment| {
        let payload = &payload[..segment.len as usize];
        packet(from, to, &segment, payload)
    };
    let whole = sent[ETHERNET..].to_vec();
    let header = if from.is_ipv4() { 20 } else { 40 };
    let elsewhere = SocketAddr::new(to.ip(), to.port() + 1);
    let number = |seq| Segment { seq, ..segment };
    vec![
        whole[..header + 8].to_vec(),
        forged(from, to, number(segment.seq + (1 << 30))),
        forged(from, to, number(segment.seq - 1_000_000)),
        forged(from, elsewhere, segment),
        forged(to, from, segment),
        whole[..header + 7].to_vec(),
        whole[..header].to_vec(),
        random.bytes(60),
        Vec::new(),
        whole,
    ]
}

/// Carries everything, with time, until these bytes have arrived.
fn arrive(pair: &mut Pair, server: SocketId, bytes: &[u8]) {
    let mut received = Vec::new();
    for _ in 0..10_000 {
        match pair.b.read(server, usize::MAX) {
            Ok(part) => received.extend(part),
            Err(error) => assert_eq!(error, SocketError::WouldBlock),
        }
        if received.len() >= bytes.len() {
            return assert!(received == bytes);
        }
        pair.pass(Duration::from_millis(10));
    }
    panic!("{} of {} bytes arrived", received.len(), bytes.len());
}

/// Sends messages of these types, with every quote, while bytes are in flight.
fn tell(family: &Family, kinds: impl Iterator<Item = u8>, codes: &[u8]) {
    let mut random = Random(9);
    let mut pair = Pair::new();
    let (client, server) = pair.connect(family.server);
    for kind in kinds {
        let bytes = pattern(4000);
        assert_eq!(pair.a.write(client, &bytes), Ok(bytes.len()));
        let in_flight = pair.a.sent();
        let first = in_flight.iter().find(|frame| read(frame).is_some());
        let first = first.expect("a segment in flight");
        for &code in codes {
            for quote in quotes(first, &mut random) {
                // Unused, or a next-hop MTU: none, too small, small, ours, huge.
                let word = [0, 68, 576, 1280, 1500, u32::MAX][random.below(6)].to_be_bytes();
                let from = family.from[random.below(3)];
                let message = build::icmp(from, family.ours, kind, code, word, &quote);
                pair.a.receive(&build::frame(&message));
            }
        }
        for frame in in_flight {
            pair.b.receive(&frame);
        }
        arrive(&mut pair, server, &bytes);
        let states = [
            pair.a.stack.tcp_state(client),
            pair.b.stack.tcp_state(server),
        ];
        assert_eq!(states, [Some(State::Established); 2], "type {kind}");
        assert_eq!(pair.a.stack.counters().tcp_failed, 0, "type {kind}");
        pair.a.check_census();
    }
}

#[test]
fn no_icmp_message_of_any_type_ends_a_connection_or_loses_a_byte() {
    for family in &FAMILIES {
        tell(family, 0..=255, &[0, 1, 4, 13]);
    }
}

/// The types that mean something to a host: unreachable, too big, quench, time, parameters.
#[test]
fn no_code_of_an_icmp_error_ends_a_connection_or_loses_a_byte() {
    let codes: Vec<u8> = (0..=255).collect();
    tell(&FAMILIES[0], [3, 4, 5, 11, 12].into_iter(), &codes);
    tell(&FAMILIES[1], 1..=4, &codes);
}

#[test]
fn a_flood_of_icmp_errors_does_not_slow_a_connection_down_to_nothing() {
    for (family, (kind, code)) in FAMILIES.iter().zip([(3, 4), (2, 0)]) {
        let mut random = Random(10);
        let mut pair = Pair::new();
        let (client, server) = pair.connect(family.server);
        let bytes = pattern(200_000);
        let (mut sent, mut received) = (0, Vec::new());
        let begun = pair.a.now;
        while received.len() < bytes.len() {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
            for frame in pair.a.sent() {
                if read(&frame).is_none() {
                    pair.b.receive(&frame);
                    continue;
                }
                // All but the true ones.
                let mut false_quotes = quotes(&frame, &mut random);
                false_quotes.pop();
                for quote in false_quotes.into_iter().skip(1) {
                    let word = 68u32.to_be_bytes();
                    let [router, ..] = family.from;
                    let message = build::icmp(router, family.ours, kind, code, word, &quote);
                    pair.a.receive(&build::frame(&message));
                }
                pair.b.receive(&frame);
            }
            pair.exchange();
            received.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
            pair.pass(Duration::from_millis(1));
        }
        assert!(received == bytes);
        let took = pair.a.now - begun;
        assert!(took < Duration::from_secs(1), "{took:?} of virtual time");
        assert_eq!(pair.a.stack.counters().tcp_failed, 0);
    }
}
