//! Packets as lists of pieces.

use ringwire_umem::{Frame, Ledger, Piece};

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
    pub fn len(&self) -> usize {
        self.pieces().map(|piece| piece.len as usize).sum()
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
    pub fn release(self, ledger: &mut Ledger) {
        for frame in self.into_frames() {
            ledger.release(frame);
        }
    }

    /// Calls `each` with the bytes from `start`, at most `len` of them, piece by piece.
    pub fn for_each(&self, ledger: &Ledger, start: usize, len: usize, mut each: impl FnMut(&[u8])) {
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

/// A packet on its way out.
#[derive(Debug)]
#[must_use = "a packet's frames must be given back with Packet::release"]
pub struct TxPacket {
    /// The bytes, from the Ethernet header on.
    pub packet: Packet,
    /// The NIC queue to send on.
    pub queue: u16,
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
    /// Copied together: reassembled from fragments, compacted under pressure, or looped back.
    Heap(Box<[u8]>),
}

impl Payload {
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::Frames { len, .. } => *len,
            Payload::Heap(bytes) => bytes.len(),
        }
    }

    pub(crate) fn for_each(&self, ledger: &Ledger, limit: usize, mut each: impl FnMut(&[u8])) {
        match self {
            Payload::Frames { packet, start, len } => {
                packet.for_each(ledger, *start, limit.min(*len), each);
            }
            Payload::Heap(bytes) => each(&bytes[..limit.min(bytes.len())]),
        }
    }

    /// What follows the UDP header of a datagram that is `udp_len` bytes long with it.
    pub(crate) fn without_udp_header(self, udp_len: usize) -> Payload {
        match self {
            Payload::Frames { packet, start, .. } => Payload::Frames {
                packet,
                start: start + 8,
                len: udp_len - 8,
            },
            Payload::Heap(bytes) => Payload::Heap(bytes[8..udp_len].into()),
        }
    }

    pub(crate) fn release(self, ledger: &mut Ledger) {
        if let Payload::Frames { packet, .. } = self {
            packet.release(ledger);
        }
    }
}
