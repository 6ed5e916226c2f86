//! What changes around a ring under load: neighbours, routes, addresses and the MTU, which the kernel's follow.

use std::fmt::Write;
use std::fs;
use std::io::Read;

use libtest_mimic::Trial;
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::stream::{PORT, at};
use ringwire_xsk::{Interface, Neighbour, Rtnetlink};

use crate::beside;
use crate::load::{Load, Served, echoes, segments};
use crate::sockets::{Ring, builder, domain, until};

/// An address that comes later.
const OTHER_V4: &str = "10.7.0.3";
const OTHER_V6: &str = "fd07::3";
/// Of the peer, behind two gateways.
const FAR_V4: &str = "10.9.0.1";
const FAR_V6: &str = "fd09::1";

pub fn trials() -> Vec<Trial> {
    vec![
        beside("changes::of_the_peers_mac", peers_mac),
        beside("changes::of_the_rings_mac", rings_mac),
        beside("changes::neighbours_are_forgotten", neighbours_forgotten),
        beside("changes::of_a_route_to_another_gateway", |veth| {
            gateway(veth, FAR_V4, ["10.7.0.11", "10.7.0.12"])
        }),
        beside("changes::of_a_route_to_another_gateway_v6", |veth| {
            gateway(veth, FAR_V6, ["fd07::11", "fd07::12"])
        }),
        beside("changes::an_address_comes", address_comes),
        beside("changes::an_address_goes_and_is_put_back", address_goes),
        beside(
            "changes::more_addresses_than_there_is_room_for",
            many_addresses,
        ),
        beside("changes::of_the_mtu", mtu),
        beside("changes::of_a_routes_mtu", route_mtu),
        beside("changes::more_than_are_told", flood),
    ]
}

/// Connections by both families under load, and a change that lets them go on.
fn under_load(veth: &Veth, change: impl FnOnce(&dyn Fn())) {
    let served = Served::start(&builder());
    let loads = [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
    let go_on = || loads.iter().for_each(Load::goes_on);
    go_on();
    change(&go_on);
    go_on();
    loads.into_iter().for_each(Load::end);
    served.end();
}

/// Has the peer tell everybody when its MAC address changes.
fn notify(veth: &Veth) {
    veth.in_peer(|| {
        for setting in ["ipv4/conf/rw1/arp_notify", "ipv6/conf/rw1/ndisc_notify"] {
            fs::write(format!("/proc/sys/net/{setting}"), "1").expect("a setting");
        }
    });
}

/// The peer tells everybody, and the kernel's entries follow.
fn peers_mac(veth: &Veth) {
    notify(veth);
    under_load(veth, |go_on| {
        for mac in ["02:00:00:00:00:01", "02:00:00:00:00:02"] {
            veth.in_peer(|| ip(&format!("link set rw1 address {mac}")));
            go_on();
        }
    });
}

fn rings_mac(veth: &Veth) {
    under_load(veth, |go_on| {
        for mac in ["02:00:00:00:00:01", "02:00:00:00:00:02"] {
            ip(&format!("link set rw0 address {mac}"));
            veth.in_peer(|| {
                ip(&format!("neigh replace {RING_V4} lladdr {mac} dev rw1"));
                ip(&format!("neigh replace {RING_V6} lladdr {mac} dev rw1"));
            });
            go_on();
        }
    });
}

fn neighbours_forgotten(veth: &Veth) {
    under_load(veth, |go_on| {
        for _ in 0..10 {
            ip("neigh flush dev rw0");
            go_on();
        }
    });
}

/// Packets that an interface of this thread's namespace has received.
fn received(interface: &str) -> u64 {
    let devices = fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces");
    let line = devices
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface));
    let numbers = line
        .and_then(|line| line.strip_prefix(':'))
        .expect("its line");
    numbers
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}

/// Two gateways in the peer's namespace, each an interface with a MAC address of its own.
fn gateway(veth: &Veth, far: &str, gateways: [&str; 2]) {
    let v6 = far.contains(':');
    let (network, bits, nodad) = if v6 {
        ("fd09::/64", 64, "nodad")
    } else {
        ("10.9.0.0/24", 24, "")
    };
    let ring = if v6 { RING_V6 } else { RING_V4 };
    veth.in_peer(|| {
        for (number, gateway) in gateways.iter().enumerate() {
            let name = format!("gw{number}");
            ip(&format!(
                "link add {name} link rw1 type macvlan mode bridge"
            ));
            // Each answers for its own address alone.
            let setting = format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore");
            fs::write(setting, "1").expect("a setting");
            ip(&format!(
                "addr add {gateway}/{bits} dev {name} {nodad} noprefixroute"
            ));
            ip(&format!("link set {name} up"));
        }
        fs::write("/proc/sys/net/ipv4/conf/rw1/arp_ignore", "1").expect("a setting");
        ip(&format!("addr add {far}/{bits} dev lo {nodad}"));
        ip(&format!("route replace {ring} dev rw1 src {far}"));
    });
    ip(&format!("route add {network} via {}", gateways[0]));
    let served = Served::start(&builder());
    let load = Load::to(veth, ring);
    load.goes_on();
    for (number, gateway) in [1, 0, 1].map(|number| (number, gateways[number])) {
        ip(&format!("route replace {network} via {gateway}"));
        load.goes_on();
        let counts = || veth.in_peer(|| [0, 1].map(|number| received(&format!("gw{number}"))));
        let before = counts();
        load.goes_on();
        let after = counts();
        let came = [0, 1].map(|number| after[number] - before[number]);
        assert!(came[number] > 1000, "{came:?} packets by gateway {number}");
        // Somebody may still look for a neighbour.
        assert!(
            came[1 - number] < 20,
            "{came:?} packets by gateway {number}"
        );
    }
    load.end();
    served.end();
}

/// A server that is bound to the wildcard has it at once.
fn address_comes(veth: &Veth) {
    under_load(veth, |_| {
        ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
        ip(&format!("addr add {OTHER_V6}/64 dev rw0 nodad"));
        for (other, peer) in [(OTHER_V4, PEER_V4), (OTHER_V6, "fd07::1")] {
            let load = Load::to(veth, other);
            load.goes_on();
            load.end();
            echoes(&veth.peer_socket(peer), other, b"hello");
        }
    });
}

/// A connection of an address that is gone stands still, and goes on when it is back; others notice nothing.
fn address_goes(veth: &Veth) {
    ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
    under_load(veth, |go_on| {
        let other = Load::to(veth, OTHER_V4);
        other.goes_on();
        ip(&format!("addr del {OTHER_V4}/24 dev rw0"));
        // What was on its way has arrived.
        go_on();
        let before = other.echoed();
        go_on();
        assert_eq!(other.echoed(), before);
        ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
        other.goes_on();
        other.end();
    });
}

/// What is served goes on, and an address that there was no room for is when there is.
fn many_addresses(veth: &Veth) {
    under_load(veth, |go_on| {
        let many = |action: &str| {
            let mut commands = String::new();
            for number in 0..4200 {
                let (high, low) = (number / 250, 1 + number % 250);
                writeln!(commands, "addr {action} 10.8.{high}.{low}/32 dev rw0").expect("memory");
            }
            ip(&commands);
        };
        many("add");
        go_on();
        ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
        go_on();
        many("del");
        let late = Load::to(veth, OTHER_V4);
        late.goes_on();
        late.end();
    });
}

/// New connections and those that are there.
fn mtu(veth: &Veth) {
    let served = Served::start(&builder());
    let loads = || [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
    let early = loads();
    early.iter().for_each(Load::goes_on);
    for mtu in [1300, 1500, 1280] {
        // What is longer than the other end's MTU is dropped by the pair.
        veth.in_peer(|| ip(&format!("link set rw1 mtu {mtu}")));
        ip(&format!("link set rw0 mtu {mtu}"));
        early.iter().for_each(Load::goes_on);
        let late = loads();
        late.iter().for_each(Load::goes_on);
        assert_eq!(late.each_ref().map(Load::segment), segments(mtu));
        late.into_iter().for_each(Load::end);
    }
    early.into_iter().for_each(Load::end);
    served.end();
}

/// It is less than the interface's.
fn route_mtu(veth: &Veth) {
    let served = Served::start(&builder());
    let loads = || [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
    let early = loads();
    early.iter().for_each(Load::goes_on);
    assert_eq!(early.each_ref().map(Load::segment), segments(1500));
    ip(&format!(
        "route change 10.7.0.0/24 dev rw0 src {RING_V4} mtu 1400"
    ));
    ip("route change fd07::/64 dev rw0 proto kernel metric 256 mtu 1400");
    early.iter().for_each(Load::goes_on);
    let late = loads();
    late.iter().for_each(Load::goes_on);
    assert_eq!(late.each_ref().map(Load::segment), segments(1400));
    late.into_iter().for_each(Load::end);
    early.into_iter().for_each(Load::end);
    served.end();
}

/// So many that some are lost: everything is asked for again, what was known of neighbours too.
fn flood(veth: &Veth) {
    notify(veth);
    let mut ring = Ring::new();
    let listener = veth.peer_listener(PEER_V4);
    let to = listener.local_addr().expect("an address");
    ring.open(0, domain(to), libc::SOCK_STREAM);
    assert_eq!(ring.connect(0, to), Ok(()));
    let stream = listener.accept().expect("a connection").0;
    stream.set_nonblocking(true).expect("an option");
    // What is told first is not so any more in the end.
    let mac = veth.in_peer(|| Interface::by_name("rw1").expect("the interface").mac);
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut commands = format!("neigh replace {PEER_V4} lladdr {mac} dev rw0 nud stale\n");
    commands += &format!("neigh replace {PEER_V4} lladdr {mac} dev rw0 nud reachable\n");
    for number in 1..2000u16 {
        let [high, low] = number.to_be_bytes();
        let entry = format!("neigh add 10.8.{high}.{low} lladdr 02:00:00:00:{high:02x}:{low:02x}");
        writeln!(commands, "{entry} dev rw0 nud permanent").expect("a string");
    }
    ip(&commands);
    ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
    veth.in_peer(|| ip("link set rw1 address 02:00:00:00:00:01"));
    // The kernel has heard of it.
    let known = || {
        let index = Interface::by_name(RING_INTERFACE)
            .expect("the interface")
            .index;
        let mut rtnetlink = Rtnetlink::open(index).expect("a socket");
        rtnetlink.neighbour(to.ip()).expect("the neighbour")
    };
    until("the neighbour's new address", || {
        matches!(
            known(),
            Neighbour::Known {
                mac: [2, .., 1],
                ..
            }
        )
    });
    assert_eq!(ring.send(0, b"hello"), Ok(5));
    ring.until("bytes to the new address", || {
        (&stream).read(&mut [0; 16]).is_ok()
    });
    ring.open(1, libc::AF_INET, libc::SOCK_DGRAM);
    assert_eq!(ring.bind(1, at(OTHER_V4, PORT)), Ok(()));
}
