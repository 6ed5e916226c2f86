//! Provided registered buffers: a group whose entries name parts of the registered areas, what sends take of it, and
//! what their completions must say of that.

use std::collections::VecDeque;

use io_uring::{cqueue, squeue, types};
use ringwire::engine::Engine;
use ringwire::provided::{ProvidedSend, entry_addr, send_zc};

use crate::areas::Name;
use crate::buffers::Buffers;
use crate::random::Random;

const GROUP: u16 = 8;
/// Entries of the ring: more than there ever are at a time.
const ENTRIES: u16 = 32;
/// No buffer is registered there.
const NOWHERE: u32 = 1000;

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The registered buffer.
    pub(crate) index: u16,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bid: u16,
    index: u16,
    len: u32,
    /// What a send comes to that takes it.
    error: Option<i32>,
}

/// A send that has not completed, and what it takes when its turn comes.
#[derive(Clone, Copy, Debug)]
struct Sending {
    number: u64,
    /// Entries, and bytes of them.
    takes: (usize, u32),
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Sends that took several entries.
    pub(crate) bundles: u64,
    /// Entries that were taken.
    pub(crate) taken: u64,
    /// Of them, those that named nothing.
    pub(crate) bad: u64,
}

/// The group. One send at a time takes of it: others would take what is meant for it.
pub(crate) struct Pieces {
    ring: Buffers,
    /// What is in the ring.
    entries: VecDeque<Entry>,
    sending: Option<Sending>,
    /// Where the last one was sent.
    socket: types::Fixed,
    next_bid: u16,
    pub(crate) counts: Counts,
    random: Random,
}

/// How a send takes its pieces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) socket: types::Fixed,
    /// `MSG_*`.
    pub(crate) flags: i32,
    pub(crate) reports: bool,
    /// Some of the pieces may be left.
    pub(crate) is_stream: bool,
}

impl Pieces {
    pub(crate) fn register(engine: &mut Engine, random: Random) -> Pieces {
        Pieces {
            ring: Buffers::register_empty(engine, GROUP, ENTRIES),
            entries: VecDeque::new(),
            sending: None,
            socket: types::Fixed(0),
            next_bid: 0,
            counts: Counts::default(),
            random,
        }
    }

    /// A send of so many pieces, in one bundle or as many as there may be; `None` while another one is made, or if
    /// they cannot be one datagram.
    pub(crate) fn send(
        &mut self,
        number: u64,
        pieces: &[Piece],
        name: Option<&Name>,
        manner: Manner,
    ) -> Option<squeue::Entry> {
        let is_one = pieces.iter().all(|piece| piece.index == pieces[0].index);
        let may_be_sent = manner.is_stream || is_one;
        if self.sending.is_some() || !self.entries.is_empty() || pieces.is_empty() || !may_be_sent {
            return None;
        }
        pieces.iter().for_each(|piece| self.provide(piece, None));
        if self.random.chance(200) {
            self.provide_wrongly(pieces[0]);
        }
        let bundle = pieces.len() > 1 && !manner.is_stream || self.random.chance(700);
        let all = pieces.iter().map(|piece| piece.len).sum::<u32>();
        let len = match self.random.below(3) {
            0 if manner.is_stream => 1 + self.random.below(all.into()) as u32,
            1 => all,
            _ => 0,
        };
        self.socket = manner.socket;
        let send = send_zc(manner.socket, GROUP, len).flags(manner.flags);
        let send = match name {
            Some(Name(name, len)) => send.dest_addr(std::ptr::from_ref(name).cast(), *len as u16),
            None => send,
        };
        let send = if manner.reports {
            send.report_usage()
        } else {
            send
        };
        Some(self.sent(number, send, bundle, len))
    }

    fn sent(&mut self, number: u64, send: ProvidedSend, bundle: bool, len: u32) -> squeue::Entry {
        let takes = self.takes(bundle, len);
        self.sending = Some(Sending { number, takes });
        let send = if bundle { send.bundle() } else { send };
        send.build()
    }

    /// A send that takes what is wrong, if that is next.
    pub(crate) fn take_wrong(&mut self) -> Option<squeue::Entry> {
        if self.sending.is_some() || self.entries.is_empty() {
            return None;
        }
        let send = send_zc(self.socket, GROUP, 0);
        Some(self.sent(0, send, true, 0))
    }

    /// Entries and bytes that a send of at most so many bytes takes (0: of any number).
    fn takes(&self, bundle: bool, len: u32) -> (usize, u32) {
        let first = self.entries[0];
        if first.error.is_some() {
            return (1, 0);
        }
        let mut left = if len == 0 { u32::MAX } else { len };
        let (mut count, mut bytes) = (1, first.len.min(left));
        left -= bytes;
        for entry in self.entries.iter().skip(1).take_while(|_| bundle) {
            let fits = entry.error.is_none() && entry.index == first.index;
            if !fits || entry.len > left || left == 0 {
                break;
            }
            (count, bytes, left) = (count + 1, bytes + entry.len, left - entry.len);
        }
        (count, bytes)
    }

    fn provide(&mut self, piece: &Piece, error: Option<(u32, i32)>) {
        let bid = self.next_bid;
        self.next_bid = bid.wrapping_add(1);
        let index = error.map_or(piece.index.into(), |(index, _)| index);
        let addr = entry_addr(index, piece.offset);
        self.ring.put(addr, piece.len, bid);
        self.entries.push_back(Entry {
            bid,
            index: piece.index,
            len: piece.len,
            error: error.map(|(_, error)| error),
        });
    }

    /// Provides an entry that names nothing.
    fn provide_wrongly(&mut self, like: Piece) {
        let index = u32::from(like.index);
        let beyond = 1 << 30;
        let (index, offset, len, error) = match self.random.below(4) {
            0 => (NOWHERE, like.offset, like.len, libc::EFAULT),
            1 => (index, beyond, like.len, libc::EFAULT),
            2 => (index, like.offset, 0, libc::EFAULT),
            _ => (index, like.offset, beyond as u32, libc::EOVERFLOW),
        };
        let piece = Piece {
            offset,
            len,
            ..like
        };
        self.provide(&piece, Some((index, -error)));
    }

    /// A send has completed, which may be one that has taken pieces.
    ///
    /// # Errors
    /// It does not say what it has taken, or not what came of it.
    pub(crate) fn completed(&mut self, number: u64, res: i32, flags: u32) -> Result<(), String> {
        let Some(sending) = self.sending.filter(|it| it.number == number) else {
            return Ok(());
        };
        self.sending = None;
        let (count, bytes) = sending.takes;
        let first = self.entries[0];
        match cqueue::buffer_select(flags) {
            Some(bid) if bid == first.bid => {
                self.entries.drain(..count);
                self.counts.taken += count as u64;
                self.counts.bundles += u64::from(count > 1);
                self.counts.bad += u64::from(first.error.is_some());
            }
            // It was given up before its turn came.
            None if res < 0 && first.error != Some(res) => {}
            other => {
                return Err(format!(
                    "a send from provided registered buffers names {other:?} instead of {first:?}"
                ));
            }
        }
        let is_right = match first.error {
            Some(error) => res == error || res == -libc::EBADF || res == -libc::ECANCELED,
            None => res <= bytes as i32,
        };
        if !is_right {
            return Err(format!(
                "a send from provided registered buffers came to {res}: {first:?}, {count} of {bytes} bytes"
            ));
        }
        // What is wrong may stay for the next send; the rest may move.
        let is_wrong = self.entries.front().is_some_and(|it| it.error.is_some());
        if !is_wrong || number == 0 {
            self.ring.retract(self.entries.len() as u16);
            self.entries.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
