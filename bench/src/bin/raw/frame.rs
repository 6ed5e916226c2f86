//! Ethernet frames with UDP over IPv4 without options.

use std::net::SocketAddrV4;

/// Ethernet, IPv4 and UDP.
pub const HEADER_BYTES: usize = 14 + 20 + 8;
const UDP: usize = 34;

/// Where a datagram comes from, or goes to.
#[derive(Clone, Copy)]
pub struct End {
    pub mac: [u8; 6],
    pub address: SocketAddrV4,
}

fn is_udp(frame: &[u8]) -> bool {
    frame.len() >= HEADER_BYTES && frame[12..15] == [8, 0, 0x45] && frame[23] == 17
}

/// Exchanges source and destination; the checksums stay right.
pub fn exchange(frame: &mut [u8]) -> bool {
    let udp = is_udp(frame);
    if udp {
        for (one, other, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            let (left, right) = frame.split_at_mut(other);
            left[one..one + len].swap_with_slice(&mut right[..len]);
        }
    }
    udp
}

/// Verifies the UDP checksum, and writes it anew; `false` if it was wrong.
pub fn sum_again(frame: &mut [u8]) -> bool {
    let len = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
    let Some(datagram) = frame.get(UDP..UDP + len) else {
        return false;
    };
    if fold(pseudo_header(frame) + sum(datagram)) != 0xffff {
        return false;
    }
    write_checksum(&mut frame[..UDP + len]);
    true
}

/// The payload of a datagram that comes from where one with these headers went, and goes to where that came from.
pub fn answer<'a>(frame: &'a [u8], sent: &[u8]) -> Option<&'a [u8]> {
    let back = is_udp(frame)
        && [(26, 30, 4), (30, 26, 4), (34, 36, 2), (36, 34, 2)]
            .iter()
            .all(|&(here, there, len)| frame[here..here + len] == sent[there..there + len]);
    let len = back.then(|| usize::from(u16::from_be_bytes([frame[38], frame[39]])));
    frame.get(HEADER_BYTES..UDP + len?)
}

/// The headers of a datagram of so many bytes, without the checksum of UDP.
pub fn headers(from: End, to: End, bytes: usize) -> [u8; HEADER_BYTES] {
    let mut frame = [0; HEADER_BYTES];
    frame[..6].copy_from_slice(&to.mac);
    frame[6..12].copy_from_slice(&from.mac);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17]);
    frame[16..18].copy_from_slice(&(28 + bytes as u16).to_be_bytes());
    frame[26..30].copy_from_slice(&from.address.ip().octets());
    frame[30..34].copy_from_slice(&to.address.ip().octets());
    let checksum = !fold(sum(&frame[14..34]));
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame[34..36].copy_from_slice(&from.address.port().to_be_bytes());
    frame[36..38].copy_from_slice(&to.address.port().to_be_bytes());
    frame[38..40].copy_from_slice(&(8 + bytes as u16).to_be_bytes());
    frame
}

/// Writes the UDP checksum of a frame (RFC 768).
pub fn write_checksum(frame: &mut [u8]) {
    frame[40..42].fill(0);
    set_checksum(frame, pseudo_header(frame) + sum(&frame[UDP..]));
}

/// Makes the UDP checksum of a frame right again, in which there are now these bytes, from an even place on, where
/// zeros were (RFC 1624).
pub fn add_to_checksum(frame: &mut [u8], bytes: &[u8]) {
    let before = !u16::from_be_bytes([frame[40], frame[41]]);
    set_checksum(frame, u64::from(before) + sum(bytes));
}

/// Zero would say that there is none.
fn set_checksum(frame: &mut [u8], sum: u64) {
    let checksum = match !fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    frame[40..42].copy_from_slice(&checksum.to_be_bytes());
}

/// Addresses, protocol and length.
fn pseudo_header(frame: &[u8]) -> u64 {
    sum(&frame[26..34]) + 17 + sum(&frame[38..40])
}

/// The sum of 16-bit words, an odd byte padded with zero (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u64 = words
        .iter()
        .map(|&word| u64::from(u16::from_be_bytes(word)))
        .sum();
    whole + rest.first().map_or(0, |&byte| u64::from(byte) << 8)
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
