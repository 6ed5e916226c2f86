use ringwire_umem::{Layout, Pool, Umem};

use super::*;

const MSS: usize = 100;
const FIRST: SeqNumber = SeqNumber(u32::MAX - 150);

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: 2048,
        rx_chunks: 1,
        header_chunks: 0,
        send_chunks: 8,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

/// Cells of these lengths, two in a chunk; byte `n` of the stream is `n`.
fn queue(ledger: &mut Ledger, lens: &[usize]) -> SendQueue {
    let mut queue = SendQueue::default();
    queue.reserve(&mut SendSpares::default(), lens.len(), 2);
    let mut at = 0;
    for &len in lens {
        if queue.has_spare_cell(2048) {
            queue.add_cell(FIRST + at, 1448);
        } else {
            let frame = ledger.alloc(Pool::Send).unwrap();
            queue.add_chunk(frame, 1024, FIRST + at, 1448);
        }
        write(&mut queue, ledger, at, len);
        at += len as u32;
    }
    queue
}

fn write(queue: &mut SendQueue, ledger: &Ledger, at: u32, len: usize) {
    queue.write(ledger, len, TxChecksum::Compute, &mut |part| {
        for (index, byte) in part.iter_mut().enumerate() {
            *byte = (at as usize + index) as u8;
        }
    });
}

fn bytes(queue: &mut SendQueue, ledger: &Ledger, at: u32, len: u32) -> Vec<u8> {
    let (place, frame) = queue.take(FIRST + at, len);
    let start = place.start as usize;
    ledger.bytes(frame)[start..start + len as usize].to_vec()
}

#[test]
fn bytes_are_found_by_number_across_the_wrap() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[100, 100, 50]);
    assert_eq!(queue.chunks(), 2);
    for at in [0, 99, 100, 150, 200, 249] {
        assert_eq!(bytes(&mut queue, &ledger, at, 1), [at as u8], "byte {at}");
    }
    assert_eq!(
        queue.contiguous(&ledger, PlanLimits::SCATTER, 1500, FIRST + 30),
        70
    );
    assert_eq!(
        queue.contiguous(&ledger, PlanLimits::SCATTER, 1500, FIRST + 249),
        1
    );
    assert_eq!(
        queue.contiguous(&ledger, PlanLimits::SCATTER, 1500, FIRST + 250),
        0
    );
    queue.clear(&mut SendSpares::default(), &mut ledger);
}

#[test]
fn only_a_cell_that_was_not_sent_is_filled_up() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[40]);
    assert_eq!(queue.tail_room(MSS), 60);
    write(&mut queue, &ledger, 40, 60);
    assert_eq!(queue.tail_room(MSS), 0);
    assert_eq!(
        bytes(&mut queue, &ledger, 0, 100),
        (0..100).collect::<Vec<u8>>()
    );
    queue.clear(&mut SendSpares::default(), &mut ledger);
    let mut queue = self::queue(&mut ledger, &[40]);
    queue.take(FIRST, 40);
    assert_eq!(queue.tail_room(MSS), 0, "it was sent");
    queue.clear(&mut SendSpares::default(), &mut ledger);
}

#[test]
fn the_sum_of_a_whole_cell_is_known() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[33]);
    write(&mut queue, &ledger, 33, 20);
    let (whole, _) = queue.take(FIRST, 53);
    let mut sum = Checksum::new();
    sum.add(&(0..53).collect::<Vec<u8>>());
    assert_eq!(whole.sum.map(Checksum::fold), Some(sum.fold()));
    let (part, _) = queue.take(FIRST + 1, 10);
    assert!(part.sum.is_none() && !part.first);
    queue.clear(&mut SendSpares::default(), &mut ledger);
}

#[test]
fn a_cell_is_fresh_once() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[100]);
    assert!(queue.take(FIRST, 100).0.fresh);
    assert!(!queue.take(FIRST, 100).0.fresh);
    queue.clear(&mut SendSpares::default(), &mut ledger);
}

#[test]
fn a_chunk_goes_when_both_its_cells_are_acknowledged() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[100, 100, 100]);
    let free = ledger.free_chunks(Pool::Send);
    queue.acknowledged(FIRST + 100, &mut SendSpares::default(), &mut ledger);
    assert_eq!(ledger.free_chunks(Pool::Send), free);
    queue.acknowledged(FIRST + 250, &mut SendSpares::default(), &mut ledger);
    assert_eq!(ledger.free_chunks(Pool::Send), free + 1);
    assert_eq!(
        queue.contiguous(&ledger, PlanLimits::SCATTER, 1500, FIRST + 250),
        50,
        "a cell goes as a whole"
    );
    queue.acknowledged(FIRST + 300, &mut SendSpares::default(), &mut ledger);
    assert_eq!(
        (queue.chunks(), ledger.free_chunks(Pool::Send)),
        (0, free + 2)
    );
}

#[test]
#[should_panic(expected = "across two cells")]
fn no_segment_spans_two_cells() {
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[100, 100]);
    queue.take(FIRST + 50, 100);
}

#[test]
fn cells_of_one_chunk_do_not_overlap_when_segments_become_shorter() {
    // The path was found to take less: three cells would fit into a chunk that two were meant for.
    let mut ledger = ledger();
    let mut queue = queue(&mut ledger, &[1024 - HEADROOM]);
    let room = queue.tail_room(400);
    assert_eq!(room, 0);
    assert!(queue.has_spare_cell(2048));
    assert_eq!(queue.add_cell(FIRST + 896, 400), 400);
    assert_eq!(queue.tail_room(400), 400);
    write(&mut queue, &ledger, 896, 400);
    assert!(!queue.has_spare_cell(2048));
    let first: Vec<u8> = (0..896).map(|at| at as u8).collect();
    assert_eq!(bytes(&mut queue, &ledger, 0, 896), first);
    queue.clear(&mut SendSpares::default(), &mut ledger);
}
