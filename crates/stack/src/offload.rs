//! Checksums that are written behind us: what a packet asks for in the bytes in front of it.

/// Bytes in front of each descriptor that belong to the port where checksums are written behind us.
pub const METADATA_BYTES: usize = 32;

/// Where the checksum of a datagram or segment is to be written, which lies in an unfragmented packet: it begins
/// so many bytes behind the packet's first, and its checksum field so many behind that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumPlace {
    /// Where what is summed begins. It ends with the packet.
    pub start: u16,
    /// Where its field is, counted from `start`.
    pub field: u16,
}

/// Writes what a port reads in front of a packet.
pub type Metadata = fn(ChecksumPlace) -> [u8; METADATA_BYTES];

/// What to do about the checksum of a datagram or TCP segment that is sent.
#[derive(Clone, Copy, Debug, Default)]
pub enum TxChecksum {
    /// Write it.
    #[default]
    Compute,
    /// Have it written behind us: the field has the sum of the pseudo-header, and what stands in front of the
    /// packet says where. Of fragments it is written all the same. [`PlanLimits::headroom`] is
    /// [`METADATA_BYTES`] then.
    ///
    /// [`PlanLimits::headroom`]: crate::PlanLimits::headroom
    Offload(Metadata),
    /// Leave the field zero: what carries the packets keeps them whole by other means and the receiver
    /// does not look ([`RxChecksum::Trust`](crate::RxChecksum::Trust)), as between two stacks in one memory.
    /// Never right on a network: a receiver that looks takes a UDP datagram over IPv4 for one without a
    /// checksum, and drops everything else. The IPv4 header's own checksum is written all the same.
    Omit,
}

impl TxChecksum {
    /// Whether payloads that are in one packet are summed.
    #[inline]
    pub(crate) fn computes(self) -> bool {
        matches!(self, TxChecksum::Compute)
    }

    /// Whether nothing is ever summed.
    #[inline]
    pub(crate) fn omits(self) -> bool {
        matches!(self, TxChecksum::Omit)
    }

    /// Whether it is asked for in front of packets that are not fragments.
    #[inline]
    pub(crate) fn is_offloaded(self) -> bool {
        matches!(self, TxChecksum::Offload(_))
    }

    /// Asks for a checksum in the last of the bytes in front of a packet; says whether it did.
    #[inline]
    pub(crate) fn ask(self, front: &mut [u8], start: usize, field: u16) -> bool {
        let TxChecksum::Offload(metadata) = self else {
            return false;
        };
        let at = front.len() - METADATA_BYTES;
        let start = start as u16;
        front[at..].copy_from_slice(&metadata(ChecksumPlace { start, field }));
        true
    }
}

/// What stands in a descriptor beside its address and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxFlags {
    /// The packet goes on in the next descriptor.
    pub more: bool,
    /// The port is asked for something in the bytes in front of it ([`TxChecksum::Offload`]).
    pub metadata: bool,
}
