//! Several engines over the queues of one interface, against Linux at the other end of a veth pair with four queues.

mod server;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::mpsc::channel;
use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use ringwire::{Builder, IoUring, RxChecksum, SetupError};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::privileged;
use ringwire_tests::stream::{at, pattern};
use ringwire_xsk::{Interface, Link};

use server::{Done, converse, listen, prepare, serve, stop};

const PORT: u16 = 7000;
const QUEUES: u32 = 4;
/// Flows at a time: that all arrive on half of the queues happens once in two thousand million runs.
const FLOWS: u8 = 32;
const BYTES: usize = 6000;

/// What the rings are like.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Owned,
    Shared,
    /// With addresses of their own, and a polling thread for each.
    Polled,
}

fn builder(kind: Kind) -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .rx_checksum(RxChecksum::AcceptPartial)
        .rx_chunks(1024)
        .detect_duplicates(false);
    if kind != Kind::Shared {
        builder
            .address(format!("{RING_V4}/24").parse().expect("an address"))
            .address(format!("{RING_V6}/64").parse().expect("an address"));
    }
    if kind == Kind::Polled {
        builder.setup_sqpoll(1);
    }
    builder
}

fn engines(veth: &Veth, kind: Kind, groups: &[&[u32]]) -> Vec<IoUring> {
    let rings = veth.in_ring(|| builder(kind).build_each(256, groups));
    let rings = rings.expect("rings");
    rings.iter().for_each(prepare);
    rings
}

/// Connects. A host that does not answer for its address is asked again, for some time.
fn connect(to: SocketAddr) -> TcpStream {
    let start = Instant::now();
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return stream,
            Err(error) => assert!(start.elapsed() < 6 * PATIENCE, "{to}: {error}"),
        }
    }
}

/// A TCP client of the peer's kernel: whole rounds on all connections.
fn streams() {
    let mut streams: Vec<(TcpStream, Vec<u8>)> = (0..FLOWS)
        .map(|flow| {
            let to = if flow % 2 == 0 { RING_V4 } else { RING_V6 };
            let stream = connect(at(to, PORT));
            stream
                .set_read_timeout(Some(6 * PATIENCE))
                .expect("a timeout");
            (stream, pattern(flow, BYTES))
        })
        .collect();
    for _ in 0..3 {
        for (stream, bytes) in &mut streams {
            stream.write_all(bytes).expect("the peer writes");
        }
        for (stream, bytes) in &mut streams {
            let mut back = vec![0; bytes.len()];
            stream.read_exact(&mut back).expect("the peer reads");
            assert!(back == *bytes, "what came back is not what was sent");
        }
    }
}

/// The same with datagrams.
fn datagrams() {
    for flow in 0..FLOWS {
        let (own, to) = match flow % 2 {
            0 => (PEER_V4, RING_V4),
            _ => (PEER_V6, RING_V6),
        };
        let own: IpAddr = own.parse().expect("an address");
        let socket = UdpSocket::bind(SocketAddr::new(own, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.connect(at(to, PORT)).expect("a destination");
        let bytes = pattern(flow, 1000);
        socket.send(&bytes).expect("the peer sends");
        let mut back = [0; 2000];
        let len = socket.recv(&mut back).expect("the peer receives");
        assert!(back[..len] == bytes, "what came back is not what was sent");
    }
}

/// Serves the peer on these groups of queues; on how many of them there are sockets.
fn serve_peer(kind: Kind, groups: &[&[u32]], listeners: usize) -> Vec<Done> {
    let veth = Veth::new(QUEUES, 1500, kind == Kind::Shared);
    let mut rings = engines(&veth, kind, groups);
    let fds: Vec<RawFd> = rings.iter().map(AsRawFd::as_raw_fd).collect();
    // With shared addresses the sockets are of the namespace of who submits.
    let threads: Vec<_> = veth.in_ring(|| {
        for ring in rings.iter_mut().take(listeners) {
            listen(ring, PORT);
        }
        let rings = rings.into_iter().enumerate();
        rings
            .map(|(index, ring)| serve(ring, index < listeners))
            .collect()
    });
    let peer = veth.peer_thread(|| {
        streams();
        datagrams();
    });
    let outcome = peer.join();
    fds.into_iter().for_each(stop);
    let done: Vec<Done> = threads
        .into_iter()
        .map(|thread| thread.join().expect("an engine's thread"))
        .collect();
    assert!(outcome.is_ok(), "the peer failed: {done:#?}");
    let accepted: u32 = done.iter().map(|done| done.accepted).sum();
    let answered: u32 = done.iter().map(|done| done.datagrams).sum();
    assert_eq!((accepted, answered), (FLOWS.into(), FLOWS.into()));
    for done in &done {
        let stack = &done.counters.stack;
        assert_eq!(stack.tcp_no_connection + stack.rx_no_port, 0, "{done:#?}");
        assert_eq!(stack.hand_over_dropped, 0, "{done:#?}");
    }
    let handed = |count: fn(&Done) -> u64| done.iter().map(count).sum::<u64>();
    let handed_over = handed(|done| done.counters.stack.handed_over);
    assert_eq!(handed(|done| done.counters.stack.taken_over), handed_over);
    done
}

fn one_engine_serves_every_queue(kind: Kind) {
    let done = serve_peer(kind, &[&[0, 1, 2, 3]], 1);
    assert_eq!(done[0].counters.stack.handed_over, 0);
}

fn flows_live_on_the_engine_that_they_arrive_at(kind: Kind) {
    let done = serve_peer(kind, &[&[0, 1], &[2, 3]], 2);
    for done in &done {
        assert!(done.accepted > 0 && done.datagrams > 0, "{done:#?}");
    }
}

fn a_listener_serves_what_arrives_at_the_others(kind: Kind) {
    let done = serve_peer(kind, &[&[0, 1], &[2, 3]], 1);
    assert!(done[1].counters.stack.handed_over > 0, "{done:#?}");
    assert_eq!((done[1].accepted, done[1].datagrams), (0, 0));
}

fn every_engine_connects(kind: Kind) {
    let veth = Veth::new(QUEUES, 1500, kind == Kind::Shared);
    let rings = engines(&veth, kind, &[&[0, 1], &[2, 3]]);
    let listener = veth.peer_listener(PEER_V4);
    let to = listener.local_addr().expect("an address");
    const EACH: u8 = 8;
    let connections = EACH as usize * rings.len();
    let peer = veth.peer_thread(move || {
        for _ in 0..connections {
            let mut stream = listener.accept().expect("a connection").0;
            stream
                .set_read_timeout(Some(6 * PATIENCE))
                .expect("a timeout");
            let mut bytes = vec![0; BYTES];
            stream.read_exact(&mut bytes).expect("the peer reads");
            stream.write_all(&bytes).expect("the peer writes");
        }
    });
    // What arrives at an engine is handed over in its turns: all of them take some to the end.
    let fds: Vec<RawFd> = rings.iter().map(AsRawFd::as_raw_fd).collect();
    let (through, all_through) = channel();
    let threads: Vec<_> = veth.in_ring(|| {
        let rings = rings.into_iter();
        let connect = |mut ring: IoUring| {
            let through = through.clone();
            std::thread::spawn(move || {
                for seed in 0..EACH {
                    let bytes = pattern(seed, BYTES);
                    assert!(converse(&mut ring, to, &bytes) == bytes, "other bytes");
                }
                through.send(()).expect("somebody waits");
                serve(ring, false).join().expect("the rest")
            })
        };
        rings.map(connect).collect()
    });
    for _ in &fds {
        all_through.recv().expect("an engine that is through");
    }
    let outcome = peer.join();
    fds.into_iter().for_each(stop);
    let done = threads.into_iter().map(|thread| thread.join());
    let done: Vec<Done> = done.map(|done| done.expect("an engine")).collect();
    assert!(outcome.is_ok(), "the peer failed: {done:#?}");
    for done in done {
        assert_eq!(done.counters.stack.tcp_no_connection, 0);
        assert_eq!(done.counters.stack.tcp_established, u64::from(EACH));
    }
}

fn the_program_goes_with_the_last_engine() {
    let veth = Veth::new(QUEUES, 1500, false);
    let rings = engines(&veth, Kind::Owned, &[&[0], &[1], &[2, 3]]);
    let programs = || {
        let interface = Interface::by_name(RING_INTERFACE).expect("the interface");
        Link::by_index(interface.index).expect("its link").xdp.len()
    };
    let mut attached = Vec::new();
    for ring in rings {
        attached.push(veth.in_ring(programs));
        drop(ring);
    }
    assert_eq!(attached, [1, 1, 1]);
    assert_eq!(veth.in_ring(programs), 0);
}

fn all_engines_serve_when_the_interface_was_made_anew() {
    let veth = Veth::new(QUEUES, 1500, false);
    let rings = engines(&veth, Kind::Owned, &[&[0, 1], &[2, 3]]);
    let fds: Vec<RawFd> = rings.iter().map(AsRawFd::as_raw_fd).collect();
    let threads: Vec<_> = veth.in_ring(|| {
        let rings = rings.into_iter();
        let listening = rings.map(|mut ring| {
            listen(&mut ring, PORT);
            serve(ring, true)
        });
        listening.collect()
    });
    let before = veth.peer_thread(streams).join();
    veth.in_ring(|| ip("link del rw0"));
    veth.make_again(QUEUES, 1500, false);
    veth.configure_peer(1500);
    let after = veth.peer_thread(streams).join();
    fds.into_iter().for_each(stop);
    let done = threads.into_iter().map(|thread| thread.join());
    let done: Vec<Done> = done.map(|done| done.expect("an engine")).collect();
    assert!(before.is_ok() && after.is_ok(), "{done:#?}");
    for done in &done {
        let nic = done.counters.nic;
        assert_eq!((nic.stuck, nic.recreated), (0, 1));
    }
    let accepted: u32 = done.iter().map(|done| done.accepted).sum();
    assert_eq!(accepted, 2 * u32::from(FLOWS));
}

fn addresses_are_probed_once_and_by_all_queues() {
    let veth = Veth::new(QUEUES, 1500, false);
    let build = |address: &str| {
        let mut builder: Builder = IoUring::builder();
        let address = format!("{address}/64").parse().expect("an address");
        let builder = builder.interface(RING_INTERFACE).address(address);
        let builder = builder
            .rx_checksum(RxChecksum::AcceptPartial)
            .rx_chunks(512);
        veth.in_ring(|| builder.build_each(64, &[&[0], &[1], &[2], &[3]]))
    };
    let rings = build(RING_V6).expect("an address that nobody has");
    for ring in &rings {
        let stack = ring.counters().expect("counters").stack;
        assert_eq!(stack.address_conflicts, 0);
    }
    drop(rings);
    let taken = build(PEER_V6);
    assert!(
        matches!(&taken, Err(SetupError::AddressTaken { address, .. }) if *address == at(PEER_V6, 0).ip()),
        "{:?}",
        taken.map(|rings| rings.len())
    );
}

fn queues_are_checked() {
    let veth = Veth::new(2, 1500, false);
    let refused = |groups: &[&[u32]]| {
        let built = veth.in_ring(|| builder(Kind::Owned).build_each(64, groups));
        built.map(|rings| rings.len()).expect_err("a refusal")
    };
    assert!(matches!(refused(&[]), SetupError::NoQueues));
    assert!(matches!(
        refused(&[&[0, 1], &[1]]),
        SetupError::QueueInTwoGroups(1)
    ));
    assert!(matches!(
        refused(&[&[0], &[2]]),
        SetupError::Xsk(ringwire_xsk::Error::NoSuchQueue { queue: 2, .. })
    ));
}

fn a_queue_that_cannot_send_is_refused() {
    let veth = Veth::new(1, 1500, false);
    veth.in_ring(|| {
        ip("link add two0 numrxqueues 2 numtxqueues 1 type veth peer name two1 numrxqueues 1 numtxqueues 2\n\
            link set two0 up\nlink set two1 up\n");
        let mut builder = builder(Kind::Owned);
        builder.interface("two0");
        let built = builder.build(64);
        let Err(SetupError::Xsk(error)) = built.map(drop) else {
            panic!("a queue without a TX queue was taken");
        };
        let named = matches!(
            error,
            ringwire_xsk::Error::NoTxQueue {
                queue: 1,
                available: 1,
                ..
            }
        );
        assert!(named, "{error}");
        assert!(builder.queues(&[0]).build(64).is_ok(), "the other one will do");
    });
}

fn main() {
    use Kind::{Owned, Polled, Shared};
    let mut trials: Vec<Trial> = Vec::new();
    for (kind, name) in [(Owned, "owned"), (Shared, "shared"), (Polled, "polled")] {
        let mut add = |what: &str, test: fn(Kind)| {
            trials.push(privileged(&format!("{what}_{name}"), move || test(kind)));
        };
        add(
            "one_engine_serves_every_queue",
            one_engine_serves_every_queue,
        );
        add(
            "flows_live_on_the_engine_that_they_arrive_at",
            flows_live_on_the_engine_that_they_arrive_at,
        );
        add(
            "a_listener_serves_what_arrives_at_the_others",
            a_listener_serves_what_arrives_at_the_others,
        );
        add("every_engine_connects", every_engine_connects);
    }
    trials.push(privileged(
        "the_program_goes_with_the_last_engine",
        the_program_goes_with_the_last_engine,
    ));
    trials.push(privileged(
        "all_engines_serve_when_the_interface_was_made_anew",
        all_engines_serve_when_the_interface_was_made_anew,
    ));
    trials.push(privileged(
        "addresses_are_probed_once_and_by_all_queues",
        addresses_are_probed_once_and_by_all_queues,
    ));
    trials.push(privileged("queues_are_checked", queues_are_checked));
    trials.push(privileged(
        "a_queue_that_cannot_send_is_refused",
        a_queue_that_cannot_send_is_refused,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
