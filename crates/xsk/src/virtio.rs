//! What a virtio-net device and its driver have agreed on, as sysfs shows it: it decides what virtio_net grants.

use std::fs;

use crate::interface::Driver;

/// `VIRTIO_NET_F_CTRL_GUEST_OFFLOADS`.
const CTRL_GUEST_OFFLOADS: u32 = 2;
/// `VIRTIO_NET_F_GUEST_CSUM`, `_GUEST_TSO4`, `_GUEST_TSO6`, `_GUEST_ECN`, `_GUEST_UFO`, `_GUEST_USO4`, `_GUEST_USO6`.
const GUEST_OFFLOADS: [u32; 7] = [1, 7, 8, 9, 10, 54, 55];
/// `VIRTIO_F_ACCESS_PLATFORM`.
const ACCESS_PLATFORM: u32 = 33;

/// A virtio device's features, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioFeatures(pub u64);

impl VirtioFeatures {
    /// Those of a driver's device, if it is a virtio device on PCI. sysfs has buses for all network namespaces.
    pub fn of(driver: &Driver) -> Option<VirtioFeatures> {
        if driver.name != "virtio_net" || driver.bus.is_empty() || driver.bus.contains('/') {
            return None;
        }
        let device = fs::read_dir(format!("/sys/bus/pci/devices/{}", driver.bus)).ok()?;
        let virtio = device
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_string_lossy().starts_with("virtio"))?;
        let features = fs::read_to_string(virtio.path().join("features")).ok()?;
        VirtioFeatures::parse(&features)
    }

    /// A digit for each bit, the lowest first (drivers/virtio/virtio.c `features_show`).
    fn parse(digits: &str) -> Option<VirtioFeatures> {
        let mut features = 0;
        for (bit, digit) in digits.trim_end().chars().take(64).enumerate() {
            match digit {
                '0' => {}
                '1' => features |= 1 << bit,
                _ => return None,
            }
        }
        Some(VirtioFeatures(features))
    }

    fn has(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }

    /// Whether the device merges packets or leaves checksums unwritten, and cannot be told to stop: virtio_net then
    /// refuses XDP programs (`virtnet_xdp_set`).
    pub fn forces_offloads(self) -> bool {
        let offloads = GUEST_OFFLOADS.iter().any(|bit| self.has(*bit));
        offloads && !self.has(CTRL_GUEST_OFFLOADS)
    }

    /// Whether the device takes DMA addresses, without which virtio_net has no zero copy (`virtnet_xsk_pool_enable`).
    pub fn takes_dma_addresses(self) -> bool {
        self.has(ACCESS_PLATFORM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bits: &[u32]) -> VirtioFeatures {
        VirtioFeatures(bits.iter().fold(0, |all, bit| all | 1 << bit))
    }

    #[test]
    fn the_lowest_bit_comes_first() {
        let features = VirtioFeatures::parse("0100000100\n").expect("digits");
        assert_eq!(features, of(&[1, 7]));
        assert_eq!(VirtioFeatures::parse("01x"), None);
        let all = "1".repeat(128);
        assert_eq!(VirtioFeatures::parse(&all), Some(VirtioFeatures(u64::MAX)));
    }

    #[test]
    fn offloads_are_forced_only_by_a_device_without_their_control() {
        assert!(of(&[GUEST_OFFLOADS[0]]).forces_offloads());
        assert!(!of(&[GUEST_OFFLOADS[0], CTRL_GUEST_OFFLOADS]).forces_offloads());
        assert!(!of(&[0, 5, 32]).forces_offloads());
    }

    #[test]
    fn another_drivers_device_is_none() {
        let driver = Driver {
            name: "igb".to_owned(),
            bus: "0000:00:00.0".to_owned(),
            ..Driver::default()
        };
        assert_eq!(VirtioFeatures::of(&driver), None);
    }
}
