//! Frames that are cut off, too long, changed, or made of noise: nothing panics, nothing wrong is
//! delivered, nothing leaks (each host checks that when it goes).

use super::build::{self, ETHERNET};
use super::harness::{Host, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, Random, pattern};

/// The families: (from, to).
const FAMILIES: [(&str, &str); 2] = [
    ("10.0.0.9:99", "10.0.0.2:7"),
    ("[fd00::9]:99", "[fd00::2]:7"),
];

/// Valid frames of every kind that the stack reads.
fn specimens() -> Vec<Vec<u8>> {
    let mut frames = vec![
        build::arp_request(PEER_MAC, PEER_V4, OUR_V4),
        build::arp_reply(PEER_MAC, PEER_V4, OUR_V4),
        build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6),
        build::neighbour_advert(PEER_MAC, PEER_V6, OUR_V6, true),
    ];
    for (peer, ours) in [(PEER_V4, OUR_V4), (PEER_V6, OUR_V6)] {
        frames.push(build::frame(&build::echo_request(peer, ours, &pattern(40))));
    }
    for (from, to) in FAMILIES {
        let (peer, ours) = (addr(from), addr(to));
        let packet = build::udp_packet(from, to, &pattern(60));
        let sent = build::udp_packet(to, from, &pattern(60));
        frames.push(build::frame(&packet));
        frames.push(build::frame(&build::port_unreachable(&peer, &ours, &sent)));
        frames.extend(
            build::fragments(&packet, 5, 24)
                .iter()
                .map(|part| build::frame(part)),
        );
    }
    let options = build::with_options(
        &build::udp_packet(FAMILIES[0].0, FAMILIES[0].1, b"x"),
        &[7, 7, 4, 0, 0, 0, 0, 1],
    );
    frames.push(build::frame(&options));
    let extensions = build::with_extensions(
        &build::udp_packet(FAMILIES[1].0, FAMILIES[1].1, b"x"),
        &[
            (smoltcp::wire::IpProtocol::HopByHop, &[1, 4, 0, 0, 0, 0]),
            (smoltcp::wire::IpProtocol::Ipv6Opts, &[1, 4, 0, 0, 0, 0]),
        ],
    );
    frames.push(build::frame(&extensions));
    frames
}

fn addr(socket: &str) -> String {
    super::harness::at(socket).ip().to_string()
}

#[test]
fn a_frame_cut_off_at_any_length_is_never_delivered() {
    for (from, to) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(to);
        let whole = build::udp(from, to, &pattern(300));
        for len in 0..whole.len() {
            host.receive(&whole[..len]);
            assert_eq!(host.recv(socket), None, "{len} bytes");
        }
        assert_eq!(host.stack.counters().rx_malformed, whole.len() as u64);
        host.receive(&whole);
        assert_eq!(host.recv_from(socket, from), Some(pattern(300)));
        assert!(host.sent().is_empty(), "nobody is answered");
    }
}

#[test]
fn a_packet_cut_off_with_lengths_to_match_is_never_delivered() {
    // The IP length says what is there: now UDP's length and checksum have to notice.
    for (from, to) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(to);
        let packet = build::udp_packet(from, to, &pattern(300));
        let v4 = packet[0] >> 4 == 4;
        let header = if v4 { 20 } else { 40 };
        for len in header..packet.len() {
            let mut cut = packet[..len].to_vec();
            if v4 {
                let mut ip = smoltcp::wire::Ipv4Packet::new_unchecked(&mut cut[..]);
                ip.set_total_len(len as u16);
                ip.fill_checksum();
            } else {
                cut[4..6].copy_from_slice(&((len - header) as u16).to_be_bytes());
            }
            host.receive(&build::frame(&cut));
            assert_eq!(host.recv(socket), None, "{len} bytes");
        }
        assert_eq!(
            host.stack.counters().rx_malformed,
            (packet.len() - header) as u64
        );
    }
}

#[test]
fn every_specimen_cut_anywhere_is_survived() {
    let mut host = Host::ready();
    host.connected("10.0.0.2:7", "10.0.0.9:99");
    host.connected("[fd00::2]:7", "[fd00::9]:99");
    for frame in specimens() {
        for len in 0..=frame.len() {
            host.receive(&frame[..len]);
            host.sent();
        }
    }
}

#[test]
fn a_frame_longer_than_any_packet_is_survived() {
    let mut host = Host::ready();
    let socket = host.bound("[::]:7");
    for (from, to) in FAMILIES {
        let mut frame = build::udp(from, to, b"core");
        frame.resize(70_000, 0xee);
        host.receive(&frame);
        assert_eq!(host.recv_from(socket, from).unwrap(), b"core");
        // Lengths that are the most a field can say.
        let mut frame = build::udp(from, to, &pattern(1400));
        let length = if frame[12] == 8 {
            ETHERNET + 2
        } else {
            ETHERNET + 4
        };
        frame[length..length + 2].copy_from_slice(&[0xff, 0xff]);
        host.receive(&frame);
        assert_eq!(host.recv(socket), None);
    }
}

#[test]
fn noise_is_survived() {
    let mut host = Host::ready();
    let socket = host.bound("[::]:7");
    let mut random = Random(0x5eed);
    for _ in 0..100_000 {
        let len = random.below(200);
        let mut frame = random.bytes(len);
        // Mostly for us and of a type that is read: else nothing is looked at.
        if len >= ETHERNET && random.below(8) > 0 {
            frame[..6].copy_from_slice(&OUR_MAC);
            let types = [[8, 0], [8, 6], [0x86, 0xdd]];
            frame[12..14].copy_from_slice(&types[random.below(3)]);
            if len > ETHERNET && random.below(2) == 0 {
                frame[ETHERNET] = if frame[12] == 8 { 0x45 } else { 0x60 };
            }
        }
        let piece_bytes = 1 + random.below(220);
        host.receive_in(&frame, piece_bytes);
        host.sent();
    }
    assert_eq!(host.stack.counters().rx_packets, 100_000 + 2);
    assert_eq!(host.recv(socket), None, "noise has no checksum");
    host.check_census();
}

#[test]
fn specimens_with_flipped_bits_are_survived() {
    let mut host = Host::ready();
    let sockets = [
        host.connected("10.0.0.2:7", "10.0.0.9:99"),
        host.connected("[fd00::2]:7", "[fd00::9]:99"),
    ];
    let specimens = specimens();
    let mut random = Random(0xb17);
    for _ in 0..100_000 {
        let mut frame = specimens[random.below(specimens.len())].clone();
        for _ in 0..1 + random.below(4) {
            let bit = random.below(frame.len() * 8);
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        let piece_bytes = 1 + random.below(220);
        host.receive_in(&frame, piece_bytes);
        host.sent();
        for socket in sockets {
            while host.recv(socket).is_some() {}
            host.stack.take_error(socket);
        }
    }
    host.check_census();
}

#[test]
fn one_flipped_bit_never_changes_a_payload() {
    for (from, to) in FAMILIES {
        let mut host = Host::ready();
        let socket = host.bound(to);
        let good = build::udp(from, to, &pattern(40));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            host.receive(&bad);
            let received = host.recv(socket).map(|received| received.payload);
            // A bit that no checksum covers: the source's Ethernet address, IPv6's class and hops.
            assert!(
                received.is_none_or(|payload| payload == pattern(40)),
                "bit {bit}"
            );
        }
        host.sent();
    }
}
