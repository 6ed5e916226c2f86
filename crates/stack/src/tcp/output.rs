//! Segments to the network. A segment that is a whole cell goes out where it lies, its headers in the
//! headroom; everything else is written into a chunk of its own.

use std::net::IpAddr;

use ringwire_tcp::{Config, Ecn, Instant, Segment};
use ringwire_umem::{Frame, Ledger, Piece, Pool};
use smoltcp::wire::IpProtocol;

use super::send_queue::{HEADROOM, Place};
use super::{Ends, Looped, Path, Socket, wire};
use crate::address::Reach;
use crate::checksum::Checksum;
use crate::egress::Packets;
use crate::headers::{Fragment, IpMeta, headers_len, write_headers};
use crate::offload::TxFlags;
use crate::options::SocketOptions;
use crate::packet::{Packet, Payload};
use crate::socket::{Protocol, SocketId};
use crate::{PlanLimits, Stack, TxChecksum};

/// Segments that one connection sends before the next has its turn: with an MSS of 1460 some 46 KB, less
/// than the 64 KiB that Linux hands a NIC at once (`GSO_LEGACY_MAX_SIZE`).
pub(super) const BURST: u32 = 32;

/// Where the checksum stands in the header.
pub(super) const CHECKSUM_AT: usize = 16;

/// Descriptors that a segment of one span takes: its headers, and two chunks.
const SPAN_DESCRIPTORS: u32 = 3;

/// What a connection had to send.
pub(super) enum Sent {
    /// Nothing.
    Nothing,
    /// A segment, which waits with the other packets.
    Queued,
    /// So many segments, in so many descriptors.
    Posted { segments: u32, descriptors: u32 },
    /// There is no chunk to write a segment to.
    Stuck,
}

impl Stack {
    /// Hands the next packet of a NIC queue to `post`, piece by piece (address, length, flags), or several of
    /// one connection, as far as they fit into `room` descriptors; returns how many they took. The descriptors
    /// are counted in the ledger.
    pub fn transmit(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        queue: u16,
        room: u32,
        mut post: impl FnMut(u64, u32, TxFlags),
    ) -> u32 {
        loop {
            if let Some(count) = self.transmit_queued(ledger, queue, room, &mut post) {
                return count;
            }
            let Some(&id) = self.tcp.ready[usize::from(queue)].front() else {
                return 0;
            };
            if room == 0 {
                return 0;
            }
            match self.transmit_connection(now, ledger, id, queue, room, &mut post) {
                Sent::Nothing => self.finish_turn(id, queue),
                Sent::Queued => self.count_burst(id, queue, 1),
                Sent::Posted {
                    segments,
                    descriptors,
                } => {
                    self.count_burst(id, queue, segments);
                    return descriptors;
                }
                Sent::Stuck => return 0,
            }
        }
    }

    /// The same for the packets that are written already: `None` if there are none.
    fn transmit_queued(
        &mut self,
        ledger: &mut Ledger,
        queue: u16,
        room: u32,
        post: &mut impl FnMut(u64, u32, TxFlags),
    ) -> Option<u32> {
        let waiting = &mut self.egress[usize::from(queue)];
        let count = waiting.front()?.descriptors(ledger);
        if count > room {
            return Some(0);
        }
        waiting.pop_front()?.post(ledger, post);
        Some(count)
    }

    /// The first in line has nothing to send.
    fn finish_turn(&mut self, id: SocketId, queue: u16) {
        self.tcp.ready[usize::from(queue)].pop_front();
        self.tcp.burst = 0;
        if let Some(socket) = self.tcp.get_mut(id) {
            socket.ready = false;
            self.tcp.schedule(id);
        }
    }

    /// The first in line has sent segments; after a few the next has its turn.
    fn count_burst(&mut self, id: SocketId, queue: u16, segments: u32) {
        self.tcp.burst += segments;
        if self.tcp.burst >= BURST {
            self.tcp.burst = 0;
            let ready = &mut self.tcp.ready[usize::from(queue)];
            if ready.front() == Some(&id) {
                ready.rotate_left(1);
            }
        }
    }

    #[inline(always)]
    fn transmit_connection(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        queue: u16,
        room: u32,
        post: &mut impl FnMut(u64, u32, TxFlags),
    ) -> Sent {
        // What the engine gives out counts as sent: there must be a chunk for it.
        if ledger.free_chunks(Pool::Header) == 0 && ledger.free_chunks(Pool::Send) == 0 {
            self.counters.control_no_frames += 1;
            return Sent::Stuck;
        }
        let Some(socket) = self.tcp.slab.get_mut(id) else {
            return Sent::Nothing;
        };
        let path = Path {
            queue,
            ..socket.path()
        };
        let (Some(ends), Some(connection)) = (socket.ends(), &mut socket.connection) else {
            return Sent::Nothing;
        };
        let send = &mut socket.send;
        let (mut limits, mtu) = (self.config.plan, u32::from(self.config.mtu));
        // What is given out counts as sent: there must be room for all its descriptors.
        if send.has_borrowed() {
            match within(limits, room) {
                Some(less) => limits = less,
                None => return Sent::Stuck,
            }
        }
        // Not moved out of the option: whoever copies a structure right after its fields were written
        // waits for the stores.
        let mut next =
            connection.poll_transmit(now, &mut |seq| send.contiguous(ledger, limits, mtu, seq));
        let Some(segment) = &mut next else {
            return Sent::Nothing;
        };
        if segment.len == 0 {
            self.send_segment(now, ledger, ends, segment, path);
            return Sent::Queued;
        }
        if let Some(lie) = send.lie(ledger, segment.seq, segment.len) {
            let segment = *segment;
            return self.transmit_borrowed(
                now,
                ledger,
                id,
                (ends, path),
                &segment,
                lie,
                room,
                post,
            );
        }
        let (place, frame) = send.take(segment.seq, segment.len);
        let headers = headers_len(ends.1.ip()) + wire::header_len(&segment.options);
        let front = limits.headroom as usize;
        let free = place.first
            && (place.fresh || ledger.in_flight(frame) == 0)
            && headers + front <= HEADROOM;
        let reach = match &mut self.shared {
            None => self.addresses.reach(ends.1.ip()),
            Some(shared) => shared.reach(&self.addresses, Some(ends.0.ip()), ends.1.ip()),
        };
        let mac = match reach {
            Reach::Via(neighbour) if free => self.neighbours.lookup(now, neighbour),
            _ => None,
        };
        let Some(to) = mac else {
            // Its bytes cannot go where they lie: part of a cell, or one that the NIC may still read, that
            // waits for its neighbour, or whose headers leave no room for what the port needs in front.
            self.counters.tcp_tx_copied += 1;
            let from = place.start as usize;
            let bytes = ledger.bytes(frame)[from..from + segment.len as usize].to_vec();
            self.write_segment(now, ledger, ends, segment, &bytes, path);
            return Sent::Queued;
        };
        let checksum = self.config.tx_checksum;
        let chunk = ledger.bytes_mut(frame);
        let meta = meta(&ends, path, segment.ecn);
        let macs = (self.config.mac, to);
        let (start, len) = write_in_place(chunk, &place, &meta, macs, &ends, segment, checksum);
        // The headers at the end of what lies in front of a cell.
        let mut front = headroom(chunk, &place);
        let flags = TxFlags {
            more: false,
            metadata: matches!(checksum, TxChecksum::Offload(_)),
        };
        post(ledger.post_tx(frame, start, len), len, flags);
        // Those that follow have the same headers but for their number.
        let most = room.min(BURST - self.tcp.burst) - 1;
        let (full, end) = (segment.len, segment.end());
        let whole = |most| send.whole_cells(end, full, most);
        let count = connection.poll_following(now, segment, most, whole);
        let at = HEADROOM - headers + headers_len(meta.destination);
        wire::share(&mut front[at..]);
        for _ in 0..count {
            segment.seq += full;
            let (place, frame) = send.take_next(full);
            let begin = place.start as usize - HEADROOM;
            let cell = &mut ledger.bytes_mut(frame)[begin..][..HEADROOM + full as usize];
            cell[..HEADROOM].copy_from_slice(&front);
            wire::number(&mut cell[at..], segment.seq);
            write_checksum(&mut cell[at..], &ends, segment, checksum, place.sum);
            let start = place.start - headers as u32;
            post(ledger.post_tx(frame, start, len), len, flags);
        }
        let count = count + 1;
        self.counters.tcp_tx_segments += u64::from(count);
        self.counters.tx_packets += u64::from(count);
        self.counters.tx_bytes += u64::from(count * len);
        self.counters.tx_offloaded += u64::from(count) * u64::from(flags.metadata);
        Sent::Posted {
            segments: count,
            descriptors: count,
        }
    }

    /// Sends a segment without payload. Without a chunk it is lost, as on the wire.
    pub(super) fn send_segment(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: Ends,
        segment: &Segment,
        path: Path,
    ) {
        self.write_segment(now, ledger, ends, segment, &[], path);
    }

    pub(super) fn write_segment(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        ends: Ends,
        segment: &Segment,
        payload: &[u8],
        path: Path,
    ) {
        self.count_sent(segment);
        if self.addresses.is_local(ends.1.ip()) {
            self.tcp.looped.push_back(Looped {
                ends: (ends.1, ends.0),
                segment: *segment,
                payload: payload.to_vec(),
            });
            return;
        }
        let Some(mut frame) = take_segment_chunk(ledger, &mut self.chunk_owner) else {
            self.counters.control_no_frames += 1;
            return;
        };
        let tcp_len = wire::header_len(&segment.options) + payload.len();
        let policy = self.config.tx_checksum;
        let (front, bytes) = ledger.bytes_mut(&mut frame).split_at_mut(self.front());
        let at = write_headers(
            self.config.mac,
            bytes,
            &meta(&ends, path, segment.ecn),
            Fragment::whole(tcp_len),
        );
        let end = at + tcp_len;
        bytes[end - payload.len()..end].copy_from_slice(payload);
        write_tcp(&mut bytes[at..end], &ends, segment, policy, None);
        let metadata = policy.ask(front, at, CHECKSUM_AT as u16);
        let packet = Packet::new(Piece {
            start: front.len() as u32,
            frame,
            len: end as u32,
        });
        self.counters.tx_offloaded += u64::from(metadata);
        let packets = Packets::single(packet, at, metadata);
        let reach = self.reach(Some(ends.0.ip()), ends.1.ip());
        self.dispatch(now, ledger, (ends.1.ip(), reach), packets, path.queue);
    }

    fn count_sent(&mut self, segment: &Segment) {
        self.counters.tcp_tx_segments += 1;
        self.counters.tcp_tx_resets += u64::from(segment.rst);
    }

    /// Delivers what was sent to our own addresses. What that brings about waits for the next call.
    pub(crate) fn deliver_looped(&mut self, now: Instant, ledger: &mut Ledger) {
        for _ in 0..self.tcp.looped.len() {
            let Some(looped) = self.tcp.looped.pop_front() else {
                return;
            };
            let payload = Payload::heap(looped.payload);
            self.take_segment(now, ledger, &looped.ends, &looped.segment, payload, 0);
        }
    }

    /// Whether something was sent to our own addresses and has not been delivered.
    pub(crate) fn has_looped(&self) -> bool {
        !self.tcp.looped.is_empty()
    }

    /// What connections with this peer are made with.
    /// `id`: the socket whose options they have; `None` for the defaults.
    pub(super) fn tcp_config(&self, ledger: &Ledger, to: IpAddr, id: Option<SocketId>) -> Config {
        let socket = id.and_then(|id| self.tcp.get(id));
        let options = socket.map_or(SocketOptions::new(Protocol::Tcp), |socket| socket.options);
        let headers = headers_len(to) - crate::headers::ETHERNET_HEADER + wire::HEADER;
        let mtu = usize::from(self.config.mtu);
        let cell = ledger.chunk_bytes() as usize - HEADROOM - self.front();
        Config {
            mss: (mtu - headers) as u16,
            send_mss: cell.min(self.path_mtu(ledger, to) - headers) as u16,
            default_mss: if to.is_ipv4() { 536 } else { 1220 },
            receive_buffer: options.window_bytes(),
            options: socket.map(Socket::tcp_options).unwrap_or_default(),
            ..Config::default()
        }
    }
}

#[cfg(test)]
impl Stack {
    /// Has the next segment be the last of its connection's turn: nothing goes with it.
    pub(crate) fn end_turn(&mut self) {
        self.tcp.burst = BURST - 1;
    }
}

/// What a segment of borrowed bytes may take of so much room for descriptors; `None`: too little for any.
pub(super) fn within(limits: PlanLimits, room: u32) -> Option<PlanLimits> {
    let descriptors = limits.descriptors.min(room);
    let enough = room >= limits.descriptors.min(SPAN_DESCRIPTORS);
    enough.then_some(PlanLimits {
        descriptors,
        ..limits
    })
}

/// A chunk for a segment of its own: of the pool that no send can empty, or any. `owners`: of all chunks.
pub(super) fn take_segment_chunk(
    ledger: &mut Ledger,
    owners: &mut [Option<SocketId>],
) -> Option<Frame> {
    let frame = ledger
        .alloc(Pool::Header)
        .or_else(|| ledger.alloc(Pool::Send))?;
    owners[frame.chunk() as usize] = None;
    Some(frame)
}

/// What lies in front of a cell's first byte.
fn headroom(chunk: &[u8], place: &Place) -> [u8; HEADROOM] {
    let front = chunk[..place.start as usize].last_chunk();
    *front.expect("send queue: a cell has its headroom")
}

/// Writes the headers in front of a cell, from one Ethernet address to another; returns where they begin
/// in the chunk, and the length of the packet.
#[inline(always)]
fn write_in_place(
    chunk: &mut [u8],
    place: &Place,
    meta: &IpMeta,
    (mac, to): ([u8; 6], [u8; 6]),
    ends: &Ends,
    segment: &Segment,
    checksum: TxChecksum,
) -> (u32, u32) {
    let header_len = wire::header_len(&segment.options);
    let headers = headers_len(meta.destination) + header_len;
    let start = place.start as usize - headers;
    let end = (place.start + segment.len) as usize;
    let bytes = &mut chunk[start..end];
    let part = Fragment::whole(header_len + segment.len as usize);
    let at = write_headers(mac, bytes, meta, part);
    bytes[..6].copy_from_slice(&to);
    write_tcp(&mut bytes[at..], ends, segment, checksum, place.sum);
    checksum.ask(&mut chunk[..start], at, CHECKSUM_AT as u16);
    (start as u32, (end - start) as u32)
}

#[inline(always)]
pub(super) fn meta(ends: &Ends, path: Path, ecn: Ecn) -> IpMeta {
    IpMeta {
        source: ends.0.ip(),
        destination: ends.1.ip(),
        protocol: IpProtocol::Tcp,
        hop_limit: path.service.hop_limit,
        // The two low bits are the network's (RFC 3168).
        traffic_class: path.service.traffic_class & !3
            | match ecn {
                Ecn::Incapable => 0,
                Ecn::Capable => 2,
                Ecn::Congested => 3,
            },
    }
}

/// Writes the header of a segment in front of its payload. `sum`: over the payload, if it is known.
#[inline(always)]
fn write_tcp(
    bytes: &mut [u8],
    ends: &Ends,
    segment: &Segment,
    policy: TxChecksum,
    sum: Option<Checksum>,
) {
    wire::emit(bytes, ends.0.port(), ends.1.port(), segment);
    write_checksum(bytes, ends, segment, policy, sum);
}

/// Writes the checksum into a header of a segment in which everything else stands.
#[inline(always)]
fn write_checksum(
    bytes: &mut [u8],
    ends: &Ends,
    segment: &Segment,
    policy: TxChecksum,
    sum: Option<Checksum>,
) {
    let len = bytes.len();
    match sum {
        Some(_) => {
            let header = &mut bytes[..wire::header_len(&segment.options)];
            write_checksum_over(header, len, ends, policy, sum);
        }
        None => write_checksum_over(bytes, len, ends, policy, None),
    }
}

/// The same where the bytes are the header alone, of a segment of `len` bytes, and `sum` is over its payload; or
/// the whole segment, without a sum.
#[inline(always)]
pub(super) fn write_checksum_over(
    bytes: &mut [u8],
    len: usize,
    ends: &Ends,
    policy: TxChecksum,
    sum: Option<Checksum>,
) {
    let (source, destination) = (ends.0.ip(), ends.1.ip());
    let pseudo = || Checksum::pseudo(source, destination, IpProtocol::Tcp.into(), len as u32);
    let field = match policy {
        TxChecksum::Omit => return,
        TxChecksum::Offload(_) => pseudo().fold(),
        TxChecksum::Compute => {
            let mut checksum = pseudo();
            checksum.add(bytes);
            if let Some(payload) = sum {
                checksum.add_u16(payload.fold());
            }
            checksum.finish()
        }
    };
    bytes[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&field.to_be_bytes());
}
