//! Lent buffer groups (`IOU_PBUF_RING_LENT`), ringwire's own: what was received is lent where the NIC wrote
//! it. The application's entries are credit, each a buffer id; a completion names the id under which its bytes
//! are in the group's table, and the id in the ring again gives them back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER};
use ringwire_stack::{LendError, LentPart, SocketId, Stack};
use ringwire_umem::{Ledger, LendTable, Umem};

use super::Engine;
use crate::usermem::{self, BufferRing};

/// Who has a buffer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bid {
    /// The application: it has not given it yet, or has been told of bytes under it.
    Application,
    /// The group.
    Credit,
    /// The application, which has been told that more of the frame comes (`IORING_CQE_F_BUF_MORE`): of this
    /// stream, from here in the UMEM on.
    Open { socket: SocketId, end: u64 },
}

/// A group, as its consumer has it.
#[derive(Debug)]
pub(super) struct LentGroup {
    ring: BufferRing,
    table: Arc<LendTable>,
    /// Entries of the ring that were looked at: a free-running counter.
    seen: u16,
    /// What can be lent under, in the ring's order.
    credit: VecDeque<u16>,
    bids: Box<[Bid]>,
    /// The ids of which more comes, by stream.
    open: HashMap<SocketId, u16, FixedState>,
}

/// Bytes of a stream that were lent.
#[derive(Clone, Copy, Debug)]
pub(super) struct LentBytes {
    pub(super) bid: u16,
    pub(super) len: usize,
    /// The same frame comes again under the same id.
    pub(super) more: bool,
}

impl LentGroup {
    pub(super) fn new(ring: BufferRing, entries: u16, umem: &Arc<Umem>) -> LentGroup {
        LentGroup {
            ring,
            table: Arc::new(LendTable::new(Arc::clone(umem), entries)),
            seen: 0,
            credit: VecDeque::new(),
            bids: vec![Bid::Application; usize::from(entries)].into(),
            open: HashMap::default(),
        }
    }

    pub(super) fn table(&self) -> &Arc<LendTable> {
        &self.table
    }

    pub(super) fn memory(&self) -> Option<u64> {
        self.ring.lent()
    }

    /// The consumer's head: entries that were used up, or were no credit.
    pub(super) fn head(&self) -> u16 {
        self.seen.wrapping_sub(self.credit.len() as u16)
    }

    /// Takes the entries that the application has added: what was lent under their ids goes back. Returns
    /// how many were no credit: their id is not one of the group's, is in the ring already, or more of its
    /// frame comes.
    fn take_credit(&mut self, stack: &Stack, ledger: &mut Ledger) -> u64 {
        let tail = self.ring.tail();
        let added = tail.wrapping_sub(self.seen);
        if added == 0 {
            return 0;
        }
        // More entries than the ring has: the first were overwritten.
        let lost = added.saturating_sub(self.bids.len() as u16);
        self.seen = self.seen.wrapping_add(lost);
        let mut bad = u64::from(lost);
        while self.seen != tail {
            let (_, _, bid) = self.ring.entry(self.seen);
            self.seen = self.seen.wrapping_add(1);
            bad += u64::from(!self.give(bid, stack, ledger));
        }
        bad
    }

    fn give(&mut self, bid: u16, stack: &Stack, ledger: &mut Ledger) -> bool {
        match self.bids.get(usize::from(bid)) {
            Some(&Bid::Open { socket, end }) => {
                if goes_on(stack, ledger, socket, end) {
                    return false;
                }
                // The rest was received in another way, or never will be.
                self.open.remove(&socket);
            }
            Some(Bid::Application) => {}
            Some(Bid::Credit) | None => return false,
        }
        self.table.take_back(bid, ledger);
        self.bids[usize::from(bid)] = Bid::Credit;
        self.credit.push_back(bid);
        true
    }

    /// The id under which more of a stream's frame comes, if what it has next lies there.
    fn open_bid(&mut self, stack: &Stack, ledger: &Ledger, socket: SocketId) -> Option<u16> {
        let &bid = self.open.get(&socket)?;
        match self.bids[usize::from(bid)] {
            Bid::Open { end, .. } if goes_on(stack, ledger, socket, end) => Some(bid),
            _ => {
                self.open.remove(&socket);
                self.bids[usize::from(bid)] = Bid::Application;
                None
            }
        }
    }

    /// Puts a part under the next id, of which there is one.
    fn put(&mut self, part: LentPart) -> u16 {
        let bid = self
            .credit
            .pop_front()
            .expect("lent group: credit was counted");
        usermem::put_lent(&self.table, bid, part);
        self.bids[usize::from(bid)] = Bid::Application;
        bid
    }
}

/// Whether the next bytes of a stream lie at `end` in the UMEM, behind what was lent of their frame.
fn goes_on(stack: &Stack, ledger: &Ledger, socket: SocketId, end: u64) -> bool {
    let mut next = None;
    stack.tcp_for_each(ledger, socket, 1, &mut |part| {
        next = ledger.umem().offset_of(part.as_ptr() as u64, 1);
    });
    next == Some(end) && !end.is_multiple_of(u64::from(ledger.chunk_bytes()))
}

impl Engine {
    /// Takes what the application has added to its lent groups since the turn before.
    pub(super) fn take_credits(&mut self) {
        for index in 0..self.groups.lent_groups().len() {
            self.take_credit(self.groups.lent_groups()[index]);
        }
    }

    fn take_credit(&mut self, group: u16) {
        if let Some(lent) = self.groups.lent_group(group) {
            self.counters.bad_lent_bids += lent.take_credit(&self.stack, &mut self.ledger);
        }
    }

    /// Whether something could be lent to a receive of this socket. Asked first: as with other groups, an
    /// empty one is an error also where nothing is there.
    pub(super) fn check_credit(&mut self, group: u16, socket: SocketId) -> Result<(), Errno> {
        self.take_credit(group);
        // What was dropped since the last turn counts.
        self.ledger.collect_returns();
        let lent = self.groups.lent_group(group).ok_or(Errno::ENOBUFS)?;
        if lent.credit.is_empty() && lent.open_bid(&self.stack, &self.ledger, socket).is_none() {
            return Err(Errno::ENOBUFS);
        }
        Ok(())
    }

    /// Lends the next bytes of a stream: `limit` at most, and those of one chunk.
    pub(super) fn lend_stream_part(
        &mut self,
        group: u16,
        socket: SocketId,
        limit: usize,
    ) -> Result<LentBytes, Errno> {
        let lent = self.groups.lent_group(group).ok_or(Errno::ENOBUFS)?;
        let open = lent.open_bid(&self.stack, &self.ledger, socket);
        if open.is_none() && lent.credit.is_empty() {
            return Err(Errno::ENOBUFS);
        }
        let part = self.stack.tcp_lend(&mut self.ledger, socket, limit);
        let part = part.map_err(errno)?;
        let end = part.addr + u64::from(part.len);
        let bid = match open {
            Some(bid) => {
                usermem::put_lent(&lent.table, bid, part);
                bid
            }
            None => lent.put(part),
        };
        let more = goes_on(&self.stack, &self.ledger, socket, end);
        if more {
            lent.bids[usize::from(bid)] = Bid::Open { socket, end };
            lent.open.insert(socket, bid);
        } else {
            lent.bids[usize::from(bid)] = Bid::Application;
            lent.open.remove(&socket);
        }
        Ok(LentBytes {
            bid,
            len: part.len as usize,
            more,
        })
    }

    /// Lends the front datagram, with `room` bytes in front of it that `header` writes, and leaves `limit` of
    /// its payload. Returns the flags that name its first id; what follows is under the ring's next ones.
    pub(super) fn lend_datagram_parts(
        &mut self,
        group: u16,
        socket: SocketId,
        room: usize,
        header: &mut dyn FnMut(&mut [u8]),
        limit: usize,
    ) -> Result<u32, Errno> {
        let lent = self.groups.lent_group(group).ok_or(Errno::ENOBUFS)?;
        let parts = self.stack.udp_lend_parts(&self.ledger, socket, room);
        if parts > lent.bids.len() {
            // It never could be: as one that cannot be copied, it is dropped.
            self.stack.udp_consume(&mut self.ledger, socket);
            return Err(Errno::EMSGSIZE);
        }
        if parts > lent.credit.len() {
            return Err(Errno::ENOBUFS);
        }
        let mut first = None;
        let mut left = room.saturating_add(limit);
        let mut cut = Vec::new();
        let each = &mut |part: LentPart| {
            let len = (part.len as usize).min(left);
            left -= len;
            if len == 0 {
                return cut.push(part.addr);
            }
            let len = len as u32;
            let bid = lent.put(LentPart { len, ..part });
            first.get_or_insert(bid);
        };
        let ledger = &mut self.ledger;
        let done = self.stack.udp_lend(ledger, socket, room, header, each);
        done.map_err(errno)?;
        for addr in cut {
            let back = self.ledger.give_back(addr);
            back.expect("lent group: it was lent just now");
        }
        Ok(first.map_or(0, flags_of))
    }
}

/// The flags of a completion that names an id.
pub(super) fn flags_of(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT
}

fn errno(error: LendError) -> Errno {
    match error {
        LendError::NoFrames => Errno::ENOBUFS,
        LendError::Nothing => Errno::EAGAIN,
        // As where a buffer does not hold the headers.
        LendError::HeaderRoom(_) => Errno::EFAULT,
    }
}

#[cfg(test)]
#[path = "lent_group_tests.rs"]
mod tests;
