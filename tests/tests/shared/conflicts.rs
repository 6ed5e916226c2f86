//! Ports that a ring's sockets and the kernel's both want: who has one, until when, and what the other is told.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use libtest_mimic::Trial;
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_V4, RING_V6, Veth};
use ringwire_tests::stream::{PORT, at};

use crate::beside;
use crate::sockets::{KernelSocket, Outcome, Ring, SLOTS, domain, give_up, is_free};

pub fn trials() -> Vec<Trial> {
    vec![
        beside("conflicts::of_tcp_are_the_kernels", |_| {
            are_the_kernels(libc::SOCK_STREAM)
        }),
        beside("conflicts::of_udp_are_the_kernels", |_| {
            are_the_kernels(libc::SOCK_DGRAM)
        }),
        beside("conflicts::a_low_port_takes_a_capability", |_| low_port()),
        beside("conflicts::a_bound_port_is_free_when_closed", |_| closed()),
        beside(
            "conflicts::a_listeners_port_stays_its_connections",
            outlived,
        ),
        beside("conflicts::a_port_in_time_wait_is_taken", |veth| {
            time_wait(veth)
        }),
        beside("conflicts::of_a_kernels_former_server", |veth| {
            former_server(veth)
        }),
        beside("conflicts::ports_for_connections_run_out", few),
        beside("conflicts::ports_for_datagrams_come_back", datagrams),
        beside(
            "conflicts::connections_have_ports_of_their_own_v4",
            |veth| many(veth, PEER_V4),
        ),
        beside(
            "conflicts::connections_have_ports_of_their_own_v6",
            |veth| many(veth, PEER_V6),
        ),
    ]
}

/// What two sockets want.
const WANTED: [&str; 4] = ["0.0.0.0", RING_V4, "::", RING_V6];
const SHARING: [Option<i32>; 3] = [None, Some(libc::SO_REUSEADDR), Some(libc::SO_REUSEPORT)];

/// One end of a conflict.
#[derive(Clone, Copy, Debug)]
enum Side {
    Kernel,
    Ring,
}

/// A socket that somebody wants.
#[derive(Clone, Copy, Debug)]
struct Want {
    side: Side,
    at: SocketAddr,
    sharing: Option<i32>,
}

/// Of bind(2), and of listen(2) where that has a meaning.
type Got = (Outcome, Option<Outcome>);

/// Two sockets, one after the other; the second one only ever sees what the first one has.
fn take(ring: &mut Ring, kind: i32, wants: [Want; 2]) -> [Got; 2] {
    let mut kernels = Vec::new();
    let got = [0, 1].map(|slot| {
        let Want { side, at, sharing } = wants[slot as usize];
        let listens = |bound: Outcome| bound.is_ok() && kind == libc::SOCK_STREAM;
        match side {
            Side::Ring => {
                ring.open(slot, domain(at), kind);
                if let Some(option) = sharing {
                    ring.set(slot, libc::SOL_SOCKET, option, 1);
                }
                let bound = ring.bind(slot, at);
                (bound, listens(bound).then(|| ring.listen(slot)))
            }
            Side::Kernel => {
                let socket = KernelSocket::new(domain(at), kind);
                if let Some(option) = sharing {
                    socket.set(libc::SOL_SOCKET, option, 1);
                }
                let bound = socket.bind(at);
                let listened = listens(bound).then(|| socket.listen());
                kernels.push(socket);
                (bound, listened)
            }
        }
    });
    for (slot, want) in (0..).zip(wants) {
        if matches!(want.side, Side::Ring) {
            ring.close(slot);
        }
    }
    got
}

/// Whatever two sockets want, they are told what two sockets of the kernel's are told.
fn are_the_kernels(kind: i32) {
    let mut ring = Ring::new();
    // Each pair has a port of its own: another test that starts a process holds copies of the last one's sockets.
    let mut ports = PORT..;
    let mut wants = |sides: [Side; 2], ips: [&str; 2], sharing: [Option<i32>; 2]| {
        let port = ports.next().expect("a port");
        [0, 1].map(|number| Want {
            side: sides[number],
            at: at(ips[number], port),
            sharing: sharing[number],
        })
    };
    for first in WANTED {
        for second in WANTED {
            for sharing in SHARING.map(|first| SHARING.map(|second| [first, second])) {
                for sharing in sharing {
                    let mut got = |sides| {
                        let wants = wants(sides, [first, second], sharing);
                        take(&mut ring, kind, wants)
                    };
                    let expected = got([Side::Kernel, Side::Kernel]);
                    for sides in [
                        [Side::Kernel, Side::Ring],
                        [Side::Ring, Side::Kernel],
                        [Side::Ring, Side::Ring],
                    ] {
                        let what = format!("{sides:?} at {first} and {second}, {sharing:?}");
                        assert_eq!(got(sides), expected, "{what}");
                    }
                }
            }
        }
    }
}

/// Without CAP_NET_BIND_SERVICE.
fn low_port() {
    const CAP_NET_BIND_SERVICE: u32 = 10;
    let unprivileged = thread::spawn(|| {
        let mut ring = Ring::new();
        give_up(1 << CAP_NET_BIND_SERVICE);
        ring.open(0, libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(ring.bind(0, at(RING_V4, 80)), Err(libc::EACCES));
        assert_eq!(ring.bind(0, at(RING_V4, PORT)), Ok(()));
        ring.open(1, libc::AF_INET6, libc::SOCK_DGRAM);
        assert_eq!(ring.bind(1, at("::", 1023)), Err(libc::EACCES));
        assert_eq!(ring.bind(1, at("::", 1024)), Ok(()));
    });
    unprivileged.join().expect("what an ordinary user may");
}

fn closed() {
    let mut ring = Ring::new();
    for (slot, kind) in (0..).zip([libc::SOCK_STREAM, libc::SOCK_DGRAM]) {
        let port = at(RING_V4, PORT);
        ring.open(slot, libc::AF_INET, kind);
        assert_eq!(ring.bind(slot, port), Ok(()));
        assert!(!is_free(kind, port));
        ring.close(slot);
        // A process that another test is starting may hold a copy of the kernel's socket for a moment.
        ring.until("the port is free", || is_free(kind, port));
    }
}

/// A connection of a listener's, in slots 1 and 0, that is closed; and the peer's end.
fn served(veth: &Veth, ring: &mut Ring) -> TcpStream {
    ring.open(0, libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(ring.bind(0, at("0.0.0.0", PORT)), Ok(()));
    assert_eq!(ring.listen(0), Ok(()));
    let peer = veth.peer_thread(|| TcpStream::connect((RING_V4, PORT)).expect("a connection"));
    ring.accept(0, 1);
    ring.close(0);
    peer.join().expect("the peer's thread")
}

/// The peer ends the connection: nothing remains of it here.
fn outlived(veth: &Veth) {
    let mut ring = Ring::new();
    let port = at("0.0.0.0", PORT);
    let peer = served(veth, &mut ring);
    assert!(!is_free(libc::SOCK_STREAM, port), "it has a connection");
    assert_eq!(ring.send(1, b"still"), Ok(5));
    let mut word = [0; 5];
    (&peer).read_exact(&mut word).expect("a word");
    drop(peer);
    assert_eq!(ring.receive(1), Ok(Vec::new()), "the stream's end");
    assert!(!is_free(libc::SOCK_STREAM, port), "half of it is open");
    ring.close(1);
    ring.until("the port is free", || is_free(libc::SOCK_STREAM, port));
}

/// The ring ends the connection: it may have to answer the peer's last segment once more.
fn time_wait(veth: &Veth) {
    let mut ring = Ring::new();
    let port = at("0.0.0.0", PORT);
    let peer = served(veth, &mut ring);
    ring.close(1);
    let end = veth.peer_thread(move || (&peer).read(&mut [0]).map(|count| (count, peer)));
    ring.until("the peer sees the end", || end.is_finished());
    let (count, peer) = end.join().expect("the peer's thread").expect("no error");
    assert_eq!(count, 0);
    let before = ring.ring.counters().expect("counters").stack.rx_packets;
    drop(peer);
    let deadline = Instant::now() + PATIENCE;
    while ring.ring.counters().expect("counters").stack.rx_packets == before {
        assert!(Instant::now() < deadline, "the peer's FIN does not come");
        ring.ring.submit().expect("a turn");
    }
    for _ in 0..100 {
        ring.ring.submit().expect("a turn");
        assert!(!is_free(libc::SOCK_STREAM, port));
    }
    // It is ours to use again.
    ring.open(0, libc::AF_INET, libc::SOCK_STREAM);
    ring.set(0, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    assert_eq!(ring.bind(0, port), Ok(()));
    assert_eq!(ring.listen(0), Ok(()));
}

/// A kernel's server has ended its connections and is replaced by a ring: as on the kernel it takes `SO_REUSEADDR`.
fn former_server(veth: &Veth) {
    let port = at("0.0.0.0", PORT);
    let listener = std::net::TcpListener::bind(port).expect("a kernel's listener");
    let peer = veth.peer_thread(|| {
        let mut stream = TcpStream::connect((RING_V4, PORT)).expect("a connection");
        stream.read(&mut [0]).expect("the end")
    });
    drop(listener.accept().expect("a connection"));
    drop(listener);
    assert_eq!(peer.join().expect("the peer's thread"), 0);
    let mut ring = Ring::new();
    ring.open(0, libc::AF_INET, libc::SOCK_STREAM);
    assert_eq!(ring.bind(0, port), Err(libc::EADDRINUSE));
    ring.set(0, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
    assert_eq!(ring.bind(0, port), Ok(()));
    assert_eq!(ring.listen(0), Ok(()));
    let peer = veth.peer_thread(|| TcpStream::connect((RING_V4, PORT)).expect("a connection"));
    ring.accept(0, 1);
    peer.join().expect("the peer's thread");
}

/// Many connections to one port of the peer's: no two have the same port, and the kernel gives none of them to its own.
fn many(veth: &Veth, peer: &str) {
    const CONNECTIONS: u32 = 200;
    const { assert!(CONNECTIONS <= SLOTS) };
    let listener = veth.peer_listener(peer);
    let to = listener.local_addr().expect("an address");
    let accepting = thread::spawn(move || {
        let connection = |_| listener.accept().expect("a connection").0;
        (0..CONNECTIONS).map(connection).collect::<Vec<_>>()
    });
    let mut ring = Ring::new();
    let mut ports = std::collections::HashSet::new();
    for slot in 0..CONNECTIONS {
        ring.open(slot, domain(to), libc::SOCK_STREAM);
        assert_eq!(ring.connect(slot, to), Ok(()));
        let local = ring.local(slot);
        assert!(ports.insert(local.port()), "{local} is another's");
        assert!(!is_free(libc::SOCK_STREAM, local));
    }
    let connections = accepting.join().expect("the peer's thread");
    for slot in 0..CONNECTIONS {
        assert_eq!(ring.send(slot, &slot.to_ne_bytes()), Ok(4));
    }
    for (mut connection, slot) in connections.into_iter().zip(0u32..) {
        connection
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        let mut number = [0; 4];
        connection.read_exact(&mut number).expect("a number");
        assert_eq!(u32::from_ne_bytes(number), slot);
    }
}

/// As the kernel's: a port is another connection's, too, if that goes somewhere else.
fn few(veth: &Veth) {
    const PORTS: u32 = 10;
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    std::fs::write(range, "40000 40009").expect("a setting");
    let mut ring = Ring::new();
    let listeners = [(); 2].map(|()| veth.peer_listener(PEER_V4));
    let mut accepted = Vec::new();
    let mut slots = 0..;
    for listener in &listeners {
        let to = listener.local_addr().expect("an address");
        for slot in slots.by_ref().take(PORTS as usize) {
            ring.open(slot, libc::AF_INET, libc::SOCK_STREAM);
            assert_eq!(ring.connect(slot, to), Ok(()), "{slot} to {to}");
            accepted.push(listener.accept().expect("a connection").0);
        }
        let slot = slots.next().expect("a slot");
        ring.open(slot, libc::AF_INET, libc::SOCK_STREAM);
        assert_eq!(ring.connect(slot, to), Err(libc::EADDRNOTAVAIL));
    }
    // The first of all ends, by the peer first: its port is free for that listener.
    drop(accepted.remove(0));
    assert_eq!(ring.receive(0), Ok(Vec::new()), "the stream's end");
    ring.close(0);
    let to = listeners[0].local_addr().expect("an address");
    ring.until_ok("a connection by the port that is free", |ring| {
        ring.open(0, libc::AF_INET, libc::SOCK_STREAM);
        let connected = ring.connect(0, to);
        if connected.is_err() {
            ring.close(0);
        }
        connected
    });
}

/// A socket that sends without being bound has a port of its own, as long as it is there.
fn datagrams(veth: &Veth) {
    let mut ring = Ring::new();
    let peer = veth.peer_socket(PEER_V4);
    let to = peer.local_addr().expect("an address");
    for connects in [false, true] {
        ring.open(0, libc::AF_INET, libc::SOCK_DGRAM);
        match connects {
            true => assert_eq!(ring.connect(0, to), Ok(())),
            false => assert_eq!(ring.send_to(0, b"hello", to), Ok(5)),
        }
        let local = at("0.0.0.0", ring.local(0).port());
        assert!(!is_free(libc::SOCK_DGRAM, local));
        ring.close(0);
        ring.until("the port is free", || is_free(libc::SOCK_DGRAM, local));
    }
}
