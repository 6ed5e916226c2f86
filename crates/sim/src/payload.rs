//! Datagrams that say themselves what they must hold.

use crate::random::Random;

const MAGIC: u32 = 0x7269_6e67;
/// Of a datagram whose sender writes over it while it is sent: all but the header may be anything.
const SPOILED: u32 = !MAGIC;
/// Magic, serial number, length.
pub(crate) const HEADER: usize = 16;

/// A datagram of `len` bytes (at least [`HEADER`]), told from every other by its serial number.
pub(crate) fn make(serial: u64, len: usize) -> Vec<u8> {
    let len = len.max(HEADER);
    let mut bytes = Vec::with_capacity(len);
    bytes.extend_from_slice(&MAGIC.to_be_bytes());
    bytes.extend_from_slice(&serial.to_be_bytes());
    bytes.extend_from_slice(&(len as u32).to_be_bytes());
    let mut pattern = Random::new(serial);
    bytes.extend((HEADER..len).map(|_| pattern.next() as u8));
    bytes
}

/// Says of a datagram that it may be spoiled.
pub(crate) fn mark_spoiled(bytes: &mut [u8]) {
    bytes[..4].copy_from_slice(&SPOILED.to_be_bytes());
}

/// The serial number of a datagram that is what was made; what is wrong with any other.
pub(crate) fn check(bytes: &[u8]) -> Result<u64, String> {
    let serial = bytes
        .get(4..12)
        .map(|serial| u64::from_be_bytes(serial.try_into().expect("eight bytes")))
        .ok_or_else(|| format!("{} bytes are no datagram of ours", bytes.len()))?;
    let is_header = |magic: u32| {
        let header = bytes.get(..HEADER);
        header.is_some_and(|it| {
            it[..4] == magic.to_be_bytes() && it[12..] == (bytes.len() as u32).to_be_bytes()
        })
    };
    if is_header(SPOILED) || make(serial, bytes.len()) == bytes {
        Ok(serial)
    } else {
        Err(format!("datagram {serial} was altered"))
    }
}
