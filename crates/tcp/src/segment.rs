//! A segment as the engine sees it: numbers and flags, no bytes.

use crate::seq::SeqNumber;

/// The timestamps option (RFC 7323, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: the receiver's clock, echoed; valid with an ACK.
    pub echo: u32,
}

/// The options that the engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes (RFC 9293, section 3.7.1); SYN only.
    pub mss: Option<u16>,
    /// Window scale: a shift (RFC 7323, section 2); SYN only.
    pub window_scale: Option<u8>,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
}

/// A TCP segment: its header, and how long its payload is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte, or of the SYN.
    pub seq: SeqNumber,
    /// The acknowledgement, if the ACK bit is set.
    pub ack: Option<SeqNumber>,
    /// The window field as it stands, not scaled.
    pub window: u16,
    /// SYN.
    pub syn: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
    /// PSH.
    pub psh: bool,
    /// Options.
    pub options: Options,
    /// Bytes of payload.
    pub len: u32,
}

impl Segment {
    /// Sequence numbers that it takes up: its bytes, SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        self.len + u32::from(self.syn) + u32::from(self.fin)
    }

    /// The sequence number after it.
    pub fn end(&self) -> SeqNumber {
        self.seq + self.seq_len()
    }

    /// Sequence number of its first byte of payload.
    pub fn text(&self) -> SeqNumber {
        self.seq + u32::from(self.syn)
    }
}
