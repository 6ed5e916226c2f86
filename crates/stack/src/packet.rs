//! Packets as lists of pieces.

use ringwire_umem::{Frame, Ledger, Piece};

use crate::borrowed::{BorrowedParts, post_borrowed};
use crate::offload::TxFlags;

/// A packet in one piece, or several where it is longer than a chunk (`XDP_PKT_CONTD`).
#[derive(Debug)]
#[must_use = "a packet's frames must be given back with Packet::release"]
pub struct Packet {
    /// The piece that holds the headers.
    pub first: Piece,
    /// The pieces after it, in order.
    pub rest: Vec<Piece>,
}

impl Packet {
    /// A packet of one piece.
    pub fn new(first: Piece) -> Packet {
        Packet {
            first,
            rest: Vec::new(),
        }
    }

    /// Bytes in all pieces.
    #[inline]
    pub fn len(&self) -> usize {
        let rest = self.rest.iter().map(|piece| piece.len as usize);
        self.first.len as usize + rest.sum::<usize>()
    }

    /// Whether there are no bytes in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// Number of pieces.
    pub fn piece_count(&self) -> usize {
        1 + self.rest.len()
    }

    /// The frames, given up by the packet.
    pub fn into_frames(self) -> impl Iterator<Item = Frame> {
        std::iter::once(self.first.frame).chain(self.rest.into_iter().map(|piece| piece.frame))
    }

    /// Gives all frames back to the ledger.
    #[inline]
    pub fn release(self, ledger: &mut Ledger) {
        ledger.release(self.first.frame);
        if !self.rest.is_empty() {
            release_all(self.rest, ledger);
        }
    }

    /// Calls `each` with the bytes from `start`, at most `len` of them, piece by piece.
    pub fn for_each(&self, ledger: &Ledger, start: usize, len: usize, mut each: impl FnMut(&[u8])) {
        let first = ledger.piece(&self.first);
        if let Some(all) = first.get(start..).and_then(|bytes| bytes.get(..len)) {
            if len > 0 {
                each(all);
            }
            return;
        }
        let mut skip = start;
        let mut left = len;
        for piece in self.pieces() {
            let bytes = ledger.piece(piece);
            let from = skip.min(bytes.len());
            skip -= from;
            let take = left.min(bytes.len() - from);
            left -= take;
            if take > 0 {
                each(&bytes[from..from + take]);
            }
        }
    }

    /// The bytes from `start`, at most `len` of them, copied together.
    pub fn to_vec(&self, ledger: &Ledger, start: usize, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len.min(self.len()));
        self.for_each(ledger, start, len, |part| bytes.extend_from_slice(part));
        bytes
    }
}

#[cold]
fn release_all(pieces: Vec<Piece>, ledger: &mut Ledger) {
    for piece in pieces {
        ledger.release(piece.frame);
    }
}

/// A packet on its way out: what the stack wrote, and behind it bytes of the application's where they lie.
#[derive(Debug)]
#[must_use = "a packet's frames must be given back with TxPacket::release"]
pub struct TxPacket {
    /// From the Ethernet header on; `None`: the headers stand in front of the first borrowed bytes.
    own: Option<Packet>,
    borrowed: BorrowedParts,
    /// Bytes of headers in front of the borrowed ones.
    front: u32,
    /// The port is asked for something in front of it.
    metadata: bool,
    /// The NIC queue to send on.
    pub queue: u16,
}

impl TxPacket {
    /// One that the stack wrote.
    pub(crate) fn new(packet: Packet, queue: u16) -> TxPacket {
        TxPacket::scattered(packet, BorrowedParts::default(), queue)
    }

    /// One that the stack wrote in one piece, with something asked for in front of it, or not.
    #[inline]
    pub(crate) fn in_one_piece(piece: Piece, queue: u16, metadata: bool) -> TxPacket {
        TxPacket {
            own: Some(Packet::new(piece)),
            borrowed: BorrowedParts::default(),
            front: 0,
            metadata,
            queue,
        }
    }

    /// Headers that the stack wrote, and a payload elsewhere.
    pub(crate) fn scattered(headers: Packet, payload: BorrowedParts, queue: u16) -> TxPacket {
        TxPacket {
            own: Some(headers),
            borrowed: payload,
            front: 0,
            metadata: false,
            queue,
        }
    }

    /// A payload with headers in front of it.
    pub(crate) fn in_place(front: u32, payload: BorrowedParts, queue: u16) -> TxPacket {
        TxPacket {
            own: None,
            borrowed: payload,
            front,
            metadata: false,
            queue,
        }
    }

    /// The same with something asked for in front of it, or not.
    pub(crate) fn with_metadata(self, metadata: bool) -> TxPacket {
        TxPacket { metadata, ..self }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        let own = self.own.as_ref().map_or(0, Packet::len);
        own + self.front as usize + self.borrowed.len()
    }

    /// Descriptors that it takes.
    #[inline]
    pub(crate) fn descriptors(&self, ledger: &Ledger) -> u32 {
        let own = self.own.as_ref().map_or(0, Packet::piece_count) as u32;
        match self.borrowed.has_parts() {
            true => own + self.borrowed.descriptors(ledger),
            false => own,
        }
    }

    /// Its first bytes: the headers at least.
    #[inline]
    pub(crate) fn headers_mut<'a>(&'a mut self, ledger: &'a mut Ledger) -> &'a mut [u8] {
        match (&mut self.own, &mut self.borrowed.first) {
            (Some(packet), _) => {
                let (start, len) = (packet.first.start as usize, packet.first.len as usize);
                &mut ledger.bytes_mut(&mut packet.first.frame)[start..start + len]
            }
            (None, Some(first)) => ledger.headroom_mut(first, self.front),
            (None, None) => unreachable!("packet: one of nothing"),
        }
    }

    /// Counts its descriptors and hands them to `post`: address, length, and the rest.
    #[inline]
    pub(crate) fn post(self, ledger: &mut Ledger, post: &mut impl FnMut(u64, u32, TxFlags)) {
        match self {
            TxPacket {
                own: Some(Packet { first, rest }),
                borrowed,
                metadata,
                ..
            } if rest.is_empty() && !borrowed.has_parts() => {
                let addr = ledger.post_tx(&first.frame, first.start, first.len);
                let more = false;
                post(addr, first.len, TxFlags { more, metadata });
                ledger.release(first.frame);
            }
            packet => packet.post_parts(ledger, post),
        }
    }

    /// The same, of several descriptors.
    fn post_parts(mut self, ledger: &mut Ledger, post: &mut impl FnMut(u64, u32, TxFlags)) {
        let mut flags = numbered(self.descriptors(ledger), self.metadata);
        let mut post = |addr, len| post(addr, len, flags());
        for piece in self.own.iter().flat_map(Packet::pieces) {
            post(
                ledger.post_tx(&piece.frame, piece.start, piece.len),
                piece.len,
            );
        }
        let mut front = self.front;
        for part in self.borrowed.iter_mut() {
            post_borrowed(ledger, self.queue, part, (0, part.len()), front, &mut post);
            front = 0;
        }
        self.release(ledger, |_| {});
    }

    /// Lets go of it; `freed` hears of the chunks that are back in their pool.
    pub(crate) fn release(self, ledger: &mut Ledger, mut freed: impl FnMut(u32)) {
        for frame in self.own.into_iter().flat_map(Packet::into_frames) {
            let chunk = frame.chunk();
            ledger.release(frame);
            freed(chunk);
        }
        self.borrowed.repay(ledger);
    }
}

/// The flags of a packet's descriptors, one after the other.
pub(crate) fn numbered(descriptors: u32, mut metadata: bool) -> impl FnMut() -> TxFlags {
    let mut left = descriptors;
    move || {
        left -= 1;
        TxFlags {
            more: left > 0,
            metadata: std::mem::take(&mut metadata),
        }
    }
}

/// The payload of a received datagram.
#[derive(Debug)]
pub(crate) enum Payload {
    /// Where the NIC wrote it: `len` bytes from `start` of the packet.
    Frames {
        packet: Packet,
        start: usize,
        len: usize,
    },
    /// Copied together: reassembled from fragments, compacted under pressure, or looped back. The
    /// payload begins at `start`.
    Heap { bytes: Vec<u8>, start: usize },
}

/// Most bytes that are copied together on the heap before another piece begins.
const HEAP_BYTES: usize = 4096;

impl Payload {
    pub(crate) fn heap(bytes: Vec<u8>) -> Payload {
        Payload::Heap { bytes, start: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::Frames { len, .. } => *len,
            Payload::Heap { bytes, start } => bytes.len() - start,
        }
    }

    /// Bytes that it takes outside of frames.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Payload::Frames { .. } => 0,
            Payload::Heap { bytes, .. } => bytes.len(),
        }
    }

    /// Calls `each` with the first `limit` bytes, part by part.
    pub(crate) fn for_each(&self, ledger: &Ledger, limit: usize, each: impl FnMut(&[u8])) {
        self.for_each_from(ledger, 0, limit, each);
    }

    /// Calls `each` with at most `limit` bytes from `skip` on, part by part.
    pub(crate) fn for_each_from(
        &self,
        ledger: &Ledger,
        skip: usize,
        limit: usize,
        mut each: impl FnMut(&[u8]),
    ) {
        let limit = limit.min(self.len() - skip);
        match self {
            Payload::Frames { packet, start, .. } => {
                packet.for_each(ledger, start + skip, limit, each);
            }
            Payload::Heap { bytes, start } => each(&bytes[start + skip..start + skip + limit]),
        }
    }

    /// All of it, if it lies in one piece.
    #[inline]
    pub(crate) fn bytes<'a>(&'a self, ledger: &'a Ledger) -> Option<&'a [u8]> {
        match self {
            Payload::Frames { packet, start, len } => {
                ledger.piece(&packet.first).get(*start..*start + *len)
            }
            Payload::Heap { bytes, start } => bytes.get(*start..),
        }
    }

    /// Its first bytes in one piece, as many as `copy` has or all: where they lie if they do, or copied
    /// together.
    #[inline]
    pub(crate) fn head<'a>(&'a self, ledger: &'a Ledger, copy: &'a mut [u8]) -> &'a [u8] {
        let want = copy.len().min(self.len());
        if let Payload::Frames { packet, start, .. } = self
            && let Some(head) = ledger.piece(&packet.first).get(*start..start + want)
        {
            return head;
        }
        let mut at = 0;
        self.for_each(ledger, want, |part| {
            copy[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
        &copy[..at]
    }

    /// Leaves `len` bytes of it, from `skip` on.
    #[inline]
    pub(crate) fn narrow(&mut self, skip: usize, len: usize) {
        assert!(
            skip + len <= self.len(),
            "packet: a part outside of its payload"
        );
        // Nearly always so; and whoever moves it next would wait for the stores.
        if skip == 0 && len == self.len() {
            return;
        }
        match self {
            Payload::Frames {
                start, len: all, ..
            } => {
                *start += skip;
                *all = len;
            }
            Payload::Heap { bytes, start } => {
                *start += skip;
                bytes.truncate(*start + len);
            }
        }
    }

    /// Copies another payload behind this one, if there is room: in the chunk of its last piece, or
    /// on the heap.
    pub(crate) fn append(&mut self, ledger: &Ledger, other: &Payload) -> bool {
        match self {
            Payload::Heap { bytes, .. } => {
                if bytes.len() + other.len() > HEAP_BYTES {
                    return false;
                }
                other.for_each(ledger, usize::MAX, |part| bytes.extend_from_slice(part));
                true
            }
            Payload::Frames { packet, start, len } => {
                // What lies behind the payload (padding, or what was cut off) is no payload.
                if packet.piece_count() > 1 || ledger.is_partly_lent(&packet.first.frame) {
                    return false;
                }
                let piece = &mut packet.first;
                let end = piece.start as usize + *start + *len;
                let frame = ledger.bytes_mut(&mut piece.frame);
                if end + other.len() > frame.len() {
                    return false;
                }
                let mut at = end;
                other.for_each(ledger, usize::MAX, |part| {
                    frame[at..at + part.len()].copy_from_slice(part);
                    at += part.len();
                });
                *len += other.len();
                piece.len = (at - piece.start as usize) as u32;
                true
            }
        }
    }

    /// Moves it out of its frames.
    pub(crate) fn compact(self, ledger: &mut Ledger) -> Payload {
        let Payload::Frames { packet, start, len } = self else {
            return self;
        };
        let bytes = packet.to_vec(ledger, start, len);
        packet.release(ledger);
        Payload::heap(bytes)
    }

    #[inline]
    pub(crate) fn release(self, ledger: &mut Ledger) {
        if let Payload::Frames { packet, .. } = self {
            packet.release(ledger);
        }
    }
}
