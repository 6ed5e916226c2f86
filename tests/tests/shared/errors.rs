//! What cannot be reached, and what is said of it.

use libtest_mimic::Trial;
use ringwire_tests::net::{PEER_V4, PEER_V6, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::stream::at;

use crate::beside;
use crate::load::{Load, Served, segments};
use crate::router::{Far, counter};
use crate::sockets::{Ring, builder, domain};

pub fn trials() -> Vec<Trial> {
    vec![
        beside("errors::of_another_interfaces_destination", |_| elsewhere()),
        beside("errors::of_a_destination_without_a_route", |_| no_route()),
        beside("errors::of_a_route_that_is_refused", |_| refused_route()),
        beside("errors::of_a_neighbour_that_does_not_answer", |_| silent()),
        beside("errors::of_a_port_that_nobody_has", nobody),
        beside("errors::of_a_packet_too_big_for_a_router", too_big),
    ]
}

/// All that can be sent there.
fn unreachable(to: &[&str], errno: i32) {
    let mut ring = Ring::new();
    for to in to.iter().map(|ip| at(ip, 9)) {
        ring.open(0, domain(to), libc::SOCK_DGRAM);
        assert_eq!(ring.send_to(0, b"hello", to), Err(errno), "to {to}");
        assert_eq!(ring.connect(0, to), Err(errno), "to {to}");
        ring.close(0);
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.connect(0, to), Err(errno), "to {to}");
        ring.close(0);
        // The wildcard's choice, and one's own.
        let own = at(if to.is_ipv6() { RING_V6 } else { RING_V4 }, 0);
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.bind(0, own), Ok(()));
        assert_eq!(ring.connect(0, to), Err(errno), "from {own} to {to}");
        ring.close(0);
    }
}

/// The ring has this interface's queues alone.
fn elsewhere() {
    ip("link add x0 type veth peer name x1\nlink set x0 up\nlink set x1 up");
    ip("addr add 10.8.0.1/24 dev x0\naddr add fd08::1/64 dev x0 nodad");
    unreachable(
        &["10.8.0.9", "fd08::9", "127.0.0.1", "::1"],
        libc::ENETUNREACH,
    );
}

fn no_route() {
    unreachable(&["203.0.113.1", "fd99::1"], libc::ENETUNREACH);
}

/// By the errno of its kind (`fib_props`, net/ipv4/fib_semantics.c).
fn refused_route() {
    ip("route add unreachable 10.9.0.0/24\nroute add unreachable fd09::/64");
    unreachable(&["10.9.0.1", "fd09::1"], libc::EHOSTUNREACH);
    ip("route add prohibit 10.10.0.0/24\nroute add prohibit fd10::/64");
    unreachable(&["10.10.0.1", "fd10::1"], libc::EACCES);
    ip("route add blackhole 10.11.0.0/24\nroute add blackhole fd11::/64");
    unreachable(&["10.11.0.1", "fd11::1"], libc::EINVAL);
}

/// The kernel has asked for it three times.
fn silent() {
    let mut ring = Ring::new();
    for to in [at("10.7.0.99", 9), at("fd07::99", 9)] {
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.connect(0, to), Err(libc::EHOSTUNREACH), "to {to}");
        ring.close(0);
    }
}

/// Of a connected socket, by the peer's ICMP message.
fn nobody(veth: &Veth) {
    let mut ring = Ring::new();
    for ip in [PEER_V4, PEER_V6] {
        // A port of the peer's that it has just given back.
        let to = veth.peer_socket(ip).local_addr().expect("an address");
        ring.open(0, domain(to), libc::SOCK_DGRAM);
        assert_eq!(ring.connect(0, to), Ok(()));
        assert_eq!(ring.send(0, b"anyone?"), Ok(7));
        assert_eq!(ring.receive(0), Err(libc::ECONNREFUSED), "from {to}");
        ring.close(0);
    }
}

/// The ring's segments get shorter, and what was lost is sent again.
fn too_big(veth: &Veth) {
    let far = Far::new(veth, 1300);
    let served = Served::start(&builder());
    let loads = far.loads(veth);
    loads.iter().for_each(Load::goes_on);
    assert_eq!(loads.each_ref().map(Load::segment), segments(1300));
    loads.into_iter().for_each(Load::end);
    let said = veth.in_peer(|| counter("snmp", "IcmpMsg:", "OutType3"));
    assert!(said > 0, "the router says nothing");
    served.end();
}
