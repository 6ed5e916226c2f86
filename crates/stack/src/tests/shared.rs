//! A stack whose addresses are the kernel's too: what it leaves to the kernel, and the ways its packets go.

use std::time::Duration;

use smoltcp::wire::IpProtocol;

use super::build::{self, ETHERNET};
use super::harness::{Host, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, at, ip};
use super::kernel::{FakeKernel, via};
use crate::{
    Cidr, Family, KernelEvent, Neighbour, Protocol, Route, SendOptions, SocketError, SocketId,
};

const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 77];
/// A host behind a router, and the router.
const FAR: &str = "192.0.2.1";
const ROUTER: &str = "10.0.0.1";

/// Waits for what the kernel says now.
pub(super) fn listen(host: &mut Host) {
    host.stack.kernel_is_ready();
    host.stack.poll(host.now, &mut host.ledger);
}

pub(super) fn tells(host: &mut Host, kernel: &FakeKernel, event: KernelEvent) {
    kernel.says(event);
    listen(host);
}

fn addresses(cidrs: &[&str]) -> KernelEvent {
    let parse = |cidr: &&str| cidr.parse::<Cidr>().unwrap();
    KernelEvent::Addresses(cidrs.iter().map(parse).collect())
}

fn neighbour(address: &str, is: Neighbour) -> KernelEvent {
    KernelEvent::Neighbour {
        address: ip(address),
        is,
    }
}

fn known(mac: [u8; 6]) -> Neighbour {
    Neighbour::Known { mac, sure: true }
}

fn connect(host: &mut Host, id: SocketId, to: &str) -> Result<(), SocketError> {
    let (now, to) = (host.now, Some(at(to)));
    host.stack.tcp_connect(now, &mut host.ledger, id, to)
}

/// A TCP socket that nobody has connected; the test closes it.
fn unconnected(host: &mut Host, family: Family) -> SocketId {
    host.stack.open(Protocol::Tcp, family)
}

/// The Ethernet address, and source and destination of the one frame that goes out.
fn one_sent(host: &mut Host) -> ([u8; 6], String, String) {
    let frames = host.sent();
    assert_eq!(frames.len(), 1, "{frames:?}");
    let ethernet = build::read_ethernet(&frames[0]);
    assert_eq!(ethernet.from, host.stack.config.mac);
    let packet = build::read_ip(&ethernet.payload);
    (ethernet.to, packet.from.to_string(), packet.to.to_string())
}

#[test]
fn arp_discovery_and_icmp_are_left_to_the_kernel() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let asked = [
        build::arp_request(PEER_MAC, PEER_V4, OUR_V4),
        build::neighbour_solicit(PEER_MAC, PEER_V6, OUR_V6),
        build::frame(&build::echo_request(PEER_V4, OUR_V4, b"ping")),
        build::frame(&build::echo_request(PEER_V6, OUR_V6, b"ping")),
    ];
    for frame in &asked {
        assert_eq!(host.answer(frame), Vec::<Vec<u8>>::new());
    }
    assert_eq!(host.stack.counters().rx_not_ours, asked.len() as u64);
    assert_eq!(host.stack.counters().control_packets, 0);
}

#[test]
fn icmp_in_fragments_is_left_to_the_kernel() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.connected("10.0.0.2:700", "10.0.0.9:9");
    let quoted = build::udp_packet("10.0.0.2:700", "10.0.0.9:9", &[0; 64]);
    let error = build::port_unreachable(PEER_V4, OUR_V4, &quoted);
    let ping = build::echo_request(PEER_V4, OUR_V4, &[7; 100]);
    for (id, packet) in [(1, error), (2, ping)] {
        for part in build::fragments(&packet, id, 64) {
            assert_eq!(host.answer(&build::frame(&part)), Vec::<Vec<u8>>::new());
        }
    }
    assert_eq!(host.stack.take_error(socket), None);
    assert_eq!(host.stack.counters().rx_not_ours, 2);
    assert_eq!(host.stack.counters().control_packets, 0);
}

#[test]
fn of_fragments_that_miss_one_the_kernel_complains() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let packet = build::udp_packet("10.0.0.9:9", "10.0.0.2:700", &[0; 100]);
    host.receive(&build::frame(&build::fragments(&packet, 1, 64)[0]));
    host.pass(Duration::from_secs(120));
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
}

#[test]
fn addresses_are_neither_probed_nor_announced_and_usable_at_once() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host_with(|setup| setup.config.dad = Default::default());
    let socket = host.bound("[fd00::2]:700");
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    tells(&mut host, &kernel, addresses(&["fd00::2/64", "fd00::4/64"]));
    host.pass(Duration::from_secs(10));
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    host.receive(&build::udp("[fd00::9]:9", "[fd00::2]:700", b"hello"));
    assert!(host.recv(socket).is_some());
}

#[test]
fn a_stack_has_any_number_of_shared_addresses() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host_with(|setup| {
        let cidr = |host| format!("10.0.1.{host}/24").parse().unwrap();
        setup.config.addresses = (1..=100).map(cidr).collect();
    });
    let socket = host.bound("10.0.1.100:700");
    host.receive(&build::udp("10.0.1.200:9", "10.0.1.100:700", b"hello"));
    assert!(host.recv(socket).is_some());
}

#[test]
fn a_datagram_is_for_the_addresses_that_the_kernel_has_now() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    let takes = |host: &mut Host, to: &str| {
        host.receive(&build::udp("10.0.0.9:9", &format!("{to}:700"), b"hello"));
        host.recv(socket).is_some()
    };
    assert!(takes(&mut host, OUR_V4) && !takes(&mut host, "10.0.0.4"));
    tells(&mut host, &kernel, addresses(&["10.0.0.4/24"]));
    assert!(!takes(&mut host, OUR_V4) && takes(&mut host, "10.0.0.4"));
}

#[test]
fn a_connection_goes_on_when_its_address_comes_back() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let (client, server) = pair.connect("10.0.0.3:80");
    tells(&mut pair.a, &kernel, addresses(&["fd00::2/64"]));
    kernel.routes(
        Some(OUR_V4),
        "10.0.0.3",
        Route::None(SocketError::NetworkUnreachable),
    );
    pair.b.write(server, b"lost").unwrap();
    pair.a.write(client, b"late").unwrap();
    pair.exchange();
    assert_eq!(pair.a.read(client, 10), Err(SocketError::WouldBlock));
    assert_eq!(pair.b.read(server, 10), Err(SocketError::WouldBlock));
    kernel.routes(Some(OUR_V4), "10.0.0.3", via("10.0.0.3"));
    let back = addresses(&["10.0.0.2/24", "fd00::2/64"]);
    tells(&mut pair.a, &kernel, back);
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.a.read(client, 10), Ok(b"lost".to_vec()));
    assert_eq!(pair.b.read(server, 10), Ok(b"late".to_vec()));
}

#[test]
fn a_socket_is_bound_to_an_address_that_the_kernel_has_now() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.open(Family::V4);
    let bind = |host: &mut Host| host.stack.bind(socket, at("10.0.0.4:700"));
    assert_eq!(bind(&mut host), Err(SocketError::AddressNotAvailable));
    tells(&mut host, &kernel, addresses(&["10.0.0.4/24"]));
    assert_eq!(bind(&mut host), Ok(()));
}

#[test]
fn a_route_is_asked_once_for_many_packets() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let (one, other) = (host.bound("10.0.0.2:700"), host.bound("10.0.0.2:701"));
    for _ in 0..10 {
        host.send(one, "10.0.0.9:9", b"x").unwrap();
        host.send(other, "10.0.0.3:9", b"x").unwrap();
    }
    let from = Some(ip(OUR_V4));
    let asked = [(from, ip(PEER_V4)), (from, ip("10.0.0.3"))];
    assert_eq!(kernel.state().routes_asked, asked);
}

#[test]
fn a_route_is_asked_again_when_routes_or_addresses_have_changed() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.9:9", b"x").unwrap();
    for event in [KernelEvent::Routes, addresses(&["10.0.0.2/24"])] {
        let before = kernel.state().routes_asked.len();
        tells(&mut host, &kernel, event);
        host.send(socket, "10.0.0.9:9", b"x").unwrap();
        assert_eq!(kernel.state().routes_asked.len(), before + 1);
    }
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let unreachable = Err(SocketError::NetworkUnreachable);
    let socket = host.bound("0.0.0.0:700");
    assert_eq!(host.send(socket, "192.0.2.1:9", b"x"), unreachable);
    let to = Some(at("192.0.2.1:9"));
    assert_eq!(host.stack.udp_connect(socket, to), unreachable);
    let stream = unconnected(&mut host, Family::V4);
    assert_eq!(connect(&mut host, stream, "192.0.2.1:9"), unreachable);
    assert_eq!(kernel.tcp_ports(), [], "no port was taken for it");
    host.close(stream);
}

#[test]
fn without_a_route_from_the_chosen_address_the_network_is_unreachable() {
    let kernel = FakeKernel::new();
    kernel.routes(None, FAR, via(ROUTER));
    kernel.routes(
        Some(OUR_V4),
        FAR,
        Route::None(SocketError::NetworkUnreachable),
    );
    let mut host = kernel.host();
    let unreachable = Err(SocketError::NetworkUnreachable);
    for local in ["0.0.0.0:700", "10.0.0.2:701"] {
        let socket = host.bound(local);
        assert_eq!(host.send(socket, "192.0.2.1:9", b"x"), unreachable);
    }
    let stream = unconnected(&mut host, Family::V4);
    assert_eq!(connect(&mut host, stream, "192.0.2.1:9"), unreachable);
    host.close(stream);
}

#[test]
fn a_wildcard_is_no_address_that_the_kernel_is_asked_about() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    for (family, local) in [(Family::V4, "0.0.0.0:700"), (Family::V6, "[::]:701")] {
        let stream = unconnected(&mut host, family);
        host.stack.bind(stream, at(local)).unwrap();
        let begun = connect(&mut host, stream, "10.0.0.9:9");
        assert_eq!(begun, Err(SocketError::InProgress));
        host.reset_on_close(stream);
        host.close(stream);
    }
    let asked = &kernel.state().routes_asked;
    let expected = [(None, ip(PEER_V4)), (Some(ip(OUR_V4)), ip(PEER_V4))];
    assert_eq!(asked[..], expected);
}

#[test]
fn the_neighbour_that_the_route_names_gets_the_packet() {
    let kernel = FakeKernel::new();
    kernel.routes(None, FAR, via(ROUTER));
    kernel.knows(ROUTER, OTHER_MAC, true);
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    host.send(socket, "192.0.2.1:9", b"x").unwrap();
    let sent = one_sent(&mut host);
    assert_eq!(sent, (OTHER_MAC, OUR_V4.into(), FAR.into()));
}

#[test]
fn a_router_of_the_other_family_gets_the_packet() {
    let kernel = FakeKernel::new();
    kernel.routes(None, FAR, via("fe80::1"));
    kernel.knows("fe80::1", OTHER_MAC, true);
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    host.send(socket, "192.0.2.1:9", b"x").unwrap();
    let frame = &host.sent()[0];
    assert_eq!(frame[..6], OTHER_MAC);
    assert_eq!(frame[12..14], [8, 0], "IPv4");
}

#[test]
fn the_route_s_source_is_used() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host_with(|setup| {
        let addresses = ["10.0.0.2/24", "10.0.0.4/24", "10.0.0.5/24"];
        setup.config.addresses = addresses.map(|cidr| cidr.parse().unwrap()).into();
    });
    let from_5 = Route::Via {
        neighbour: ip(PEER_V4),
        source: Some(ip("10.0.0.5")),
        mtu: None,
    };
    kernel.routes(None, PEER_V4, from_5);
    let socket = host.bound("0.0.0.0:700");
    host.send(socket, "10.0.0.9:9", b"x").unwrap();
    assert_eq!(one_sent(&mut host).1, "10.0.0.5");
    let stream = host.connecting("10.0.0.9:80");
    assert_eq!(host.local(stream).ip(), ip("10.0.0.5"));
}

#[test]
fn another_interface_s_source_is_not_used() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let foreign = Route::Via {
        neighbour: ip(PEER_V4),
        source: Some(ip("172.16.0.1")),
        mtu: None,
    };
    kernel.routes(None, PEER_V4, foreign);
    let socket = host.bound("0.0.0.0:700");
    host.send(socket, "10.0.0.9:9", b"x").unwrap();
    assert_eq!(one_sent(&mut host).1, OUR_V4);
}

#[test]
fn a_route_may_depend_on_the_source() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host_with(|setup| {
        let addresses = ["10.0.0.2/24", "10.0.0.4/24"];
        setup.config.addresses = addresses.map(|cidr| cidr.parse().unwrap()).into();
    });
    let ways = [
        (OUR_V4, ROUTER, PEER_MAC),
        ("10.0.0.4", "10.0.0.8", OTHER_MAC),
    ];
    for (from, router, mac) in ways {
        kernel.routes(Some(from), FAR, via(router));
        kernel.knows(router, mac, true);
    }
    for (from, _, mac) in ways {
        let socket = host.bound(&format!("{from}:700"));
        host.send(socket, "192.0.2.1:9", b"x").unwrap();
        assert_eq!(one_sent(&mut host), (mac, from.into(), FAR.into()));
    }
}

#[test]
fn a_broadcast_is_what_the_kernel_takes_for_one() {
    let kernel = FakeKernel::new();
    kernel.routes(None, "10.0.0.127", Route::Broadcast);
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    let sent = host.send(socket, "10.0.0.127:9", b"x");
    assert_eq!(sent, Err(SocketError::Access), "as without SO_BROADCAST");
    let stream = unconnected(&mut host, Family::V4);
    let begun = connect(&mut host, stream, "10.0.0.127:9");
    assert_eq!(begun, Err(SocketError::NetworkUnreachable));
    host.close(stream);
}

#[test]
fn a_missing_neighbour_is_asked_of_the_kernel_once_and_packets_leave_when_it_is_told() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    for _ in 0..5 {
        host.send(socket, "10.0.0.7:9", b"x").unwrap();
    }
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(kernel.state().neighbours_asked, [ip("10.0.0.7")]);
    tells(&mut host, &kernel, neighbour("10.0.0.7", known(OTHER_MAC)));
    let frames = host.sent();
    assert_eq!(frames.len(), 5);
    assert!(frames.iter().all(|frame| frame[..6] == OTHER_MAC));
}

#[test]
fn what_waits_for_a_neighbour_is_not_sent_from_an_address_that_is_gone_meanwhile() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.connected("10.0.0.2:700", "10.0.0.7:9");
    host.send(socket, "10.0.0.7:9", b"hello").unwrap();
    tells(&mut host, &kernel, addresses(&["fd00::2/64"]));
    tells(&mut host, &kernel, neighbour("10.0.0.7", known(PEER_MAC)));
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(host.stack.counters().tx_unresolved, 1);
}

#[test]
fn a_group_is_not_sent_to_from_an_address_that_is_gone() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    assert_eq!(host.send(socket, "224.0.0.9:9", b"hello"), Ok(()));
    assert_eq!(host.sent().len(), 1);
    tells(&mut host, &kernel, addresses(&["fd00::2/64"]));
    let sent = host.send(socket, "224.0.0.9:9", b"hello");
    assert_eq!(sent, Err(SocketError::NetworkUnreachable));
    assert_eq!(host.sent(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_neighbour_of_whom_nothing_is_heard_is_asked_for_again_and_given_up() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.7:9", b"x").unwrap();
    host.pass(Duration::from_secs(20));
    assert_eq!(kernel.state().neighbours_asked.len(), 3);
    assert_eq!(host.stack.counters().tx_unresolved, 1);
}

#[test]
fn a_neighbour_that_failed_before_is_asked_for_again() {
    let kernel = FakeKernel::new();
    let failed = Neighbour::Failed;
    kernel.state().neighbours.insert(ip("10.0.0.7"), failed);
    let mut host = kernel.host();
    let stream = host.connecting("10.0.0.7:80");
    host.sent();
    assert_eq!(host.stack.tcp_connected(stream), None, "it is asked for");
    tells(&mut host, &kernel, neighbour("10.0.0.7", known(OTHER_MAC)));
    assert_eq!(one_sent(&mut host).0, OTHER_MAC);
}

#[test]
fn a_connection_to_a_neighbour_that_does_not_answer_fails() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let stream = host.connecting("10.0.0.7:80");
    host.sent();
    tells(&mut host, &kernel, neighbour("10.0.0.7", Neighbour::Failed));
    let outcome = host.stack.tcp_connected(stream);
    assert_eq!(outcome, Some(Err(SocketError::HostUnreachable)));
}

#[test]
fn a_connection_that_stands_outlives_a_neighbour_that_is_gone_for_a_while() {
    let kernel = FakeKernel::new();
    let mut pair = kernel.pair();
    let (client, server) = pair.connect("10.0.0.3:80");
    let gone = neighbour("10.0.0.3", Neighbour::Failed);
    kernel.state().neighbours.remove(&ip("10.0.0.3"));
    tells(&mut pair.a, &kernel, gone);
    pair.a.write(client, b"late").unwrap();
    pair.exchange();
    assert_eq!(pair.b.read(server, 10), Err(SocketError::WouldBlock));
    let back = neighbour("10.0.0.3", known([2, 0, 0, 0, 0, 3]));
    tells(&mut pair.a, &kernel, back);
    pair.pass(Duration::from_secs(5));
    assert_eq!(pair.b.read(server, 10), Ok(b"late".to_vec()));
}

#[test]
fn a_stale_neighbour_is_used_at_once_and_asked_about_later() {
    let kernel = FakeKernel::new();
    kernel.knows("10.0.0.7", OTHER_MAC, false);
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    host.send(socket, "10.0.0.7:9", b"x").unwrap();
    assert_eq!(one_sent(&mut host).0, OTHER_MAC);
    assert_eq!(kernel.state().neighbours_asked.len(), 1);
    kernel.knows("10.0.0.7", OTHER_MAC, true);
    host.pass(Duration::from_secs(10));
    assert_eq!(kernel.state().neighbours_asked.len(), 2);
    assert_eq!(host.stack.neighbour_counters().lost, 0);
}

#[test]
fn a_neighbour_that_moved_gets_its_packets_where_it_is() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    for sure in [true, false] {
        let mac = [2, 0, 0, 0, 1, u8::from(sure)];
        host.send(socket, "10.0.0.9:9", b"x").unwrap();
        host.sent();
        let moved = neighbour(PEER_V4, Neighbour::Known { mac, sure });
        tells(&mut host, &kernel, moved);
        host.send(socket, "10.0.0.9:9", b"x").unwrap();
        assert_eq!(one_sent(&mut host).0, mac);
    }
}

#[test]
fn neighbours_that_nobody_sends_to_are_not_remembered() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    for last in 1..=200 {
        let address = format!("10.0.0.{last}");
        tells(&mut host, &kernel, neighbour(&address, known(OTHER_MAC)));
    }
    assert!(host.stack.neighbours.is_empty());
}

#[test]
fn the_interface_s_own_ethernet_address_is_the_one_that_it_has_now() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("10.0.0.2:700");
    let link = KernelEvent::Link {
        mac: OTHER_MAC,
        mtu: 1500,
    };
    tells(&mut host, &kernel, link);
    host.send(socket, "10.0.0.9:9", b"x").unwrap();
    assert_eq!(build::read_ethernet(&host.sent()[0]).from, OTHER_MAC);
    let frame = build::udp("10.0.0.9:9", "10.0.0.2:700", b"hello");
    host.receive(&frame);
    assert!(host.recv(socket).is_none(), "it is for {OUR_MAC:?}");
    let mut renamed = frame.clone();
    renamed[..6].copy_from_slice(&OTHER_MAC);
    host.receive(&renamed);
    assert!(host.recv(socket).is_some());
}

#[test]
fn multicast_goes_to_its_group_without_a_neighbour() {
    let kernel = FakeKernel::new();
    let mut host = kernel.host();
    let socket = host.bound("0.0.0.0:700");
    let options = SendOptions {
        to: Some(at("224.0.0.251:5353")),
        ..SendOptions::default()
    };
    host.send_with(socket, &options, b"x").unwrap();
    let frame = &host.sent()[0];
    assert_eq!(frame[..6], [1, 0, 0x5e, 0, 0, 251]);
    let packet = build::read_ip(&frame[ETHERNET..]);
    assert_eq!(
        (packet.from, packet.protocol),
        (ip(OUR_V4), IpProtocol::Udp)
    );
}
