//! Something runs out: buffers, completion queue, send chunks, receive chunks.

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use ringwire::{RxChecksum, cqueue, opcode};
use ringwire_tests::net::{PATIENCE, RING_V4, Veth};

use crate::rig::{Buffers, Message, Rig, TEST, TEST_PORT, builder, numbered};

const MULTI: u64 = 1;

fn arm(rig: &mut Rig) {
    let entry = opcode::RecvMulti::new(TEST, Buffers::GROUP).build();
    rig.push(&entry.user_data(MULTI));
}

fn flood(peer: &UdpSocket, numbers: std::ops::Range<u32>, len: usize) {
    for number in numbers {
        peer.send_to(&numbered(number, len), (RING_V4, TEST_PORT))
            .expect("a datagram");
    }
}

/// Enters without looking at the completion queue until so many datagrams have reached a socket.
fn await_datagrams(rig: &Rig, count: u64) {
    let end = Instant::now() + PATIENCE;
    while rig.counters().stack.rx_datagrams < count {
        assert!(Instant::now() < end, "datagrams missing: {:?}", rig.counters().stack);
        rig.ring.submit().expect("a turn");
    }
}

/// With no buffer left the multishot receive ends with ENOBUFS, and no datagram is lost.
pub fn buffers_run_out() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut rig = Rig::new(&veth, &builder(), 16);
    rig.exchange(&peer);
    let mut buffers = Buffers::register(&rig, 4);
    arm(&mut rig);
    flood(&peer, 0..10, 100);
    let mut next = 0;
    let mut starved = 0;
    let mut held = Vec::new();
    while next < 10 {
        let done = rig.next();
        assert_eq!(done.user_data, MULTI);
        if done.res >= 0 {
            let (number, bid) = buffers.number(&done);
            assert_eq!(number, next, "in order");
            next += 1;
            held.push(bid);
            continue;
        }
        assert_eq!(done.res, -libc::ENOBUFS);
        assert!(!cqueue::more(done.flags), "an error ends the multishot");
        assert_eq!(held.len(), 4, "every buffer was used first");
        starved += 1;
        held.drain(..).for_each(|bid| buffers.provide(bid));
        arm(&mut rig);
    }
    assert_eq!(starved, 2, "4 + 4 + 2 datagrams");
    drop(rig);
}

/// A full completion queue ends the multishot with data in its last completion; nothing is lost.
pub fn completions_run_out() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut rig = Rig::new(&veth, builder().setup_cqsize(4), 4);
    rig.exchange(&peer);
    let before = rig.counters().stack.rx_datagrams;
    let buffers = Buffers::register(&rig, 64);
    arm(&mut rig);
    flood(&peer, 0..50, 100);
    await_datagrams(&rig, before + 50);
    let mut ended = 0;
    for expected in 0..50 {
        let done = rig.next();
        let (number, _) = buffers.number(&done);
        assert_eq!(number, expected, "in order");
        if !cqueue::more(done.flags) {
            ended += 1;
            arm(&mut rig);
        }
    }
    assert!(ended > 0, "50 datagrams do not fit 4 entries");
    drop(rig);
}

/// More sends than the TX ring and the send chunks hold: each completes, each arrives.
pub fn send_chunks_run_out() {
    const SENDS: u32 = 5000;
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    receive_buffer(&peer, 64 << 20);
    let mut rig = Rig::new(&veth, builder().send_chunks(256), 512);
    rig.exchange(&peer);
    let SocketAddr::V4(to) = peer.local_addr().expect("an address") else {
        panic!("an IPv4 peer");
    };
    let arrived = std::thread::scope(|scope| {
        let counting = scope.spawn(|| count(&peer, SENDS));
        send_all(&mut rig, to, SENDS);
        while !counting.is_finished() {
            rig.serve(Duration::from_millis(5));
        }
        counting.join().expect("the counting thread")
    });
    assert_eq!(arrived, SENDS, "{:?}", rig.counters());
}

fn send_all(rig: &mut Rig, to: SocketAddrV4, sends: u32) {
    let mut messages: Vec<Box<Message>> =
        (0..sends).map(|number| Message::to(to, numbered(number, 1400))).collect();
    let mut completed = 0;
    for batch in messages.chunks_mut(500) {
        for message in batch.iter_mut() {
            rig.push(&message.send(TEST).user_data(MULTI));
        }
        for _ in 0..batch.len() {
            assert_eq!(rig.next().res, 1400, "send {completed}");
            completed += 1;
        }
    }
}

/// How many different datagrams of so many arrive before nothing more does.
fn count(peer: &UdpSocket, most: u32) -> u32 {
    let mut seen = vec![false; most as usize];
    let mut buffer = [0; 2048];
    let mut count = 0;
    while count < most {
        let Ok(len) = peer.recv(&mut buffer) else { break };
        assert_eq!(len, 1400);
        let number = u32::from_be_bytes(buffer[..4].try_into().expect("four bytes")) as usize;
        assert!(!seen[number], "datagram {number} came twice");
        seen[number] = true;
        count += 1;
    }
    count
}

fn receive_buffer(socket: &UdpSocket, bytes: libc::c_int) {
    // SAFETY: the option's value is readable for its length.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as u32,
        )
    };
    assert_eq!(set, 0, "a larger receive buffer");
}

/// A socket that nobody reads does not keep the receive chunks from one that somebody does.
pub fn receive_chunks_run_out() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut rig = Rig::new(&veth, builder().rx_chunks(64), 16);
    rig.exchange(&peer);
    for round in 0..100 {
        flood(&peer, round * 20..round * 20 + 20, 1400);
        rig.ring.submit().expect("a turn");
    }
    for _ in 0..20 {
        rig.exchange(&peer);
    }
    let stack = rig.counters().stack;
    assert!(
        stack.rx_compacted + stack.rx_queue_full > 0,
        "the flood held no chunk: {stack:?}"
    );
}

/// A kernel peer on the same machine leaves checksums undone: dropped, counted, and the cure said;
/// or accepted, if so asked.
pub fn partial_checksums() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut rig = Rig::new(&veth, builder().rx_checksum(RxChecksum::Verify), 16);
    flood(&peer, 0..1, 100);
    let end = Instant::now() + PATIENCE;
    while rig.counters().stack.rx_partial_checksum == 0 {
        assert!(Instant::now() < end, "not counted: {:?}", rig.counters().stack);
        rig.serve(Duration::from_millis(5));
    }
    let counters = rig.counters();
    assert_eq!(counters.stack.rx_datagrams, 0, "the datagram was dropped");
    assert!(counters.to_string().contains("ethtool -K"), "{counters}");
    drop(rig);

    let mut rig = Rig::new(&veth, builder().rx_checksum(RxChecksum::AcceptPartial), 16);
    rig.exchange(&peer);
    let stack = rig.counters().stack;
    assert_eq!(stack.rx_partial_checksum, 0);
    assert!(stack.rx_partial_accepted > 0);
}
