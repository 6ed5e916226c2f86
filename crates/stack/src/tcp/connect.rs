//! connect(2) on TCP sockets: the port, the source address, the SYN.

use std::net::{IpAddr, SocketAddr};

use ringwire_tcp::{Connection, Failure, Instant, State};
use ringwire_umem::Ledger;

use super::Association;
use super::ports::ephemeral;
use crate::Stack;
use crate::address::Reach;
use crate::error::SocketError;
use crate::headers::ETHERNET_HEADER;
use crate::packet::TxPacket;
use crate::rss::{MAX_TRIES, Rss};
use crate::socket::{Family, Protocol, SocketId};

impl Stack {
    /// Begins to connect; `None` (`AF_UNSPEC`) dissolves a connection, with a reset.
    ///
    /// # Errors
    /// `InProgress`: it has begun, and the outcome is [`Stack::tcp_connected`]'s. Others as
    /// connect(2): `Already`, `Connected` (it is or was), `Invalid` (it was shut down before it was),
    /// `NetworkUnreachable`, `AddressFamily`, `AddressNotAvailable` (no port is left); and that of an
    /// attempt before which nobody has heard of.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        to: Option<SocketAddr>,
    ) -> Result<(), SocketError> {
        let socket = self.tcp.get(id).ok_or(SocketError::Invalid)?;
        let Some(to) = to else {
            self.dissolve(now, ledger, id);
            return Ok(());
        };
        let state = socket.state();
        match socket.association {
            Association::Unconnected if state == State::Closed => {}
            Association::Unconnected | Association::Connected => {
                return Err(SocketError::Connected);
            }
            Association::Disconnecting => return Err(SocketError::Invalid),
            Association::Connecting => match self.tcp_connected(id) {
                None => return Err(SocketError::Already),
                // It ended, and somebody has heard why: it may try again.
                Some(Err(SocketError::Aborted)) => {}
                Some(Err(error)) => {
                    self.dissolve(now, ledger, id);
                    return Err(error);
                }
                Some(Ok(())) => return Ok(()),
            },
        }
        let socket = self.tcp.at(id);
        let (family, bound) = (socket.family, socket.bound);
        let sharing = socket.options.sharing();
        if family == Family::V4 && to.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        // Linux takes the unspecified address for this host.
        let to = match to.ip().is_unspecified() {
            true => SocketAddr::new(self.any_address(to.ip()), to.port()),
            false => to,
        };
        let source = self.source(bound, to.ip())?;
        // There may be a way, but not from this source.
        if matches!(
            self.reach(Some(source), to.ip()),
            Reach::Broadcast | Reach::Multicast | Reach::None
        ) {
            return Err(SocketError::NetworkUnreachable);
        }
        let local = match bound {
            Some(bound) => {
                self.guard(Protocol::Tcp, bound, family)?;
                SocketAddr::new(source, bound.port())
            }
            None => SocketAddr::new(source, self.connecting_port(source, to)?),
        };
        let ends = (local, to);
        if !self.tcp.is_unused(&ends) {
            return Err(SocketError::AddressNotAvailable);
        }
        if bound.is_none() {
            self.tcp.ports.connect(id, local, family, sharing);
        }
        self.begin(now, ledger, id, local, to);
        Err(SocketError::InProgress)
    }

    fn begin(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        local: SocketAddr,
        to: SocketAddr,
    ) {
        let config = self.tcp_config(ledger, to.ip(), Some(id));
        let ends = (local, to);
        let iss = self.tcp.isn.sequence(now, local, to);
        let offset = self.tcp.isn.timestamp_offset(local, to);
        self.tcp
            .with_receive(id, |receive, spares| receive.clear(spares, ledger));
        let socket = self.tcp.at(id);
        socket.local = Some(local);
        socket.remote = Some(to);
        socket.association = Association::Connecting;
        socket.connection = Some(Box::new(Connection::active(config, iss, offset)));
        socket.error = None;
        socket.soft_error = None;
        socket.done = false;
        socket.receive_shut = false;
        socket.send_shut = false;
        self.tcp.connections.insert(ends, id);
        self.tcp.mark_ready(id);
    }

    /// What became of a connection that was begun: `None` while it is being made. An error is taken.
    pub fn tcp_connected(&mut self, id: SocketId) -> Option<Result<(), SocketError>> {
        let Some(socket) = self.tcp.get_mut(id) else {
            return Some(Err(SocketError::Invalid));
        };
        if let Some(error) = socket.error.take() {
            return Some(Err(error));
        }
        match socket.state() {
            State::SynSent | State::SynReceived => None,
            State::Closed if !socket.done => {
                socket.association = Association::Unconnected;
                Some(Err(SocketError::Aborted))
            }
            _ => {
                socket.association = Association::Connected;
                Some(Ok(()))
            }
        }
    }

    fn dissolve(&mut self, now: Instant, ledger: &mut Ledger, id: SocketId) {
        if self.tcp.at(id).listener.is_some() {
            self.stop_listening(now, ledger, id);
        }
        if self.tcp.at(id).connection.is_some() {
            if self.tcp.at(id).is_connecting() {
                // As Linux: whoever waits for the connection learns of it.
                self.tcp.at(id).error = Some(SocketError::Reset);
            }
            self.abort(now, ledger, id);
        }
        self.tcp
            .with_receive(id, |receive, spares| receive.clear(spares, ledger));
        let socket = self.tcp.at(id);
        socket.association = Association::Unconnected;
        socket.done = false;
        socket.receive_shut = false;
        socket.send_shut = false;
        self.tcp.events.mark(id, true, true);
    }

    /// One of our addresses, of this address's family.
    fn any_address(&self, like: IpAddr) -> IpAddr {
        let mut ours = self.addresses.all();
        ours.find(|ours| ours.is_ipv4() == like.is_ipv4())
            .unwrap_or(like)
    }

    /// A port from which no connection to this peer exists (RFC 6056, section 3.3.4: the search begins
    /// at a place that only we can know, and goes on where the last one ended).
    fn connecting_port(&mut self, source: IpAddr, to: SocketAddr) -> Result<u16, SocketError> {
        let noise = self.random() % 2;
        let offset = self.tcp.isn.port_offset(source, to);
        let step = self.tcp.ports.step(offset).wrapping_add(noise);
        let table = &self.tcp;
        let is_free = |&port: &u16| {
            let ends = (SocketAddr::new(source, port), to);
            table.ports.is_shareable(port) && table.is_unused(&ends)
        };
        let start = offset.wrapping_add(step);
        let rss = self.rss.as_ref();
        let rss = rss.filter(|rss| rss.depends_on_port(Protocol::Tcp, to.ip()));
        let arrives = |rss: &Rss, port| rss.arrives_here(to, SocketAddr::new(source, port));
        let here = |port: &u16| rss.is_none_or(|rss| arrives(rss, *port)) && is_free(port);
        let (port, tried) = match &mut self.shared {
            None => {
                let ports = || ephemeral(start).zip(1..);
                let found = ports().take(MAX_TRIES).find(|(port, _)| here(port));
                // What arrives elsewhere is better than no connection.
                let found = found.or_else(|| ports().find(|(port, _)| is_free(port)));
                found.ok_or(SocketError::AddressNotAvailable)?
            }
            Some(shared) => {
                let (kernel, v6) = (&mut *shared.kernel, to.is_ipv6());
                let (reserved, few) = (&mut shared.reserved, rss.is_some_and(Rss::is_common));
                match few.then(|| reserved.find(kernel, v6, start, here)) {
                    Some(Ok(found)) => found,
                    None | Some(Err(_)) => reserved.find(kernel, v6, start, is_free)?,
                }
            }
        };
        self.tcp.ports.set_step(offset, step.wrapping_add(tried));
        Ok(port)
    }

    /// Nobody answers for the host that a packet was for: a connection that was being made to it
    /// fails (as Linux's `tcp_v4_err` has it for an unreachable host).
    pub(crate) fn note_unreachable(&mut self, ledger: &mut Ledger, packet: &mut TxPacket) {
        let bytes = &packet.headers_mut(ledger)[ETHERNET_HEADER..];
        let Some(ends) = ends_of(bytes) else {
            return;
        };
        let Some(id) = self.tcp.connections.get(&ends) else {
            return;
        };
        if self.tcp.at(id).state() == State::SynSent {
            self.fail(id, Failure::TimedOut);
            self.tcp.at(id).error = Some(SocketError::HostUnreachable);
            self.end_connection(ledger, id);
        }
    }
}

/// The ends of a TCP segment that we have written: no options, no extension headers.
fn ends_of(ip: &[u8]) -> Option<super::Ends> {
    const TCP: u8 = 6;
    let ports = |at: usize| {
        let bytes = ip.get(at..at + 4)?;
        let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some((port(0), port(2)))
    };
    let (local, remote, (from, to)): (IpAddr, IpAddr, _) = match ip.first()? >> 4 {
        4 if *ip.get(9)? == TCP => {
            let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).ok();
            (address(12)?.into(), address(16)?.into(), ports(20)?)
        }
        6 if *ip.get(6)? == TCP && ip.len() >= 44 => {
            let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).ok();
            (address(8)?.into(), address(24)?.into(), ports(40)?)
        }
        _ => return None,
    };
    Some((SocketAddr::new(local, from), SocketAddr::new(remote, to)))
}
