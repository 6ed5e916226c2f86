//! What the probe sends, and what answers it.
//!
//! It asks as a host does that looks whether an address is free (RFC 5227, section 2.1.1): with no address of its own,
//! so that nobody's tables change, and the answer is for nobody's address, which the kernel does not wait for.

use std::net::Ipv4Addr;

/// Bytes of an Ethernet frame without its checksum, at least.
const LEAST_FRAME: usize = 60;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// For experiments within a network (IEEE 802).
const ETHERTYPE_EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];
/// Ethernet and IPv4 addresses, of 6 and 4 bytes.
const ARP_KINDS: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];

/// A question to all: who has this address?
pub(super) fn question(mac: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let unspecified = Ipv4Addr::UNSPECIFIED.octets();
    let mut frame = [[0xff; 6], mac].concat();
    frame.extend(ETHERTYPE_ARP);
    frame.extend(ARP_KINDS);
    frame.extend(REQUEST);
    frame.extend(mac);
    frame.extend(unspecified);
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame.resize(LEAST_FRAME, 0);
    frame
}

/// A frame for nobody: to ourselves, which a switch keeps from everybody.
pub(super) fn blank(mac: [u8; 6]) -> Vec<u8> {
    let mut frame = [mac, mac].concat();
    frame.extend(ETHERTYPE_EXPERIMENTAL);
    frame.resize(LEAST_FRAME, 0);
    frame
}

/// Whether a frame is the answer of an address's owner to us.
pub(super) fn is_answer(frame: &[u8], mac: [u8; 6], target: Ipv4Addr) -> bool {
    let Some(arp) = frame.get(14..42) else {
        return false;
    };
    frame[12..14] == ETHERTYPE_ARP
        && arp[..6] == ARP_KINDS
        && arp[6..8] == REPLY
        && arp[14..18] == target.octets()
        && arp[18..24] == mac
        && arp[24..28] == Ipv4Addr::UNSPECIFIED.octets()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    /// As Linux answers (net/ipv4/arp.c `arp_process`): to the asker's Ethernet address, and no IP address.
    fn answer() -> Vec<u8> {
        let theirs = [2, 0, 0, 0, 0, 9];
        let mut frame = [MAC, theirs].concat();
        frame.extend(ETHERTYPE_ARP);
        frame.extend(ARP_KINDS);
        frame.extend(REPLY);
        frame.extend(theirs);
        frame.extend(TARGET.octets());
        frame.extend(MAC);
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn the_question_is_to_all_and_names_no_address_of_its_own() {
        let frame = question(MAC, TARGET);
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[28..32], [0; 4]);
        assert_eq!(frame[38..42], TARGET.octets());
        assert!(!is_answer(&frame, MAC, TARGET));
    }

    #[test]
    fn only_the_owners_answer_to_us_is_one() {
        assert!(is_answer(&answer(), MAC, TARGET));
        assert!(!is_answer(&answer(), MAC, Ipv4Addr::new(10, 0, 0, 8)));
        assert!(!is_answer(&answer(), [2, 0, 0, 0, 0, 3], TARGET));
        for byte in [12, 14, 21, 28, 38] {
            let mut wrong = answer();
            wrong[byte] ^= 0x10;
            assert!(!is_answer(&wrong, MAC, TARGET), "{byte}");
        }
        for len in 0..answer().len() {
            assert!(!is_answer(&answer()[..len], MAC, TARGET), "{len}");
        }
    }

    #[test]
    fn a_frame_for_nobody_goes_to_ourselves() {
        let frame = blank(MAC);
        assert_eq!((&frame[..6], frame.len()), (&MAC[..], 60));
    }
}
