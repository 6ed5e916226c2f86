//! Pings, refused ports and ICMP errors.

use std::time::Duration;

use smoltcp::wire::IpProtocol;

use super::build::{self, ETHERNET};
use super::harness::{Host, OUR_V4, OUR_V6, PEER_V4, PEER_V6, Pair, at, ip, pattern};
use crate::{RxChecksum, SocketError};

/// The families' addresses: (peer, ours, header length).
const FAMILIES: [(&str, &str, usize); 2] = [(PEER_V4, OUR_V4, 20), (PEER_V6, OUR_V6, 40)];

/// Types of echo reply and of destination unreachable, and the code for a port.
fn types(address: &str) -> (u8, u8, u8) {
    if ip(address).is_ipv4() {
        (0, 3, 3)
    } else {
        (129, 1, 4)
    }
}

/// Reads what was sent with the reassembler of another stack, by pinging it.
fn check_echo(frames: &[Vec<u8>], ours: &str, peer: &str, data: &[u8]) {
    assert_eq!(frames.len(), 1);
    let (header, kind, code, echoed) = build::read_icmp(&frames[0]);
    assert_eq!((header.from, header.to), (ip(ours), ip(peer)));
    assert_eq!((kind, code), (types(ours).0, 0));
    assert_eq!(
        header.payload[4..8],
        [0, 1, 0, 2],
        "identifier and sequence number"
    );
    assert!(echoed == data, "the data came back");
}

#[test]
fn a_ping_is_answered_in_both_families() {
    for (peer, ours, _) in FAMILIES {
        let mut host = Host::ready();
        for len in [0, 1, 64, 1400] {
            let data = pattern(len);
            let sent = host.answer(&build::frame(&build::echo_request(peer, ours, &data)));
            check_echo(&sent, ours, peer, &data);
        }
    }
}

#[test]
fn a_ping_in_fragments_is_answered_in_fragments() {
    for (peer, ours, header) in FAMILIES {
        let mut host = Host::ready();
        let data = pattern(8000);
        let request = build::echo_request(peer, ours, &data);
        for fragment in build::fragments(&request, 77, 1448) {
            host.receive(&build::frame(&fragment));
        }
        let sent = host.sent();
        assert_eq!(sent.len(), 6);
        let mut message = Vec::new();
        for frame in &sent {
            assert!(frame.len() <= ETHERNET + 1500);
            let packet = build::read_ip(&build::read_ethernet(frame).payload);
            let extension = if header == 20 { 0 } else { 8 };
            message.extend_from_slice(&packet.payload[extension..]);
        }
        // Put together in order, as the fragments were sent in order.
        let protocol = if header == 20 {
            IpProtocol::Icmp
        } else {
            IpProtocol::Icmpv6
        };
        let whole = build::ip_packet(ip(ours), ip(peer), protocol, 64, &message);
        check_echo(&[build::frame(&whole)], ours, peer, &data);
    }
}

#[test]
fn a_jumbo_ping_in_several_pieces_is_answered_in_several() {
    for (peer, ours, _) in FAMILIES {
        let mut host = Host::ready_with(|setup| setup.config.mtu = 9000);
        let data = pattern(8000);
        let request = build::frame(&build::echo_request(peer, ours, &data));
        for piece_bytes in [1792, 1001, 777] {
            host.receive_in(&request, piece_bytes);
            check_echo(&host.sent(), ours, peer, &data);
        }
    }
}

#[test]
fn a_ping_with_a_wrong_checksum_is_dropped() {
    for (peer, ours, header) in FAMILIES {
        let mut host = Host::ready();
        let mut frame = build::frame(&build::echo_request(peer, ours, b"ping"));
        frame[ETHERNET + header + 9] ^= 0x40;
        assert!(host.answer(&frame).is_empty());
        assert_eq!(host.stack.counters().rx_bad_checksum, 1);
    }
}

#[test]
fn icmp_of_the_other_family_is_not_taken_for_its_own() {
    let mut host = Host::ready();
    // An ICMPv6 "port unreachable" inside IPv4, right in every checksum of IPv4's pseudo-header.
    let socket = host.connected("[fd00::2]:7", "[fd00::9]:99");
    let quoted = build::udp_packet("[fd00::2]:7", "[fd00::9]:99", b"x");
    let mut message = vec![1, 4, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quoted);
    let len = message.len() as u32;
    let mut sum = crate::checksum::Checksum::pseudo(ip(PEER_V4), ip(OUR_V4), 58, len);
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    let packet = build::ip_packet(ip(PEER_V4), ip(OUR_V4), IpProtocol::Icmpv6, 64, &message);
    host.receive(&build::frame(&packet));
    assert_eq!(host.stack.take_error(socket), None);
    // And from nobody: only neighbour discovery of IPv6 comes from an unspecified address.
    let packet = build::ip_packet(ip("0.0.0.0"), ip(OUR_V4), IpProtocol::Icmpv6, 64, &message);
    host.receive(&build::frame(&packet));
    assert_eq!(host.stack.counters().rx_bad_source, 1);
    host.sent();
}

#[test]
fn a_closed_port_is_answered_with_port_unreachable() {
    for (peer, ours, header) in FAMILIES {
        let mut host = Host::ready();
        let from = std::net::SocketAddr::new(ip(peer), 99).to_string();
        let to = std::net::SocketAddr::new(ip(ours), 7).to_string();
        let packet = build::udp_packet(&from, &to, b"anybody?");
        let sent = host.answer(&build::frame(&packet));
        assert_eq!(sent.len(), 1);
        let (reply, kind, code, quoted) = build::read_icmp(&sent[0]);
        let (_, unreachable, port) = types(ours);
        assert_eq!((kind, code), (unreachable, port));
        assert_eq!((reply.from, reply.to), (ip(ours), ip(peer)));
        assert_eq!(quoted[header..], packet[header..], "the datagram is quoted");
        assert_eq!(host.stack.counters().rx_no_port, 1);
    }
}

#[test]
fn a_datagram_for_everybody_is_refused_by_nobody() {
    let mut host = Host::ready();
    for to in [
        "10.0.0.255:7",
        "255.255.255.255:7",
        "224.0.0.1:7",
        "[ff02::1]:7",
    ] {
        let from = if at(to).is_ipv4() {
            "10.0.0.9:99"
        } else {
            "[fd00::9]:99"
        };
        assert!(host.answer(&build::udp(from, to, b"x")).is_empty(), "{to}");
    }
    assert_eq!(host.stack.counters().rx_no_port, 4);
}

#[test]
fn refusals_are_limited() {
    let mut host = Host::ready();
    let frame = build::udp("10.0.0.9:99", "10.0.0.2:7", b"x");
    let flood = |host: &mut Host| (0..2000).map(|_| host.answer(&frame).len()).sum::<usize>();
    assert_eq!(flood(&mut host), 1000, "the burst");
    assert_eq!(host.stack.counters().control_limited, 1000);
    host.pass(Duration::from_millis(10));
    assert_eq!(flood(&mut host), 100, "10,000 a second");
}

#[test]
fn port_unreachable_refuses_the_connected_socket_alone() {
    for (local, remote, any) in [
        ("10.0.0.2:7", "10.0.0.9:99", "0.0.0.0:8"),
        ("[fd00::2]:7", "[fd00::9]:99", "[::]:8"),
    ] {
        let mut host = Host::ready();
        let (peer, ours) = (at(remote).ip().to_string(), at(local).ip().to_string());
        let connected = host.connected(local, remote);
        let unconnected = host.bound(any);
        host.events();
        let quoted = build::udp_packet(local, remote, b"x");
        host.receive(&build::frame(&build::port_unreachable(
            &peer, &ours, &quoted,
        )));
        let events = host.events();
        assert_eq!(events.len(), 1);
        assert!(events[0].socket == connected && events[0].receive && events[0].send);
        assert!(host.stack.readiness(&host.ledger, connected).error);
        let sent = host.send(connected, remote, b"y");
        assert_eq!(sent, Err(SocketError::Refused));
        host.send(connected, remote, b"z")
            .expect("an error is reported once");
        let theirs = std::net::SocketAddr::new(at(local).ip(), 8).to_string();
        let quoted = build::udp_packet(&theirs, remote, b"x");
        host.receive(&build::frame(&build::port_unreachable(
            &peer, &ours, &quoted,
        )));
        assert_eq!(host.stack.take_error(unconnected), None);
        let counters = host.stack.counters();
        assert_eq!((counters.rx_icmp_errors, counters.rx_icmp_ignored), (1, 1));
    }
}

#[test]
fn an_error_that_quotes_no_packet_of_ours_is_ignored() {
    let mut host = Host::ready();
    let socket = host.connected("10.0.0.2:7", "10.0.0.9:99");
    let ours = build::udp_packet("10.0.0.2:7", "10.0.0.9:99", b"x");
    let mut tcp = ours.clone();
    tcp[9] = 6;
    let mut later_fragment = ours.clone();
    later_fragment[7] = 1;
    let quotes = [
        build::udp_packet("10.0.0.2:7", "10.0.0.9:98", b"x"),
        build::udp_packet("10.0.0.2:8", "10.0.0.9:99", b"x"),
        build::udp_packet("10.0.0.9:99", "10.0.0.2:7", b"x"),
        build::udp_packet("10.0.0.3:7", "10.0.0.9:99", b"x"),
        tcp,
        later_fragment,
    ];
    for quoted in quotes
        .iter()
        .map(Vec::as_slice)
        .chain((0..24).map(|len| &ours[..len]))
    {
        let message = build::port_unreachable(PEER_V4, OUR_V4, quoted);
        host.receive(&build::frame(&message));
        assert_eq!(host.stack.take_error(socket), None);
    }
    assert_eq!(host.stack.counters().rx_icmp_errors, 0);
    // 8 bytes of UDP are all that an old router quotes, and 4 are enough to know it.
    host.receive(&build::frame(&build::port_unreachable(
        PEER_V4,
        OUR_V4,
        &ours[..28],
    )));
    assert_eq!(host.stack.take_error(socket), Some(SocketError::Refused));
}

#[test]
fn a_protocol_unreachable_is_told_apart_and_a_soft_error_is_not_reported() {
    let mut host = Host::ready();
    let socket = host.connected("10.0.0.2:7", "10.0.0.9:99");
    let quoted = build::udp_packet("10.0.0.2:7", "10.0.0.9:99", b"x");
    let mut report = |kind, code| {
        let message = build::icmp(PEER_V4, OUR_V4, kind, code, [0; 4], &quoted);
        host.receive(&build::frame(&message));
        host.stack.take_error(socket)
    };
    assert_eq!(report(3, 2), Some(SocketError::ProtocolUnreachable));
    assert_eq!(report(3, 1), None, "host unreachable passes");
    assert_eq!(report(11, 0), None, "time exceeded passes");
    assert_eq!(report(5, 0), None, "a redirect is not followed");
}

#[test]
fn two_hosts_refuse_each_others_datagrams() {
    let mut pair = Pair::new();
    for (local, remote) in [("10.0.0.2:7", "10.0.0.3:9"), ("[fd00::2]:7", "[fd00::3]:9")] {
        let socket = pair.a.connected(local, remote);
        pair.a.send(socket, remote, &pattern(4000)).unwrap();
        pair.exchange();
        assert_eq!(
            pair.a.stack.take_error(socket),
            Some(SocketError::Refused),
            "{local}"
        );
    }
}

#[test]
fn a_trusted_checksum_is_still_right_for_a_refusal() {
    let mut host = Host::ready_with(|setup| setup.config.rx_checksum = RxChecksum::Trust);
    let frame = build::udp_changed("10.0.0.9:99", "10.0.0.2:7", b"x", |udp| udp.set_checksum(1));
    assert_eq!(host.answer(&frame).len(), 1);
}
