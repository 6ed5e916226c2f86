//! MSG_ZEROCOPY: the numbers that sockets give their sends, and the rule for them: each number is told once, in a
//! range out of the error queue or back with a later send, and not before its send has completed. Nothing is said of a
//! socket that is closed: most are closed when all is told, and what the others lent is lent until the end.

use std::collections::BTreeMap;

use io_uring::{opcode, squeue, types};
use ringwire::msg_zerocopy::{ErrorMessage, ZeroCopyRange};

use crate::loans::Lent;
use crate::random::Random;
use crate::requests::Purpose;

static ON: i32 = 1;
/// Bytes that sockets which are closed before all is told may keep, of one host's.
const MOST_FORGONE: u64 = 20_000;

/// A send that has a number.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) purpose: Purpose,
    pub(crate) lent: Option<Lent>,
}

struct Socket {
    is_stream: bool,
    /// The number of the next send that completes.
    next: u32,
    sends: BTreeMap<u32, Sent>,
    /// Whether a receive from the error queue is under way, whether it waits, and where it writes.
    receiving: bool,
    waits: bool,
    error: Box<(libc::msghdr, ErrorMessage)>,
    /// It is closed as soon as it is done, whatever is not told.
    hasty: bool,
    closed: bool,
}

impl Socket {
    /// Sends whose numbers must still be told.
    fn untold(&self) -> impl Iterator<Item = &Sent> {
        let is_lost = |sent: &&Sent| sent.lent.as_ref().is_some_and(|lent| lent.is_lost);
        self.sends.values().filter(move |sent| !is_lost(sent))
    }
}

/// A socket that is to be closed, and may be now.
pub(crate) struct Due {
    pub(crate) slot: u32,
    pub(crate) purpose: Purpose,
    /// A receive from its error queue is to be cancelled first.
    pub(crate) receiving: bool,
}

/// The sockets that number their sends.
pub(crate) struct Numbers {
    sockets: BTreeMap<u64, Socket>,
    slots: BTreeMap<u32, u64>,
    serial: u64,
    /// The slots of sockets that are done.
    closes: Vec<(u32, Purpose)>,
    /// Numbers that were lost with their sockets, and bytes that are lent for good.
    pub(crate) forgone: u64,
    forgone_bytes: u64,
    /// Faults have stopped: sends are numbered no more, and what is queued is received.
    calm: bool,
    random: Random,
}

impl Numbers {
    pub(crate) fn new(random: Random) -> Numbers {
        Numbers {
            sockets: BTreeMap::new(),
            slots: BTreeMap::new(),
            serial: 0,
            closes: Vec::new(),
            forgone: 0,
            forgone_bytes: 0,
            calm: false,
            random,
        }
    }

    /// The request that has the socket in a slot number its sends, and those that it accepts.
    pub(crate) fn option(slot: u32) -> squeue::Entry {
        let value = std::ptr::from_ref(&ON).cast();
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
        opcode::SetSockOpt::new(types::Fixed(slot), level, name, value, 4).build()
    }

    /// The socket in this slot numbers its sends.
    pub(crate) fn add(&mut self, slot: u32, is_stream: bool) {
        // SAFETY: all zeroes is a valid msghdr.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let socket = Socket {
            is_stream,
            next: 0,
            sends: BTreeMap::new(),
            receiving: false,
            waits: false,
            error: Box::new((header, ErrorMessage::new())),
            hasty: is_stream && self.random.chance(150),
            closed: false,
        };
        self.serial += 1;
        self.sockets.insert(self.serial, socket);
        self.slots.insert(slot, self.serial);
    }

    /// The socket in a slot that numbers its sends.
    pub(crate) fn socket(&self, slot: u32) -> u64 {
        self.slots[&slot]
    }

    fn get(&mut self, socket: u64) -> &mut Socket {
        self.sockets.get_mut(&socket).expect("it was added")
    }

    /// Whether a send of a socket's is to be numbered, now and then.
    pub(crate) fn takes(&mut self, slot: u32) -> bool {
        !self.calm && self.slots.contains_key(&slot) && self.random.chance(350)
    }

    /// A receive from the error queue of one of the sockets, now and then.
    pub(crate) fn receive(&mut self) -> Option<(squeue::Entry, u64)> {
        let (calm, random, closes) = (self.calm, &mut self.random, &self.closes);
        let chosen = self.slots.iter().find(|&(slot, id)| {
            let socket = &self.sockets[id];
            let is_done = calm || closes.iter().any(|(other, _)| other == slot);
            let per_mille = match is_done {
                true if socket.sends.is_empty() => 0,
                true => 1000,
                false => 30,
            };
            !socket.receiving && random.chance(per_mille)
        });
        let (&slot, &id) = chosen?;
        let waits = calm || random.chance(700);
        let socket = self.get(id);
        (socket.receiving, socket.waits) = (true, waits);
        let (header, error) = &mut *socket.error;
        error.attach(header);
        let receive = opcode::RecvMsg::new(types::Fixed(slot), header);
        let flags = libc::MSG_ERRQUEUE | if waits { 0 } else { libc::MSG_DONTWAIT };
        Some((receive.flags(flags as u32).build(), id))
    }

    /// A receive from an error queue has completed.
    ///
    /// # Errors
    /// It has none of its entries, or came to nothing though it should wait.
    pub(crate) fn received(&mut self, id: u64, res: i32) -> Result<Option<ZeroCopyRange>, String> {
        let socket = self.get(id);
        // There is no other once the socket is gone.
        socket.receiving = res == -libc::EBADF;
        // Of a connection that is over, which has told all, nothing is to be waited for.
        let in_vain = !socket.waits || socket.is_stream && socket.sends.is_empty();
        let (header, error) = &*socket.error;
        match res {
            0 => error.range(header).map(Some).ok_or_else(|| {
                "a receive from the error queue without a range of numbers".to_string()
            }),
            // It was given up, or the socket is closed.
            gone if [-libc::ECANCELED, -libc::EBADF].contains(&gone) => Ok(None),
            again if again == -libc::EAGAIN && in_vain => Ok(None),
            _ => Err(format!("a receive from the error queue came to {res}")),
        }
    }

    /// A send of the socket in a slot has completed: it has the socket's next number.
    pub(crate) fn sent(&mut self, slot: u32, sent: Sent) {
        let socket = self.get(self.socket(slot));
        socket.sends.insert(socket.next, sent);
        socket.next = socket.next.wrapping_add(1);
    }

    /// A range is told; returns its sends.
    ///
    /// # Errors
    /// Some number was told before, or none has it yet.
    pub(crate) fn told(&mut self, id: u64, range: ZeroCopyRange) -> Result<Vec<Sent>, String> {
        let socket = self.get(id);
        if range.hi < range.lo {
            return Err(format!("numbers that are none: {range:?}"));
        }
        let sends = (range.lo..=range.hi).map(|number| {
            let mut sent = socket.sends.remove(&number).ok_or_else(|| {
                format!("number {number} of {range:?} was told before, or is none")
            })?;
            if let Some(lent) = &mut sent.lent {
                lent.uncopied = range.zerocopy == 1;
            }
            Ok(sent)
        });
        sends.collect()
    }

    /// The socket in a slot is to be closed once it may be.
    pub(crate) fn close(&mut self, slot: u32, purpose: Purpose) {
        self.closes.push((slot, purpose));
    }

    /// A socket that may be closed now: all is told that will be, or it does not wait for that.
    pub(crate) fn due(&mut self) -> Option<Due> {
        let at = self
            .closes
            .iter()
            .position(|(slot, _)| self.may_close(*slot))?;
        let (slot, purpose) = self.closes.swap_remove(at);
        let mut receiving = false;
        if let Some(id) = self.slots.remove(&slot) {
            let (count, bytes) = self.forgoes(id);
            self.forgone += count;
            self.forgone_bytes += bytes;
            let socket = self.get(id);
            socket.closed = true;
            receiving = socket.receiving;
        }
        // What a receive writes to stays until that has completed.
        self.sockets.retain(|_, it| it.receiving || !it.closed);
        Some(Due {
            slot,
            purpose,
            receiving,
        })
    }

    fn may_close(&self, slot: u32) -> bool {
        self.slots.get(&slot).is_none_or(|&id| {
            let socket = &self.sockets[&id];
            let (_, bytes) = self.forgoes(id);
            let hasty = socket.hasty && self.forgone_bytes + bytes <= MOST_FORGONE;
            hasty || socket.untold().next().is_none()
        })
    }

    /// What is lost if a socket is closed now: numbers, and bytes.
    fn forgoes(&self, id: u64) -> (u64, u64) {
        let sends = || self.sockets[&id].untold();
        let spans = sends().filter_map(|sent| sent.lent.as_ref());
        let spans = spans.flat_map(|lent| &lent.spans);
        let bytes = spans.map(|span| span.end - span.start).sum();
        (sends().count() as u64, bytes)
    }

    /// Faults have stopped.
    pub(crate) fn calm(&mut self) {
        self.calm = true;
    }

    /// The memory of what was not told.
    pub(crate) fn lents(&mut self) -> impl Iterator<Item = &mut Lent> {
        let sends = self
            .sockets
            .values_mut()
            .flat_map(|it| it.sends.values_mut());
        sends.filter_map(|sent| sent.lent.as_mut())
    }

    /// Numbers that must still be told.
    pub(crate) fn untold(&self) -> usize {
        let open = self.sockets.values().filter(|it| !it.closed);
        open.map(|it| it.untold().count()).sum()
    }
}

/// Ranges that come back together must not be one.
///
/// # Errors
/// Two of them could be.
pub(crate) fn are_apart(ranges: &[ZeroCopyRange]) -> Result<(), String> {
    let is_one = |pair: &[ZeroCopyRange]| {
        pair[0].hi.wrapping_add(1) == pair[1].lo && pair[0].zerocopy == pair[1].zerocopy
    };
    match ranges.windows(2).find(|pair| is_one(pair)) {
        Some(pair) => Err(format!("two ranges that are one: {pair:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "numbers_tests.rs"]
mod tests;
