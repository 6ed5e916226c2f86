//! Interfaces of other kinds and sizes, and the host's own.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use ringwire_tests::echo::Echo;
use ringwire_tests::net::{PEER_V4, PEER_V6, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::privilege;
use ringwire_tests::stream::{PORT, at, pattern};

use crate::load::{Load, Served, echoes};
use crate::sockets::{KernelSocket, builder, domain, polled, until};
use crate::{beside, beside_with};

/// Addresses of an interface that stands on the pair's.
const UPPER_V4: [&str; 2] = ["10.17.0.2", "10.17.0.1"];
const UPPER_V6: [&str; 2] = ["fd17::2", "fd17::1"];

pub fn trials() -> Vec<Trial> {
    let vlan = beside("links::a_vlan", |veth| upper(veth, "type vlan id 10"));
    let vlan = match has_vlan() {
        true => vlan,
        false => vlan
            .with_kind("skipped: needs a kernel with CONFIG_VLAN_8021Q")
            .with_ignored_flag(true),
    };
    let macvlan = beside("links::a_macvlan", |veth| {
        upper(veth, "type macvlan mode private");
    });
    let jumbo = beside_with(9000, "links::a_jumbo_mtu", jumbo);
    let loopback = beside("links::the_host_itself_is_not_answered", |_| loopback());
    vec![vlan, macvlan, jumbo, loopback]
}

/// Whether the kernel can make such an interface.
fn has_vlan() -> bool {
    if privilege::missing().is_some() {
        return false;
    }
    let add = [
        "link", "add", "link", "rw0", "name", "v0", "type", "vlan", "id", "10",
    ];
    let veth = Veth::new(1, 1500, false);
    let output = veth.in_ring(|| Command::new("ip").args(add).output());
    output.expect("the ip command").status.success()
}

/// Interfaces on both ends of the pair: the ring has what the kernel's driver for them can do.
fn upper(veth: &Veth, kind: &str) {
    let add = |number: usize| {
        // An interface answers for its own addresses alone.
        fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").expect("a setting");
        ip(&format!("link add up{number} link rw{number} {kind}"));
        ip(&format!("addr add {}/24 dev up{number}", UPPER_V4[number]));
        ip(&format!(
            "addr add {}/64 dev up{number} nodad",
            UPPER_V6[number]
        ));
        ip(&format!("link set up{number} up"));
    };
    add(0);
    veth.in_peer(|| add(1));
    let mut builder = builder();
    builder.interface("up0");
    let served = Served::start(&builder);
    for [ring, peer] in [UPPER_V4, UPPER_V6] {
        echoes(&veth.peer_socket(peer), ring, b"hello");
        echoes(&veth.peer_socket(peer), ring, &pattern(1, 20_000));
        let load = Load::to(veth, ring);
        load.goes_on();
        load.end();
    }
    served.end();
}

fn jumbo(veth: &Veth) {
    let served = Served::start(&builder());
    for (ring, peer) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        echoes(&veth.peer_socket(peer), ring, &pattern(1, 8000));
        echoes(&veth.peer_socket(peer), ring, &pattern(2, 30_000));
    }
    let loads = [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
    loads.iter().for_each(Load::goes_on);
    loads.into_iter().for_each(Load::end);
    let counters = served.end().stack;
    assert_eq!(counters.rx_from_kernel, 2);
}

/// What the host sends to its own address does not pass the interface: a connection is never made, nor refused, and
/// a datagram is lost.
fn loopback() {
    let served = Served::start(&builder());
    for to in [RING_V4, RING_V6] {
        let ip: IpAddr = to.parse().expect("an address");
        let connecting =
            KernelSocket::new(domain(at(to, 0)), libc::SOCK_STREAM | libc::SOCK_NONBLOCK);
        assert_eq!(connecting.connect(at(to, PORT)), Err(libc::EINPROGRESS));
        let sender = UdpSocket::bind((ip, 0)).expect("a kernel's socket");
        sender.connect(SocketAddr::new(ip, PORT)).expect("a peer");
        sender.send(b"hello").expect("it sends");
        // Behind both, on the same way.
        let mut fence = Echo::new(RING_V4);
        fence.ask();
        until("an answer to a ping", || fence.is_answered());
        let answered = polled(&connecting, libc::POLLIN | libc::POLLOUT, Duration::ZERO);
        assert!(!answered, "there was an answer");
        sender.set_nonblocking(true).expect("an option");
        let error = sender.recv(&mut [0; 16]).expect_err("no answer");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
    served.end();
}
