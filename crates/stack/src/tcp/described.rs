//! Segments of the application's memory: their headers in front of it or in a chunk of their own, their payload
//! where it lies.

use std::sync::Arc;

use ringwire_tcp::{Instant, Segment};
use ringwire_umem::{Borrowed, Ledger};

use super::output::{CHECKSUM_AT, Sent, meta, write_headers_of};
use super::{Ends, IN_TABLE, Path, wire};
use crate::address::Reach;
use crate::borrowed::post_borrowed;
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::headers_len;
use crate::offload::TxFlags;
use crate::packet::numbered;
use crate::plan::{Copied, Lie, TxPlan, tx_plan};
use crate::socket::SocketId;
use crate::{Stack, TxChecksum};

impl Stack {
    /// Whether full segments of what is borrowed would be copied, why, and how long they are.
    pub(super) fn copies_when_sent(
        &self,
        ledger: &Ledger,
        id: SocketId,
        borrowed: &Borrowed,
    ) -> Option<(Copied, u32)> {
        if ledger.has_headroom(borrowed) {
            return None;
        }
        let connection = self.tcp.get(id)?.connection.as_ref()?;
        let segment = connection.send_mss();
        let why = self.config.plan.copies_beside(segment)?;
        Some((why, segment))
    }

    /// Queues a copy of what is borrowed, for segments of so many bytes.
    pub(super) fn send_copied(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        borrowed: Borrowed,
        more: bool,
        (why, segment): (Copied, u32),
    ) -> Result<usize, SocketError> {
        let umem = Arc::clone(ledger.umem());
        let mut bytes = borrowed.bytes(&umem);
        let fill = &mut |to: &mut [u8]| {
            let (part, rest) = bytes.split_at(to.len());
            to.copy_from_slice(part);
            bytes = rest;
        };
        let queued = self.tcp_send(ledger, id, borrowed.len() as usize, more, fill);
        if let Ok(queued) = queued {
            ledger.note_copied(borrowed.loan());
            let segments = queued.div_ceil(segment.max(1) as usize);
            self.counters.add_copied(why, segments as u64);
        }
        ledger.repay(borrowed);
        queued
    }

    /// Sends a segment whose payload is borrowed.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn transmit_borrowed(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        (ends, path): (Ends, Path),
        segment: &Segment,
        lie: Lie,
        post: &mut dyn FnMut(u64, u32, TxFlags),
    ) -> Sent {
        let to = ends.1.ip();
        let headers = headers_len(to) + wire::header_len(&segment.options);
        let lie = lie.behind(headers);
        let mac = match self.addresses.reach(to) {
            Reach::Via(neighbour) => {
                let mac = self.neighbours.lookup(now, neighbour);
                mac.ok_or(Copied::Neighbour)
            }
            _ => Err(Copied::Local),
        };
        let plan = tx_plan(self.config.plan, lie);
        let (mac, in_place) = match (mac, plan) {
            (Ok(mac), TxPlan::InPlace) => (mac, true),
            (Ok(mac), TxPlan::Scatter) => (mac, false),
            (Err(why), _) | (_, TxPlan::Copy(why)) => {
                self.copy_borrowed(now, ledger, id, (ends, path), segment, why);
                return Sent::Queued;
            }
        };
        let sum = self.sum_borrowed(ledger, id, segment);
        let meta = meta(&ends, path, segment.ecn);
        let (our, policy) = (self.config.mac, self.config.tx_checksum);
        // What the port needs, and the headers behind it.
        let room = self.front();
        let write = |bytes: &mut [u8]| {
            let (front, bytes) = bytes.split_at_mut(room);
            let macs = (our, mac);
            write_headers_of(bytes, macs, &meta, &ends, segment, policy, sum);
            policy.ask(front, headers_len(to), CHECKSUM_AT as u16);
        };
        let count = lie.pieces + u32::from(!in_place);
        let offloaded = matches!(policy, TxChecksum::Offload(_));
        let mut flags = numbered(count, offloaded);
        let mut post = |addr, len| post(addr, len, flags());
        if !in_place {
            let frame = self.take_segment_chunk(ledger);
            let mut frame = frame.expect("tcp: there was a chunk free for headers");
            write(&mut ledger.bytes_mut(&mut frame)[..room + headers]);
            let addr = ledger.post_tx(&frame, room as u32, headers as u32);
            post(addr, headers as u32);
            ledger.release(frame);
        }
        let mut front = if in_place { headers as u32 } else { 0 };
        let send = &mut self.tcp.slab.get_mut(id).expect(IN_TABLE).send;
        send.take_borrowed(segment.seq, segment.len, |part, start, len| {
            if front > 0 {
                write(ledger.headroom_mut(part, room as u32 + front));
            }
            post_borrowed(ledger, path.queue, part, (start, len), front, &mut post);
            front = 0;
        });
        self.counters.tx_offloaded += u64::from(offloaded);
        self.counters.tx_in_place += u64::from(in_place);
        self.counters.tx_scattered += u64::from(!in_place);
        self.counters.tcp_tx_segments += 1;
        self.counters.tx_packets += 1;
        self.counters.tx_bytes += headers as u64 + u64::from(segment.len);
        Sent::Pieces(count)
    }

    /// Copies the payload of a segment behind its headers.
    fn copy_borrowed(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        (ends, path): (Ends, Path),
        segment: &Segment,
        why: Copied,
    ) {
        self.counters.count_copied(why);
        let mut bytes = Vec::with_capacity(segment.len as usize);
        self.each_borrowed(ledger, id, segment, |ledger, part, start, len| {
            ledger.note_copied(part.loan());
            let from = start as usize;
            bytes.extend_from_slice(&part.bytes(ledger.umem())[from..from + len as usize]);
        });
        self.write_segment(now, ledger, ends, segment, &bytes, path);
    }

    /// The sum over a payload, if checksums are written.
    fn sum_borrowed(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        segment: &Segment,
    ) -> Option<Checksum> {
        if !self.config.tx_checksum.computes() {
            return None;
        }
        let umem = Arc::clone(ledger.umem());
        let mut sum = Checksum::new();
        self.each_borrowed(ledger, id, segment, |_, part, start, len| {
            let from = start as usize;
            sum.add(&part.bytes(&umem)[from..from + len as usize]);
        });
        Some(sum)
    }

    fn each_borrowed(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        segment: &Segment,
        mut each: impl FnMut(&mut Ledger, &mut Borrowed, u32, u32),
    ) {
        let send = &mut self.tcp.slab.get_mut(id).expect(IN_TABLE).send;
        send.take_borrowed(segment.seq, segment.len, |part, start, len| {
            each(ledger, part, start, len);
        });
    }
}
