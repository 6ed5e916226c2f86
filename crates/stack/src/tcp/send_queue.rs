//! What an application has sent and the peer has not acknowledged: bytes in cells, each as long as one
//! segment, with room for its headers in front. A segment that is a whole cell goes out where it lies. A
//! *borrowed* cell is memory of the application's, of any length.

mod borrowed;

use std::collections::VecDeque;

use ringwire_tcp::SeqNumber;
use ringwire_umem::{Borrowed, Frame, Ledger};

use super::spares::Spares;
use crate::TxChecksum;
use crate::checksum::Checksum;
use crate::plan::PlanLimits;

/// Room in front of a cell's payload.
pub(crate) const HEADROOM: usize = ringwire_umem::HEADROOM as usize;

/// What borrowed bytes count as a chunk, and what each part of them counts beside its bytes: nobody is to queue
/// millions of short ones.
const CHUNK_BYTES: usize = 4096;
const PART_BYTES: usize = 256;

/// A chunk that holds one or more cells.
#[derive(Debug)]
struct Block {
    frame: Frame,
    /// Cells that were ever made in it, and how long each may be with its headroom: the longest segment
    /// may have changed since.
    used: u32,
    slot_bytes: u32,
}

impl Block {
    /// Bytes that a cell of it holds.
    #[inline]
    fn cell_room(&self, mss: usize) -> usize {
        mss.min(self.slot_bytes as usize - HEADROOM)
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    seq: SeqNumber,
    /// Serial number of its block, or among the borrowed.
    block: u32,
    /// Where its payload begins in the chunk, and how long it is: a chunk has 4096 bytes at most.
    start: u16,
    len: u16,
    /// Over its bytes, folded.
    sum: u16,
    /// It was part of a segment: its bytes stay as they are.
    sent: bool,
    borrowed: bool,
}

impl Cell {
    fn end(&self) -> SeqNumber {
        self.seq + u32::from(self.len)
    }
}

/// Where queued bytes lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Where the bytes begin in their chunk.
    pub(crate) start: u32,
    /// Over the bytes, where they are a whole cell.
    pub(crate) sum: Option<Checksum>,
    /// They begin their cell: what lies in front of them is headroom.
    pub(crate) first: bool,
    /// No part of the cell was sent before.
    pub(crate) fresh: bool,
}

/// The queue of a connection. It has memory only while something is queued: of many connections most
/// are idle, and what one lets go of the next finds in the cache.
#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    queued: Option<Box<Queued>>,
}

/// Memory of queues in which nothing is.
pub(crate) type SendSpares = Spares<Box<Queued>>;

#[derive(Debug, Default)]
pub(crate) struct Queued {
    cells: VecDeque<Cell>,
    blocks: VecDeque<Block>,
    /// Serial number of the first block.
    base: u32,
    /// The memory of the borrowed cells, in order; the serial number of the first; and how many bytes.
    borrowed: VecDeque<Borrowed>,
    borrowed_base: u32,
    borrowed_bytes: usize,
    /// All cells before this one are borrowed.
    copied_from: usize,
    /// Index of the cell that was sent last: the next one is nearly always the one behind it.
    cursor: usize,
}

impl SendQueue {
    /// Chunks in use; borrowed memory counts as what it would take.
    #[inline]
    pub(crate) fn chunks(&self) -> u32 {
        self.queued.as_ref().map_or(0, |queued| {
            let borrowed = queued.borrowed_bytes + queued.borrowed.len() * PART_BYTES;
            (queued.blocks.len() + borrowed / CHUNK_BYTES) as u32
        })
    }

    /// Bytes that fit into the last cell: it has not been sent, and is not full.
    pub(crate) fn tail_room(&self, mss: usize) -> usize {
        self.queued
            .as_ref()
            .map_or(0, |queued| queued.tail_room(mss))
    }

    /// Whether another cell fits into the last chunk.
    pub(crate) fn has_spare_cell(&self, chunk_bytes: u32) -> bool {
        let fits = |block: &Block| (block.used + 1) * block.slot_bytes <= chunk_bytes;
        let last = self.queued.as_ref().and_then(|queued| queued.blocks.back());
        last.is_some_and(fits)
    }

    /// Makes room for `cells` more cells, `slots` of them in a chunk; the first call for an empty queue.
    pub(crate) fn reserve(&mut self, spares: &mut SendSpares, cells: usize, slots: u32) {
        let memory = || spares.take().unwrap_or_default();
        let queued = self.queued.get_or_insert_with(memory);
        queued.cells.reserve(cells);
        queued.blocks.reserve(cells.div_ceil(slots as usize));
    }

    /// Makes a cell in a chunk of its own, for bytes from `seq` on; returns how many fit. Cells of the
    /// chunk have so many bytes, headroom included.
    #[inline]
    pub(crate) fn add_chunk(
        &mut self,
        frame: Frame,
        slot_bytes: u32,
        seq: SeqNumber,
        mss: usize,
    ) -> usize {
        let queued = self.there();
        let block = Block {
            frame,
            used: 1,
            slot_bytes,
        };
        let room = block.cell_room(mss);
        queued.blocks.push_back(block);
        queued.push_cell(seq, HEADROOM as u32);
        room
    }

    /// Makes a cell in the last chunk, as above.
    #[inline]
    pub(crate) fn add_cell(&mut self, seq: SeqNumber, mss: usize) -> usize {
        self.there().add_cell(seq, mss)
    }

    /// Writes `len` bytes behind those of the last cell, and adds them to its sum if sums are wanted.
    pub(crate) fn write(
        &mut self,
        ledger: &Ledger,
        len: usize,
        checksum: TxChecksum,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        self.there().write(ledger, len, checksum, fill);
    }

    /// How many bytes from `seq` on can be in one segment: they lie in one cell, or in borrowed ones. Of these
    /// no more than `most` are looked at, which is more than a segment has.
    #[inline]
    pub(crate) fn contiguous(
        &self,
        ledger: &Ledger,
        limits: PlanLimits,
        most: u32,
        seq: SeqNumber,
    ) -> u32 {
        let Some(queued) = &self.queued else {
            return 0;
        };
        let Some(index) = queued.find(seq) else {
            return 0;
        };
        let cell = &queued.cells[index];
        if cell.borrowed {
            return queued.describable(ledger, limits, most, index, seq);
        }
        cell.end().since(seq)
    }

    /// How many cells from `seq` on, `most` at most, have `len` bytes each and were not sent, where the
    /// first of them lies behind the one that was sent last.
    pub(crate) fn whole_cells(&self, seq: SeqNumber, len: u32, most: u32) -> u32 {
        let Some(queued) = &self.queued else {
            return 0;
        };
        let next = queued.cursor + 1;
        if queued.cells.get(next).is_none_or(|cell| cell.seq != seq) {
            return 0;
        }
        let behind = queued.cells.range(next..).take(most as usize);
        let whole = |cell: &&Cell| u32::from(cell.len) == len && !cell.sent && !cell.borrowed;
        behind.take_while(whole).count() as u32
    }

    /// Where `len` bytes from `seq` on lie, which are in one cell, and in which frame; they count as
    /// sent.
    #[inline]
    pub(crate) fn take(&mut self, seq: SeqNumber, len: u32) -> (Place, &mut Frame) {
        self.there().take(seq, len)
    }

    /// The same for the `len` bytes of the cell behind the one that was sent last.
    #[inline]
    pub(crate) fn take_next(&mut self, len: u32) -> (Place, &mut Frame) {
        let queued = self.there();
        queued.take_at(queued.cursor + 1, 0, len)
    }

    /// Lets go of everything before `una`.
    pub(crate) fn acknowledged(
        &mut self,
        una: SeqNumber,
        spares: &mut SendSpares,
        ledger: &mut Ledger,
    ) {
        if let Some(queued) = &mut self.queued {
            queued.acknowledged(una, ledger);
            if queued.cells.is_empty() {
                self.spare(spares);
            }
        }
    }

    /// Gives away the memory of the queue, which is empty.
    fn spare(&mut self, spares: &mut SendSpares) {
        if let Some(mut queued) = self.queued.take() {
            (queued.base, queued.borrowed_base) = (0, 0);
            (queued.copied_from, queued.cursor) = (0, 0);
            let entries = queued.cells.capacity() + queued.blocks.capacity();
            let entries = entries + queued.borrowed.capacity();
            spares.give(queued, entries);
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self, spares: &mut SendSpares, ledger: &mut Ledger) {
        let Some(queued) = &mut self.queued else {
            return;
        };
        queued.cells.clear();
        queued.borrowed_bytes = 0;
        for part in queued.borrowed.drain(..) {
            ledger.repay(part);
        }
        for block in queued.blocks.drain(..) {
            ledger.release(block.frame);
        }
        self.spare(spares);
    }

    fn there(&mut self) -> &mut Queued {
        self.queued
            .as_deref_mut()
            .expect("send queue: there was room made")
    }
}

impl Queued {
    fn tail_room(&self, mss: usize) -> usize {
        match (self.cells.back(), self.blocks.back()) {
            (Some(cell), Some(block)) if !cell.sent && !cell.borrowed => {
                block.cell_room(mss).saturating_sub(cell.len as usize)
            }
            _ => 0,
        }
    }

    #[inline]
    fn add_cell(&mut self, seq: SeqNumber, mss: usize) -> usize {
        let block = self
            .blocks
            .back_mut()
            .expect("send queue: a chunk was added");
        let start = block.used * block.slot_bytes + HEADROOM as u32;
        block.used += 1;
        let room = block.cell_room(mss);
        self.push_cell(seq, start);
        room
    }

    #[inline]
    fn push_cell(&mut self, seq: SeqNumber, start: u32) {
        self.cells.push_back(Cell {
            seq,
            block: self.base.wrapping_add(self.blocks.len() as u32 - 1),
            start: start as u16,
            len: 0,
            sum: 0,
            sent: false,
            borrowed: false,
        });
    }

    fn write(
        &mut self,
        ledger: &Ledger,
        len: usize,
        checksum: TxChecksum,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        let cell = self.cells.back_mut().expect("send queue: a cell was added");
        let block = self
            .blocks
            .back_mut()
            .expect("send queue: a chunk was added");
        let start = usize::from(cell.start) + usize::from(cell.len);
        let bytes = &mut ledger.bytes_mut(&mut block.frame)[start..start + len];
        fill(bytes);
        if checksum.computes() {
            let mut sum = Checksum::resumed(cell.sum, cell.len.into());
            sum.add(bytes);
            cell.sum = sum.fold();
        }
        cell.len += len as u16;
    }

    #[inline]
    fn take(&mut self, seq: SeqNumber, len: u32) -> (Place, &mut Frame) {
        let index = self
            .find(seq)
            .expect("send queue: bytes that are not queued");
        let offset = seq.since(self.cells[index].seq);
        self.take_at(index, offset, len)
    }

    /// The same for `len` bytes of a cell, from `offset` on.
    #[inline]
    fn take_at(&mut self, index: usize, offset: u32, len: u32) -> (Place, &mut Frame) {
        self.cursor = index;
        let cell = &mut self.cells[index];
        let fresh = !std::mem::replace(&mut cell.sent, true);
        assert!(
            offset + len <= u32::from(cell.len),
            "send queue: bytes across two cells"
        );
        let place = Place {
            start: u32::from(cell.start) + offset,
            sum: (offset == 0 && len == u32::from(cell.len))
                .then(|| Checksum::resumed(cell.sum, cell.len.into())),
            first: offset == 0,
            fresh,
        };
        let block = cell.block.wrapping_sub(self.base) as usize;
        (place, &mut self.blocks[block].frame)
    }

    fn acknowledged(&mut self, una: SeqNumber, ledger: &mut Ledger) {
        let gone = |cell: &&Cell| !cell.end().after(una);
        let gone = self.cells.iter().take_while(gone).count();
        self.cursor = self.cursor.saturating_sub(gone);
        self.copied_from = self.copied_from.saturating_sub(gone);
        if self.borrowed.is_empty() {
            self.cells.drain(..gone);
        } else {
            self.repay(gone, ledger);
        }
        if self.blocks.is_empty() {
            return;
        }
        // Chunks up to that of the first cell, which stays: another cell may come into it. Nobody looks twice
        // at the borrowed ones before it.
        let borrowed = self.cells.range(self.copied_from..);
        self.copied_from += borrowed.take_while(|cell| cell.borrowed).count();
        let done = match self.cells.get(self.copied_from) {
            Some(first) => first.block.wrapping_sub(self.base) as usize,
            None => self.blocks.len(),
        };
        for block in self.blocks.drain(..done) {
            ledger.release(block.frame);
        }
        self.base = self.base.wrapping_add(done as u32);
    }

    /// The cell that holds the byte at `seq`.
    #[inline]
    fn find(&self, seq: SeqNumber) -> Option<usize> {
        let holds = |index: usize| {
            let cell = self.cells.get(index);
            cell.is_some_and(|cell| seq.since(cell.seq) < u32::from(cell.len))
        };
        if holds(self.cursor + 1) {
            return Some(self.cursor + 1);
        }
        // A segment ends where the next one begins: within what is borrowed.
        if holds(self.cursor) {
            return Some(self.cursor);
        }
        self.search(seq)
    }

    #[inline(never)]
    fn search(&self, seq: SeqNumber) -> Option<usize> {
        let first = self.cells.front()?.seq;
        let offset = seq.since_or_zero(first);
        // Cells are in order: by how far they lie behind the first.
        let after = self
            .cells
            .partition_point(|cell| cell.seq.since(first) <= offset);
        let index = after.checked_sub(1)?;
        seq.before(self.cells[index].end()).then_some(index)
    }
}

#[cfg(test)]
#[path = "send_queue_tests.rs"]
mod tests;
