//! A stream of the client's: how it sends and receives, and when it is done.

use std::ops::Range;

use io_uring::{opcode, squeue, types};
use ringwire::engine::Engine;
use ringwire_abi::flags::IORING_CQE_F_BUF_MORE;

use crate::areas::Name;
use crate::buffers::Buffers;
use crate::client::Step;
use crate::lending::Lending;
use crate::loans::Connection;
use crate::random::Random;
use crate::received::LentGroup;
use crate::requests::{Purpose, Requests};
use crate::stream_memory::{Receive, STREAM_BYTES, Send, StreamMemory, TIMEOUTS, scribble};
use crate::traffic::{Stream, Tally};

/// Streams that receive by multishot share this group.
const PARTS: u16 = 3;
const PART_BYTES: usize = 3000;
/// The same by a lent group.
const LENT_PARTS: u16 = 0;
/// Registered buffers.
const OUTGOING: u16 = 0;
const INCOMING: u16 = 1;
/// What a receive comes to that is made again: it was cancelled, or there were no buffers, no frames to lend, or no
/// room for its completion.
const EXCUSED: [i32; 4] = [
    -libc::ECANCELED,
    -libc::ENOBUFS,
    -libc::ENOMEM,
    -libc::ENOSPC,
];

/// What connecting comes to where the kernel beside the ring has no port, no way or no address for it.
const REFUSED: [i32; 4] = [
    -libc::EADDRNOTAVAIL,
    -libc::EADDRINUSE,
    -libc::EMFILE,
    -libc::ENETUNREACH,
];

/// How a stream is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into memory of its own.
    Own,
    /// By multishot into provided buffers.
    Parts,
    /// The same with a lent group.
    Lent,
    /// By RECV_ZC.
    ZeroCopy,
}

pub(crate) struct Open {
    pub(crate) stream: Stream,
    pub(crate) slot: u32,
    pub(crate) _names: [Option<Box<Name>>; 2],
    pub(crate) way: Way,
    /// What it is on the wire, if that is known.
    pub(crate) connection: Option<Connection>,
    /// The kernel beside the ring may refuse what connecting needs.
    pub(crate) beside: bool,
    pub(crate) connected: bool,
    /// Until the memory is the client's again.
    pub(crate) sending: bool,
    pub(crate) receiving: bool,
    pub(crate) shutting: bool,
    pub(crate) shut: bool,
    pub(crate) closing: bool,
}

/// What streams send from and receive into.
pub(crate) struct Memory {
    pub(crate) lending: Lending,
    pub(crate) lent: Option<LentGroup>,
    pub(crate) outgoing: StreamMemory,
    pub(crate) incoming: StreamMemory,
    pub(crate) parts: Buffers,
}

impl Memory {
    pub(crate) fn register(
        engine: &mut Engine,
        mut lending: Lending,
        ids: u16,
        slots: Range<u32>,
    ) -> Memory {
        Memory {
            lent: lending.group(engine, LENT_PARTS, ids),
            lending,
            outgoing: StreamMemory::register(engine, OUTGOING, slots.clone()),
            incoming: StreamMemory::register(engine, INCOMING, slots),
            parts: Buffers::register(engine, PARTS, 32, PART_BYTES),
        }
    }

    /// What a stream has received.
    fn received(
        &mut self,
        open: &Open,
        len: usize,
        (bid, more): (Option<u16>, bool),
        place: u64,
    ) -> Result<Vec<u8>, String> {
        match (open.way, bid, &mut self.lent) {
            (Way::Lent, Some(bid), Some(lent)) => lent.part(open.slot, (bid, len), more),
            (_, Some(bid), _) => {
                let bytes = self.parts.get(bid, len).to_vec();
                self.parts.provide(bid);
                Ok(bytes)
            }
            (Way::Own, None, _) => Ok(self.incoming.part(open.slot)[..len].to_vec()),
            (_, None, _) => match &mut self.lending.refills {
                Some(refills) => refills.received(place, len),
                None => Err("bytes that were received nowhere".to_string()),
            },
        }
    }
}

impl Open {
    pub(crate) fn step(
        &mut self,
        requests: &mut Requests,
        random: &mut Random,
        memory: &mut Memory,
    ) {
        if !self.connected || self.closing {
            return;
        }
        if !self.receiving && random.chance(700) {
            self.receive(requests, random, memory);
        }
        if self.sending || self.shutting || self.shut {
            return;
        }
        if self.stream.is_sent() {
            self.shut_down(requests);
        } else if random.chance(600) {
            self.send(requests, random, memory);
        }
    }

    fn receive(&mut self, requests: &mut Requests, random: &mut Random, memory: &mut Memory) {
        self.receiving = true;
        let socket = types::Fixed(self.slot);
        let purpose = Purpose::Client(Step::StreamReceive(self.stream.serial));
        if self.way == Way::Own {
            let way = *random.one_of(&Receive::ALL);
            let most = 1 + random.below(STREAM_BYTES as u64) as u32;
            let is_timed = random.chance(300);
            // What waits for all it asked for has what there is when it is given up.
            let flags = if is_timed { libc::MSG_WAITALL } else { 0 };
            let receive = memory.incoming.receive(way, self.slot, most, flags);
            if is_timed {
                requests.push_with_timeout(receive, purpose, random.one_of(&TIMEOUTS));
            } else {
                requests.push(receive, purpose);
            }
            return;
        }
        let zero_copy = self.way == Way::ZeroCopy && memory.lending.refills.is_some();
        if zero_copy {
            requests.push(opcode::RecvZc::new(socket, 0).build(), purpose);
            return;
        }
        let lends = self.way == Way::Lent && memory.lent.is_some();
        let group = if lends { LENT_PARTS } else { PARTS };
        let receive = if random.chance(500) {
            opcode::RecvMulti::new(socket, group).build()
        } else {
            let read = opcode::ReadMulti::new(socket, 0, group).build();
            // The builder forgets it.
            read.flags(squeue::Flags::FIXED_FILE)
        };
        requests.push(receive, purpose);
    }

    /// Sends the next part; the last one now and then together with the end.
    fn send(&mut self, requests: &mut Requests, random: &mut Random, memory: &mut Memory) {
        self.sending = true;
        if random.chance(500) && self.send_lent(requests, random, memory) {
            return;
        }
        let bytes = self.stream.next(1 + random.below(8000));
        memory.outgoing.part(self.slot)[..bytes.len()].copy_from_slice(&bytes);
        let last = self.stream.sent + bytes.len() as u64 == self.stream.total;
        let linked = last && random.chance(500);
        let mut flags = if linked { libc::MSG_WAITALL } else { 0 };
        if !last && random.chance(100) {
            flags |= libc::MSG_MORE;
        }
        let ways: &[Send] = match flags {
            0 => &Send::ALL,
            _ => &Send::WITH_FLAGS,
        };
        let way = *random.one_of(ways);
        let mut send = memory.outgoing.send(way, self.slot, 0..bytes.len(), flags);
        if linked {
            send = send.flags(squeue::Flags::IO_LINK);
        }
        requests.push(send, Purpose::Client(Step::Send(self.stream.serial)));
        if linked {
            self.shut_down(requests);
        }
    }

    /// The same of what lies in the areas; `false` if there is no room there.
    fn send_lent(
        &mut self,
        requests: &mut Requests,
        random: &mut Random,
        memory: &mut Memory,
    ) -> bool {
        let bytes = self.stream.next(1 + random.below(20_000));
        let Some(number) = memory.lending.areas.place(&bytes) else {
            return false;
        };
        let flags = [0, libc::MSG_WAITALL, libc::MSG_MORE];
        let last = self.stream.sent + bytes.len() as u64 == self.stream.total;
        let flags = *random.one_of(if last { &flags[..2] } else { &flags });
        let purpose = Purpose::Client(Step::LentSend(self.stream.serial, number));
        let areas = &mut memory.lending.areas;
        if requests.takes_number(self.slot) {
            let (send, lent) = areas.send_numbered(number, self.slot, None, flags);
            let lent = lent.on(self.connection, self.stream.sent);
            match random.chance(300) {
                true => {
                    let time = random.one_of(&TIMEOUTS);
                    requests.push_lent_with_timeout(send, purpose, lent, time);
                }
                false => requests.push_lent(send, purpose, lent),
            }
            return true;
        }
        let (send, lent) = areas.send(number, self.slot, None, flags);
        let lent = lent.on(self.connection, self.stream.sent);
        requests.push_lent(send, purpose, lent);
        true
    }

    /// What was sent is the client's again.
    pub(crate) fn is_given_back(&mut self, memory: &mut Memory) {
        self.sending = false;
        scribble(memory.outgoing.part(self.slot));
    }

    fn shut_down(&mut self, requests: &mut Requests) {
        self.shutting = true;
        let shutdown = opcode::Shutdown::new(types::Fixed(self.slot), libc::SHUT_WR).build();
        requests.push(
            shutdown,
            Purpose::Client(Step::Shutdown(self.stream.serial)),
        );
    }

    /// Takes a completion. What a hostile request cancelled is tried again, a connection attempt given up.
    pub(crate) fn completed(
        &mut self,
        tally: &mut Tally,
        memory: &mut Memory,
        step: Step,
        (res, flags, place): (i32, u32, u64),
    ) -> Result<(), String> {
        let serial = self.stream.serial;
        match step {
            Step::Connect(_) => {
                self.connected = res == 0;
                self.closing = res != 0;
                let no_answer = [-libc::EHOSTUNREACH, -libc::ETIMEDOUT].contains(&res);
                let is_refused = self.beside && REFUSED.contains(&res);
                let may_fail = self.stream.may_fail && (no_answer || is_refused);
                let excused = res == -libc::ECANCELED || may_fail;
                if res != 0 && !excused {
                    return Err(format!("stream {serial}: connecting failed: {res}"));
                }
            }
            Step::Send(_) | Step::LentSend(..) => {
                let more = io_uring::cqueue::more(flags);
                match step {
                    Step::LentSend(_, number) => {
                        self.sending = false;
                        if !more {
                            memory.lending.areas.take_back(number);
                        }
                    }
                    _ if !more => self.is_given_back(memory),
                    _ => {}
                }
                self.stream.sent += res.max(0) as u64;
                if res < 0 && res != -libc::ECANCELED {
                    return Err(format!("stream {serial}: sending failed: {res}"));
                }
            }
            Step::Shutdown(_) => {
                self.shutting = false;
                self.shut = res == 0;
                // A short send breaks the link.
                if res < 0 && res != -libc::ECANCELED {
                    return Err(format!("stream {serial}: shutting down failed: {res}"));
                }
            }
            _ => return self.received(tally, memory, (res, flags, place)),
        }
        Ok(())
    }

    fn received(
        &mut self,
        tally: &mut Tally,
        memory: &mut Memory,
        (res, flags, place): (i32, u32, u64),
    ) -> Result<(), String> {
        self.receiving = io_uring::cqueue::more(flags);
        let serial = self.stream.serial;
        let bid = io_uring::cqueue::buffer_select(flags);
        match (res, bid) {
            (1.., bid) => {
                let more = flags & IORING_CQE_F_BUF_MORE != 0;
                let bytes = memory.received(self, res as usize, (bid, more), place)?;
                self.stream.received(&bytes)?;
            }
            (0, bid) => {
                bid.into_iter().for_each(|bid| memory.parts.provide(bid));
                if !self.closing {
                    self.stream.ended()?;
                    tally.finished += 1;
                }
                self.closing = true;
            }
            (error, _) if EXCUSED.contains(&error) => {}
            (error, _) => return Err(format!("stream {serial}: receiving failed: {error}")),
        }
        tally.bytes += res.max(0) as u64;
        Ok(())
    }

    /// Closes the socket once it is done and no request uses its memory.
    pub(crate) fn close_when_idle(&mut self, requests: &mut Requests) {
        if self.closing && !self.sending && !self.receiving && !self.shutting {
            requests.close(self.slot, Purpose::Client(Step::Close(self.stream.serial)));
        }
    }
}
