//! Whether checksums are written behind us: by the NIC, or by the kernel that copies
//! (Linux Documentation/networking/xsk-tx-metadata.rst).

use std::fmt;

use crate::features::Features;
use crate::socket::Mode;

/// Why the checksums of what a socket sends are not written behind us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoTxChecksum {
    /// The driver does not offer it under zero copy.
    Driver,
    /// Whether the driver offers it under zero copy is not known.
    Unknown,
    /// The kernel makes this driver's packets of pages, and forgets the metadata in some versions.
    Pages,
    /// The kernel has no TX metadata, or an early form of it.
    Kernel,
}

impl fmt::Display for NoTxChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoTxChecksum::Driver => "the driver does not offer it under zero copy",
            NoTxChecksum::Unknown => "the kernel does not say whether the driver offers it",
            NoTxChecksum::Pages => "not with this driver in copy mode",
            NoTxChecksum::Kernel => "needs Linux 6.11",
        })
    }
}

/// Whether packets of this mode can have their checksums written. The kernel does it for those that it copies:
/// they are skbs like any other's, and what the NIC cannot do is done before it (`xsk_skb_metadata`,
/// `skb_csum_hwoffload_help`). Under zero copy it is the driver's part, and one that does not know metadata
/// ignores it.
pub fn tx_checksum(mode: Mode, driver: &str, features: &Features) -> Option<NoTxChecksum> {
    match (mode, features.tx_checksum) {
        // The one driver with IFF_TX_SKB_NO_LINEAR (`xsk_build_skb_zerocopy`).
        (Mode::Copy, _) if driver == "virtio_net" => Some(NoTxChecksum::Pages),
        (Mode::Copy, _) | (Mode::ZeroCopy, Some(true)) => None,
        (Mode::ZeroCopy, Some(false)) => Some(NoTxChecksum::Driver),
        (Mode::ZeroCopy, None) => Some(NoTxChecksum::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offering(tx_checksum: Option<bool>) -> Features {
        Features {
            tx_checksum,
            ..Features::default()
        }
    }

    #[test]
    fn under_zero_copy_the_driver_decides() {
        let of = |offer| tx_checksum(Mode::ZeroCopy, "mlx5_core", &offering(offer));
        assert_eq!(of(Some(true)), None);
        assert_eq!(of(Some(false)), Some(NoTxChecksum::Driver));
        assert_eq!(of(None), Some(NoTxChecksum::Unknown));
    }

    #[test]
    fn what_the_kernel_copies_it_completes() {
        for offer in [None, Some(false), Some(true)] {
            assert_eq!(tx_checksum(Mode::Copy, "veth", &offering(offer)), None);
        }
    }

    #[test]
    fn a_driver_whose_packets_are_made_of_pages_gets_whole_checksums() {
        let refused = tx_checksum(Mode::Copy, "virtio_net", &offering(Some(false)));
        assert_eq!(refused, Some(NoTxChecksum::Pages));
    }
}
