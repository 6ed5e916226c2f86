//! MSG_ZEROCOPY: the numbers that sockets give their sends, and the rule for them: each number is told once, in a
//! range out of the error queue or back with a later send, and not before its send has completed.

use std::collections::BTreeMap;

use io_uring::{opcode, squeue, types};
use ringwire::msg_zerocopy::{ErrorMessage, ZeroCopyRange};

use crate::loans::Lent;
use crate::random::Random;
use crate::requests::Purpose;

static ON: i32 = 1;

/// A send that has a number.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) purpose: Purpose,
    pub(crate) lent: Option<Lent>,
}

struct Socket {
    /// The number of the next send that completes.
    next: u32,
    sends: BTreeMap<u32, Sent>,
    /// Whether a receive waits for an entry, and where it writes.
    receiving: bool,
    error: Box<(libc::msghdr, ErrorMessage)>,
}

/// The sockets that number their sends, by slot.
pub(crate) struct Numbers {
    sockets: BTreeMap<u32, Socket>,
    /// Faults have stopped: sends are numbered no more, and what is queued is received.
    calm: bool,
    random: Random,
}

impl Numbers {
    pub(crate) fn new(random: Random) -> Numbers {
        Numbers {
            sockets: BTreeMap::new(),
            calm: false,
            random,
        }
    }

    /// Has a socket, which will be in this slot, number its sends.
    pub(crate) fn add(&mut self, slot: u32) -> squeue::Entry {
        // SAFETY: all zeroes is a valid msghdr.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let socket = Socket {
            next: 0,
            sends: BTreeMap::new(),
            receiving: false,
            error: Box::new((header, ErrorMessage::new())),
        };
        self.sockets.insert(slot, socket);
        let value = std::ptr::from_ref(&ON).cast();
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
        opcode::SetSockOpt::new(types::Fixed(slot), level, name, value, 4).build()
    }

    /// Whether a send is to be numbered, now and then.
    pub(crate) fn takes(&mut self) -> bool {
        !self.calm && self.random.chance(350)
    }

    /// A receive from the error queue of one of the sockets, now and then.
    pub(crate) fn receive(&mut self) -> Option<(squeue::Entry, u32)> {
        let per_mille = if self.calm { 1000 } else { 30 };
        let mut idle = self.sockets.iter_mut().filter(|(_, it)| !it.receiving);
        let (&slot, socket) = idle.find(|_| self.random.chance(per_mille))?;
        socket.receiving = true;
        let (header, error) = &mut *socket.error;
        error.attach(header);
        let receive = opcode::RecvMsg::new(types::Fixed(slot), header);
        let receive = receive.flags(libc::MSG_ERRQUEUE as u32);
        Some((receive.build(), slot))
    }

    /// A receive from an error queue has completed.
    ///
    /// # Errors
    /// It has none of its entries.
    pub(crate) fn received(
        &mut self,
        slot: u32,
        res: i32,
    ) -> Result<Option<ZeroCopyRange>, String> {
        let socket = self.sockets.get_mut(&slot).expect("it was added");
        // There is no other once the socket is gone.
        socket.receiving = res == -libc::EBADF;
        let (header, error) = &*socket.error;
        match res {
            0 => error.range(header).map(Some).ok_or_else(|| {
                "a receive from the error queue without a range of numbers".to_string()
            }),
            // It was given up, or the socket is closed.
            gone if [-libc::ECANCELED, -libc::EBADF].contains(&gone) => Ok(None),
            _ => Err(format!("a receive from the error queue came to {res}")),
        }
    }

    /// A send has completed: it has the socket's next number.
    pub(crate) fn sent(&mut self, slot: u32, sent: Sent) {
        let socket = self.sockets.get_mut(&slot).expect("it was added");
        socket.sends.insert(socket.next, sent);
        socket.next = socket.next.wrapping_add(1);
    }

    /// A range is told; returns its sends.
    ///
    /// # Errors
    /// Some number was told before, or none has it yet.
    pub(crate) fn told(&mut self, slot: u32, range: ZeroCopyRange) -> Result<Vec<Sent>, String> {
        let socket = self.sockets.get_mut(&slot).expect("it was added");
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
        let sends = self.sockets.values().flat_map(|it| it.sends.values());
        let is_lost = |sent: &&Sent| sent.lent.as_ref().is_some_and(|lent| lent.is_lost);
        sends.filter(|sent| !is_lost(sent)).count()
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
