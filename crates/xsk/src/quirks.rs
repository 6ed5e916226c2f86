//! What drivers are known to do that one has to know, by driver and kernel version, each with its source.
//!
//! A table to be read, by people and by `ringwire doctor`. What ringwire does about it is decided elsewhere, where the
//! table says.

use std::time::Duration;

/// Something that a driver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quirk {
    /// The driver's name (`ethtool -i`).
    pub driver: &'static str,
    /// The first Linux version without it, if there is one.
    pub fixed: Option<(u32, u32)>,
    /// Whether it concerns sockets without copies only.
    pub zero_copy_only: bool,
    /// Whether it can make ringwire fail or slow, and is not taken care of.
    pub hurts: bool,
    /// What it does.
    pub does: &'static str,
    /// What ringwire does about it, or what can be done.
    pub answer: &'static str,
    /// Who says so.
    pub source: &'static str,
}

/// All that is known.
pub const QUIRKS: &[Quirk] = &[
    Quirk {
        driver: "igb",
        fixed: None,
        zero_copy_only: false,
        hurts: false,
        does: "resets the link for one to two seconds when an XDP program is attached or detached",
        answer: "ringwire attaches once, and waits for the carrier before it sends",
        source: "seen in `make test-zc`; docs/DRIVERS.md",
    },
    Quirk {
        driver: "igb",
        fixed: None,
        zero_copy_only: true,
        hurts: false,
        does: "goes on in the next chunk, as if it were another frame, where a frame exceeds a chunk's buffer",
        answer: "ringwire does not ask for zero copy where the MTU does not fit (line `mode`)",
        source: "`igb_setup_srrctl`: the buffer is of whole KiB; seen in `make test-zc`",
    },
    Quirk {
        driver: "igb",
        fixed: None,
        zero_copy_only: true,
        hurts: false,
        does: "takes one descriptor a packet without copies",
        answer: "payloads are sent in place from slots: docs/ZERO_COPY.md",
        source: "netdev netlink, `xdp-zc-max-segs`; docs/DRIVERS.md",
    },
    Quirk {
        driver: "igb",
        fixed: None,
        zero_copy_only: false,
        hurts: false,
        does: "in QEMU, loses what is queued beyond the hardware's ring, without a counter",
        answer: "ringwire keeps a window of descriptors in flight",
        source: "seen in `make test-zc`; docs/DRIVERS.md",
    },
    Quirk {
        driver: "virtio_net",
        fixed: None,
        zero_copy_only: true,
        hurts: false,
        does: "takes one descriptor a packet without copies",
        answer: "payloads are sent in place from slots: docs/ZERO_COPY.md",
        source: "netdev netlink, `xdp-zc-max-segs`; docs/DRIVERS.md",
    },
    Quirk {
        driver: "ice",
        fixed: Some((6, 11)),
        zero_copy_only: true,
        hurts: true,
        does: "can reset, and then crash, when a socket without copies is opened or closed under load",
        answer: "use Linux 6.10.4, 6.11 or later, or `BindMode::Copy`",
        source: "github.com/intel/ethernet-linux-ice/issues/61; commits 99099c6bc75a, 405d9999aa0b, 9da75a511c55",
    },
    Quirk {
        driver: "ixgbe",
        fixed: None,
        zero_copy_only: false,
        hurts: false,
        does: "hangs in transmission with a program in the driver if it has more channels than queues for XDP",
        answer: "keep channels and CPUs together below its queues: `ethtool -L IFACE combined N`",
        source: "github.com/facebookincubator/katran/issues/20",
    },
    Quirk {
        driver: "ena",
        fixed: None,
        zero_copy_only: true,
        hurts: false,
        does: "was slower without copies than with in some versions",
        answer: "measure, and compare with `BindMode::Copy`",
        source: "github.com/amzn/amzn-drivers/issues/221",
    },
];

/// The quirks of a driver on a kernel; all that were ever there if its version is not known.
pub fn quirks(driver: &str, version: Option<(u32, u32)>) -> impl Iterator<Item = &'static Quirk> {
    QUIRKS.iter().filter(move |quirk| {
        quirk.driver == driver
            && match (quirk.fixed, version) {
                (Some(fixed), Some(version)) => version < fixed,
                _ => true,
            }
    })
}

/// How long the kernel waits for a driver's TX queue to move before it resets the NIC (`watchdog_timeo`): five seconds
/// unless the driver says otherwise.
pub fn transmit_timeout(driver: &str) -> Duration {
    match driver {
        // `mlx5e_build_nic_netdev` (drivers/net/ethernet/mellanox/mlx5/core/en_main.c).
        "mlx5_core" => Duration::from_secs(15),
        // `dev_watchdog_up` (net/sched/sch_generic.c).
        _ => Duration::from_secs(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quirk_is_its_drivers_until_it_is_fixed() {
        let of = |driver, version| quirks(driver, version).filter(|quirk| quirk.hurts).count();
        assert_eq!(of("ice", Some((6, 9))), 1);
        assert_eq!(of("ice", Some((6, 11))), 0);
        assert_eq!(of("ice", None), 1);
        assert_eq!(of("e1000e", None), 0);
    }

    #[test]
    fn each_has_its_source() {
        assert!(QUIRKS.iter().all(|quirk| !quirk.source.is_empty()));
    }
}
