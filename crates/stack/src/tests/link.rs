//! ARP, neighbour discovery and duplicate address detection.

use std::time::Duration;

use ringwire_umem::Pool;
use smoltcp::wire::{ArpOperation, ArpRepr, IpProtocol, NdiscNeighborFlags};

use super::build::{self, ALL_NODES, UNSPECIFIED_V6};
use super::harness::{Host, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, Setup, ip};
use crate::checksum::Checksum;
use crate::neighbour::dad::Probing;
use crate::{AddressState, DadConfig, SocketError, multicast_mac, solicited_node};

const SECOND: Duration = Duration::from_secs(1);
const BROADCAST: [u8; 6] = [0xff; 6];
const ADVERTISEMENT: u8 = 136;
const SOLICITATION: u8 = 135;

fn probing(setup: &mut Setup) {
    setup.config.dad = DadConfig {
        ipv4: Probing::IPV4,
        ipv6: Probing::IPV6,
    };
}

/// The probes and announcements for an address in what was sent: (probes, announcements).
fn arp_claims(frames: &[Vec<u8>]) -> (usize, usize) {
    let (mut probes, mut announcements) = (0, 0);
    for frame in frames.iter().filter(|frame| frame[12..14] == [8, 6]) {
        let (ethernet, arp) = build::read_arp(frame);
        let ArpRepr::EthernetIpv4 {
            operation,
            source_protocol_addr: sender,
            target_protocol_addr: target,
            ..
        } = arp
        else {
            panic!("not Ethernet and IPv4");
        };
        assert_eq!((ethernet.to, operation), (BROADCAST, ArpOperation::Request));
        assert_eq!(ip(OUR_V4), target);
        if sender.is_unspecified() {
            probes += 1;
        } else {
            assert_eq!(sender, target);
            announcements += 1;
        }
    }
    (probes, announcements)
}

#[test]
fn an_arp_request_for_our_address_is_answered() {
    let mut host = Host::new();
    let sent = host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4));
    assert_eq!(sent.len(), 1);
    let (ethernet, arp) = build::read_arp(&sent[0]);
    assert_eq!((ethernet.from, ethernet.to), (OUR_MAC, PEER_MAC));
    let ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_hardware_addr,
        target_protocol_addr,
    } = arp
    else {
        panic!("not Ethernet and IPv4");
    };
    assert_eq!(operation, ArpOperation::Reply);
    assert_eq!(source_hardware_addr.0, OUR_MAC);
    assert_eq!(ip(OUR_V4), source_protocol_addr);
    assert_eq!(target_hardware_addr.0, PEER_MAC);
    assert_eq!(ip(PEER_V4), target_protocol_addr);
}

#[test]
fn arp_for_another_address_is_not_answered() {
    let mut host = Host::new();
    let sent = host.answer(&build::arp_request(PEER_MAC, PEER_V4, "10.0.0.3"));
    assert!(sent.is_empty());
    let mut truncated = build::arp_request(PEER_MAC, PEER_V4, OUR_V4);
    for len in (14..42).rev() {
        truncated.truncate(len);
        assert!(host.answer(&truncated).is_empty(), "{len} bytes");
    }
    assert_eq!(host.stack.counters().rx_malformed, 28);
}

#[test]
fn an_arp_probe_for_our_address_is_answered_and_teaches_nothing() {
    let mut host = Host::new();
    let sent = host.answer(&build::arp_request(PEER_MAC, "0.0.0.0", OUR_V4));
    assert_eq!(
        sent.len(),
        1,
        "RFC 5227, section 2.1.1: the prober learns of the conflict"
    );
    let (_, arp) = build::read_arp(&sent[0]);
    assert!(matches!(
        arp,
        ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            ..
        }
    ));
    assert_eq!(host.stack.counters().address_conflicts, 0);
}

#[test]
fn an_address_in_use_is_defended_once_in_ten_seconds() {
    let mut host = Host::with(probing);
    host.pass(SECOND * 20);
    host.sent();
    let claim = build::arp_request(PEER_MAC, OUR_V4, OUR_V4);
    assert_eq!(arp_claims(&host.answer(&claim)), (0, 1));
    assert_eq!(arp_claims(&host.answer(&claim)), (0, 0), "no storm");
    host.pass(SECOND * 10);
    assert_eq!(arp_claims(&host.answer(&claim)), (0, 1));
    assert_eq!(host.stack.counters().address_conflicts, 3);
    assert_eq!(
        host.stack.address_state(ip(OUR_V4)),
        Some(AddressState::Preferred)
    );
}

#[test]
fn a_solicitation_to_our_solicited_node_group_is_answered() {
    let mut host = Host::new();
    let sent = host.answer(&build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6));
    assert_eq!(sent.len(), 1);
    let (ethernet, header, kind, target, flags) = build::read_discovery(&sent[0]);
    assert_eq!((ethernet.from, ethernet.to), (OUR_MAC, PEER_MAC));
    assert_eq!((header.from, header.to), (ip(OUR_V6), ip(PEER_V6)));
    assert_eq!((kind, ip(OUR_V6)), (ADVERTISEMENT, target.into()));
    assert_eq!(
        flags,
        NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE
    );
    assert_eq!(
        header.payload[24..],
        [2, 1, 2, 0, 0, 0, 0, 2],
        "target link-layer address"
    );
}

#[test]
fn a_probe_for_our_ipv6_address_is_answered_to_all_nodes() {
    let mut host = Host::new();
    let sent = host.answer(&build::neighbour_solicit(PEER_MAC, UNSPECIFIED_V6, OUR_V6));
    assert_eq!(sent.len(), 1);
    let (ethernet, header, kind, _, flags) = build::read_discovery(&sent[0]);
    assert_eq!(
        (ethernet.to, header.to),
        (multicast_mac(ip(ALL_NODES)), ip(ALL_NODES))
    );
    assert_eq!((kind, flags), (ADVERTISEMENT, NdiscNeighborFlags::OVERRIDE));
}

#[test]
fn discovery_from_another_link_is_ignored() {
    let mut host = Host::new();
    let sent = host.answer(&build::neighbour_solicit_at(PEER_MAC, PEER_V6, OUR_V6, 254));
    assert!(sent.is_empty());
    assert_eq!(host.stack.counters().rx_malformed, 1);
    let other = host.answer(&build::neighbour_solicit(PEER_MAC, PEER_V6, "fd00::3"));
    assert!(other.is_empty(), "and so is one for another host");
}

#[test]
fn a_solicitation_with_a_wrong_checksum_is_ignored() {
    let mut host = Host::new();
    let mut frame = build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6);
    frame[14 + 42] ^= 1;
    assert!(host.answer(&frame).is_empty());
    assert_eq!(host.stack.counters().rx_bad_checksum, 1);
}

#[test]
fn the_first_datagram_waits_for_the_neighbours_arp_answer() {
    let mut host = Host::new();
    let socket = host.bound("0.0.0.0:7");
    host.send(socket, "10.0.0.9:99", b"hello").unwrap();
    host.send(socket, "10.0.0.9:99", b"again").unwrap();
    let sent = host.sent();
    assert_eq!(sent.len(), 1, "one solicitation, and nothing else");
    let (ethernet, arp) = build::read_arp(&sent[0]);
    assert_eq!(ethernet.to, BROADCAST);
    let ArpRepr::EthernetIpv4 {
        operation,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = arp
    else {
        panic!("not Ethernet and IPv4");
    };
    assert_eq!(operation, ArpOperation::Request);
    assert_eq!(ip(OUR_V4), source_protocol_addr);
    assert_eq!(ip(PEER_V4), target_protocol_addr);
    let sent = host.answer(&build::arp_reply(PEER_MAC, PEER_V4, OUR_V4));
    let payloads: Vec<_> = sent.iter().map(|frame| build::read_udp(frame).2).collect();
    assert_eq!(payloads, [b"hello", b"again"]);
    assert_eq!(build::read_ethernet(&sent[0]).to, PEER_MAC);
    host.send(socket, "10.0.0.9:99", b"known").unwrap();
    assert_eq!(host.sent().len(), 1, "no further question");
}

#[test]
fn the_first_datagram_waits_for_the_neighbours_advertisement() {
    let mut host = Host::new();
    host.sent();
    let socket = host.bound("[::]:7");
    host.send(socket, "[fd00::9]:99", b"hello").unwrap();
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    let (ethernet, header, kind, target, _) = build::read_discovery(&sent[0]);
    let group = solicited_node("fd00::9".parse().unwrap()).into();
    assert_eq!((ethernet.to, header.to), (multicast_mac(group), group));
    assert_eq!((header.from, kind), (ip(OUR_V6), SOLICITATION));
    assert_eq!(ip(PEER_V6), target);
    let sent = host.answer(&build::neighbour_advert(PEER_MAC, PEER_V6, OUR_V6, true));
    assert_eq!(sent.len(), 1);
    assert_eq!(build::read_udp(&sent[0]).2, b"hello");
    assert_eq!(build::read_ethernet(&sent[0]).to, PEER_MAC);
}

#[test]
fn without_an_answer_the_datagram_is_dropped_and_its_frames_are_free() {
    for to in ["10.0.0.9:99", "[fd00::9]:99"] {
        let mut host = Host::new();
        host.sent();
        let all = host.free(Pool::Send);
        let socket = host.bound("[::]:7");
        host.send(socket, to, &[0; 4000]).unwrap();
        let mut questions = host.sent().len();
        assert_eq!(host.free(Pool::Send), all - 3, "three fragments wait");
        for _ in 0..10 {
            host.pass(SECOND);
            questions += host.sent().len();
        }
        assert_eq!(
            questions, 3,
            "asked three times (RFC 4861, MAX_MULTICAST_SOLICIT)"
        );
        assert_eq!(host.free(Pool::Send), all);
        assert_eq!(host.stack.counters().tx_unresolved, 3);
        assert!(host.stack.readiness(&host.ledger, socket).writable);
    }
}

#[test]
fn what_is_not_on_the_link_goes_to_the_gateway() {
    let mut host = Host::with(|setup| setup.config.gateways = vec![ip(PEER_V4)]);
    host.meet_peer();
    let socket = host.bound("[::]:7");
    host.send(socket, "192.0.2.1:99", b"far").unwrap();
    let sent = host.sent();
    assert_eq!(build::read_ethernet(&sent[0]).to, PEER_MAC);
    assert_eq!(build::read_udp(&sent[0]).1, "192.0.2.1:99".parse().unwrap());
    let nowhere = host.send(socket, "[2001:db8::1]:99", b"far");
    assert_eq!(nowhere, Err(SocketError::NetworkUnreachable));
}

#[test]
fn addresses_are_not_used_before_they_were_probed() {
    let mut host = Host::with(probing);
    for (address, local) in [(OUR_V4, "10.0.0.2:7"), (OUR_V6, "[fd00::2]:7")] {
        assert_eq!(
            host.stack.address_state(ip(address)),
            Some(AddressState::Tentative)
        );
        let socket = host.open(crate::Family::V6);
        let bound = host.stack.bind(socket, local.parse().unwrap());
        assert_eq!(bound, Err(SocketError::AddressNotAvailable));
    }
    let socket = host.bound("[::]:7");
    for to in ["10.0.0.9:99", "[fd00::9]:99"] {
        assert_eq!(
            host.send(socket, to, b"x"),
            Err(SocketError::NetworkUnreachable)
        );
    }
    assert!(
        host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4))
            .is_empty()
    );
    assert!(
        host.answer(&build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6))
            .is_empty()
    );
    let ping = build::frame(&build::echo_request(PEER_V4, OUR_V4, b"ping"));
    assert!(build::without_noise(host.answer(&ping)).is_empty());
}

#[test]
fn probed_addresses_are_announced_and_used() {
    let mut host = Host::with(probing);
    host.pass(SECOND * 20);
    let sent = host.sent();
    assert_eq!(arp_claims(&sent), (3, 2), "RFC 5227, section 1.1");
    let solicitations: Vec<_> = sent
        .iter()
        .filter(|frame| frame[12..14] == [0x86, 0xdd] && frame[14 + 6] == 58)
        .map(|frame| build::read_discovery(frame))
        .collect();
    assert_eq!(solicitations.len(), 1, "RFC 4862, section 5.4.2");
    let (_, header, kind, target, _) = &solicitations[0];
    assert_eq!((header.from, *kind), (ip(UNSPECIFIED_V6), SOLICITATION));
    assert_eq!(ip(OUR_V6), *target);
    assert_eq!(
        header.payload.len(),
        24,
        "a probe names no Ethernet address"
    );
    for address in [OUR_V4, OUR_V6] {
        assert_eq!(
            host.stack.address_state(ip(address)),
            Some(AddressState::Preferred)
        );
    }
    assert_eq!(
        host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4))
            .len(),
        1
    );
    host.bound("10.0.0.2:7");
    host.bound("[fd00::2]:7");
}

#[test]
fn a_duplicate_address_is_detected_and_never_used() {
    let signs = [
        (OUR_V4, build::arp_reply(PEER_MAC, OUR_V4, OUR_V4)),
        (OUR_V4, build::arp_request(PEER_MAC, OUR_V4, PEER_V4)),
        (OUR_V4, build::arp_request(PEER_MAC, "0.0.0.0", OUR_V4)),
        (
            OUR_V6,
            build::neighbour_advert(PEER_MAC, OUR_V6, ALL_NODES, false),
        ),
        (
            OUR_V6,
            build::neighbour_solicit(PEER_MAC, UNSPECIFIED_V6, OUR_V6),
        ),
    ];
    for (address, sign) in signs {
        let mut host = Host::with(probing);
        host.pass(SECOND);
        host.receive(&sign);
        let lost = host.stack.address_state(ip(address)).unwrap();
        assert!(
            matches!(lost, AddressState::Duplicate(_)),
            "{address}: {lost:?}"
        );
        assert_eq!(host.stack.counters().address_conflicts, 1);
        host.pass(SECOND * 30);
        host.sent();
        assert_eq!(host.stack.address_state(ip(address)), Some(lost));
        let socket = host.open(crate::Family::V6);
        let bound = host
            .stack
            .bind(socket, std::net::SocketAddr::new(ip(address), 7));
        assert_eq!(bound, Err(SocketError::AddressNotAvailable));
        let asked = if ip(address).is_ipv4() {
            host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4))
        } else {
            host.answer(&build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6))
        };
        assert!(asked.is_empty(), "the other host answers");
    }
}

#[test]
fn our_own_probe_come_back_is_no_conflict() {
    let mut host = Host::with(probing);
    host.pass(SECOND);
    let probes = host.sent();
    assert!(arp_claims(&probes).0 > 0);
    let arp = probes.iter().filter(|frame| frame[12..14] == [8, 6]);
    arp.for_each(|frame| host.receive(frame));
    assert_eq!(host.stack.counters().address_conflicts, 0);
}

#[test]
fn ten_thousand_arp_senders_do_not_evict_the_neighbour_in_use() {
    let mut host = Host::with(|setup| {
        setup.config.addresses = vec!["10.0.0.2/8".parse().unwrap()];
    });
    host.answer(&build::arp_request(PEER_MAC, PEER_V4, OUR_V4));
    let socket = host.bound("0.0.0.0:7");
    host.send(socket, "10.0.0.9:99", b"in use").unwrap();
    host.sent();
    for number in 0..10_000u32 {
        let sender = format!("10.1.{}.{}", number / 250, number % 250 + 1);
        let mac = [2, 1, 0, 0, (number >> 8) as u8, number as u8];
        let answers = host.answer(&build::arp_request(mac, &sender, OUR_V4));
        assert_eq!(answers.len(), 1, "everybody is answered");
    }
    let counters = host.stack.neighbour_counters();
    let kept = 10_001 - counters.evicted - counters.learn_ignored;
    assert!(kept <= 1024, "{kept} entries are kept");
    host.send(socket, "10.0.0.9:99", b"still").unwrap();
    let sent = host.sent();
    assert_eq!(build::read_ethernet(&sent[0]).to, PEER_MAC);
    assert_eq!(build::read_udp(&sent[0]).2, b"still");
}

#[test]
fn an_impossible_sender_is_not_learnt() {
    let mut host = Host::new();
    host.receive(&build::arp_request([0xff; 6], PEER_V4, OUR_V4));
    assert_eq!(host.stack.neighbour_counters().learn_invalid, 1);
    host.sent();
    let socket = host.bound("0.0.0.0:7");
    host.send(socket, "10.0.0.9:99", b"x").unwrap();
    let sent = host.sent();
    build::read_arp(&sent[0]);
}

#[test]
fn the_solicited_node_group_is_joined_before_the_address_is_probed() {
    let mut host = Host::with(probing);
    host.pass(SECOND * 5);
    let sent: Vec<_> = host
        .sent()
        .iter()
        .map(|frame| build::read_ethernet(frame))
        .filter(|ethernet| ethernet.payload[0] >> 4 == 6)
        .map(|ethernet| (ethernet.to, build::read_ip(&ethernet.payload)))
        .collect();
    assert_eq!(sent.len(), 2, "a report and a probe");
    let (mac, report) = &sent[0];
    assert_eq!(
        (*mac, report.to),
        (multicast_mac(ip("ff02::16")), ip("ff02::16"))
    );
    assert_eq!(
        (report.protocol, report.hop_limit),
        (IpProtocol::HopByHop, 1)
    );
    // RFC 3810, section 5.2: one record, "change to exclude nobody", for the group.
    let group = solicited_node(OUR_V6.parse().unwrap()).octets();
    assert_eq!(report.payload[8], 143);
    assert_eq!(report.payload[14..20], [0, 1, 4, 0, 0, 0]);
    assert_eq!(report.payload[20..36], group);
    let len = report.payload.len() as u32 - 8;
    let mut sum = Checksum::pseudo(report.from, report.to, 58, len);
    sum.add(&report.payload[8..]);
    assert_eq!(sum.finish(), 0, "its checksum is right");
    assert_eq!(sent[1].1.protocol, IpProtocol::Icmpv6);
}

#[test]
fn a_multicast_query_is_answered_in_the_time_it_gives() {
    let mut host = Host::new();
    // RFC 3810, section 5.1: a general query, 5 seconds to answer, router alert in front.
    let mut query = vec![130, 0, 0, 0, 0x13, 0x88, 0, 0];
    query.extend_from_slice(&[0; 16]);
    query.extend_from_slice(&[2, 125, 0, 0]);
    let (router, all) = (ip("fe80::1"), ip(ALL_NODES));
    let mut sum = Checksum::pseudo(router, all, 58, query.len() as u32);
    sum.add(&query);
    query[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    let packet = build::ip_packet(router, all, IpProtocol::Icmpv6, 1, &query);
    let alert: &[u8] = &[5, 2, 0, 0, 1, 0];
    let packet = build::with_extensions(&packet, &[(IpProtocol::HopByHop, alert)]);
    host.receive(&build::frame(&packet));
    host.pass(SECOND * 5);
    let sent = host.sent();
    assert_eq!(sent.len(), 1);
    let report = build::read_ip(&build::read_ethernet(&sent[0]).payload);
    assert_eq!(report.to, ip("ff02::16"));
    let group = solicited_node(OUR_V6.parse().unwrap()).octets();
    assert!(report.payload.windows(16).any(|part| part == group));
    host.pass(SECOND * 100);
    assert!(host.sent().is_empty(), "answered once");
}
