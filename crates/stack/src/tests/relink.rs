//! A link that goes, and an interface that is another one when it comes back.

use smoltcp::wire::{ArpOperation, ArpRepr};

use super::build;
use super::harness::{Host, OUR_MAC, OUR_V4, PEER_MAC, ip};
use crate::PlanLimits;

const NEW_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const PEER: &str = "10.0.0.9:2000";

/// What goes out when a datagram is sent to the peer.
fn send(host: &mut Host) -> Vec<Vec<u8>> {
    let socket = host.bound("10.0.0.2:1000");
    let sent = host.send(socket, PEER, b"hello");
    sent.expect("room for a datagram");
    let frames = host.sent();
    host.close(socket);
    frames
}

fn is_arp(frame: &[u8]) -> bool {
    frame[12..14] == [8, 6]
}

#[test]
fn a_neighbour_is_asked_for_again_after_the_link_was_lost() {
    let mut host = Host::ready();
    let before = send(&mut host);
    assert_eq!(before[0][..6], PEER_MAC, "it is known");
    host.stack.link_lost(&mut host.ledger);
    let after = send(&mut host);
    assert_eq!(after.len(), 1);
    assert!(is_arp(&after[0]), "the datagram waits for its neighbour");
}

#[test]
fn what_waited_for_a_neighbour_goes_with_the_link() {
    let mut host = Host::new();
    assert!(is_arp(&send(&mut host)[0]));
    host.stack.link_lost(&mut host.ledger);
    assert_eq!(host.stack.counters().tx_unresolved, 1);
    let sent = host.answer(&build::arp_request(PEER_MAC, "10.0.0.9", OUR_V4));
    assert!(sent.iter().all(|frame| is_arp(frame)), "it is gone");
}

#[test]
fn addresses_are_announced_from_the_new_interface() {
    let mut host = Host::ready();
    host.stack
        .relink(host.now, NEW_MAC, 1500, PlanLimits::SCATTER);
    host.pass(std::time::Duration::ZERO);
    let sent = host.sent();
    let arp = sent.iter().find(|frame| is_arp(frame));
    let (ethernet, arp) = build::read_arp(arp.expect("an announcement"));
    assert_eq!(ethernet.from, NEW_MAC);
    let ArpRepr::EthernetIpv4 {
        operation,
        source_protocol_addr: sender,
        target_protocol_addr: target,
        ..
    } = arp
    else {
        panic!("not Ethernet and IPv4");
    };
    assert_eq!(operation, ArpOperation::Request);
    assert_eq!((ip(OUR_V4), sender), (sender.into(), target));
    let advertised = sent.iter().any(|frame| frame[12..14] == [0x86, 0xdd]);
    assert!(advertised, "the IPv6 address too");
    assert!(sent.iter().all(|frame| frame[6..12] == NEW_MAC));
}

#[test]
fn frames_for_the_old_interface_are_not_taken() {
    let mut host = Host::ready();
    let socket = host.bound("10.0.0.2:1000");
    host.stack
        .relink(host.now, NEW_MAC, 1500, PlanLimits::SCATTER);
    let mut datagram = build::udp(PEER, "10.0.0.2:1000", b"hello");
    assert_eq!(datagram[..6], OUR_MAC);
    host.receive(&datagram);
    assert_eq!(host.recv(socket), None);
    datagram[..6].copy_from_slice(&NEW_MAC);
    host.receive(&datagram);
    assert!(host.recv(socket).is_some());
}

#[test]
fn a_smaller_mtu_bounds_what_is_sent_next() {
    let mut host = Host::ready();
    host.stack
        .relink(host.now, OUR_MAC, 600, PlanLimits::SCATTER);
    host.pass(std::time::Duration::ZERO);
    host.sent();
    let socket = host.bound("10.0.0.2:1000");
    let sent = host.send(socket, PEER, &[7; 1000]);
    sent.expect("room for a datagram");
    let sent = host.sent();
    assert_eq!(sent.len(), 2, "it is fragmented");
    assert!(sent.iter().all(|frame| frame.len() <= 14 + 600));
}
