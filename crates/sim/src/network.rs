//! The wire between the engine and its peer, with its faults.

use std::collections::BTreeMap;

use crate::Faults;
use crate::random::Random;

/// Whether one flipped bit in a packet is sure to be noticed. Not in ARP, which has no checksum; and
/// not in a fragment, since flips in two fragments of a datagram can make up for each other.
fn is_protected(packet: &[u8]) -> bool {
    match packet {
        [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            8,
            0,
            _,
            _,
            _,
            _,
            _,
            _,
            high,
            low,
            ..,
        ] => high & 0x3f == 0 && *low == 0,
        [
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            0x86,
            0xdd,
            _,
            _,
            _,
            _,
            _,
            _,
            next_header,
            ..,
        ] => *next_header != 44,
        _ => false,
    }
}

/// One direction of the wire: packets by the time of their arrival.
#[derive(Default)]
pub(crate) struct Wire {
    packets: BTreeMap<(u64, u64), Vec<u8>>,
    serial: u64,
    pub(crate) faults_done: u64,
}

impl Wire {
    /// Sends a packet, which may be lost, doubled, delayed past others, or corrupted.
    pub(crate) fn send(&mut self, now: u64, packet: Vec<u8>, faults: &Faults, random: &mut Random) {
        if random.chance(faults.loss) {
            self.faults_done += 1;
            return;
        }
        if random.chance(faults.duplication) {
            self.faults_done += 1;
            self.put(now, packet.clone(), faults, random);
        }
        self.put(now, packet, faults, random);
    }

    fn put(&mut self, now: u64, mut packet: Vec<u8>, faults: &Faults, random: &mut Random) {
        let mut at = now + 10_000;
        if random.chance(faults.reordering) {
            self.faults_done += 1;
            at += random.below(5_000_000);
        }
        if is_protected(&packet) && random.chance(faults.corruption) {
            self.faults_done += 1;
            let bit = random.below(packet.len() as u64 * 8) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        self.serial += 1;
        self.packets.insert((at, self.serial), packet);
    }

    /// The next packet that has arrived.
    pub(crate) fn arrived(&mut self, now: u64) -> Option<Vec<u8>> {
        let entry = self.packets.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
