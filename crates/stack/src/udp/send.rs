//! Datagrams that are sent, copied behind their headers.

use std::net::{IpAddr, SocketAddr};

use ringwire_tcp::Instant;
use ringwire_umem::{Ledger, Piece};
use smoltcp::wire::{IpProtocol, UdpPacket};

use super::ops::UDP_HEADER;
use crate::address::Reach;
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::{Fragment, IpMeta, write_headers};
use crate::options::{Service, SocketOptions};
use crate::packet::{Payload, TxPacket};
use crate::socket::{Family, SocketId, chosen_source};
use crate::way::Way;
use crate::{Stack, TxChecksum};

/// Where the checksum stands in the header.
pub(super) const CHECKSUM_AT: usize = 6;
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

/// What is decided about a send before anything is written.
pub(super) struct Outgoing {
    pub(super) id: SocketId,
    from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) reach: Reach,
    service: Service,
    pub(super) queue: u16,
    /// Bytes of each datagram, and how many there are.
    pub(super) segment: usize,
    pub(super) segments: usize,
    /// Each is one packet, in one send chunk.
    pub(super) whole: bool,
}

impl Outgoing {
    pub(super) fn meta(&self) -> IpMeta {
        IpMeta {
            source: self.from.ip(),
            destination: self.to.ip(),
            protocol: IpProtocol::Udp,
            hop_limit: self.service.hop_limit,
            traffic_class: self.service.traffic_class,
        }
    }

    /// Writes the header of a datagram with so many bytes of payload, but for its checksum.
    pub(super) fn write_header(&self, header: &mut [u8], len: usize) {
        let mut udp = UdpPacket::new_unchecked(header);
        udp.set_src_port(self.from.port());
        udp.set_dst_port(self.to.port());
        udp.set_len((UDP_HEADER + len) as u16);
        udp.set_checksum(0);
    }

    /// The sum of the pseudo-header of a datagram with so many bytes of payload.
    pub(super) fn pseudo(&self, len: usize) -> Checksum {
        let (source, destination) = (self.from.ip(), self.to.ip());
        let len = (UDP_HEADER + len) as u32;
        Checksum::pseudo(source, destination, IpProtocol::Udp.into(), len)
    }

    /// The checksum of a datagram, `sum` being that over its header and its payload.
    pub(super) fn checksum(&self, sum: Checksum, len: usize) -> u16 {
        let mut whole = self.pseudo(len);
        whole.add_u16(sum.fold());
        // RFC 768: a computed zero is sent as all ones.
        match whole.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

impl Stack {
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
        let outgoing = self.prepare_send(ledger, id, options, len)?;
        self.admit_send(ledger, &outgoing)?;
        let mut left = len;
        for _ in 0..outgoing.segments {
            let part = left.min(outgoing.segment);
            left -= part;
            self.send_datagram(now, ledger, &outgoing, part, fill);
        }
        Ok(())
    }

    /// Checks a send of `len` bytes, and finds its way.
    pub(super) fn prepare_send(
        &mut self,
        ledger: &Ledger,
        id: SocketId,
        options: &SendOptions,
        len: usize,
    ) -> Result<Outgoing, SocketError> {
        // Whatever comes of it, it has bound the socket (Linux `inet_send_prepare`).
        let socket = self.sockets.get(id).ok_or(SocketError::Invalid)?;
        if socket.local.is_none() {
            self.autobind(id)?;
        }
        let socket = self.sockets.get_mut(id).ok_or(SocketError::Invalid)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let to = options
            .to
            .or(socket.remote)
            .ok_or(SocketError::DestinationRequired)?;
        let (ip, local, queue) = (to.ip(), socket.local, socket.nic_queue);
        let (family, send_shut) = (socket.family, socket.send_shut);
        let service = service(options, &socket.options, ip);
        if family == Family::V4 && ip.is_ipv6() {
            return Err(SocketError::AddressFamily);
        }
        if to.port() == 0 {
            return Err(SocketError::Invalid);
        }
        let segment = segment_len(options, len, ip)?;
        let from = match options.source {
            Some(source) => {
                self.check_source(source)?;
                Some(SocketAddr::new(source, 0))
            }
            None => local,
        };
        let Way { source, reach } = self.send_way(from, ip, send_shut)?;
        // A segment is a packet: it is never fragmented (Linux `udp_send_skb`).
        if segment < len && UDP_HEADER + segment > self.payload_room(ledger, ip).0 {
            return Err(SocketError::MessageSize);
        }
        let port = local.map_or(0, |local| local.port());
        Ok(Outgoing {
            id,
            from: SocketAddr::new(source, port),
            to,
            reach,
            service,
            queue,
            segment,
            whole: self.fits_chunk(ledger, ip, UDP_HEADER + segment),
            segments: if segment < len {
                len.div_ceil(segment)
            } else {
                1
            },
        })
    }

    /// Whether a send may ask for this source address.
    fn check_source(&self, source: IpAddr) -> Result<(), SocketError> {
        match source {
            _ if self.addresses.is_local(source) => Ok(()),
            // There is no route from another host's address (`ip_route_output_key_hash_rcu`).
            IpAddr::V4(ip) if !ip.is_multicast() && !ip.is_broadcast() => {
                Err(SocketError::NetworkUnreachable)
            }
            // As the kernel has it (`ip6_datagram_send_ctl`).
            _ => Err(SocketError::Invalid),
        }
    }

    /// The way of a datagram from a socket with this local address, which may be shut, to there.
    #[inline]
    fn send_way(
        &mut self,
        from: Option<SocketAddr>,
        to: IpAddr,
        send_shut: bool,
    ) -> Result<Way, SocketError> {
        match self.known_way(chosen_source(from), to) {
            Some(_) if send_shut => Err(SocketError::Pipe),
            Some(way) => Ok(way),
            None => self.find_send_way(from, to, send_shut),
        }
    }

    fn find_send_way(
        &mut self,
        from: Option<SocketAddr>,
        to: IpAddr,
        send_shut: bool,
    ) -> Result<Way, SocketError> {
        let source = self.source(from, to)?;
        if send_shut {
            return Err(SocketError::Pipe);
        }
        let reach = self.reach(Some(source), to);
        match reach {
            Reach::Broadcast => Err(SocketError::Access),
            // There may be a way, but not from this source.
            Reach::None => Err(self.refusal(Some(source), to)),
            Reach::Local | Reach::Multicast | Reach::Via(_) => {
                let way = Way { source, reach };
                self.remember_way(chosen_source(from), to, way);
                Ok(way)
            }
        }
    }

    /// Whether there is room for a send.
    pub(super) fn admit_send(
        &mut self,
        ledger: &Ledger,
        outgoing: &Outgoing,
    ) -> Result<(), SocketError> {
        if outgoing.reach == Reach::Local {
            return Ok(());
        }
        let chunks = match outgoing.whole {
            true => 1,
            false => self.chunks_for(ledger, outgoing.to.ip(), UDP_HEADER + outgoing.segment),
        };
        let admitted = self.admit(ledger, outgoing.id, chunks * outgoing.segments as u32);
        if admitted == Err(SocketError::WouldBlock) {
            // None of its own may be in use, to come back one day.
            self.starved.insert(outgoing.id);
        }
        admitted
    }

    pub(super) fn send_datagram(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        outgoing: &Outgoing,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        if outgoing.reach == Reach::Local {
            return self.loop_back(ledger, outgoing.from, outgoing.to, len, fill);
        }
        self.counters.tx_datagrams += 1;
        if outgoing.whole {
            return self.send_whole(now, ledger, outgoing, len, fill);
        }
        let mut header_left = true;
        let (meta, owner) = (outgoing.meta(), Some(outgoing.id));
        let mut packets = self.write_ip(ledger, &meta, UDP_HEADER + len, owner, &mut |part| {
            let mut part = part;
            if std::mem::take(&mut header_left) {
                // The first part holds the UDP header: no MTU is that small.
                let (header, rest) = part.split_at_mut(UDP_HEADER);
                outgoing.write_header(header, len);
                part = rest;
            }
            if !part.is_empty() {
                fill(part);
            }
        });
        let policy = self.config.tx_checksum;
        let first = &mut packets.first.first;
        let (front, bytes) = ledger
            .bytes_mut(&mut first.frame)
            .split_at_mut(first.start as usize);
        let header = packets.payload_at - front.len();
        let checksum = match policy {
            TxChecksum::Omit => 0,
            TxChecksum::Offload(_) if packets.rest.is_empty() => {
                packets.metadata = policy.ask(front, header, CHECKSUM_AT as u16);
                outgoing.pseudo(len).fold()
            }
            TxChecksum::Offload(_) | TxChecksum::Compute => outgoing.checksum(packets.sum, len),
        };
        let at = header + CHECKSUM_AT;
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        self.counters.tx_offloaded += u64::from(packets.metadata);
        let to = (outgoing.to.ip(), outgoing.reach);
        self.dispatch(now, ledger, to, packets, outgoing.queue);
    }

    /// Sends a datagram that is one packet in one chunk, as nearly all are.
    #[inline]
    fn send_whole(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        outgoing: &Outgoing,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
    ) {
        let (front, policy) = (self.front(), self.config.tx_checksum);
        let mac = match outgoing.reach {
            Reach::Via(neighbour) => self.neighbours.lookup(now, neighbour),
            _ => None,
        };
        let mut frame = self.take_send_chunk(ledger, Some(outgoing.id));
        let (room, packet) = ledger.bytes_mut(&mut frame).split_at_mut(front);
        let part = Fragment::whole(UDP_HEADER + len);
        let at = write_headers(self.config.mac, packet, &outgoing.meta(), part);
        if let Some(mac) = mac {
            packet[..6].copy_from_slice(&mac);
        }
        let datagram = &mut packet[at..at + UDP_HEADER + len];
        let (header, payload) = datagram.split_at_mut(UDP_HEADER);
        outgoing.write_header(header, len);
        if len > 0 {
            fill(payload);
        }
        let metadata = policy.ask(room, at, CHECKSUM_AT as u16);
        let checksum = match policy {
            TxChecksum::Omit => 0,
            TxChecksum::Offload(_) => outgoing.pseudo(len).fold(),
            TxChecksum::Compute => {
                let mut sum = Checksum::new();
                sum.add(datagram);
                outgoing.checksum(sum, len)
            }
        };
        datagram[CHECKSUM_AT..UDP_HEADER].copy_from_slice(&checksum.to_be_bytes());
        self.counters.tx_offloaded += u64::from(metadata);
        let piece = Piece {
            frame,
            start: front as u32,
            len: (at + UDP_HEADER + len) as u32,
        };
        let packet = TxPacket::in_one_piece(piece, outgoing.queue, metadata);
        match mac {
            Some(_) => self.enqueue_addressed(packet),
            None => self.dispatch_one(now, ledger, outgoing.to.ip(), outgoing.reach, packet),
        }
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
                let payload = Payload::heap(bytes);
                if self.hand_over_datagram(ledger, (from, to), &payload, (0, len)) {
                    return;
                }
                self.counters.rx_no_port += 1;
                self.refuse_connected(from, to, SocketError::Refused);
            }
        }
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
