//! Paths that take less than the link, with and without somebody who says so (RFC 1191, RFC 8201, RFC
//! 4821), and what ICMP errors do to connections (RFC 5927).

use std::time::Duration;

use ringwire_tcp::State;

use super::build::{self, ETHERNET};
use super::harness::{Pair, pattern};
use crate::{SocketError, SocketId};

const NARROW: usize = 1300;

/// A router between two hosts whose next link takes [`NARROW`] bytes.
struct Router {
    /// Its address and the first host's, as it says that a packet is too big; `None`: it says nothing.
    says: Option<(&'static str, &'static str)>,
    dropped: usize,
}

impl Router {
    /// Carries what the first host of the pair sends to the second, and back.
    fn forward(&mut self, pair: &mut Pair) {
        let frames = pair.a.sent();
        self.deliver(pair, frames);
        for frame in pair.b.sent() {
            pair.a.receive(&frame);
        }
    }

    /// Carries these frames of the first host to the second.
    fn deliver(&mut self, pair: &mut Pair, frames: Vec<Vec<u8>>) {
        for frame in frames {
            if frame.len() <= ETHERNET + NARROW {
                pair.b.receive(&frame);
                continue;
            }
            self.dropped += 1;
            if let Some((from, to)) = self.says {
                let kind = if from.contains(':') { (2, 0) } else { (3, 4) };
                let mtu = (NARROW as u32).to_be_bytes();
                let quote = &frame[ETHERNET..ETHERNET + 500];
                let message = build::icmp(from, to, kind.0, kind.1, mtu, quote);
                pair.a.receive(&build::frame(&message));
            }
        }
    }

    /// Sends bytes from the first host to the second; returns how long that took.
    fn carry(
        &mut self,
        pair: &mut Pair,
        client: SocketId,
        server: SocketId,
        len: usize,
    ) -> Duration {
        let bytes = pattern(len);
        let begun = pair.a.now;
        let (mut sent, mut received) = (0, Vec::new());
        while received.len() < len {
            sent += pair.a.write(client, &bytes[sent..]).unwrap_or(0);
            self.forward(pair);
            received.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
            wait(pair, Duration::from_millis(1));
            assert!(
                pair.a.now - begun < Duration::from_secs(60),
                "{} bytes",
                received.len()
            );
        }
        assert!(received == bytes);
        pair.a.now - begun
    }
}

/// Lets time pass, while nothing is carried.
fn wait(pair: &mut Pair, time: Duration) {
    for host in [&mut pair.a, &mut pair.b] {
        host.now = host.now + time;
        host.stack.poll(host.now, &mut host.ledger);
    }
}

const V4: (&str, (&str, &str)) = ("10.0.0.3:80", ("10.0.0.1", "10.0.0.2"));
const V6: (&str, (&str, &str)) = ("[fd00::3]:80", ("fd00::1", "fd00::2"));

#[test]
fn a_router_that_says_so_makes_segments_shorter_at_once() {
    for (server, says) in [V4, V6] {
        let mut pair = Pair::new();
        let (client, server) = pair.connect(server);
        let mut router = Router {
            says: Some(says),
            dropped: 0,
        };
        let took = router.carry(&mut pair, client, server, 300_000);
        assert!(took < Duration::from_millis(200), "{took:?}");
        assert!(router.dropped <= 10, "one flight: {}", router.dropped);
        let info = pair.a.stack.tcp_info(pair.a.now, client).unwrap();
        assert_eq!(
            info.totals.segments_again,
            2 * router.dropped as u64,
            "in halves"
        );
        assert!(info.window >= 14_000, "no congestion: {}", info.window);
    }
}

#[test]
fn what_a_path_takes_is_remembered_for_the_next_connection() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(V4.0);
    let mut router = Router {
        says: Some(V4.1),
        dropped: 0,
    };
    router.carry(&mut pair, client, server, 30_000);
    let (again, other) = pair.connect("10.0.0.3:81");
    router.dropped = 0;
    router.carry(&mut pair, again, other, 30_000);
    assert_eq!(router.dropped, 0);
}

#[test]
fn a_black_hole_is_found_though_nobody_says_anything() {
    for (server, _) in [V4, V6] {
        let mut pair = Pair::new();
        let (client, server) = pair.connect(server);
        let mut router = Router {
            says: None,
            dropped: 0,
        };
        let took = router.carry(&mut pair, client, server, 100_000);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn a_longer_segment_is_tried_again_and_its_loss_costs_nothing() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(V4.0);
    let mut router = Router {
        says: None,
        dropped: 0,
    };
    router.carry(&mut pair, client, server, 100_000);
    wait(&mut pair, Duration::from_secs(30));
    router.dropped = 0;
    let before = pair.a.stack.tcp_info(pair.a.now, client).unwrap();
    let took = router.carry(&mut pair, client, server, 200_000);
    assert_eq!(router.dropped, 1, "one probe");
    assert!(took < Duration::from_millis(500), "{took:?}");
    let after = pair.a.stack.tcp_info(pair.a.now, client).unwrap();
    assert_eq!(after.threshold, before.threshold);
}

#[test]
fn a_path_that_has_become_wider_is_used() {
    let mut pair = Pair::new();
    let (client, server) = pair.connect(V4.0);
    let mut router = Router {
        says: None,
        dropped: 0,
    };
    let full = pair.a.stack.tcp_info(pair.a.now, client).unwrap().send_mss;
    router.carry(&mut pair, client, server, 100_000);
    let less = pair.a.stack.tcp_info(pair.a.now, client).unwrap().send_mss;
    assert!(less < full);
    wait(&mut pair, Duration::from_secs(30));
    let bytes = pattern(100_000);
    let mut received = Vec::new();
    pair.a.write(client, &bytes).unwrap();
    while received.len() < bytes.len() {
        pair.exchange();
        received.extend(pair.b.read(server, usize::MAX).unwrap_or_default());
        pair.pass(Duration::from_millis(1));
    }
    assert!(received == bytes);
    assert_eq!(
        pair.a.stack.tcp_info(pair.a.now, client).unwrap().send_mss,
        full
    );
}

#[test]
fn datagrams_are_fragmented_as_the_path_takes_them() {
    let mut host = super::harness::Host::ready();
    let socket = host.connected("10.0.0.2:7", "10.0.0.9:99");
    let long = pattern(1400);
    host.send(socket, "10.0.0.9:99", &long).unwrap();
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    let quote = &sent[0][ETHERNET..ETHERNET + 28];
    let mtu = (NARROW as u32).to_be_bytes();
    let message = build::icmp("10.0.0.1", "10.0.0.2", 3, 4, mtu, quote);
    host.receive(&build::frame(&message));
    host.send(socket, "10.0.0.9:99", &long).unwrap();
    let sent = host.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|frame| frame.len() <= ETHERNET + NARROW));
    host.pass(Duration::from_secs(601));
    host.meet_peer();
    host.send(socket, "10.0.0.9:99", &long).unwrap();
    assert_eq!(host.sent().len(), 1, "ten minutes later it is forgotten");
}

/// Begins to connect, and answers the SYN with an error of this type and code.
fn refused(kind: u8, code: u8) -> Option<Result<(), SocketError>> {
    let mut host = super::harness::Host::ready();
    let client = host.connecting("10.0.0.9:80");
    let syn = host.sent().remove(0);
    let quote = &syn[ETHERNET..ETHERNET + 28];
    let message = build::icmp("10.0.0.1", "10.0.0.2", kind, code, [0; 4], quote);
    host.receive(&build::frame(&message));
    host.stack.tcp_connected(client)
}

#[test]
fn an_error_ends_a_connection_that_does_not_stand_yet() {
    // As Linux's icmp_err_convert has them.
    for (kind, code, error) in [
        (3, 0, SocketError::NetworkUnreachable),
        (3, 1, SocketError::HostUnreachable),
        (3, 2, SocketError::ProtocolUnreachable),
        (3, 3, SocketError::Refused),
        (3, 5, SocketError::NotSupported),
        (3, 7, SocketError::HostDown),
        (3, 8, SocketError::NoNetwork),
        (3, 13, SocketError::HostUnreachable),
        (11, 0, SocketError::HostUnreachable),
        (12, 0, SocketError::Protocol),
    ] {
        assert_eq!(
            refused(kind, code),
            Some(Err(error)),
            "type {kind}, code {code}"
        );
    }
    assert_eq!(refused(5, 1), None, "a redirect is no error");
    assert_eq!(refused(4, 0), None, "a source quench neither (RFC 6633)");
}

#[test]
fn an_error_about_a_connection_that_stands_is_told_when_it_times_out() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(V4.0);
    pair.a.write(client, b"x").unwrap();
    let sent = pair.a.sent();
    let quote = &sent[0][ETHERNET..ETHERNET + 28];
    let message = build::icmp("10.0.0.1", "10.0.0.2", 3, 1, [0; 4], quote);
    pair.a.receive(&build::frame(&message));
    assert_eq!(pair.a.stack.tcp_state(client), Some(State::Established));
    for _ in 0..2000 {
        pair.a.pass(Duration::from_secs(1));
        pair.a.sent();
    }
    assert_eq!(
        pair.a.stack.take_error(client),
        Some(SocketError::HostUnreachable)
    );
}

#[test]
fn every_connection_on_a_path_is_told_that_it_is_narrow() {
    for (server, says) in [V4, V6] {
        let mut pair = Pair::new();
        let other = server.replace(":80", ":81");
        let [one, two] = [server, &other].map(|server| pair.connect(server));
        let mut router = Router {
            says: Some(says),
            dropped: 0,
        };
        // Both have long segments on their way when the first message comes.
        let bytes = pattern(10_000);
        pair.a.write(two.0, &bytes).unwrap();
        let waiting = pair.a.sent();
        router.carry(&mut pair, one.0, one.1, 10_000);
        router.deliver(&mut pair, waiting);
        pair.a.stack.poll(pair.a.now, &mut pair.a.ledger);
        let info = pair.a.stack.tcp_info(pair.a.now, two.0).unwrap();
        assert!(info.send_mss < NARROW as u32, "{server}: {}", info.send_mss);
    }
}

/// An ICMP message to the first host about its segment in this frame, with another sequence number.
fn about(frame: &[u8], seq_moved: u32, kind: (u8, u8), rest: [u8; 4]) -> Vec<u8> {
    let mut quote = frame[ETHERNET..ETHERNET + 28].to_vec();
    let seq = u32::from_be_bytes(quote[24..28].try_into().unwrap());
    quote[24..28].copy_from_slice(&seq.wrapping_add(seq_moved).to_be_bytes());
    let message = build::icmp("10.0.0.1", "10.0.0.2", kind.0, kind.1, rest, &quote);
    build::frame(&message)
}

#[test]
fn an_error_about_a_syn_that_was_never_sent_ends_nothing() {
    let mut host = super::harness::Host::ready();
    let client = host.connecting("10.0.0.9:80");
    let syn = host.sent().remove(0);
    for moved in [1, u32::MAX] {
        host.receive(&about(&syn, moved, (3, 3), [0; 4]));
        assert_eq!(host.stack.tcp_connected(client), None, "{moved}");
    }
    host.receive(&about(&syn, 0, (3, 3), [0; 4]));
    let refused = Some(Err(SocketError::Refused));
    assert_eq!(host.stack.tcp_connected(client), refused);
}

#[test]
fn a_message_about_what_is_not_outstanding_narrows_no_path() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(V4.0);
    let mss = |pair: &Pair| pair.a.stack.tcp_info(pair.a.now, client).unwrap().send_mss;
    let full = mss(&pair);
    pair.a.write(client, b"x").unwrap();
    let sent = pair.a.sent();
    let mtu = (NARROW as u32).to_be_bytes();
    let ignored = pair.a.stack.counters().rx_icmp_ignored;
    for moved in [1, u32::MAX] {
        pair.a.receive(&about(&sent[0], moved, (3, 4), mtu));
    }
    assert_eq!(mss(&pair), full);
    assert_eq!(pair.a.stack.counters().rx_icmp_ignored, ignored + 2);
    let (again, _) = pair.connect("10.0.0.3:81");
    let info = pair.a.stack.tcp_info(pair.a.now, again).unwrap();
    assert_eq!(info.send_mss, full, "nor for others");
}

#[test]
fn a_router_that_does_not_say_how_long_a_packet_may_be_says_nothing() {
    let mut pair = Pair::new();
    let (client, _) = pair.connect(V4.0);
    let full = pair.a.stack.tcp_info(pair.a.now, client).unwrap().send_mss;
    pair.a.write(client, &pattern(full as usize)).unwrap();
    let sent = pair.a.sent();
    // Before RFC 1191.
    pair.a.receive(&about(&sent[0], 0, (3, 4), [0; 4]));
    let info = pair.a.stack.tcp_info(pair.a.now, client).unwrap();
    assert_eq!(info.send_mss, full);
}
