//! Datagrams on their way out.

use std::net::SocketAddr;

use smoltcp::wire::Ipv4Packet;

use super::build::{self, ETHERNET};
use super::harness::{Host, OUR_V4, OUR_V6, PEER_MAC, Pair, at, ip, pattern};
use crate::{
    Family, MAX_SEGMENTS, PlanLimits, SendOptions, Shutdown, SocketError, TxChecksum, multicast_mac,
};

/// The families: (ours, the peer, most payload bytes of a datagram).
const FAMILIES: [(&str, &str, usize); 2] = [
    ("10.0.0.2:7", "10.0.0.9:99", 65507),
    ("[fd00::2]:7", "[fd00::9]:99", 65527),
];
/// The same with the other host of a pair.
const PAIRED: [(&str, &str, usize); 2] = [
    ("10.0.0.2:7", "10.0.0.3:9", 65507),
    ("[fd00::2]:7", "[fd00::3]:9", 65527),
];

fn gso(segment_bytes: u16) -> SendOptions {
    SendOptions {
        segment_bytes: Some(segment_bytes),
        ..SendOptions::default()
    }
}

#[test]
fn a_datagram_goes_out_with_a_right_checksum() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(local);
        for len in [0, 1, 2, 3, 64, 1001, 1452] {
            host.send(socket, peer, &pattern(len)).unwrap();
            let sent = host.sent();
            assert_eq!(sent.len(), 1);
            assert_eq!(build::read_ethernet(&sent[0]).to, PEER_MAC);
            assert_eq!(
                build::read_udp(&sent[0]),
                (at(local), at(peer), pattern(len))
            );
        }
        assert_eq!(host.stack.counters().tx_datagrams, 7);
    }
}

#[test]
fn without_checksums_the_field_of_a_datagram_is_zero() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready_with(|setup| setup.config.tx_checksum = TxChecksum::Omit);
        let socket = host.bound(local);
        host.send(socket, peer, &pattern(51)).unwrap();
        let frame = &host.sent()[0];
        let checksum_at = frame.len() - 51 - 2;
        assert_eq!(frame[checksum_at..][..2], [0, 0], "{peer}");
    }
}

#[test]
fn a_checksum_that_comes_out_zero_is_sent_as_ones() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(local);
        // The sum of a datagram is moved to zero by what it still lacks.
        host.send(socket, peer, &[0, 0]).unwrap();
        let header = ETHERNET + if at(local).is_ipv4() { 20 } else { 40 };
        let sum = host.sent()[0][header + 6..header + 8].to_vec();
        host.send(socket, peer, &sum).unwrap();
        let sent = host.sent();
        assert_eq!(sent[0][header + 6..header + 8], [0xff, 0xff]);
        assert_eq!(build::read_udp(&sent[0]).2, sum);
    }
}

#[test]
fn hop_limit_and_traffic_class_are_as_asked() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.connected(local, peer);
        let mut header = |options: &SendOptions| {
            host.send_with(socket, options, b"x").unwrap();
            build::read_ip(&build::read_ethernet(&host.sent()[0]).payload)
        };
        let plain = header(&SendOptions::default());
        assert_eq!((plain.hop_limit, plain.traffic_class), (64, 0));
        let asked = header(&SendOptions {
            hop_limit: Some(3),
            traffic_class: Some(0xb9),
            ..SendOptions::default()
        });
        assert_eq!((asked.hop_limit, asked.traffic_class), (3, 0xb9));
    }
}

#[test]
fn a_send_may_choose_its_source_among_our_addresses() {
    for (local, peer, other) in [
        ("10.0.0.2:7", "10.0.0.9:9", "10.0.0.3"),
        ("[fd00::2]:7", "[fd00::9]:9", "fd00::3"),
    ] {
        let mut host = Host::ready_with(|setup| {
            let prefix = if at(local).is_ipv4() { 24 } else { 64 };
            let second = format!("{other}/{prefix}").parse().unwrap();
            setup.config.addresses.push(second);
        });
        let socket = host.bound(local);
        let mut send = |source: &str| {
            let options = SendOptions {
                to: Some(at(peer)),
                source: Some(source.parse().unwrap()),
                ..SendOptions::default()
            };
            let sent = host.send_with(socket, &options, b"x");
            sent.map(|()| build::read_ip(&build::read_ethernet(&host.sent()[0]).payload).from)
        };
        assert_eq!(send(other), Ok(other.parse().unwrap()));
        let refused = match at(local).is_ipv4() {
            true => SocketError::NetworkUnreachable,
            false => SocketError::Invalid,
        };
        assert_eq!(send(&at(peer).ip().to_string()), Err(refused));
        let family = if at(local).is_ipv4() { OUR_V6 } else { OUR_V4 };
        assert_eq!(send(family), Err(SocketError::NetworkUnreachable));
    }
}

#[test]
fn multicast_goes_to_the_groups_ethernet_address_with_hop_limit_one() {
    let mut host = Host::ready();
    let socket = host.bound("[::]:7");
    for (to, from) in [("239.1.2.3:99", OUR_V4), ("[ff02::99]:99", OUR_V6)] {
        host.send(socket, to, b"group").unwrap();
        let sent = host.sent();
        let ethernet = build::read_ethernet(&sent[0]);
        assert_eq!(ethernet.to, multicast_mac(at(to).ip()));
        assert_eq!(build::read_ip(&ethernet.payload).hop_limit, 1);
        let (source, destination, payload) = build::read_udp(&sent[0]);
        assert_eq!((source.ip(), destination), (ip(from), at(to)));
        assert_eq!(payload, b"group");
    }
}

#[test]
fn a_datagram_over_the_mtu_arrives_whole_at_the_other_host() {
    for (local, remote, most) in PAIRED {
        let mut pair = Pair::new();
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        for len in [
            1452,
            1453,
            1472,
            1473,
            2960,
            2961,
            8000,
            60_001,
            most - 1,
            most,
        ] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            pair.exchange();
            let received = pair.b.recv_from(b, local);
            assert!(received == Some(pattern(len)), "{len} bytes");
            assert_eq!(pair.b.recv(b), None);
        }
        assert!(pair.b.stack.counters().rx_reassembled >= 7);
        assert_eq!(
            pair.a.stack.counters().tx_fragments,
            pair.b.stack.reassembly_counters().fragments
        );
    }
}

#[test]
fn a_datagram_at_the_mtu_is_not_fragmented() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(local);
        let fits = if at(local).is_ipv4() { 1472 } else { 1452 };
        host.send(socket, peer, &pattern(fits)).unwrap();
        let sent = host.sent();
        assert_eq!((sent.len(), sent[0].len()), (1, ETHERNET + 1500));
        if at(local).is_ipv4() {
            let header = Ipv4Packet::new_unchecked(&sent[0][ETHERNET..]);
            assert!(
                header.dont_frag() && header.ident() == 0,
                "RFC 6864: atomic"
            );
        }
        host.send(socket, peer, &pattern(fits + 1)).unwrap();
        let sent = host.sent();
        assert_eq!(sent.len(), 2);
        if at(local).is_ipv4() {
            let headers = [0, 1].map(|n| Ipv4Packet::new_unchecked(&sent[n][ETHERNET..]));
            assert!(headers.iter().all(|header| !header.dont_frag()));
            assert_eq!(headers[0].ident(), headers[1].ident());
        }
    }
}

#[test]
fn more_than_udp_carries_is_refused() {
    for (local, peer, most) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(local);
        for len in [most + 1, 65535, 100_000] {
            let sent = host.send(socket, peer, &vec![0; len]);
            assert_eq!(sent, Err(SocketError::MessageSize), "{len} bytes");
        }
        assert!(host.sent().is_empty());
    }
}

#[test]
fn jumbo_datagrams_go_out_in_several_pieces() {
    for (local, remote, most) in PAIRED {
        let mut pair = Pair::with(|setup| setup.config.mtu = 9000);
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        for len in [1993, 1994, 2033, 4000, 6042, 8952, 8972, 8973, most] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            pair.exchange();
            assert!(
                pair.b.recv_from(b, local) == Some(pattern(len)),
                "{len} bytes"
            );
        }
        // Only what is longer than 9000 bytes with its headers: the last two, or three.
        let fragments = if most == 65507 { 2 + 8 } else { 2 + 2 + 8 };
        assert_eq!(pair.a.stack.counters().tx_fragments, fragments);
    }
}

#[test]
fn without_scatter_a_packet_is_no_longer_than_a_chunk() {
    for (local, remote, most) in PAIRED {
        let mut pair = Pair::with(|setup| {
            setup.config.mtu = 9000;
            setup.config.plan = PlanLimits::SINGLE;
        });
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        for len in [1900, 2006, 2007, 8000, most] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            let sent = pair.a.sent();
            assert!(sent.iter().all(|frame| frame.len() <= 2048));
            sent.iter().for_each(|frame| pair.b.receive(frame));
            pair.exchange();
            assert!(
                pair.b.recv_from(b, local) == Some(pattern(len)),
                "{len} bytes"
            );
        }
    }
}

#[test]
fn a_packet_has_no_more_pieces_than_the_port_takes() {
    for (local, remote, most) in PAIRED {
        let mut pair = Pair::with(|setup| {
            setup.config.mtu = 9000;
            setup.config.plan.descriptors = 2;
        });
        let (a, b) = (pair.a.bound(local), pair.b.bound(remote));
        // The host of these tests counts the pieces; two chunks have 4096 bytes.
        for len in [4000, 4034, 4055, 8000, most] {
            pair.a.send(a, remote, &pattern(len)).unwrap();
            pair.exchange();
            let received = pair.b.recv_from(b, local);
            assert!(received == Some(pattern(len)), "{len} bytes");
        }
    }
}

#[test]
fn a_segmented_send_is_split_with_a_short_last_segment() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.connected(local, peer);
        let payload = pattern(3500);
        host.send_with(socket, &gso(1000), &payload).unwrap();
        let parts: Vec<_> = host
            .sent()
            .iter()
            .map(|frame| build::read_udp(frame).2)
            .collect();
        let lens: Vec<_> = parts.iter().map(Vec::len).collect();
        assert_eq!(lens, [1000, 1000, 1000, 500]);
        assert_eq!(parts.concat(), payload);
        host.send_with(socket, &gso(1000), &pattern(2000)).unwrap();
        assert_eq!(host.sent().len(), 2, "no empty last segment");
        host.send_with(socket, &gso(1000), &pattern(999)).unwrap();
        host.send_with(socket, &gso(1000), b"").unwrap();
        host.send_with(socket, &gso(0), &pattern(1200)).unwrap();
        assert_eq!(host.sent().len(), 3, "one each");
    }
}

#[test]
fn a_segmented_send_has_its_limits() {
    for (local, peer, most) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.connected(local, peer);
        let over = MAX_SEGMENTS * 100 + 1;
        let sent = host.send_with(socket, &gso(100), &vec![0; over]);
        assert_eq!(sent, Err(SocketError::Invalid), "too many segments");
        host.send_with(socket, &gso(100), &vec![0; over - 1])
            .unwrap();
        assert_eq!(host.sent().len(), MAX_SEGMENTS);
        let sent = host.send_with(socket, &gso(1000), &vec![0; most + 1]);
        assert_eq!(sent, Err(SocketError::MessageSize));
        host.send_with(socket, &gso(1000), &vec![0; most]).unwrap();
        assert_eq!(host.sent().len(), 66);
    }
}

#[test]
fn a_datagram_to_ourselves_never_reaches_the_wire() {
    let mut host = Host::ready();
    for (local, other) in [("10.0.0.2:7", "10.0.0.2:8"), ("[fd00::2]:7", "[fd00::2]:8")] {
        let (from, to) = (host.bound(local), host.bound(other));
        let payload = pattern(9000);
        host.send(from, other, &payload).unwrap();
        assert_eq!(host.recv_from(to, local), Some(payload));
        let options = SendOptions {
            to: Some(at(other)),
            ..gso(1000)
        };
        host.send_with(from, &options, &pattern(2500)).unwrap();
        let lens: Vec<_> = std::iter::from_fn(|| host.recv(to))
            .map(|received| received.payload.len())
            .collect();
        assert_eq!(lens, [1000, 1000, 500]);
        // A closed port refuses at once.
        let nobody = SocketAddr::new(at(local).ip(), 9);
        host.stack.udp_connect(from, Some(nobody)).unwrap();
        host.send(from, &nobody.to_string(), b"x").unwrap();
        assert_eq!(host.stack.take_error(from), Some(SocketError::Refused));
    }
    assert!(host.sent().is_empty());
}

#[test]
fn an_unbound_socket_gets_an_ephemeral_port_with_its_first_send() {
    for (local, peer, _) in FAMILIES {
        let mut host = Host::ready();
        let family = if at(local).is_ipv4() {
            Family::V4
        } else {
            Family::V6
        };
        let (first, second) = (host.open(family), host.open(family));
        assert_eq!(host.stack.local(first), Some((family, None)));
        for socket in [first, second] {
            host.send(socket, peer, b"x").unwrap();
            let port = host.local(socket).port();
            assert!((32768..=60999).contains(&port), "{port}");
            let (from, _, _) = build::read_udp(&host.sent()[0]);
            assert_eq!(from, SocketAddr::new(at(local).ip(), port));
            host.receive(&build::udp(peer, &from.to_string(), b"answer"));
            assert_eq!(host.recv_from(socket, peer).unwrap(), b"answer");
        }
        assert_ne!(host.local(first).port(), host.local(second).port());
    }
}

#[test]
fn a_connected_socket_sends_from_the_address_that_reaches_the_peer() {
    let mut host = Host::ready();
    let socket = host.open(Family::V6);
    host.stack
        .udp_connect(socket, Some(at("10.0.0.9:99")))
        .unwrap();
    assert_eq!(host.local(socket).ip(), ip(OUR_V4));
    host.send_with(socket, &SendOptions::default(), b"x")
        .unwrap();
    assert_eq!(build::read_udp(&host.sent()[0]).1, at("10.0.0.9:99"));
    host.stack
        .udp_connect(socket, Some(at("[fd00::9]:98")))
        .ok();
}

#[test]
fn sends_fail_as_in_the_kernel() {
    let mut host = Host::ready();
    let (v4, v6) = (host.open(Family::V4), host.open(Family::V6));
    let none = SendOptions::default();
    let unnamed = host.send_with(v4, &none, b"x");
    assert_eq!(unnamed, Err(SocketError::DestinationRequired));
    assert_eq!(
        host.send(v4, "[fd00::9]:99", b"x"),
        Err(SocketError::AddressFamily)
    );
    assert_eq!(host.send(v4, "10.0.0.9:0", b"x"), Err(SocketError::Invalid));
    assert_eq!(
        host.send(v4, "192.0.2.1:9", b"x"),
        Err(SocketError::NetworkUnreachable)
    );
    for broadcast in ["10.0.0.255:9", "255.255.255.255:9"] {
        assert_eq!(
            host.send(v4, broadcast, b"x"),
            Err(SocketError::Access),
            "{broadcast}"
        );
    }
    let exact = host.bound("[fd00::2]:7");
    assert_eq!(
        host.send(exact, "10.0.0.9:99", b"x"),
        Err(SocketError::NetworkUnreachable)
    );
    assert_eq!(
        host.stack.local(v6),
        Some((Family::V6, None)),
        "a failed send binds nothing"
    );
    host.close(v6);
    assert_eq!(
        host.send(v6, "10.0.0.9:99", b"x"),
        Err(SocketError::Invalid)
    );
    assert!(host.sent().is_empty());
}

#[test]
fn binds_and_connects_fail_as_in_the_kernel() {
    let mut host = Host::ready();
    let socket = host.open(Family::V4);
    let mut bind = |local: &str| host.stack.bind(socket, at(local));
    assert_eq!(bind("[fd00::2]:7"), Err(SocketError::AddressFamily));
    assert_eq!(bind("10.0.0.3:7"), Err(SocketError::AddressNotAvailable));
    assert_eq!(bind("10.0.0.2:7"), Ok(()));
    assert_eq!(
        bind("10.0.0.2:8"),
        Err(SocketError::Invalid),
        "bound already"
    );
    let other = host.open(Family::V4);
    let taken = host.stack.bind(other, at("0.0.0.0:7"));
    assert_eq!(taken, Err(SocketError::AddressInUse));
    let mut connect = |to: &str| host.stack.udp_connect(other, Some(at(to)));
    assert_eq!(connect("[fd00::9]:99"), Err(SocketError::AddressFamily));
    assert_eq!(
        connect("192.0.2.1:99"),
        Err(SocketError::NetworkUnreachable)
    );
    assert_eq!(connect("10.0.0.9:99"), Ok(()));
}

#[test]
fn sending_stops_at_shutdown() {
    let mut host = Host::ready();
    let socket = host.connected("10.0.0.2:7", "10.0.0.9:99");
    host.send_with(socket, &SendOptions::default(), b"before")
        .unwrap();
    assert_eq!(
        host.stack
            .shutdown(host.now, &mut host.ledger, socket, Shutdown::Send),
        Ok(())
    );
    let after = host.send_with(socket, &SendOptions::default(), b"after");
    assert_eq!(after, Err(SocketError::Pipe));
    assert_eq!(host.sent().len(), 1);
    host.receive(&build::udp("10.0.0.9:99", "10.0.0.2:7", b"answer"));
    assert!(host.recv(socket).is_some(), "receiving goes on");
}

#[test]
fn addresses_that_mean_this_host_are_never_on_the_wire() {
    // RFC 1122, section 3.2.1.3: neither 0.0.0.0 nor 127/8 may appear outside a host.
    let mut host = Host::ready_with(|setup| {
        setup.config.gateways = vec![ip("10.0.0.9"), ip("fd00::9")];
    });
    let socket = host.bound("[::]:7");
    for to in [
        "127.0.0.1:9",
        "127.1.2.3:9",
        "0.0.0.0:9",
        "[::1]:9",
        "[::]:9",
    ] {
        let sent = host.send(socket, to, b"x");
        assert_eq!(sent, Err(SocketError::NetworkUnreachable), "{to}");
    }
    assert!(host.sent().is_empty());
}
