//! Segments of the application's memory: their headers in front of it or in a chunk of their own, their payload
//! where it lies.

use std::sync::Arc;

use ringwire_tcp::{Instant, Segment, SeqNumber};
use ringwire_umem::{Borrowed, Ledger};

use super::output::{
    BURST, CHECKSUM_AT, Sent, meta, take_segment_chunk, within, write_checksum_over,
};
use super::send_queue::SendQueue;
use super::{Ends, IN_TABLE, Path, wire};
use crate::address::Reach;
use crate::borrowed::post_borrowed;
use crate::checksum::Checksum;
use crate::error::SocketError;
use crate::headers::{ETHERNET_HEADER, Fragment, IPV6_HEADER, IpMeta, headers_len, write_headers};
use crate::offload::TxFlags;
use crate::packet::numbered;
use crate::plan::{Copied, Lie, PlanLimits, TxPlan, tx_plan};
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

    /// Sends a segment whose payload is borrowed, and those behind it that differ from it in their numbers
    /// alone, as far as there is `room` for descriptors.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn transmit_borrowed(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        id: SocketId,
        (ends, path): (Ends, Path),
        segment: &Segment,
        lie: Lie,
        room: u32,
        post: &mut dyn FnMut(u64, u32, TxFlags),
    ) -> Sent {
        let to = ends.1.ip();
        let lie = lie.behind(headers_len(to) + wire::header_len(&segment.options));
        let mac = match self.reach(Some(ends.0.ip()), to) {
            Reach::Via(neighbour) => {
                let mac = self.neighbours.lookup(now, neighbour);
                mac.ok_or(Copied::Neighbour)
            }
            _ => Err(Copied::Local),
        };
        let (mac, in_place) = match (mac, tx_plan(self.config.plan, lie)) {
            (Ok(mac), TxPlan::InPlace) => (mac, true),
            (Ok(mac), TxPlan::Scatter) => (mac, false),
            (Err(why), _) | (_, TxPlan::Copy(why)) => {
                self.copy_borrowed(now, ledger, id, (ends, path), segment, why);
                return Sent::Queued;
            }
        };
        let meta = meta(&ends, path, segment.ecn);
        let (macs, policy) = ((self.config.mac, mac), self.config.tx_checksum);
        let socket = self.tcp.slab.get_mut(id).expect(IN_TABLE);
        let connection = socket.connection.as_mut().expect(IN_TABLE);
        let mut run = Run {
            ledger,
            send: &mut socket.send,
            owners: &mut self.chunk_owner,
            headers: Headers::new(macs, &meta, ends, segment, policy),
            len: segment.len,
            exact: false,
            limits: self.config.plan,
            queue: path.queue,
            room,
            post,
        };
        let posted = match in_place {
            true => run.in_place(segment.seq),
            false => run.beside(segment.seq, lie),
        };
        posted.expect("tcp: there is room for a segment that was planned");
        run.headers.share();
        run.exact = segment.len < connection.send_mss();
        let mut seq = segment.end();
        let count = connection.poll_following(now, segment, BURST - self.tcp.burst - 1, |most| {
            let follows = |_: &u32| {
                let posted = match in_place {
                    true => run.in_place(seq),
                    false => run.next_beside(seq),
                };
                seq += segment.len;
                posted.is_some()
            };
            (0..most).take_while(follows).count() as u32
        });
        let (segments, descriptors) = (count + 1, room - run.room);
        let count = u64::from(segments);
        self.counters.tx_offloaded += count * u64::from(policy.is_offloaded());
        self.counters.tx_in_place += count * u64::from(in_place);
        self.counters.tx_scattered += count * u64::from(!in_place);
        self.counters.tcp_tx_segments += count;
        self.counters.tx_packets += count;
        self.counters.tx_bytes += count * u64::from(lie.headers + segment.len);
        Sent::Posted {
            segments,
            descriptors,
        }
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

/// The headers of a segment, to be written in front of its payload or beside it.
struct Headers {
    bytes: [u8; ETHERNET_HEADER + IPV6_HEADER + wire::MAX_HEADER],
    len: usize,
    /// Where TCP's begins.
    at: usize,
    /// Of TCP's header and the payload.
    tcp_len: usize,
    ends: Ends,
    policy: TxChecksum,
}

impl Headers {
    /// Those of a segment, from one Ethernet address to another, without a checksum.
    fn new(
        (mac, to): ([u8; 6], [u8; 6]),
        meta: &IpMeta,
        ends: Ends,
        segment: &Segment,
        policy: TxChecksum,
    ) -> Headers {
        let header_len = wire::header_len(&segment.options);
        let tcp_len = header_len + segment.len as usize;
        let mut bytes = [0; _];
        let at = write_headers(mac, &mut bytes, meta, Fragment::whole(tcp_len));
        bytes[..6].copy_from_slice(&to);
        wire::emit(&mut bytes[at..], ends.0.port(), ends.1.port(), segment);
        Headers {
            bytes,
            len: at + header_len,
            at,
            tcp_len,
            ends,
            policy,
        }
    }

    /// Makes them those of the segments behind the first.
    fn share(&mut self) {
        wire::share(&mut self.bytes[self.at..]);
    }

    /// Makes them those of the segment at `seq`; `sum` is over its payload, unless checksums are omitted.
    #[inline]
    fn complete(&mut self, seq: SeqNumber, sum: Option<Checksum>) {
        let header = &mut self.bytes[self.at..self.len];
        wire::number(header, seq);
        // It has the last one's.
        header[CHECKSUM_AT..CHECKSUM_AT + 2].fill(0);
        write_checksum_over(header, self.tcp_len, &self.ends, self.policy, sum);
    }

    /// Writes them to the end of `to`, and what the port is asked for in front of them.
    #[inline]
    fn write(&self, to: &mut [u8]) {
        let (front, bytes) = to.split_at_mut(to.len() - self.len);
        bytes.copy_from_slice(&self.bytes[..self.len]);
        self.policy.ask(front, self.at, CHECKSUM_AT as u16);
    }
}

/// Segments of borrowed bytes that go out one behind the other, each of so many bytes.
struct Run<'a> {
    ledger: &'a mut Ledger,
    send: &'a mut SendQueue,
    owners: &'a mut [Option<SocketId>],
    headers: Headers,
    len: u32,
    /// They end where their part of the queue does: they could be longer.
    exact: bool,
    limits: PlanLimits,
    queue: u16,
    /// Descriptors that there is room for.
    room: u32,
    post: &'a mut dyn FnMut(u64, u32, TxFlags),
}

impl Run<'_> {
    /// Sends the segment at `seq` if it is one with room for its headers in front.
    fn in_place(&mut self, seq: SeqNumber) -> Option<()> {
        within(self.limits, self.room)?;
        let (ledger, headers, len) = (&mut *self.ledger, &mut self.headers, self.len);
        let addr = self.send.post_cell(seq, |part| {
            // A segment that begins a slot ends with it.
            if part.len() < len || part.len() > len && self.exact {
                return None;
            }
            let policy = headers.policy;
            let sum = policy.computes().then(|| {
                let mut sum = Checksum::new();
                sum.add(&part.bytes(ledger.umem())[..len as usize]);
                sum
            });
            headers.complete(seq, sum);
            let front = (self.limits.headroom, headers.len as u32);
            ledger.post_behind(self.queue, part, len, front, |bytes| headers.write(bytes))
        })?;
        self.room -= 1;
        let flags = TxFlags {
            more: false,
            metadata: headers.policy.is_offloaded(),
        };
        (self.post)(addr, headers.len as u32 + len, flags);
        Some(())
    }

    /// Sends the segment at `seq` if it is as long as the others and its headers have to go beside it.
    fn next_beside(&mut self, seq: SeqNumber) -> Option<()> {
        let limits = within(self.limits, self.room)?;
        let lens = (self.len, self.exact);
        let lie = self.send.lie_beside(self.ledger, limits, seq, lens)?;
        let lie = lie.behind(self.headers.len);
        let planned = tx_plan(self.limits, lie) == TxPlan::Scatter;
        planned.then(|| self.beside(seq, lie))?
    }

    /// Sends the segment at `seq`, its headers in a chunk.
    fn beside(&mut self, seq: SeqNumber, lie: Lie) -> Option<()> {
        let (ledger, headers) = (&mut *self.ledger, &mut self.headers);
        let mut frame = take_segment_chunk(ledger, self.owners)?;
        let policy = headers.policy;
        let sum = policy.computes().then(|| {
            let mut sum = Checksum::new();
            self.send.take_borrowed(seq, self.len, |part, start, len| {
                let from = start as usize;
                sum.add(&part.bytes(ledger.umem())[from..from + len as usize]);
            });
            sum
        });
        headers.complete(seq, sum);
        let (front, len) = (self.limits.headroom, headers.len as u32);
        headers.write(&mut ledger.bytes_mut(&mut frame)[..(front + len) as usize]);
        let count = lie.pieces + 1;
        self.room -= count;
        let mut flags = numbered(count, policy.is_offloaded());
        let mut post = |addr, len| (self.post)(addr, len, flags());
        post(ledger.post_tx(&frame, front, len), len);
        ledger.release(frame);
        self.send.take_borrowed(seq, self.len, |part, start, len| {
            post_borrowed(ledger, self.queue, part, (start, len), 0, &mut post);
        });
        Some(())
    }
}
