//! Received payloads in the application's hands: lent where the NIC wrote them, or copied into a chunk of
//! their own where they cannot be.

use ringwire_umem::{HEADROOM, Ledger, Piece, Pool};

use crate::Stack;
use crate::counters::Counters;
use crate::packet::{Packet, Payload};
use crate::socket::SocketId;

/// Consecutive bytes in one chunk that are the application's, until it gives them back
/// ([`Ledger::give_back`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentPart {
    /// Where they begin in the UMEM.
    pub addr: u64,
    /// Number of bytes, what was written in front of the payload included.
    pub len: u32,
    /// Whether payload was copied to be lent.
    pub copied: bool,
}

/// Why nothing was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LendError {
    /// There is nothing to lend.
    Nothing,
    /// Only the reserve of RX chunks is left: what is there stays queued until the application gives
    /// something back.
    NoFrames,
    /// No chunk has so much room in front of a payload.
    HeaderRoom(usize),
}

/// What lending all of a payload takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LendPlan {
    /// Parts that it comes in.
    parts: usize,
    /// Chunks that are needed for copies.
    copies: usize,
}

/// Bytes that are written in front of a payload, and who writes them.
pub(crate) struct Header<'a> {
    pub(crate) room: usize,
    pub(crate) write: &'a mut dyn FnMut(&mut [u8]),
}

/// Whether a payload may be lent, with so many chunks for copies.
pub(crate) fn may_lend(ledger: &Ledger, copies: usize) -> bool {
    ledger.may_lend_copies(copies as u32)
}

/// Bytes that a copy has room for in a chunk. As with what the NIC wrote, headers fit in front of them.
fn copy_bytes(ledger: &Ledger) -> usize {
    (ledger.chunk_bytes() - HEADROOM) as usize
}

impl Stack {
    /// Parts that lending the front datagram gives with so many bytes in front of its payload; 0 if there
    /// is none, or it is empty and nothing is written.
    pub fn udp_lend_parts(&self, ledger: &Ledger, id: SocketId, header_room: usize) -> usize {
        let front = self.sockets.front(id);
        let fits = header_room < copy_bytes(ledger);
        let front = front.filter(|_| fits);
        front.map_or(0, |it| it.payload.lend_plan(ledger, header_room).parts)
    }

    /// Takes the front datagram off the socket and lends it, part by part and in order. The first part
    /// begins with `header_room` bytes that `header` writes, in front of the payload and in one chunk with
    /// its first bytes. Nothing is done if all of it cannot be.
    ///
    /// # Errors
    /// [`LendError`].
    pub fn udp_lend(
        &mut self,
        ledger: &mut Ledger,
        id: SocketId,
        header_room: usize,
        header: &mut dyn FnMut(&mut [u8]),
        each: &mut dyn FnMut(LentPart),
    ) -> Result<(), LendError> {
        let front = self.sockets.front(id).ok_or(LendError::Nothing)?;
        if header_room >= copy_bytes(ledger) {
            return Err(LendError::HeaderRoom(header_room));
        }
        let plan = front.payload.lend_plan(ledger, header_room);
        if !may_lend(ledger, plan.copies) {
            return Err(LendError::NoFrames);
        }
        let mut rest = self.sockets.pop(id).map(|datagram| datagram.payload);
        let mut room = header_room;
        for _ in 0..plan.parts {
            let payload = rest.take().expect("udp: a datagram has the parts counted");
            let header = Header {
                room,
                write: &mut *header,
            };
            let (part, left) = payload.lend_front(ledger, &mut self.counters, usize::MAX, header);
            room = 0;
            rest = left;
            each(part);
        }
        // Without a part it is empty.
        if let Some(rest) = rest {
            rest.release(ledger);
        }
        Ok(())
    }
}

impl Payload {
    /// What lending all of it takes, with `room` bytes in front, fewer than [`copy_bytes`].
    fn lend_plan(&self, ledger: &Ledger, room: usize) -> LendPlan {
        let most = copy_bytes(ledger);
        match self {
            Payload::Heap { .. } => {
                let copies = (room + self.len()).div_ceil(most);
                let parts = copies;
                LendPlan { parts, copies }
            }
            Payload::Frames { packet, start, len } => {
                let (at, first_len) = first_span(packet, *start, *len);
                let copied = at < room;
                let parts = spans(packet, *start, *len).count();
                // What is copied and has no room in one chunk is lent behind it.
                let behind = usize::from(copied && first_len > most - room);
                LendPlan {
                    parts: parts.max(usize::from(room > 0)) + behind,
                    copies: usize::from(copied),
                }
            }
        }
    }

    /// Lends its first bytes, `limit` at most and those of one chunk, and returns what is left of it. The
    /// chunk for a copy must be there.
    pub(crate) fn lend_front(
        self,
        ledger: &mut Ledger,
        counters: &mut Counters,
        limit: usize,
        header: Header<'_>,
    ) -> (LentPart, Option<Payload>) {
        let (packet, start, len) = match self {
            Payload::Heap { .. } => {
                counters.lend_copied_from_heap += 1;
                return self.lend_copy(ledger, counters, limit, header);
            }
            Payload::Frames { packet, start, len } => drop_headers(packet, start, len, ledger),
        };
        if packet.first.start as usize + start < header.room {
            counters.lend_copied_for_room += 1;
            let payload = Payload::Frames { packet, start, len };
            return payload.lend_copy(ledger, counters, limit, header);
        }
        lend_in_place(packet, start, len, ledger, limit, header)
    }

    /// Lends a copy of its first bytes.
    fn lend_copy(
        mut self,
        ledger: &mut Ledger,
        counters: &mut Counters,
        limit: usize,
        header: Header<'_>,
    ) -> (LentPart, Option<Payload>) {
        let in_piece = match &self {
            Payload::Frames { packet, start, len } => first_span(packet, *start, *len).1,
            Payload::Heap { .. } => self.len(),
        };
        let room = copy_bytes(ledger) - header.room;
        let take = in_piece.min(limit).min(room);
        let frame = ledger.alloc(Pool::Rx);
        let mut frame = frame.expect("lend: the chunks for copies were counted");
        let first = HEADROOM as usize;
        let bytes = &mut ledger.bytes_mut(&mut frame)[first..];
        if header.room > 0 {
            (header.write)(&mut bytes[..header.room]);
        }
        let mut at = header.room;
        self.for_each(ledger, take, |part| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
        counters.lend_copied_bytes += take as u64;
        let part = LentPart {
            addr: ledger.lend(frame, HEADROOM),
            len: at as u32,
            copied: true,
        };
        let left = self.len() - take;
        if left == 0 {
            self.release(ledger);
            return (part, None);
        }
        self.narrow(take, left);
        (part, Some(self))
    }
}

/// The bytes of a payload, piece by piece: where they begin in their frame, and how many there are.
fn spans(
    packet: &Packet,
    mut skip: usize,
    mut left: usize,
) -> impl Iterator<Item = (usize, usize)> {
    packet.pieces().filter_map(move |piece| {
        let from = skip.min(piece.len as usize);
        skip -= from;
        let take = left.min(piece.len as usize - from);
        left -= take;
        (take > 0).then_some((piece.start as usize + from, take))
    })
}

/// The first of them; an empty payload is at the end of its headers.
fn first_span(packet: &Packet, start: usize, len: usize) -> (usize, usize) {
    let first = &packet.first;
    let end = first.start as usize + start.min(first.len as usize);
    spans(packet, start, len).next().unwrap_or((end, 0))
}

/// Lets go of the pieces in front of a payload.
fn drop_headers(
    mut packet: Packet,
    mut start: usize,
    len: usize,
    ledger: &mut Ledger,
) -> (Packet, usize, usize) {
    while len > 0 && start >= packet.first.len as usize {
        start -= packet.first.len as usize;
        let next = packet.rest.remove(0);
        ledger.release(std::mem::replace(&mut packet.first, next).frame);
    }
    let start = start.min(packet.first.len as usize);
    (packet, start, len)
}

/// Lends the first bytes of a payload that begins in the first piece: all of them there, or as many as are
/// wanted.
fn lend_in_place(
    mut packet: Packet,
    start: usize,
    len: usize,
    ledger: &mut Ledger,
    limit: usize,
    header: Header<'_>,
) -> (LentPart, Option<Payload>) {
    let here = len.min(packet.first.len as usize - start);
    let take = here.min(limit);
    let at = packet.first.start as usize + start;
    let first = at - header.room;
    if header.room > 0 {
        (header.write)(&mut ledger.bytes_mut(&mut packet.first.frame)[first..at]);
    }
    let part = |addr| LentPart {
        addr,
        len: (header.room + take) as u32,
        copied: false,
    };
    if take < here {
        let addr = ledger.lend_part(&packet.first.frame, first as u32);
        let (start, len) = (start + take, len - take);
        return (part(addr), Some(Payload::Frames { packet, start, len }));
    }
    let Packet {
        first: Piece { frame, .. },
        mut rest,
    } = packet;
    let addr = ledger.lend(frame, first as u32);
    if take < len {
        let packet = Packet {
            first: rest.remove(0),
            rest,
        };
        let (start, len) = (0, len - take);
        return (part(addr), Some(Payload::Frames { packet, start, len }));
    }
    // Padding.
    for piece in rest {
        ledger.release(piece.frame);
    }
    (part(addr), None)
}
