//! Received frames in the application's hands.
//!
//! A frame is lent in one part or several. It is the stack's while more of it is to be lent, then the
//! application's, and goes back to its pool when the last part has come back. Parts are counted, chunk by
//! chunk, in memory that all threads see.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::frame::Frame;
use crate::layout::Pool;
use crate::ledger::{AddressError, Ledger, Owner};
use crate::memory::Umem;

impl Ledger {
    /// Whether another frame may be lent: the reserve is left in the pool, or it is queues that hold the rest,
    /// and the application has not what there is beside half of the chunks, for the fill rings, and the reserve.
    /// So who keeps nothing is lent what was received, whatever others leave in their queues.
    #[inline]
    pub fn may_lend(&self) -> bool {
        self.may_lend_copies(0)
    }

    /// Whether so many chunks may be taken from the pool to be lent, or with none another frame.
    #[inline]
    pub fn may_lend_copies(&self, copies: u32) -> bool {
        let (layout, free) = (self.umem().layout(), self.free_chunks(Pool::Rx));
        let share = (layout.rx_chunks / 2).saturating_sub(layout.lend_reserve_chunks);
        free >= layout.lend_reserve_chunks + copies
            || free >= copies && self.lent_chunks + copies.max(1) <= share
    }

    /// Lends bytes of a frame that the stack keeps, to lend more of it; `start` is where they begin in it.
    /// Returns their offset in the UMEM.
    pub fn lend_part(&mut self, frame: &Frame, start: u32) -> u64 {
        let chunk = self.held(frame);
        let partly = &mut self.chunks[chunk as usize].partly_lent;
        // The first time the stack's own hold is counted too.
        let parts = if std::mem::replace(partly, true) {
            1
        } else {
            2
        };
        self.umem().returns().add(chunk, parts);
        self.address(chunk, start)
    }

    /// Whether part of a frame that the stack keeps is the application's: nothing may be written to it.
    #[inline]
    pub fn is_partly_lent(&self, frame: &Frame) -> bool {
        self.chunks[self.held(frame) as usize].partly_lent
    }

    /// Lends the last part of a frame, which is the application's then; `start` is where the part begins in
    /// it. Returns its offset in the UMEM. With the whole payload, what lies in front of it stays the
    /// stack's: headers may be written there ([`Ledger::headroom`]).
    #[inline]
    pub fn lend(&mut self, frame: Frame, start: u32) -> u64 {
        let chunk = self.held(&frame);
        let state = &mut self.chunks[chunk as usize];
        let partly = std::mem::take(&mut state.partly_lent);
        state.owner = Owner::App;
        self.lent_chunks += 1;
        let returns = self.umem().returns();
        // In front of a later part lies an earlier one.
        returns.set_front(chunk, if partly { 0 } else { start });
        if !partly {
            returns.add(chunk, 1);
        }
        self.address(chunk, start)
    }

    /// Takes a part back from the application, which names it by any of its addresses.
    ///
    /// # Errors
    /// [`AddressError`]: it names no memory that is lent.
    pub fn give_back(&mut self, addr: u64) -> Result<(), AddressError> {
        let (chunk, _) = self.locate(addr, 0)?;
        let state = &self.chunks[chunk as usize];
        // The last one counted is the stack's own hold, while it has the rest of the frame.
        if state.partly_lent && self.umem().returns().lent(chunk) < 2 {
            let owner = state.owner;
            return Err(AddressError::NotYours { addr, owner });
        }
        match self.umem().returns().subtract(chunk) {
            Some(true) => self.take_back(chunk),
            Some(false) => {}
            None => {
                let owner = self.chunks[chunk as usize].owner;
                return Err(AddressError::NotYours { addr, owner });
            }
        }
        Ok(())
    }

    /// Takes back what other threads have given back.
    #[inline]
    pub fn collect_returns(&mut self) {
        // Nearly always there is nothing.
        if self.umem().returns().is_empty() {
            return;
        }
        let umem = Arc::clone(self.umem());
        umem.returns().take(|chunk| self.take_back(chunk));
    }

    /// Has the next chunk that another thread gives back call what [`Umem::on_return`] was given. `false`:
    /// one has come back already.
    pub fn want_returns(&self) -> bool {
        self.umem().returns().want()
    }

    /// Bytes that are lent, as the application reads them: for tests and simulated applications.
    ///
    /// # Errors
    /// [`AddressError`]: they are in no chunk of which anything is lent.
    pub fn lent(&mut self, addr: u64, len: u32) -> Result<&[u8], AddressError> {
        let (chunk, _) = self.locate(addr, len)?;
        if self.umem().returns().lent(chunk) == 0 {
            let owner = self.chunks[chunk as usize].owner;
            return Err(AddressError::NotYours { addr, owner });
        }
        // SAFETY: `locate` checked that the bytes lie inside the UMEM, which `self` keeps mapped. A chunk
        // that is lent is in no fill ring, and leaves that state through this ledger only; whoever writes to
        // it for the stack (`bytes_mut`, `headroom_mut`) borrows the ledger, exclusively borrowed here.
        Ok(unsafe {
            let first = self.umem().as_ptr().add(addr as usize);
            std::slice::from_raw_parts(first, len as usize)
        })
    }

    /// The last part of a chunk is back.
    fn take_back(&mut self, chunk: u32) {
        // Who gives a part back twice, by different ways, has given back what the stack holds of a frame that
        // it goes on to lend: that stays the stack's.
        if self.chunks[chunk as usize].owner == Owner::App {
            self.lent_chunks -= 1;
            self.let_go(chunk);
        }
    }

    /// The stack lets go of a frame of which it has lent parts: it is the application's alone.
    pub(crate) fn release_lent(&mut self, chunk: u32) {
        let state = &mut self.chunks[chunk as usize];
        state.partly_lent = false;
        state.owner = Owner::App;
        self.umem().returns().set_front(chunk, 0);
        self.lent_chunks += 1;
        if self.umem().returns().subtract(chunk) == Some(true) {
            self.take_back(chunk);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.umem().returns().close();
    }
}

/// There is no ring any more that would receive into what is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is gone: nobody takes the memory back")]
pub struct RingGone;

/// Received bytes, where the NIC wrote them. The memory goes back to the ring when this and what was split
/// off it are dropped, from whatever thread, without a lock.
///
/// It outlives the ring: what was received stays readable.
pub struct Lent {
    umem: Arc<Umem>,
    /// An address does not say it: an empty part may lie at the end of a chunk.
    chunk: u32,
    addr: u64,
    len: u32,
}

impl Lent {
    /// What was lent at an offset of a UMEM: one part, which is this one's to give back.
    ///
    /// # Safety
    /// A ledger of this UMEM has lent a part with these bytes, and nobody else gives that part back.
    ///
    /// # Panics
    /// If the bytes are in no chunk that is lent.
    pub unsafe fn new(umem: Arc<Umem>, addr: u64, len: u32) -> Lent {
        let chunk_bytes = u64::from(umem.chunk_bytes());
        let chunk = (addr / chunk_bytes) as u32;
        let within = addr % chunk_bytes + u64::from(len) <= chunk_bytes;
        let known = umem.returns().lent(chunk) > 0;
        assert!(within && known, "lent: bytes that are not lent");
        Lent {
            umem,
            chunk,
            addr,
            len,
        }
    }

    /// Where the bytes lie in the UMEM.
    pub fn offset(&self) -> u64 {
        self.addr
    }

    /// Splits off the bytes before `at`.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use = "what is split off goes back when it is dropped"]
    pub fn split_to(&mut self, at: usize) -> Lent {
        assert!(at <= self.len as usize, "lent: split behind the end");
        self.umem.returns().add(self.chunk, 1);
        let front = Lent {
            umem: Arc::clone(&self.umem),
            chunk: self.chunk,
            addr: self.addr,
            len: at as u32,
        };
        self.addr += at as u64;
        self.len -= at as u32;
        front
    }

    /// Gives up the first `at` bytes. If nothing else of the chunk is lent they are the stack's again, for the
    /// headers of a packet with the rest: what is sent on from where it lies needs them.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn advance(&mut self, at: usize) {
        assert!(at <= self.len as usize, "lent: advanced behind the end");
        self.addr += at as u64;
        self.len -= at as u32;
        let returns = self.umem.returns();
        // Nobody can get another part of it: that takes one.
        if returns.lent(self.chunk) == 1 && returns.front(self.chunk) > 0 && self.len > 0 {
            let start = self.addr % u64::from(self.umem.chunk_bytes());
            returns.set_front(self.chunk, start as u32);
        }
    }

    /// Gives the memory back, as dropping does, and says whether there is a ring to have it.
    ///
    /// # Errors
    /// [`RingGone`].
    pub fn give_back(self) -> Result<(), RingGone> {
        let gone = self.umem.returns().is_closed();
        drop(self);
        if gone { Err(RingGone) } else { Ok(()) }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (returns, chunk) = (self.umem.returns(), self.chunk);
        if returns.subtract(chunk) == Some(true) {
            returns.put(chunk);
        }
    }
}

impl Deref for Lent {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` checked that the bytes lie in a chunk that is lent, by its caller's promise with
        // a part that is this one's. It stays lent until the part is given back, in `drop`; nobody writes
        // to the payload of a chunk that is lent (headers are written in front of it only).
        unsafe {
            let first = self.umem.as_ptr().add(self.addr as usize);
            std::slice::from_raw_parts(first, self.len as usize)
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Lent> for Bytes {
    /// The same memory, counted by `Bytes`.
    fn from(lent: Lent) -> Bytes {
        Bytes::from_owner(lent)
    }
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent")
            .field("addr", &self.addr)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "lend_tests.rs"]
mod tests;
