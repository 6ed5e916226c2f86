//! When memory comes back, and when it is freed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwire::owned::{Bytes, BytesMut, Full};
use ringwire_tests::net::{RING_INTERFACE, name_of};

use crate::{Bed, STEP, errno};

pub const CASES: &[(&str, fn())] = &[
    ("a_full_queue_gives_the_memory_back", full),
    ("room_is_made_by_submitting", reserve),
    ("a_cancelled_receive_gives_its_buffer_back", cancel),
    ("all_of_a_socket_is_cancelled", cancel_all),
    (
        "an_operation_that_has_completed_is_not_cancelled",
        cancel_late,
    ),
    ("a_dropped_ring_stops_before_memory_is_freed", dropped),
    ("a_leaked_ring_leaks_its_memory", leaked),
    (
        "a_receive_that_stores_less_than_it_says_is_refused",
        truncating,
    ),
];

fn full() {
    let mut bed = Bed::with_entries(2);
    let socket = bed.socket(libc::SOCK_DGRAM);
    while bed.ring.room() > 0 {
        bed.ring.nop(STEP).expect("room");
    }
    let Err(Full(payload)) = bed.ring.send(1, socket, b"payload".to_vec(), 0) else {
        panic!("the queue is full");
    };
    assert_eq!(&payload[..], b"payload");
    let mut room = BytesMut::with_capacity(100);
    room.extend_from_slice(b"before");
    let Err(Full(room)) = bed.ring.recv(1, socket, room, 0) else {
        panic!("the queue is full");
    };
    assert_eq!((&room[..], room.capacity()), (&b"before"[..], 100));
    let Err(error) = bed.ring.recv_from(1, socket, room) else {
        panic!("the queue is full");
    };
    let error = std::io::Error::from(error);
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // What was queued before is all there is.
    bed.step();
    bed.step();
    assert_eq!(bed.ring.in_flight(), 0);
}

fn reserve() {
    let mut bed = Bed::with_entries(2);
    for _ in 0..10 {
        bed.ring.reserve(2).expect("a turn");
        bed.ring.nop(STEP).expect("room");
    }
    for _ in 0..10 {
        bed.step();
    }
}

fn cancel() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let mut room = BytesMut::with_capacity(100);
    room.extend_from_slice(b"before");
    let receive = bed.ring.recv(1, socket, room, 0).expect("room");
    bed.ring.cancel(2, receive).expect("room");
    let cancel = bed.next();
    assert_eq!((cancel.user_data, cancel.result.expect("found")), (2, 0));
    let cancelled = bed.next();
    assert_eq!(
        (cancelled.user_data, errno(&cancelled)),
        (1, Some(libc::ECANCELED))
    );
    assert_eq!(cancelled.payload.as_deref(), Some(&b"before"[..]));
}

fn cancel_all() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let queued = bed.ring.socket(STEP, libc::AF_INET, libc::SOCK_DGRAM);
    queued.expect("room");
    let other = bed.next().socket().expect("a socket");
    for user_data in 1..=3 {
        let room = BytesMut::with_capacity(100);
        bed.ring.recv_from(user_data, socket, room).expect("room");
    }
    bed.ring.poll(4, other, libc::POLLPRI as u32).expect("room");
    bed.ring.cancel_all(STEP, socket).expect("room");
    assert_eq!(bed.step(), 3);
    for user_data in 1..=3 {
        let cancelled = bed.next();
        assert_eq!(
            (cancelled.user_data, errno(&cancelled)),
            (user_data, Some(libc::ECANCELED))
        );
        assert!(cancelled.payload.is_some());
    }
    assert_eq!(bed.ring.in_flight(), 1, "the other socket's poll");
}

fn cancel_late() {
    let mut bed = Bed::new();
    let first = bed.ring.nop(1).expect("room");
    bed.next();
    let time = std::time::Duration::from_secs(600);
    bed.ring.timeout(2, time).expect("room");
    // The timeout has the place that the NOP had.
    bed.ring.cancel(3, first).expect("room");
    let cancel = bed.next();
    assert_eq!((cancel.user_data, errno(&cancel)), (3, Some(libc::ENOENT)));
    assert_eq!(bed.ring.in_flight(), 1);
}

/// A payload that says that it was freed.
struct Freed(Arc<AtomicBool>);

impl AsRef<[u8]> for Freed {
    fn as_ref(&self) -> &[u8] {
        b"payload"
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A payload that says whether the interface had its program yet when it was freed.
struct Watched {
    namespace: String,
    outlived: Arc<AtomicBool>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        b"payload"
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.outlived
            .store(!has_program(&self.namespace), Ordering::Relaxed);
    }
}

/// Whether an XDP program is attached to the ring's interface in this namespace. The engine's ring of
/// operations and its program end together.
fn has_program(namespace: &str) -> bool {
    let output = Command::new("nsenter")
        .arg(format!("--net={namespace}"))
        .args(["ip", "link", "show", RING_INTERFACE])
        .output()
        .expect("nsenter and ip");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).contains("prog/xdp")
}

fn dropped() {
    let mut bed = Bed::new();
    let namespace = bed
        .veth
        .in_ring(|| std::fs::File::open("/proc/thread-self/ns/net"));
    let namespace = namespace.expect("the ring's namespace");
    let (socket, _peer) = bed.connection();
    let outlived = Arc::new(AtomicBool::new(false));
    let watched = Watched {
        namespace: name_of(&namespace),
        outlived: Arc::clone(&outlived),
    };
    assert!(has_program(&watched.namespace));
    // Behind a receive that waits, it is not sent.
    let room = BytesMut::with_capacity(100);
    bed.ring.link().recv(1, socket, room, 0).expect("room");
    let payload = Bytes::from_owner(watched);
    bed.ring.send(2, socket, payload, 0).expect("room");
    bed.ring.submit().expect("a turn");
    assert!(!outlived.load(Ordering::Relaxed));
    let Bed { ring, veth } = bed;
    drop(ring);
    assert!(
        outlived.load(Ordering::Relaxed),
        "freed, and after the engine's end"
    );
    drop(veth);
}

fn leaked() {
    let mut bed = Bed::new();
    let (socket, _peer) = bed.connection();
    let freed = Arc::new(AtomicBool::new(false));
    let room = BytesMut::with_capacity(100);
    bed.ring.link().recv(1, socket, room, 0).expect("room");
    let payload = Bytes::from_owner(Freed(Arc::clone(&freed)));
    bed.ring.send(2, socket, payload, 0).expect("room");
    bed.ring.submit().expect("a turn");
    std::mem::forget(bed.ring);
    assert!(!freed.load(Ordering::Relaxed));
}

fn truncating() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let refused = catch_unwind(AssertUnwindSafe(|| {
        let room = BytesMut::with_capacity(10);
        bed.ring.recv(1, socket, room, libc::MSG_TRUNC).map(drop)
    }));
    assert!(refused.is_err());
    assert_eq!(bed.ring.in_flight(), 0);
}
