//! Owned chunks.

/// An owned chunk. Made and taken back only by the [`Ledger`](crate::Ledger): it can be moved, never
/// copied, and a frame that is dropped is lost to its pool (the ledger's census shows it).
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost to its pool: give it back with Ledger::release"]
pub struct Frame {
    pub(crate) chunk: u32,
    pub(crate) umem: u32,
}

impl Frame {
    /// Index of the chunk in its UMEM.
    pub fn chunk(&self) -> u32 {
        self.chunk
    }
}

/// A frame and the bytes of it that are meant: part or all of a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the piece's frame must be given back with Ledger::release"]
pub struct Piece {
    /// The frame that holds the bytes.
    pub frame: Frame,
    /// Offset of the first byte in the frame.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}
