//! What an interface offers to XDP and AF_XDP, as the kernel's generic netlink family `netdev` tells it
//! (Linux 6.3; include/uapi/linux/netdev.h, net/core/netdev-genl.c `netdev_nl_dev_fill`).

use crate::netlink::{Attributes, Netlink, Silence, attribute, u32_of, u64_of};

/// `NETDEV_CMD_DEV_GET`.
const DEV_GET: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`, `NETDEV_A_DEV_XDP_ZC_MAX_SEGS`,
/// `NETDEV_A_DEV_XSK_FEATURES`.
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;
const DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const DEV_XSK_FEATURES: u16 = 6;
/// `NETDEV_XDP_ACT_BASIC` and `NETDEV_XDP_ACT_REDIRECT`.
const ACT_NATIVE: u64 = 1 | 2;
/// `NETDEV_XDP_ACT_XSK_ZEROCOPY`.
const ACT_XSK_ZEROCOPY: u64 = 8;
/// `NETDEV_XDP_ACT_RX_SG`.
const ACT_RX_SG: u64 = 32;
/// `NETDEV_XSK_FLAGS_TX_CHECKSUM`.
const XSK_TX_CHECKSUM: u64 = 2;

/// What the kernel says that an interface offers. A kernel that does not tell is no error: what is not known
/// is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// Whether a program that redirects runs in the driver (Linux 6.3).
    pub native: Option<bool>,
    /// Whether that program is given packets that span several buffers (Linux 6.3).
    pub native_scatter: Option<bool>,
    /// Whether the driver can do AF_XDP without copies (Linux 6.3).
    pub zero_copy: Option<bool>,
    /// Descriptors that one packet may have without copies (Linux 6.6); not told by a driver that cannot do
    /// without.
    pub zero_copy_segments: Option<u32>,
    /// Whether the NIC writes the checksums of packets sent without copies (Linux 6.8). Of packets that the
    /// kernel copies it writes them itself, or has the NIC do it, whatever is said here.
    pub tx_checksum: Option<bool>,
    /// Why the kernel told nothing.
    pub unknown: Option<String>,
}

impl Features {
    /// Asks about an interface of the calling thread's network namespace.
    pub(crate) fn of(ifindex: u32) -> Features {
        ask(ifindex).unwrap_or_else(|silence| Features {
            unknown: Some(match silence {
                Silence::NoFamily => "needs Linux 6.3".to_owned(),
                other => other.to_string(),
            }),
            ..Features::default()
        })
    }

    /// Reads the attributes of an answer.
    fn read(attributes: &[u8]) -> Option<Features> {
        let mut features = Features::default();
        for attribute in Attributes(attributes) {
            let (kind, value) = attribute?;
            match kind {
                DEV_XDP_FEATURES => {
                    let offered = u64_of(value)?;
                    features.native = Some(offered & ACT_NATIVE == ACT_NATIVE);
                    features.native_scatter = Some(offered & ACT_RX_SG != 0);
                    features.zero_copy = Some(offered & ACT_XSK_ZEROCOPY != 0);
                }
                DEV_XDP_ZC_MAX_SEGS => {
                    // A packet has one descriptor at least.
                    features.zero_copy_segments = Some(u32_of(value)?.max(1));
                }
                DEV_XSK_FEATURES => {
                    features.tx_checksum = Some(u64_of(value)? & XSK_TX_CHECKSUM != 0);
                }
                _ => {}
            }
        }
        Some(features)
    }
}

fn ask(ifindex: u32) -> Result<Features, Silence> {
    let netlink = Netlink::open(libc::NETLINK_GENERIC)?;
    let family = netlink.family("netdev")?;
    let device = attribute(DEV_IFINDEX, &ifindex.to_ne_bytes());
    let answer = netlink.ask_generic(family, DEV_GET, &device)?;
    Features::read(&answer).ok_or(Silence::Malformed)
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
