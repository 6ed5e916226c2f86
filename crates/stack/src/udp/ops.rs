//! Operations on UDP sockets, and datagrams for them.

use std::net::{IpAddr, SocketAddr};

use ringwire_umem::Ledger;
use smoltcp::wire::{IpProtocol, UdpPacket};

use crate::address::Reach;
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::IpMeta;
use crate::icmp::{self, Problem};
use crate::ingress::{IpIn, Reject};
use crate::options::{Service, SocketOptions};
use crate::packet::Payload;
use crate::socket::{Family, Readiness, Shutdown, SocketId};
use crate::udp::Datagram;
use crate::{Stack, TxChecksum};
use ringwire_tcp::Instant;

const UDP_HEADER: usize = 8;
/// Most segments that one GSO send is split into (Linux's `UDP_MAX_SEGMENTS`).
pub const MAX_SEGMENTS: usize = 128;

/// The options of a send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendOptions {
    /// Where to; `None` for the connected peer.
    pub to: Option<SocketAddr>,
    /// The source address (`IP_PKTINFO`, `IPV6_PKTINFO`), which must be ours; `None` for the socket's, or
    /// the route's.
    pub source: Option<IpAddr>,
    /// `UDP_SEGMENT`: split the payload into datagrams of this many bytes.
    pub segment_bytes: Option<u16>,
    /// `IP_TTL` or `IPV6_HOPLIMIT` of this send.
    pub hop_limit: Option<u8>,
    /// `IP_TOS` or `IPV6_TCLASS` of this send.
    pub traffic_class: Option<u8>,
}

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
        let family = self.sockets.get(id).ok_or(SocketError::Invalid)?.family;
        if family == Family::V4 && address.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        let ip = address.ip();
        let ours = ip.is_unspecified() || self.addresses.is_local(ip) || ip.is_multicast();
        if !ours {
            return Err(SocketError::AddressNotAvailable);
        }
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
        let bound = socket.local;
        let source = self.source(bound, to.ip())?;
        if bound.is_none() {
            self.autobind(id)?;
        }
        self.sockets.connect(id, Some((source, to)));
        Ok(())
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

    /// Sends a datagram of `len` bytes (or several, with `segment_bytes`). `fill` is called with
    /// consecutive parts of the payload to write into, and only when nothing can fail any more.
    pub fn udp_send(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        options: &SendOptions,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), SocketError> {
        // Whatever comes of it, it has bound the socket (Linux `inet_send_prepare`).
        let local = self.sockets.get(id).ok_or(SocketError::Invalid)?.local;
        let port = match local {
            Some(local) => local.port(),
            None => self.autobind(id)?,
        };
        let socket = self.sockets.get_mut(id).ok_or(SocketError::Invalid)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let to = options
            .to
            .or(socket.remote)
            .ok_or(SocketError::DestinationRequired)?;
        let (family, bound) = (socket.family, socket.local);
        let (send_shut, queue) = (socket.send_shut, socket.nic_queue);
        let service = service(options, &socket.options, to.ip());
        if family == Family::V4 && to.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        if to.port() == 0 {
            return Err(SocketError::Invalid);
        }
        let segment = segment_len(options, len, to.ip())?;
        // A segment is a packet: it is never fragmented (Linux `udp_send_skb`).
        if segment < len && UDP_HEADER + segment > self.payload_room(ledger, to.ip()).0 {
            return Err(SocketError::MessageSize);
        }
        match options.source.filter(|&ip| !self.addresses.is_local(ip)) {
            None => {}
            // There is no route from another host's address (`ip_route_output_key_hash_rcu`).
            Some(IpAddr::V4(ip)) if !ip.is_multicast() && !ip.is_broadcast() => {
                return Err(SocketError::NetworkUnreachable);
            }
            // As the kernel has it (`ip6_datagram_send_ctl`).
            Some(_) => return Err(SocketError::Invalid),
        }
        let from = options.source.map(|ip| SocketAddr::new(ip, 0)).or(bound);
        let source = self.source(from, to.ip())?;
        if send_shut {
            return Err(SocketError::Pipe);
        }
        let reach = self.addresses.reach(to.ip());
        if reach == Reach::Broadcast {
            return Err(SocketError::Access);
        }
        let segments = len.div_ceil(segment).max(1);
        if reach != Reach::Local {
            let chunks = self.chunks_for(ledger, to.ip(), UDP_HEADER + segment) * segments as u32;
            let admitted = self.admit(ledger, id, chunks);
            if admitted == Err(SocketError::WouldBlock) {
                // None of its own may be in use, to come back one day.
                self.starved.insert(id);
            }
            admitted?;
        }
        let from = SocketAddr::new(source, port);
        let mut left = len;
        for _ in 0..segments {
            let part = left.min(segment);
            left -= part;
            if reach == Reach::Local {
                self.loop_back(ledger, from, to, part, fill);
            } else {
                self.send_datagram(
                    now,
                    ledger,
                    Some(id),
                    (from, to),
                    service,
                    queue,
                    part,
                    fill,
                );
            }
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    fn send_datagram(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        owner: Option<SocketId>,
        (from, to): (SocketAddr, SocketAddr),
        service: Service,
        queue: u16,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        let meta = IpMeta {
            source: from.ip(),
            destination: to.ip(),
            protocol: IpProtocol::Udp,
            hop_limit: service.hop_limit,
            traffic_class: service.traffic_class,
        };
        let udp_len = UDP_HEADER + len;
        let mut header_left = true;
        let mut packets = self.write_ip(ledger, &meta, udp_len, owner, &mut |part| {
            let mut part = part;
            if std::mem::take(&mut header_left) {
                // The first part holds the UDP header: no MTU is that small.
                let (header, rest) = part.split_at_mut(UDP_HEADER);
                let mut udp = UdpPacket::new_unchecked(header);
                udp.set_src_port(from.port());
                udp.set_dst_port(to.port());
                udp.set_len(udp_len as u16);
                udp.set_checksum(0);
                part = rest;
            }
            if !part.is_empty() {
                fill(part);
            }
        });
        if self.config.tx_checksum == TxChecksum::Compute {
            let len = udp_len as u32;
            let mut sum = Checksum::pseudo(from.ip(), to.ip(), IpProtocol::Udp.into(), len);
            sum.add_u16(packets.sum.fold());
            // RFC 768: a computed zero is sent as all ones.
            let checksum = match sum.finish() {
                0 => 0xffff,
                sum => sum,
            };
            let at = packets.payload_at + 6;
            let first = ledger.bytes_mut(&mut packets.first.first.frame);
            first[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        }
        self.counters.tx_datagrams += 1;
        self.dispatch(now, ledger, to.ip(), packets, queue);
    }

    /// A datagram to an address of ours never reaches the wire.
    fn loop_back(
        &mut self,
        ledger: &mut Ledger,
        from: SocketAddr,
        to: SocketAddr,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.counters.tx_datagrams += 1;
        match self.sockets.find(to, from) {
            Some(id) => self.deliver(ledger, id, from, Payload::heap(bytes), None),
            None => {
                self.counters.rx_no_port += 1;
                self.refuse_connected(from, to, SocketError::Refused);
            }
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
            None => self.refuse_udp(now, ledger, payload, ip),
        }
    }

    /// Checks length and checksum; returns the ports and the length of header and payload.
    fn check_udp(
        &mut self,
        ledger: &Ledger,
        payload: &Payload,
        ip: &IpIn,
    ) -> Result<(u16, u16, usize), Option<Reject>> {
        let mut header = [0; UDP_HEADER];
        let mut at = 0;
        payload.for_each(ledger, UDP_HEADER, |part| {
            header[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
        if at < UDP_HEADER {
            return Err(Some(Reject::Malformed));
        }
        let udp = UdpPacket::new_unchecked(&header[..]);
        let len = usize::from(udp.len());
        if len < UDP_HEADER || len > payload.len() || udp.dst_port() == 0 {
            return Err(Some(Reject::Malformed));
        }
        // Optional for IPv4 (RFC 768), mandatory for IPv6 (RFC 8200, section 8.1).
        if udp.checksum() != 0 || ip.source.is_ipv6() {
            self.verify(ledger, payload, ip, IpProtocol::Udp, len, udp.checksum())?;
        }
        Ok((udp.src_port(), udp.dst_port(), len))
    }

    fn deliver(
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
    fn refuse_connected(&mut self, local: SocketAddr, remote: SocketAddr, error: SocketError) {
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

    fn autobind(&mut self, id: SocketId) -> Result<u16, SocketError> {
        let family = self.sockets.get(id).ok_or(SocketError::Invalid)?.family;
        let draw = self.random();
        // Linux gives EAGAIN when no ephemeral port is left.
        self.sockets
            .bind(id, SocketAddr::new(family.unspecified(), 0), draw)
            .map_err(|_| SocketError::WouldBlock)?;
        let local = self.sockets.get(id).and_then(|socket| socket.local);
        local.map(|local| local.port()).ok_or(SocketError::Invalid)
    }
}

/// What a send asks for itself comes before what its socket asks for.
fn service(send: &SendOptions, socket: &SocketOptions, to: IpAddr) -> Service {
    let socket = socket.service(to);
    let multicast = to.is_multicast().then_some(1);
    let hop_limit = send.hop_limit.or(multicast);
    Service {
        hop_limit: hop_limit.unwrap_or(socket.hop_limit),
        traffic_class: send.traffic_class.unwrap_or(socket.traffic_class),
    }
}

/// Bytes of each datagram that a send becomes.
fn segment_len(options: &SendOptions, len: usize, to: IpAddr) -> Result<usize, SocketError> {
    let most = usize::from(u16::MAX) - UDP_HEADER - if to.is_ipv4() { 20 } else { 0 };
    match options.segment_bytes.filter(|&bytes| bytes > 0) {
        Some(bytes) if len > usize::from(bytes) => {
            if len.div_ceil(bytes.into()) > MAX_SEGMENTS {
                return Err(SocketError::Invalid);
            }
            if len > most {
                return Err(SocketError::MessageSize);
            }
            Ok(bytes.into())
        }
        _ if len > most => Err(SocketError::MessageSize),
        _ => Ok(len.max(1)),
    }
}
