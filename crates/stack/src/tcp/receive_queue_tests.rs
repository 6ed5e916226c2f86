use ringwire_umem::{Layout, Pool, Umem};

use super::*;
use crate::packet::Packet;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: 2048,
        rx_chunks: 16,
        header_chunks: 0,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

/// A payload in a frame of its own: bytes `at..at + len` of the stream, behind some headers.
fn payload(ledger: &mut Ledger, at: usize, len: usize) -> Payload {
    const HEADERS: usize = 54;
    let mut frame = ledger.alloc(Pool::Rx).unwrap();
    for (index, byte) in ledger.bytes_mut(&mut frame)[HEADERS..HEADERS + len]
        .iter_mut()
        .enumerate()
    {
        *byte = (at + index) as u8;
    }
    let addr = ledger.post_fill(frame, 0);
    let piece = ledger.claim(0, addr, (HEADERS + len) as u32).unwrap();
    Payload::Frames {
        packet: Packet::new(piece),
        start: HEADERS,
        len,
    }
}

fn read(queue: &mut ReceiveQueue, ledger: &mut Ledger, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    queue.for_each(ledger, len, &mut |part| bytes.extend_from_slice(part));
    queue.consume(&mut ReceiveSpares::default(), ledger, len);
    bytes
}

fn numbers(range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|number| number as u8).collect()
}

#[test]
fn bytes_are_read_in_order_in_any_portions() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    for at in [0, 100, 200] {
        let payload = payload(&mut ledger, at, 100);
        queue.push(&mut ReceiveSpares::default(), payload);
    }
    assert_eq!(read(&mut queue, &mut ledger, 30), numbers(0..30));
    assert_eq!(read(&mut queue, &mut ledger, 150), numbers(30..180));
    assert_eq!(
        ledger.free_chunks(Pool::Rx),
        14,
        "a frame that was read is free"
    );
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(180..300));
    assert_eq!((queue.len(), ledger.free_chunks(Pool::Rx)), (0, 16));
}

#[test]
fn what_came_early_follows_when_the_hole_is_filled() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    for at in [200, 100, 400] {
        let payload = payload(&mut ledger, at, 100);
        queue.insert(&mut ledger, SeqNumber(at as u32), payload);
    }
    assert_eq!(queue.len(), 0);
    let first = payload(&mut ledger, 0, 100);
    queue.push(&mut ReceiveSpares::default(), first);
    queue.advance(
        &mut ReceiveSpares::default(),
        &mut ledger,
        SeqNumber(300),
        SeqNumber(100),
    );
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(0..300));
    queue.clear(&mut ReceiveSpares::default(), &mut ledger);
    assert_eq!(ledger.free_chunks(Pool::Rx), 16);
}

#[test]
fn a_longer_segment_replaces_what_lies_inside_it() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    for at in [100, 150] {
        let payload = payload(&mut ledger, at, 50);
        queue.insert(&mut ledger, SeqNumber(at as u32), payload);
    }
    let longer = payload(&mut ledger, 50, 200);
    queue.insert(&mut ledger, SeqNumber(50), longer);
    assert_eq!(ledger.free_chunks(Pool::Rx), 15);
    let first = payload(&mut ledger, 0, 50);
    queue.push(&mut ReceiveSpares::default(), first);
    queue.advance(
        &mut ReceiveSpares::default(),
        &mut ledger,
        SeqNumber(250),
        SeqNumber(50),
    );
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(0..250));
}

#[test]
fn a_segment_in_order_makes_early_ones_needless() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    let early = payload(&mut ledger, 50, 50);
    queue.insert(&mut ledger, SeqNumber(50), early);
    let all = payload(&mut ledger, 0, 120);
    queue.push(&mut ReceiveSpares::default(), all);
    queue.advance(
        &mut ReceiveSpares::default(),
        &mut ledger,
        SeqNumber(120),
        SeqNumber(120),
    );
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(0..120));
    assert_eq!(ledger.free_chunks(Pool::Rx), 16);
}

#[test]
fn small_payloads_share_a_frame() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    let first = payload(&mut ledger, 0, 10);
    queue.push(&mut ReceiveSpares::default(), first);
    for at in 1..100 {
        let small = payload(&mut ledger, at * 10, 10);
        assert!(queue.append(&mut ledger, small).is_ok());
    }
    assert_eq!(ledger.free_chunks(Pool::Rx), 15);
    assert_eq!(read(&mut queue, &mut ledger, 5), numbers(0..5));
    assert_eq!(read(&mut queue, &mut ledger, 2000), numbers(5..1000));
}

#[test]
fn a_full_frame_takes_no_more() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    let first = payload(&mut ledger, 0, 1900);
    queue.push(&mut ReceiveSpares::default(), first);
    let more = payload(&mut ledger, 1900, 200);
    let refused = queue.append(&mut ledger, more).unwrap_err();
    assert_eq!(refused.len(), 200);
    queue.push(&mut ReceiveSpares::default(), refused);
    assert_eq!(read(&mut queue, &mut ledger, 3000), numbers(0..2100));
}

#[test]
fn memory_outside_of_frames_is_counted() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    let first = payload(&mut ledger, 0, 100).compact(&mut ledger);
    queue.push(&mut ReceiveSpares::default(), first);
    assert_eq!(
        (queue.heap_bytes(), ledger.free_chunks(Pool::Rx)),
        (100, 16)
    );
    let second = payload(&mut ledger, 100, 50);
    assert!(queue.append(&mut ledger, second).is_ok());
    assert_eq!(queue.heap_bytes(), 150);
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(0..150));
    assert_eq!(queue.heap_bytes(), 0);
}

#[test]
fn pruning_leaves_what_can_be_read() {
    let mut ledger = ledger();
    let mut queue = ReceiveQueue::default();
    let first = payload(&mut ledger, 0, 100);
    queue.push(&mut ReceiveSpares::default(), first);
    let early = payload(&mut ledger, 200, 100);
    queue.insert(&mut ledger, SeqNumber(200), early);
    assert_eq!(queue.prune(&mut ledger), 1);
    assert_eq!(read(&mut queue, &mut ledger, 1000), numbers(0..100));
    assert_eq!(ledger.free_chunks(Pool::Rx), 16);
}
