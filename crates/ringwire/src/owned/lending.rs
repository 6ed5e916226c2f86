//! Groups without buffers: what is received is lent where the NIC wrote it.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ringwire_umem::Lent;

use super::entries::EntryRing;
use crate::lent::LentBuffers;

/// What a lent group consists of: ids, which are all in the ring but while their completions are looked at.
#[derive(Debug)]
pub(super) struct Lending {
    pub(super) id: u16,
    ring: EntryRing,
    /// By id, where in the ring it is.
    places: Box<[Cell<u16>]>,
    table: LentBuffers,
}

impl Lending {
    /// A group whose ids are all in its ring, which `register` registers.
    ///
    /// # Errors
    /// `register`'s.
    ///
    /// # Panics
    /// As [`EntryRing::new`] does.
    pub(super) fn new(
        id: u16,
        entries: u16,
        register: impl FnOnce(u64) -> io::Result<LentBuffers>,
    ) -> io::Result<Rc<Lending>> {
        let ring = EntryRing::new(entries);
        let table = match register(ring.address()) {
            Ok(table) => table,
            Err(error) => {
                // It may be registered.
                std::mem::forget(ring);
                return Err(error);
            }
        };
        let lending = Lending {
            id,
            table,
            places: (0..entries).map(|_| Cell::new(0)).collect(),
            ring,
        };
        for bid in 0..entries {
            lending.provide(bid);
        }
        Ok(Rc::new(lending))
    }

    /// What a completion has received: `len` bytes, the first of them under the id that it names, and the
    /// others under those that follow it in the ring. All the ids go back to the ring.
    ///
    /// # Panics
    /// If there is less.
    pub(super) fn take(&self, bid: u16, len: u32) -> (Lent, Vec<Lent>) {
        let first = self.take_part(bid, len as usize);
        let mut left = len as usize - first.len();
        let mut rest = Vec::new();
        let mut last = bid;
        while left > 0 {
            let place = self.places[usize::from(last)].get().wrapping_add(1);
            let next = self.ring.bid_at(place);
            self.provide(last);
            last = next;
            let part = self.take_part(last, left);
            left -= part.len();
            rest.push(part);
        }
        self.provide(last);
        (first, rest)
    }

    fn take_part(&self, bid: u16, len: usize) -> Lent {
        let part = self.table.take(bid, len);
        let part = part.filter(|part| !part.is_empty() && part.len() <= len);
        part.expect("owned: a completion names bytes that are not in its group")
    }

    fn provide(&self, bid: u16) {
        let place = self.ring.add(0, 0, bid);
        self.places[usize::from(bid)].set(place);
    }
}

#[cfg(test)]
#[path = "lending_tests.rs"]
mod tests;
