//! Links that go and come back, and interfaces that do, under a ring on a veth pair: it is told, and connections live on.

mod server;

use std::net::SocketAddr;

use libtest_mimic::Arguments;
use ringwire::LinkState;
use ringwire::events::Event;
use ringwire_tests::net::{RING_INTERFACE, RING_V4, Veth, ip};
use ringwire_tests::privilege::drop_capabilities;
use ringwire_tests::privileged;

use ringwire_xsk::{Protocol, Reservation, ReserveConfig};

use server::{Addresses, Client, PORT, Server, builder};

/// Enough to be in the middle of when something happens.
const BYTES: usize = 16 << 20;
const MTU: u32 = 1500;

type Case = (&'static str, fn(Addresses));

const CASES: &[Case] = &[
    ("a_connection_survives_that_the_peer_goes_down", peer_down),
    (
        "a_connection_survives_that_the_interface_goes_down",
        interface_down,
    ),
    (
        "a_connection_survives_that_the_interface_is_made_anew",
        made_anew,
    ),
    (
        "a_connection_survives_that_the_interface_is_moved_away_and_back",
        moved,
    ),
    ("a_polling_thread_makes_sockets_anew", polled),
    ("several_queues_are_made_anew_together", several_queues),
    (
        "without_the_privilege_a_ring_says_so_and_stays",
        unprivileged,
    ),
];

fn main() {
    let modes = [(Addresses::Owned, "owned"), (Addresses::Shared, "shared")];
    let trials = modes.iter().flat_map(|&(addresses, mode)| {
        CASES.iter().map(move |&(name, case)| {
            privileged(&format!("{mode}::{name}"), move || case(addresses))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

/// A pair whose ring's end has the kernel's addresses, if they are to be shared.
fn pair(queues: u32, addresses: Addresses) -> Veth {
    let veth = Veth::new(queues, MTU, addresses == Addresses::Shared);
    veth.peer_offloads_off();
    veth
}

/// Serves a client, does something when it is in the middle of it, and serves it to the end.
fn outage(veth: &Veth, server: &mut Server, happen: impl FnOnce(&mut Server)) {
    let client = Client::start(veth, BYTES);
    server.serve_until(|server| server.echoed > BYTES / 8);
    happen(server);
    let before = server.echoed;
    assert!(before < BYTES, "it was in the middle");
    server.serve_until(|_| client.is_done());
    client.join();
    assert_eq!(server.echoed, BYTES);
}

fn peer_down(addresses: Addresses) {
    let veth = pair(1, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(&builder(addresses));
        outage(&veth, &mut server, |server| {
            veth.in_peer(|| ip("link set rw1 down"));
            server.await_event(Event::CarrierLost);
            let report = server.ring.report().expect("a report");
            assert_eq!(report.link, LinkState::NoCarrier);
            veth.in_peer(|| ip("link set rw1 up"));
            server.await_event(Event::CarrierBack);
        });
        let nic = server.ring.counters().expect("counters").nic;
        assert_eq!((nic.stuck, nic.recreated), (0, 0), "the same sockets serve");
    });
}

fn interface_down(addresses: Addresses) {
    let veth = pair(1, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(&builder(addresses));
        outage(&veth, &mut server, |server| {
            ip("link set rw0 down");
            server.await_event(Event::Down);
            let report = server.ring.report().expect("a report");
            assert_eq!((report.link, report.serving), (LinkState::Down, true));
            ip("link set rw0 up");
            server.await_event(Event::Up);
        });
        let nic = server.ring.counters().expect("counters").nic;
        assert_eq!((nic.stuck, nic.recreated), (0, 0), "the same sockets serve");
    });
}

/// Deletes the pair and makes it again, and sees what a ring tells of that.
fn make_anew(veth: &Veth, server: &mut Server, queues: u32, addresses: Addresses) {
    ip("link del rw0");
    server.await_event(Event::Removed);
    let report = server.ring.report().expect("a report");
    assert_eq!((report.link, report.serving), (LinkState::Removed, false));
    veth.make_again(queues, MTU, addresses == Addresses::Shared);
    let before = server.await_event(Event::Recreated);
    assert_eq!(before, [Event::Back, Event::CarrierLost]);
    // Before, a kernel that has the address would have refused what comes for a connection.
    veth.configure_peer(MTU);
    veth.peer_offloads_off();
    server.await_event(Event::CarrierBack);
    let report = server.ring.report().expect("a report");
    assert!(report.serving && report.lost.is_none());
    assert_eq!(server.ended, None, "the watch goes on");
    if addresses == Addresses::Shared {
        assert!(is_held(), "the port is the ring's on the new interface");
    }
}

/// Whether a kernel socket has the server's port, on the interface of this name.
fn is_held() -> bool {
    let local = SocketAddr::new(RING_V4.parse().expect("an address"), PORT);
    let wanted = ReserveConfig {
        interface: RING_INTERFACE,
        protocol: Protocol::Tcp,
        local,
        v6_only: false,
        reuse_address: false,
        reuse_port: false,
    };
    let taken = Reservation::new(&wanted).map(drop);
    taken.is_err_and(|error| error.raw_os_error() == Some(libc::EADDRINUSE))
}

fn made_anew(addresses: Addresses) {
    let veth = pair(1, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(&builder(addresses));
        outage(&veth, &mut server, |server| {
            make_anew(&veth, server, 1, addresses)
        });
        let nic = server.ring.counters().expect("counters").nic;
        assert_eq!((nic.stuck, nic.recreated), (0, 1));
    });
}

fn polled(addresses: Addresses) {
    let veth = pair(1, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(builder(addresses).setup_sqpoll(50));
        outage(&veth, &mut server, |server| {
            make_anew(&veth, server, 1, addresses)
        });
    });
}

fn several_queues(addresses: Addresses) {
    let veth = pair(4, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(&builder(addresses));
        assert_eq!(server.ring.report().expect("a report").queues.len(), 4);
        for _ in 0..2 {
            server.echoed = 0;
            make_anew(&veth, &mut server, 4, addresses);
        }
        outage(&veth, &mut server, |_| {});
    });
}

/// Its index may be the same when it is back, and the program is on it still.
fn moved(addresses: Addresses) {
    let veth = pair(1, addresses);
    veth.in_ring(|| {
        let mut server = Server::new(&builder(addresses));
        outage(&veth, &mut server, |server| {
            veth.in_peer(|| ip("link set rw1 down"));
            server.await_event(Event::CarrierLost);
            veth.move_away();
            server.await_event(Event::Removed);
            veth.move_back();
            veth.configure_ring(MTU, addresses == Addresses::Shared);
            server.await_event(Event::Recreated);
            veth.in_peer(|| ip("link set rw1 up"));
            server.await_event(Event::CarrierBack);
        });
    });
}

fn unprivileged(addresses: Addresses) {
    let veth = pair(1, addresses);
    let (ready, told) = std::sync::mpsc::channel();
    let serve = move || {
        let mut server = Server::new(&builder(addresses));
        drop_capabilities();
        ready.send(()).expect("the other thread");
        server.serve_until(|server| server.ended.is_some());
        assert_eq!(server.ended, Some(-libc::EPERM));
        let report = server.ring.report().expect("a report");
        let lost = report.lost.expect("a reason");
        assert!(lost.contains("CAP_NET_RAW"), "{lost}");
        assert!(!report.serving);
    };
    // A thread begins in the network namespace of the one that made it.
    let serving = veth.in_ring(|| std::thread::spawn(serve));
    told.recv().expect("a ring");
    veth.in_ring(|| ip("link del rw0"));
    veth.make_again(1, MTU, addresses == Addresses::Shared);
    serving.join().expect("the ring's thread");
}
