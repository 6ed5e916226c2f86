//! What is lent under a wrong id, and what changes while it is lent, is found.

use ringwire_umem::{Layout, Ledger, Pool};

use super::*;

const SLOT: u32 = 2;

/// A group of four ids that no engine knows, and a ledger that lends.
fn group() -> (LentGroup, Ledger) {
    let layout = Layout {
        chunk_bytes: 4096,
        rx_chunks: 8,
        header_chunks: 1,
        send_chunks: 1,
        lend_reserve_chunks: 1,
        areas: vec![],
    };
    let ledger = Ledger::new(Umem::new(layout).expect("memory"));
    let group = LentGroup {
        buffers: Buffers::unregistered(4, 0),
        table: Arc::new(LendTable::new(Arc::clone(ledger.umem()), 4)),
        count: 4,
        credit: (0..4).collect(),
        open: BTreeMap::new(),
        kept: Vec::new(),
        guards: Vec::new(),
        counts: Counts::default(),
        random: Random::new(1),
    };
    (group, ledger)
}

/// Lends bytes under an id; returns where they lie.
fn lend(group: &LentGroup, ledger: &mut Ledger, bid: u16, bytes: &[u8]) -> u64 {
    let mut frame = ledger.alloc(Pool::Rx).expect("a chunk");
    ledger.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
    let addr = ledger.lend(frame, 0);
    // SAFETY: the ledger has just lent it, and nobody else gives it back.
    unsafe { group.table.put(bid, addr, bytes.len() as u32) };
    addr
}

#[test]
fn a_message_is_under_the_rings_next_ids() {
    let (mut group, mut ledger) = group();
    lend(&group, &mut ledger, 0, b"abc");
    lend(&group, &mut ledger, 1, b"de");
    assert_eq!(group.message(0, 5), Ok(vec![0, 1]));
    lend(&group, &mut ledger, 3, b"f");
    let found = group.message(3, 1).expect_err("the next id is 2");
    assert!(found.contains("instead of 2"), "{found}");
}

#[test]
fn less_or_more_than_was_said_is_found() {
    for len in [2, 4] {
        let (mut group, mut ledger) = group();
        lend(&group, &mut ledger, 0, b"abc");
        assert!(group.message(0, len).is_err(), "{len}");
    }
}

#[test]
fn more_of_a_streams_frame_is_under_the_same_id_and_else_under_the_next() {
    let (mut group, mut ledger) = group();
    lend(&group, &mut ledger, 0, b"abc");
    assert_eq!(group.arrived(SLOT, (0, 3), true), Ok(&b"abc"[..]));
    assert_eq!(group.arrived(SLOT, (0, 1), false), Ok(&b"c"[..]));
    let found = group.arrived(SLOT, (0, 1), false);
    found.expect_err("nothing more was to come under it");
}

#[test]
fn what_changes_while_it_is_lent_is_found_when_it_is_given_back() {
    let (mut group, mut ledger) = group();
    let addr = lend(&group, &mut ledger, 0, b"abc");
    group.message(0, 3).expect("it is the next");
    group.keep(0);
    // SAFETY: the byte lies in the UMEM, and nothing is borrowed from it here.
    unsafe { *ledger.umem().as_ptr().add(addr as usize) ^= 1 };
    let found = group.give_back(1000, false).expect_err("it has changed");
    assert!(found.contains("has changed"), "{found}");
}
