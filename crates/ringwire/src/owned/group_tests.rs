//! Groups over plain memory: the engine's part is played by the module that reads rings for it.

use super::*;
use crate::usermem::{self, BufferRing, Span};

const ENTRIES: u16 = 4;

/// The engine's side: it takes buffers in order.
struct Engine {
    ring: BufferRing,
    head: u16,
}

impl Engine {
    fn new(group: &Memory) -> Engine {
        // SAFETY: the tests read the ring only while something keeps the group.
        let ring = unsafe { BufferRing::new(group.ring_address(), ENTRIES) };
        Engine { ring, head: 0 }
    }

    fn provided(&self) -> u16 {
        self.ring.tail().wrapping_sub(self.head)
    }

    /// Receives these bytes; returns the buffer's id.
    fn receive(&mut self, bytes: &[u8]) -> u16 {
        assert!(self.provided() > 0, "a buffer is there");
        let (addr, len, bid) = self.ring.entry(self.head);
        let len = len as usize;
        usermem::write(Span { addr, len }, bytes).expect("a buffer");
        self.head = self.head.wrapping_add(1);
        bid
    }
}

#[test]
fn all_buffers_are_provided_at_first() {
    let group = Memory::new(0, ENTRIES, 8);
    let engine = Engine::new(&group);
    assert_eq!(engine.provided(), ENTRIES);
    let entries: Vec<_> = (0..ENTRIES).map(|index| engine.ring.entry(index)).collect();
    for (bid, entry) in entries.iter().enumerate() {
        assert_eq!((entry.1, entry.2), (8, bid as u16));
        assert_eq!(entry.0, entries[0].0 + 8 * bid as u64);
    }
}

#[test]
fn a_dropped_guard_gives_its_buffer_back() {
    let group = Memory::new(0, ENTRIES, 8);
    let mut engine = Engine::new(&group);
    // More rounds than the ring's counters have values.
    let rounds = if cfg!(miri) { 20 } else { 70_000 };
    for round in 0..rounds {
        let text = format!("{round}");
        let bid = engine.receive(text.as_bytes());
        let buffer = group.lend(bid, text.len() as u32);
        assert_eq!(&*buffer, text.as_bytes());
        assert_eq!(engine.provided(), ENTRIES - 1);
        drop(buffer);
        assert_eq!(engine.provided(), ENTRIES);
    }
}

#[test]
fn buffers_come_back_in_any_order() {
    let group = Memory::new(0, ENTRIES, 8);
    let mut engine = Engine::new(&group);
    let mut lent: Vec<_> = (0..ENTRIES)
        .map(|index| {
            let bid = engine.receive(&[index as u8]);
            group.lend(bid, 1)
        })
        .collect();
    assert_eq!(engine.provided(), 0);
    drop(lent.remove(2));
    drop(lent.remove(0));
    assert_eq!(engine.receive(b"x"), 2);
    assert_eq!(engine.receive(b"x"), 0);
    assert_eq!((lent[0][0], lent[1][0]), (1, 3), "the others are untouched");
}

#[test]
fn a_buffer_outlives_its_group() {
    let group = Memory::new(0, ENTRIES, 8);
    let mut engine = Engine::new(&group);
    let bid = engine.receive(b"bytes");
    let buffer = group.lend(bid, 5);
    drop(BufferGroup {
        group: Group::Own(group),
    });
    assert_eq!(&*buffer, b"bytes");
}

#[test]
#[should_panic(expected = "not in its group's ring")]
fn a_buffer_is_lent_once() {
    let group = Memory::new(0, ENTRIES, 8);
    let _first = group.lend(1, 1);
    group.lend(1, 1);
}

#[test]
#[should_panic(expected = "not in its group's ring")]
fn a_buffer_that_is_not_the_groups_is_not_lent() {
    let group = Memory::new(0, ENTRIES, 8);
    group.lend(ENTRIES, 1);
}

#[test]
#[should_panic(expected = "not in its group's ring")]
fn no_more_than_a_buffer_is_lent() {
    let group = Memory::new(0, ENTRIES, 8);
    group.lend(0, 9);
}

#[test]
fn what_is_cut_off_is_no_more_than_there_is() {
    let group = Memory::new(0, ENTRIES, 8);
    let mut engine = Engine::new(&group);
    let bid = engine.receive(b"12345678");
    let mut buffer = group.lend(bid, 8);
    buffer.advance(3);
    assert_eq!(&*buffer, b"45678");
    buffer.advance(6);
    assert_eq!(&*buffer, b"");
}
