//! When connections are due: a heap of deadlines. A deadline that moves on leaves its entry where it is,
//! and is looked at when that comes up; so restarting a retransmission timer costs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::socket::{Protocol, SocketId};

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

    fn pop_due(&mut self, now: Instant) -> Option<(Instant, SocketId)> {
        let &Reverse((at, slot, generation)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        let id = SocketId {
            protocol: Protocol::Tcp,
            slot,
            generation,
        };
        Some((at, id))
    }
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
                self.carry_out(now, ledger, id, disposition);
                self.tcp.mark_ready(id);
            }
            self.tcp.schedule(id);
        }
        self.tcp.time_waits.expire(now);
    }
}
