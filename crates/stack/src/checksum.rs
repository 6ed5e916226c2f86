//! The Internet checksum (RFC 1071), over pieces of any length.

use std::net::IpAddr;

/// A running ones-complement sum over a sequence of byte slices.
///
/// The pieces are summed as if they were one: a piece of odd length is right, wherever it stands.
/// (`smoltcp::wire::checksum::combine` is right only where every earlier piece is even.)
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    /// Sum of the pieces' 16-bit sums, in memory order (RFC 1071, section 2(B)).
    sum: u64,
    /// An odd number of bytes was added: the next one is the low byte of a word.
    odd: bool,
}

impl Checksum {
    /// The sum of nothing.
    pub const fn new() -> Checksum {
        Checksum { sum: 0, odd: false }
    }

    /// The sum of `len` bytes whose [`fold`](Checksum::fold) is known.
    pub const fn resumed(fold: u16, len: u32) -> Checksum {
        Checksum {
            sum: fold.to_be() as u64,
            odd: len % 2 == 1,
        }
    }

    /// The sum of bytes whose 32-bit words, read in memory order, add up to this.
    #[inline]
    pub fn of_words(sum: u64) -> Checksum {
        Checksum {
            sum: u64::from(fold(sum)),
            odd: false,
        }
    }

    /// The sum of a pseudo-header: IPv4's (RFC 768; RFC 9293, section 3.1) and IPv6's (RFC 8200,
    /// section 8.1), which sum alike. `len` is the length in bytes of the upper-layer packet, its
    /// header included; `proto` is the upper-layer protocol.
    pub fn pseudo(src: IpAddr, dst: IpAddr, proto: u8, len: u32) -> Checksum {
        let mut checksum = Checksum::new();
        for address in [src, dst] {
            match address {
                IpAddr::V4(v4) => checksum.add(&v4.octets()),
                IpAddr::V6(v6) => checksum.add(&v6.octets()),
            }
        }
        checksum.add_u16(proto.into());
        checksum.add(&len.to_be_bytes());
        checksum
    }

    /// Adds the next bytes.
    #[inline]
    pub fn add(&mut self, bytes: &[u8]) {
        self.add_folded(fold(sum_words(bytes)));
        self.odd ^= bytes.len() % 2 == 1;
    }

    /// Adds the next two bytes, given as a number.
    #[inline]
    pub fn add_u16(&mut self, value: u16) {
        self.add_folded(value.to_be());
    }

    fn add_folded(&mut self, piece: u16) {
        // A piece at an odd offset has all its bytes in the other half of the word.
        let piece = if self.odd { piece.swap_bytes() } else { piece };
        // A u64 takes 2^48 such additions without a carry out of it.
        self.sum += u64::from(piece);
    }

    /// The ones-complement sum, not inverted: what a device that completes the checksum expects in
    /// the field, and `0xffff` over a packet whose checksum is right.
    pub fn fold(self) -> u16 {
        u16::from_be(fold(self.sum))
    }

    /// The checksum: the sum, inverted. (UDP sends `0xffff` where this is 0, RFC 768.)
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The ones-complement sum of `bytes` as words in memory order, an odd last byte padded with zero.
fn sum_words(bytes: &[u8]) -> u64 {
    // Four sums, because one would make each addition wait for the one before.
    let mut lanes = [0u64; 4];
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = add_carry(*lane, word_at(word));
        }
    }
    let mut words = blocks.remainder().chunks_exact(8);
    let mut sum = (&mut words).map(word_at).fold(0, add_carry);
    let mut tail = words.remainder();
    if let Some((four, rest)) = tail.split_first_chunk() {
        sum = add_carry(sum, u64::from(u32::from_ne_bytes(*four)));
        tail = rest;
    }
    if let Some((two, rest)) = tail.split_first_chunk() {
        sum = add_carry(sum, u64::from(u16::from_ne_bytes(*two)));
        tail = rest;
    }
    if let Some(&last) = tail.first() {
        sum = add_carry(sum, u64::from(u16::from_ne_bytes([last, 0])));
    }
    lanes.into_iter().fold(sum, add_carry)
}

fn word_at(eight: &[u8]) -> u64 {
    u64::from_ne_bytes(eight.try_into().expect("a piece of chunks_exact(8)"))
}

/// Ones-complement addition: the carry goes around the end.
fn add_carry(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// The sum of the four 16-bit words of `sum`, with end-around carry.
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{IpProtocol, checksum as wire};

    /// xorshift64*: enough randomness for a test.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() >> 33) as usize % end
        }

        fn bytes(&mut self, len: usize) -> Vec<u8> {
            (0..len).map(|_| (self.next() >> 56) as u8).collect()
        }
    }

    fn sum_of(bytes: &[u8]) -> u16 {
        let mut checksum = Checksum::new();
        checksum.add(bytes);
        checksum.fold()
    }

    #[test]
    fn the_example_of_the_rfc() {
        // RFC 1071, section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum_of(&bytes), 0xddf2);
        let mut checksum = Checksum::new();
        checksum.add(&bytes);
        assert_eq!(checksum.finish(), !0xddf2);
    }

    #[test]
    fn every_length_agrees_with_smoltcp() {
        let mut random = Random(1);
        for len in 0..300 {
            let bytes = random.bytes(len);
            assert_eq!(sum_of(&bytes), wire::data(&bytes), "{len} bytes");
        }
    }

    #[test]
    fn any_split_gives_the_same_sum() {
        let mut random = Random(2);
        for _ in 0..2000 {
            let len = random.below(200);
            let bytes = random.bytes(len);
            let mut checksum = Checksum::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.below(rest.len() + 1));
                checksum.add(piece);
                rest = after;
            }
            assert_eq!(checksum.fold(), wire::data(&bytes));
        }
    }

    #[test]
    fn a_sum_goes_on_from_its_fold() {
        let bytes = Random(4).bytes(101);
        for split in 0..bytes.len() {
            let mut whole = Checksum::resumed(sum_of(&bytes[..split]), split as u32);
            whole.add(&bytes[split..]);
            assert_eq!(whole.fold(), sum_of(&bytes), "from {split}");
        }
    }

    #[test]
    fn a_number_is_its_two_bytes_at_even_and_odd_offsets() {
        for before in [&[][..], &[0x5a], &[1, 2], &[1, 2, 3]] {
            let mut by_number = Checksum::new();
            by_number.add(before);
            let mut by_bytes = by_number;
            by_number.add_u16(0xabcd);
            by_bytes.add(&[0xab, 0xcd]);
            assert_eq!(by_number.fold(), by_bytes.fold());
        }
    }

    #[test]
    fn all_ones_carry_around_in_every_lane() {
        for len in [31, 32, 33, 64, 1500, 65535] {
            let bytes = vec![0xff; len];
            assert_eq!(sum_of(&bytes), wire::data(&bytes), "{len} bytes");
        }
    }

    #[test]
    fn pseudo_headers_agree_with_smoltcp() {
        let pairs: [(IpAddr, IpAddr); 2] = [
            ([10, 0, 0, 1].into(), [192, 168, 255, 254].into()),
            (
                "fd00::1".parse().unwrap(),
                "2001:db8:ffff:eeee::dddd".parse().unwrap(),
            ),
        ];
        for (src, dst) in pairs {
            let expected = wire::pseudo_header(&src.into(), &dst.into(), IpProtocol::Udp, 1407);
            assert_eq!(Checksum::pseudo(src, dst, 17, 1407).fold(), expected);
        }
    }

    #[test]
    fn a_length_over_16_bits_counts_in_full() {
        let any = IpAddr::from([0; 16]);
        assert_eq!(Checksum::pseudo(any, any, 0, 0x0001_0002).fold(), 3);
    }

    #[test]
    fn a_right_packet_sums_to_ones() {
        let mut random = Random(3);
        let mut packet = random.bytes(1001);
        packet[6..8].fill(0);
        let mut checksum = Checksum::pseudo([1, 2, 3, 4].into(), [5, 6, 7, 8].into(), 17, 1001);
        let pseudo = checksum;
        checksum.add(&packet);
        packet[6..8].copy_from_slice(&checksum.finish().to_be_bytes());
        let mut check = pseudo;
        check.add(&packet);
        assert_eq!(check.fold(), 0xffff);
    }
}
