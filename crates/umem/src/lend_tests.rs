use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::frame::Piece;
use crate::layout::{AreaLayout, Layout};

const CHUNK: u64 = 4096;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 4,
        header_chunks: 1,
        send_chunks: 2,
        lend_reserve_chunks: 2,
        areas: vec![AreaLayout::Plain(100)],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

/// A frame in which `text` was received, at 300.
fn received(ledger: &mut Ledger, text: &[u8]) -> Frame {
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let addr = ledger.post_fill(frame, 0);
    let Piece { mut frame, .. } = ledger.claim(0, addr + 300, text.len() as u32).unwrap();
    ledger.bytes_mut(&mut frame)[300..][..text.len()].copy_from_slice(text);
    frame
}

fn guard(ledger: &Ledger, addr: u64, len: u32) -> Lent {
    // SAFETY: the tests lend what they ask for, and give it back by the guard alone.
    unsafe { Lent::new(Arc::clone(ledger.umem()), addr, len) }
}

#[test]
fn a_lent_frame_is_read_where_it_was_received_and_comes_back_once() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"payload");
    let chunk = frame.chunk();
    let addr = ledger.lend(frame, 300);
    assert_eq!(addr, u64::from(chunk) * CHUNK + 300);
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    assert_eq!(&*guard(&ledger, addr, 7), b"payload");
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn what_is_given_back_twice_or_was_never_lent_is_refused() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"x");
    let addr = ledger.lend(frame, 300);
    assert_eq!(ledger.give_back(addr), Ok(()));
    let refused = |result| matches!(result, Err(AddressError::NotYours { .. }));
    assert!(refused(ledger.give_back(addr)));
    assert!(refused(ledger.give_back(7 * CHUNK)), "a registered area");
    assert!(refused(ledger.give_back(5 * CHUNK)), "a send chunk");
    assert!(matches!(
        ledger.give_back(u64::MAX),
        Err(AddressError::Outside(_))
    ));
}

#[test]
fn the_reserve_is_not_to_be_lent() {
    let mut ledger = ledger();
    let frames = [(); 2].map(|()| ledger.alloc(Pool::Rx).unwrap());
    assert!(ledger.may_lend());
    let last = ledger.alloc(Pool::Rx).unwrap();
    assert!(!ledger.may_lend(), "one is left of a reserve of two");
    frames.into_iter().for_each(|frame| ledger.release(frame));
    ledger.release(last);
}

#[test]
fn nothing_split_off_at_the_beginning_of_a_chunk_is_of_that_chunk() {
    let mut ledger = ledger();
    let frames = [(); 2].map(|()| ledger.alloc(Pool::Rx).unwrap());
    let [mut one, mut other] = frames.map(|frame| {
        let addr = ledger.lend(frame, 0);
        guard(&ledger, addr, 7)
    });
    drop((one.split_to(0), other.split_to(0)));
    ledger.collect_returns();
    assert_eq!(ledger.census().app, 3, "both, and the registered area");
    drop((one, other));
    ledger.collect_returns();
    assert_eq!(ledger.census().app, 1);
}

#[test]
fn while_others_hold_the_pool_the_application_has_its_share() {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 8,
        header_chunks: 1,
        send_chunks: 1,
        lend_reserve_chunks: 2,
        areas: vec![],
    };
    let mut ledger = Ledger::new(Umem::new(layout).unwrap());
    let mut frames: Vec<Frame> = std::iter::from_fn(|| ledger.alloc(Pool::Rx)).collect();
    assert!(ledger.may_lend(), "half of eight, but for the reserve");
    assert!(!ledger.may_lend_copies(1), "of no chunk a copy is made");
    let lent = [(); 2].map(|()| {
        assert!(ledger.may_lend());
        let frame = frames.pop().unwrap();
        ledger.lend(frame, 0)
    });
    assert!(!ledger.may_lend());
    ledger.give_back(lent[0]).unwrap();
    assert!(ledger.may_lend() && ledger.may_lend_copies(1));
    frames.into_iter().for_each(|frame| ledger.release(frame));
}

#[test]
fn a_frame_lent_in_parts_is_the_stacks_until_the_last() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"onetwo");
    let chunk = frame.chunk();
    let one = ledger.lend_part(&frame, 300);
    drop(guard(&ledger, one, 3));
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Rx), "more is to be lent");
    let two = ledger.lend(frame, 303);
    assert_eq!(&*guard(&ledger, two, 3), b"two");
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn a_frame_released_after_a_part_was_lent_waits_for_that_part() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"onetwo");
    let chunk = frame.chunk();
    let one = ledger.lend_part(&frame, 300);
    ledger.release(frame);
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    ledger.give_back(one).unwrap();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn a_split_guard_gives_back_when_both_parts_are_gone() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"onetwo");
    let chunk = frame.chunk();
    let addr = ledger.lend(frame, 300);
    let mut two = guard(&ledger, addr, 6);
    let one = two.split_to(3);
    assert_eq!((&*one, &*two), (&b"one"[..], &b"two"[..]));
    drop(two);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    drop(one);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn an_empty_rest_at_the_end_of_a_chunk_belongs_to_that_chunk() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, &[7; 3796]);
    let chunk = frame.chunk();
    let addr = ledger.lend(frame, 300);
    let mut rest = guard(&ledger, addr, 3796);
    drop(rest.split_to(3796));
    assert!(rest.is_empty());
    drop(rest);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn bytes_made_of_a_guard_are_the_same_memory() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"payload");
    let chunk = frame.chunk();
    let addr = ledger.lend(frame, 300);
    let lent = guard(&ledger, addr, 7);
    let at = lent.as_ptr();
    let bytes = Bytes::from(lent);
    assert_eq!(bytes.as_ptr(), at);
    let copy = bytes.slice(3..);
    drop(bytes);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    assert_eq!(copy, &b"load"[..]);
    drop(copy);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn a_guard_outlives_its_ring_and_says_so() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"payload");
    let addr = ledger.lend(frame, 300);
    let lent = guard(&ledger, addr, 7);
    drop(ledger);
    assert_eq!(&*lent, b"payload");
    assert_eq!(lent.give_back(), Err(RingGone));
}

#[test]
fn only_an_engine_that_wants_frames_is_woken_and_once() {
    let mut ledger = ledger();
    let woken = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&woken);
    ledger.umem().on_return(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let lend = |ledger: &mut Ledger| {
        let frame = received(ledger, b"x");
        let addr = ledger.lend(frame, 300);
        guard(ledger, addr, 1)
    };
    drop(lend(&mut ledger));
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    assert!(!ledger.want_returns(), "one has come back already");
    ledger.collect_returns();
    let (a, b) = (lend(&mut ledger), lend(&mut ledger));
    assert!(ledger.want_returns());
    drop(a);
    drop(b);
    assert_eq!(woken.load(Ordering::Relaxed), 1);
}

#[test]
fn frames_given_back_by_many_threads_all_come_back() {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 64,
        header_chunks: 1,
        send_chunks: 1,
        lend_reserve_chunks: 0,
        areas: vec![],
    };
    let mut ledger = Ledger::new(Umem::new(layout).unwrap());
    let rounds = if cfg!(miri) { 2 } else { 200 };
    for _ in 0..rounds {
        let guards: Vec<Lent> = (0..64)
            .map(|_| {
                let frame = received(&mut ledger, b"x");
                let addr = ledger.lend(frame, 300);
                guard(&ledger, addr, 1)
            })
            .collect();
        let mut guards = guards.into_iter();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let share: Vec<Lent> = guards.by_ref().take(16).collect();
                scope.spawn(move || drop(share));
            }
            while ledger.census().app > 0 {
                ledger.collect_returns();
            }
        });
    }
    assert_eq!(ledger.census().free, 66);
}

#[test]
fn the_stacks_hold_of_a_frame_that_goes_on_is_not_the_applications_to_give_back() {
    let mut ledger = ledger();
    let frame = received(&mut ledger, b"first and rest");
    let chunk = frame.chunk();
    let addr = ledger.lend_part(&frame, 300);
    let lent = guard(&ledger, addr, 5);
    // The guard's part, by its address: the guard is then one too many.
    assert_eq!(ledger.give_back(addr), Ok(()));
    let again = ledger.give_back(addr);
    assert!(matches!(again, Err(AddressError::NotYours { .. })));
    drop(lent);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Rx), "it goes on");
    assert_eq!(&ledger.bytes(&frame)[309..314], b" rest"[..].as_ref());
    ledger.release(frame);
}
