//! Listeners: a queue of half-open connections and one of those that wait to be accepted, each
//! bounded by itself; when the first is full, SYN cookies instead of it (RFC 4987).

use std::collections::{HashSet, VecDeque};

use foldhash::fast::FixedState;
use ringwire_tcp::{Config, Connection, Instant, Segment, SeqNumber, SynCookies};
use ringwire_umem::Ledger;

use super::{Association, Ends, Path, Socket};
use crate::Stack;
use crate::group;
use crate::socket::SocketId;

/// Half-open connections of one listener. A SYN that finds no room is answered with a cookie.
const SYN_QUEUE: usize = 1024;
/// Longest queue that listen(2) can ask for (`net.core.somaxconn`).
const MAX_BACKLOG: u32 = 4096;

#[derive(Debug)]
pub(crate) struct Listener {
    half_open: HashSet<SocketId, FixedState>,
    pub(crate) accept: VecDeque<SocketId>,
    backlog: u32,
    /// When the last cookie was sent.
    cookie_at: Option<Instant>,
}

impl Listener {
    pub(crate) fn new(backlog: u32, hash_seed: u64) -> Listener {
        let mut listener = Listener {
            half_open: HashSet::with_hasher(FixedState::with_seed(hash_seed)),
            accept: VecDeque::new(),
            backlog: 0,
            cookie_at: None,
        };
        listener.set_backlog(backlog);
        listener
    }

    pub(crate) fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog.min(MAX_BACKLOG);
    }

    /// How many connections may wait to be accepted.
    pub(crate) fn backlog(&self) -> u32 {
        self.backlog
    }

    /// As the kernel counts: one more than was asked for.
    fn accept_is_full(&self) -> bool {
        self.accept.len() > self.backlog as usize
    }

    /// Whether a cookie that was sent may come back now. In quiet times acknowledgements are not looked
    /// at: guessing needs a flood to go with it (Linux `tcp_synq_no_recent_overflow`).
    fn expects_cookies(&self, now: Instant) -> bool {
        self.cookie_at
            .is_some_and(|at| now - at < SynCookies::VALID)
    }

    /// Everything that waits in its queues.
    fn into_waiting(self) -> impl Iterator<Item = SocketId> {
        self.accept.into_iter().chain(self.half_open)
    }
}

/// What a segment is that a listener takes for the end of a handshake.
pub(super) enum Cookie {
    /// It has made this connection.
    Good(SocketId),
    /// It would have, and may come again (as with Linux).
    NoRoom,
    /// It brings no cookie back.
    Bad,
}

impl Stack {
    /// Answers a SYN for a listener. `floor`: the connection follows one that is in TIME-WAIT.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn accept_syn(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        listening: SocketId,
        ends: Ends,
        syn: &Segment,
        queue: u16,
        floor: Option<SeqNumber>,
    ) {
        let Some(options) = self.tcp.get(listening).map(|socket| socket.options) else {
            return;
        };
        let Some(listener) = self.tcp.listener(listening) else {
            return;
        };
        let syn_queue_is_full = listener.half_open.len() >= SYN_QUEUE;
        // A cookie cannot choose its number: what follows a connection in TIME-WAIT tries again.
        if listener.accept_is_full() || syn_queue_is_full && floor.is_some() {
            self.counters.tcp_listen_overflows += 1;
            return;
        }
        if syn_queue_is_full {
            listener.cookie_at = Some(now);
        }
        let config = self.accepting_config(ledger, listening, ends);
        if syn_queue_is_full {
            let path = Path::new(&options, ends.1.ip(), queue);
            return self.send_cookie(now, ledger, &config, ends, syn, path);
        }
        let iss = self.tcp.isn.sequence(now, ends.0, ends.1);
        let iss = floor.map_or(iss, |floor| iss.max(floor));
        let offset = self.tcp.isn.timestamp_offset(ends.0, ends.1);
        let connection = Connection::passive(now, config, iss, offset, syn);
        self.add_half_open(listening, ends, connection, queue);
    }

    /// What a connection that a listener makes is made with.
    fn accepting_config(&mut self, ledger: &Ledger, listening: SocketId, ends: Ends) -> Config {
        // What the route takes is known when it has been asked for.
        self.reach(Some(ends.0.ip()), ends.1.ip());
        self.tcp_config(ledger, ends.1.ip(), Some(listening))
    }

    fn send_cookie(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        config: &Config,
        ends: Ends,
        syn: &Segment,
        path: Path,
    ) {
        self.counters.tcp_cookies_sent += 1;
        let offset = self.tcp.isn.timestamp_offset(ends.0, ends.1);
        let answer = self.tcp.cookies.answer(now, config, offset, ends, syn);
        self.send_segment(now, ledger, ends, &answer, path);
    }

    /// Makes a connection of a segment that brings a cookie back, which is to be handed to it then.
    pub(super) fn accept_cookie(
        &mut self,
        now: Instant,
        ledger: &Ledger,
        listening: SocketId,
        ends: Ends,
        segment: &Segment,
        queue: u16,
    ) -> Cookie {
        let expected = self.tcp.listener(listening);
        let expected = expected.is_some_and(|listener| listener.expects_cookies(now));
        let (Some(ack), true, false, false) = (segment.ack, expected, segment.syn, segment.rst)
        else {
            return Cookie::Bad;
        };
        let offset = self.tcp.isn.timestamp_offset(ends.0, ends.1);
        let Some(syn) = self.tcp.cookies.check(now, offset, ends, segment) else {
            self.counters.tcp_cookies_failed += 1;
            return Cookie::Bad;
        };
        self.counters.tcp_cookies_received += 1;
        let listener = self.tcp.listener(listening);
        if listener.is_none_or(|listener| listener.accept_is_full()) {
            self.counters.tcp_listen_overflows += 1;
            return Cookie::NoRoom;
        }
        let config = self.accepting_config(ledger, listening, ends);
        let connection = Connection::from_cookie(now, config, ack - 1, offset, &syn);
        Cookie::Good(self.add_half_open(listening, ends, connection, queue))
    }

    fn add_half_open(
        &mut self,
        listening: SocketId,
        ends: Ends,
        connection: Connection,
        queue: u16,
    ) -> SocketId {
        let table = &mut self.tcp;
        let listener = table.at(listening);
        let options = listener.options;
        let mut child = Socket::new(listener.family);
        child.options = options;
        child.local = Some(ends.0);
        child.remote = Some(ends.1);
        child.parent = Some(listening);
        child.accepted = true;
        child.association = Association::Connected;
        child.held = false;
        child.nic_queue = queue;
        child.connection = Some(Box::new(connection));
        let id = table.slab.insert(child);
        table.time_waits.remove(&ends);
        table.ports.take_accepted(ends.0.port(), options.sharing());
        table.connections.insert(ends, id);
        if let Some(listener) = table.listener(listening) {
            listener.half_open.insert(id);
        }
        table.mark_ready(id);
        table.schedule(id);
        id
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
                group::leave(&mut self.tcp.listeners, key, id);
            });
            self.tcp.ports.set_listening(id, local.port(), false);
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
