//! The forms in which a zero-copy send is told of, over one ring: each promises that nothing reads the memory any
//! more, so it is written again at once, and the kernel's end looks at every byte.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use ringwire::msg_zerocopy::{ErrorMessage, RangeArray, ZeroCopyRange};
use ringwire::provided::{self, entry_addr};
use ringwire::slots::SendZc;
use ringwire::{Area, IoUring, cqueue, opcode, squeue, types};
use ringwire_abi::flags::IOU_PBUF_RING_MMAP;
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6};
use ringwire_tests::stream::{connect_socket, run, wait};

use crate::Check;
use crate::bed::{Bed, SLOT_BYTES, SLOTS};
use crate::bulk::{byte, verify};
use crate::lending::GROUP;

pub const CHECKS: &[Check] = &[("what is sent without a copy is told of", told)];

/// A form: sends these pieces of registered memory on a socket, which is a stream or not, and returns when it was
/// told that nothing needs them. A piece is what fits into a packet with its headers in front.
type Form = fn(&mut IoUring, (types::Fixed, bool), &[&[u8]]);

const FORMS: &[(&str, Form)] = &[
    ("by a notification slot", by_slot),
    ("by provided registered buffers", by_provided),
    ("by the error queue", by_error_queue),
    ("inline", inline),
];

/// Pieces of a round, and rounds of each form on each socket.
const PIECES: usize = 16;
const ROUNDS: usize = 4;

/// The kernel's end of a socket.
enum Peer {
    Datagrams(UdpSocket),
    Stream(TcpStream),
}

impl Peer {
    /// The next piece: a datagram, or so many bytes of a stream.
    fn next(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len + 1];
        match self {
            Peer::Datagrams(socket) => {
                let len = socket.recv(&mut bytes).expect("a datagram");
                bytes.truncate(len);
            }
            Peer::Stream(stream) => {
                bytes.truncate(len);
                stream.read_exact(&mut bytes).expect("the stream goes on");
            }
        }
        bytes
    }
}

fn told(bed: &Bed) {
    let mut ring = bed.near();
    ring.submitter().register_files_sparse(8).expect("a table");
    let mut slots = ring.take_slots(SLOTS).expect("the slots");
    let mut peers = connected(bed, &mut ring);
    for &(name, form) in FORMS {
        let before = described(&ring);
        for (socket, peer) in &mut peers {
            for round in 0..ROUNDS {
                let pieces = &mut slots[..PIECES];
                fill(pieces, round as u8);
                let memory: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
                let stream = matches!(peer, Peer::Stream(_));
                form(&mut ring, (*socket, stream), &memory);
                // What came late would come from memory that has changed.
                fill(pieces, !(round as u8));
                for index in 0..PIECES {
                    let came = peer.next(SLOT_BYTES);
                    assert_eq!(came.len(), SLOT_BYTES);
                    verify(&came, round as u8, index * SLOT_BYTES);
                }
            }
        }
        let (in_place, copied) = described(&ring);
        let packets = (peers.len() * ROUNDS * PIECES) as u64;
        assert_eq!(copied, before.1, "{name}: some was copied");
        assert!(in_place - before.0 >= packets, "{name}: {in_place} packets");
    }
}

/// The payload of a round.
fn fill(pieces: &mut [Area], seed: u8) {
    for (index, piece) in pieces.iter_mut().enumerate() {
        for (at, to) in piece[..SLOT_BYTES].iter_mut().enumerate() {
            *to = byte(seed, index * SLOT_BYTES + at);
        }
    }
}

/// How many packets went out from where their payload lies, and how many were copied.
fn described(ring: &IoUring) -> (u64, u64) {
    let stack = ring.counters().expect("counters").stack;
    let copied = stack.tx_copied_pieces
        + stack.tx_copied_small
        + stack.tx_copied_neighbour
        + stack.tx_copied_headroom
        + stack.tcp_tx_copied;
    (stack.tx_in_place, copied)
}

/// A socket of each kind and family, with the kernel's end.
fn connected(bed: &Bed, ring: &mut IoUring) -> Vec<(types::Fixed, Peer)> {
    let mut peers = Vec::new();
    for address in [PEER_V4, PEER_V6] {
        let peer = bed.wire.peer_socket(address);
        let to = peer.local_addr().expect("an address");
        let socket = connect(ring, peers.len(), libc::SOCK_DGRAM, to);
        peers.push((socket, Peer::Datagrams(peer)));
        let listener: TcpListener = bed.wire.peer_listener(address);
        let to = listener.local_addr().expect("an address");
        let socket = connect(ring, peers.len(), libc::SOCK_STREAM, to);
        let (peer, _) = listener.accept().expect("a connection");
        peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        peers.push((socket, Peer::Stream(peer)));
    }
    peers
}

fn connect(ring: &mut IoUring, index: usize, kind: i32, to: SocketAddr) -> types::Fixed {
    let socket = types::Fixed(index as u32);
    let domain = if to.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    };
    let slot = types::DestinationSlot::try_from_slot_target(socket.0).expect("a small slot");
    let open = opcode::Socket::new(domain, kind, 0).file_index(Some(slot));
    assert_eq!(run(ring, open.build()), 0);
    connect_socket(ring, socket, to);
    socket
}

/// Silent sends, of which the last flushes the slot: the notification is the only completion.
fn by_slot(ring: &mut IoUring, (socket, _): (types::Fixed, bool), pieces: &[&[u8]]) {
    const TAG: u64 = 0xfeed;
    ring.submitter().register_slots(&[TAG]).expect("a slot");
    for (index, piece) in pieces.iter().enumerate() {
        let send = SendZc::new(socket, 0, piece.as_ptr(), piece.len() as u32);
        let send = send
            .flags(libc::MSG_WAITALL)
            .flush(index + 1 == pieces.len());
        push(ring, send.build().flags(squeue::Flags::SKIP_SUCCESS));
    }
    assert!(wait(ring, PATIENCE), "no notification");
    let completions: Vec<_> = ring.completion().collect();
    let [cqe] = &completions[..] else {
        panic!("one notification: {completions:?}")
    };
    assert_eq!((cqe.user_data(), cqe.result(), cqe.flags()), (TAG, 0, 0));
    ring.submitter().unregister_slots().expect("slots");
}

/// A buffer group whose entries name the pieces in a registered buffer: on a stream a bundle of them all with one
/// notification, and each a datagram with its own. No notification tells of a copy.
fn by_provided(ring: &mut IoUring, (socket, stream): (types::Fixed, bool), pieces: &[&[u8]]) {
    provide(ring, pieces);
    let send = provided::send_zc(socket, PROVIDED, 0).report_usage();
    let requests = if stream { 1 } else { pieces.len() };
    let entry = if stream { send.bundle() } else { send }.build();
    for _ in 0..requests {
        push(ring, entry.clone());
    }
    let (mut sent, mut notifications) = (0, 0);
    while notifications < requests {
        assert!(wait(ring, PATIENCE), "{notifications} notifications came");
        for cqe in ring.completion() {
            let bid = cqueue::buffer_select(cqe.flags());
            if cqueue::notif(cqe.flags()) {
                assert_eq!(cqe.result(), 0, "a copy");
                assert!(!stream || bid == Some(0), "the first id");
                notifications += 1;
            } else {
                assert!(cqueue::more(cqe.flags()) && bid.is_some(), "{cqe:?}");
                sent += usize::try_from(cqe.result()).expect("bytes");
            }
        }
    }
    assert_eq!(sent, pieces.iter().map(|piece| piece.len()).sum());
    ring.submitter()
        .unregister_buf_ring(PROVIDED)
        .expect("the group");
    ring.submitter().unregister_buffers().expect("the buffer");
}

/// The group that holds the pieces.
const PROVIDED: u16 = GROUP + 1;

/// Registers the memory that the pieces lie in, and a group with an entry for each.
fn provide(ring: &IoUring, pieces: &[&[u8]]) {
    let begin = pieces[0].as_ptr() as usize;
    let offset = |piece: &[u8]| piece.as_ptr() as usize - begin;
    let last = pieces[pieces.len() - 1];
    let memory = libc::iovec {
        iov_base: begin as *mut libc::c_void,
        iov_len: offset(last) + last.len(),
    };
    let submitter = ring.submitter();
    // SAFETY: both are gone again before the pieces; the group's memory is the ring's own.
    let registered = unsafe {
        submitter.register_buffers(&[memory]).expect("a buffer");
        let entries = PIECES as u16;
        submitter.register_buf_ring_with_flags(0, entries, PROVIDED, IOU_PBUF_RING_MMAP)
    };
    registered.expect("a group");
    let entries = submitter.buf_ring_memory(PROVIDED).expect("its entries");
    for (bid, piece) in pieces.iter().enumerate() {
        // SAFETY: so many entries are in the group, whose memory is there until it is unregistered.
        let entry = unsafe { &mut *entries.add(bid) };
        entry.set_addr(entry_addr(0, offset(piece) as u64));
        entry.set_len(piece.len() as u32);
        entry.set_bid(bid as u16);
    }
    // SAFETY: as above; the other side reads the tail atomically.
    let tail = unsafe { &*types::BufRingEntry::tail(entries).cast::<AtomicU16>() };
    tail.store(pieces.len() as u16, Ordering::Release);
}

/// MSG_ZEROCOPY, silently: the numbers of the sends come out of the socket's error queue.
fn by_error_queue(ring: &mut IoUring, (socket, _): (types::Fixed, bool), pieces: &[&[u8]]) {
    number(ring, socket);
    send_numbered(ring, socket, pieces);
    take_numbers(ring, socket, pieces.len() as u32);
}

/// The same, and as soon as there is a range it comes back with the last send; what ends later is in the queue.
fn inline(ring: &mut IoUring, (socket, _): (types::Fixed, bool), pieces: &[&[u8]]) {
    number(ring, socket);
    let (last, others) = pieces.split_last().expect("pieces");
    send_numbered(ring, socket, others);
    let poll = opcode::PollAdd::new(socket, libc::POLLERR as u32).build();
    assert_eq!(run(ring, poll), i32::from(libc::POLLERR));
    let mut part = libc::iovec {
        iov_base: last.as_ptr().cast_mut().cast(),
        iov_len: last.len(),
    };
    let mut header = empty_message();
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    let mut array = RangeArray::<4>::new();
    array.attach(&mut header);
    let flags = (libc::MSG_ZEROCOPY | libc::MSG_WAITALL) as u32;
    let send = opcode::SendMsg::new(socket, &raw const header).flags(flags);
    assert_eq!(run(ring, send.build()), last.len() as i32);
    let inline: u32 = array.taken(&header).iter().map(numbers).sum();
    assert!(inline > 0, "the poll has seen one");
    take_numbers(ring, socket, pieces.len() as u32 - inline);
}

/// Has a socket number its zero-copy sends.
fn number(ring: &mut IoUring, socket: types::Fixed) {
    let on = 1i32;
    let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
    let option = opcode::SetSockOpt::new(socket, level, name, (&raw const on).cast(), 4);
    assert_eq!(run(ring, option.build()), 0);
}

fn send_numbered(ring: &mut IoUring, socket: types::Fixed, pieces: &[&[u8]]) {
    for piece in pieces {
        let send = opcode::Send::new(socket, piece.as_ptr(), piece.len() as u32);
        let send = send.flags(libc::MSG_ZEROCOPY | libc::MSG_WAITALL).build();
        push(ring, send.flags(squeue::Flags::SKIP_SUCCESS));
    }
}

/// Receives from the error queue until so many sends were told of.
fn take_numbers(ring: &mut IoUring, socket: types::Fixed, mut left: u32) {
    while left > 0 {
        let (mut header, mut error) = (empty_message(), ErrorMessage::new());
        error.attach(&mut header);
        let flags = libc::MSG_ERRQUEUE as u32;
        let receive = opcode::RecvMsg::new(socket, &raw mut header).flags(flags);
        assert_eq!(run(ring, receive.build()), 0);
        left -= numbers(&error.range(&header).expect("a notification"));
    }
}

/// How many sends a range tells of, none of which was copied.
fn numbers(range: &ZeroCopyRange) -> u32 {
    assert_eq!(range.zerocopy, 1, "{range:?} was copied");
    range.hi - range.lo + 1
}

fn empty_message() -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr.
    unsafe { std::mem::zeroed() }
}

fn push(ring: &mut IoUring, entry: squeue::Entry) {
    // SAFETY: the forms return when nothing needs the memory any more, and have no other.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
}
