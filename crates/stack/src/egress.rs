//! Packets on their way out: IP headers, fragments, and the way to the neighbour.

use std::net::IpAddr;

use ringwire_umem::{Frame, Ledger, Piece, Pool};
use smoltcp::wire::{Ipv4Packet, Ipv6Packet};

use crate::Stack;
use crate::address::{Reach, multicast_mac};
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::{
    ETHERNET_HEADER, Fragment, IPV4_HEADER, IPV6_FRAGMENT_HEADER, IPV6_HEADER, IpMeta, headers_len,
    write_headers,
};
use crate::neighbour::Resolve;
use crate::packet::{Packet, TxPacket};
use crate::socket::{Protocol, SocketId};
use ringwire_tcp::Instant;

/// Send chunks that no socket may take: ARP, ND and ICMP go on when the application fills the rest.
pub(crate) const CONTROL_RESERVE_CHUNKS: u32 = 16;

/// The packets that carry one IP payload: nearly always one.
pub(crate) struct Packets {
    pub(crate) first: Packet,
    pub(crate) rest: Vec<Packet>,
    /// Where the IP payload begins in the first piece of the first packet.
    pub(crate) payload_at: usize,
    /// Over the whole IP payload as it was written, where that is [summed](Stack::sums).
    pub(crate) sum: Checksum,
    /// The port is asked for something in front of the first packet.
    pub(crate) metadata: bool,
}

impl Packets {
    /// One packet, whose IP payload begins there.
    pub(crate) fn single(packet: Packet, payload_at: usize, metadata: bool) -> Packets {
        Packets {
            first: packet,
            rest: Vec::new(),
            payload_at,
            sum: Checksum::new(),
            metadata,
        }
    }
}

impl Stack {
    /// Bytes of the largest IP packet that goes out in one piece of wire.
    pub(crate) fn tx_mtu(&self, ledger: &Ledger) -> usize {
        let descriptors = self.config.plan.descriptors as usize;
        usize::from(self.config.mtu).min(descriptors * self.chunk_room(ledger) - ETHERNET_HEADER)
    }

    /// Bytes that the port needs in front of each descriptor.
    pub(crate) fn front(&self) -> usize {
        self.config.plan.headroom as usize
    }

    /// Bytes of a chunk behind these.
    fn chunk_room(&self, ledger: &Ledger) -> usize {
        ledger.chunk_bytes() as usize - self.front()
    }

    /// Whether a payload, or a part of it, is summed while it is written.
    pub(crate) fn sums(&self, part: Fragment) -> bool {
        let checksum = self.config.tx_checksum;
        checksum.computes() || (part.id.is_some() && !checksum.omits())
    }

    /// The same for packets to there, as far as is known of the path.
    pub(crate) fn path_mtu(&self, ledger: &Ledger, to: IpAddr) -> usize {
        let path = self.paths.limit(to, self.tx_mtu(ledger));
        match &self.shared {
            None => path,
            Some(shared) => shared.limit(to, path),
        }
    }

    /// Payload bytes in an unfragmented packet, and in each fragment but the last.
    pub(crate) fn payload_room(&self, ledger: &Ledger, to: IpAddr) -> (usize, usize) {
        let (whole, fragment) = match to {
            IpAddr::V4(_) => (IPV4_HEADER, IPV4_HEADER),
            IpAddr::V6(_) => (IPV6_HEADER, IPV6_HEADER + IPV6_FRAGMENT_HEADER),
        };
        let mtu = self.path_mtu(ledger, to);
        (mtu - whole, (mtu - fragment) & !7)
    }

    /// Whether an IP payload of this length to there is one packet, in one send chunk.
    #[inline]
    pub(crate) fn fits_chunk(&self, ledger: &Ledger, to: IpAddr, len: usize) -> bool {
        headers_len(to) + len <= self.chunk_room(ledger) && len <= self.payload_room(ledger, to).0
    }

    /// Send chunks that an IP payload of this length takes.
    #[inline]
    pub(crate) fn chunks_for(&self, ledger: &Ledger, to: IpAddr, len: usize) -> u32 {
        match self.fits_chunk(ledger, to, len) {
            true => 1,
            false => self.count_chunks(ledger, to, len),
        }
    }

    fn count_chunks(&self, ledger: &Ledger, to: IpAddr, len: usize) -> u32 {
        let chunk = self.chunk_room(ledger);
        let (whole, fragment) = self.payload_room(ledger, to);
        let headers = ETHERNET_HEADER + IPV6_HEADER + IPV6_FRAGMENT_HEADER;
        let chunks = if len <= whole {
            (headers + len).div_ceil(chunk)
        } else {
            len.div_ceil(fragment) * (headers + fragment).div_ceil(chunk)
        };
        chunks as u32
    }

    /// Writes an IP payload of `len` bytes into send chunks, fragmented where the MTU asks for it;
    /// `write` is called with consecutive parts of the payload. The caller has made sure of
    /// [`Stack::chunks_for`] free chunks.
    pub(crate) fn write_ip(
        &mut self,
        ledger: &mut Ledger,
        meta: &IpMeta,
        len: usize,
        owner: Option<SocketId>,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> Packets {
        let mut fragments = self.fragments(ledger, meta.destination, len);
        let first = fragments
            .next()
            .expect("egress: a payload is one packet at least");
        let mut sum = Checksum::new();
        let (packet, payload_at) = self.write_packet(ledger, meta, first, owner, &mut sum, write);
        let mut packets = Packets {
            first: packet,
            rest: Vec::new(),
            payload_at,
            sum,
            metadata: false,
        };
        for part in fragments {
            let (packet, _) = self.write_packet(ledger, meta, part, owner, &mut packets.sum, write);
            packets.rest.push(packet);
        }
        if !packets.rest.is_empty() {
            self.counters.tx_fragments += 1 + packets.rest.len() as u64;
        }
        packets
    }

    /// The parts of an IP payload of `len` bytes to there: one for each packet.
    pub(crate) fn fragments(
        &mut self,
        ledger: &Ledger,
        to: IpAddr,
        len: usize,
    ) -> impl Iterator<Item = Fragment> + use<> {
        let (whole, per_fragment) = self.payload_room(ledger, to);
        let fragmented = len > whole;
        let id = fragmented.then(|| self.random() as u32);
        let step = if fragmented { per_fragment } else { len.max(1) };
        (0..len.max(1)).step_by(step).map(move |offset| Fragment {
            offset,
            len: step.min(len - offset),
            id,
            more: offset + step < len,
        })
    }

    pub(crate) fn write_packet(
        &mut self,
        ledger: &mut Ledger,
        meta: &IpMeta,
        part: Fragment,
        owner: Option<SocketId>,
        sum: &mut Checksum,
        write: &mut dyn FnMut(&mut [u8]),
    ) -> (Packet, usize) {
        let (front, chunk) = (self.front(), ledger.chunk_bytes() as usize);
        let mut frame = self.take_send_chunk(ledger, owner);
        let bytes = ledger.bytes_mut(&mut frame);
        let payload_at = front + write_headers(self.config.mac, &mut bytes[front..], meta, part);
        let end = chunk.min(payload_at + part.len);
        write(&mut bytes[payload_at..end]);
        let summed = self.sums(part);
        if summed {
            sum.add(&bytes[payload_at..end]);
        }
        let mut packet = Packet::new(Piece {
            frame,
            start: front as u32,
            len: (end - front) as u32,
        });
        let mut left = part.len - (end - payload_at);
        while left > 0 {
            let mut frame = self.take_send_chunk(ledger, owner);
            let take = left.min(chunk - front);
            let bytes = &mut ledger.bytes_mut(&mut frame)[front..front + take];
            write(bytes);
            if summed {
                sum.add(bytes);
            }
            packet.rest.push(Piece {
                frame,
                start: front as u32,
                len: take as u32,
            });
            left -= take;
        }
        (packet, payload_at)
    }

    pub(crate) fn take_send_chunk(
        &mut self,
        ledger: &mut Ledger,
        owner: Option<SocketId>,
    ) -> Frame {
        let frame = ledger
            .alloc(Pool::Send)
            .expect("egress: more chunks written than were counted free");
        self.chunk_owner[frame.chunk() as usize] = owner;
        if let Some(socket) = owner.and_then(|id| self.sockets.get_mut(id)) {
            socket.chunks_in_use += 1;
        }
        frame
    }

    /// Sends what was written, by the neighbour that reaches its destination.
    pub(crate) fn dispatch(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        (to, reach): (IpAddr, Reach),
        packets: Packets,
        queue: u16,
    ) {
        let first = TxPacket::new(packets.first, queue).with_metadata(packets.metadata);
        self.dispatch_one(now, ledger, to, reach, first);
        for packet in packets.rest {
            self.dispatch_one(now, ledger, to, reach, TxPacket::new(packet, queue));
        }
    }

    pub(crate) fn dispatch_one(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        to: IpAddr,
        reach: Reach,
        packet: TxPacket,
    ) {
        match reach {
            Reach::Broadcast => self.enqueue(ledger, packet, [0xff; 6]),
            Reach::Multicast => self.enqueue(ledger, packet, multicast_mac(to)),
            Reach::Via(neighbour) => match self.neighbours.lookup(now, neighbour) {
                Some(mac) => self.enqueue(ledger, packet, mac),
                None => self.await_neighbour(now, ledger, neighbour, packet),
            },
            Reach::Local | Reach::None => self.drop_packet(ledger, packet),
        }
    }

    fn await_neighbour(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        neighbour: IpAddr,
        packet: TxPacket,
    ) {
        match self.neighbours.resolve(now, neighbour, packet) {
            Resolve::Known(mac, packet) => self.enqueue(ledger, packet, mac),
            Resolve::Queued { solicit, evicted } => {
                if let Some(packet) = evicted {
                    self.drop_packet(ledger, packet);
                }
                if solicit {
                    self.solicit(now, ledger, neighbour, None);
                }
            }
            Resolve::Failed(packet) => self.drop_unreachable(ledger, packet),
            Resolve::Full(packet) => self.drop_packet(ledger, packet),
        }
    }

    /// Puts a packet for a known neighbour into its queue.
    pub(crate) fn enqueue(&mut self, ledger: &mut Ledger, mut packet: TxPacket, mac: [u8; 6]) {
        packet.headers_mut(ledger)[..6].copy_from_slice(&mac);
        self.enqueue_addressed(packet);
    }

    /// The same of one that has the neighbour's address.
    #[inline]
    pub(crate) fn enqueue_addressed(&mut self, packet: TxPacket) {
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += packet.len() as u64;
        self.egress[usize::from(packet.queue)].push_back(packet);
    }

    /// Drops a packet whose neighbour does not answer; who sent it may want to know.
    pub(crate) fn drop_unreachable(&mut self, ledger: &mut Ledger, mut packet: TxPacket) {
        self.note_unreachable(ledger, &mut packet);
        self.drop_packet(ledger, packet);
    }

    pub(crate) fn drop_packet(&mut self, ledger: &mut Ledger, packet: TxPacket) {
        self.counters.tx_unresolved += 1;
        packet.release(ledger, |chunk| self.chunk_freed(chunk));
    }

    /// Sends a whole Ethernet frame of the control plane. Without a free chunk it is not sent, and
    /// counted: whoever asked will ask again.
    pub(crate) fn send_frame(&mut self, ledger: &mut Ledger, bytes: &[u8], queue: u16) {
        let Some(mut frame) = ledger.alloc(Pool::Send) else {
            self.counters.control_no_frames += 1;
            return;
        };
        self.chunk_owner[frame.chunk() as usize] = None;
        let front = self.front();
        ledger.bytes_mut(&mut frame)[front..front + bytes.len()].copy_from_slice(bytes);
        let packet = Packet::new(Piece {
            frame,
            start: front as u32,
            len: bytes.len() as u32,
        });
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += bytes.len() as u64;
        self.egress[usize::from(queue)].push_back(TxPacket::new(packet, queue));
    }

    /// Sends a whole IP packet that the control plane wrote.
    pub(crate) fn send_ip(&mut self, now: Instant, ledger: &mut Ledger, packet: &[u8]) {
        let Some((meta, payload)) = control_packet(packet) else {
            return;
        };
        if ledger.free_chunks(Pool::Send) < self.chunks_for(ledger, meta.destination, payload.len())
        {
            self.counters.control_no_frames += 1;
            return;
        }
        let mut at = 0;
        let packets = self.write_ip(ledger, &meta, payload.len(), None, &mut |part| {
            part.copy_from_slice(&payload[at..at + part.len()]);
            at += part.len();
        });
        let reach = self.reach(Some(meta.source), meta.destination);
        let to = (meta.destination, reach);
        self.dispatch(now, ledger, to, packets, self.control_queue);
    }

    /// Whether a socket may take this many send chunks now.
    pub(crate) fn admit(
        &self,
        ledger: &Ledger,
        id: SocketId,
        chunks: u32,
    ) -> Result<(), SocketError> {
        let socket = self.sockets.get(id).ok_or(SocketError::Invalid)?;
        let pool = ledger.umem().layout().send_chunks;
        if chunks + CONTROL_RESERVE_CHUNKS > pool {
            return Err(SocketError::MessageSize);
        }
        let most = socket.options.send_chunks(Protocol::Udp);
        // As the kernel's send buffer: one message may exceed what is left, if nothing else is queued.
        let over = socket.chunks_in_use > 0 && socket.chunks_in_use + chunks > most;
        if over || ledger.free_chunks(Pool::Send) < chunks + CONTROL_RESERVE_CHUNKS {
            return Err(SocketError::WouldBlock);
        }
        Ok(())
    }
}

/// The header fields and payload of a packet that smoltcp's interface wrote. IPv6 extension headers
/// (MLD reports have one) stay part of the payload.
fn control_packet(packet: &[u8]) -> Option<(IpMeta, &[u8])> {
    match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            let meta = IpMeta {
                source: ip.src_addr().into(),
                destination: ip.dst_addr().into(),
                protocol: ip.next_header(),
                hop_limit: ip.hop_limit(),
                traffic_class: ip.dscp() << 2 | ip.ecn(),
            };
            Some((
                meta,
                &packet[usize::from(ip.header_len())..usize::from(ip.total_len())],
            ))
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            let meta = IpMeta {
                source: ip.src_addr().into(),
                destination: ip.dst_addr().into(),
                protocol: ip.next_header(),
                hop_limit: ip.hop_limit(),
                traffic_class: ip.traffic_class(),
            };
            Some((
                meta,
                &packet[IPV6_HEADER..IPV6_HEADER + usize::from(ip.payload_len())],
            ))
        }
        _ => None,
    }
}
