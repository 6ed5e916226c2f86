//! Operations on UDP sockets, and datagrams for them. What they send is in `send.rs`.

use std::net::{IpAddr, SocketAddr};

use ringwire_umem::Ledger;
use smoltcp::wire::{IpProtocol, UdpPacket};

use crate::Stack;
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::icmp::{self, Problem};
use crate::ingress::{IpIn, Reject};
use crate::packet::Payload;
use crate::rss::{MAX_TRIES, Rss};
use crate::socket::{Family, Protocol, Readiness, Shutdown, SocketId};
use crate::tcp::ephemeral;
use crate::udp::Datagram;
use ringwire_tcp::Instant;

pub(super) const UDP_HEADER: usize = 8;

impl Stack {
    /// Makes a UDP socket.
    pub(crate) fn udp_open(&mut self, family: Family) -> SocketId {
        self.sockets.open(family)
    }

    /// Ends a socket; what it had queued is dropped. What it sent goes out.
    pub(crate) fn udp_close(&mut self, ledger: &mut Ledger, id: SocketId) {
        for datagram in self.sockets.close(id) {
            datagram.payload.release(ledger);
        }
    }

    /// bind(2). An IPv4-mapped address is to be given as IPv4.
    pub(crate) fn udp_bind(
        &mut self,
        id: SocketId,
        address: SocketAddr,
    ) -> Result<(), SocketError> {
        let socket = self.sockets.get(id).ok_or(SocketError::Invalid)?;
        let (family, sharing) = (socket.family, socket.options.sharing());
        if socket.local.is_some() {
            return Err(SocketError::Invalid);
        }
        if family == Family::V4 && address.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        let ip = address.ip();
        let ours = ip.is_unspecified() || self.addresses.is_local(ip) || ip.is_multicast();
        if !ours {
            return Err(SocketError::AddressNotAvailable);
        }
        if address.port() > 0 && self.sockets.port_taken(ip, address.port(), family, sharing) {
            return Err(SocketError::AddressInUse);
        }
        let address = self.reserve(Protocol::Udp, address, family, sharing)?;
        let draw = self.random();
        self.sockets.bind(id, address, draw)
    }

    /// connect(2); `None` dissolves the connection.
    pub fn udp_connect(&mut self, id: SocketId, to: Option<SocketAddr>) -> Result<(), SocketError> {
        let socket = self.sockets.get(id).ok_or(SocketError::Invalid)?;
        let Some(to) = to else {
            self.sockets.connect(id, None);
            return Ok(());
        };
        if socket.family == Family::V4 && to.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        let (bound, family) = (socket.local, socket.family);
        let source = self.source(bound, to.ip())?;
        if bound.is_none() && !self.bind_for_queue(id, family, source, to) {
            self.autobind(id)?;
        }
        self.sockets.connect(id, Some((source, to)));
        Ok(())
    }

    /// Binds a socket to a port whose answers arrive on a queue of ours, if the NIC's choice is known.
    fn bind_for_queue(
        &mut self,
        id: SocketId,
        family: Family,
        source: IpAddr,
        to: SocketAddr,
    ) -> bool {
        let hashed = |rss: &Rss| rss.depends_on_port(Protocol::Udp, to.ip());
        if !self.rss.as_ref().is_some_and(hashed) {
            return false;
        }
        let draw = self.random();
        let arrives = |rss: &Rss, port| rss.arrives_here(to, SocketAddr::new(source, port));
        ephemeral(draw).take(MAX_TRIES).any(|port| {
            let here = self.rss.as_ref().is_some_and(|rss| arrives(rss, port));
            here && self
                .udp_bind(id, SocketAddr::new(family.unspecified(), port))
                .is_ok()
        })
    }

    /// shutdown(2). As in the kernel, an unconnected socket is shut down too, and refused.
    pub(crate) fn udp_shutdown(&mut self, id: SocketId, how: Shutdown) -> Result<(), SocketError> {
        let socket = self.sockets.get_mut(id).ok_or(SocketError::Invalid)?;
        socket.receive_shut |= how != Shutdown::Send;
        socket.send_shut |= how != Shutdown::Receive;
        let connected = socket.remote.is_some();
        self.sockets.events.mark(id, true, true);
        if connected {
            Ok(())
        } else {
            Err(SocketError::NotConnected)
        }
    }

    /// Takes a received UDP datagram; `payload` begins with its UDP header.
    pub(crate) fn receive_udp(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        mut payload: Payload,
        queue: Option<u16>,
        ip: &IpIn,
    ) {
        let (source_port, destination_port, udp_len) = match self.check_udp(ledger, &payload, ip) {
            Ok(header) => header,
            Err(counted) => {
                if let Some(reject) = counted {
                    self.count_reject(reject);
                }
                return payload.release(ledger);
            }
        };
        let local = SocketAddr::new(ip.destination, destination_port);
        let remote = SocketAddr::new(ip.source, source_port);
        match self.sockets.find(local, remote) {
            Some(id) => {
                payload.narrow(UDP_HEADER, udp_len - UDP_HEADER);
                self.deliver(ledger, id, remote, payload, queue);
            }
            None => {
                let (hosts, part) = ((remote, local), (UDP_HEADER, udp_len - UDP_HEADER));
                if self.hand_over_datagram(ledger, hosts, &payload, part) {
                    return payload.release(ledger);
                }
                self.refuse_udp(now, ledger, payload, ip);
            }
        }
    }

    /// Checks length and checksum; returns the ports and the length of header and payload.
    #[inline]
    fn check_udp(
        &mut self,
        ledger: &Ledger,
        payload: &Payload,
        ip: &IpIn,
    ) -> Result<(u16, u16, usize), Option<Reject>> {
        let mut copy = [0; UDP_HEADER];
        let Some(header) = payload.head(ledger, &mut copy).first_chunk() else {
            return Err(Some(Reject::Malformed));
        };
        let header: [u8; UDP_HEADER] = *header;
        let udp = UdpPacket::new_unchecked(&header[..]);
        let len = usize::from(udp.len());
        if len < UDP_HEADER || len > payload.len() || udp.dst_port() == 0 {
            return Err(Some(Reject::Malformed));
        }
        // Optional for IPv4 (RFC 768), mandatory for IPv6 (RFC 8200, section 8.1).
        if udp.checksum() != 0 || ip.source.is_ipv6() {
            if self.is_unsegmented(payload, ip, len, udp.checksum()) {
                self.counters.rx_unsegmented += 1;
                return Err(None);
            }
            self.verify(ledger, payload, ip, IpProtocol::Udp, len, udp.checksum())?;
        }
        Ok((udp.src_port(), udp.dst_port(), len))
    }

    /// Whether these are several datagrams that a sender on this machine (`UDP_SEGMENT`, udp(7)) has left to its
    /// device to cut: nothing says where. Their sum is partial always (`udp_send_skb`, net/ipv4/udp.c); within the MTU
    /// they cannot be told from one.
    fn is_unsegmented(&self, payload: &Payload, ip: &IpIn, len: usize, checksum: u16) -> bool {
        let ip_len = ip.payload_at + ip.payload_len - ip.header_at;
        let is_packet = matches!(payload, Payload::Frames { .. });
        if ip_len <= usize::from(self.config.mtu) || !is_packet {
            return false;
        }
        let udp = IpProtocol::Udp.into();
        checksum == Checksum::pseudo(ip.source, ip.destination, udp, len as u32).fold()
    }

    #[inline]
    pub(crate) fn deliver(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        from: SocketAddr,
        payload: Payload,
        queue: Option<u16>,
    ) {
        let payload = self.compact(ledger, payload);
        match self.sockets.deliver(id, Datagram { from, payload }, queue) {
            Ok(()) => self.counters.rx_datagrams += 1,
            Err(refused) => {
                self.counters.rx_queue_full += 1;
                refused.payload.release(ledger);
            }
        }
    }

    /// Moves a payload out of its frames when RX chunks run short: sockets that nobody reads must
    /// not starve the fill rings.
    #[inline]
    fn compact(&mut self, ledger: &mut Ledger, payload: Payload) -> Payload {
        let in_frames = matches!(payload, Payload::Frames { .. });
        if !in_frames || !self.rx_runs_short(ledger) {
            return payload;
        }
        self.counters.rx_compacted += 1;
        payload.compact(ledger)
    }

    /// Nobody has the port: the answer is "port unreachable" (RFC 1122, section 4.1.3.1; RFC 4443,
    /// section 3.1), unless the datagram was for everybody.
    fn refuse_udp(&mut self, now: Instant, ledger: &mut Ledger, payload: Payload, ip: &IpIn) {
        self.counters.rx_no_port += 1;
        let answered = self.addresses.is_local(ip.destination) && self.admit_control(now);
        let quoted = answered.then(|| icmp::rebuild(ip, &payload, ledger));
        payload.release(ledger);
        if let Some(quoted) = quoted {
            let error = icmp::port_unreachable(ip.destination, ip.source, &quoted);
            self.send_ip(now, ledger, &error);
        }
    }

    /// Takes an ICMP error about a datagram from the first to the second.
    pub(crate) fn receive_udp_error(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        problem: Problem,
    ) {
        match problem {
            Problem::Undelivered { error, hard: true } => {
                self.refuse_connected(local, remote, error);
            }
            // Longer datagrams are fragmented from now on.
            Problem::TooBig { mtu } if self.sockets.find(local, remote).is_some() => {
                self.counters.rx_icmp_errors += 1;
                let link = usize::from(self.config.mtu);
                self.paths.learn(now, remote.ip(), mtu, link);
            }
            _ => self.counters.rx_icmp_ignored += 1,
        }
    }

    /// A datagram was refused: the socket that is connected to there is to hear of it.
    pub(super) fn refuse_connected(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        error: SocketError,
    ) {
        match self.sockets.find_connected(local, remote) {
            Some(id) => {
                self.counters.rx_icmp_errors += 1;
                self.sockets.set_error(id, error);
            }
            None => self.counters.rx_icmp_ignored += 1,
        }
    }

    /// The datagram that a receive would get next.
    pub fn udp_front(&self, id: SocketId) -> Option<&Datagram> {
        self.sockets.front(id)
    }

    /// Takes that datagram off the socket and gives its frames back.
    pub fn udp_consume(&mut self, ledger: &mut Ledger, id: SocketId) {
        if let Some(datagram) = self.sockets.pop(id) {
            datagram.payload.release(ledger);
        }
    }

    /// Whether a receive would not wait: a datagram, an error, or that no more is received.
    #[inline]
    pub fn udp_can_receive(&self, id: SocketId) -> bool {
        self.sockets.get(id).is_some_and(|socket| {
            socket.has_queued() || socket.error.is_some() || socket.receive_shut
        })
    }

    /// What can be done with the socket now.
    pub(crate) fn udp_readiness(&self, ledger: &Ledger, id: SocketId) -> Readiness {
        let Some(socket) = self.sockets.get(id) else {
            return Readiness::default();
        };
        Readiness {
            readable: self.sockets.readable(id),
            writable: self.admit(ledger, id, 1).is_ok(),
            error: socket.error.is_some(),
            receive_shut: socket.receive_shut,
            send_shut: socket.send_shut,
            hung_up: socket.receive_shut && socket.send_shut,
        }
    }

    pub(super) fn autobind(&mut self, id: SocketId) -> Result<u16, SocketError> {
        let family = self.sockets.get(id).ok_or(SocketError::Invalid)?.family;
        let any = SocketAddr::new(family.unspecified(), 0);
        self.udp_bind(id, any).map_err(|error| match error {
            // Linux gives EAGAIN when no ephemeral port is left.
            SocketError::AddressInUse => SocketError::WouldBlock,
            error => error,
        })?;
        let local = self.sockets.get(id).and_then(|socket| socket.local);
        local.map(|local| local.port()).ok_or(SocketError::Invalid)
    }
}
