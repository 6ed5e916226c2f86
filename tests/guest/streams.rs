//! Streams: answered piece by piece, and in bulk, between two rings and between a ring and the guest's kernel.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use ringwire::{IoUring, Mode, opcode};
use ringwire_tests::net::{PATIENCE, PEER_V6, RING_INTERFACE};
use ringwire_tests::stream::{CONNECTION, accept, connect, converse, outlive, pattern, run};
use ringwire_xsk::Interface;

use crate::bed::{Bed, server};
use crate::bulk::{From, LONG, exchange, one_within_a_slot, stream};
use crate::{Check, evidence};

pub const CHECKS: &[Check] = &[
    (
        "what has no room for headers is copied alone",
        within_a_slot,
    ),
    ("a ring's stream is echoed by a ring", rings_echo),
    ("the kernel's stream is echoed by a ring", kernel_echo),
    ("two rings exchange streams in bulk", rings_bulk),
    ("the kernel connects and exchanges streams in bulk", |bed| {
        kernel_connects(bed, false)
    }),
    (
        "the kernel connects and exchanges streams in bulk, ipv6",
        |bed| kernel_connects(bed, true),
    ),
    (
        "the kernel accepts and exchanges streams in bulk",
        kernel_accepts,
    ),
];

/// Lengths of what is sent and awaited: within a segment, of one, of several.
const CONNECTIONS: usize = 42;
const PIECES: [usize; 7] = [1, 100, 1448, 1460, 4096, 10_000, 60_000];

fn rings_echo(bed: &Bed) {
    let (serving, ring) = bed.server_and_far();
    let mut ring = table(ring);
    connect(&mut ring, server(false));
    for (seed, bytes) in PIECES.into_iter().enumerate() {
        let piece = pattern(seed as u8, bytes);
        let send = opcode::Send::new(CONNECTION, piece.as_ptr(), bytes as u32);
        let send = send.flags(libc::MSG_WAITALL).build();
        assert_eq!(run(&mut ring, send), bytes as i32);
        let mut back = vec![0; bytes];
        let receive = opcode::Recv::new(CONNECTION, back.as_mut_ptr(), bytes as u32);
        let receive = receive.flags(libc::MSG_WAITALL).build();
        assert_eq!(run(&mut ring, receive), bytes as i32);
        assert!(back == piece, "{bytes} bytes came back as others");
    }
    assert_eq!(run(&mut ring, opcode::Close::new(CONNECTION).build()), 0);
    drop(ring);
    serving.stop();
}

/// Over many connections: the NIC spreads them over its queues, and so many leave none out.
fn kernel_echo(bed: &Bed) {
    let interface = || Interface::by_name(RING_INTERFACE).expect("the interface");
    let queues = bed.wire.in_ring(interface).rx_queues as usize;
    let serving = bed.serve(Mode::ZeroCopy);
    evidence::forget();
    for connection in 0..CONNECTIONS {
        let to = server(connection % 2 == 1);
        let stream = bed.wire.in_peer(|| TcpStream::connect(to));
        let mut stream = stream.expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let piece = pattern(connection as u8, PIECES[connection % PIECES.len()]);
        stream.write_all(&piece).expect("a piece");
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).expect("its echo");
        assert!(back == piece, "{} bytes came back as others", back.len());
    }
    assert_eq!(evidence::receiving_sockets(), queues, "queues receive");
    serving.stop();
}

fn rings_bulk(bed: &Bed) {
    let (near, far) = bed.both();
    let (mut near, mut far) = (table(near), table(far));
    let peer = accept(&mut near, false, move |to| {
        std::thread::spawn(move || {
            connect(&mut far, to);
            exchange(&mut far, From::Slots, 1, 2);
        })
    });
    exchange(&mut near, From::Slots, 2, 1);
    outlive(&mut near, peer, LONG);
}

fn kernel_connects(bed: &Bed, v6: bool) {
    let mut ring = table(bed.near());
    let peer = accept(&mut ring, v6, |to: SocketAddr| {
        bed.wire.peer_thread(move || {
            let peer = TcpStream::connect(to).expect("a connection");
            converse(peer, stream(1), LONG)
        })
    });
    finish(ring, From::Slots, peer);
}

fn kernel_accepts(bed: &Bed) {
    let mut ring = table(bed.near());
    let listener = bed.wire.peer_listener(PEER_V6);
    let to = listener.local_addr().expect("an address");
    let peer = std::thread::spawn(move || {
        let peer = listener.accept().expect("a connection").0;
        converse(peer, stream(1), LONG)
    });
    connect(&mut ring, to);
    finish(ring, From::Area, peer);
}

fn within_a_slot(bed: &Bed) {
    let mut ring = table(bed.near());
    let peer = accept(&mut ring, false, |to: SocketAddr| {
        bed.wire.peer_thread(move || {
            let peer = TcpStream::connect(to).expect("a connection");
            converse(peer, Vec::new(), LONG)
        })
    });
    let (copied, sent) = one_within_a_slot(&mut ring);
    // A segment that is sent again while the NIC has the first is copied too.
    assert!((1..5).contains(&copied), "{copied} sends were copied");
    assert_eq!(run(&mut ring, opcode::Close::new(CONNECTION).build()), 0);
    let at_peer = outlive(&mut ring, peer, LONG);
    assert!(at_peer == sent, "the kernel got other bytes");
}

fn finish(mut ring: IoUring, from: From, peer: std::thread::JoinHandle<Vec<u8>>) {
    exchange(&mut ring, from, 2, 1);
    let at_peer = outlive(&mut ring, peer, LONG);
    assert!(at_peer == stream(2), "the kernel got other bytes");
    let counters = ring.counters().expect("counters").stack;
    assert_eq!(counters.rx_bad_checksum + counters.rx_partial_checksum, 0);
}

fn table(ring: IoUring) -> IoUring {
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}
