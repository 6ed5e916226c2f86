//! Descriptors (`struct xdp_desc`).

/// A span of UMEM in the RX or the TX ring.
#[repr(C)]
#[derive(Copy, Clone, Default, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Address of the first byte, relative to the UMEM.
    pub addr: u64,
    /// Number of bytes.
    pub len: u32,
    /// `XDP_PKT_CONTD`, or 0.
    pub options: u32,
}

impl Desc {
    /// The packet goes on in the next descriptor (`XDP_PKT_CONTD`).
    pub const CONTINUED: u32 = 1;

    /// Whether the packet goes on in the next descriptor.
    pub fn is_continued(&self) -> bool {
        self.options & Self::CONTINUED != 0
    }
}

const _: () = assert!(size_of::<Desc>() == 16);
