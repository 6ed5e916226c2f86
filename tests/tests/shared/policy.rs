//! What the host's administrator has decided: sources, rules, routers of the other family, permanent neighbours,
//! addresses of all kinds. The ring's sockets do as the kernel's.

use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6, TcpStream};

use libtest_mimic::Trial;
use ringwire_tests::net::{PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::stream::{PORT, at};
use ringwire_xsk::Interface;

use crate::beside;
use crate::load::{Load, Served, echoes};
use crate::sockets::{Ring, builder, domain, until};

/// Second addresses of the ring's.
const OTHERS: [&str; 2] = ["10.7.0.3", "fd07::3"];
/// Of the peer, where no route of the link's leads.
const FAR: [&str; 2] = ["10.9.0.1", "fd09::1"];

pub fn trials() -> Vec<Trial> {
    vec![
        beside("policy::a_router_of_the_other_family", other_family),
        beside("policy::the_source_that_a_route_names", route_source),
        beside("policy::a_rule_for_a_source", rule),
        beside("policy::a_permanent_neighbour", permanent_neighbour),
        beside("policy::hundreds_of_addresses", many_addresses),
        beside("policy::a_link_local_address", link_local),
    ]
}

/// The peer has the far addresses, too; the ring has second ones.
fn with_others(veth: &Veth) {
    ip(&format!(
        "addr add {}/24 dev rw0\naddr add {}/64 dev rw0 nodad",
        OTHERS[0], OTHERS[1]
    ));
    veth.in_peer(|| {
        ip(&format!(
            "addr add {}/32 dev lo\naddr add {}/128 dev lo",
            FAR[0], FAR[1]
        ))
    });
}

/// RFC 5549: the neighbour is asked for by IPv6, and given IPv4 packets.
fn other_family(veth: &Veth) {
    with_others(veth);
    ip(&format!(
        "route add {}/32 via inet6 {PEER_V6} dev rw0",
        FAR[0]
    ));
    veth.in_peer(|| ip(&format!("route replace {RING_V4} dev rw1 src {}", FAR[0])));
    let served = Served::start(&builder());
    let load = Load::to(veth, RING_V4);
    load.goes_on();
    load.end();
    served.end();
}

/// Of connections and of datagrams that are bound to no address.
fn route_source(veth: &Veth) {
    with_others(veth);
    ip(&format!(
        "route add {} via {PEER_V4} src {}",
        FAR[0], OTHERS[0]
    ));
    ip(&format!(
        "route add {} via {PEER_V6} src {}",
        FAR[1], OTHERS[1]
    ));
    let mut ring = Ring::new();
    for (far, other) in FAR.into_iter().zip(OTHERS) {
        let listener = veth.peer_listener(far);
        let to = listener.local_addr().expect("an address");
        let other: IpAddr = other.parse().expect("an address");
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.connect(0, to), Ok(()));
        assert_eq!(ring.local(0).ip(), other);
        ring.close(0);
        let peer = veth.peer_socket(far);
        ring.open(0, domain(to), libc::SOCK_DGRAM);
        let to = peer.local_addr().expect("an address");
        assert_eq!(ring.send_to(0, b"hello", to), Ok(5));
        let from = peer.recv_from(&mut [0; 16]).expect("a datagram").1;
        assert_eq!(from.ip(), other);
        ring.close(0);
    }
}

/// Who is bound to the other address has a way that nobody else has.
fn rule(veth: &Veth) {
    with_others(veth);
    for (router, other) in [PEER_V4, PEER_V6].into_iter().zip(OTHERS) {
        let family = if router.contains(':') { "-6" } else { "-4" };
        ip(&format!("route add default via {router} table 100"));
        let rule = ["rule", "add", "from", other, "lookup", "100"];
        let added = std::process::Command::new("ip")
            .arg(family)
            .args(rule)
            .status();
        assert!(added.expect("the ip command").success());
    }
    let mut ring = Ring::new();
    for (far, other) in FAR.into_iter().zip(OTHERS) {
        let listener = veth.peer_listener(far);
        let to = listener.local_addr().expect("an address");
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.connect(0, to), Err(libc::ENETUNREACH));
        ring.close(0);
        ring.open(0, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.bind(0, at(other, 0)), Ok(()));
        assert_eq!(ring.connect(0, to), Ok(()), "from {other} to {to}");
        ring.close(0);
    }
}

/// Nobody is asked for it: it would not answer.
fn permanent_neighbour(veth: &Veth) {
    let mac_of = |interface| {
        let mac = Interface::by_name(interface).expect("the interface").mac;
        mac.map(|byte| format!("{byte:02x}")).join(":")
    };
    let [ring_mac, mac] = [mac_of(RING_INTERFACE), veth.in_peer(|| mac_of("rw1"))];
    ip(&format!(
        "neigh replace {PEER_V4} lladdr {mac} dev rw0 nud permanent"
    ));
    veth.in_peer(|| ip("link set rw1 arp off"));
    veth.in_peer(|| {
        ip(&format!(
            "neigh replace {RING_V4} lladdr {ring_mac} dev rw1 nud permanent"
        ))
    });
    let served = Served::start(&builder());
    echoes(&veth.peer_socket(PEER_V4), RING_V4, b"hello");
    let load = Load::to(veth, RING_V4);
    load.goes_on();
    load.end();
    served.end();
}

/// More than a ring has of its own; half of them come while it serves.
fn many_addresses(veth: &Veth) {
    let add = |numbers: std::ops::Range<u16>| {
        let mut commands = String::new();
        for number in numbers {
            let [high, low] = number.to_be_bytes();
            writeln!(commands, "addr add 10.30.{high}.{low}/32 dev rw0").expect("a string");
            writeln!(commands, "addr add fd30::{number:x}/128 dev rw0 nodad").expect("a string");
        }
        ip(&commands);
    };
    add(1..200);
    veth.in_peer(|| {
        ip(&format!(
            "route add 10.30.0.0/16 via {RING_V4}\nroute add fd30::/64 via {RING_V6}"
        ));
    });
    let served = Served::start(&builder());
    add(200..400);
    for number in [1u16, 199, 200, 399] {
        let [high, low] = number.to_be_bytes();
        for own in [format!("10.30.{high}.{low}"), format!("fd30::{number:x}")] {
            let load = Load::to(veth, &own);
            load.goes_on();
            load.end();
        }
    }
    served.end();
}

/// This thread's namespace's, once nobody else has turned out to have it.
fn link_local_of(interface: &str) -> Ipv6Addr {
    let find = || {
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").expect("addresses");
        addresses.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let address = u128::from_str_radix(fields.next()?, 16).ok()?.into();
            // The interface's index, the prefix's length and the scope.
            let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
            const TENTATIVE: u32 = 0x40;
            let is_it = Ipv6Addr::is_unicast_link_local(&address)
                && flags & TENTATIVE == 0
                && fields.next()? == interface;
            is_it.then_some(address)
        })
    };
    let mut found = None;
    until("a link-local address", || {
        found = find();
        found.is_some()
    });
    found.expect("an address")
}

/// It means something on the link alone.
fn link_local(veth: &Veth) {
    // It may be usable only now.
    let served = Served::start(&builder());
    let ours = link_local_of(RING_INTERFACE);
    let stream = veth.in_peer(|| {
        link_local_of("rw1");
        let scope = Interface::by_name("rw1").expect("the interface").index;
        TcpStream::connect(SocketAddrV6::new(ours, PORT, 0, scope)).expect("a connection")
    });
    let load = Load::on(stream);
    load.goes_on();
    load.end();
    served.end();
}
