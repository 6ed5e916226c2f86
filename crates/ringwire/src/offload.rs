//! Checksums of what is sent: whose part they are.

use ringwire_stack::{ChecksumPlace, METADATA_BYTES};
use ringwire_xsk::TxMetadata;

/// Who writes the UDP and TCP checksums of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// ringwire does, over what it has just copied, or over the application's memory where it lies.
    #[default]
    Software,
    /// The NIC does under zero copy, if its driver offers that, and in copy mode the kernel or the NIC
    /// (Linux 6.11, not with virtio_net). What cannot have it has software checksums, and
    /// [`Report::tx_checksum_refused`](crate::Report::tx_checksum_refused) says why.
    ///
    /// The far end must be a wire or a kernel. On veth and its like nobody writes the checksum: another
    /// kernel does not look, but an XDP program or an AF_XDP socket sees the sum of the pseudo-header alone
    /// ([`RxChecksum::AcceptPartial`](crate::RxChecksum::AcceptPartial)).
    ///
    /// Each descriptor then needs 32 bytes in front of it in its chunk of 4096. Slots have them; in a
    /// [registered area](crate::Builder::registered_area) a packet whose payload has a byte at the beginning
    /// of a chunk is copied, and counted as such (`tx_copied_headroom`).
    Offload,
}

/// What the stack writes in front of a packet.
fn metadata(place: ChecksumPlace) -> [u8; METADATA_BYTES] {
    *TxMetadata::checksum(place.start, place.field).bytes()
}

// The stack leaves as much room as the port reads.
const _: () = assert!(METADATA_BYTES == TxMetadata::BYTES);

impl TxChecksum {
    /// The same for the stack.
    pub(crate) fn policy(self) -> ringwire_stack::TxChecksum {
        match self {
            TxChecksum::Software => ringwire_stack::TxChecksum::Compute,
            TxChecksum::Offload => ringwire_stack::TxChecksum::Offload(metadata),
        }
    }

    /// Bytes that it takes in front of each descriptor.
    pub(crate) fn headroom(self) -> u32 {
        match self {
            TxChecksum::Software => 0,
            TxChecksum::Offload => METADATA_BYTES as u32,
        }
    }
}
