//! What sockets of both protocols have in common: names, readiness, and the operations that do not
//! care which protocol it is.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::address::Reach;
use crate::error::SocketError;

/// The transport protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `SOCK_DGRAM`.
    Udp,
    /// `SOCK_STREAM`.
    Tcp,
}

/// Names a socket of the stack. An id of a closed socket names nothing, also after its slot is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(crate) protocol: Protocol,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SocketId {
    /// A small number: two sockets that are open at a time have different ones.
    pub fn index(self) -> usize {
        self.slot as usize * 2 + usize::from(self.protocol == Protocol::Tcp)
    }

    /// The socket's protocol.
    pub fn protocol(self) -> Protocol {
        self.protocol
    }
}

/// A socket whose readiness may have changed, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The socket.
    pub socket: SocketId,
    /// A datagram, data or a connection came, an error, or the end of receiving.
    pub receive: bool,
    /// There is room to send, the connection stands, an error, or the end of sending.
    pub send: bool,
}

/// The address family that a socket was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`; takes IPv4 too when bound to the wildcard, as without `IPV6_V6ONLY`.
    V6,
}

impl Family {
    pub(crate) fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// What can be done with a socket without waiting; poll(2)'s view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// A datagram, data or a connection is queued.
    pub readable: bool,
    /// Something can be sent.
    pub writable: bool,
    /// An error is to be reported.
    pub error: bool,
    /// Receiving is shut down, here or by the peer.
    pub receive_shut: bool,
    /// Sending is shut down.
    pub send_shut: bool,
    /// Neither direction works (any more): `POLLHUP`.
    pub hung_up: bool,
}

/// What shutdown(2) ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Receive,
    /// `SHUT_WR`.
    Send,
    /// `SHUT_RDWR`.
    Both,
}

/// Sockets whose readiness may have changed, each at most once.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<SocketId>,
    /// By slot.
    pending: Vec<Option<Event>>,
}

impl Events {
    /// Says that a socket's readiness may have changed.
    #[inline(always)]
    pub(crate) fn mark(&mut self, id: SocketId, receive: bool, send: bool) {
        match self.pending.get_mut(id.slot as usize) {
            Some(Some(event)) if event.socket == id => {
                event.receive |= receive;
                event.send |= send;
            }
            _ => self.add(id, receive, send),
        }
    }

    fn add(&mut self, id: SocketId, receive: bool, send: bool) {
        let slot = id.slot as usize;
        if self.pending.len() <= slot {
            self.pending.resize(slot + 1, None);
        }
        // Of a socket that had the slot before, nobody wants to know any more.
        self.pending[slot] = Some(Event {
            socket: id,
            receive,
            send,
        });
        self.queue.push_back(id);
    }

    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let id = self.queue.pop_front()?;
            let pending = &mut self.pending[id.slot as usize];
            if pending.is_some_and(|event| event.socket == id) {
                return pending.take();
            }
        }
    }
}

/// One key for both families of a socket bound to the IPv6 wildcard: it takes IPv4 too.
pub(crate) fn for_each_key(local: SocketAddr, family: Family, mut each: impl FnMut(SocketAddr)) {
    each(local);
    if family == Family::V6 && local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        each(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port()));
    }
}

/// Whether two bound addresses take each other's traffic.
pub(crate) fn overlap(a: (IpAddr, Family), b: (IpAddr, Family)) -> bool {
    let takes_both =
        |(ip, family): (IpAddr, Family)| family == Family::V6 && ip == Family::V6.unspecified();
    if takes_both(a) || takes_both(b) {
        return true;
    }
    let same_family = a.0.is_ipv4() == b.0.is_ipv4();
    a.0 == b.0 || (same_family && (a.0.is_unspecified() || b.0.is_unspecified()))
}

/// The source address that a bound address decides about, if it does.
#[inline]
pub(crate) fn chosen_source(bound: Option<SocketAddr>) -> Option<IpAddr> {
    bound
        .map(|local| local.ip())
        .filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
}

impl Stack {
    /// The next socket whose readiness may have changed. The protocols take turns.
    pub fn next_event(&mut self) -> Option<Event> {
        self.tcp_first = !self.tcp_first;
        let (tcp, udp) = (&mut self.tcp.events, &mut self.sockets.events);
        if self.tcp_first {
            tcp.next().or_else(|| udp.next())
        } else {
            udp.next().or_else(|| tcp.next())
        }
    }

    /// Whether [`next_event`](Self::next_event) may have one.
    pub fn has_event(&self) -> bool {
        !self.tcp.events.queue.is_empty() || !self.sockets.events.queue.is_empty()
    }

    /// Has a socket served again: more is queued than was taken in one go.
    pub fn again(&mut self, id: SocketId) {
        match id.protocol {
            Protocol::Udp => self.sockets.events.mark(id, true, false),
            Protocol::Tcp => self.tcp.events.mark(id, true, false),
        }
    }

    /// A new socket.
    pub fn open(&mut self, protocol: Protocol, family: Family) -> SocketId {
        match protocol {
            Protocol::Udp => self.udp_open(family),
            Protocol::Tcp => self.tcp_open(family),
        }
    }

    /// Lets a socket go. What it has sent is sent; what it has not received is dropped (a TCP
    /// connection with such data is reset, RFC 2525, section 2.17).
    pub fn close(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        match id.protocol {
            Protocol::Udp => self.udp_close(ledger, id),
            Protocol::Tcp => self.tcp_close(now, ledger, id),
        }
    }

    /// bind(2). An IPv4-mapped address is to be given as IPv4.
    ///
    /// # Errors
    /// As bind(2): `AddressInUse`, `AddressNotAvailable`, `AddressFamily`, `Invalid` (bound already).
    pub fn bind(&mut self, id: SocketId, address: SocketAddr) -> Result<(), SocketError> {
        match id.protocol {
            Protocol::Udp => self.udp_bind(id, address),
            Protocol::Tcp => self.tcp_bind(id, address),
        }
    }

    /// shutdown(2).
    ///
    /// # Errors
    /// `NotConnected`.
    pub fn shutdown(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        how: Shutdown,
    ) -> Result<(), SocketError> {
        match id.protocol {
            Protocol::Udp => self.udp_shutdown(id, how),
            Protocol::Tcp => self.tcp_shutdown(now, ledger, id, how),
        }
    }

    /// Takes the error that the next operation is to report (`SO_ERROR`).
    pub fn take_error(&mut self, id: SocketId) -> Option<SocketError> {
        match id.protocol {
            Protocol::Udp => self.sockets.get_mut(id)?.error.take(),
            Protocol::Tcp => self.tcp.get_mut(id)?.error.take(),
        }
    }

    /// What can be done with a socket now.
    pub fn readiness(&self, ledger: &Ledger, id: SocketId) -> Readiness {
        match id.protocol {
            Protocol::Udp => self.udp_readiness(ledger, id),
            Protocol::Tcp => self.tcp_readiness(ledger, id),
        }
    }

    /// A socket's family.
    #[inline]
    pub fn family(&self, id: SocketId) -> Option<Family> {
        match id.protocol {
            Protocol::Udp => self.sockets.get(id).map(|socket| socket.family),
            Protocol::Tcp => self.tcp.get(id).map(|socket| socket.family),
        }
    }

    /// A socket's family and local address.
    pub fn local(&self, id: SocketId) -> Option<(Family, Option<SocketAddr>)> {
        match id.protocol {
            Protocol::Udp => {
                let socket = self.sockets.get(id)?;
                Some((socket.family, socket.local))
            }
            Protocol::Tcp => {
                let socket = self.tcp.get(id)?;
                Some((socket.family, socket.local))
            }
        }
    }

    /// The address that a socket is connected to: getpeername(2).
    ///
    /// # Errors
    /// [`SocketError::NotConnected`]: it is not, or not any more.
    pub fn peer(&self, id: SocketId) -> Result<SocketAddr, SocketError> {
        let peer = match id.protocol {
            Protocol::Udp => self.sockets.get(id).and_then(|socket| socket.remote),
            Protocol::Tcp => self.tcp.get(id).and_then(|socket| socket.peer()),
        };
        peer.ok_or(SocketError::NotConnected)
    }

    /// The address that packets from a socket with this local address have, to there.
    pub(crate) fn source(
        &mut self,
        bound: Option<SocketAddr>,
        to: IpAddr,
    ) -> Result<IpAddr, SocketError> {
        let chosen = chosen_source(bound);
        if chosen.is_some_and(|ip| ip.is_ipv4() != to.is_ipv4()) {
            return Err(SocketError::NetworkUnreachable);
        }
        if self.reach(chosen, to) == Reach::None {
            return Err(self.refusal(chosen, to));
        }
        chosen
            .or_else(|| self.source_for(to))
            .ok_or(SocketError::NetworkUnreachable)
    }
}
