//! Segments from the network: which connection they are for, and what becomes of their payload.

use std::net::SocketAddr;

use ringwire_tcp::{
    Answer, Disposition, Failure, Instant, Segment, State, TcpOptions, closed, listen,
};
use ringwire_umem::{Ledger, Pool};
use smoltcp::wire::IpProtocol;

use super::listener::Cookie;
use super::ops::wake_chunks;
use super::send_queue::SendSpares;
use super::wire::{self, MAX_HEADER};
use super::{Ends, IN_TABLE, Path, Socket, nothing};
use crate::Stack;
use crate::error::SocketError;
use crate::ingress::{IpIn, Reject};
use crate::packet::Payload;
use crate::siblings::Sibling;
use crate::socket::{Events, Protocol, SocketId};

/// Why it may be expected that a socket has a connection.
pub(super) const CONNECTED: &str = "tcp: what is in the table of connections has one";

impl Stack {
    /// Takes a received TCP segment; `payload` begins with its header.
    pub(crate) fn receive_tcp(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        mut payload: Payload,
        queue: u16,
        ip: &IpIn,
    ) {
        // RFC 1122, section 4.2.3.10: never for everybody.
        if !self.addresses.is_local(ip.destination) {
            self.count_reject(Reject::NotOurs);
            return payload.release(ledger);
        }
        let mut parsed = {
            let mut copy = [0; MAX_HEADER];
            let head = payload.head(ledger, &mut copy);
            wire::parse(head, payload.len())
        };
        // Not moved out of the option, nor copied: whoever does so right after its fields were written
        // waits for the stores.
        let Some(header) = &mut parsed else {
            self.count_reject(Reject::Malformed);
            return payload.release(ledger);
        };
        let (len, checksum) = (payload.len(), header.checksum);
        let checked = self.verify(ledger, &payload, ip, IpProtocol::Tcp, len, checksum);
        if !self.count_checked(checked) {
            return payload.release(ledger);
        }
        header.segment.ecn = ip.ecn;
        let local = SocketAddr::new(ip.destination, header.destination_port);
        let remote = SocketAddr::new(ip.source, header.source_port);
        let ends = (local, remote);
        let found = self.tcp.connections.get(&ends);
        let segment = &header.segment;
        payload.narrow(header.len, segment.len as usize);
        match found {
            Some(id) => self.continue_connection(now, ledger, id, segment, payload, queue),
            None => self.take_first_segment(now, ledger, ends, segment, payload, queue),
        }
    }

    /// Has a connection that has heard something say what it has to say. When it has, the timers follow
    /// what it still waits for: nearly always what it would have waited for before is done by then.
    #[inline(always)]
    pub(super) fn await_turn(&mut self, id: SocketId) {
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        if !std::mem::replace(&mut socket.ready, true) {
            self.tcp.ready[usize::from(socket.nic_queue)].push_back(id);
        }
    }

    /// Counts a segment by what became of its checksum; says whether that is right.
    pub(super) fn count_checked(&mut self, checked: Result<(), Option<Reject>>) -> bool {
        self.counters.tcp_rx_segments += u64::from(checked.is_ok());
        if let Err(Some(reject)) = checked {
            self.count_reject(reject);
        }
        checked.is_ok()
    }

    /// Hands a segment to its connection, or whoever answers for none.
    pub(crate) fn take_segment(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: &Ends,
        segment: &Segment,
        payload: Payload,
        queue: u16,
    ) {
        match self.tcp.connections.get(ends) {
            Some(id) => self.continue_connection(now, ledger, id, segment, payload, queue),
            None => self.take_first_segment(now, ledger, *ends, segment, payload, queue),
        }
    }

    /// A segment for which there is no connection.
    #[cold]
    fn take_first_segment(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: Ends,
        segment: &Segment,
        payload: Payload,
        queue: u16,
    ) {
        let owner = |sibling: &Sibling, ends: &Ends| sibling.owner(Protocol::Tcp, ends);
        let Some(payload) = self.hand_over_segment(ledger, owner, &ends, segment, payload) else {
            return;
        };
        let config = self.tcp_config(ledger, ends.1.ip(), None);
        let mut floor = None;
        if let Some(waiting) = self.tcp.time_waits.get_mut(&ends) {
            match waiting.on_segment(now, segment, &config) {
                Answer::Ignore => return payload.release(ledger),
                Answer::Ack(ack) => {
                    payload.release(ledger);
                    return self.send_segment(now, ledger, ends, &ack, Path::plain(queue));
                }
                Answer::Reopen(least) => floor = Some(least),
            }
        }
        let Some(listening) = self.tcp.find_listener(ends) else {
            let holder = |sibling: &Sibling, ends: &Ends| sibling.holder(Protocol::Tcp, ends);
            let left = self.hand_over_segment(ledger, holder, &ends, segment, payload);
            let Some(payload) = left else { return };
            payload.release(ledger);
            if floor.is_none() {
                self.refuse_tcp(now, ledger, ends, segment, queue);
            }
            return;
        };
        match listen::on_segment(segment) {
            listen::Arrival::Ignore => {}
            listen::Arrival::Syn => {
                self.accept_syn(now, ledger, listening, ends, segment, queue, floor);
            }
            listen::Arrival::Reset(_) => {
                match self.accept_cookie(now, ledger, listening, ends, segment, queue) {
                    Cookie::Good(id) => {
                        return self.continue_connection(now, ledger, id, segment, payload, queue);
                    }
                    Cookie::NoRoom => {}
                    Cookie::Bad => self.refuse_tcp(now, ledger, ends, segment, queue),
                }
            }
        }
        payload.release(ledger);
    }

    /// Nobody has a connection there: a RST, within the limit of control traffic.
    fn refuse_tcp(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: Ends,
        segment: &Segment,
        queue: u16,
    ) {
        self.counters.tcp_no_connection += 1;
        if let Some(rst) = closed::on_segment(segment)
            && self.admit_control(now)
        {
            self.send_segment(now, ledger, ends, &rst, Path::plain(queue));
        }
    }

    /// Hands a segment to the engine, and does what that decides.
    pub(super) fn continue_connection(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        segment: &Segment,
        mut payload: Payload,
        queue: u16,
    ) {
        let short = payload.len() > 0 && self.rx_runs_short(ledger);
        let bare;
        let mut segment = segment;
        if short && !self.admit_payload(ledger, id, segment, &mut payload) {
            bare = Segment {
                len: 0,
                fin: false,
                ..*segment
            };
            segment = &bare;
        }
        let mut socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        socket.nic_queue = queue;
        if socket.state() == State::SynReceived {
            // As Linux: the peer takes the connection for made, and will send again.
            let completes = segment.ack.is_some() && !segment.rst;
            if completes && self.accept_queue_is_full(id) {
                self.counters.tcp_listen_overflows += 1;
                return payload.release(ledger);
            }
            socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        }
        let connection = socket.connection.as_mut().expect(CONNECTED);
        let next = connection.receive_next();
        let disposition = connection.on_segment(now, segment);
        let span = (next, connection.receive_next());
        match &disposition.keep {
            None => payload.release(ledger),
            Some(keep) => {
                payload.narrow(keep.skip as usize, keep.len as usize);
                let before = socket.receive.heap_bytes();
                let spares = &mut self.tcp.receive_spares;
                let copied = socket
                    .receive
                    .store(spares, ledger, keep, payload, span, short);
                self.tcp.heap_bytes = self.tcp.heap_bytes + socket.receive.heap_bytes() - before;
                self.counters.tcp_compacted += u64::from(copied);
            }
        }
        let spares = &mut self.tcp.send_spares;
        note_progress(
            socket,
            &mut self.tcp.events,
            spares,
            ledger,
            id,
            &disposition,
        );
        if is_eventful(&disposition) {
            self.carry_out_events(now, ledger, id, &disposition);
            self.tcp.mark_ready(id);
            return self.tcp.schedule(id);
        }
        self.await_turn(id);
    }

    /// Whether RX chunks run short: what is queued must not starve the fill rings.
    pub(crate) fn rx_runs_short(&self, ledger: &Ledger) -> bool {
        ledger.free_chunks(Pool::Rx) < ledger.umem().layout().lend_reserve_chunks
    }

    /// What becomes of a payload when RX chunks run short: it is moved out of its frames, up to as
    /// many bytes in all as the RX chunks have; what came early is dropped; and so is what is left.
    /// What is not acknowledged comes again. `false`: nothing is left of it.
    #[cold]
    fn admit_payload(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        segment: &Segment,
        payload: &mut Payload,
    ) -> bool {
        let layout = ledger.umem().layout();
        let most = layout.rx_chunks as usize * layout.chunk_bytes as usize;
        let socket = self.tcp.at(id);
        let connection = socket.connection.as_mut().expect(CONNECTED);
        let early = segment.text().after(connection.receive_next());
        if connection.has_out_of_order() {
            connection.prune();
            let pruned = self
                .tcp
                .with_receive(id, |receive, _| receive.prune(ledger));
            self.counters.tcp_pruned += pruned.unwrap_or(0) as u64;
        }
        let taken = std::mem::replace(payload, nothing());
        if !early && self.tcp.heap_bytes + taken.len() <= most {
            self.counters.tcp_compacted += 1;
            *payload = taken.compact(ledger);
            return true;
        }
        self.counters.tcp_no_memory += 1;
        let socket = self.tcp.at(id);
        if let Some(connection) = &mut socket.connection {
            connection.refuse_payload();
        }
        // Its reader's mark must not wait for what there is no memory for.
        socket.short_of_memory = true;
        if socket.is_readable() {
            self.tcp.events.mark(id, true, false);
        }
        taken.release(ledger);
        false
    }

    /// Does what the engine decided.
    pub(super) fn carry_out(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        disposition: &Disposition,
    ) {
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let spares = &mut self.tcp.send_spares;
        note_progress(
            socket,
            &mut self.tcp.events,
            spares,
            ledger,
            id,
            disposition,
        );
        self.carry_out_events(now, ledger, id, disposition);
    }

    /// The same beside what nearly every segment brings about.
    #[cold]
    fn carry_out_events(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        disposition: &Disposition,
    ) {
        self.counters.tcp_refused += u64::from(disposition.refusal.is_some());
        if disposition.established {
            self.counters.tcp_established += 1;
            match self.tcp.at(id).parent {
                Some(_) => self.offer_accepted(id),
                None => self.tcp.events.mark(id, false, true),
            }
        }
        if disposition.finished {
            let socket = self.tcp.at(id);
            socket.done = true;
            socket.receive_shut = true;
            self.tcp.events.mark(id, true, false);
        }
        let socket = self.tcp.at(id);
        if let (Some(reply), Some(ends)) = (&disposition.reply, socket.ends()) {
            let path = socket.path();
            self.send_segment(now, ledger, ends, reply, path);
        }
        if let Some(failure) = disposition.failure {
            self.fail(id, failure);
        }
        if disposition.time_wait {
            self.enter_time_wait(now, ledger, id);
        }
        if disposition.closed || disposition.time_wait {
            self.end_connection(ledger, id);
        }
    }

    /// Notes why a connection has failed, for whoever has its socket.
    pub(super) fn fail(&mut self, id: SocketId, failure: Failure) {
        let socket = self.tcp.at(id);
        socket.error = match failure {
            Failure::Refused => Some(SocketError::Refused),
            Failure::Reset => Some(SocketError::Reset),
            Failure::Pipe => Some(SocketError::Pipe),
            Failure::TimedOut => Some(socket.soft_error.unwrap_or(SocketError::TimedOut)),
            Failure::Orphaned => None,
        };
        self.counters.tcp_failed += 1;
    }

    /// The connection goes into the table of those in TIME-WAIT, once its last acknowledgement is out.
    fn enter_time_wait(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        let socket = self.tcp.at(id);
        let path = socket.path();
        let (Some(ends), Some(connection)) = (socket.ends(), &mut socket.connection) else {
            return;
        };
        let ack = connection.poll_transmit(now, &mut |_| 0);
        let entry = connection.time_wait(now);
        if let Some(ack) = ack {
            self.send_segment(now, ledger, ends, &ack, path);
        }
        if let Some(entry) = entry {
            self.counters.tcp_time_wait_evicted += self.tcp.time_waits.insert(ends, entry);
        }
    }

    /// The connection is over. Its socket stays while somebody has it, with what is still to be read.
    pub(super) fn end_connection(&mut self, ledger: &mut Ledger, id: SocketId) {
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let ends = socket.ends();
        if socket.held {
            // Quick acknowledgements are the connection's, not the socket's (tcp(7)).
            let quick_ack = TcpOptions::default().quick_ack;
            socket.keep_tcp_options(TcpOptions {
                quick_ack,
                ..socket.tcp_options()
            });
        }
        socket.connection = None;
        socket.receive_shut = true;
        socket.send_shut = true;
        socket.send.clear(&mut self.tcp.send_spares, ledger);
        let held = socket.held;
        if let Some(ends) = ends
            && self.tcp.connections.get(&ends) == Some(id)
        {
            self.tcp.connections.remove(&ends);
        }
        // Whoever accepts it will find it as it is.
        if self.waits_for_accept(id) {
            return;
        }
        self.leave_listener(id);
        if !held {
            self.tcp
                .with_receive(id, |receive, spares| receive.clear(spares, ledger));
            return self.tcp.remove(id);
        }
        self.tcp.with_receive(id, |receive, _| {
            receive.prune(ledger);
        });
        self.release_port(id);
        self.tcp.events.mark(id, true, true);
    }

    /// Gives the port back, unless it was bound.
    fn release_port(&mut self, id: SocketId) {
        let socket = self.tcp.at(id);
        socket.remote = None;
        let accepted = socket.accepted();
        socket.accepted = false;
        let bound = socket.bound;
        if let Some(local) = std::mem::replace(&mut socket.local, bound)
            && bound.is_none()
        {
            self.tcp.leave_port(id, local.port(), accepted);
        }
    }

    /// Ends a connection with a RST, if the peer knows of it, and forgets the socket.
    pub(super) fn abort(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        let socket = self.tcp.at(id);
        let path = socket.path();
        let rst = socket.connection.as_mut().and_then(|connection| {
            // Of a half-open connection the peer learns when it sends (as with Linux).
            if connection.state() == State::SynReceived && connection.is_passive() {
                return None;
            }
            connection.abort()
        });
        if let (Some(rst), Some(ends)) = (rst, socket.ends()) {
            self.send_segment(now, ledger, ends, &rst, path);
        }
        self.end_connection(ledger, id);
    }
}

/// Whether the engine decided more than what to keep and what to let go.
#[inline]
fn is_eventful(disposition: &Disposition) -> bool {
    disposition.established
        | disposition.finished
        | disposition.time_wait
        | disposition.closed
        | disposition.failure.is_some()
        | disposition.reply.is_some()
        | disposition.refusal.is_some()
}

/// Lets go of what is acknowledged, so that a sender that waits for room may go on; and notes what can
/// be read.
#[inline(always)]
fn note_progress(
    socket: &mut Socket,
    events: &mut Events,
    spares: &mut SendSpares,
    ledger: &mut Ledger,
    id: SocketId,
    disposition: &Disposition,
) {
    let Some(connection) = &mut socket.connection else {
        return;
    };
    if disposition.acked > 0 {
        socket
            .send
            .acknowledged(connection.send_una(), spares, ledger);
        if socket.send_blocked && socket.send.chunks() <= wake_chunks(socket) {
            socket.send_blocked = false;
            events.mark(id, false, true);
        }
    }
    if disposition.delivered > 0 {
        note_delivery(socket, events, id);
    }
}

/// Says that there is more to read, and less room.
#[inline(always)]
pub(super) fn note_delivery(socket: &mut Socket, events: &mut Events, id: SocketId) {
    let room = socket.receive_room();
    if let Some(connection) = &mut socket.connection {
        connection.set_receive_room(room);
    }
    if socket.is_readable() {
        events.mark(id, true, false);
    }
}
