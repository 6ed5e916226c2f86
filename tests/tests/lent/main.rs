//! Lent buffer groups by raw entries, over veth: ids in a buffer ring, and the kernel as peer.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use ringwire::types::{self, BufRingEntry, RecvMsgOut};
use ringwire::{IOU_PBUF_RING_LENT, IoUring, LentBuffers, RxChecksum, cqueue, opcode, squeue};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::{self, CONNECTION, PORT, accept, pattern};

const GROUP: u16 = 5;
const ENTRIES: u16 = 16;
/// `IOU_PBUF_RING_MMAP`.
const MMAP: u16 = 1;
const DATAGRAMS: types::Fixed = types::Fixed(0);

/// A group in memory of the ring's own.
struct Group {
    memory: *mut BufRingEntry,
    tail: u16,
    lent: LentBuffers,
}

impl Group {
    /// With all its ids in it.
    fn new(ring: &IoUring) -> Group {
        let submitter = ring.submitter();
        let flags = IOU_PBUF_RING_LENT | MMAP;
        // SAFETY: the memory is the ring's own.
        let registered =
            unsafe { submitter.register_buf_ring_with_flags(0, ENTRIES, GROUP, flags) };
        registered.expect("a group");
        let mut group = Group {
            memory: submitter.buf_ring_memory(GROUP).expect("its memory"),
            tail: 0,
            lent: submitter.lent_buffers(GROUP).expect("what it lends"),
        };
        (0..ENTRIES).for_each(|bid| group.add(bid));
        group
    }

    /// Adds an id: what was lent under it goes back.
    fn add(&mut self, bid: u16) {
        // SAFETY: the memory is there while the group is registered, which the tests leave it; the tail is
        // written behind the entry, and with release.
        unsafe {
            let entry = self.memory.add(usize::from(self.tail % ENTRIES));
            (*entry).set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.memory).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }

    fn bytes(&self, bid: u16) -> &[u8] {
        // SAFETY: the tests use the slice before they add the id.
        unsafe { self.lent.get(bid) }.expect("something is lent")
    }
}

fn ring(veth: &Veth, sqpoll: bool) -> IoUring {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .detect_duplicates(false);
    if sqpoll {
        builder.setup_sqpoll(100);
    }
    let ring = veth.in_ring(|| builder.build(64)).expect("a ring");
    ring.submitter().register_files_sparse(8).expect("a table");
    ring
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: what the tests' entries point at lives as long as their ring.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}

/// The next completion: its result, and its flags.
fn next(ring: &mut IoUring) -> (i32, u32) {
    let start = Instant::now();
    loop {
        if let Some(cqe) = ring.completion().next() {
            return (cqe.result(), cqe.flags());
        }
        assert!(start.elapsed() < PATIENCE, "no completion");
        stream::wait(ring, Duration::from_millis(100));
    }
}

/// A pair, a ring with a connection from the peer, and the group.
fn connected() -> (Veth, IoUring, Group, TcpStream) {
    let veth = Veth::new(1, 1500, false);
    veth.peer_offloads_off();
    let mut ring = stream::ring(&veth, RxChecksum::Verify);
    let peer = accept(&mut ring, false, |to| {
        veth.peer_thread(move || TcpStream::connect(to).expect("a connection"))
    });
    let peer = peer.join().expect("the peer's thread");
    peer.set_nodelay(true).expect("an option");
    let group = Group::new(&ring);
    (veth, ring, group, peer)
}

fn recv(limit: u32, flags: i32) -> squeue::Entry {
    let recv = opcode::Recv::new(CONNECTION, std::ptr::null_mut(), limit)
        .flags(flags)
        .buf_group(GROUP);
    recv.build().flags(squeue::Flags::BUFFER_SELECT)
}

fn bid(flags: u32) -> u16 {
    cqueue::buffer_select(flags).expect("an id")
}

fn bad_bids(ring: &IoUring) -> u64 {
    ring.counters().expect("counters").engine.bad_lent_bids
}

fn more_of_a_frame() {
    let (_veth, mut ring, mut group, mut peer) = connected();
    let sent = pattern(1, 1200);
    for round in 1..=40u64 {
        peer.write_all(&sent).expect("the peer writes");
        let mut id = None;
        for (count, len, more) in [(500, 500, true), (1000, 500, true), (1200, 200, false)] {
            push(&mut ring, recv(500, 0));
            let (res, flags) = next(&mut ring);
            assert_eq!((res, cqueue::buffer_more(flags)), (len, more));
            assert_eq!(*id.get_or_insert(bid(flags)), bid(flags));
            assert!(group.bytes(bid(flags)) == &sent[..count]);
            if more {
                // Too early: it is no credit, and the frame stays.
                group.add(bid(flags));
            }
        }
        group.add(id.expect("it was received"));
        push(&mut ring, opcode::Nop::new().build());
        assert_eq!(next(&mut ring), (0, 0));
        assert_eq!(bad_bids(&ring), 2 * round);
    }
}

fn guards_of_one_frame() {
    let (_veth, mut ring, mut group, mut peer) = connected();
    let sent = pattern(2, 1200);
    peer.write_all(&sent).expect("the peer writes");
    let mut guards = Vec::new();
    for _ in 0..3 {
        push(&mut ring, recv(500, 0));
        let (res, flags) = next(&mut ring);
        let guard = group.lent.take(bid(flags), res as usize);
        guards.push(guard.expect("what was received"));
    }
    group.add(0);
    let all: Vec<u8> = guards.iter().flat_map(|guard| guard.to_vec()).collect();
    assert!(all == sent);
    let of_a_thread = std::thread::spawn(move || drop(guards));
    of_a_thread.join().expect("another thread");
    peer.write_all(b"next").expect("the peer writes");
    push(&mut ring, recv(0, 0));
    assert_eq!(next(&mut ring).0, 4);
    assert_eq!(bad_bids(&ring), 0);
}

fn rest_read_elsewhere() {
    let (_veth, mut ring, mut group, mut peer) = connected();
    let sent = pattern(3, 1200);
    peer.write_all(&sent).expect("the peer writes");
    push(&mut ring, recv(500, 0));
    let (res, flags) = next(&mut ring);
    assert!(res == 500 && cqueue::buffer_more(flags));
    let mut rest = vec![0u8; 1000];
    let copy = opcode::Recv::new(CONNECTION, rest.as_mut_ptr(), 1000).build();
    push(&mut ring, copy);
    assert_eq!(next(&mut ring).0, 700);
    assert!(rest[..700] == sent[500..] && group.bytes(bid(flags)) == &sent[..500]);
    // Nothing more comes under the id, so it is credit again.
    group.add(bid(flags));
    peer.write_all(b"next").expect("the peer writes");
    push(&mut ring, recv(0, 0));
    assert_eq!(next(&mut ring).0, 4);
    assert_eq!(bad_bids(&ring), 0);
}

/// Waits until so many bytes can be read.
fn await_bytes(ring: &mut IoUring, bytes: i32) {
    let start = Instant::now();
    loop {
        let asked = ringwire::command::queued_in(CONNECTION);
        push(ring, asked);
        if next(ring).0 >= bytes {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "the peer's bytes do not come");
        stream::wait(ring, Duration::from_millis(1));
    }
}

fn bundles() {
    let (_veth, mut ring, mut group, mut peer) = connected();
    let sent = pattern(4, 10_000);
    let mut last = 0;
    for _ in 0..5 {
        peer.write_all(&sent).expect("the peer writes");
        await_bytes(&mut ring, 10_000);
        let bundle = opcode::RecvBundle::new(CONNECTION, GROUP).build();
        push(&mut ring, bundle);
        let (res, flags) = next(&mut ring);
        assert_eq!((res, cqueue::buffer_more(flags)), (10_000, false));
        assert_eq!(bid(flags), last);
        let mut received = Vec::new();
        while received.len() < 10_000 {
            received.extend_from_slice(group.bytes(last));
            group.add(last);
            last = (last + 1) % ENTRIES;
        }
        assert!(received == sent);
    }
    assert_eq!(bad_bids(&ring), 0);
}

fn messages_of_streams() {
    let (_veth, mut ring, _group, mut peer) = connected();
    peer.write_all(b"bytes").expect("the peer writes");
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    let multishot = opcode::RecvMsgMulti::new(CONNECTION, &raw const header, GROUP);
    push(&mut ring, multishot.build());
    assert_eq!(next(&mut ring), (-libc::EINVAL, 0));
    let single = opcode::RecvMsg::new(CONNECTION, &raw mut header).buf_group(GROUP);
    push(
        &mut ring,
        single.build().flags(squeue::Flags::BUFFER_SELECT),
    );
    assert_eq!(next(&mut ring).0, 5);
}

/// Messages with their headers in front, each longer than a chunk.
fn long_messages(sqpoll: bool) {
    let veth = Veth::new(1, 9000, false);
    veth.peer_offloads_off();
    let mut ring = ring(&veth, sqpoll);
    let mut group = Group::new(&ring);
    let target = types::DestinationSlot::try_from_slot_target(DATAGRAMS.0).expect("a small slot");
    let socket = opcode::Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, 0).file_index(Some(target));
    push(&mut ring, socket.build());
    assert_eq!(next(&mut ring).0, 0);
    let mut name = [0u8; 28];
    name[0] = libc::AF_INET6 as u8;
    name[2..4].copy_from_slice(&PORT.to_be_bytes());
    let bind = opcode::Bind::new(DATAGRAMS, name.as_ptr().cast(), 28);
    push(&mut ring, bind.build());
    assert_eq!(next(&mut ring).0, 0);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 28;
    let multishot = opcode::RecvMsgMulti::new(DATAGRAMS, &raw const header, GROUP);
    push(&mut ring, multishot.build());
    let mut due = 0;
    for round in 0..20usize {
        let (peer, own) = [(PEER_V4, RING_V4), (PEER_V6, RING_V6)][round % 2];
        let client = veth.peer_socket(peer);
        let sent = pattern(round as u8, 8000);
        client.send_to(&sent, (own, PORT)).expect("sent");
        let (res, flags) = next(&mut ring);
        assert_eq!((res, bid(flags)), (16 + 28 + 8000, due));
        assert!(cqueue::more(flags));
        let first = group.bytes(due);
        let mut left = res as usize - first.len();
        let message = RecvMsgOut::parse(first, &header).expect("a message");
        let port = client.local_addr().expect("an address").port();
        assert_eq!(message.name_data()[2..4], port.to_be_bytes());
        assert_eq!(message.incoming_payload_len(), 8000);
        let mut received = message.payload_data().to_vec();
        loop {
            group.add(due);
            due = (due + 1) % ENTRIES;
            if left == 0 {
                break;
            }
            received.extend_from_slice(group.bytes(due));
            left -= group.bytes(due).len();
        }
        assert!(received == sent);
    }
    let counters = ring.counters().expect("counters");
    assert_eq!(counters.stack.lend_copied_bytes, 0);
    assert_eq!(counters.engine.bad_lent_bids, 0);
}

fn main() {
    let trials = vec![
        privileged(
            "a_frame_that_a_limit_cuts_comes_again_under_its_id",
            more_of_a_frame,
        ),
        privileged(
            "each_part_of_a_frame_can_have_its_guard",
            guards_of_one_frame,
        ),
        privileged(
            "a_rest_that_was_read_elsewhere_does_not_come",
            rest_read_elsewhere,
        ),
        privileged("a_bundle_lends_several_chunks", bundles),
        privileged("a_stream_has_no_multishot_messages", messages_of_streams),
        privileged("long_messages_begin_with_their_headers", || {
            long_messages(false)
        }),
        privileged("a_polling_thread_lends_to_the_application", || {
            long_messages(true)
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
