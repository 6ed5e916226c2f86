//! The application's memory in the stack's hands: payloads that are sent from where they lie.
//!
//! A *loan* counts what still needs the memory of one request: the request itself, the parts that the stack
//! has queued ([`Borrowed`]), and the descriptors that point at them. When the count comes to nothing, the loan
//! is repaid, and the application may have its memory back.

use std::collections::VecDeque;

use crate::layout::HEADROOM;
use crate::ledger::{AddressError, Ledger, Owner, TxDone};
use crate::memory::{FrozenArea, Umem};

/// Names a loan from when it begins until it is repaid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoanId(u32);

impl LoanId {
    /// A small number, which no other loan has at the same time.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A loan that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repaid {
    /// Which one.
    pub loan: LoanId,
    /// Whether all that was sent of it went out from where it lay.
    pub uncopied: bool,
}

#[derive(Clone, Copy, Debug)]
struct Loan {
    references: u32,
    /// The reference that it began with is still counted.
    open: bool,
    described: bool,
    copied: bool,
}

/// A descriptor in flight that points at the application's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    addr: u64,
    /// With the headers in front.
    len: u32,
    loan: LoanId,
    /// The bit of the headroom that it begins with, if it does.
    front: u32,
}

/// The loans of a ledger.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    loans: Vec<Loan>,
    free: Vec<LoanId>,
    repaid: VecDeque<LoanId>,
    /// Descriptors with the NIC, in the order of each queue's TX ring.
    pub(crate) in_flight: Vec<VecDeque<Descriptor>>,
    /// Those that were in flight when the sockets were closed.
    pub(crate) abandoned: VecDeque<Descriptor>,
}

impl Loans {
    fn add(&mut self, id: LoanId) {
        self.loans[id.index()].references += 1;
    }

    fn subtract(&mut self, id: LoanId) {
        let loan = &mut self.loans[id.index()];
        loan.references = loan
            .references
            .checked_sub(1)
            .expect("ledger: a loan is repaid once");
        if loan.references == 0 {
            self.repaid.push_back(id);
        }
    }

    fn add_part(&mut self, id: LoanId) {
        if !cfg!(feature = "broken-loans") {
            self.add(id);
        }
    }

    fn subtract_part(&mut self, id: LoanId) {
        if !cfg!(feature = "broken-loans") {
            self.subtract(id);
        }
    }
}

/// Consecutive bytes of the application's, which the stack may read and describe until it repays them.
#[derive(Debug)]
#[must_use = "borrowed memory must be repaid with Ledger::repay"]
pub struct Borrowed {
    addr: u64,
    len: u32,
    loan: LoanId,
    /// The bit of the headroom in front of it, while that has headers of no descriptor yet.
    front: u32,
    /// The bit of the registered slot whose payload it begins, if it does.
    slot: u32,
    umem: u32,
}

impl Borrowed {
    /// Number of bytes.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes. To read them is what zero copy is to avoid: it is for checksums and copies.
    ///
    /// # Panics
    /// If they are of another UMEM.
    #[inline]
    pub fn bytes<'a>(&'a self, umem: &'a Umem) -> &'a [u8] {
        assert!(
            umem.id() == self.umem,
            "ledger: what is borrowed is of another UMEM"
        );
        // SAFETY: `Ledger::borrow` checked that the bytes lie in this UMEM; its caller promised that nobody
        // writes to them before the loan is repaid, of which this part is a reference.
        unsafe {
            let first = umem.as_ptr().add(self.addr as usize);
            std::slice::from_raw_parts(first, self.len as usize)
        }
    }

    /// What needs it.
    pub fn loan(&self) -> LoanId {
        self.loan
    }

    /// Descriptors that it takes.
    #[inline]
    pub fn descriptors(&self, ledger: &Ledger) -> u32 {
        self.descriptors_of(ledger, 0, self.len)
    }

    /// Descriptors that `len` bytes of it from `start` on take.
    #[inline]
    pub fn descriptors_of(&self, ledger: &Ledger, start: u32, len: u32) -> u32 {
        if len == 0 {
            return 0;
        }
        let first = self.addr + u64::from(start);
        let last = first + u64::from(len) - 1;
        1 + ledger.chunk_of(last) - ledger.chunk_of(first)
    }

    /// The least number of bytes that lie, in its chunk, in front of a descriptor for `len` bytes from `start` on.
    #[inline]
    pub fn room_of(&self, ledger: &Ledger, start: u32, len: u32) -> u32 {
        match self.descriptors_of(ledger, start, len) {
            // Those behind the first begin their chunks.
            2.. => 0,
            _ => (self.addr as u32).wrapping_add(start) & (ledger.chunk_bytes() - 1),
        }
    }

    /// Bytes from `start` on that a descriptor can name: it must not cross the end of a chunk.
    #[inline]
    pub fn describable(&self, ledger: &Ledger, start: u32) -> u32 {
        let chunk = u64::from(ledger.chunk_bytes());
        let left = chunk - (self.addr + u64::from(start)) % chunk;
        (self.len - start).min(left as u32)
    }
}

impl Ledger {
    /// Begins a loan, which the caller counts as one reference to.
    pub fn begin_loan(&mut self) -> LoanId {
        let loan = Loan {
            references: 1,
            open: true,
            described: false,
            copied: false,
        };
        let loans = &mut self.loans;
        match loans.free.pop() {
            Some(id) => {
                loans.loans[id.index()] = loan;
                id
            }
            None => {
                loans.loans.push(loan);
                LoanId((loans.loans.len() - 1) as u32)
            }
        }
    }

    /// Gives up the reference of [`Ledger::begin_loan`].
    ///
    /// # Panics
    /// If that was given up before.
    pub fn end_loan(&mut self, loan: LoanId) {
        let open = std::mem::take(&mut self.loans.loans[loan.index()].open);
        assert!(open, "ledger: a loan ends once");
        self.loans.subtract(loan);
    }

    /// Whether a loan is over that was not asked for.
    pub fn has_repaid(&self) -> bool {
        !self.loans.repaid.is_empty()
    }

    /// The next loan that is over; its id may be another's afterwards.
    #[inline]
    pub fn next_repaid(&mut self) -> Option<Repaid> {
        let id = self.loans.repaid.pop_front()?;
        self.loans.free.push(id);
        let loan = self.loans.loans[id.index()];
        Some(Repaid {
            loan: id,
            uncopied: loan.described && !loan.copied,
        })
    }

    /// Notes that a part of what was lent was copied after all.
    pub fn note_copied(&mut self, loan: LoanId) {
        self.loans.loans[loan.index()].copied = true;
    }

    /// Whether bytes at an offset in the UMEM are the application's in one piece: in a registered area (in
    /// one slot, where it has slots), or in a frame that was lent to it.
    pub fn is_lendable(&self, addr: u64, len: u32) -> bool {
        self.check_lendable(addr, len).is_ok()
    }

    /// Borrows bytes at an offset in the UMEM, for a loan.
    ///
    /// # Errors
    /// [`AddressError`]: they are not the application's in one piece.
    ///
    /// # Safety
    /// Nobody writes to them before the loan is repaid ([`Ledger::next_repaid`]), which is one of this ledger's
    /// that has not ended. A frame that was lent may be given back meanwhile.
    pub unsafe fn borrow(
        &mut self,
        loan: LoanId,
        addr: u64,
        len: u32,
    ) -> Result<Borrowed, AddressError> {
        let slot = self.check_lendable(addr, len)?;
        self.loans.add_part(loan);
        let borrowed = Borrowed {
            addr,
            len,
            loan,
            front: 0,
            slot,
            umem: self.umem_id,
        };
        self.pin(&borrowed);
        Ok(borrowed)
    }

    /// Borrows a part of an area that nobody writes to any more.
    ///
    /// # Panics
    /// If the area is of another UMEM, or has no such part.
    pub fn borrow_frozen(
        &mut self,
        loan: LoanId,
        area: &FrozenArea,
        (start, len): (u32, u32),
    ) -> Borrowed {
        let part = area.get(start as usize..);
        let there = part.is_some_and(|part| len as usize <= part.len());
        let first = area.offset_in(self.umem()).filter(|_| there);
        let first = first.expect("ledger: no part of an area of this UMEM");
        // SAFETY: there is no way to write to a frozen area: it was taken once, and given up.
        let borrowed = unsafe { self.borrow(loan, first + u64::from(start), len) };
        borrowed.expect("ledger: an area is the application's")
    }

    /// A part of what is borrowed, to be repaid on its own.
    ///
    /// # Panics
    /// If it is no part of it, or of another UMEM.
    pub fn share(&mut self, borrowed: &Borrowed, start: u32, len: u32) -> Borrowed {
        self.check_own(borrowed);
        assert!(
            start
                .checked_add(len)
                .is_some_and(|end| end <= borrowed.len),
            "ledger: a part outside of what is borrowed"
        );
        self.loans.add_part(borrowed.loan);
        let part = Borrowed {
            addr: borrowed.addr + u64::from(start),
            len,
            loan: borrowed.loan,
            front: 0,
            slot: if start == 0 { borrowed.slot } else { 0 },
            umem: borrowed.umem,
        };
        self.pin(&part);
        part
    }

    /// Needs borrowed memory no longer.
    ///
    /// # Panics
    /// If it is of another UMEM.
    #[inline]
    pub fn repay(&mut self, borrowed: Borrowed) {
        self.check_own(&borrowed);
        self.loans.subtract_part(borrowed.loan);
        let chunk = self.chunk_of(borrowed.addr);
        let state = &mut self.chunks[chunk as usize];
        state.fronts &= !borrowed.front;
        if state.pool.is_some() {
            state.pins -= 1;
            self.settle(chunk);
        }
    }

    /// Splits off the first `at` bytes, to be repaid on their own.
    ///
    /// # Panics
    /// If there are no more than these.
    pub fn split_to(&mut self, borrowed: &mut Borrowed, at: u32) -> Borrowed {
        assert!(at < borrowed.len, "ledger: nothing is left to split off");
        let first = self.share(borrowed, 0, at);
        if at > 0 {
            borrowed.slot = 0;
        }
        borrowed.addr += u64::from(at);
        borrowed.len -= at;
        first
    }

    /// Bytes in front of it that headers can be written to now: they belong to the stack, and neither the NIC
    /// nor another packet has headers there. 0: there are none.
    #[inline]
    pub fn headroom(&self, borrowed: &Borrowed) -> u32 {
        self.free_front(borrowed).map_or(0, |it| it.2)
    }

    /// Whether there are such bytes in front of it, though they may be in use now.
    pub fn has_headroom(&self, borrowed: &Borrowed) -> bool {
        self.front(borrowed).is_some()
    }

    /// The last `len` bytes in front of it, for headers. They are this packet's until their descriptor comes
    /// back, or what is borrowed is repaid without one.
    ///
    /// # Panics
    /// If [`Ledger::headroom`] is less, or what is borrowed is of another UMEM.
    #[inline]
    pub fn headroom_mut(&mut self, borrowed: &mut Borrowed, len: u32) -> &mut [u8] {
        self.check_own(borrowed);
        let front = self.free_front(borrowed).filter(|it| len <= it.2);
        let (chunk, bit, _) = front.expect("ledger: no headroom there");
        self.chunks[chunk as usize].fronts |= bit;
        borrowed.front = bit;
        // SAFETY: there are as many, and no other packet's.
        unsafe { self.in_front(borrowed, len) }
    }

    /// Counts a descriptor of a queue for the first `len` borrowed bytes with headers in front of them, `headers`
    /// bytes, which `write` writes behind `room` more that are not described; returns the address to put into
    /// it. `None`: so much room in front there is not now.
    ///
    /// # Panics
    /// If fewer bytes are borrowed, or they are of another UMEM.
    #[inline]
    pub fn post_behind(
        &mut self,
        queue: u16,
        borrowed: &mut Borrowed,
        len: u32,
        (room, headers): (u32, u32),
        write: impl FnOnce(&mut [u8]),
    ) -> Option<u64> {
        self.check_own(borrowed);
        let front = self.free_front(borrowed);
        let (chunk, bit, _) = front.filter(|it| room + headers <= it.2)?;
        // With room in front it is in one chunk.
        assert!(
            len <= borrowed.len,
            "ledger: a descriptor outside of what is borrowed"
        );
        self.chunks[chunk as usize].fronts |= bit;
        // They are the descriptor's now.
        borrowed.front = 0;
        // SAFETY: there are as many, and no other packet's.
        write(unsafe { self.in_front(borrowed, room + headers) });
        let descriptor = Descriptor {
            addr: borrowed.addr - u64::from(headers),
            len: headers + len,
            loan: borrowed.loan,
            front: bit,
        };
        self.post_descriptor(queue, chunk, descriptor);
        Some(descriptor.addr)
    }

    /// Counts a descriptor of a queue for borrowed bytes, with `front` bytes of headers that were written in
    /// front of them; returns the address to put into it.
    ///
    /// # Panics
    /// If the bytes are not borrowed, or not in one chunk, or there are no headers in front of them, or they are
    /// of another UMEM.
    #[inline]
    pub fn post_borrowed(
        &mut self,
        queue: u16,
        borrowed: &mut Borrowed,
        (start, len): (u32, u32),
        front: u32,
    ) -> u64 {
        self.check_own(borrowed);
        assert!(
            start <= borrowed.len && len <= borrowed.describable(self, start),
            "ledger: a descriptor outside of what is borrowed"
        );
        let at = borrowed.addr + u64::from(start);
        let mut bit = 0;
        if front > 0 {
            bit = std::mem::take(&mut borrowed.front);
            assert!(
                start == 0 && bit != 0 && self.front(borrowed).is_some_and(|it| front <= it.2),
                "ledger: headers that were not written"
            );
        }
        let descriptor = Descriptor {
            addr: at - u64::from(front),
            len: front + len,
            loan: borrowed.loan,
            front: bit,
        };
        self.post_descriptor(queue, self.chunk_of(at), descriptor);
        descriptor.addr
    }

    #[inline]
    fn post_descriptor(&mut self, queue: u16, chunk: u32, descriptor: Descriptor) {
        self.count_descriptor(chunk);
        if !cfg!(feature = "broken-returns") {
            self.loans.add(descriptor.loan);
        }
        self.loans.loans[descriptor.loan.index()].described = true;
        let (in_flight, queue) = (&mut self.loans.in_flight, usize::from(queue));
        if in_flight.len() <= queue {
            in_flight.resize_with(queue + 1, Default::default);
        }
        in_flight[queue].push_back(descriptor);
    }

    /// The last `len` bytes in front of what is borrowed.
    ///
    /// # Safety
    /// They are headroom in its chunk, and in no descriptor in flight.
    #[inline]
    unsafe fn in_front(&mut self, borrowed: &Borrowed, len: u32) -> &mut [u8] {
        let first = borrowed.addr - u64::from(len);
        // SAFETY: as headroom they lie in front of a payload in the same chunk, where they are nobody's but the
        // stack's: the application is lent what follows them, and no descriptor that names them is in flight.
        // They are borrowed with the ledger, exclusively.
        unsafe {
            let first = self.umem().as_ptr().add(first as usize);
            std::slice::from_raw_parts_mut(first, len as usize)
        }
    }

    /// Takes back a descriptor that points at a chunk which is not the stack's own.
    pub(crate) fn borrowed_done(&mut self, queue: u16, addr: u64) -> Result<TxDone, AddressError> {
        let in_flight = self.loans.in_flight.get_mut(usize::from(queue));
        // The kernel takes descriptors in the order of the ring. Of several with one address the first is
        // the one that came back: the later ones were not read before it.
        let found = in_flight.and_then(|in_flight| {
            if in_flight.front()?.addr == addr {
                return in_flight.pop_front();
            }
            let index = in_flight.iter().position(|it| it.addr == addr)?;
            in_flight.remove(index)
        });
        let descriptor = found.ok_or(AddressError::NotInFlight(addr))?;
        Ok(self.descriptor_done(descriptor))
    }

    /// A descriptor that points at a chunk which is not the stack's own has come back, and is on no list any more.
    #[inline]
    pub(crate) fn descriptor_done(&mut self, descriptor: Descriptor) -> TxDone {
        let chunk = self.chunk_of(descriptor.addr);
        let state = &mut self.chunks[chunk as usize];
        state.in_flight -= 1;
        state.fronts &= !descriptor.front;
        if !cfg!(feature = "broken-returns") {
            self.loans.subtract(descriptor.loan);
        }
        if self.settle(chunk) {
            return TxDone::Freed(chunk);
        }
        TxDone::Held(chunk)
    }

    /// A frame that the application may give back meanwhile is kept.
    fn pin(&mut self, borrowed: &Borrowed) {
        let chunk = self.chunk_of(borrowed.addr);
        let state = &mut self.chunks[chunk as usize];
        if state.pool.is_some() {
            state.pins += 1;
        }
    }

    /// Whether bytes are the application's in one piece; the bit of the registered slot whose payload they
    /// begin, or 0.
    fn check_lendable(&self, addr: u64, len: u32) -> Result<u32, AddressError> {
        let (first, start) = self.locate(addr, 0)?;
        let state = &self.chunks[first as usize];
        if state.owner != Owner::App {
            let owner = state.owner;
            return Err(AddressError::NotYours { addr, owner });
        }
        let chunk = self.chunk_bytes();
        let within = |begin: u32, end: u32| {
            start >= begin && u64::from(start) + u64::from(len) <= u64::from(end)
        };
        let (in_one_piece, slot) = match (state.pool, u32::from(state.slot_bytes)) {
            (Some(_), _) => (within(self.umem().returns().front(first), chunk), 0),
            (None, 0) => {
                let last = addr + u64::from(len.max(1)) - 1;
                let (last, _) = self.locate(last, 0)?;
                (self.area_of(first) == self.area_of(last), 0)
            }
            (None, slot) => {
                let index = start / slot;
                let (begin, end) = (index * slot + HEADROOM, (index + 1) * slot);
                let bit = if start == begin { 1 << index } else { 0 };
                // What is left of a chunk behind its slots is none.
                (end <= chunk && within(begin, end), bit)
            }
        };
        match in_one_piece {
            true => Ok(slot),
            false => Err(AddressError::CrossesChunk { addr, len }),
        }
    }

    #[inline]
    fn check_own(&self, borrowed: &Borrowed) {
        assert!(
            borrowed.umem == self.umem_id,
            "ledger: what is borrowed is of another UMEM"
        );
    }

    /// Whether a descriptor in flight means all of these bytes of the application's memory.
    pub(crate) fn is_described(&self, addr: u64, len: u32) -> bool {
        let mut in_flight = self.loans.in_flight.iter().flatten();
        in_flight.any(|it| it.addr <= addr && addr + u64::from(len) <= it.addr + u64::from(it.len))
    }

    /// What lies in front of a payload: its chunk, the bit for it there, and how many bytes.
    #[inline]
    fn front(&self, borrowed: &Borrowed) -> Option<(u32, u32, u32)> {
        let chunk = self.chunk_of(borrowed.addr);
        if borrowed.slot != 0 {
            return Some((chunk, borrowed.slot, HEADROOM));
        }
        // Of a lent frame: that is another as its guard gives up bytes.
        self.chunks[chunk as usize].pool?;
        let front = self.umem().returns().front(chunk);
        let start = borrowed.addr as u32 & (self.chunk_bytes() - 1);
        (front > 0 && start == front).then_some((chunk, 1, front))
    }

    /// The same, unless another packet has headers there.
    #[inline]
    fn free_front(&self, borrowed: &Borrowed) -> Option<(u32, u32, u32)> {
        self.front(borrowed).filter(|&(chunk, bit, _)| {
            let taken = self.chunks[chunk as usize].fronts & !borrowed.front;
            taken & bit == 0
        })
    }

    #[inline]
    fn chunk_of(&self, addr: u64) -> u32 {
        (addr >> self.chunk_bytes().trailing_zeros()) as u32
    }
}

#[cfg(test)]
#[path = "borrow_tests.rs"]
mod tests;
