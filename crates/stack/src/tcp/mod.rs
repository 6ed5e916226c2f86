//! TCP sockets: the table, what each has beside its connection's state machine, and how they are
//! found. Nothing here walks all sockets.

mod connect;
mod described;
mod error;
mod flow;
mod input;
mod listener;
mod ops;
mod options;
mod output;
mod ports;
mod receive_queue;
mod send_queue;
mod spares;
mod time_wait;
mod timers;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::FixedState;
use ringwire_tcp::{Connection, Isn, Segment, State, SynCookies, TcpOptions};

use crate::error::SocketError;
use crate::group::Group;
use crate::options::{Service, Sharing, SocketOptions};
use crate::packet::Payload;
use crate::siblings::Sibling;
use crate::slab::Slab;
use crate::socket::{Events, Family, Protocol, SocketId};

pub use ops::Accepted;
pub(crate) use ports::ephemeral;

use flow::{Connections, Flow};
use listener::Listener;
use ports::Ports;
use receive_queue::{ReceiveQueue, ReceiveSpares};
use send_queue::{SendQueue, SendSpares};
use time_wait::TimeWaits;
use timers::Timers;

/// Why it may be expected that a socket is there.
const IN_TABLE: &str = "tcp: a socket that is in use is in the table";

/// The two ends of a connection: (local, remote).
/// Local before remote.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// What connect(2) has come to, which outlives the connection itself (Linux's `socket_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Association {
    /// It never connected, or that was dissolved.
    Unconnected,
    /// It has begun to connect, and nobody has heard that it has come to a connection.
    Connecting,
    /// It has, or had, a connection.
    Connected,
    /// It was shut down while there was no connection yet.
    Disconnecting,
}

// In this order: what segments and requests touch lies in few cache lines, before what they do not. With
// many connections each visit fetches it from memory.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Socket {
    /// `None` while there is no connection, or no longer one.
    connection: Option<Box<Connection>>,
    listener: Option<Box<Listener>>,
    send: SendQueue,
    /// The NIC queue that the last segment came from: answers leave by the same one.
    nic_queue: u16,
    pub(crate) family: Family,
    association: Association,
    /// It is in the list of those that may have something to send.
    ready: bool,
    /// It was made by a listener, and counts towards its port so.
    accepted: bool,
    /// An application has it.
    held: bool,
    /// A send found no room, and is to hear of it.
    send_blocked: bool,
    /// A payload was dropped for want of memory since the last read.
    short_of_memory: bool,
    /// The peer's FIN was reached: receives return 0 (`SOCK_DONE`).
    done: bool,
    pub(crate) error: Option<SocketError>,
    /// What somebody on the way has said that may pass (RFC 1122, section 4.2.3.9).
    soft_error: Option<SocketError>,
    receive_shut: bool,
    send_shut: bool,
    receive: ReceiveQueue,
    pub(crate) options: SocketOptions,
    /// IPv4-mapped addresses appear as IPv4 here and in every key.
    pub(crate) local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// What it was bound to, by bind(2) or by listening.
    bound: Option<SocketAddr>,
    /// The listener in whose queue it waits.
    parent: Option<SocketId>,
    /// The options of connections that it will make, if they are not the defaults. One that there is has
    /// its own.
    tcp: Option<Box<TcpOptions>>,
}

impl Socket {
    fn new(family: Family) -> Socket {
        Socket {
            family,
            options: SocketOptions::new(Protocol::Tcp),
            local: None,
            bound: None,
            remote: None,
            association: Association::Unconnected,
            connection: None,
            listener: None,
            parent: None,
            accepted: false,
            held: true,
            send: SendQueue::default(),
            send_blocked: false,
            receive: ReceiveQueue::default(),
            short_of_memory: false,
            done: false,
            error: None,
            soft_error: None,
            receive_shut: false,
            send_shut: false,
            tcp: None,
            nic_queue: 0,
            ready: false,
        }
    }

    /// How it shares its port, if a listener has made it.
    fn accepted(&self) -> Option<Sharing> {
        self.accepted.then(|| self.options.sharing())
    }

    fn tcp_options(&self) -> TcpOptions {
        match (&self.connection, &self.tcp) {
            (Some(connection), _) => connection.options(),
            (None, Some(options)) => **options,
            (None, None) => TcpOptions::default(),
        }
    }

    fn keep_tcp_options(&mut self, options: TcpOptions) {
        self.tcp = (options != TcpOptions::default()).then(|| Box::new(options));
    }

    /// Has the processor fetch what segments and requests will need, all at once.
    #[inline]
    fn fetch(&self) {
        std::hint::black_box(
            self.options.window_bytes() as usize
                ^ usize::from(self.remote.is_some())
                ^ self.receive.len(),
        );
        if let Some(connection) = &self.connection {
            connection.fetch();
        }
    }

    fn ends(&self) -> Option<Ends> {
        Some((self.local?, self.remote?))
    }

    fn state(&self) -> State {
        match (&self.connection, &self.listener) {
            (Some(connection), _) => connection.state(),
            (None, Some(_)) => State::Listen,
            (None, None) => State::Closed,
        }
    }

    /// The other end of its connection, from when both know of it until it is closed.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        let connected = !matches!(self.state(), State::Closed | State::Listen | State::SynSent);
        self.remote.filter(|_| connected)
    }

    fn is_connecting(&self) -> bool {
        matches!(self.state(), State::SynSent | State::SynReceived)
    }

    /// Bytes that its reader could still take.
    fn receive_room(&self) -> u32 {
        let window = self.options.window_bytes();
        window.saturating_sub(self.receive.len() as u32)
    }

    /// Whether so much can be read that its reader is to hear of it: its mark is reached, or the window
    /// or the memory for more is used up (Linux `tcp_epollin_ready`).
    fn is_readable(&self) -> bool {
        let len = self.receive.len();
        if len == 0 || len >= self.options.receive_low_bytes() as usize {
            return len > 0;
        }
        // Less than a segment may not come: the peer avoids silly windows.
        let segment = self.connection.as_ref().map_or(0, |it| it.send_mss());
        self.short_of_memory || self.receive_room() <= segment
    }

    /// Send chunks that it may have in use.
    fn send_chunks(&self) -> u32 {
        self.options.send_chunks(Protocol::Tcp)
    }

    /// How its segments leave.
    fn path(&self) -> Path {
        let to = self
            .remote
            .map_or(Family::V4.unspecified(), |remote| remote.ip());
        Path::new(&self.options, to, self.nic_queue)
    }
}

/// How segments leave: by which NIC queue, and with what in their IP headers.
#[derive(Clone, Copy, Debug)]
struct Path {
    queue: u16,
    service: Service,
}

impl Path {
    fn new(options: &SocketOptions, to: IpAddr, queue: u16) -> Path {
        let service = options.service(to);
        Path { queue, service }
    }

    /// For what belongs to no socket.
    fn plain(queue: u16) -> Path {
        Path {
            queue,
            service: Service::default(),
        }
    }
}

/// A segment to one of our own addresses: it never reaches the wire.
#[derive(Debug)]
struct Looped {
    /// As its receiver sees them.
    ends: Ends,
    segment: Segment,
    payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Table {
    slab: Slab<Socket>,
    connections: Connections,
    listeners: HashMap<SocketAddr, Group, FixedState>,
    ports: Ports,
    time_waits: TimeWaits,
    timers: Timers,
    /// Those that may have something to send, by NIC queue.
    ready: Vec<VecDeque<SocketId>>,
    /// Segments that the first of them has sent in a row.
    burst: u32,
    looped: VecDeque<Looped>,
    send_spares: SendSpares,
    receive_spares: ReceiveSpares,
    /// Bytes of received payload that were moved out of frames.
    heap_bytes: usize,
    isn: Isn,
    cookies: SynCookies,
    hash_seed: u64,
    pub(crate) events: Events,
}

impl Table {
    pub(crate) fn new(seed: u64, secret: [u64; 2], queues: u16) -> Table {
        Table {
            slab: Slab::new(Protocol::Tcp),
            connections: Connections::new(seed),
            listeners: HashMap::with_hasher(FixedState::with_seed(seed)),
            ports: Ports::new(seed),
            time_waits: TimeWaits::new(seed),
            timers: Timers::default(),
            ready: (0..queues).map(|_| VecDeque::new()).collect(),
            burst: 0,
            looped: VecDeque::new(),
            send_spares: SendSpares::default(),
            receive_spares: ReceiveSpares::default(),
            heap_bytes: 0,
            isn: Isn::new(secret),
            cookies: SynCookies::new(secret),
            hash_seed: seed,
            events: Events::default(),
        }
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&Socket> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slab.get_mut(id)
    }

    /// The flow of the last segment.
    #[inline(always)]
    pub(crate) fn flow(&self) -> Option<&Flow> {
        self.connections.flow()
    }

    /// Our addresses have changed: what was known of a flow may not be so.
    pub(crate) fn forget_flow(&mut self) {
        self.connections.set_flow(None);
    }

    /// Has ports and connections known to the interface's other stacks.
    pub(crate) fn join(&mut self, sibling: &Arc<Sibling>) {
        self.ports.join(sibling);
        self.connections.join(sibling);
        self.time_waits.join(sibling);
    }

    /// Whether there are no sockets, nor what is left of them.
    pub(crate) fn is_empty(&self) -> bool {
        self.slab.ids().is_empty() && self.time_waits.len() == 0
    }

    /// The NIC queue that a connection's segments leave by.
    pub(crate) fn queue_of(&self, ends: &Ends) -> Option<u16> {
        let id = self.connections.get(ends)?;
        self.get(id).map(|socket| socket.nic_queue)
    }

    /// Whether a connection may have these ends: none has, in any stack of the interface.
    fn is_unused(&self, ends: &Ends) -> bool {
        self.connections.get(ends).is_none()
            && !self.time_waits.contains(ends)
            && !self.connections.is_elsewhere(ends)
    }

    /// A socket that is known to be there.
    fn at(&mut self, id: SocketId) -> &mut Socket {
        self.get_mut(id).expect(IN_TABLE)
    }

    /// Takes a socket out of the table. Its queues must be empty.
    fn remove(&mut self, id: SocketId) {
        self.timers.follow(id, None);
        let socket = self.slab.remove(id);
        let socket = socket.expect("tcp: a socket ends once");
        if let Some(local) = socket.local {
            self.leave_port(id, local.port(), socket.accepted());
        }
    }

    fn leave_port(&mut self, id: SocketId, port: u16, accepted: Option<Sharing>) {
        if let Some(sharing) = accepted {
            self.ports.leave_accepted(port, sharing);
        } else {
            self.ports.leave(id, port);
        }
    }

    /// The listener that a segment for this address is for.
    fn find_listener(&self, (local, remote): Ends) -> Option<SocketId> {
        let group = self.listeners.get(&local).or_else(|| {
            let any: IpAddr = match local.ip() {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let wildcard = SocketAddr::new(any, local.port());
            self.listeners.get(&wildcard)
        });
        group?.pick(local, remote, self.listeners.hasher())
    }

    /// Says that a connection may have something to send.
    fn mark_ready(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        if !std::mem::replace(&mut socket.ready, true) {
            let queue = usize::from(socket.nic_queue);
            self.ready[queue].push_back(id);
        }
    }

    /// Whether connections may have something to send on a NIC queue.
    pub(crate) fn has_ready(&self, queue: u16) -> bool {
        !self.ready[usize::from(queue)].is_empty()
    }

    /// Has the timers follow what the connection waits for now.
    fn schedule(&mut self, id: SocketId) {
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        let next = socket
            .connection
            .as_deref()
            .and_then(Connection::next_deadline);
        self.timers.follow(id, next);
    }

    /// How large everything is that strangers can make larger.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            sockets: self.slab.len(),
            connections: self.connections.len(),
            time_waits: self.time_waits.len(),
            timers: self.timers.len(),
            ready: self.ready.iter().map(VecDeque::len).sum(),
            heap_bytes: self.heap_bytes,
        }
    }

    /// Runs a change of a socket's receive queue, and keeps count of what it holds on the heap.
    fn with_receive<R>(
        &mut self,
        id: SocketId,
        change: impl FnOnce(&mut ReceiveQueue, &mut ReceiveSpares) -> R,
    ) -> Option<R> {
        let queue = &mut self.slab.get_mut(id)?.receive;
        let before = queue.heap_bytes();
        let result = change(queue, &mut self.receive_spares);
        let after = queue.heap_bytes();
        self.heap_bytes = self.heap_bytes + after - before;
        Some(result)
    }
}

/// Entries in the tables, and bytes of payload on the heap.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) sockets: usize,
    pub(crate) connections: usize,
    pub(crate) time_waits: usize,
    pub(crate) timers: usize,
    pub(crate) ready: usize,
    pub(crate) heap_bytes: usize,
}

/// A payload of nothing.
fn nothing() -> Payload {
    Payload::heap(Vec::new())
}
