//! When connections are due: a heap of deadlines. A deadline that moves on leaves its entry where it is,
//! and is looked at when that comes up; so restarting a retransmission timer costs nothing. Entries that
//! nobody waits for any more are cleared out when they are more than the sockets.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::socket::{Protocol, SocketId};

/// Entries beyond twice the sockets that are not worth clearing out.
const SPARE: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u32, u32)>>,
}

impl Timers {
    pub(crate) fn push(&mut self, at: Instant, id: SocketId) {
        self.heap.push(Reverse((at, id.slot, id.generation)));
    }

    /// When the first entry is due. What it was for may have moved on since.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there are so many entries beside the one that each of `sockets` may wait for that
    /// clearing the others out pays for itself.
    pub(crate) fn is_cluttered(&self, sockets: usize) -> bool {
        self.heap.len() > 2 * sockets + SPARE
    }

    /// Keeps the entries that somebody waits for.
    pub(crate) fn retain(&mut self, mut awaited: impl FnMut(Instant, SocketId) -> bool) {
        self.heap.retain(|&Reverse(entry)| {
            let (at, id) = named(entry);
            awaited(at, id)
        });
    }

    fn pop_due(&mut self, now: Instant) -> Option<(Instant, SocketId)> {
        let &Reverse(entry) = self.heap.peek()?;
        let (at, id) = named(entry);
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, id))
    }
}

fn named((at, slot, generation): (Instant, u32, u32)) -> (Instant, SocketId) {
    let id = SocketId {
        protocol: Protocol::Tcp,
        slot,
        generation,
    };
    (at, id)
}

impl Stack {
    /// When TCP has something to do next.
    pub(crate) fn tcp_deadline(&self) -> Option<Instant> {
        let deadlines = [self.tcp.timers.next(), self.tcp.time_waits.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn tcp_poll(&mut self, now: Instant, ledger: &mut Ledger) {
        while let Some((at, id)) = self.tcp.timers.pop_due(now) {
            let Some(socket) = self.tcp.get_mut(id) else {
                continue;
            };
            // Another entry has taken the place of this one.
            if socket.scheduled != Some(at) {
                continue;
            }
            socket.scheduled = None;
            let Some(connection) = &mut socket.connection else {
                continue;
            };
            if connection.next_deadline().is_some_and(|due| due <= now) {
                let disposition = connection.on_timer(now);
                self.carry_out(now, ledger, id, &disposition);
                self.tcp.mark_ready(id);
            }
            self.tcp.schedule(id);
        }
        self.tcp.time_waits.expire(now);
    }
}
