//! What the kernel beside a stack tells it: links and paths, datagrams that it was given, ICMP errors.

use std::time::Duration;

use super::build::{self, ETHERNET};
use super::harness::{Host, OUR_MAC, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Pair, at, ip, pattern};
use super::kernel::FakeKernel;
use super::shared::{listen, tells};
use super::tcp::stream;
use crate::{KernelEvent, Neighbour, PlanLimits, Route, SendOptions, SocketError};

const MTU: u16 = 1300;

/// Straight to there, with packets of so many bytes.
fn narrow(to: &str, mtu: u16) -> Route {
    Route::Via {
        neighbour: ip(to),
        source: None,
        mtu: Some(mtu),
    }
}

fn link(mtu: u16) -> KernelEvent {
    KernelEvent::Link { mac: OUR_MAC, mtu }
}

fn datagram(from: &str, to: &str, payload: &[u8]) -> KernelEvent {
    KernelEvent::Datagram {
        from: at(from),
        to: at(to),
        payload: payload.to_vec(),
    }
}

/// The ICMP message of an IP packet, as the kernel hands it on.
fn icmp(from: &str, packet: &[u8]) -> KernelEvent {
    KernelEvent::Icmp {
        from: ip(from),
        message: build::read_ip(packet).payload,
    }
}

fn longest(frames: &[Vec<u8>]) -> usize {
    let packets = frames.iter().map(|frame| frame.len() - ETHERNET);
    packets.max().unwrap()
}

/// Hands what the first host sends to the second, and the other way, until nobody sends anything; returns
/// the length of the longest packet of the first.
fn longest_exchanged(pair: &mut Pair) -> usize {
    let mut most = 0;
    loop {
        let (ours, theirs) = (pair.a.sent(), pair.b.sent());
        if ours.is_empty() && theirs.is_empty() {
            return most;
        }
        if !ours.is_empty() {
            most = most.max(longest(&ours));
        }
        ours.iter().for_each(|frame| pair.b.receive(frame));
        theirs.iter().for_each(|frame| pair.a.receive(frame));
    }
}

#[test]
fn a_route_s_mtu_fragments_datagrams() {
    for (to, local) in [(PEER_V4, "10.0.0.2:700"), (PEER_V6, "[fd00::2]:700")] {
        let kernel = FakeKernel::new();
        kernel.routes(None, to, narrow(to, MTU));
        let mut host = kernel.host();
        let socket = host.bound(local);
        let to = std::net::SocketAddr::new(ip(to), 9).to_string();
        host.send(socket, &to, &[0; 1400]).unwrap();
        let frames = host.sent();
        assert_eq!(frames.len(), 2);
        assert!(longest(&frames) <= usize::from(MTU));
    }
}

#[test]
fn a_route_s_mtu_is_known_to_the_first_send_in_segments() {
    let kernel = FakeKernel::new();
    kernel.routes(None, PEER_V4, narrow(PEER_V4, MTU));
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    let options = SendOptions {
        to: Some(at("10.0.0.9:9")),
        segment_bytes: Some(1400.try_into().unwrap()),
        ..SendOptions::default()
    };
    for _ in 0..2 {
        let sent = host.send_with(socket, &options, &[0; 2800]);
        assert_eq!(sent, Err(SocketError::MessageSize));
    }
}

#[test]
fn a_route_s_mtu_is_gone_with_the_route() {
    let kernel = FakeKernel::new();
    kernel.routes(None, PEER_V4, narrow(PEER_V4, MTU));
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.9:9", &[0; 1400]).unwrap();
    assert_eq!(host.sent().len(), 2);
    kernel.state().routes.clear();
    tells(&mut host, &kernel, KernelEvent::Routes);
    host.send(socket, "10.0.0.9:9", &[0; 1400]).unwrap();
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn the_least_of_a_destination_s_mtus_counts() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let route = |from, mtu| kernel.routes(from, PEER_V4, narrow(PEER_V4, mtu));
    route(None, MTU);
    route(Some(OUR_V4), 1400);
    let socket = host.bound("0.0.0.0:700");
    host.send(socket, "10.0.0.9:9", &[0; 1400]).unwrap();
    assert!(longest(&host.sent()) <= usize::from(MTU));
}

#[test]
fn an_mtu_that_no_route_has_is_not_believed() {
    for mtu in [0, 1, 20, 67] {
        for (to, local) in [(PEER_V4, "10.0.0.2:700"), (PEER_V6, "[fd00::2]:700")] {
            let kernel = FakeKernel::new();
            kernel.routes(None, to, narrow(to, mtu));
            let mut host = kernel.host();
            let socket = host.bound(local);
            let least = if ip(to).is_ipv4() { 68 } else { 1280 };
            let remote = std::net::SocketAddr::new(ip(to), 9).to_string();
            host.send(socket, &remote, &[0; 1400]).unwrap();
            assert!(longest(&host.sent()) > least - 8);
            host.connecting(&remote);
            assert_eq!(host.sent().len(), 1, "a SYN");
        }
    }
}

#[test]
fn a_route_s_mtu_limits_segments() {
    for (to, server) in [("10.0.0.3", "10.0.0.3:80"), ("fd00::3", "[fd00::3]:80")] {
        let kernel = FakeKernel::new();
        kernel.routes(None, to, narrow(to, MTU));
        let mut pair = kernel.pair();
        let (client, _) = pair.connect(server);
        pair.a.write(client, &pattern(20_000)).unwrap();
        assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
    }
}

#[test]
fn a_route_s_mtu_limits_segments_of_accepted_connections() {
    let kernel = FakeKernel::new();
    kernel.routes(None, "10.0.0.3", narrow("10.0.0.3", MTU));
    let mut pair = kernel.pair();
    let listener = pair.a.listener("10.0.0.2:80", 8);
    pair.b.connecting("10.0.0.2:80");
    pair.exchange();
    let server = pair.a.accept(listener).unwrap();
    pair.a.write(server, &pattern(20_000)).unwrap();
    assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
}

#[test]
fn a_shorter_link_shortens_datagrams_and_segments_of_connections_that_stand() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let (client, server) = pair.connect("10.0.0.3:80");
    let socket = pair.a.bound("10.0.0.2:700");
    let bytes = pattern(50_000);
    assert!(stream(&mut pair, client, server, &bytes) == bytes);
    // Queued in cells of the old length.
    let queued = pair.a.write(client, &bytes).unwrap();
    tells(&mut pair.a, &kernel, link(MTU));
    pair.a.send(socket, "10.0.0.3:9", &[0; 1400]).unwrap();
    assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
    let mut received = Vec::new();
    while received.len() < queued {
        longest_exchanged(&mut pair);
        received.extend(pair.b.read(server, usize::MAX).unwrap());
    }
    assert!(received == bytes[..queued]);
}

#[test]
fn what_was_sent_before_the_link_became_shorter_goes_again_in_shorter_segments() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let (client, server) = pair.connect("10.0.0.3:80");
    pair.a.write(client, &pattern(14_000)).unwrap();
    pair.a
        .sent()
        .iter()
        .for_each(|frame| assert!(frame.len() > 60));
    tells(&mut pair.a, &kernel, link(MTU));
    assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
    pair.pass(Duration::from_secs(2));
    assert!(pair.b.read(server, usize::MAX) == Ok(pattern(14_000)));
}

#[test]
fn a_link_that_becomes_shorter_during_a_handshake_shortens_what_follows() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    pair.b.listener("10.0.0.3:80", 8);
    let listener = pair.a.listener("10.0.0.2:80", 8);
    let client = pair.a.connecting("10.0.0.3:80");
    pair.b.connecting("10.0.0.2:80");
    let (ours, theirs) = (pair.a.sent(), pair.b.sent());
    theirs.iter().for_each(|frame| pair.a.receive(frame));
    tells(&mut pair.a, &kernel, link(MTU));
    ours.iter().for_each(|frame| pair.b.receive(frame));
    pair.exchange();
    let server = pair.a.accept(listener).unwrap();
    for socket in [client, server] {
        pair.a.write(socket, &pattern(10_000)).unwrap();
        assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
    }
}

#[test]
fn a_longer_link_is_used_by_the_next_connection() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    tells(&mut pair.a, &kernel, link(MTU));
    tells(&mut pair.a, &kernel, link(1500));
    let (client, _) = pair.connect("10.0.0.3:80");
    pair.a.write(client, &pattern(10_000)).unwrap();
    assert_eq!(longest_exchanged(&mut pair), 1500);
}

#[test]
fn a_link_s_mtu_is_never_less_than_every_host_takes() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    tells(&mut host, &kernel, link(0));
    host.send(socket, "10.0.0.9:9", &[0; 1000]).unwrap();
    assert_eq!(longest(&host.sent()), 572, "whole words of 8 bytes in 576");
}

#[test]
fn a_datagram_that_the_kernel_was_given_reaches_its_socket() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let bound = host.bound("0.0.0.0:700");
    let connected = host.connected("10.0.0.2:701", "10.0.0.9:9");
    let v6 = host.bound("[fd00::2]:702");
    let long = pattern(40_000);
    for (to, socket) in [("10.0.0.2:700", bound), ("10.0.0.2:701", connected)] {
        tells(&mut host, &kernel, datagram("10.0.0.9:9", to, &long));
        assert!(host.recv_from(socket, "10.0.0.9:9").as_ref() == Some(&long));
    }
    let to_v6 = datagram("[fd00::9]:9", "[fd00::2]:702", &long);
    tells(&mut host, &kernel, to_v6);
    assert!(host.recv_from(v6, "[fd00::9]:9").as_ref() == Some(&long));
    let counters = host.stack.counters();
    assert_eq!((counters.rx_from_kernel, counters.rx_datagrams), (3, 3));
}

#[test]
fn a_broadcast_that_the_kernel_was_given_reaches_the_wildcard() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    let event = datagram("10.0.0.9:9", "10.0.0.255:700", b"all");
    tells(&mut host, &kernel, event);
    let received = host.recv_from(socket, "10.0.0.9:9");
    assert_eq!(received, Some(b"all".to_vec()));
}

#[test]
fn a_datagram_without_a_socket_is_counted_and_not_answered() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    host.connected("10.0.0.2:701", "10.0.0.9:9");
    for (from, to) in [
        ("10.0.0.9:9", "10.0.0.2:700"),
        ("10.0.0.9:8", "10.0.0.2:701"),
    ] {
        tells(&mut host, &kernel, datagram(from, to, b"x"));
    }
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    let counters = host.stack.counters();
    assert_eq!((counters.rx_from_kernel, counters.rx_no_port), (2, 2));
}

#[test]
fn datagrams_that_nobody_reads_stop_at_the_receive_buffer() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    for _ in 0..200 {
        let event = datagram("10.0.0.9:9", "10.0.0.2:700", &[0; 50_000]);
        tells(&mut host, &kernel, event);
    }
    let counters = host.stack.counters();
    assert_eq!(counters.rx_datagrams + counters.rx_queue_full, 200);
    assert!(counters.rx_datagrams < 10, "{}", counters.rx_datagrams);
    assert!(host.recv(socket).is_some());
}

#[test]
fn a_refusal_that_the_kernel_heard_of_is_the_connected_socket_s() {
    for (local, remote, from, to) in [
        ("10.0.0.2:700", "10.0.0.9:9", PEER_V4, OUR_V4),
        ("[fd00::2]:700", "[fd00::9]:9", PEER_V6, OUR_V6),
    ] {
        let kernel = FakeKernel::new();
        let mut host = kernel.host();
        let socket = host.connected(local, remote);
        let quoted = build::udp_packet(local, remote, b"x");
        let event = icmp(from, &build::port_unreachable(from, to, &quoted));
        tells(&mut host, &kernel, event);
        assert_eq!(host.stack.take_error(socket), Some(SocketError::Refused));
        assert_eq!(host.stack.counters().rx_icmp_errors, 1);
    }
}

#[test]
fn a_packet_too_big_that_the_kernel_heard_of_shortens_segments() {
    for (server, router, us, kind) in [
        ("10.0.0.3:80", "10.0.0.1", OUR_V4, (3, 4)),
        ("[fd00::3]:80", "fd00::1", OUR_V6, (2, 0)),
    ] {
        let kernel = FakeKernel::new();
        let mut pair = kernel.pair();
        let (client, server) = pair.connect(server);
        let bytes = pattern(10_000);
        pair.a.write(client, &bytes).unwrap();
        let lost = pair.a.sent();
        let mtu = u32::from(MTU).to_be_bytes();
        let quote = &lost[0][ETHERNET..ETHERNET + 500];
        let message = build::icmp(router, us, kind.0, kind.1, mtu, quote);
        tells(&mut pair.a, &kernel, icmp(router, &message));
        assert_eq!(longest_exchanged(&mut pair), usize::from(MTU));
        pair.pass(Duration::from_secs(2));
        assert!(pair.b.read(server, usize::MAX) == Ok(bytes));
    }
}

#[test]
fn an_icmp_message_that_is_none_of_ours_is_ignored() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let ping = build::echo_request(PEER_V4, OUR_V4, b"ping");
    tells(&mut host, &kernel, icmp(PEER_V4, &ping));
    for len in 0..40 {
        for from in [PEER_V4, PEER_V6] {
            for first in [0, 1, 2, 3, 4, 11, 12, 0xff] {
                let mut message = vec![first; len];
                message.resize(len, 0x45);
                let from = ip(from);
                tells(&mut host, &kernel, KernelEvent::Icmp { from, message });
            }
        }
    }
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(host.stack.counters().rx_icmp_ignored, 1 + 40 * 2 * 8);
}

#[test]
fn while_packets_keep_the_owner_awake_the_kernel_is_looked_at_every_millisecond() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let poll_at = |host: &mut Host, after_us: u64| {
        let now = host.now + Duration::from_micros(after_us);
        host.stack.poll(now, &mut host.ledger);
        kernel.state().events.len()
    };
    poll_at(&mut host, 0);
    kernel.says(KernelEvent::Routes);
    assert_eq!(poll_at(&mut host, 999), 1);
    assert_eq!(poll_at(&mut host, 1000), 0);
}

#[test]
fn what_is_more_than_one_look_takes_is_taken_at_once() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    for _ in 0..1000 {
        kernel.says(KernelEvent::Routes);
    }
    listen(&mut host);
    assert!(!kernel.state().events.is_empty(), "one look is bounded");
    for _ in 0..3 {
        assert_eq!(host.stack.next_deadline(host.now), Some(host.now));
        host.stack.poll(host.now, &mut host.ledger);
    }
    assert!(kernel.state().events.is_empty());
    assert_eq!(host.stack.next_deadline(host.now), None);
}

#[test]
fn news_are_taken_in_order() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.7:9", b"x").unwrap();
    let macs = [[2, 0, 0, 0, 0, 71], [2, 0, 0, 0, 0, 72]];
    for mac in macs {
        kernel.says(KernelEvent::Neighbour {
            address: ip("10.0.0.7"),
            is: Neighbour::Known { mac, sure: true },
        });
    }
    listen(&mut host);
    host.send(socket, "10.0.0.7:9", b"x").unwrap();
    let to: Vec<[u8; 6]> = host
        .sent()
        .iter()
        .map(|it| it[..6].try_into().unwrap())
        .collect();
    assert_eq!(to, macs);
}

#[test]
fn another_interface_of_the_name_is_told_to_the_kernel_and_its_routes_are_asked_for() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.9:9", b"before").unwrap();
    host.sent();
    let asked = kernel.state().routes_asked.len();
    host.stack
        .relink(host.now, OUR_MAC, 1500, PlanLimits::SCATTER);
    assert_eq!(kernel.state().relinked, 1);
    host.send(socket, "10.0.0.9:9", b"behind").unwrap();
    host.sent();
    assert!(kernel.state().routes_asked.len() > asked);
}
