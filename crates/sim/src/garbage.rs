//! Noise.

use std::net::IpAddr;

use crate::config::Address;
use crate::random::Random;

/// A frame that no honest host sends: noise, or a cut-off header.
pub(crate) fn garbage(random: &mut Random, to: &Address) -> Vec<u8> {
    let len = 14 + random.below(200) as usize;
    let mut frame: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
    frame[..6].copy_from_slice(&to.mac);
    let ethertypes = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]];
    frame[12..14].copy_from_slice(&ethertypes[random.below(4) as usize]);
    match (&frame[12..14], to.v4) {
        ([8, 0], IpAddr::V4(v4)) if len > 34 => {
            frame[14] = 0x45;
            frame[30..34].copy_from_slice(&v4.octets());
        }
        ([0x86, 0xdd], _) if len > 54 => frame[14] = 0x60,
        _ => {}
    }
    frame
}
