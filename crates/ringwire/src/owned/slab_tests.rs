//! The slab over plain memory. The engine's part is played by the module that follows pointers for it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use io_uring::cqueue;
use ringwire_abi::cqe::{self, pack_buffer};
use ringwire_abi::flags::{IORING_CQE_F_MORE, IORING_CQE_F_NOTIF};
use ringwire_abi::sqe::Sqe;

use super::*;
use crate::owned::address;
use crate::owned::group::{Group, Memory};
use crate::owned::payload::{Payload, Socket};
use crate::usermem::{self, BufferRing, Message, RawAddress, Span};

const SOCKET: Socket = Socket(3);

fn insert(slab: &mut Slab, user_data: u64, request: Request) -> Sqe {
    let (operation, entry) = slab.insert(user_data, request);
    let sqe = Sqe::from_entry(&entry);
    assert_eq!(sqe.user_data, operation.0);
    sqe
}

fn send(payload: impl Into<Payload>, to: Option<SocketAddr>, zero_copy: bool) -> Request {
    Request::Send {
        socket: SOCKET,
        payload: payload.into(),
        flags: 0,
        to,
        zero_copy,
    }
}

fn receive(room: BytesMut) -> Request {
    Request::Receive {
        socket: SOCKET,
        room,
        flags: 0,
    }
}

fn payload_span(sqe: &Sqe) -> Span {
    Span {
        addr: sqe.addr,
        len: sqe.len as usize,
    }
}

fn read(span: Span) -> Vec<u8> {
    let mut bytes = vec![0; span.len];
    usermem::read(span, &mut bytes).expect("memory");
    bytes
}

fn cqe(user_data: u64, res: i32, flags: u32) -> cqueue::Entry {
    let [first, second] = cqe::words(user_data, res, flags);
    cqe::entry([first, second, 0, 0])
}

fn complete(slab: &mut Slab, sqe: &Sqe, res: i32, flags: u32) -> Completed {
    slab.complete(&cqe(sqe.user_data, res, flags))
}

fn room_of(completed: Completed) -> BytesMut {
    let payload = completed.payload.expect("the room comes back");
    payload.into_bytes_mut().expect("as it was given")
}

/// Bytes that say when they are freed.
struct Watched(&'static [u8], Rc<Cell<bool>>);

// SAFETY: these tests use it in one thread.
unsafe impl Send for Watched {}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.set(true);
    }
}

#[test]
fn what_is_sent_stays_where_it_is_until_the_completion() {
    let mut slab = Slab::default();
    let to: SocketAddr = "[fd00::2]:7".parse().unwrap();
    let sqe = insert(&mut slab, 70, send(b"payload".to_vec(), Some(to), false));
    // The slab's places move when there are more of them.
    let others: Vec<Sqe> = (0..100)
        .map(|count| insert(&mut slab, count, Request::Nop))
        .collect();
    assert_eq!(read(payload_span(&sqe)), b"payload");
    let name = RawAddress::read(sqe.addr2(), sqe.addr_len().into()).expect("an address");
    assert_eq!(address::decode(name.bytes()), Some(to));
    let completed = complete(&mut slab, &sqe, 7, 0);
    assert_eq!((completed.user_data, completed.result.unwrap()), (70, 7));
    assert_eq!(completed.payload.as_deref(), Some(&b"payload"[..]));
    for other in &others {
        complete(&mut slab, other, 0, 0);
    }
    assert_eq!(slab.len(), 0);
}

#[test]
fn a_receive_appends_to_its_room() {
    let mut slab = Slab::default();
    let mut room = BytesMut::with_capacity(64);
    room.extend_from_slice(b"before ");
    let sqe = insert(&mut slab, 1, receive(room));
    assert_eq!(sqe.len, 64 - 7);
    usermem::write(payload_span(&sqe), b"behind").expect("room");
    let room = room_of(complete(&mut slab, &sqe, 6, 0));
    assert_eq!(&room[..], b"before behind");
}

#[test]
fn a_receive_that_fails_gives_its_room_back_as_it_was() {
    let mut slab = Slab::default();
    let mut room = BytesMut::with_capacity(64);
    room.extend_from_slice(b"before");
    let sqe = insert(&mut slab, 1, receive(room));
    let completed = complete(&mut slab, &sqe, -libc::ECANCELED, 0);
    let error = completed.result.as_ref().expect_err("cancelled");
    assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
    assert_eq!(&room_of(completed)[..], b"before");
}

#[test]
fn a_received_message_says_who_sent_it_and_whether_it_was_cut() {
    let mut slab = Slab::default();
    let request = Request::ReceiveFrom {
        socket: SOCKET,
        room: BytesMut::with_capacity(4),
    };
    let sqe = insert(&mut slab, 1, request);
    let message = Message::read(sqe.addr, false, vec![]).expect("a message");
    let from: SocketAddr = "10.0.0.2:7".parse().unwrap();
    let (name, name_len) = address::encode(from);
    usermem::write(message.name, &name[..name_len as usize]).expect("room for a name");
    usermem::write(message.buffers[0], b"datagram").expect("room");
    message
        .write_back(name_len, 0, libc::MSG_TRUNC)
        .expect("a header");
    let completed = complete(&mut slab, &sqe, 4, 0);
    assert_eq!(completed.address, Some(from));
    assert!(completed.truncated);
    assert_eq!(&room_of(completed)[..], b"data");
}

#[test]
fn an_accepted_connection_says_who_connected() {
    let mut slab = Slab::default();
    let sqe = insert(&mut slab, 1, Request::Accept(SOCKET));
    let from: SocketAddr = "[fd00::9]:50000".parse().unwrap();
    let (name, len) = address::encode(from);
    usermem::write_address(sqe.addr, sqe.addr2(), &name[..len as usize]).expect("room");
    let completed = complete(&mut slab, &sqe, 5, 0);
    assert_eq!(completed.address, Some(from));
    assert_eq!(completed.socket().expect("a socket"), Socket(5));
}

#[test]
fn a_zero_copy_send_keeps_its_payload_until_the_notification() {
    let mut slab = Slab::default();
    let sqe = insert(&mut slab, 1, send(b"payload".to_vec(), None, true));
    let completed = complete(&mut slab, &sqe, 7, IORING_CQE_F_MORE);
    assert_eq!(completed.result.unwrap(), 7);
    assert!(completed.more && completed.payload.is_none());
    assert_eq!(read(payload_span(&sqe)), b"payload");
    // IORING_NOTIF_USAGE_ZC_COPIED is the sign bit.
    let completed = complete(&mut slab, &sqe, i32::MIN, IORING_CQE_F_NOTIF);
    assert_eq!(completed.result.unwrap(), 0);
    assert_eq!(completed.payload.as_deref(), Some(&b"payload"[..]));
}

#[test]
fn a_multishot_receive_brings_a_buffer_with_each_completion() {
    let mut slab = Slab::default();
    let group = Memory::new(0, 2, 100);
    // SAFETY: the group outlives what is read of it here.
    let ring = unsafe { BufferRing::new(group.ring_address(), 2) };
    let sqe = insert(
        &mut slab,
        1,
        Request::ReceiveFromMultishot(SOCKET, Group::Own(Rc::clone(&group))),
    );
    let from: SocketAddr = "10.0.0.2:7".parse().unwrap();
    let (name, name_len) = address::encode(from);
    for (head, text) in [(0, &b"one"[..]), (1, &b"another"[..])] {
        let (addr, len, bid) = ring.entry(head);
        let mut bytes = vec![0; 16 + 28];
        bytes[..4].copy_from_slice(&name_len.to_ne_bytes());
        bytes[12..16].copy_from_slice(&libc::MSG_TRUNC.to_ne_bytes());
        bytes[16..16 + name.len()].copy_from_slice(&name);
        bytes.extend_from_slice(text);
        let len = len as usize;
        let stored = usermem::write(Span { addr, len }, &bytes).expect("a buffer");
        let flags = IORING_CQE_F_MORE | pack_buffer(bid);
        let completed = complete(&mut slab, &sqe, stored as i32, flags);
        assert_eq!(completed.payload.as_deref(), Some(text));
        assert_eq!(completed.address, Some(from));
        assert!(completed.more && completed.truncated);
    }
    assert_eq!(ring.tail(), 4, "both buffers are provided again");
    let completed = complete(&mut slab, &sqe, -libc::ENOBUFS, 0);
    assert!(!completed.more && completed.payload.is_none());
    assert_eq!(slab.len(), 0);
}

#[test]
fn a_message_that_does_not_fill_its_header_is_an_empty_one() {
    let mut slab = Slab::default();
    let group = Memory::new(0, 1, 100);
    let request = Request::ReceiveFromMultishot(SOCKET, Group::Own(group));
    let sqe = insert(&mut slab, 1, request);
    let completed = complete(&mut slab, &sqe, 7, pack_buffer(0));
    assert_eq!(completed.payload.as_deref(), Some(&b""[..]));
    assert_eq!(completed.address, None);
}

#[test]
#[should_panic(expected = "not in flight")]
fn a_completion_of_the_operation_before_is_not_taken_for_this_one() {
    let mut slab = Slab::default();
    let first = insert(&mut slab, 1, Request::Nop);
    complete(&mut slab, &first, 0, 0);
    let second = insert(&mut slab, 2, Request::Nop);
    assert_eq!(first.user_data as u32, second.user_data as u32, "one place");
    complete(&mut slab, &first, 0, 0);
}

#[test]
#[should_panic(expected = "not in flight")]
fn a_second_last_completion_is_not_taken() {
    let mut slab = Slab::default();
    let sqe = insert(&mut slab, 1, Request::Nop);
    complete(&mut slab, &sqe, 0, 0);
    slab.complete(&cqe(1 << 32, 0, 0));
}

#[test]
#[should_panic(expected = "not in flight")]
fn a_completion_of_a_place_that_never_was_is_not_taken() {
    let mut slab = Slab::default();
    insert(&mut slab, 1, Request::Nop);
    slab.complete(&cqe(1, 0, 0));
}

#[test]
#[should_panic(expected = "than there was room for")]
fn more_than_the_room_is_not_believed() {
    let mut slab = Slab::default();
    let sqe = insert(&mut slab, 1, receive(BytesMut::with_capacity(64)));
    complete(&mut slab, &sqe, 65, 0);
}

#[test]
fn places_are_used_again() {
    let mut slab = Slab::default();
    for count in 0..1000 {
        let sqe = insert(&mut slab, count, Request::Nop);
        assert_eq!(complete(&mut slab, &sqe, 0, 0).user_data, count);
    }
    assert_eq!(slab.places.len(), 1);
}

#[test]
fn a_generation_never_reaches_the_bit_of_raw_entries() {
    let mut slab = Slab::default();
    let sqe = insert(&mut slab, 1, Request::Nop);
    complete(&mut slab, &sqe, 0, 0);
    slab.places[0].generation = GENERATIONS;
    let sqe = insert(&mut slab, 1, Request::Nop);
    assert_eq!(sqe.user_data & RAW, 0);
    complete(&mut slab, &sqe, 0, 0);
    let sqe = insert(&mut slab, 1, Request::Nop);
    assert_eq!(sqe.user_data >> 32, 0);
}

#[test]
fn a_dropped_slab_frees_what_is_in_flight() {
    let freed = Rc::new(Cell::new(false));
    let mut slab = Slab::default();
    let watched = Watched(b"payload", Rc::clone(&freed));
    let sqe = insert(&mut slab, 1, send(Bytes::from_owner(watched), None, false));
    assert_eq!(read(payload_span(&sqe)), b"payload");
    assert!(!freed.get());
    drop(slab);
    assert!(freed.get());
}
