use crate::layout::{AreaLayout, Layout, Pool};
use crate::ledger::{AddressError, Ledger, Owner};
use crate::memory::Umem;

const CHUNK: u64 = 4096;
/// Where the registered area begins.
const AREA: u64 = 8 * CHUNK;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 4,
        header_chunks: 2,
        send_chunks: 2,
        lend_reserve_chunks: 0,
        areas: vec![AreaLayout::Plain(CHUNK as usize)],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

/// What was freed by taking back all but these.
fn reclaim(ledger: &mut Ledger, kept: &[Vec<u64>]) -> Vec<u32> {
    let mut freed = Vec::new();
    ledger.reclaim(kept, |chunk| freed.push(chunk));
    freed
}

fn post_fill(ledger: &mut Ledger, queue: u16) -> u64 {
    let frame = ledger.alloc(Pool::Rx).unwrap();
    ledger.post_fill(frame, queue)
}

#[test]
fn a_queues_filled_chunks_are_found() {
    let mut ledger = ledger();
    let first = post_fill(&mut ledger, 0);
    let other = post_fill(&mut ledger, 1);
    let second = post_fill(&mut ledger, 0);
    let piece = ledger.claim(0, first, 60).unwrap();
    assert_eq!(ledger.filled(0).collect::<Vec<_>>(), [second]);
    assert_eq!(ledger.filled(1).collect::<Vec<_>>(), [other]);
    ledger.release(piece.frame);
}

#[test]
fn what_was_in_fill_rings_returns_to_its_pool() {
    let mut ledger = ledger();
    let addr = post_fill(&mut ledger, 0);
    post_fill(&mut ledger, 1);
    reclaim(&mut ledger, &[]);
    assert_eq!(ledger.free_chunks(Pool::Rx), 4);
    assert!(
        matches!(
            ledger.claim(0, addr, 60),
            Err(AddressError::NotYours { .. })
        ),
        "the old ring's word counts no more"
    );
}

#[test]
fn chunks_that_a_new_socket_begins_with_stay_in_its_fill_ring() {
    let mut ledger = ledger();
    let kept = post_fill(&mut ledger, 0);
    let lost = post_fill(&mut ledger, 0);
    reclaim(&mut ledger, &[vec![kept]]);
    assert_eq!(ledger.free_chunks(Pool::Rx), 3);
    let piece = ledger.claim(0, kept, 60).unwrap();
    assert!(ledger.claim(0, lost, 60).is_err());
    ledger.release(piece.frame);
}

#[test]
#[should_panic(expected = "is not in fill ring 1")]
fn a_new_socket_cannot_begin_with_another_queues_chunks() {
    let mut ledger = ledger();
    let addr = post_fill(&mut ledger, 0);
    reclaim(&mut ledger, &[vec![], vec![addr]]);
}

#[test]
fn a_packet_that_only_the_nic_had_is_freed_and_told() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Send).unwrap();
    let chunk = frame.chunk();
    ledger.post_tx(&frame, 0, 60);
    ledger.post_tx(&frame, 0, 60);
    ledger.release(frame);
    assert_eq!(reclaim(&mut ledger, &[]), [chunk]);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
    assert_eq!(ledger.census().descriptors_in_flight, 0);
}

#[test]
fn what_the_stack_holds_stays_the_stacks_without_descriptors() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Header).unwrap();
    let addr = ledger.post_tx(&frame, 0, 60);
    assert_eq!(reclaim(&mut ledger, &[]), []);
    assert_eq!(ledger.in_flight(&frame), 0);
    assert_eq!(ledger.owner(frame.chunk()), Some(Owner::Stack));
    assert_eq!(
        ledger.tx_done(0, addr),
        Err(AddressError::NotInFlight(addr)),
        "a descriptor comes back once"
    );
    ledger.release(frame);
}

#[test]
fn a_loan_whose_descriptors_are_taken_back_is_repaid_once() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    // SAFETY: nothing writes to it in this test.
    let mut borrowed = unsafe { ledger.borrow(loan, AREA, 100) }.unwrap();
    let addr = ledger.post_borrowed(0, &mut borrowed, (0, 50), 0);
    ledger.post_borrowed(1, &mut borrowed, (50, 50), 0);
    ledger.repay(borrowed);
    ledger.end_loan(loan);
    assert_eq!(ledger.next_repaid(), None, "descriptors are in flight");
    reclaim(&mut ledger, &[]);
    assert_eq!(ledger.next_repaid().map(|repaid| repaid.loan), Some(loan));
    assert_eq!(ledger.next_repaid(), None);
    assert!(ledger.tx_done(0, addr).is_err());
}

#[test]
fn a_lent_frame_that_was_given_back_while_it_was_sent_returns_to_its_pool() {
    let mut ledger = ledger();
    let addr = post_fill(&mut ledger, 0);
    let piece = ledger.claim(0, addr, 100).unwrap();
    let chunk = piece.frame.chunk();
    ledger.lend(piece.frame, piece.start);
    let loan = ledger.begin_loan();
    // SAFETY: nothing writes to it in this test.
    let mut borrowed = unsafe { ledger.borrow(loan, addr, 100) }.unwrap();
    ledger.post_borrowed(0, &mut borrowed, (0, 100), 0);
    ledger.repay(borrowed);
    ledger.end_loan(loan);
    ledger.give_back(addr).unwrap();
    assert_ne!(ledger.owner(chunk), Some(Owner::Free), "the NIC reads it");
    assert_eq!(reclaim(&mut ledger, &[]), [chunk]);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn what_is_sent_again_while_no_socket_is_open_does_not_take_the_first_descriptors_place() {
    let mut ledger = ledger();
    let lend = |ledger: &mut Ledger| {
        let loan = ledger.begin_loan();
        // SAFETY: nothing writes to it in this test.
        let mut borrowed = unsafe { ledger.borrow(loan, AREA, 100) }.unwrap();
        let addr = ledger.post_borrowed(0, &mut borrowed, (0, 100), 0);
        ledger.repay(borrowed);
        ledger.end_loan(loan);
        (loan, addr)
    };
    let (first, addr) = lend(&mut ledger);
    ledger.abandon();
    let (second, same) = lend(&mut ledger);
    assert_eq!(addr, same);
    ledger.tx_done(0, addr).unwrap();
    assert_eq!(ledger.next_repaid().map(|repaid| repaid.loan), Some(second));
    assert_eq!(ledger.next_repaid(), None, "the NIC may read the first");
    reclaim(&mut ledger, &[]);
    assert_eq!(ledger.next_repaid().map(|repaid| repaid.loan), Some(first));
}
