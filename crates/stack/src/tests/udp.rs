//! Datagrams on their way in: which socket takes them, and which nobody does.

use smoltcp::wire::Ipv4Packet;

use super::build::{self, ETHERNET};
use super::harness::{Host, Pair, at, pattern};
use crate::checksum::Checksum;
use crate::{Family, RxChecksum, Shutdown, SocketError};

/// The families: (from, to, bytes of IP header).
const FAMILIES: [(&str, &str, usize); 2] = [
    ("10.0.0.9:99", "10.0.0.2:7", 20),
    ("[fd00::9]:99", "[fd00::2]:7", 40),
];

/// The sum that a kernel peer leaves for its device to complete.
fn partial(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u32;
    let pseudo = Checksum::pseudo(at(from).ip(), at(to).ip(), 17, len);
    build::udp_changed(from, to, payload, |udp| udp.set_checksum(pseudo.fold()))
}

#[test]
fn a_datagram_is_delivered_with_its_source() {
    for (from, to, _) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        host.events();
        for len in [0, 1, 2, 64, 1001, 1452] {
            let payload = pattern(len);
            host.receive(&build::udp(from, to, &payload));
            assert!(host.stack.readiness(&host.ledger, socket).readable);
            assert_eq!(host.events().len(), 1, "one event");
            assert_eq!(host.recv_from(socket, from), Some(payload), "{len} bytes");
            assert!(!host.stack.readiness(&host.ledger, socket).readable);
        }
        assert_eq!(host.recv(socket), None);
        assert_eq!(host.stack.counters().rx_datagrams, 6);
    }
}

#[test]
fn a_jumbo_datagram_in_pieces_is_one_datagram() {
    for (from, to, _) in FAMILIES {
        let mut host = Host::with(|setup| setup.config.mtu = 9000);
        let socket = host.bound(to);
        let payload = pattern(8901);
        let frame = build::udp(from, to, &payload);
        for piece_bytes in [1792, 1791, 333, 101] {
            host.receive_in(&frame, piece_bytes);
            assert_eq!(host.recv_from(socket, from), Some(payload.clone()));
        }
    }
}

#[test]
fn headers_in_the_first_piece_are_enough() {
    for (from, to, header) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let frame = build::udp(from, to, &pattern(40));
        // The UDP header itself may be cut anywhere.
        for piece_bytes in ETHERNET + header..frame.len() {
            host.receive_in(&frame, piece_bytes);
            let payload = host.recv_from(socket, from);
            assert_eq!(payload, Some(pattern(40)), "pieces of {piece_bytes}");
        }
        // A cut IP header does not happen (chunks are longer): it is dropped, not guessed.
        for piece_bytes in 1..ETHERNET + header {
            host.receive_in(&frame, piece_bytes);
            assert_eq!(host.recv(socket), None, "pieces of {piece_bytes}");
        }
        let dropped = (ETHERNET + header - 1) as u64;
        assert_eq!(host.stack.counters().rx_malformed, dropped);
    }
}

#[test]
fn a_connected_socket_takes_only_its_peers_datagrams() {
    let mut host = Host::new();
    let connected = host.connected("10.0.0.2:7", "10.0.0.9:99");
    host.receive(&build::udp("10.0.0.9:98", "10.0.0.2:7", b"port"));
    host.receive(&build::udp("10.0.0.8:99", "10.0.0.2:7", b"host"));
    assert_eq!(host.recv(connected), None);
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"peer"));
    assert_eq!(host.recv_from(connected, "10.0.0.9:99").unwrap(), b"peer");
    host.stack.udp_connect(connected, None).unwrap();
    host.receive(&build::udp("10.0.0.8:99", "10.0.0.2:7", b"now"));
    assert_eq!(host.recv_from(connected, "10.0.0.8:99").unwrap(), b"now");
}

#[test]
fn an_ipv6_wildcard_takes_ipv4_and_an_ipv4_socket_no_ipv6() {
    let mut host = Host::new();
    let both = host.bound("[::]:7");
    let v4 = host.bound("0.0.0.0:8");
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"four"));
    host.receive(&build::udp("[fd00::9]:99", "[fd00::2]:7", b"six"));
    assert_eq!(host.recv_from(both, "10.0.0.9:99").unwrap(), b"four");
    assert_eq!(host.recv_from(both, "[fd00::9]:99").unwrap(), b"six");
    host.receive(&build::udp("[fd00::9]:99", "[fd00::2]:8", b"six"));
    assert_eq!(host.recv(v4), None);
    let taken = host.open(Family::V4);
    let result = host.stack.bind(taken, at("0.0.0.0:7"));
    assert_eq!(result, Err(SocketError::AddressInUse));
}

#[test]
fn a_datagram_for_a_group_or_everybody_reaches_the_wildcard() {
    let mut host = Host::new();
    let socket = host.bound("0.0.0.0:7");
    for to in ["10.0.0.255:7", "255.255.255.255:7", "224.0.0.1:7"] {
        host.receive(&build::udp("10.0.0.9:99", to, b"all"));
        assert_eq!(
            host.recv_from(socket, "10.0.0.9:99").unwrap(),
            b"all",
            "{to}"
        );
    }
}

#[test]
fn a_datagram_for_another_host_is_dropped() {
    let mut host = Host::new();
    let socket = host.bound("[::]:7");
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.3:7", b"ip"));
    host.receive(&build::udp("[fd00::9]:99", "[fd00::3]:7", b"ip"));
    let mut mac = build::udp("10.0.0.9:99", "10.0.0.2:7", b"mac");
    mac[5] ^= 1;
    host.receive(&mac);
    assert_eq!(host.recv(socket), None);
    assert_eq!(host.stack.counters().rx_not_ours, 3);
}

#[test]
fn a_zero_checksum_is_accepted_in_ipv4_alone() {
    for (from, to, header) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        host.receive(&build::udp_changed(from, to, b"none", |udp| {
            udp.set_checksum(0)
        }));
        assert_eq!(host.recv(socket).is_some(), header == 20);
        let bad = host.stack.counters().rx_bad_checksum;
        assert_eq!(bad, u64::from(header == 40), "RFC 8200, section 8.1");
    }
}

#[test]
fn a_wrong_checksum_is_dropped_and_counted() {
    for (from, to, header) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let good = build::udp(from, to, &pattern(33));
        for at in ETHERNET + header..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            host.receive(&bad);
            assert_eq!(host.recv(socket), None, "byte {at}");
        }
        let counters = host.stack.counters();
        // A changed length field is malformed if it says too much.
        assert_eq!(counters.rx_bad_checksum + counters.rx_malformed, 41);
        assert!(counters.rx_malformed <= 2);
        host.sent();
    }
}

#[test]
fn a_wrong_ipv4_header_checksum_is_dropped() {
    let mut host = Host::new();
    let socket = host.bound("10.0.0.2:7");
    let mut frame = build::udp("10.0.0.9:99", "10.0.0.2:7", b"x");
    frame[ETHERNET + 8] -= 1;
    host.receive(&frame);
    assert_eq!(host.recv(socket), None);
    assert_eq!(host.stack.counters().rx_bad_checksum, 1);
}

#[test]
fn a_partial_checksum_is_treated_as_the_policy_says() {
    for (from, to, _) in FAMILIES {
        for policy in [
            RxChecksum::Verify,
            RxChecksum::AcceptPartial,
            RxChecksum::Trust,
        ] {
            let mut host = Host::with(|setup| setup.config.rx_checksum = policy);
            let socket = host.bound(to);
            host.receive(&partial(from, to, &pattern(51)));
            let received = host.recv(socket).map(|received| received.payload);
            let accepted = policy != RxChecksum::Verify;
            assert_eq!(received, accepted.then(|| pattern(51)), "{policy:?}");
            let counters = host.stack.counters();
            let counted = (counters.rx_partial_checksum, counters.rx_partial_accepted);
            let expected = match policy {
                RxChecksum::Verify => (1, 0),
                RxChecksum::AcceptPartial => (0, 1),
                RxChecksum::Trust => (0, 0),
            };
            assert_eq!(counted, expected, "{policy:?}");
            // A sum that is neither right nor partial is believed by `Trust` alone.
            host.receive(&build::udp_changed(from, to, b"bad", |udp| {
                udp.set_checksum(udp.checksum() ^ 0x5a5a);
            }));
            assert_eq!(host.recv(socket).is_some(), policy == RxChecksum::Trust);
        }
    }
}

#[test]
fn a_partial_sum_beyond_the_mtu_is_no_datagram() {
    for (from, to, header) in FAMILIES {
        for policy in [RxChecksum::AcceptPartial, RxChecksum::Trust] {
            let mut host = Host::with(|setup| setup.config.rx_checksum = policy);
            let socket = host.bound(to);
            let most = 1500 - header - 8;
            host.receive(&partial(from, to, &pattern(most)));
            assert_eq!(host.recv_from(socket, from), Some(pattern(most)));
            host.receive_in(&partial(from, to, &pattern(most + 1)), 1024);
            assert_eq!(host.recv(socket), None);
            assert_eq!(host.stack.counters().rx_unsegmented, 1, "{policy:?}");
            // One whose sum is whole is the datagram that it says it is.
            host.receive_in(&build::udp(from, to, &pattern(most + 1)), 1024);
            assert_eq!(host.recv_from(socket, from), Some(pattern(most + 1)));
        }
    }
}

#[test]
fn ethernet_padding_is_no_payload() {
    for (from, to, _) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        for padding in [1, 17, 40] {
            let mut frame = build::udp(from, to, b"abc");
            frame.extend(std::iter::repeat_n(0xee, padding));
            host.receive(&frame);
            assert_eq!(
                host.recv_from(socket, from).unwrap(),
                b"abc",
                "{padding} bytes"
            );
        }
    }
}

#[test]
fn the_udp_length_rules_the_payload() {
    for (from, to, header) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        // 10 bytes behind what UDP says is there; its checksum covers its own length alone.
        let datagram = build::udp_datagram(at(from), at(to), b"short");
        let mut longer = datagram.clone();
        longer.extend_from_slice(&[0xee; 10]);
        let udp = smoltcp::wire::IpProtocol::Udp;
        let packet = build::ip_packet(at(from).ip(), at(to).ip(), udp, 64, &longer);
        host.receive(&build::frame(&packet));
        assert_eq!(host.recv_from(socket, from).unwrap(), b"short");
        for wrong in [14, 0xffff, 7, 1, 0] {
            let mut frame = build::udp(from, to, b"short");
            let at = ETHERNET + header + 4;
            frame[at..at + 2].copy_from_slice(&u16::to_be_bytes(wrong));
            host.receive(&frame);
            assert_eq!(host.recv(socket), None, "length {wrong}");
        }
        assert_eq!(host.stack.counters().rx_malformed, 5);
    }
}

#[test]
fn port_zero_is_nobodys() {
    let mut host = Host::ready();
    let sent = host.answer(&build::udp("10.0.0.9:99", "10.0.0.2:0", b"x"));
    assert!(sent.is_empty());
    assert_eq!(host.stack.counters().rx_malformed, 1);
}

#[test]
fn a_closed_socket_gets_nothing_more() {
    let mut host = Host::ready();
    let socket = host.bound("10.0.0.2:7");
    let frame = build::udp("10.0.0.9:99", "10.0.0.2:7", b"x");
    host.receive(&frame);
    host.close(socket);
    assert_eq!(host.recv(socket), None);
    assert_eq!(host.answer(&frame).len(), 1, "port unreachable");
    let next = host.bound("10.0.0.2:7");
    assert_eq!(next.index(), socket.index(), "the slot is used again");
    host.receive(&frame);
    assert_eq!(host.recv(socket), None, "an old id names nothing");
    assert!(host.recv(next).is_some());
}

#[test]
fn shutting_down_receive_is_seen_in_the_readiness() {
    let mut host = Host::ready();
    let socket = host.bound("10.0.0.2:7");
    let result = host
        .stack
        .shutdown(host.now, &mut host.ledger, socket, Shutdown::Receive);
    assert_eq!(
        result,
        Err(SocketError::NotConnected),
        "as Linux: shut down all the same"
    );
    let readiness = host.stack.readiness(&host.ledger, socket);
    assert!(readiness.receive_shut && !readiness.send_shut);
    host.send(socket, "10.0.0.9:99", b"x").unwrap();
    host.stack
        .udp_connect(socket, Some(at("10.0.0.9:99")))
        .unwrap();
    assert_eq!(
        host.stack
            .shutdown(host.now, &mut host.ledger, socket, Shutdown::Both),
        Ok(())
    );
    let readiness = host.stack.readiness(&host.ledger, socket);
    assert!(readiness.receive_shut && readiness.send_shut);
}

#[test]
fn two_hosts_talk_in_both_families() {
    let mut pair = Pair::new();
    let (a, b) = (pair.a.bound("[::]:7"), pair.b.bound("[::]:9"));
    for (a_at, b_at) in [("10.0.0.2:7", "10.0.0.3:9"), ("[fd00::2]:7", "[fd00::3]:9")] {
        for len in [0, 1, 1200, 1472] {
            pair.a.send(a, b_at, &pattern(len)).unwrap();
            pair.exchange();
            let asked = pair.b.recv_from(b, a_at).expect("the question");
            pair.b.send(b, a_at, &asked).unwrap();
            pair.exchange();
            assert_eq!(pair.a.recv_from(a, b_at), Some(pattern(len)));
        }
    }
}

#[test]
fn a_source_port_of_zero_is_delivered() {
    // RFC 768: the source port is optional.
    let mut host = Host::new();
    let socket = host.bound("10.0.0.2:7");
    host.receive(&build::udp("10.0.0.9:0", "10.0.0.2:7", b"x"));
    assert_eq!(host.recv_from(socket, "10.0.0.9:0").unwrap(), b"x");
}

#[test]
fn the_dont_fragment_bit_and_the_reserved_one_change_nothing() {
    let mut host = Host::new();
    let socket = host.bound("10.0.0.2:7");
    for flags in [0x00, 0x40, 0x80, 0xc0] {
        let mut packet = build::udp_packet("10.0.0.9:99", "10.0.0.2:7", b"x");
        packet[6] = flags;
        Ipv4Packet::new_unchecked(&mut packet[..]).fill_checksum();
        host.receive(&build::frame(&packet));
        assert!(host.recv(socket).is_some(), "flags {flags:#x}");
    }
}
