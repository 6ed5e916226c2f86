//! Groups that lend: guards of what the NIC wrote, and an application that keeps too many of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use ringwire::owned::{BufferGroup, Completed, Lent, Payload, Ring, Socket};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_V4, RING_V6, Veth};
use ringwire_tests::stream::pattern;

use crate::{Bed, PORT, builder, errno};

pub const CASES: &[(&str, fn())] = &[
    ("datagrams_are_lent_where_they_were_received", datagrams),
    ("a_datagram_longer_than_a_chunk_comes_in_parts", jumbo),
    ("a_stream_is_lent_segment_by_segment", stream),
    ("a_guard_is_sent_as_it_is", echo),
    ("guards_outlive_their_ring", ring_dropped),
    (
        "who_keeps_every_datagram_gets_no_more_and_stops_nobody",
        kept_datagrams,
    ),
    (
        "a_guard_that_another_thread_drops_wakes_a_ring_that_is_short",
        wakes,
    ),
    (
        "who_keeps_a_stream_closes_the_window_and_gets_the_rest_later",
        kept_stream,
    ),
    (
        "what_waits_in_queues_is_lent_to_who_keeps_nothing",
        queued_stream,
    ),
];

const RECEIVE: u64 = 1;
/// Few chunks, so that an application can keep all that it may.
const FEW_CHUNKS: u32 = 256;

/// A ring that receives into few chunks.
fn small_bed() -> Bed {
    let veth = Veth::new(1, 1500, false);
    veth.peer_offloads_off();
    let ring = veth.in_ring(|| Ring::new(builder().rx_chunks(FEW_CHUNKS), 64, 8));
    Bed {
        ring: ring.expect("a ring"),
        veth,
    }
}

fn lending(bed: &mut Bed) -> BufferGroup {
    bed.ring.lending_group(64).expect("a group")
}

/// What was received, whole.
fn bytes(completed: &Completed) -> Vec<u8> {
    assert!(
        matches!(completed.payload, Some(Payload::Lent(_))),
        "{completed:?}"
    );
    let first = completed.payload.as_deref().expect("it is there");
    let rest = completed.rest.iter().flat_map(|part| part.iter());
    first.iter().chain(rest).copied().collect()
}

fn guard(completed: Completed) -> Lent {
    assert!(completed.rest.is_empty(), "{completed:?}");
    match completed.payload {
        Some(Payload::Lent(lent)) => lent,
        other => panic!("nothing lent: {other:?}"),
    }
}

fn copied(bed: &Bed) -> u64 {
    bed.ring
        .counters()
        .expect("counters")
        .stack
        .lend_copied_bytes
}

fn datagrams() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let group = lending(&mut bed);
    let queued = bed.ring.recv_from_multishot(RECEIVE, socket, &group);
    queued.expect("room");
    let mut held = Vec::new();
    for (round, (peer, ring)) in [(PEER_V4, RING_V4), (PEER_V6, RING_V6)]
        .into_iter()
        .enumerate()
    {
        let client = bed.veth.peer_socket(peer);
        for len in [1, 600, 1400] {
            let sent = pattern(round as u8, len);
            client.send_to(&sent, (ring, PORT)).expect("sent");
            let received = bed.next();
            let from = received.address.expect("who sent it");
            let own = client.local_addr().expect("an address");
            assert_eq!(
                (from.ip().to_canonical(), from.port()),
                (own.ip(), own.port())
            );
            held.push((sent, guard(received)));
        }
    }
    assert!(held.iter().all(|(sent, lent)| lent[..] == sent[..]));
    assert_eq!(copied(&bed), 0);
}

fn jumbo() {
    let veth = Veth::new(1, 9000, false);
    veth.peer_offloads_off();
    let ring = veth.in_ring(|| Ring::new(&builder(), 64, 8));
    let mut bed = Bed {
        ring: ring.expect("a ring"),
        veth,
    };
    assert!(bed.ring.report().expect("a report").scatter);
    let socket = bed.socket(libc::SOCK_DGRAM);
    let group = lending(&mut bed);
    for (peer, ring) in [(PEER_V4, RING_V4), (PEER_V6, RING_V6)] {
        let client = bed.veth.peer_socket(peer);
        let queued = bed.ring.recv_from_multishot(RECEIVE, socket, &group);
        queued.expect("room");
        for len in [5000, 8900] {
            let sent = pattern(len as u8, len);
            client.send_to(&sent, (ring, PORT)).expect("sent");
            let received = bed.next();
            assert!(!received.rest.is_empty(), "{received:?}");
            assert!(bytes(&received) == sent);
        }
        bed.ring.cancel_all(2, socket).expect("room");
        for _ in 0..2 {
            bed.next();
        }
    }
    assert_eq!(copied(&bed), 0);
}

fn stream() {
    let mut bed = Bed::new();
    let (socket, mut peer) = bed.connection();
    let group = lending(&mut bed);
    let sent = pattern(1, 1 << 20);
    let out = sent.clone();
    let writer = std::thread::spawn(move || peer.write_all(&out).map(|()| peer));
    let mut received = Vec::new();
    bed.ring
        .recv_multishot(RECEIVE, socket, &group)
        .expect("room");
    while received.len() < sent.len() {
        let completed = bed.next();
        if completed.result.is_err() {
            // Our own slowness is no matter of this test.
            assert_eq!(errno(&completed), Some(libc::ENOBUFS));
            bed.ring
                .recv_multishot(RECEIVE, socket, &group)
                .expect("room");
            continue;
        }
        received.extend_from_slice(&guard(completed));
    }
    assert!(received == sent);
    drop(writer.join().expect("the peer").expect("written"));
    let end = bed.next();
    assert_eq!((end.result.expect("the end"), end.more), (0, false));
}

fn echo() {
    let mut bed = Bed::new();
    let (socket, mut peer) = bed.connection();
    let group = lending(&mut bed);
    for round in 0..3u8 {
        peer.write_all(&[round; 100]).expect("the peer writes");
        bed.ring
            .recv_provided(RECEIVE, socket, &group)
            .expect("room");
        let lent = guard(bed.next());
        bed.ring.send(2, socket, lent, 0).expect("room");
        let sent = bed.next();
        assert_eq!(sent.result.expect("sent"), 100);
        assert!(matches!(sent.payload, Some(Payload::Lent(_))));
        let mut back = [0; 100];
        peer.read_exact(&mut back).expect("it comes back");
        assert_eq!(back, [round; 100]);
    }
}

fn ring_dropped() {
    let mut bed = Bed::new();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let group = lending(&mut bed);
    bed.ring
        .recv_provided(RECEIVE, socket, &group)
        .expect("room");
    let client = bed.veth.peer_socket(PEER_V4);
    client.send_to(b"held", (RING_V4, PORT)).expect("sent");
    let lent = guard(bed.next());
    drop(bed);
    drop(group);
    assert_eq!(&lent[..], b"held");
    let moved = std::thread::spawn(move || (lent.to_vec(), lent.give_back()));
    let (read, gone) = moved.join().expect("another thread");
    assert_eq!((&read[..], gone.is_err()), (&b"held"[..], true));
}

/// Keeps what is received until nothing more is lent; `send` sends the n-th datagram.
fn keep_all(bed: &mut Bed, socket: Socket, group: &BufferGroup, send: impl Fn(u32)) -> Vec<Lent> {
    let mut kept = Vec::new();
    bed.ring
        .recv_multishot(RECEIVE, socket, group)
        .expect("room");
    loop {
        assert!(kept.len() < FEW_CHUNKS as usize, "the reserve is lent");
        send(kept.len() as u32);
        let completed = bed.next();
        if completed.result.is_err() {
            assert_eq!(
                (errno(&completed), completed.more),
                (Some(libc::ENOBUFS), false)
            );
            return kept;
        }
        kept.push(guard(completed));
    }
}

fn kept_datagrams() {
    let mut bed = small_bed();
    let (connection, mut peer) = bed.connection();
    bed.ring
        .socket(crate::STEP, libc::AF_INET, libc::SOCK_DGRAM)
        .expect("room");
    let socket = bed.next().socket().expect("a socket");
    let any = format!("0.0.0.0:{PORT}").parse().expect("an address");
    bed.ring.bind(crate::STEP, socket, any).expect("room");
    bed.step();
    let group = lending(&mut bed);
    let client = bed.veth.peer_socket(PEER_V4);
    let send = |number: u32| {
        client
            .send_to(&number.to_ne_bytes(), (RING_V4, PORT))
            .expect("sent");
    };
    let kept = keep_all(&mut bed, socket, &group, send);
    // Another socket goes on, both ways.
    for round in 0..20u8 {
        peer.write_all(&[round; 1000]).expect("the peer writes");
        let mut room = Vec::new();
        while room.len() < 1000 {
            let free = ringwire::owned::BytesMut::with_capacity(1000 - room.len());
            bed.ring.recv(2, connection, free, 0).expect("room");
            room.extend_from_slice(bed.next().payload.as_deref().expect("what came"));
        }
        assert_eq!(room, [round; 1000]);
        bed.ring.send(3, connection, room, 0).expect("room");
        bed.next().result.expect("sent");
        let mut back = [0; 1000];
        peer.read_exact(&mut back).expect("it comes back");
    }
    for (number, lent) in kept.iter().enumerate() {
        assert_eq!(lent[..], (number as u32).to_ne_bytes());
    }
    let next = kept.len() as u32;
    drop(kept);
    bed.ring
        .recv_multishot(RECEIVE, socket, &group)
        .expect("room");
    // What was not lent has not been lost.
    assert_eq!(guard(bed.next())[..], next.to_ne_bytes());
}

/// Whether the ring's fd is readable.
fn is_readable(bed: &Bed) -> bool {
    let mut fd = libc::pollfd {
        fd: bed.ring.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure, which lives through the call.
    unsafe { libc::poll(&raw mut fd, 1, 0) == 1 }
}

fn wakes() {
    let mut bed = small_bed();
    let socket = bed.socket(libc::SOCK_DGRAM);
    let group = lending(&mut bed);
    let client = bed.veth.peer_socket(PEER_V4);
    let kept = keep_all(&mut bed, socket, &group, |number| {
        let sent = client.send_to(&number.to_ne_bytes(), (RING_V4, PORT));
        sent.expect("sent");
    });
    let start = std::time::Instant::now();
    while is_readable(&bed) {
        assert!(
            start.elapsed() < PATIENCE,
            "there is always something to do"
        );
        bed.ring.submit().expect("a turn");
    }
    std::thread::spawn(move || drop(kept))
        .join()
        .expect("the other thread");
    assert!(is_readable(&bed), "nobody is told of the memory");
}

/// The peer's end of a connection that writes more than the ring has room for.
fn writing(mut peer: TcpStream, sent: &[u8]) -> std::thread::JoinHandle<TcpStream> {
    let out = sent.to_vec();
    peer.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    std::thread::spawn(move || {
        peer.write_all(&out).expect("the peer writes");
        peer
    })
}

fn kept_stream() {
    let mut bed = small_bed();
    let (socket, peer) = bed.connection();
    let group = lending(&mut bed);
    let sent = pattern(3, 4 << 20);
    let writer = writing(peer, &sent);
    let (mut received, mut kept, mut starved) = (Vec::new(), Vec::new(), 0);
    bed.ring
        .recv_multishot(RECEIVE, socket, &group)
        .expect("room");
    while received.len() < sent.len() {
        let completed = bed.next();
        if completed.result.is_err() {
            assert_eq!(errno(&completed), Some(libc::ENOBUFS));
            assert!(!kept.is_empty(), "nothing is kept");
            starved += 1;
            kept.clear();
            bed.ring
                .recv_multishot(RECEIVE, socket, &group)
                .expect("room");
            continue;
        }
        let lent = guard(completed);
        received.extend_from_slice(&lent);
        kept.push(lent);
    }
    assert!(received == sent);
    assert!(starved > 0, "so much does not fit");
    drop(writer.join().expect("the peer"));
}

fn queued_stream() {
    let mut bed = small_bed();
    let (socket, peer) = bed.connection();
    let group = lending(&mut bed);
    let sent = pattern(4, 1 << 20);
    let writer = writing(peer, &sent);
    // The queue takes what it can: all chunks beside the fill ring's, and more in other memory.
    let stack = |bed: &Bed| bed.ring.counters().expect("counters").stack;
    let start = std::time::Instant::now();
    while stack(&bed).tcp_compacted == 0 {
        assert!(
            start.elapsed() < PATIENCE,
            "the peer does not fill the queue"
        );
        let time = std::time::Duration::from_millis(1);
        bed.ring.submit_and_wait(1, Some(time)).expect("a turn");
    }
    let (mut received, mut starved) = (Vec::new(), true);
    while received.len() < sent.len() {
        if std::mem::take(&mut starved) {
            let queued = bed.ring.recv_multishot(RECEIVE, socket, &group);
            queued.expect("room");
            received.extend_from_slice(&guard(bed.next()));
            continue;
        }
        let completed = bed.next();
        // More came at once than the group has ids for.
        starved = errno(&completed) == Some(libc::ENOBUFS);
        if !starved {
            received.extend_from_slice(&guard(completed));
        }
    }
    assert!(received == sent);
    drop(writer.join().expect("the peer"));
}
