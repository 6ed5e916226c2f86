//! Operations on TCP sockets: listening, accepting, streams of bytes, and the ends of them.

use std::net::SocketAddr;

use ringwire_tcp::{Info, Instant, State, TcpOptions};
use ringwire_umem::{Borrowed, Ledger, Pool};

use super::listener::Listener;
use super::receive_queue::{ReceiveQueue, ReceiveSpares};
use super::send_queue::{HEADROOM, SendSpares};
use super::{Association, IN_TABLE, Socket, wire};
use crate::egress::CONTROL_RESERVE_CHUNKS;
use crate::error::SocketError;
use crate::lend::{LendError, LentPart};
use crate::socket::{Family, Protocol, Readiness, Shutdown, SocketId, for_each_key};
use crate::{Stack, TxChecksum};

/// A sender that found no room hears of it when no more chunks than this are in use: two thirds of
/// what it may have.
pub(super) fn wake_chunks(socket: &Socket) -> u32 {
    socket.send_chunks() * 2 / 3
}

/// A connection that accept(2) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its socket.
    pub socket: SocketId,
    /// The peer.
    pub peer: SocketAddr,
    /// Whether more connections wait.
    pub more: bool,
}

impl Stack {
    pub(crate) fn tcp_open(&mut self, family: Family) -> SocketId {
        self.tcp.slab.insert(Socket::new(family))
    }

    pub(crate) fn tcp_bind(
        &mut self,
        id: SocketId,
        address: SocketAddr,
    ) -> Result<(), SocketError> {
        let socket = self.tcp.get(id).ok_or(SocketError::Invalid)?;
        let family = socket.family;
        if family == Family::V4 && address.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        let ip = address.ip();
        if !ip.is_unspecified() && !self.addresses.is_local(ip) {
            return Err(SocketError::AddressNotAvailable);
        }
        if socket.local.is_some() || socket.state() != State::Closed {
            return Err(SocketError::Invalid);
        }
        let sharing = socket.options.sharing();
        let draw = self.random();
        let ports = &mut self.tcp.ports;
        let local = match address.port() {
            // The kernel chooses.
            0 if self.shared.is_some() => address,
            0 => {
                let port = ports.free(ip, family, draw);
                SocketAddr::new(ip, port.ok_or(SocketError::AddressInUse)?)
            }
            _ if ports.is_taken(address, family, sharing) => return Err(SocketError::AddressInUse),
            _ => address,
        };
        let local = self.reserve(Protocol::Tcp, local, family, sharing)?;
        if !self.tcp.ports.take(id, local, family, sharing) {
            return Err(SocketError::AddressInUse);
        }
        let socket = self.tcp.at(id);
        socket.local = Some(local);
        socket.bound = Some(local);
        Ok(())
    }

    /// listen(2); binds an unbound socket to a free port. Called again, it changes the backlog.
    ///
    /// # Errors
    /// `Invalid`: the socket is connected, or was, or has tried to; `AddressInUse`: no port is left; `NotSupported`: it is no
    /// TCP socket.
    pub fn tcp_listen(&mut self, id: SocketId, backlog: u32) -> Result<(), SocketError> {
        if id.protocol != Protocol::Tcp {
            return Err(SocketError::NotSupported);
        }
        let hash_seed = self.tcp.hash_seed;
        let socket = self.tcp.get_mut(id).ok_or(SocketError::Invalid)?;
        if let Some(listener) = &mut socket.listener {
            listener.set_backlog(backlog);
            return Ok(());
        }
        if socket.association != Association::Unconnected {
            return Err(SocketError::Invalid);
        }
        let family = socket.family;
        if socket.bound.is_none() {
            self.tcp_bind(id, SocketAddr::new(family.unspecified(), 0))?;
        }
        let socket = self.tcp.at(id);
        let local = socket.local.expect("tcp: a listener is bound");
        let sharing = socket.options.sharing();
        let ports = &mut self.tcp.ports;
        if !ports.may_listen(id, local, family, sharing) {
            return Err(SocketError::AddressInUse);
        }
        self.guard(Protocol::Tcp, local, family)?;
        self.tcp.ports.set_listening(id, local.port(), true);
        let socket = self.tcp.at(id);
        socket.listener = Some(Box::new(Listener::new(backlog, hash_seed)));
        socket.receive_shut = false;
        socket.send_shut = false;
        for_each_key(local, family, |key| {
            let group = self.tcp.listeners.entry(key).or_default();
            group.add(id, family, sharing.port);
        });
        Ok(())
    }

    /// Takes a connection off a listener's queue. It may be over already, as with the kernel.
    ///
    /// # Errors
    /// `WouldBlock`: none is there; `Invalid`: it does not listen (any more); `NotSupported`: it is no
    /// TCP socket.
    pub fn tcp_accept(&mut self, id: SocketId) -> Result<Accepted, SocketError> {
        if id.protocol != Protocol::Tcp {
            return Err(SocketError::NotSupported);
        }
        let socket = self.tcp.get_mut(id).ok_or(SocketError::Invalid)?;
        let listener = socket.listener.as_mut().ok_or(SocketError::Invalid)?;
        let child = listener.accept.pop_front().ok_or(SocketError::WouldBlock)?;
        let more = !listener.accept.is_empty();
        let accepted = self.tcp.at(child);
        accepted.parent = None;
        accepted.held = true;
        let peer = accepted.remote.expect("tcp: a connection has a peer");
        Ok(Accepted {
            socket: child,
            peer,
            more,
        })
    }

    /// Queues up to `len` bytes; returns how many fitted (0 only if `len` is). `fill` is called with
    /// consecutive parts to write into. `more`: a segment that is not full may wait for what follows
    /// (`MSG_MORE`).
    ///
    /// # Errors
    /// `WouldBlock`: no room, or not connected yet; an error of the connection, taken; `Pipe`: sending
    /// is shut down, or there is no connection.
    pub fn tcp_send(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        len: usize,
        more: bool,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<usize, SocketError> {
        self.check_send(id)?;
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let (spares, checksum) = (&mut self.tcp.send_spares, self.config.tx_checksum);
        let queued = queue_bytes(socket, spares, ledger, len, checksum, fill);
        if queued > 0
            && let Some(connection) = &mut socket.connection
        {
            connection.push(queued as u32, more && queued == len);
        }
        if queued < len {
            socket.send_blocked = true;
            // With chunks, its next acknowledgement wakes it.
            if socket.send.chunks() == 0 {
                self.starved.insert(id);
            }
        }
        if queued > 0 {
            self.tcp.mark_ready(id);
        }
        if queued == 0 && len > 0 {
            return Err(SocketError::WouldBlock);
        }
        Ok(queued)
    }

    /// Queues bytes of the application's, to be sent from where they lie until they are acknowledged; returns
    /// how many there was room for. What there was no room for is repaid. What would have to be copied when it
    /// is sent is copied at once, and repaid.
    ///
    /// # Errors
    /// As [`Stack::tcp_send`]; then everything is repaid.
    pub fn tcp_send_borrowed(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        mut borrowed: Borrowed,
        more: bool,
    ) -> Result<usize, SocketError> {
        if let Some((why, segment)) = self.copies_when_sent(ledger, id, &borrowed) {
            return self.send_copied(ledger, id, borrowed, more, (why, segment));
        }
        let room = self.check_send(id).map(|socket| {
            let chunks = socket.send_chunks();
            let free = chunks.saturating_sub(socket.send.chunks());
            free.saturating_mul(ledger.chunk_bytes())
        });
        let room = match room {
            Ok(room) if room > 0 && !borrowed.is_empty() => room,
            Ok(_) if borrowed.is_empty() => {
                ledger.repay(borrowed);
                return Ok(0);
            }
            refused => {
                ledger.repay(borrowed);
                if refused.is_ok()
                    && let Some(socket) = self.tcp.get_mut(id)
                {
                    socket.send_blocked = true;
                }
                return Err(refused.err().unwrap_or(SocketError::WouldBlock));
            }
        };
        let len = borrowed.len();
        if room < len {
            let part = ledger.split_to(&mut borrowed, room);
            ledger.repay(std::mem::replace(&mut borrowed, part));
        }
        let queued = borrowed.len();
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let Some(connection) = &mut socket.connection else {
            ledger.repay(borrowed);
            return Err(SocketError::Pipe);
        };
        let end = connection.send_una() + connection.unacknowledged();
        socket.send.reserve(&mut self.tcp.send_spares, 1, 1);
        socket.send.add_borrowed(ledger, end, borrowed);
        connection.push(queued, more && queued == len);
        socket.send_blocked |= queued < len;
        self.tcp.mark_ready(id);
        Ok(queued as usize)
    }

    /// Has what was queued with `more` go out: nothing follows for now.
    pub fn tcp_push(&mut self, id: SocketId) {
        let socket = self.tcp.get_mut(id);
        let connection = socket.and_then(|socket| socket.connection.as_mut());
        if let Some(connection) = connection.filter(|it| it.state().may_send()) {
            connection.push(0, false);
            self.tcp.mark_ready(id);
        }
    }

    /// The socket, if something can be sent on it.
    fn check_send(&mut self, id: SocketId) -> Result<&mut Socket, SocketError> {
        let socket = self.tcp.slab.get_mut(id).ok_or(SocketError::Invalid)?;
        socket.fetch();
        if (socket.error.is_some() || socket.send_shut)
            && let Some(error) = socket.error.take()
        {
            return Err(error);
        }
        if socket.is_connecting() && !socket.send_shut {
            socket.send_blocked = true;
            return Err(SocketError::WouldBlock);
        }
        if socket.send_shut || !socket.state().may_send() {
            return Err(SocketError::Pipe);
        }
        Ok(socket)
    }

    /// What a receive finds: the number of bytes that are there in order, or 0 at the end (the
    /// peer's FIN, or receiving shut down).
    ///
    /// # Errors
    /// `WouldBlock`: nothing yet; an error of the connection, taken; `NotConnected`.
    pub fn tcp_available(&mut self, id: SocketId) -> Result<usize, SocketError> {
        let socket = self.tcp.get_mut(id).ok_or(SocketError::Invalid)?;
        if socket.receive.len() > 0 {
            return Ok(socket.receive.len());
        }
        if socket.done {
            return Ok(0);
        }
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.receive_shut {
            return Ok(0);
        }
        match socket.connection {
            Some(_) => Err(SocketError::WouldBlock),
            None => Err(SocketError::NotConnected),
        }
    }

    /// What is left to read, as the kernel hints it (`msg_inq`): bytes, or 1 at the end of the stream.
    pub fn tcp_inq(&self, id: SocketId) -> usize {
        let Some(socket) = self.tcp.get(id) else {
            return 0;
        };
        socket.receive.len().max(usize::from(socket.done))
    }

    /// Calls `each` with the first `limit` bytes that can be read, part by part, in order.
    pub fn tcp_for_each(
        &self,
        ledger: &Ledger,
        id: SocketId,
        limit: usize,
        each: &mut dyn FnMut(&[u8]),
    ) {
        if let Some(socket) = self.tcp.get(id) {
            socket.receive.for_each(ledger, limit, each);
        }
    }

    /// Takes bytes that were read off the queue; the window may open.
    pub fn tcp_consume(&mut self, ledger: &mut Ledger, id: SocketId, len: usize) {
        self.tcp
            .with_receive(id, |receive, spares| receive.consume(spares, ledger, len));
        self.open_window(id);
    }

    /// Lends the first bytes that can be read, off the queue: `limit` at most, and those of one chunk. The
    /// window may open.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn tcp_lend(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        limit: usize,
    ) -> Result<LentPart, LendError> {
        let counters = &mut self.counters;
        let lend = |receive: &mut ReceiveQueue, spares: &mut ReceiveSpares| {
            receive.lend(spares, ledger, counters, limit)
        };
        let part = self
            .tcp
            .with_receive(id, lend)
            .ok_or(LendError::Nothing)??;
        self.open_window(id);
        Ok(part)
    }

    /// Bytes were read: there is room for more.
    fn open_window(&mut self, id: SocketId) {
        let Some(socket) = self.tcp.get_mut(id) else {
            return;
        };
        socket.short_of_memory = false;
        let room = socket.receive_room();
        if let Some(connection) = &mut socket.connection {
            connection.read(room);
            self.tcp.mark_ready(id);
        }
    }

    /// The peer of a connection.
    pub fn tcp_peer(&self, id: SocketId) -> Option<SocketAddr> {
        self.tcp.get(id)?.remote
    }

    /// The state of a socket's connection.
    pub fn tcp_state(&self, id: SocketId) -> Option<State> {
        self.tcp.get(id).map(Socket::state)
    }

    /// Connections, those in TIME-WAIT left out.
    pub fn tcp_connections(&self) -> usize {
        self.tcp.connections.len()
    }

    /// Closes every socket: what was sent goes out, and a FIN behind it. Walks all of them: for the end
    /// of a stack.
    pub fn tcp_hang_up(&mut self, now: Instant, ledger: &mut Ledger) {
        for id in self.tcp.slab.ids() {
            // Closing a listener may have ended it.
            if self.tcp.get(id).is_some_and(|socket| socket.held) {
                self.tcp_close(now, ledger, id);
            }
        }
    }

    /// Resets every connection that is left: its peer must not wait for an answer for ever.
    pub fn tcp_reset_all(&mut self, now: Instant, ledger: &mut Ledger) {
        for id in self.tcp.slab.ids() {
            if self
                .tcp
                .get(id)
                .is_some_and(|socket| socket.connection.is_some())
            {
                self.abort(now, ledger, id);
            }
        }
    }

    /// Connections in TIME-WAIT.
    pub fn tcp_time_waits(&self) -> usize {
        self.tcp.time_waits.len()
    }

    /// The options of a TCP socket; `None` if it is none.
    pub fn tcp_options(&self, id: SocketId) -> Option<TcpOptions> {
        self.tcp.get(id).map(Socket::tcp_options)
    }

    /// Changes the options of a TCP socket, and of its connection if it has one. Connections that a
    /// listener accepts begin with the listener's.
    pub fn tcp_set_options(&mut self, now: Instant, id: SocketId, options: TcpOptions) {
        // The id of a UDP socket names nothing here.
        let Some(socket) = self.tcp.get_mut(id) else {
            return;
        };
        match &mut socket.connection {
            Some(connection) => {
                connection.set_options(now, options);
                self.tcp.mark_ready(id);
                self.tcp.schedule(id);
            }
            None => socket.keep_tcp_options(options),
        }
    }

    /// Figures about a socket's connection (`TCP_INFO`); `None` if it has none.
    pub fn tcp_info(&self, now: Instant, id: SocketId) -> Option<Info> {
        Some(self.tcp.get(id)?.connection.as_deref()?.info(now))
    }

    pub(crate) fn tcp_shutdown(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        how: Shutdown,
    ) -> Result<(), SocketError> {
        let socket = self.tcp.get_mut(id).ok_or(SocketError::Invalid)?;
        let state = socket.state();
        if socket.association == Association::Connecting {
            socket.association = match state {
                State::SynSent => Association::Unconnected,
                State::SynReceived | State::Closed => Association::Disconnecting,
                _ => Association::Connected,
            };
        }
        match state {
            State::Listen if how == Shutdown::Send => {}
            State::Listen => self.stop_listening(now, ledger, id),
            State::SynSent => {
                socket.error = Some(SocketError::Reset);
                self.abort(now, ledger, id);
            }
            _ => {
                socket.receive_shut |= how != Shutdown::Send;
                socket.send_shut |= how != Shutdown::Receive;
                if let Some(connection) = &mut socket.connection {
                    if how != Shutdown::Send {
                        connection.shut_receive();
                    }
                    if how != Shutdown::Receive {
                        connection.close(now);
                        self.tcp.mark_ready(id);
                        self.tcp.schedule(id);
                    }
                }
            }
        }
        self.tcp.events.mark(id, true, true);
        if state == State::Closed {
            return Err(SocketError::NotConnected);
        }
        Ok(())
    }

    pub(crate) fn tcp_close(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        self.stop_listening(now, ledger, id);
        let Some(socket) = self.tcp.get_mut(id) else {
            return;
        };
        socket.held = false;
        let unread = socket.receive.len() > 0;
        let linger = socket.options.linger;
        let abort = unread || linger.on && linger.seconds == 0;
        let Some(connection) = &mut socket.connection else {
            self.tcp
                .with_receive(id, |receive, spares| receive.clear(spares, ledger));
            return self.tcp.remove(id);
        };
        if abort {
            return self.abort(now, ledger, id);
        }
        connection.close(now);
        connection.orphan(now);
        socket.send_shut = true;
        if connection.state() == State::Closed {
            return self.end_connection(ledger, id);
        }
        self.tcp.mark_ready(id);
        self.tcp.schedule(id);
    }

    pub(crate) fn tcp_readiness(&self, ledger: &Ledger, id: SocketId) -> Readiness {
        let Some(socket) = self.tcp.get(id) else {
            return Readiness::default();
        };
        if let Some(listener) = &socket.listener {
            return Readiness {
                readable: !listener.accept.is_empty(),
                ..Readiness::default()
            };
        }
        let room = may_take_chunk(socket, ledger);
        let closed = socket.connection.is_none();
        Readiness {
            readable: socket.is_readable(),
            writable: !socket.is_connecting() && (socket.send_shut || room),
            error: socket.error.is_some(),
            receive_shut: socket.receive_shut,
            send_shut: socket.send_shut,
            hung_up: closed || socket.receive_shut && socket.send_shut,
        }
    }
}

/// No socket holds more chunks than are still free: those who send leave some for those who begin, and
/// end with equal shares (the dynamic thresholds of Choudhury and Hahne, 1998).
fn may_take_chunk(socket: &Socket, ledger: &Ledger) -> bool {
    let free = ledger.free_chunks(Pool::Send);
    let most = free.saturating_sub(CONTROL_RESERVE_CHUNKS);
    socket.send.chunks() < socket.send_chunks().min(most)
}

/// Copies bytes into cells: the last one first, as long as it has not been sent, then new ones, while
/// there are chunks for them. Returns how many were taken.
fn queue_bytes(
    socket: &mut Socket,
    spares: &mut SendSpares,
    ledger: &mut Ledger,
    len: usize,
    checksum: TxChecksum,
    fill: &mut dyn FnMut(&mut [u8]),
) -> usize {
    let Some(connection) = &socket.connection else {
        return 0;
    };
    let mss = connection.send_mss() as usize;
    let chunk_bytes = ledger.chunk_bytes();
    let slots = (chunk_bytes as usize / (HEADROOM + mss).next_multiple_of(64)).max(1) as u32;
    let slot_bytes = chunk_bytes / slots;
    let mut end = connection.send_una() + connection.unacknowledged();
    let mut queued = 0;
    if socket.send.chunks() == 0 {
        // All that this call can queue, so that the queue does not grow step by step.
        let most = socket.send_chunks() as usize * slots as usize;
        let cell_bytes = mss.min(slot_bytes as usize - HEADROOM);
        let cells = len.div_ceil(cell_bytes).min(most);
        socket.send.reserve(spares, cells, slots);
    }
    let mut room = socket.send.tail_room(mss);
    while queued < len {
        if room == 0 {
            room = if socket.send.has_spare_cell(chunk_bytes) {
                socket.send.add_cell(end, mss)
            } else {
                let allowed = may_take_chunk(socket, ledger);
                let frame = allowed.then(|| ledger.alloc(Pool::Send)).flatten();
                let Some(frame) = frame else { break };
                socket.send.add_chunk(frame, slot_bytes, end, mss)
            };
        }
        let take = room.min(len - queued);
        socket.send.write(ledger, take, checksum, fill);
        queued += take;
        end += take as u32;
        // The cell is full, or nothing is left.
        room = 0;
    }
    queued
}

/// The longest headers fit into a cell's headroom.
const _: () = assert!(HEADROOM >= crate::headers::ETHERNET_HEADER + 40 + wire::MAX_HEADER);
