//! Datagrams of the application's bytes, described where they lie.

use std::sync::Arc;

use ringwire_tcp::Instant;
use ringwire_umem::{Ledger, Piece};

use super::ops::UDP_HEADER;
use super::send::{CHECKSUM_AT, Outgoing, SendOptions};
use crate::address::Reach;
use crate::borrowed::{BorrowedParts, Reader};
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::{Fragment, write_headers};
use crate::packet::{Packet, TxPacket};
use crate::plan::{Copied, TxPlan, tx_plan};
use crate::socket::SocketId;
use crate::{Stack, TxChecksum};

impl Stack {
    /// Sends the application's bytes as a datagram (or several, with `segment_bytes`) from where they lie, if
    /// that can be done. Returns what the socket is charged with until they are repaid, to be handed to
    /// [`Stack::udp_repaid`] then. In any case the parts are taken.
    ///
    /// # Errors
    /// As [`Stack::udp_send`].
    pub fn udp_send_borrowed(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        options: &SendOptions,
        parts: BorrowedParts,
    ) -> Result<u32, SocketError> {
        let len = parts.len();
        let prepared = self.prepare_send(ledger, id, options, len);
        let admitted = prepared.and_then(|outgoing| {
            // As many as if everything were copied: it may come to that.
            self.admit_send(ledger, &outgoing)?;
            Ok(outgoing)
        });
        let outgoing = match admitted {
            Ok(outgoing) => outgoing,
            Err(error) => {
                parts.repay(ledger);
                return Err(error);
            }
        };
        let charge = match outgoing.segments {
            1 => self.send_borrowed_datagram(now, ledger, &outgoing, parts),
            _ => self.send_borrowed_segments(now, ledger, &outgoing, parts),
        };
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.chunks_in_use += charge;
        }
        Ok(charge)
    }

    /// A send of borrowed bytes is over: its socket can use the room that it was charged with.
    pub fn udp_repaid(&mut self, id: SocketId, charge: u32) {
        if charge > 0
            && let Some(socket) = self.sockets.get_mut(id)
        {
            socket.chunks_in_use -= charge;
            self.sockets.events.mark(id, false, true);
        }
    }

    /// Sends borrowed bytes as several datagrams; returns what the socket is charged with.
    fn send_borrowed_segments(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        outgoing: &Outgoing,
        mut parts: BorrowedParts,
    ) -> u32 {
        let mut charge = 0;
        for _ in 0..outgoing.segments {
            let datagram = parts.split_to(ledger, outgoing.segment.min(parts.len()));
            charge += self.send_borrowed_datagram(now, ledger, outgoing, datagram);
        }
        parts.repay(ledger);
        charge
    }

    /// Sends borrowed bytes as one datagram; returns what the socket is charged with for those packets that
    /// take no chunk of its own.
    fn send_borrowed_datagram(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        outgoing: &Outgoing,
        mut payload: BorrowedParts,
    ) -> u32 {
        let first = self.plan_datagram(ledger, outgoing, &payload);
        if let TxPlan::Copy(why) = first {
            self.counters.count_copied(why);
            payload.note_copied(ledger);
            let umem = Arc::clone(ledger.umem());
            let mut reader = Reader::new(&umem, &payload);
            let fill = &mut |part: &mut [u8]| reader.fill(part);
            self.send_datagram(now, ledger, outgoing, payload.len(), fill);
            payload.repay(ledger);
            return 0;
        }
        self.counters.tx_datagrams += 1;
        let udp = self.borrowed_header(ledger, outgoing, &payload);
        let (to, reach) = (outgoing.to.ip(), outgoing.reach);
        if outgoing.whole {
            let part = Fragment::whole(UDP_HEADER + payload.len());
            let packet = self.describe(ledger, outgoing, part, first, &udp, payload);
            self.dispatch_one(now, ledger, to, reach, packet);
            return 1;
        }
        let mut count = 0;
        for part in self.fragments(ledger, to, UDP_HEADER + payload.len()) {
            let header = if part.offset == 0 { &udp[..] } else { &[] };
            let bytes = payload.split_to(ledger, part.len - header.len());
            let plan = if part.offset == 0 {
                first
            } else {
                let lie = bytes.lie(ledger, 0, bytes.len());
                tx_plan(self.config.plan, lie.behind(part.headers_len(to)))
            };
            let packet = self.describe(ledger, outgoing, part, plan, header, bytes);
            self.dispatch_one(now, ledger, to, reach, packet);
            count += 1;
        }
        payload.repay(ledger);
        self.counters.tx_fragments += if count > 1 { count } else { 0 };
        count as u32
    }

    /// The header of a datagram of borrowed bytes.
    #[inline]
    fn borrowed_header(
        &mut self,
        ledger: &Ledger,
        outgoing: &Outgoing,
        payload: &BorrowedParts,
    ) -> [u8; UDP_HEADER] {
        let len = payload.len();
        let mut udp = [0; UDP_HEADER];
        outgoing.write_header(&mut udp, len);
        // Nobody writes checksums of fragments behind us.
        let is_fragmented =
            || !outgoing.whole && self.payload_room(ledger, outgoing.to.ip()).0 < UDP_HEADER + len;
        let checksum = match self.config.tx_checksum {
            TxChecksum::Omit => 0,
            TxChecksum::Offload(_) if !is_fragmented() => outgoing.pseudo(len).fold(),
            TxChecksum::Offload(_) | TxChecksum::Compute => {
                let mut sum = Checksum::new();
                sum.add(&udp);
                for part in payload.iter() {
                    sum.add(part.bytes(ledger.umem()));
                }
                outgoing.checksum(sum, len)
            }
        };
        udp[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        udp
    }

    /// How a datagram of borrowed bytes is sent: its first packet, or that all of it is copied, if one of its
    /// packets has to be.
    fn plan_datagram(
        &mut self,
        ledger: &Ledger,
        outgoing: &Outgoing,
        payload: &BorrowedParts,
    ) -> TxPlan {
        if outgoing.reach == Reach::Local {
            return TxPlan::Copy(Copied::Local);
        }
        let (to, len, limits) = (outgoing.to.ip(), payload.len(), self.config.plan);
        let plan = |part: Fragment| {
            let header = if part.offset == 0 { UDP_HEADER } else { 0 };
            let skip = part.offset.saturating_sub(UDP_HEADER);
            let lie = payload.lie(ledger, skip, part.len - header);
            tx_plan(limits, lie.behind(part.headers_len(to) + header))
        };
        if outgoing.whole {
            return plan(Fragment::whole(UDP_HEADER + len));
        }
        let plans = self.fragments(ledger, to, UDP_HEADER + len).map(plan);
        let copied = |plan: TxPlan| matches!(plan, TxPlan::Copy(_));
        plans
            .reduce(|first, plan| {
                if copied(first) || !copied(plan) {
                    first
                } else {
                    plan
                }
            })
            .expect("udp: a datagram is one packet at least")
    }

    /// One packet of borrowed bytes: its headers in front of them, or in a chunk.
    fn describe(
        &mut self,
        ledger: &mut Ledger,
        outgoing: &Outgoing,
        part: Fragment,
        plan: TxPlan,
        udp: &[u8],
        mut payload: BorrowedParts,
    ) -> TxPacket {
        let (mac, meta, queue) = (self.config.mac, outgoing.meta(), outgoing.queue);
        let (policy, room) = (self.config.tx_checksum, self.front());
        // What the port needs, and the headers behind it.
        let write = |bytes: &mut [u8]| {
            let (front, bytes) = bytes.split_at_mut(room);
            let at = write_headers(mac, bytes, &meta, part);
            bytes[at..at + udp.len()].copy_from_slice(udp);
            part.id.is_none() && policy.ask(front, at, CHECKSUM_AT as u16)
        };
        let headers = part.headers_len(outgoing.to.ip()) + udp.len();
        match (plan, &mut payload.first) {
            (TxPlan::InPlace, Some(first)) => {
                self.counters.tx_in_place += 1;
                let metadata = write(ledger.headroom_mut(first, (room + headers) as u32));
                self.counters.tx_offloaded += u64::from(metadata);
                TxPacket::in_place(headers as u32, payload, queue).with_metadata(metadata)
            }
            (TxPlan::InPlace | TxPlan::Scatter, _) => {
                self.counters.tx_scattered += 1;
                let mut frame = self.take_send_chunk(ledger, None);
                let metadata = write(ledger.bytes_mut(&mut frame));
                self.counters.tx_offloaded += u64::from(metadata);
                let headers = Packet::new(Piece {
                    frame,
                    start: room as u32,
                    len: headers as u32,
                });
                TxPacket::scattered(headers, payload, queue).with_metadata(metadata)
            }
            // The fragment before has its headers where this one's would be.
            (TxPlan::Copy(why), _) => {
                self.counters.count_copied(why);
                payload.note_copied(ledger);
                let umem = Arc::clone(ledger.umem());
                let mut reader = Reader::new(&umem, &payload);
                let mut udp = udp;
                let fill = &mut |mut to: &mut [u8]| {
                    let header = std::mem::take(&mut udp);
                    to[..header.len()].copy_from_slice(header);
                    to = &mut to[header.len()..];
                    reader.fill(to);
                };
                let mut sum = Checksum::new();
                let owner = Some(outgoing.id);
                let (packet, _) = self.write_packet(ledger, &meta, part, owner, &mut sum, fill);
                payload.repay(ledger);
                TxPacket::new(packet, queue)
            }
        }
    }
}
