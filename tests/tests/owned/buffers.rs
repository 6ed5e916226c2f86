//! Groups of buffers, and the guards of what was received.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringwire::owned::{BufferGroup, Payload, ProvidedBuffer, Socket};
use ringwire_tests::net::{PEER_V4, RING_V4};

use crate::{Bed, PORT, errno};

pub const CASES: &[(&str, fn())] = &[
    ("datagrams_come_in_buffers_that_go_back", datagrams),
    (
        "a_message_longer_than_its_buffer_is_said_to_be",
        long_message,
    ),
    (
        "a_multishot_receive_ends_when_all_buffers_are_held",
        starved,
    ),
    ("a_received_buffer_is_sent_as_it_is", echo),
    ("a_buffer_outlives_its_groups_registration", unregistered),
    ("a_buffer_outlives_its_ring", ring_dropped),
    ("a_group_without_a_handle_goes_on", handle_dropped),
    ("a_group_of_another_ring_is_refused", foreign_group),
    ("a_group_that_is_gone_is_refused", removed_group),
    (
        "a_group_with_an_impossible_size_is_refused",
        impossible_group,
    ),
];

const BUFFER_BYTES: u32 = 100 + BufferGroup::MESSAGE_HEADER_BYTES;

fn send(bed: &Bed, text: &[u8]) {
    let client = bed.veth.peer_socket(PEER_V4);
    client.send_to(text, (RING_V4, PORT)).expect("sent");
}

/// A datagram socket that receives into a group of so many buffers, for `user_data` 1.
fn receiving(bed: &mut Bed, buffers: u16) -> (Socket, BufferGroup) {
    let socket = bed.socket(libc::SOCK_DGRAM);
    let group = bed
        .ring
        .buffer_group(buffers, BUFFER_BYTES)
        .expect("a group");
    let queued = bed.ring.recv_from_multishot(1, socket, &group);
    queued.expect("room");
    (socket, group)
}

/// The next datagram.
fn receive(bed: &mut Bed) -> ProvidedBuffer {
    let received = bed.next();
    assert!(received.more && received.address.is_some(), "{received:?}");
    match received.payload {
        Some(Payload::Provided(buffer)) => buffer,
        other => panic!("no buffer: {other:?}"),
    }
}

fn datagrams() {
    let mut bed = Bed::new();
    let _group = receiving(&mut bed, 2);
    for round in 0..10u8 {
        send(&bed, &[round; 30]);
        let buffer = receive(&mut bed);
        assert_eq!(&buffer[..], &[round; 30]);
    }
}

fn long_message() {
    let mut bed = Bed::new();
    let _group = receiving(&mut bed, 2);
    send(&bed, &[7; 101]);
    let received = bed.next();
    assert!(received.truncated);
    assert_eq!(received.payload.as_deref(), Some(&[7; 100][..]));
}

fn starved() {
    let mut bed = Bed::new();
    let (socket, group) = receiving(&mut bed, 2);
    let held: Vec<_> = (0..2u8)
        .map(|round| {
            send(&bed, &[round]);
            receive(&mut bed)
        })
        .collect();
    send(&bed, b"waits");
    let last = bed.next();
    assert_eq!((last.more, errno(&last)), (false, Some(libc::ENOBUFS)));
    assert_eq!((held[0][0], held[1][0]), (0, 1));
    drop(held);
    let queued = bed.ring.recv_from_multishot(1, socket, &group);
    queued.expect("room");
    assert_eq!(&receive(&mut bed)[..], b"waits");
}

fn echo() {
    let mut bed = Bed::new();
    let (socket, mut peer) = bed.connection();
    let group = bed.ring.buffer_group(1, 100).expect("a group");
    for round in 0..3u8 {
        peer.write_all(&[round; 10]).expect("the peer writes");
        bed.ring.recv_provided(1, socket, &group).expect("room");
        let received = bed.next().payload.expect("what came");
        assert!(matches!(received, Payload::Provided(_)) && received[0] == round);
        let len = received.len() as u32;
        bed.ring.send(2, socket, received, 0).expect("room");
        // The one buffer is free again when its send has completed.
        assert_eq!(bed.next().result.expect("sent"), len);
        assert!(len == 10, "so short a write comes in one segment");
    }
}

fn unregistered() {
    let mut bed = Bed::new();
    let (_, group) = receiving(&mut bed, 2);
    send(&bed, b"held");
    let held = receive(&mut bed);
    bed.ring
        .remove_buffer_group(group)
        .expect("it is registered");
    send(&bed, b"too late");
    assert_eq!(errno(&bed.next()), Some(libc::ENOBUFS));
    // Another group does not get the id, nor the memory.
    let _other = bed.ring.buffer_group(2, BUFFER_BYTES).expect("a group");
    assert_eq!(&held[..], b"held");
}

fn ring_dropped() {
    let mut bed = Bed::new();
    let (_, group) = receiving(&mut bed, 2);
    send(&bed, b"held");
    let held = receive(&mut bed);
    drop(bed);
    drop(group);
    assert_eq!(&held[..], b"held");
}

fn handle_dropped() {
    let mut bed = Bed::new();
    let (_, group) = receiving(&mut bed, 2);
    drop(group);
    for round in 0..4u8 {
        send(&bed, &[round; 30]);
        assert_eq!(&receive(&mut bed)[..], &[round; 30]);
    }
}

fn foreign_group() {
    let (mut one, mut other) = (Bed::new(), Bed::new());
    let socket = one.socket(libc::SOCK_DGRAM);
    let _own = one.ring.buffer_group(2, 100).expect("a group");
    let foreign = other.ring.buffer_group(2, 100).expect("a group");
    let refused = catch_unwind(AssertUnwindSafe(|| {
        one.ring.recv_multishot(1, socket, &foreign).map(drop)
    }));
    assert!(refused.is_err(), "it has the id of a group of its own");
}

fn removed_group() {
    let mut bed = Bed::new();
    let group = bed.ring.buffer_group(2, 100).expect("a group");
    // SAFETY: the group is not used any more.
    let removed = unsafe { bed.ring.io_uring() }
        .submitter()
        .unregister_buf_ring(0);
    removed.expect("it is registered");
    let error = bed.ring.remove_buffer_group(group).expect_err("it is gone");
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

fn impossible_group() {
    let mut bed = Bed::new();
    for (entries, bytes) in [(0, 1), (3, 1), (32_769, 1), (2, 0)] {
        let error = bed.ring.buffer_group(entries, bytes).expect_err("refused");
        assert_eq!(
            error.raw_os_error(),
            Some(libc::EINVAL),
            "{entries} {bytes}"
        );
    }
    bed.ring.buffer_group(32_768, 1).expect("the largest");
}
