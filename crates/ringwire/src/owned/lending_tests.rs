//! Lending groups over a ledger: the engine's part is played by the test, which takes ids off the ring.

use std::sync::Arc;

use ringwire_umem::{Layout, Ledger, LendTable, Pool, Umem};

use super::*;
use crate::usermem::BufferRing;

const ENTRIES: u16 = 4;

struct Engine {
    ledger: Ledger,
    table: Arc<LendTable>,
    ring: BufferRing,
    head: u16,
}

impl Engine {
    fn new() -> (Rc<Lending>, Engine) {
        let layout = Layout {
            chunk_bytes: 4096,
            rx_chunks: 32,
            header_chunks: 1,
            send_chunks: 1,
            lend_reserve_chunks: 1,
            areas: vec![],
        };
        let ledger = Ledger::new(Umem::new(layout).expect("memory"));
        let table = Arc::new(LendTable::new(Arc::clone(ledger.umem()), ENTRIES));
        let shown = LentBuffers::of(Arc::clone(&table));
        let group = Lending::new(0, ENTRIES, |_| Ok(shown)).expect("a group");
        // SAFETY: the tests read the ring only while they keep the group.
        let ring = unsafe { BufferRing::new(group.ring.address(), ENTRIES) };
        let engine = Engine {
            ledger,
            table,
            ring,
            head: 0,
        };
        (group, engine)
    }

    fn provided(&self) -> u16 {
        self.ring.tail().wrapping_sub(self.head)
    }

    /// Lends these bytes under the next id, which it returns.
    fn lend(&mut self, bytes: &[u8]) -> u16 {
        assert!(self.provided() > 0, "an id is there");
        let (_, _, bid) = self.ring.entry(self.head);
        self.head = self.head.wrapping_add(1);
        self.table.take_back(bid, &mut self.ledger);
        let mut frame = self.ledger.alloc(Pool::Rx).expect("a chunk");
        self.ledger.bytes_mut(&mut frame)[..bytes.len()].copy_from_slice(bytes);
        let addr = self.ledger.lend(frame, 0);
        // SAFETY: lent in the line above, for the table alone.
        unsafe { self.table.put(bid, addr, bytes.len() as u32) };
        bid
    }
}

#[test]
fn what_was_received_is_its_guards_and_the_id_is_free_again() {
    let (group, mut engine) = Engine::new();
    // More rounds than the ring's counters have values.
    let rounds = if cfg!(miri) { 20 } else { 70_000 };
    let mut before = None;
    for round in 0..rounds {
        let text = format!("{round}");
        let bid = engine.lend(text.as_bytes());
        let (lent, rest) = group.take(bid, text.len() as u32);
        assert_eq!((&lent[..], rest.len()), (text.as_bytes(), 0));
        assert_eq!(engine.provided(), ENTRIES);
        before = Some(lent);
        engine.ledger.collect_returns();
    }
    drop(before);
    engine.ledger.collect_returns();
    assert_eq!(engine.ledger.census().app, 0);
}

#[test]
fn a_datagram_in_several_parts_brings_them_in_order() {
    let (group, mut engine) = Engine::new();
    for _ in 0..10 {
        let bid = engine.lend(b"one");
        engine.lend(b"two");
        engine.lend(b"three");
        let (first, rest) = group.take(bid, 11);
        let parts: Vec<&[u8]> = std::iter::once(&first)
            .chain(&rest)
            .map(|it| &it[..])
            .collect();
        assert_eq!(parts, [&b"one"[..], b"two", b"three"]);
        assert_eq!(engine.provided(), ENTRIES);
        drop((first, rest));
        engine.ledger.collect_returns();
    }
}

#[test]
#[should_panic(expected = "not in its group")]
fn what_was_not_lent_is_not_taken() {
    let (group, _engine) = Engine::new();
    group.take(0, 1);
}

#[test]
#[should_panic(expected = "not in its group")]
fn what_was_taken_is_not_taken_again() {
    let (group, mut engine) = Engine::new();
    let bid = engine.lend(b"one");
    group.take(bid, 3);
    group.take(bid, 3);
}

#[test]
#[cfg_attr(miri, ignore = "it leaks, on purpose")]
fn a_ring_that_may_be_registered_is_not_freed() {
    let mut address = 0;
    let failed = Lending::new(0, ENTRIES, |at| {
        address = at;
        Err(io::ErrorKind::Other.into())
    });
    assert!(failed.is_err());
    // SAFETY: it is leaked.
    let ring = unsafe { BufferRing::new(address, ENTRIES) };
    assert_eq!(ring.tail(), 0);
}
