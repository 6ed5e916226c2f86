use super::*;
use crate::layout::{AreaLayout, Layout};

const CHUNK: u64 = 2048;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 4,
        header_chunks: 1,
        send_chunks: 2,
        lend_reserve_chunks: 2,
        areas: vec![AreaLayout::Plain(3000)],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

#[test]
fn owners_sum_to_the_number_of_chunks() {
    let mut ledger = ledger();
    assert_eq!(ledger.census().total(), 9);
    assert_eq!(
        ledger.census().app,
        2,
        "3000 bytes are two registered chunks"
    );
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let addr = ledger.post_fill(frame, 0);
    let held = ledger.alloc(Pool::Send).unwrap();
    let census = ledger.census();
    assert_eq!((census.fill, census.stack, census.total()), (1, 1, 9));
    let piece = ledger.claim(0, addr + 256, 60).unwrap();
    ledger.release(piece.frame);
    ledger.release(held);
    assert_eq!(ledger.census().free, 7);
}

#[test]
fn a_pool_runs_empty_and_refills() {
    let mut ledger = ledger();
    let a = ledger.alloc(Pool::Send).unwrap();
    let b = ledger.alloc(Pool::Send).unwrap();
    assert_ne!(a.chunk(), b.chunk());
    assert!(ledger.alloc(Pool::Send).is_none());
    ledger.release(a);
    assert!(ledger.alloc(Pool::Send).is_some());
    ledger.release(b);
}

#[test]
fn a_chunk_is_free_only_when_holder_and_nic_let_go_in_either_order() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Send).unwrap();
    let chunk = frame.chunk();
    let addr = ledger.post_tx(&frame, 10, 60);
    assert_eq!(
        ledger.tx_done(0, addr),
        Ok(TxDone::Held(chunk)),
        "the stack still holds it"
    );
    let addr = ledger.post_tx(&frame, 10, 60);
    let again = ledger.post_tx(&frame, 10, 60);
    ledger.release(frame);
    assert_eq!(ledger.owner(chunk), Some(Owner::Tx));
    assert_eq!(
        ledger.tx_done(0, addr),
        Ok(TxDone::Held(chunk)),
        "a second descriptor is in flight"
    );
    assert_eq!(ledger.tx_done(0, again), Ok(TxDone::Freed(chunk)));
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn addresses_from_the_kernel_are_checked() {
    let mut ledger = ledger();
    let frame = ledger.alloc(Pool::Rx).unwrap();
    let addr = ledger.post_fill(frame, 3);
    assert!(matches!(
        ledger.claim(3, 9 * CHUNK, 1),
        Err(AddressError::Outside(_))
    ));
    assert!(matches!(
        ledger.claim(3, u64::MAX, 1),
        Err(AddressError::Outside(_))
    ));
    assert!(matches!(
        ledger.claim(3, addr + 2000, 49),
        Err(AddressError::CrossesChunk { .. })
    ));
    assert!(matches!(
        ledger.claim(3, addr, u32::MAX),
        Err(AddressError::CrossesChunk { .. })
    ));
    assert!(matches!(
        ledger.claim(2, addr, 1),
        Err(AddressError::NotYours {
            owner: Owner::Fill(3),
            ..
        })
    ));
    let piece = ledger.claim(3, addr, 1).unwrap();
    assert!(ledger.claim(3, addr, 1).is_err(), "a chunk arrives once");
    assert_eq!(
        ledger.tx_done(0, addr),
        Err(AddressError::NotInFlight(addr))
    );
    ledger.release(piece.frame);
}

#[test]
fn bytes_written_are_read_back() {
    let mut ledger = ledger();
    let mut frame = ledger.alloc(Pool::Send).unwrap();
    ledger.bytes_mut(&mut frame)[5..8].copy_from_slice(b"abc");
    let piece = Piece {
        frame,
        start: 5,
        len: 3,
    };
    assert_eq!(ledger.piece(&piece), b"abc");
    ledger.release(piece.frame);
}

#[test]
#[should_panic(expected = "a frame of another UMEM")]
fn a_frame_of_another_umem_is_refused() {
    let mut one = ledger();
    let other = ledger();
    let frame = one.alloc(Pool::Send).unwrap();
    other.bytes(&frame);
}

#[test]
fn a_registered_area_is_taken_once_and_holds_its_bytes() {
    let ledger = ledger();
    let mut area = ledger.umem().take_area(0).unwrap();
    assert_eq!(area.len(), 3000);
    area[2999] = 7;
    assert_eq!(area[2999], 7);
    assert!(ledger.umem().take_area(0).is_none());
    assert!(ledger.umem().take_area(1).is_none());
}
