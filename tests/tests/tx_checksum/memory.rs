//! Zero-copy sends: what can have room in front of it is sent from where it lies.

use std::io::Read;
use std::net::TcpStream;

use ringwire::{cqueue, opcode, types};
use ringwire_tests::stream::{CONNECTION, accept, connect_socket, outlive, pattern, run, wait};

use super::*;

pub const CASES: &[(&str, fn())] = &[
    ("a_slot_is_sent_from_where_it_lies", slots),
    (
        "memory_behind_a_chunks_beginning_is_sent_from_where_it_lies",
        inside,
    ),
    (
        "memory_at_a_chunks_beginning_is_copied_and_counted",
        at_the_beginning,
    ),
    ("a_stream_from_slots_and_from_a_row_arrives", stream),
];

/// `IORING_SEND_ZC_REPORT_USAGE`, and what a notification then says of a payload that was copied.
const REPORT_USAGE: u16 = 8;
const COPIED: i32 = i32::MIN;

/// Two areas: in a row, and slots.
fn with_memory() -> Builder {
    let mut builder = builder();
    builder
        .registered_area(1 << 20)
        .registered_slots(16, 1440)
        .scatter_from(0);
    builder
}

/// A zero-copy send; whether its notification says that it was copied.
fn send(ring: &mut IoUring, socket: types::Fixed, bytes: &[u8]) -> bool {
    let entry = opcode::SendZc::new(socket, bytes.as_ptr(), bytes.len() as u32)
        .zc_flags(REPORT_USAGE)
        .flags(libc::MSG_WAITALL)
        .build();
    // SAFETY: the bytes are a registered area's, and stay as they are until the notification.
    unsafe { ring.submission().push(&entry) }.expect("room in the queue");
    let start = Instant::now();
    let mut completions = Vec::new();
    while completions.len() < 2 {
        assert!(start.elapsed() < 4 * PATIENCE, "{completions:?}");
        wait(ring, Duration::from_millis(50));
        completions.extend(ring.completion());
    }
    assert_eq!(completions[0].result(), bytes.len() as i32);
    assert!(cqueue::notif(completions[1].flags()));
    completions[1].result() == COPIED
}

/// Sends these bytes of the row as a datagram; whether they were copied.
fn datagram(place: std::ops::Range<usize>) -> (bool, ringwire::Counters, bool) {
    let veth = Veth::new(1, 1500, false);
    veth.ring_offloads_off();
    veth.peer_verifies();
    let mut ring = build(&veth, &with_memory());
    let mut row = ring.take_area(0).expect("an area");
    let peer = veth.peer_socket(PEER_V4);
    open(&mut ring, false);
    connect_socket(&mut ring, SOCKET, peer.local_addr().expect("an address"));
    let bytes = pattern(6, place.len());
    row[place.clone()].copy_from_slice(&bytes);
    let copied = send(&mut ring, SOCKET, &row[place.clone()]);
    assert!(receive(&mut ring, &peer) == bytes, "at {}", place.start);
    let offers = offers(&ring.report().expect("a report"));
    (copied, ring.counters().expect("counters"), offers)
}

fn inside() {
    for at in [32, 1000, 4096 + 32, 8192 - 1000] {
        let (copied, counters, offers) = datagram(at..at + 1000);
        assert!(!copied, "at {at}");
        assert_eq!(counters.stack.tx_scattered, 1);
        assert_eq!(counters.stack.tx_offloaded, u64::from(offers));
    }
}

fn at_the_beginning() {
    // In front of the first byte there is no room, nor behind the end of a chunk.
    for at in [0, 31, 4096, 4096 - 500] {
        let (copied, counters, offers) = datagram(at..at + 1000);
        assert_eq!(copied, offers, "at {at}");
        assert_eq!(counters.stack.tx_copied_headroom, u64::from(offers));
        assert_eq!(counters.stack.tx_offloaded, u64::from(offers));
    }
}

fn slots() {
    let veth = Veth::new(1, 1500, false);
    veth.ring_offloads_off();
    veth.peer_verifies();
    let mut ring = build(&veth, &with_memory());
    let mut slots = ring.take_slots(1).expect("slots");
    let peer = veth.peer_socket(PEER_V4);
    open(&mut ring, false);
    connect_socket(&mut ring, SOCKET, peer.local_addr().expect("an address"));
    for (number, slot) in slots.iter_mut().enumerate() {
        let bytes = pattern(number as u8, 1400);
        slot[..1400].copy_from_slice(&bytes);
        assert!(!send(&mut ring, SOCKET, &slot[..1400]), "slot {number}");
        assert!(receive(&mut ring, &peer) == bytes, "slot {number}");
    }
    let stack = ring.counters().expect("counters").stack;
    assert_eq!(stack.tx_in_place, 16);
    if offers(&ring.report().expect("a report")) {
        assert_eq!(stack.tx_offloaded, 16);
    }
}

fn stream() {
    for v6 in [false, true] {
        let veth = Veth::new(1, 1500, false);
        veth.ring_offloads_off();
        veth.peer_verifies();
        let mut ring = build(&veth, with_memory().rx_checksum(RxChecksum::AcceptPartial));
        let mut row = ring.take_area(0).expect("an area");
        let mut slots = ring.take_slots(1).expect("slots");
        let peer = accept(&mut ring, v6, |to| {
            veth.peer_thread(move || {
                let mut stream = TcpStream::connect(to).expect("a connection");
                let mut bytes = Vec::new();
                stream.read_to_end(&mut bytes).expect("the peer reads");
                bytes
            })
        });
        let mut wanted = pattern(8, row.len());
        row.copy_from_slice(&wanted);
        send(&mut ring, CONNECTION, &row);
        for (number, slot) in slots.iter_mut().enumerate() {
            slot[..1400].copy_from_slice(&pattern(number as u8, 1400));
            assert!(!send(&mut ring, CONNECTION, &slot[..1400]), "slot {number}");
            wanted.extend(&slot[..1400]);
        }
        assert_eq!(run(&mut ring, opcode::Close::new(CONNECTION).build()), 0);
        let received = outlive(&mut ring, peer, 4 * PATIENCE);
        assert!(received == wanted, "what came is not what was sent");
        let stack = ring.counters().expect("counters").stack;
        assert!(
            stack.tx_in_place >= 16 && stack.tx_scattered > 300,
            "{stack:?}"
        );
        if offers(&ring.report().expect("a report")) {
            assert_eq!(stack.tx_offloaded, stack.tcp_tx_segments);
            assert!(stack.tx_copied_headroom > 200, "{stack:?}");
        }
    }
}
