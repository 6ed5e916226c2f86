use super::*;
use crate::layout::{Layout, Pool};
use crate::ledger::Owner;

const CHUNK: u64 = 4096;

fn ledger() -> Ledger {
    let layout = Layout {
        chunk_bytes: CHUNK as u32,
        rx_chunks: 4,
        header_chunks: 1,
        send_chunks: 1,
        lend_reserve_chunks: 1,
        areas: vec![],
    };
    Ledger::new(Umem::new(layout).unwrap())
}

fn table(ledger: &Ledger) -> LendTable {
    LendTable::new(Arc::clone(ledger.umem()), 2)
}

/// Lends these parts of one frame, one behind the other from 300 on, into a slot; returns its chunk.
fn lend(ledger: &mut Ledger, table: &LendTable, slot: u16, parts: &[&[u8]]) -> u32 {
    let mut frame = ledger.alloc(Pool::Rx).unwrap();
    let chunk = frame.chunk();
    let text = parts.concat();
    ledger.bytes_mut(&mut frame)[300..][..text.len()].copy_from_slice(&text);
    let (mut at, mut frame) = (300, Some(frame));
    for (index, part) in parts.iter().enumerate() {
        let addr = if index + 1 == parts.len() {
            ledger.lend(frame.take().unwrap(), at)
        } else {
            ledger.lend_part(frame.as_ref().unwrap(), at)
        };
        // SAFETY: lent in the line above, for the table alone.
        unsafe { table.put(slot, addr, part.len() as u32) };
        at += part.len() as u32;
    }
    chunk
}

fn read(table: &LendTable, slot: u16) -> Option<&[u8]> {
    // SAFETY: the tests let go of the slice before they take its bytes.
    unsafe { table.get(slot) }
}

#[test]
fn bytes_are_found_in_their_slot_until_they_are_taken_back() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let chunk = lend(&mut ledger, &table, 1, &[b"payload"]);
    assert_eq!(
        (read(&table, 0), read(&table, 1)),
        (None, Some(&b"payload"[..]))
    );
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    table.take_back(1, &mut ledger);
    assert_eq!(read(&table, 1), None);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn a_slot_that_is_not_there_is_empty() {
    let mut ledger = ledger();
    let table = table(&ledger);
    assert!(read(&table, 2).is_none() && table.take(u16::MAX, 1).is_none());
    assert_eq!(table.end(2), None);
    table.take_back(2, &mut ledger);
}

#[test]
fn what_is_taken_out_is_its_guards_alone() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let chunk = lend(&mut ledger, &table, 0, &[b"payload"]);
    let guard = table.take(0, 7).unwrap();
    table.take_back(0, &mut ledger);
    assert_eq!(&*guard, b"payload");
    assert_eq!(ledger.owner(chunk), Some(Owner::App));
    drop(guard);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn parts_of_a_frame_are_one_behind_the_other_and_come_back_together() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let chunk = lend(&mut ledger, &table, 0, &[b"one", b"two", b"three"]);
    assert_eq!(read(&table, 0), Some(&b"onetwothree"[..]));
    assert_eq!(table.end(0), Some(u64::from(chunk) * CHUNK + 311));
    table.take_back(0, &mut ledger);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn each_part_is_taken_by_its_length_and_the_last_brings_the_frame_back() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let chunk = lend(&mut ledger, &table, 0, &[b"one", b"two", b"three"]);
    let guards = [3, 3, 5].map(|len| table.take(0, len).unwrap());
    assert_eq!(guards.each_ref().map(|guard| guard.len()), [3, 3, 5]);
    assert_eq!(&*guards[1], b"two");
    assert!(table.take(0, 1).is_none());
    for guard in guards {
        assert_eq!(ledger.owner(chunk), Some(Owner::App));
        drop(guard);
        ledger.collect_returns();
    }
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn one_part_is_not_split_and_several_are_taken_at_once() {
    let mut ledger = ledger();
    let table = table(&ledger);
    lend(&mut ledger, &table, 0, &[b"payload"]);
    assert_eq!(&*table.take(0, 3).unwrap(), b"payload");
    lend(&mut ledger, &table, 0, &[b"one", b"two"]);
    assert_eq!(&*table.take(0, usize::MAX).unwrap(), b"onetwo");
    ledger.collect_returns();
    assert_eq!(ledger.census().app, 0);
}

#[test]
fn more_parts_than_a_slot_counts_come_back_all_the_same() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let bytes = [[7]; 300];
    let parts: Vec<&[u8]> = bytes.iter().map(|byte| &byte[..]).collect();
    let chunk = lend(&mut ledger, &table, 0, &parts);
    let guards: Vec<Lent> = std::iter::from_fn(|| table.take(0, 1)).collect();
    assert_eq!(guards.len(), MOST_PARTS as usize);
    assert_eq!(guards.iter().map(|guard| guard.len()).sum::<usize>(), 300);
    drop(guards);
    ledger.collect_returns();
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
}

#[test]
fn a_dropped_table_gives_back_what_is_in_it() {
    let mut ledger = ledger();
    let table = table(&ledger);
    lend(&mut ledger, &table, 0, &[b"one", b"two"]);
    lend(&mut ledger, &table, 1, &[b"payload"]);
    drop(table);
    ledger.collect_returns();
    assert_eq!(ledger.census().app, 0);
}

#[test]
fn what_was_given_back_by_its_address_does_not_go_back_twice() {
    let mut ledger = ledger();
    let table = table(&ledger);
    let chunk = lend(&mut ledger, &table, 0, &[b"payload"]);
    assert_eq!(ledger.give_back(table.end(0).unwrap() - 1), Ok(()));
    table.take_back(0, &mut ledger);
    assert_eq!(ledger.owner(chunk), Some(Owner::Free));
    assert_eq!(table.end(0), None);
}

#[test]
#[should_panic(expected = "holds something else")]
fn another_frame_does_not_go_behind_what_is_there() {
    let mut ledger = ledger();
    let table = table(&ledger);
    lend(&mut ledger, &table, 0, &[b"one"]);
    lend(&mut ledger, &table, 0, &[b"two"]);
}

#[test]
fn a_word_keeps_the_largest_of_all_its_numbers() {
    let word = Word {
        addr: (1 << 44) - CHUNK,
        len: CHUNK,
        parts: MOST_PARTS,
    };
    assert_eq!(Word::unpack(word.pack()), Some(word));
    assert_eq!(Word::unpack(EMPTY), None);
}

#[test]
fn threads_that_take_what_is_put_have_every_byte_once() {
    const PUTS: u32 = if cfg!(miri) { 40 } else { 4000 };
    let mut ledger = ledger();
    let table = table(&ledger);
    let taken = std::thread::scope(|threads| {
        let takers = [(); 2].map(|()| {
            threads.spawn(|| {
                let mut taken = 0;
                // The last byte says that it is.
                loop {
                    match table.take(0, 1) {
                        Some(lent) if lent[lent.len() - 1] == 0 => break taken + lent.len(),
                        Some(lent) => taken += lent.len(),
                        None if table.take(1, 1).is_some() => break taken,
                        None => std::thread::yield_now(),
                    }
                }
            })
        });
        let mut left = PUTS;
        while left > 0 {
            let Some(mut frame) = ledger.alloc(Pool::Rx) else {
                ledger.collect_returns();
                continue;
            };
            // A slot that still holds another frame's bytes is not put into.
            while table.end(0).is_some() {
                std::thread::yield_now();
            }
            let count = left.min(3);
            left -= count;
            let bytes = ledger.bytes_mut(&mut frame);
            bytes[..3].fill(1);
            bytes[count as usize - 1] = u8::from(left > 0);
            for at in 0..count - 1 {
                let addr = ledger.lend_part(&frame, at);
                // SAFETY: lent in the line above, for the table alone.
                unsafe { table.put(0, addr, 1) };
            }
            let addr = ledger.lend(frame, count - 1);
            // SAFETY: as above.
            unsafe { table.put(0, addr, 1) };
        }
        while ledger.free_chunks(Pool::Rx) == 0 {
            ledger.collect_returns();
            std::thread::yield_now();
        }
        // For whoever did not get the last one.
        lend(&mut ledger, &table, 1, &[b"end"]);
        takers.map(|taker| taker.join().unwrap())
    });
    assert_eq!(taken[0] + taken[1], PUTS as usize);
    ledger.collect_returns();
    assert!(ledger.census().app <= 1, "but for the end");
}
