use std::sync::Arc;

use super::*;
use crate::layout::{AreaLayout, Layout, Pool};
use crate::lend::Lent;
use crate::memory::Umem;

const CHUNK: u64 = 4096;
/// Where the plain area begins, and the one with slots.
const PLAIN: u64 = 6 * CHUNK;
const SLOTS: u64 = 9 * CHUNK;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 4,
        header_chunks: 1,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![
            AreaLayout::Plain(10_000),
            AreaLayout::Slots {
                count: 3,
                payload_bytes: 1460,
            },
        ],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

fn borrow(ledger: &mut Ledger, loan: LoanId, addr: u64, len: u32) -> Borrowed {
    // SAFETY: nothing writes to it in these tests.
    unsafe { ledger.borrow(loan, addr, len) }.unwrap()
}

#[test]
fn a_loan_is_repaid_when_request_stack_and_nic_have_let_go() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    let addr = ledger.post_borrowed(0, &mut borrowed, (0, 100), 0);
    ledger.end_loan(loan);
    ledger.repay(borrowed);
    assert_eq!(ledger.next_repaid(), None, "the NIC reads it");
    ledger.tx_done(0, addr).unwrap();
    let repaid = Repaid {
        loan,
        uncopied: true,
    };
    assert_eq!(ledger.next_repaid(), Some(repaid));
    assert_eq!(ledger.next_repaid(), None);
}

#[test]
fn a_loan_of_which_nothing_was_described_counts_as_copied() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    ledger.end_loan(loan);
    assert!(!ledger.next_repaid().unwrap().uncopied);
}

#[test]
fn a_part_that_was_copied_makes_the_loan_copied() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    let addr = ledger.post_borrowed(0, &mut borrowed, (0, 50), 0);
    ledger.note_copied(loan);
    ledger.repay(borrowed);
    ledger.tx_done(0, addr).unwrap();
    ledger.end_loan(loan);
    assert!(!ledger.next_repaid().unwrap().uncopied);
}

#[test]
fn a_descriptor_comes_back_once_and_on_its_queue() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    let addr = ledger.post_borrowed(1, &mut borrowed, (0, 100), 0);
    let unknown = Err(AddressError::NotInFlight(addr));
    assert_eq!(ledger.tx_done(0, addr), unknown);
    assert_eq!(ledger.tx_done(7, addr), unknown);
    ledger.tx_done(1, addr).unwrap();
    assert_eq!(ledger.tx_done(1, addr), unknown);
    assert!(ledger.tx_done(1, addr + 1).is_err(), "a foreign address");
    ledger.repay(borrowed);
    ledger.end_loan(loan);
    assert!(ledger.next_repaid().is_some());
}

#[test]
fn of_two_descriptors_with_one_address_the_first_comes_back_first() {
    let mut ledger = ledger();
    let loans = [(); 2].map(|()| ledger.begin_loan());
    let mut borrowed = loans.map(|loan| borrow(&mut ledger, loan, PLAIN, 100));
    let addr = ledger.post_borrowed(0, &mut borrowed[0], (0, 100), 0);
    assert_eq!(ledger.post_borrowed(0, &mut borrowed[1], (0, 10), 0), addr);
    borrowed.into_iter().for_each(|it| ledger.repay(it));
    loans.into_iter().for_each(|loan| ledger.end_loan(loan));
    ledger.tx_done(0, addr).unwrap();
    assert_eq!(ledger.next_repaid().unwrap().loan, loans[0]);
    assert_eq!(ledger.next_repaid(), None);
    ledger.tx_done(0, addr).unwrap();
    assert_eq!(ledger.next_repaid().unwrap().loan, loans[1]);
}

#[test]
fn memory_is_borrowed_where_it_is_the_applications_in_one_piece() {
    let ledger = ledger();
    assert!(ledger.is_lendable(PLAIN, 10_000), "across chunks");
    assert!(ledger.is_lendable(SLOTS + 128, 1460));
    let half = CHUNK / 2;
    assert!(ledger.is_lendable(SLOTS + half + 200, 1000));
    for (addr, len, why) in [
        (0, 1, "an RX chunk that is not lent"),
        (5 * CHUNK, 1, "a send chunk"),
        (PLAIN + 3 * CHUNK - 1, 2, "two areas"),
        (SLOTS + 127, 1, "headroom"),
        (SLOTS + 128, 2000, "two slots"),
        (SLOTS + half + 64, 100, "headroom of the second slot"),
        (11 * CHUNK - 1, 2, "beyond the end"),
        (u64::MAX, 1, "nowhere"),
        (PLAIN, u32::MAX, "more than there is"),
    ] {
        assert!(!ledger.is_lendable(addr, len), "{why}");
    }
}

#[test]
fn behind_the_slots_of_a_chunk_nothing_is_lent() {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 1,
        header_chunks: 0,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![AreaLayout::Slots {
            count: 12,
            payload_bytes: 192,
        }],
    };
    assert_eq!(layout.slot(192), (320, 12), "256 bytes are left of a chunk");
    let ledger = Ledger::new(Umem::new(layout).unwrap());
    let area = 2 * CHUNK;
    assert!(ledger.is_lendable(area + 11 * 320 + 128, 192));
    let behind = area + 12 * 320 + 128;
    assert!(!ledger.is_lendable(behind, 1), "no slot");
    assert!(!ledger.is_lendable(behind, 192), "beyond the UMEM");
}

#[test]
fn no_length_is_taken_for_a_smaller_one() {
    let mut ledger = ledger();
    assert!(!ledger.is_lendable(SLOTS + 128, u32::MAX));
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let addr = ledger.lend(frame, 300);
    assert!(ledger.is_lendable(addr, CHUNK as u32 - 300));
    assert!(!ledger.is_lendable(addr, CHUNK as u32 - 299));
    assert!(!ledger.is_lendable(addr, u32::MAX));
    ledger.give_back(addr).unwrap();
}

#[test]
fn an_area_that_nobody_writes_to_is_borrowed_as_it_was_left() {
    let mut ledger = ledger();
    let mut area = ledger.umem().take_area(0).unwrap();
    area[5_000..5_003].copy_from_slice(b"abc");
    let area = area.freeze();
    let loan = ledger.begin_loan();
    let borrowed = ledger.borrow_frozen(loan, &area, (5_000, 3));
    assert_eq!(borrowed.bytes(ledger.umem()), b"abc");
    ledger.repay(borrowed);
}

#[test]
#[should_panic(expected = "no part of an area of this UMEM")]
fn an_area_of_another_umem_is_not_borrowed() {
    let [mut ledger, other] = [(); 2].map(|()| ledger());
    let area = other.umem().take_area(0).unwrap().freeze();
    let loan = ledger.begin_loan();
    let _ = ledger.borrow_frozen(loan, &area, (0, 1));
}

#[test]
fn nothing_takes_no_descriptor() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let borrowed = borrow(&mut ledger, loan, PLAIN, 0);
    assert_eq!(borrowed.descriptors(&ledger), 0);
    ledger.repay(borrowed);
}

#[test]
#[should_panic(expected = "a loan ends once")]
fn a_loan_that_parts_of_are_out_ends_once() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let _borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    ledger.end_loan(loan);
    ledger.end_loan(loan);
}

#[test]
#[should_panic(expected = "of another UMEM")]
fn what_is_borrowed_is_repaid_where_it_was_borrowed() {
    let [mut ledger, mut other] = [(); 2].map(|()| ledger());
    let loan = ledger.begin_loan();
    assert_eq!(other.begin_loan(), loan, "the same number");
    let borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    other.repay(borrowed);
}

#[test]
fn of_an_area_only_what_is_described_can_be_looked_at() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut borrowed = borrow(&mut ledger, loan, PLAIN + 100, 100);
    let addr = ledger.post_borrowed(0, &mut borrowed, (0, 100), 0);
    assert_eq!(ledger.described(addr, 100).map(<[u8]>::len), Ok(100));
    assert!(ledger.described(addr - 1, 2).is_err());
    assert!(ledger.described(addr + 50, 51).is_err());
    ledger.repay(borrowed);
}

#[test]
fn loans_are_repaid_in_the_order_in_which_they_end() {
    let mut ledger = ledger();
    let loans = [(); 3].map(|()| ledger.begin_loan());
    for loan in loans {
        ledger.end_loan(loan);
    }
    let repaid = loans.map(|_| ledger.next_repaid().unwrap().loan);
    assert_eq!(repaid, loans);
}

#[test]
#[should_panic(expected = "part of the frame is lent")]
fn a_frame_of_which_a_part_is_lent_is_not_written_to() {
    let mut ledger = ledger();
    let mut frame = ledger.alloc(Pool::Rx).unwrap();
    ledger.lend_part(&frame, 300);
    let _ = ledger.bytes_mut(&mut frame);
}

#[test]
fn headers_go_in_front_of_a_slot_unless_the_nic_reads_those_before() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut first = borrow(&mut ledger, loan, SLOTS + 128, 1000);
    let second = borrow(&mut ledger, loan, SLOTS + CHUNK / 2 + 128, 1000);
    assert_eq!(ledger.headroom(&first), HEADROOM);
    let rest = ledger.share(&first, 1, 10);
    assert_eq!(ledger.headroom(&rest), 0, "payload lies in front");
    ledger.headroom_mut(&mut first, 54).fill(1);
    let addr = ledger.post_borrowed(0, &mut first, (0, 1000), 54);
    assert_eq!(addr, SLOTS + 128 - 54);
    assert_eq!(ledger.described(addr, 54), Ok(&[1; 54][..]));
    assert_eq!(ledger.headroom(&first), 0, "in flight");
    assert_eq!(ledger.headroom(&second), HEADROOM, "another slot");
    ledger.tx_done(0, addr).unwrap();
    assert_eq!(ledger.headroom(&first), HEADROOM);
    for borrowed in [first, second, rest] {
        ledger.repay(borrowed);
    }
}

#[test]
fn headers_are_written_and_described_at_once_where_there_is_room() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let [mut first, mut second] = [(); 2].map(|()| borrow(&mut ledger, loan, SLOTS + 128, 1000));
    let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&[[8; 32], [9; 32]].concat());
    assert_eq!(ledger.post_behind(0, &mut first, 900, (97, 32), fill), None);
    let addr = ledger.post_behind(0, &mut first, 900, (32, 32), fill);
    assert_eq!(addr, Some(SLOTS + 96));
    assert_eq!(ledger.described(SLOTS + 96, 32), Ok(&[9; 32][..]));
    assert!(ledger.described(SLOTS + 96, 32 + 900).is_ok());
    assert!(ledger.described(SLOTS + 96, 32 + 901).is_err());
    let untouched = |_: &mut [u8]| panic!("the NIC reads there");
    let taken = ledger.post_behind(0, &mut second, 1000, (0, 32), untouched);
    assert_eq!(taken, None);
    ledger.repay(first);
    assert_eq!(ledger.headroom(&second), 0, "the descriptor has it");
    ledger.tx_done(0, SLOTS + 96).unwrap();
    assert_eq!(ledger.headroom(&second), HEADROOM);
    ledger.repay(second);
}

#[test]
fn headers_that_were_written_and_not_sent_may_be_written_anew() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let mut slot = borrow(&mut ledger, loan, SLOTS + 128, 1000);
    ledger.headroom_mut(&mut slot, 54).fill(1);
    let addr = ledger.post_behind(0, &mut slot, 1000, (0, 54), |bytes| bytes.fill(2));
    ledger.repay(slot);
    let addr = addr.expect("they are its own");
    assert_eq!(ledger.described(addr, 54), Ok(&[2; 54][..]));
    ledger.tx_done(0, addr).unwrap();
}

#[test]
fn headers_that_were_not_sent_let_the_headroom_go() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let [mut first, second] = [(); 2].map(|()| borrow(&mut ledger, loan, SLOTS + 128, 1000));
    ledger.headroom_mut(&mut first, 54).fill(0);
    assert_eq!(ledger.headroom(&first), HEADROOM, "they are its own");
    assert_eq!(ledger.headroom(&second), 0);
    ledger.repay(first);
    assert_eq!(ledger.headroom(&second), HEADROOM);
    ledger.repay(second);
}

#[test]
fn a_plain_area_has_no_headroom() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let borrowed = borrow(&mut ledger, loan, PLAIN + 128, 1000);
    assert_eq!(ledger.headroom(&borrowed), 0);
    ledger.repay(borrowed);
}

#[test]
fn a_descriptor_ends_with_its_chunk() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let borrowed = borrow(&mut ledger, loan, PLAIN + 4000, 1000);
    assert_eq!(borrowed.describable(&ledger, 0), 96);
    assert_eq!(borrowed.describable(&ledger, 96), 904);
    ledger.repay(borrowed);
}

#[test]
fn a_lent_frame_that_is_sent_on_waits_for_reader_stack_and_nic() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let chunk = frame.chunk();
    let addr = ledger.lend(frame, 300);
    let loan = ledger.begin_loan();
    assert!(!ledger.is_lendable(addr - 1, 2), "the stack's headroom");
    let mut borrowed = borrow(&mut ledger, loan, addr, 100);
    assert_eq!(ledger.headroom(&borrowed), 300);
    ledger.headroom_mut(&mut borrowed, 42).fill(0);
    let at = ledger.post_borrowed(0, &mut borrowed, (0, 100), 42);
    ledger.give_back(addr).unwrap();
    assert_eq!(ledger.owner(chunk), Some(Owner::Tx));
    assert_eq!(ledger.tx_done(0, at), Ok(TxDone::Held(chunk)));
    ledger.repay(borrowed);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn what_a_guard_gives_up_at_its_front_is_room_for_headers() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let addr = ledger.lend(frame, 300);
    let loan = ledger.begin_loan();
    // SAFETY: lent in the line above, and given back by the guard alone.
    let mut lent = unsafe { Lent::new(Arc::clone(ledger.umem()), addr, 100) };
    let early = borrow(&mut ledger, loan, addr + 44, 56);
    assert_eq!(ledger.headroom(&early), 0, "the guard has what is in front");
    let other = lent.split_to(4);
    lent.advance(10);
    let shared = borrow(&mut ledger, loan, addr + 14, 10);
    assert_eq!(
        ledger.headroom(&shared),
        0,
        "another guard has a part of it"
    );
    drop(other);
    lent.advance(30);
    assert_eq!(ledger.headroom(&early), 344);
    assert!(!ledger.is_lendable(addr + 43, 2), "it is the stack's");
    for borrowed in [early, shared] {
        ledger.repay(borrowed);
    }
    drop(lent);
    ledger.collect_returns();
    ledger.end_loan(loan);
    assert_eq!(ledger.census().app, 5, "the registered areas");
}

#[test]
fn in_front_of_a_later_part_of_a_frame_is_no_headroom() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let first = ledger.lend_part(&frame, 300);
    let second = ledger.lend(frame, 400);
    let loan = ledger.begin_loan();
    let borrowed = borrow(&mut ledger, loan, second, 100);
    assert_eq!(ledger.headroom(&borrowed), 0);
    ledger.repay(borrowed);
    for part in [first, second] {
        ledger.give_back(part).unwrap();
    }
}

#[test]
fn a_shared_part_is_repaid_on_its_own() {
    let mut ledger = ledger();
    let loan = ledger.begin_loan();
    let borrowed = borrow(&mut ledger, loan, PLAIN, 100);
    let part = ledger.share(&borrowed, 10, 20);
    ledger.repay(borrowed);
    ledger.end_loan(loan);
    assert_eq!(ledger.next_repaid(), None);
    assert_eq!(part.bytes(ledger.umem()), &[0; 20]);
    ledger.repay(part);
    assert!(ledger.next_repaid().is_some());
}

#[test]
fn slots_are_taken_once_and_lie_where_they_are_lent_from() {
    let ledger = ledger();
    let umem = Arc::clone(ledger.umem());
    let mut slots = umem.take_slots(1).unwrap();
    assert!(umem.take_slots(1).is_none());
    assert!(umem.take_area(1).is_none() && umem.take_slots(0).is_none());
    assert_eq!(slots.len(), 3);
    for slot in &slots {
        assert_eq!(slot.len(), 1460);
        let addr = umem.offset_of(slot.as_ptr() as u64, slot.len()).unwrap();
        assert!(ledger.is_lendable(addr, slot.len() as u32));
    }
    slots[0].set_len(10);
    assert_eq!((slots[0].len(), slots[0].capacity()), (10, 1460));
    slots[0].set_len(1460);
    assert_eq!(umem.offset_of(umem.as_ptr() as u64 - 1, 1), None);
    assert_eq!(umem.offset_of(slots[2].as_ptr() as u64, usize::MAX), None);
}
