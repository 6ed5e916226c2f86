//! IP headers: options, extension headers, and addresses that nobody honest sends from.

use smoltcp::wire::IpProtocol;

use super::build::{self, frame, udp_packet, with_extensions, with_options};
use super::harness::{Host, OUR_V4, OUR_V6, PEER_V4, PEER_V6, ip};

const FROM_V4: &str = "10.0.0.9:99";
const TO_V4: &str = "10.0.0.2:7";
const FROM_V6: &str = "[fd00::9]:99";
const TO_V6: &str = "[fd00::2]:7";

/// An extension header of 8 bytes: one PadN option of 4 bytes.
const PADDING: &[u8] = &[1, 4, 0, 0, 0, 0];

fn deliver_v4(host: &mut Host, options: &[u8]) -> bool {
    let packet = with_options(&udp_packet(FROM_V4, TO_V4, b"options"), options);
    deliver(host, TO_V4, &packet)
}

fn deliver_v6(host: &mut Host, headers: &[(IpProtocol, &[u8])]) -> bool {
    let packet = with_extensions(&udp_packet(FROM_V6, TO_V6, b"extensions"), headers);
    deliver(host, TO_V6, &packet)
}

/// Whether a packet reaches a socket bound to `local`.
fn deliver(host: &mut Host, local: &str, packet: &[u8]) -> bool {
    let socket = host.bound(local);
    host.receive(&frame(packet));
    let received = host.recv(socket);
    host.close(socket);
    received.is_some()
}

#[test]
fn ipv4_options_are_skipped() {
    let mut host = Host::new();
    const TIMESTAMP: &[u8] = &[68, 8, 9, 0, 0, 0, 0, 0];
    const RECORD_ROUTE: &[u8] = &[7, 7, 4, 0, 0, 0, 0];
    const ROUTER_ALERT: &[u8] = &[148, 4, 0, 0];
    const END_AND_RUBBISH: &[u8] = &[1, 0, 131, 99];
    for options in [
        TIMESTAMP,
        RECORD_ROUTE,
        ROUTER_ALERT,
        END_AND_RUBBISH,
        &[1; 40],
    ] {
        assert!(deliver_v4(&mut host, options), "{options:?}");
    }
}

#[test]
fn a_source_route_is_dropped() {
    let mut host = Host::new();
    for kind in [131, 137] {
        assert!(!deliver_v4(&mut host, &[1, kind, 7, 4, 10, 0, 0, 1]));
    }
    assert_eq!(host.stack.counters().rx_source_routed, 2);
}

#[test]
fn malformed_ipv4_options_are_dropped() {
    let mut host = Host::new();
    const NO_LENGTH: &[u8] = &[1, 1, 1, 7];
    const LENGTH_ZERO: &[u8] = &[7, 0, 1, 1];
    const LENGTH_ONE: &[u8] = &[7, 1, 1, 1];
    const TOO_LONG: &[u8] = &[7, 5, 4, 0];
    for options in [NO_LENGTH, LENGTH_ZERO, LENGTH_ONE, TOO_LONG] {
        assert!(!deliver_v4(&mut host, options), "{options:?}");
    }
    assert_eq!(host.stack.counters().rx_malformed, 4);
}

#[test]
fn an_ipv4_header_length_that_cannot_be_is_dropped() {
    let mut host = Host::new();
    for words in (0..5).chain(8..16) {
        let mut packet = udp_packet(FROM_V4, TO_V4, b"");
        packet[0] = 0x40 | words;
        assert!(!deliver(&mut host, TO_V4, &packet), "{words} words");
    }
    assert_eq!(host.stack.counters().rx_malformed, 13);
}

#[test]
fn a_version_that_is_not_the_ethertypes_is_dropped() {
    let mut host = Host::new();
    for (local, remote) in [(TO_V4, FROM_V4), (TO_V6, FROM_V6)] {
        let socket = host.bound(local);
        let good = build::udp(remote, local, b"x");
        for version in (0..16).filter(|&version| version != good[14] >> 4) {
            let mut bad = good.clone();
            bad[14] = version << 4 | bad[14] & 0xf;
            host.receive(&bad);
            assert_eq!(host.recv(socket), None, "version {version}");
        }
    }
    assert_eq!(host.stack.counters().rx_malformed, 30);
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let mut host = Host::new();
    let (hop, options) = (IpProtocol::HopByHop, IpProtocol::Ipv6Opts);
    let done_route: &[u8] = &[0, 0, 0, 0, 0, 0];
    let long: &[u8] = &[[1, 20].as_slice(), &[0; 20]].concat();
    assert!(deliver_v6(&mut host, &[(hop, PADDING)]));
    assert!(deliver_v6(&mut host, &[(hop, PADDING), (options, long)]));
    assert!(deliver_v6(
        &mut host,
        &[(IpProtocol::Ipv6Route, done_route)]
    ));
    let most = [(options, PADDING); 8];
    for count in 0..=8 {
        assert!(deliver_v6(&mut host, &most[..count]), "{count} headers");
    }
}

#[test]
fn more_than_eight_extension_headers_are_dropped() {
    let mut host = Host::new();
    let many = [(IpProtocol::Ipv6Opts, PADDING); 10];
    assert!(!deliver_v6(&mut host, &many[..9]));
    assert!(!deliver_v6(&mut host, &many));
    assert_eq!(host.stack.counters().rx_malformed, 2);
}

#[test]
fn an_ipv6_source_route_not_done_is_dropped() {
    // RFC 8200, section 4.4: with segments left, a node that does not know the type discards it.
    let mut host = Host::new();
    let route: &[u8] = &[0, 1, 0, 0, 0, 0];
    assert!(!deliver_v6(&mut host, &[(IpProtocol::Ipv6Route, route)]));
    assert_eq!(host.stack.counters().rx_source_routed, 1);
}

#[test]
fn truncated_extension_headers_are_dropped() {
    let mut host = Host::new();
    let headers = [
        (IpProtocol::HopByHop, PADDING),
        (IpProtocol::Ipv6Opts, PADDING),
    ];
    let whole = with_extensions(&udp_packet(FROM_V6, TO_V6, b""), &headers);
    for len in 0..24 {
        let mut packet = whole[..40 + len].to_vec();
        packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
        assert!(!deliver(&mut host, TO_V6, &packet), "{len} bytes");
    }
    assert!(deliver(&mut host, TO_V6, &whole));
    // A header that says to be longer than the packet.
    let mut packet = whole.clone();
    packet[41] = 4;
    assert!(!deliver(&mut host, TO_V6, &packet));
    assert_eq!(host.stack.counters().rx_malformed, 25);
}

#[test]
fn spoofed_ipv4_sources_are_dropped() {
    let mut host = Host::ready();
    let socket = host.bound("0.0.0.0:7");
    let sources = [
        "224.0.0.1",
        "239.1.2.3",
        "255.255.255.255",
        "10.0.0.255",
        OUR_V4,
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "0.1.2.3",
    ];
    for source in sources {
        host.receive(&build::udp(&format!("{source}:99"), TO_V4, b"spoof"));
        assert_eq!(host.recv(socket), None, "{source}");
        let ping = build::echo_request(source, OUR_V4, b"spoof");
        assert!(host.answer(&frame(&ping)).is_empty(), "{source}");
    }
    let dropped = 2 * sources.len() as u64;
    assert_eq!(host.stack.counters().rx_bad_source, dropped);
}

#[test]
fn spoofed_ipv6_sources_are_dropped() {
    let mut host = Host::ready();
    let socket = host.bound("[::]:7");
    let sources = [
        "ff02::1",
        "ff0e::99",
        OUR_V6,
        "::1",
        "::",
        "::ffff:10.0.0.9",
    ];
    for source in sources {
        host.receive(&build::udp(&format!("[{source}]:99"), TO_V6, b"spoof"));
        assert_eq!(host.recv(socket), None, "{source}");
        let ping = build::echo_request(source, OUR_V6, b"spoof");
        assert!(host.answer(&frame(&ping)).is_empty(), "{source}");
    }
    // A ping from `::` is let in as neighbour discovery would be, and refused later.
    assert!(host.stack.counters().rx_bad_source >= 2 * sources.len() as u64 - 1);
}

#[test]
fn packets_for_loopback_addresses_from_the_wire_are_dropped() {
    let mut host = Host::ready();
    let socket = host.bound("[::]:7");
    host.receive(&build::udp(FROM_V4, "127.0.0.1:7", b"x"));
    host.receive(&build::udp(FROM_V6, "[::1]:7", b"x"));
    host.receive(&build::udp(FROM_V4, "0.0.0.0:7", b"x"));
    host.receive(&build::udp(FROM_V6, "[::]:7", b"x"));
    assert_eq!(host.recv(socket), None);
    assert_eq!(host.stack.counters().rx_not_ours, 4);
}

#[test]
fn an_unknown_ethertype_is_nobodys() {
    let mut host = Host::new();
    let mut bytes = build::udp(FROM_V4, TO_V4, b"x");
    bytes[12..14].copy_from_slice(&[0x88, 0xcc]);
    assert!(host.answer(&bytes).is_empty());
    assert_eq!(host.stack.counters().rx_not_ours, 1);
}

#[test]
fn an_unknown_protocol_is_answered_in_ipv4_and_ipv6() {
    let mut host = Host::ready();
    for (peer, ours) in [(PEER_V4, OUR_V4), (PEER_V6, OUR_V6)] {
        let unknown = IpProtocol::Unknown(200);
        let packet = build::ip_packet(ip(peer), ip(ours), unknown, 64, &[0; 32]);
        let sent = host.answer(&frame(&packet));
        assert_eq!(sent.len(), 1);
        let (_, kind, code, _) = build::read_icmp(&sent[0]);
        let expected = if ip(ours).is_ipv4() { (3, 2) } else { (4, 1) };
        assert_eq!(
            (kind, code),
            expected,
            "protocol unreachable, unrecognised next header"
        );
    }
}
