//! Who owns each chunk, and how many TX descriptors still point at it.

use std::sync::Arc;

use crate::borrow::Loans;
use crate::frame::{Frame, Piece};
use crate::layout::{AreaLayout, Pool};
use crate::memory::Umem;

/// Who has a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Its pool: nobody uses it.
    Free,
    /// The kernel, through the fill ring of this queue.
    Fill(u16),
    /// The stack, which has it from the RX ring and parses it.
    Rx,
    /// The stack, which took it from a pool.
    Stack,
    /// The application: lent to it, or part of a registered area.
    App,
    /// Only the NIC: whoever had it let go while descriptors were in flight.
    Tx,
}

/// An address from outside that the ledger does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not inside the UMEM.
    #[error("address {0:#x} is outside the UMEM")]
    Outside(u64),
    /// The bytes cross the end of their chunk.
    #[error("{len} bytes at {addr:#x} cross the end of the chunk")]
    CrossesChunk {
        /// Address of the first byte, relative to the UMEM.
        addr: u64,
        /// Number of bytes.
        len: u32,
    },
    /// The chunk belongs to somebody else.
    #[error("the chunk at {addr:#x} belongs to {owner:?}")]
    NotYours {
        /// The address, relative to the UMEM.
        addr: u64,
        /// Who has the chunk.
        owner: Owner,
    },
    /// No descriptor in flight points at the chunk.
    #[error("no TX descriptor in flight points at {0:#x}")]
    NotInFlight(u64),
}

/// What became of a chunk when a descriptor that pointed at it came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxDone {
    /// Somebody still holds it, or other descriptors point at it.
    Held(u32),
    /// That was the second key: the chunk is back in its pool.
    Freed(u32),
}

/// Chunks by owner. At every quiet point they sum to the number of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// In a pool.
    pub free: u32,
    /// In a fill ring.
    pub fill: u32,
    /// Received and being parsed or queued.
    pub rx: u32,
    /// Taken from a pool by the stack.
    pub stack: u32,
    /// Lent, or in a registered area.
    pub app: u32,
    /// Waiting for the NIC alone.
    pub tx: u32,
    /// TX descriptors in flight (not chunks).
    pub descriptors_in_flight: u32,
}

impl Census {
    /// Chunks in all.
    pub fn total(&self) -> u32 {
        self.free + self.fill + self.rx + self.stack + self.app + self.tx
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk {
    pub(crate) owner: Owner,
    pub(crate) in_flight: u16,
    /// Parts of a lent frame that the stack sends from where they lie.
    pub(crate) pins: u32,
    /// Headroom that the NIC may read, by slot.
    pub(crate) fronts: u32,
    /// The length of a slot, in a registered area with slots.
    pub(crate) slot_bytes: u16,
    /// The stack has lent a part of it, and has the rest.
    pub(crate) partly_lent: bool,
    /// `None`: it is part of a registered area.
    pub(crate) pool: Option<Pool>,
}

/// The owner of every chunk of one UMEM, and the only maker of its [`Frame`]s.
///
/// A chunk has two keys: its holder (stack or application) and the TX descriptors that point at it.
/// It goes back to its pool when both have let go, in either order.
#[derive(Debug)]
pub struct Ledger {
    umem: Arc<Umem>,
    /// The UMEM's id and length, which every packet needs several times, and its chunks' length as a
    /// power of two: a division takes as long as the rest of a look-up.
    pub(crate) umem_id: u32,
    len_bytes: usize,
    chunk_bits: u32,
    pub(crate) chunks: Vec<Chunk>,
    free: [Vec<u32>; 3],
    /// The first chunk behind each registered area.
    area_ends: Box<[u32]>,
    pub(crate) loans: Loans,
    /// RX chunks that are the application's.
    pub(crate) lent_chunks: u32,
}

impl Ledger {
    /// A ledger in which every pool is full.
    ///
    /// # Panics
    /// If the UMEM has a ledger already: two would hand out the same chunk twice.
    pub fn new(umem: Arc<Umem>) -> Ledger {
        assert!(umem.claim_ledger(), "a UMEM has one ledger");
        let layout = umem.layout();
        let total = (umem.len_bytes() / umem.chunk_bytes() as usize) as u32;
        let mut chunks: Vec<Chunk> = (0..total)
            .map(|chunk| {
                let pool = layout.pool_of(chunk);
                let owner = pool.map_or(Owner::App, |_| Owner::Free);
                Chunk {
                    owner,
                    in_flight: 0,
                    pins: 0,
                    fronts: 0,
                    slot_bytes: 0,
                    partly_lent: false,
                    pool,
                }
            })
            .collect();
        for (index, area) in layout.areas.iter().enumerate() {
            if let (AreaLayout::Slots { payload_bytes, .. }, Some(range)) =
                (area, layout.area_chunks(index))
            {
                let (slot_bytes, _) = layout.slot(*payload_bytes);
                for chunk in &mut chunks[range.start as usize..range.end as usize] {
                    chunk.slot_bytes = slot_bytes as u16;
                }
            }
        }
        // Lowest index on top, so that a lightly used pool stays on few pages.
        let free = Pool::ALL.map(|pool| layout.pool_chunks(pool).rev().collect());
        let areas = 0..layout.areas.len();
        let area_ends = areas.filter_map(|area| layout.area_chunks(area));
        let area_ends = area_ends.map(|chunks| chunks.end).collect();
        let chunk_bytes = umem.chunk_bytes();
        assert!(chunk_bytes.is_power_of_two(), "a layout has been checked");
        Ledger {
            umem_id: umem.id(),
            len_bytes: umem.len_bytes(),
            chunk_bits: chunk_bytes.trailing_zeros(),
            umem,
            chunks,
            free,
            area_ends,
            loans: Loans::default(),
            lent_chunks: 0,
        }
    }

    /// The UMEM whose chunks these are.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Bytes in a chunk.
    #[inline]
    pub fn chunk_bytes(&self) -> u32 {
        1 << self.chunk_bits
    }

    /// Chunks left in a pool.
    #[inline]
    pub fn free_chunks(&self, pool: Pool) -> u32 {
        self.free[pool.index()].len() as u32
    }

    /// Takes a chunk from a pool; `None` when it is empty.
    #[inline]
    pub fn alloc(&mut self, pool: Pool) -> Option<Frame> {
        let chunk = self.free[pool.index()].pop()?;
        let state = &mut self.chunks[chunk as usize];
        assert!(
            state.owner == Owner::Free && state.in_flight == 0,
            "ledger: a pooled chunk is in use"
        );
        state.owner = Owner::Stack;
        Some(Frame {
            chunk,
            umem: self.umem_id,
        })
    }

    /// Gives a frame up. Its chunk goes back to its pool, at once or when the last descriptor that
    /// points at it returns.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        let chunk = self.held(&frame);
        if self.chunks[chunk as usize].partly_lent {
            return self.release_lent(chunk);
        }
        self.let_go(chunk);
    }

    /// Hands a frame to the kernel for receiving; returns the address for the queue's fill ring.
    ///
    /// # Panics
    /// If a TX descriptor still points at the chunk: the NIC would read what it overwrites.
    #[inline]
    pub fn post_fill(&mut self, frame: Frame, queue: u16) -> u64 {
        let chunk = self.held(&frame);
        let state = &mut self.chunks[chunk as usize];
        assert!(
            state.in_flight == 0,
            "ledger: a chunk in flight cannot be filled"
        );
        state.owner = Owner::Fill(queue);
        self.address(chunk, 0)
    }

    /// Takes back what the kernel reports in a queue's RX ring.
    #[inline]
    pub fn claim(&mut self, queue: u16, addr: u64, len: u32) -> Result<Piece, AddressError> {
        let (chunk, start) = self.locate(addr, len)?;
        let state = &mut self.chunks[chunk as usize];
        if state.owner != Owner::Fill(queue) {
            return Err(AddressError::NotYours {
                addr,
                owner: state.owner,
            });
        }
        state.owner = Owner::Rx;
        let frame = Frame {
            chunk,
            umem: self.umem_id,
        };
        Ok(Piece { frame, start, len })
    }

    /// Has the processor fetch the first bytes of what the kernel reports, which [`claim`](Self::claim) will take:
    /// another core has written them. Of an address that is none nothing comes.
    #[inline]
    pub fn prefetch(&self, addr: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            const LINE_BYTES: usize = 64;
            let first = self.umem.as_ptr().cast_const().wrapping_add(addr as usize);
            // Headers, and where the payload begins.
            for line in [first, first.wrapping_add(LINE_BYTES)] {
                // SAFETY: a prefetch of any address has no effect but on caches (Intel SDM, PREFETCHh).
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = addr;
    }

    /// Counts a TX descriptor for bytes of a held frame; returns the address to put into it.
    ///
    /// # Panics
    /// If the bytes are not inside the frame.
    #[inline]
    pub fn post_tx(&mut self, frame: &Frame, start: u32, len: u32) -> u64 {
        let chunk = self.held(frame);
        let end = start.checked_add(len);
        assert!(
            end.is_some_and(|end| end <= self.chunk_bytes()),
            "ledger: descriptor outside its frame"
        );
        self.count_descriptor(chunk);
        self.address(chunk, start)
    }

    /// TX descriptors in flight that point at a held frame: what the NIC may still read.
    #[inline]
    pub fn in_flight(&self, frame: &Frame) -> u16 {
        self.chunks[self.held(frame) as usize].in_flight
    }

    /// The bytes that a descriptor in flight means, as the NIC will read them: for tests and
    /// simulated NICs.
    #[inline]
    pub fn described(&mut self, addr: u64, len: u32) -> Result<&[u8], AddressError> {
        let (chunk, start) = self.locate(addr, len)?;
        let state = &self.chunks[chunk as usize];
        // Of what is the application's only what a descriptor means: it may be writing to the rest.
        let own = matches!(state.pool, Some(Pool::Header | Pool::Send));
        if state.in_flight == 0 || !own && !self.is_described(addr, len) {
            return Err(AddressError::NotInFlight(addr));
        }
        let base = chunk as usize * self.chunk_bytes() as usize + start as usize;
        // SAFETY: `locate` checked that the bytes lie inside the UMEM, which `self` keeps mapped.
        // Whoever writes to a chunk of the stack's borrows the ledger (`bytes_mut`), which is borrowed
        // exclusively here; to what is described of the application's nobody writes (`borrow`).
        Ok(unsafe { std::slice::from_raw_parts(self.umem.as_ptr().add(base), len as usize) })
    }

    /// Takes back a descriptor that the kernel reports in a queue's completion ring.
    #[inline]
    pub fn tx_done(&mut self, queue: u16, addr: u64) -> Result<TxDone, AddressError> {
        let (chunk, _) = self.locate(addr, 0)?;
        let state = &mut self.chunks[chunk as usize];
        // The stack's own packets are in no other pools.
        if !matches!(state.pool, Some(Pool::Header | Pool::Send)) {
            return self.borrowed_done(queue, addr);
        }
        if state.in_flight == 0 {
            return Err(AddressError::NotInFlight(addr));
        }
        state.in_flight -= 1;
        if self.settle(chunk) {
            return Ok(TxDone::Freed(chunk));
        }
        Ok(TxDone::Held(chunk))
    }

    /// The bytes of a held frame.
    #[inline]
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let (base, len) = self.span(frame);
        // SAFETY: `span` checked that the chunk lies in this UMEM, which `self` keeps mapped. A
        // frame is unique for its chunk (only this ledger makes one, and only when no other exists),
        // so nobody writes while it is borrowed; the kernel writes to chunks in a fill ring only.
        unsafe { std::slice::from_raw_parts(base, len) }
    }

    /// The bytes of a held frame, for writing.
    ///
    /// # Panics
    /// If part of it is lent: the application reads that.
    #[inline]
    pub fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let (base, len) = self.span(frame);
        assert!(
            !self.chunks[frame.chunk as usize].partly_lent,
            "ledger: part of the frame is lent"
        );
        // SAFETY: as in `bytes`; the exclusive borrow of the unique frame makes this one exclusive, and the
        // application has no part of it.
        unsafe { std::slice::from_raw_parts_mut(base, len) }
    }

    /// The bytes that a piece means.
    #[inline]
    pub fn piece<'a>(&'a self, piece: &'a Piece) -> &'a [u8] {
        &self.bytes(&piece.frame)[piece.start as usize..(piece.start + piece.len) as usize]
    }

    /// Counts the chunks by owner. Walks all of them: for reports and checks, not for a turn.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for chunk in &self.chunks {
            *match chunk.owner {
                Owner::Free => &mut census.free,
                Owner::Fill(_) => &mut census.fill,
                Owner::Rx => &mut census.rx,
                Owner::Stack => &mut census.stack,
                Owner::App => &mut census.app,
                Owner::Tx => &mut census.tx,
            } += 1;
            census.descriptors_in_flight += u32::from(chunk.in_flight);
        }
        census
    }

    /// The owner of a chunk, for checks.
    pub fn owner(&self, chunk: u32) -> Option<Owner> {
        self.chunks.get(chunk as usize).map(|chunk| chunk.owner)
    }

    #[inline]
    fn span(&self, frame: &Frame) -> (*mut u8, usize) {
        assert!(
            frame.umem == self.umem_id,
            "ledger: a frame of another UMEM"
        );
        let len = self.chunk_bytes() as usize;
        let start = frame.chunk as usize * len;
        assert!(
            start + len <= self.len_bytes,
            "ledger: a frame outside its UMEM"
        );
        // SAFETY: `start` is inside the mapping, checked in the line above.
        (unsafe { self.umem.as_ptr().add(start) }, len)
    }

    #[inline]
    pub(crate) fn held(&self, frame: &Frame) -> u32 {
        assert!(
            frame.umem == self.umem_id,
            "ledger: a frame of another UMEM"
        );
        let owner = self.chunks[frame.chunk as usize].owner;
        if !matches!(owner, Owner::Rx | Owner::Stack) {
            not_held(owner);
        }
        frame.chunk
    }

    #[inline]
    pub(crate) fn let_go(&mut self, chunk: u32) {
        let state = &mut self.chunks[chunk as usize];
        #[cfg(feature = "broken-ledger")]
        (state.in_flight = 0);
        state.owner = Owner::Tx;
        self.settle(chunk);
    }

    /// Returns a chunk to its pool that nobody has and nothing points at any more; says whether it did.
    #[inline]
    pub(crate) fn settle(&mut self, chunk: u32) -> bool {
        let state = &self.chunks[chunk as usize];
        let done = state.owner == Owner::Tx && state.in_flight == 0 && state.pins == 0;
        if done {
            self.return_chunk(chunk);
        }
        done
    }

    /// The registered area that a chunk is in, which is in no pool.
    #[inline]
    pub(crate) fn area_of(&self, chunk: u32) -> usize {
        self.area_ends.partition_point(|&end| end <= chunk)
    }

    #[inline]
    fn return_chunk(&mut self, chunk: u32) {
        let state = &mut self.chunks[chunk as usize];
        let pool = state.pool.expect("ledger: a registered chunk has no pool");
        state.owner = Owner::Free;
        self.free[pool.index()].push(chunk);
    }

    #[inline]
    pub(crate) fn count_descriptor(&mut self, chunk: u32) {
        let in_flight = &mut self.chunks[chunk as usize].in_flight;
        *in_flight = in_flight
            .checked_add(1)
            .expect("ledger: more than 65535 descriptors point at a chunk");
    }

    #[inline]
    pub(crate) fn locate(&self, addr: u64, len: u32) -> Result<(u32, u32), AddressError> {
        if addr >= self.len_bytes as u64 {
            return Err(AddressError::Outside(addr));
        }
        let chunk_bytes = u64::from(self.chunk_bytes());
        let start = addr & (chunk_bytes - 1);
        if start + u64::from(len) > chunk_bytes {
            return Err(AddressError::CrossesChunk { addr, len });
        }
        Ok(((addr >> self.chunk_bits) as u32, start as u32))
    }

    #[inline]
    pub(crate) fn address(&self, chunk: u32, start: u32) -> u64 {
        (u64::from(chunk) << self.chunk_bits) + u64::from(start)
    }
}

/// Out of the way of those who hold what they should.
#[cold]
fn not_held(owner: Owner) -> ! {
    panic!("ledger: a frame whose chunk belongs to {owner:?}")
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
