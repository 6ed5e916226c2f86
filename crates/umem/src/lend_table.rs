//! What is lent, under numbers: the engine puts received bytes into a slot, and any thread of the
//! application's finds them there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ledger::Ledger;
use crate::lend::Lent;
use crate::memory::Umem;

/// Nothing is in the slot: no part is so long.
const EMPTY: u64 = u64::MAX;
const LEN_BITS: u32 = 13;
const PARTS_BITS: u32 = 7;
const MOST_PARTS: u64 = (1 << PARTS_BITS) - 1;

/// Bytes in a slot, which one word says: so whoever reads it never sees half of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    /// Where the bytes begin in the UMEM: it has fewer than 2^32 chunks, so fewer than 2^44 bytes.
    addr: u64,
    /// At most a chunk's.
    len: u64,
    /// Parts of the chunk that are the slot's to give back.
    parts: u64,
}

impl Word {
    fn pack(self) -> u64 {
        self.addr << (LEN_BITS + PARTS_BITS) | self.len << PARTS_BITS | self.parts
    }

    fn unpack(word: u64) -> Option<Word> {
        (word != EMPTY).then_some(Word {
            addr: word >> (LEN_BITS + PARTS_BITS),
            len: word >> PARTS_BITS & ((1 << LEN_BITS) - 1),
            parts: word & MOST_PARTS,
        })
    }
}

/// Slots for parts of RX frames that are lent.
///
/// One engine puts them in, and takes them back to its ledger. Others read them, or take them out as
/// [`Lent`] guards. What is in a slot stays lent until one of them does, or the table is dropped.
#[derive(Debug)]
pub struct LendTable {
    umem: Arc<Umem>,
    slots: Box<[AtomicU64]>,
}

impl LendTable {
    /// A table of so many empty slots.
    pub fn new(umem: Arc<Umem>, slots: u16) -> LendTable {
        LendTable {
            umem,
            slots: (0..slots).map(|_| AtomicU64::new(EMPTY)).collect(),
        }
    }

    /// Number of slots.
    pub fn slots(&self) -> u16 {
        self.slots.len() as u16
    }

    /// Puts a part that was lent into a slot: into an empty one, or behind what is there, of the same frame.
    ///
    /// # Panics
    /// If there is no such slot, or the part does not go on where the bytes in it end.
    ///
    /// # Safety
    /// A ledger of this UMEM has lent a part with these bytes, and nobody else gives that part back.
    pub unsafe fn put(&self, slot: u16, addr: u64, len: u32) {
        let len = u64::from(len);
        let one = Word {
            addr,
            len,
            parts: 1,
        };
        let slot = &self.slots[usize::from(slot)];
        let mut before = slot.load(Ordering::Acquire);
        loop {
            let (word, spare) = match Word::unpack(before) {
                None => (one, false),
                Some(word) => {
                    let chunk = u64::from(self.umem.chunk_bytes());
                    let goes_on = word.addr + word.len == addr && word.addr / chunk == addr / chunk;
                    assert!(goes_on, "lend table: a slot holds something else");
                    let parts = (word.parts + 1).min(MOST_PARTS);
                    let len = word.len + len;
                    (Word { len, parts, ..word }, parts == word.parts)
                }
            };
            match slot.compare_exchange(before, word.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if spare => return self.let_go(addr, 1),
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// The bytes in a slot.
    ///
    /// # Safety
    /// The slot is not [taken back](Self::take_back), nor are its bytes [taken out](Self::take) and dropped,
    /// while the slice is in use.
    pub unsafe fn get(&self, slot: u16) -> Option<&[u8]> {
        let word = Word::unpack(self.slots.get(usize::from(slot))?.load(Ordering::Acquire))?;
        // SAFETY: `put`'s caller promised that the bytes are lent, ours that they stay so; nobody writes to
        // what is lent. The table keeps the UMEM mapped.
        unsafe {
            let first = self.umem.as_ptr().add(word.addr as usize);
            Some(std::slice::from_raw_parts(first, word.len as usize))
        }
    }

    /// Takes the first `len` bytes out of a slot, or all: whoever wants what one of several
    /// [`put`](Self::put)s has put there names its length.
    pub fn take(&self, slot: u16, len: usize) -> Option<Lent> {
        let slot = self.slots.get(usize::from(slot))?;
        let mut before = slot.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(before)?;
            // A part for each who holds some of the bytes.
            let splits = (len as u64) < word.len && word.parts > 1;
            let (after, taken, parts) = if splits {
                let rest = Word {
                    addr: word.addr + len as u64,
                    len: word.len - len as u64,
                    parts: word.parts - 1,
                };
                (rest.pack(), len as u64, 1)
            } else {
                (EMPTY, word.len, word.parts)
            };
            match slot.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.let_go(word.addr, parts - 1);
                    // SAFETY: `put`'s caller promised that the part is lent and nobody else's to give back. The
                    // slot had it, which was changed in the same step as the part was taken from it.
                    return Some(unsafe {
                        Lent::new(Arc::clone(&self.umem), word.addr, taken as u32)
                    });
                }
                Err(now) => before = now,
            }
        }
    }

    /// Whether there is something in a slot, and where in the UMEM it ends.
    pub fn end(&self, slot: u16) -> Option<u64> {
        let word = Word::unpack(self.slots.get(usize::from(slot))?.load(Ordering::Acquire))?;
        Some(word.addr + word.len)
    }

    /// Empties a slot; what was in it goes back to the ledger that has lent it. What somebody has given back
    /// already, by its address, does not go back again.
    ///
    /// # Panics
    /// If it is another UMEM's ledger.
    pub fn take_back(&self, slot: u16, ledger: &mut Ledger) {
        assert!(
            Arc::ptr_eq(&self.umem, ledger.umem()),
            "lend table: a ledger of another UMEM"
        );
        let Some(slot) = self.slots.get(usize::from(slot)) else {
            return;
        };
        if let Some(word) = Word::unpack(slot.swap(EMPTY, Ordering::AcqRel)) {
            for _ in 0..word.parts {
                let _ = ledger.give_back(word.addr);
            }
        }
    }

    /// Gives parts of a frame back.
    fn let_go(&self, addr: u64, parts: u64) {
        let chunk = (addr / u64::from(self.umem.chunk_bytes())) as u32;
        for _ in 0..parts {
            if self.umem.returns().subtract(chunk) == Some(true) {
                self.umem.returns().put(chunk);
            }
        }
    }
}

impl Drop for LendTable {
    fn drop(&mut self) {
        for slot in &self.slots {
            if let Some(word) = Word::unpack(slot.swap(EMPTY, Ordering::AcqRel)) {
                self.let_go(word.addr, word.parts);
            }
        }
    }
}

#[cfg(test)]
#[path = "lend_table_tests.rs"]
mod tests;
