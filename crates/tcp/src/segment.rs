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

/// Most blocks of a SACK option: what fits into 40 bytes of options (RFC 2018, section 3).
pub const MAX_SACK_BLOCKS: usize = 4;

/// The blocks of a SACK option: each from its first number up to and without its last.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SackBlocks {
    blocks: [(SeqNumber, SeqNumber); MAX_SACK_BLOCKS],
    len: u8,
}

impl SackBlocks {
    /// Adds a block; one too many is left out.
    pub fn push(&mut self, start: SeqNumber, end: SeqNumber) {
        if let Some(block) = self.blocks.get_mut(usize::from(self.len)) {
            *block = (start, end);
            self.len += 1;
        }
    }

    /// The blocks.
    pub fn as_slice(&self) -> &[(SeqNumber, SeqNumber)] {
        &self.blocks[..usize::from(self.len)]
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Leaves the first `count` blocks.
    pub fn truncate(&mut self, count: usize) {
        self.len = self.len.min(count as u8);
        // Equal blocks are equal options.
        self.blocks[usize::from(self.len)..].fill(Default::default());
    }
}

impl std::fmt::Debug for SackBlocks {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.as_slice()).finish()
    }
}

/// The options that the engine knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes (RFC 9293, section 3.7.1); SYN only.
    pub mss: Option<u16>,
    /// Window scale: a shift (RFC 7323, section 2); SYN only.
    pub window_scale: Option<u8>,
    /// Selective acknowledgements may be sent (RFC 2018, section 2); SYN only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Selective acknowledgements.
    pub sack: SackBlocks,
}

/// What the ECN field of the IP header says (RFC 3168, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// Not-ECT: the transport knows nothing of it.
    #[default]
    Incapable,
    /// ECT: a router may mark it instead of dropping it.
    Capable,
    /// CE: a router has.
    Congested,
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
    /// ECE (RFC 3168, section 6.1).
    pub ece: bool,
    /// CWR.
    pub cwr: bool,
    /// The ECN field of its packet.
    pub ecn: Ecn,
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
