//! What has arrived and was not read: payloads in the frames that the NIC wrote, in order, and out of
//! order.

use std::collections::VecDeque;

use ringwire_tcp::{Keep, SeqNumber};
use ringwire_umem::Ledger;

use super::spares::Spares;
use crate::counters::Counters;
use crate::lend::{Header, LendError, LentPart, may_lend};
use crate::packet::{Packet, Payload};

/// Payloads of at most this many bytes are copied behind the one before, where it has room: a whole
/// frame is too much for them.
pub(crate) const SMALL_BYTES: usize = 256;

/// Payloads that a queue has memory for when the first comes: a burst of a sender's.
const FIRST_PAYLOADS: usize = 16;

/// Memory of what could be read and was.
pub(crate) type ReceiveSpares = Spares<VecDeque<Payload>>;

#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    payload: Payload,
}

#[derive(Debug, Default)]
pub(crate) struct ReceiveQueue {
    ready: VecDeque<Payload>,
    /// Bytes that can be read.
    bytes: usize,
    /// Bytes of the first payload that have been read.
    read: usize,
    /// By sequence number, none overlapping another.
    early: VecDeque<Piece>,
    /// Bytes that are in memory of our own, not in frames.
    heap_bytes: usize,
}

impl ReceiveQueue {
    /// Bytes that can be read.
    pub(crate) fn len(&self) -> usize {
        self.bytes
    }

    /// Bytes that were moved out of frames.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap_bytes
    }

    /// Keeps a payload: behind what can be read, if it begins at `next`, and with it what had come
    /// early before `advanced`; or with what has come early. `short`: frames are, and its bytes are to
    /// be copied where there is room. Says whether they were.
    #[inline]
    pub(crate) fn store(
        &mut self,
        spares: &mut ReceiveSpares,
        ledger: &mut Ledger,
        keep: &Keep,
        payload: Payload,
        (next, advanced): (SeqNumber, SeqNumber),
        short: bool,
    ) -> bool {
        if keep.seq != next {
            self.insert(ledger, keep.seq, payload);
            return false;
        }
        // A whole frame is too much for a few bytes.
        let copied = if short || payload.len() <= SMALL_BYTES {
            let refused = self.append(ledger, payload).err();
            let copied = refused.is_none();
            if let Some(payload) = refused {
                self.push(spares, payload);
            }
            copied
        } else {
            self.push(spares, payload);
            false
        };
        if self.early.capacity() > 0 {
            self.advance(spares, ledger, advanced, keep.seq + keep.len);
        }
        copied
    }

    /// Keeps a payload of more than [`SMALL_BYTES`] behind what can be read, `len` bytes from `start` of a
    /// packet; nothing has come early.
    #[inline(always)]
    pub(crate) fn store_next(
        &mut self,
        spares: &mut ReceiveSpares,
        packet: Packet,
        start: usize,
        len: usize,
    ) {
        self.bytes += len;
        self.have_memory(spares);
        // Made where it stays: whoever moves it right after its fields were written waits for the stores.
        self.ready.push_back(Payload::Frames { packet, start, len });
    }

    /// Copies a small payload behind the last that can be read; gives it back if there is no room.
    fn append(&mut self, ledger: &mut Ledger, payload: Payload) -> Result<(), Payload> {
        let Some(last) = self.ready.back_mut() else {
            return Err(payload);
        };
        let before = last.heap_bytes();
        if !last.append(ledger, &payload) {
            return Err(payload);
        }
        self.heap_bytes += last.heap_bytes() - before;
        self.bytes += payload.len();
        payload.release(ledger);
        Ok(())
    }

    /// Adds a payload that follows what can be read.
    #[inline(always)]
    fn push(&mut self, spares: &mut ReceiveSpares, payload: Payload) {
        self.bytes += payload.len();
        self.heap_bytes += payload.heap_bytes();
        self.have_memory(spares);
        self.ready.push_back(payload);
    }

    #[inline(always)]
    fn have_memory(&mut self, spares: &mut ReceiveSpares) {
        if self.ready.capacity() == 0 {
            let fresh = || VecDeque::with_capacity(FIRST_PAYLOADS);
            self.ready = spares.take().unwrap_or_else(fresh);
        }
    }

    /// Adds a payload that came early; it replaces what lies inside it.
    fn insert(&mut self, ledger: &mut Ledger, seq: SeqNumber, payload: Payload) {
        let end = seq + payload.len() as u32;
        let first = self.early.partition_point(|piece| piece.seq.before(seq));
        let last = first
            + self
                .early
                .range(first..)
                .take_while(|piece| piece.seq.before(end))
                .count();
        for piece in self.early.drain(first..last) {
            self.heap_bytes -= piece.payload.heap_bytes();
            piece.payload.release(ledger);
        }
        self.heap_bytes += payload.heap_bytes();
        self.early.insert(first, Piece { seq, payload });
    }

    /// Moves what came early and lies before `next` to what can be read. What begins before `end`, the
    /// end of the segment that filled the hole, came with that segment too.
    fn advance(
        &mut self,
        spares: &mut ReceiveSpares,
        ledger: &mut Ledger,
        next: SeqNumber,
        end: SeqNumber,
    ) {
        while let Some(piece) = self.early.front()
            && piece.seq.before(next)
        {
            let piece = self.early.pop_front().expect("it is there");
            self.heap_bytes -= piece.payload.heap_bytes();
            if piece.seq.before(end) {
                piece.payload.release(ledger);
            } else {
                self.push(spares, piece.payload);
            }
        }
        if self.early.is_empty() && self.early.capacity() > 0 {
            self.early = VecDeque::new();
        }
    }

    /// Drops what came early.
    pub(crate) fn prune(&mut self, ledger: &mut Ledger) -> usize {
        let count = self.early.len();
        for piece in self.early.drain(..) {
            self.heap_bytes -= piece.payload.heap_bytes();
            piece.payload.release(ledger);
        }
        count
    }

    /// Calls `each` with the first `limit` bytes that can be read.
    pub(crate) fn for_each(&self, ledger: &Ledger, limit: usize, each: &mut dyn FnMut(&[u8])) {
        let mut skip = self.read;
        let mut left = limit.min(self.bytes);
        for payload in &self.ready {
            if left == 0 {
                return;
            }
            let take = left.min(payload.len() - skip);
            payload.for_each_from(ledger, skip, take, &mut *each);
            left -= take;
            skip = 0;
        }
    }

    /// Lends the first bytes that can be read, `limit` at most and those of one chunk.
    pub(crate) fn lend(
        &mut self,
        spares: &mut ReceiveSpares,
        ledger: &mut Ledger,
        counters: &mut Counters,
        limit: usize,
    ) -> Result<LentPart, LendError> {
        let first = self.ready.front().ok_or(LendError::Nothing)?;
        let copies = usize::from(matches!(first, Payload::Heap { .. }));
        if limit == 0 {
            return Err(LendError::Nothing);
        }
        if !may_lend(ledger, copies) {
            return Err(LendError::NoFrames);
        }
        let mut first = self.ready.pop_front().expect("it is there");
        self.heap_bytes -= first.heap_bytes();
        let len = first.len();
        first.narrow(self.read, len - self.read);
        self.read = 0;
        let header = Header {
            room: 0,
            write: &mut |_| {},
        };
        let (part, rest) = first.lend_front(ledger, counters, limit, header);
        self.bytes -= part.len as usize;
        match rest {
            Some(rest) => {
                self.heap_bytes += rest.heap_bytes();
                self.ready.push_front(rest);
            }
            None if self.ready.is_empty() => self.spare(spares),
            None => {}
        }
        Ok(part)
    }

    /// Lets go of bytes that were read.
    pub(crate) fn consume(&mut self, spares: &mut ReceiveSpares, ledger: &mut Ledger, len: usize) {
        let mut left = len.min(self.bytes);
        self.bytes -= left;
        while let Some(first) = self.ready.front() {
            let rest = first.len() - self.read;
            if left < rest {
                self.read += left;
                return;
            }
            left -= rest;
            self.read = 0;
            self.heap_bytes -= first.heap_bytes();
            if let Some(payload) = self.ready.pop_front() {
                payload.release(ledger);
            }
        }
        self.spare(spares);
    }

    /// As the send queue: nothing is kept for a connection that is idle.
    fn spare(&mut self, spares: &mut ReceiveSpares) {
        let empty = std::mem::take(&mut self.ready);
        let entries = empty.capacity();
        if entries > 0 {
            spares.give(empty, entries);
        }
    }

    /// Lets go of everything.
    pub(crate) fn clear(&mut self, spares: &mut ReceiveSpares, ledger: &mut Ledger) {
        self.prune(ledger);
        self.consume(spares, ledger, usize::MAX);
    }
}

#[cfg(test)]
#[path = "receive_queue_tests.rs"]
mod tests;
