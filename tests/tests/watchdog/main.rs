//! Links that go and come back, and interfaces that do, under a ring on a veth pair: it is told, and connections live on.

mod server;

use libtest_mimic::Arguments;
use ringwire::LinkState;
use ringwire::events::Event;
use ringwire_tests::net::{RING_V4, Veth, ip};
use ringwire_tests::privilege::drop_capabilities;
use ringwire_tests::privileged;

use server::{Client, Server, builder, shared_builder};

/// Enough to be in the middle of when something happens.
const BYTES: usize = 16 << 20;
const MTU: u32 = 1500;

const CASES: &[(&str, fn())] = &[
    ("a_connection_survives_that_the_peer_goes_down", peer_down),
    (
        "a_connection_survives_that_the_interface_goes_down",
        interface_down,
    ),
    (
        "a_connection_survives_that_the_interface_is_made_anew",
        made_anew,
    ),
    ("a_polling_thread_makes_sockets_anew", polled),
    (
        "a_connection_survives_that_the_interface_is_moved_away_and_back",
        moved,
    ),
    (
        "without_the_privilege_a_ring_says_so_and_stays",
        unprivileged,
    ),
    ("several_queues_are_made_anew_together", several_queues),
    ("so_does_one_on_a_shared_address", shared_down),
    (
        "and_one_on_a_shared_address_that_comes_back_with_its_interface",
        shared_made_anew,
    ),
];

fn main() {
    let trials = CASES.iter().map(|&(name, case)| privileged(name, case));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
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

fn peer_down() {
    let veth = Veth::new(1, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(&builder());
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

fn interface_down() {
    let veth = Veth::new(1, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(&builder());
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
fn make_anew(veth: &Veth, server: &mut Server, queues: u32) {
    ip("link del rw0");
    server.await_event(Event::Removed);
    let report = server.ring.report().expect("a report");
    assert_eq!((report.link, report.serving), (LinkState::Removed, false));
    veth.make_again(queues, MTU);
    let before = server.await_event(Event::Recreated);
    assert!(before.contains(&Event::Back), "{before:?}");
    let report = server.ring.report().expect("a report");
    assert!(report.serving && report.lost.is_none());
    assert_eq!(server.ended, None, "the watch goes on");
}

fn made_anew() {
    let veth = Veth::new(1, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(&builder());
        outage(&veth, &mut server, |server| make_anew(&veth, server, 1));
        let nic = server.ring.counters().expect("counters").nic;
        assert_eq!((nic.stuck, nic.recreated), (0, 1));
    });
}

fn shared_down() {
    let veth = Veth::new(1, MTU, true);
    veth.in_ring(|| {
        let mut server = Server::new(&shared_builder());
        outage(&veth, &mut server, |server| {
            ip("link set rw0 down");
            server.await_event(Event::Down);
            ip("link set rw0 up");
            server.await_event(Event::Up);
        });
    });
}

fn shared_made_anew() {
    let veth = Veth::new(1, MTU, true);
    veth.in_ring(|| {
        let mut server = Server::new(&shared_builder());
        outage(&veth, &mut server, |server| {
            make_anew(&veth, server, 1);
            ip(&format!("addr add {RING_V4}/24 dev rw0"));
        });
        // The port is still ours, at the new interface.
        let kernel = std::net::TcpListener::bind((RING_V4, server::PORT));
        let error = kernel.expect_err("the ring has the port");
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    });
}

fn polled() {
    let veth = Veth::new(1, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(builder().setup_sqpoll(50));
        outage(&veth, &mut server, |server| make_anew(&veth, server, 1));
    });
}

fn several_queues() {
    let veth = Veth::new(4, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(&builder());
        assert_eq!(server.ring.report().expect("a report").queues.len(), 4);
        for _ in 0..2 {
            server.echoed = 0;
            make_anew(&veth, &mut server, 4);
        }
        outage(&veth, &mut server, |_| {});
    });
}

/// Its index may be the same when it is back, and the program is on it still.
fn moved() {
    let veth = Veth::new(1, MTU, false);
    veth.in_ring(|| {
        let mut server = Server::new(&builder());
        outage(&veth, &mut server, |server| {
            veth.move_away();
            server.await_event(Event::Removed);
            veth.move_back();
            server.await_event(Event::Recreated);
        });
    });
}

fn unprivileged() {
    let veth = Veth::new(1, MTU, false);
    let (ready, told) = std::sync::mpsc::channel();
    let serve = move || {
        let mut server = Server::new(&builder());
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
    veth.make_again(1, MTU);
    serving.join().expect("the ring's thread");
}
