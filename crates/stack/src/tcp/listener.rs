//! Listeners: a queue of half-open connections and one of those that wait to be accepted, each
//! bounded by itself (RFC 4987).

use std::collections::{HashSet, VecDeque};

use foldhash::fast::FixedState;
use ringwire_tcp::{Connection, Instant, Segment, SeqNumber};
use ringwire_umem::Ledger;

use super::{Ends, Socket};
use crate::Stack;
use crate::socket::SocketId;

/// Half-open connections of one listener. A SYN that finds no room is dropped, and may come again.
const SYN_QUEUE: usize = 1024;
/// Longest queue that listen(2) can ask for (`net.core.somaxconn`).
const MAX_BACKLOG: u32 = 4096;

#[derive(Debug)]
pub(crate) struct Listener {
    half_open: HashSet<SocketId, FixedState>,
    pub(crate) accept: VecDeque<SocketId>,
    backlog: u32,
}

impl Listener {
    pub(crate) fn new(backlog: u32, hash_seed: u64) -> Listener {
        let mut listener = Listener {
            half_open: HashSet::with_hasher(FixedState::with_seed(hash_seed)),
            accept: VecDeque::new(),
            backlog: 0,
        };
        listener.set_backlog(backlog);
        listener
    }

    pub(crate) fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog.min(MAX_BACKLOG);
    }

    /// As the kernel counts: one more than was asked for.
    fn accept_is_full(&self) -> bool {
        self.accept.len() > self.backlog as usize
    }

    /// Everything that waits in its queues.
    fn into_waiting(self) -> impl Iterator<Item = SocketId> {
        self.accept.into_iter().chain(self.half_open)
    }
}

impl Stack {
    /// Answers a SYN for a listener. `floor`: the connection follows one that is in TIME-WAIT.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn accept_syn(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        listening: SocketId,
        ends: Ends,
        syn: &Segment,
        queue: u16,
        floor: Option<SeqNumber>,
    ) {
        let config = self.tcp_config(ledger, ends.1.ip());
        let table = &mut self.tcp;
        let Some(socket) = table.get(listening) else {
            return;
        };
        let Some(listener) = &socket.listener else {
            return;
        };
        if listener.accept_is_full() || listener.half_open.len() >= SYN_QUEUE {
            self.counters.tcp_listen_overflows += 1;
            return;
        }
        let iss = table.isn.sequence(now, ends.0, ends.1);
        let iss = floor.map_or(iss, |floor| iss.max(floor));
        let offset = table.isn.timestamp_offset(ends.0, ends.1);
        let mut child = Socket::new(socket.family);
        child.local = Some(ends.0);
        child.remote = Some(ends.1);
        child.parent = Some(listening);
        child.accepted = true;
        child.held = false;
        child.nic_queue = queue;
        let connection = Connection::passive(now, config, iss, offset, syn);
        child.connection = Some(Box::new(connection));
        let id = table.slab.insert(child);
        table.time_waits.remove(&ends);
        table.ports.take_accepted(ends.0.port());
        table.connections.insert(ends, id);
        if let Some(listener) = table.listener(listening) {
            listener.half_open.insert(id);
        }
        table.mark_ready(id);
        table.schedule(id);
    }

    /// Whether a half-open connection cannot be completed now, since nobody takes those that are.
    pub(super) fn accept_queue_is_full(&self, id: SocketId) -> bool {
        let parent = self.tcp.get(id).and_then(|socket| socket.parent);
        let listening = parent.and_then(|parent| self.tcp.get(parent));
        listening
            .and_then(|socket| socket.listener.as_deref())
            .is_some_and(Listener::accept_is_full)
    }

    /// A half-open connection stands: it can be accepted.
    pub(super) fn offer_accepted(&mut self, id: SocketId) {
        let Some(parent) = self.tcp.get(id).and_then(|socket| socket.parent) else {
            return;
        };
        if let Some(listener) = self.tcp.listener(parent) {
            listener.half_open.remove(&id);
            listener.accept.push_back(id);
            self.tcp.events.mark(parent, true, false);
        }
    }

    /// Whether a connection is in the queue of those that stand and were not accepted.
    pub(super) fn waits_for_accept(&mut self, id: SocketId) -> bool {
        let parent = self.tcp.get(id).and_then(|socket| socket.parent);
        let listener = parent.and_then(|parent| self.tcp.listener(parent));
        listener.is_some_and(|listener| !listener.half_open.contains(&id))
    }

    /// A half-open connection is over.
    pub(super) fn leave_listener(&mut self, id: SocketId) {
        let parent = self.tcp.get_mut(id).and_then(|socket| socket.parent.take());
        if let Some(listener) = parent.and_then(|parent| self.tcp.listener(parent)) {
            listener.half_open.remove(&id);
        }
    }

    /// Ends listening. Whoever waits in the queues is told by a RST.
    pub(super) fn stop_listening(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        let Some(socket) = self.tcp.get_mut(id) else {
            return;
        };
        let (local, family) = (socket.local, socket.family);
        let Some(listener) = socket.listener.take() else {
            return;
        };
        if let Some(local) = local {
            crate::socket::for_each_key(local, family, |key| {
                if self.tcp.listeners.get(&key) == Some(&id) {
                    self.tcp.listeners.remove(&key);
                }
            });
        }
        for waiting in listener.into_waiting() {
            self.tcp.at(waiting).parent = None;
            self.abort(now, ledger, waiting);
        }
    }
}

impl super::Table {
    fn listener(&mut self, id: SocketId) -> Option<&mut Listener> {
        self.get_mut(id)?.listener.as_deref_mut()
    }
}
