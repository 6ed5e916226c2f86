//! Fragments on their way in.

use std::time::Duration;

use super::build::{self, fragment, fragments, frame, udp_packet};
use super::harness::{Host, Random, at, pattern};

/// The families: (from, to, bytes of IP header, seconds until an incomplete datagram is given up).
const FAMILIES: [(&str, &str, usize, u64); 2] = [
    ("10.0.0.9:99", "10.0.0.2:7", 20, 30),
    ("[fd00::9]:99", "[fd00::2]:7", 40, 60),
];

#[test]
fn fragments_in_any_order_make_the_datagram() {
    for (from, to, ..) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let mut random = Random(3);
        for round in 0..50 {
            let payload = pattern(1500 + random.below(7500));
            let step = 8 * (1 + random.below(180)).max(payload.len() / 8 / 100);
            let mut parts = fragments(&udp_packet(from, to, &payload), round, step);
            random.shuffle(&mut parts);
            for part in &parts {
                assert_eq!(host.recv(socket), None);
                host.receive(&frame(part));
            }
            assert_eq!(
                host.recv_from(socket, from),
                Some(payload),
                "steps of {step}"
            );
        }
        assert_eq!(host.stack.counters().rx_reassembled, 50);
    }
}

#[test]
fn a_fragment_twice_is_no_harm() {
    for (from, to, ..) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let parts = fragments(&udp_packet(from, to, &pattern(3000)), 5, 1000);
        for part in &parts[..3] {
            host.receive(&frame(part));
            host.receive(&frame(part));
        }
        host.receive(&frame(&parts[3]));
        assert_eq!(host.recv_from(socket, from), Some(pattern(3000)));
    }
}

#[test]
fn overlapping_fragments_discard_the_datagram() {
    for (from, to, ..) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let packet = udp_packet(from, to, &pattern(2000));
        let (len, cut) = (2008, 1000);
        host.receive(&frame(&fragment(&packet, 6, 0, cut)));
        host.receive(&frame(&fragment(&packet, 6, cut - 8, 504)));
        host.receive(&frame(&fragment(&packet, 6, cut, len - cut)));
        assert_eq!(host.recv(socket), None);
        assert_eq!(host.stack.reassembly_counters().overlaps, 1);
        // Another identification is another datagram.
        for part in fragments(&packet, 7, cut) {
            host.receive(&frame(&part));
        }
        assert_eq!(host.recv_from(socket, from), Some(pattern(2000)));
    }
}

#[test]
fn a_fragment_that_is_all_there_is_is_delivered() {
    // An IPv6 "atomic fragment" (RFC 6946).
    let mut host = Host::new();
    let (from, to, ..) = FAMILIES[1];
    let socket = host.bound(to);
    let packet = udp_packet(from, to, b"atomic");
    host.receive(&frame(&fragment(&packet, 1, 0, packet.len() - 40)));
    assert_eq!(host.recv_from(socket, from).unwrap(), b"atomic");
}

#[test]
fn a_fragment_flood_is_bounded_and_others_go_on() {
    for (from, to, ..) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let packet = udp_packet(from, to, &pattern(2000));
        for id in 0..20_000 {
            host.receive(&frame(&fragment(&packet, id, 0, 1400)));
        }
        let counters = host.stack.reassembly_counters();
        assert_eq!(counters.fragments, 20_000);
        let held = 20_000 - counters.evicted - counters.no_room;
        assert!(held * 1400 <= 4 << 20, "{held} datagrams are held");
        assert_eq!(
            host.free(ringwire_umem::Pool::Rx),
            256,
            "fragments pin no chunk"
        );
        for part in fragments(&packet, 60_000, 1400) {
            host.receive(&frame(&part));
        }
        assert_eq!(host.recv_from(socket, from), Some(pattern(2000)));
    }
}

#[test]
fn an_incomplete_datagram_is_reported_to_its_source() {
    for (from, to, header, seconds) in FAMILIES {
        let mut host = Host::new();
        host.pass(Duration::from_secs(1));
        host.sent();
        let packet = udp_packet(from, to, &pattern(3000));
        let first = fragment(&packet, 9, 0, 1400);
        host.receive(&frame(&first));
        host.pass(Duration::from_secs(seconds - 1));
        assert!(host.sent().is_empty());
        host.meet_peer();
        host.pass(Duration::from_secs(2));
        let errors = build::without_noise(host.sent());
        assert_eq!(errors.len(), 1);
        let (reply, kind, code, quoted) = build::read_icmp(&errors[0]);
        assert_eq!((reply.from, reply.to), (at(to).ip(), at(from).ip()));
        let expected = if header == 20 { (11, 1) } else { (3, 1) };
        assert_eq!((kind, code), expected, "fragment reassembly time exceeded");
        assert!(quoted.len() > header + 8 && first.starts_with(&quoted));
        let most = if header == 20 { 576 } else { 1280 };
        assert_eq!(errors[0].len(), 14 + most);
        assert_eq!(host.stack.reassembly_counters().expired, 1);
    }
}

#[test]
fn without_its_first_fragment_nothing_is_reported() {
    for (from, to, _, seconds) in FAMILIES {
        let mut host = Host::ready();
        let packet = udp_packet(from, to, &pattern(3000));
        host.receive(&frame(&fragment(&packet, 9, 1400, 1400)));
        host.pass(Duration::from_secs(seconds + 1));
        assert!(build::without_noise(host.sent()).is_empty());
        assert_eq!(host.stack.reassembly_counters().expired, 1);
    }
}

#[test]
fn fragments_that_cannot_be_are_dropped() {
    for (from, to, header, _) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(to);
        let packet = udp_packet(from, to, &pattern(3000));
        // Not a multiple of 8 though more follow, and nothing at all.
        host.receive(&frame(&fragment(&packet, 1, 0, 1401)));
        host.receive(&frame(&fragment(&packet, 2, 0, 0)));
        // Beyond 65535 bytes.
        let mut far = fragment(&packet, 3, 8, 1000);
        if header == 20 {
            far[6..8].copy_from_slice(&0x1fff_u16.to_be_bytes());
            smoltcp::wire::Ipv4Packet::new_unchecked(&mut far[..]).fill_checksum();
        } else {
            far[42..44].copy_from_slice(&0xfff8_u16.to_be_bytes());
        }
        host.receive(&frame(&far));
        assert_eq!(host.recv(socket), None);
        assert_eq!(host.stack.reassembly_counters().malformed, 3);
        host.sent();
    }
}

#[test]
fn a_wrong_checksum_over_the_whole_datagram_is_dropped() {
    for (from, to, header, _) in FAMILIES {
        let mut host = Host::new();
        let socket = host.bound(to);
        let mut packet = udp_packet(from, to, &pattern(3000));
        packet[header + 2000] ^= 1;
        for part in fragments(&packet, 4, 1000) {
            host.receive(&frame(&part));
        }
        assert_eq!(host.recv(socket), None);
        assert_eq!(host.stack.counters().rx_bad_checksum, 1);
    }
}
