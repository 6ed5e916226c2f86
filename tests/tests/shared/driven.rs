//! Who drives a ring: its thread, its owner when completions are wanted, or an event loop that polls its descriptor;
//! and one that has given up its privileges. Each hears of what changes.

use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use ringwire::{Builder, opcode, types};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_V4, RING_V6, Veth, ip};
use ringwire_tests::stream::{PORT, at, raw};

use crate::beside;
use crate::load::{Load, Served, echoes};
use crate::sockets::{Ring, builder, domain, give_up, polled};

const OTHER_V4: &str = "10.7.0.3";
const OTHER_V6: &str = "fd07::3";

pub fn trials() -> Vec<Trial> {
    vec![
        beside("driven::by_a_thread", |veth| {
            hears(veth, builder().setup_sqpoll(100_000));
        }),
        beside("driven::by_a_thread_that_sleeps", |veth| {
            hears(veth, builder().setup_sqpoll(1));
        }),
        beside("driven::when_completions_are_wanted", |veth| {
            hears(veth, builder().setup_single_issuer().setup_defer_taskrun());
        }),
        beside("driven::by_poll", by_poll),
        beside("driven::without_privileges", unprivileged),
        beside("driven::a_server_without_privileges", serves_unprivileged),
    ]
}

/// Of neighbours and of addresses, under load and at rest.
fn hears(veth: &Veth, builder: &Builder) {
    let served = Served::start(builder);
    changes(veth);
    served.end();
}

fn changes(veth: &Veth) {
    let loads = [RING_V4, RING_V6].map(|ip| Load::to(veth, ip));
    loads.iter().for_each(Load::goes_on);
    ip("neigh flush dev rw0");
    loads.iter().for_each(Load::goes_on);
    ip(&format!("addr add {OTHER_V4}/24 dev rw0"));
    ip(&format!("addr add {OTHER_V6}/64 dev rw0 nodad"));
    let others = [OTHER_V4, OTHER_V6].map(|ip| Load::to(veth, ip));
    others.iter().for_each(Load::goes_on);
    loads.into_iter().chain(others).for_each(Load::end);
    ip("neigh flush dev rw0");
    for (ring, peer) in [(OTHER_V4, PEER_V4), (OTHER_V6, PEER_V6)] {
        echoes(&veth.peer_socket(peer), ring, b"hello");
    }
}

/// Takes turns while the descriptor is readable, which it is to become.
fn turn_by_poll(ring: &Ring) {
    let mut patience = PATIENCE;
    while polled(&ring.ring, libc::POLLIN, patience) {
        ring.ring.submit().expect("a turn");
        patience = Duration::ZERO;
    }
    assert!(patience.is_zero(), "it is not readable");
}

/// The next completion, with a turn only when the descriptor is readable.
fn next_by_poll(ring: &mut Ring) -> i32 {
    loop {
        if let Some(cqe) = ring.ring.completion().next() {
            return cqe.result();
        }
        assert!(
            polled(&ring.ring, libc::POLLIN, PATIENCE),
            "it is not readable"
        );
        ring.ring.submit().expect("a turn");
    }
}

/// A connection to a neighbour that is not known yet, and a datagram to an address that has just come.
fn by_poll(veth: &Veth) {
    let mut ring = Ring::new();
    for (slot, peer) in (0..).zip([PEER_V4, PEER_V6]) {
        let listener = veth.peer_listener(peer);
        let to = listener.local_addr().expect("an address");
        ring.open(slot, domain(to), libc::SOCK_STREAM);
        ip("neigh flush dev rw0");
        let (address, len) = raw(to);
        let connect = opcode::Connect::new(types::Fixed(slot), address.as_ptr().cast(), len);
        // SAFETY: the address lives until the request has completed.
        unsafe { ring.ring.submission().push(&connect.build()) }.expect("room in the queue");
        ring.ring.submit().expect("a turn");
        assert_eq!(next_by_poll(&mut ring), 0, "to {to}");
    }
    ring.open(2, libc::AF_INET6, libc::SOCK_DGRAM);
    assert_eq!(ring.bind(2, at("::", PORT)), Ok(()));
    for (other, bits, peer) in [(OTHER_V4, "24", PEER_V4), (OTHER_V6, "64 nodad", PEER_V6)] {
        let mut buffer = [0; 16];
        let receive = opcode::Recv::new(types::Fixed(2), buffer.as_mut_ptr(), 16).build();
        // SAFETY: the buffer lives until the request has completed.
        unsafe { ring.ring.submission().push(&receive) }.expect("room in the queue");
        ring.ring.submit().expect("a turn");
        ip(&format!("addr add {other}/{bits} dev rw0"));
        turn_by_poll(&ring);
        let peer = veth.peer_socket(peer);
        peer.send_to(b"hello", at(other, PORT))
            .expect("the peer sends");
        assert_eq!(next_by_poll(&mut ring), 5, "to {other}");
        assert_eq!(&buffer[..5], b"hello");
    }
}

/// All capabilities of the thread that drives it.
fn unprivileged(veth: &Veth) {
    let listeners = [PEER_V4, PEER_V6].map(|peer| veth.peer_listener(peer));
    let driver = thread::spawn(move || {
        let mut ring = Ring::new();
        give_up(u64::MAX);
        for (slot, listener) in (0..).zip(&listeners) {
            let to = listener.local_addr().expect("an address");
            ring.open(slot, domain(to), libc::SOCK_STREAM);
            // Nothing was sent to it: the kernel does not know it.
            assert_eq!(ring.connect(slot, to), Ok(()), "to {to}");
        }
        ring.open(2, libc::AF_INET6, libc::SOCK_DGRAM);
        assert_eq!(ring.bind(2, at("::", PORT)), Ok(()));
        ring.open(3, libc::AF_INET6, libc::SOCK_STREAM);
        assert_eq!(ring.bind(3, at("::", PORT)), Ok(()));
        assert_eq!(ring.listen(3), Ok(()));
    });
    driver.join().expect("what an ordinary user may");
}

fn serves_unprivileged(veth: &Veth) {
    let served = Served::prepared(&builder(), || give_up(u64::MAX));
    changes(veth);
    served.end();
}
