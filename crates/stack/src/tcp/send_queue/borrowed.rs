//! Borrowed cells: memory of the application's in the queue.

use ringwire_tcp::SeqNumber;
use ringwire_umem::{Borrowed, Ledger};

use super::{Cell, Queued, SendQueue};
use crate::plan::{Lie, PlanLimits};

/// Most bytes of a borrowed cell: its length is 16 bits.
const MOST_BORROWED: u32 = 60 << 10;

impl SendQueue {
    /// Adds what is borrowed behind the last cell, `seq` being its first byte's number.
    pub(crate) fn add_borrowed(
        &mut self,
        ledger: &mut Ledger,
        mut seq: SeqNumber,
        mut borrowed: Borrowed,
    ) {
        let queued = self.there();
        while borrowed.len() > MOST_BORROWED {
            let front = ledger.split_to(&mut borrowed, MOST_BORROWED);
            queued.push_borrowed(seq, front);
            seq += MOST_BORROWED;
        }
        queued.push_borrowed(seq, borrowed);
    }

    /// Whether there are borrowed cells.
    #[inline]
    pub(crate) fn has_borrowed(&self) -> bool {
        self.queued
            .as_ref()
            .is_some_and(|queued| !queued.borrowed.is_empty())
    }

    /// How the `len` bytes from `seq` on lie, if they are in borrowed cells.
    pub(crate) fn lie(&self, ledger: &Ledger, seq: SeqNumber, len: u32) -> Option<Lie> {
        let queued = self.queued.as_ref().filter(|it| !it.borrowed.is_empty())?;
        let index = queued.find(seq).filter(|&at| queued.cells[at].borrowed)?;
        let mut lie = NOTHING;
        for (part, start, taken) in queued.borrowed_from(index, seq, len) {
            if lie.pieces == 0 && start == 0 {
                lie.headroom = ledger.headroom(part);
            }
            add(&mut lie, ledger, part, (start, taken));
        }
        Some(lie)
    }

    /// How a segment at `seq` lies that has no room for headers in front, if [`SendQueue::contiguous`] would
    /// allow it so many bytes there; with `exact`, so many and no more.
    pub(crate) fn lie_beside(
        &self,
        ledger: &Ledger,
        limits: PlanLimits,
        seq: SeqNumber,
        (len, exact): (u32, bool),
    ) -> Option<Lie> {
        let queued = self.queued.as_ref()?;
        let index = queued.find(seq).filter(|&at| queued.cells[at].borrowed)?;
        let mut lie = NOTHING;
        for (part, start, taken) in queued.borrowed_from(index, seq, len + u32::from(exact)) {
            // It ends where a slot begins.
            if start == 0 && ledger.headroom(part) > 0 {
                break;
            }
            add(&mut lie, ledger, part, (start, taken));
        }
        (lie.payload == len && lie.pieces < limits.descriptors).then_some(lie)
    }

    /// The `len` bytes from `seq` on, which are in borrowed cells, part by part: each with where the part begins
    /// in it and how long it is. They count as sent.
    pub(crate) fn take_borrowed(
        &mut self,
        seq: SeqNumber,
        len: u32,
        mut each: impl FnMut(&mut Borrowed, u32, u32),
    ) {
        let queued = self.there();
        let mut index = queued.find(seq).expect("send queue: bytes that are queued");
        let mut start = seq.since(queued.cells[index].seq);
        let mut left = len;
        while left > 0 {
            let cell = &mut queued.cells[index];
            cell.sent = true;
            let taken = left.min(u32::from(cell.len) - start);
            let place = cell.block.wrapping_sub(queued.borrowed_base) as usize;
            each(&mut queued.borrowed[place], start, taken);
            left -= taken;
            queued.cursor = index;
            (index, start) = (index + 1, 0);
        }
    }

    /// Has `post` send a segment that begins with the borrowed cell at `seq`, if one begins there; it counts as
    /// sent if something comes of it.
    #[inline]
    pub(crate) fn post_cell<T>(
        &mut self,
        seq: SeqNumber,
        post: impl FnOnce(&mut Borrowed) -> Option<T>,
    ) -> Option<T> {
        let queued = self.there();
        let index = queued.find(seq)?;
        let cell = &mut queued.cells[index];
        if !cell.borrowed || cell.seq != seq {
            return None;
        }
        let place = cell.block.wrapping_sub(queued.borrowed_base) as usize;
        let posted = post(&mut queued.borrowed[place])?;
        (cell.sent, queued.cursor) = (true, index);
        Some(posted)
    }
}

impl Queued {
    fn push_borrowed(&mut self, seq: SeqNumber, borrowed: Borrowed) {
        self.cells.push_back(Cell {
            seq,
            block: self.borrowed_base.wrapping_add(self.borrowed.len() as u32),
            start: 0,
            len: borrowed.len() as u16,
            sum: 0,
            sent: false,
            borrowed: true,
        });
        self.borrowed_bytes += borrowed.len() as usize;
        self.borrowed.push_back(borrowed);
    }

    /// The parts of at most `len` borrowed bytes from `seq` on, which is in the cell at `index`: memory, where
    /// the part begins in it, how long it is.
    fn borrowed_from(
        &self,
        index: usize,
        seq: SeqNumber,
        len: u32,
    ) -> impl Iterator<Item = (&Borrowed, u32, u32)> {
        let mut start = seq.since(self.cells[index].seq);
        let mut left = len;
        let cells = self.cells.range(index..);
        let cells = cells.take_while(|cell| cell.borrowed);
        cells.map_while(move |cell| {
            let (at, taken) = (start, left.min(u32::from(cell.len) - start));
            (left, start) = (left - taken, 0);
            let place = cell.block.wrapping_sub(self.borrowed_base) as usize;
            (taken > 0).then(|| (&self.borrowed[place], at, taken))
        })
    }

    /// How many borrowed bytes from `seq` on can be in one segment: as many as the port takes descriptors for,
    /// or any if they have to be copied.
    pub(super) fn describable(
        &self,
        ledger: &Ledger,
        limits: PlanLimits,
        most: u32,
        index: usize,
        seq: SeqNumber,
    ) -> u32 {
        let parts = self.borrowed_from(index, seq, most);
        let (mut bytes, mut room) = (0, None);
        for (part, start, taken) in parts {
            // A segment that begins a slot ends with it: the next one begins the next slot.
            if start == 0 && ledger.headroom(part) > 0 {
                return if bytes > 0 {
                    bytes
                } else {
                    part.describable(ledger, 0)
                };
            }
            let room = room.get_or_insert(match limits.descriptors {
                1 => u32::MAX,
                most => most - 1,
            });
            let mut at = start;
            while at < start + taken {
                if *room == 0 {
                    return bytes;
                }
                let step = part.describable(ledger, at).min(start + taken - at);
                *room -= 1;
                bytes += step;
                at += step;
            }
        }
        bytes
    }

    /// Takes away the first cells, some of which are borrowed.
    pub(super) fn repay(&mut self, cells: usize, ledger: &mut Ledger) {
        for cell in self.cells.drain(..cells).filter(|cell| cell.borrowed) {
            let part = self.borrowed.pop_front();
            let part = part.expect("send queue: a borrowed cell has its memory");
            self.borrowed_base = self.borrowed_base.wrapping_add(1);
            self.borrowed_bytes -= usize::from(cell.len);
            ledger.repay(part);
        }
    }
}

/// Where no bytes lie.
const NOTHING: Lie = Lie {
    headers: 0,
    headroom: 0,
    payload: 0,
    pieces: 0,
    room: u32::MAX,
};

/// Adds part of what is borrowed: where it begins, and how long it is.
fn add(lie: &mut Lie, ledger: &Ledger, part: &Borrowed, (start, len): (u32, u32)) {
    lie.payload += len;
    lie.pieces += part.descriptors_of(ledger, start, len);
    lie.room = lie.room.min(part.room_of(ledger, start, len));
}
