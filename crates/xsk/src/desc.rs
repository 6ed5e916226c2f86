//! Descriptors (`struct xdp_desc`), and what may lie in front of a packet that is sent (`struct xsk_tx_metadata`,
//! Linux Documentation/networking/xsk-tx-metadata.rst).

/// A span of UMEM in the RX or the TX ring.
#[repr(C)]
#[derive(Copy, Clone, Default, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Address of the first byte, relative to the UMEM.
    pub addr: u64,
    /// Number of bytes.
    pub len: u32,
    /// `XDP_PKT_CONTD` and `XDP_TX_METADATA`, or 0.
    pub options: u32,
}

impl Desc {
    /// The packet goes on in the next descriptor (`XDP_PKT_CONTD`).
    pub const CONTINUED: u32 = 1;

    /// [`TxMetadata`] lies in front of the packet (`XDP_TX_METADATA`): for its first descriptor only.
    pub const METADATA: u32 = libc::XDP_TX_METADATA;

    /// Whether the packet goes on in the next descriptor.
    pub fn is_continued(&self) -> bool {
        self.options & Self::CONTINUED != 0
    }
}

const _: () = assert!(size_of::<Desc>() == 16);

/// What the kernel or the NIC is to do with a packet: it lies in the bytes in front of the packet's first
/// descriptor, which has [`Desc::METADATA`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxMetadata([u8; TxMetadata::BYTES]);

impl TxMetadata {
    /// Bytes in front of a descriptor: the struct's 24, aligned. Where a socket was opened for metadata, every
    /// descriptor must have so many in its chunk, with metadata or without (`xp_aligned_validate_desc`).
    pub const BYTES: usize = 32;

    /// Has the checksum over everything from `start` to the packet's end written `offset` bytes behind `start`,
    /// where the sum of the pseudo-header lies. `start` is counted from the packet's first byte.
    pub fn checksum(start: u16, offset: u16) -> TxMetadata {
        let mut bytes = [0; TxMetadata::BYTES];
        let flags = u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM);
        bytes[..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..10].copy_from_slice(&start.to_ne_bytes());
        bytes[10..12].copy_from_slice(&offset.to_ne_bytes());
        TxMetadata(bytes)
    }

    /// What is to lie in front of the packet.
    pub fn bytes(&self) -> &[u8; TxMetadata::BYTES] {
        &self.0
    }
}

// tx_metadata_len is a multiple of 8 and at most 256 (`xdp_umem_reg`).
const _: () = assert!(TxMetadata::BYTES.is_multiple_of(8) && TxMetadata::BYTES <= 256);
