//! When connections are due: a heap of deadlines, at most one for each connection. A deadline that moves on
//! leaves its entry where it is, and is looked at when that comes up: so restarting a retransmission timer
//! costs nothing. One that is no more takes its entry along while the connection is at hand: to look for it
//! later would fetch the connection from memory for nothing.

use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::socket::SocketId;

/// A socket that has no entry.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    /// A binary heap: no entry is due before the one at half its index, counted from 1.
    heap: Vec<(Instant, SocketId)>,
    /// Where the entry of a socket is, by slot.
    places: Vec<u32>,
}

impl Timers {
    /// Has a socket's entry follow its deadline.
    pub(crate) fn follow(&mut self, id: SocketId, deadline: Option<Instant>) {
        let place = self.place(id);
        match (place, deadline) {
            (None, None) => {}
            (None, Some(at)) => {
                let slot = id.slot as usize;
                if slot >= self.places.len() {
                    self.places.resize(slot + 1, NOWHERE);
                }
                self.heap.push((at, id));
                self.rise(self.heap.len() - 1);
            }
            (Some(place), None) => self.remove(place),
            (Some(place), Some(at)) if at < self.heap[place].0 => {
                self.heap[place].0 = at;
                self.rise(place);
            }
            (Some(_), Some(_)) => {}
        }
    }

    /// When the first entry is due. What it was for may have moved on since.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|&(at, _)| at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    fn pop_due(&mut self, now: Instant) -> Option<SocketId> {
        let &(_, id) = self.heap.first().filter(|(at, _)| *at <= now)?;
        self.remove(0);
        Some(id)
    }

    fn place(&self, id: SocketId) -> Option<usize> {
        let place = *self.places.get(id.slot as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn remove(&mut self, place: usize) {
        let (_, id) = self.heap.swap_remove(place);
        self.places[id.slot as usize] = NOWHERE;
        if place < self.heap.len() {
            self.sink(place);
            self.rise(place);
        }
    }

    /// Moves an entry towards the first as far as it is due before others, and notes where it is.
    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let before = (place - 1) / 2;
            if self.heap[before].0 <= self.heap[place].0 {
                break;
            }
            self.swap(place, before);
            place = before;
        }
        self.note(place);
    }

    /// Moves an entry away from the first as far as others are due before it.
    fn sink(&mut self, mut place: usize) {
        loop {
            let behind = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            let Some(first) = behind.min_by_key(|&place| self.heap[place].0) else {
                return;
            };
            if self.heap[place].0 <= self.heap[first].0 {
                return;
            }
            self.swap(place, first);
            place = first;
        }
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        self.note(one);
        self.note(other);
    }

    fn note(&mut self, place: usize) {
        let (_, id) = self.heap[place];
        self.places[id.slot as usize] = place as u32;
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
        while let Some(id) = self.tcp.timers.pop_due(now) {
            let Some(connection) = &mut self.tcp.at(id).connection else {
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

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
