use super::*;

/// A 20-byte header, then the message with its checksum.
fn packet(message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let checksum = !sum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    [vec![0x45], vec![0; 19], message].concat()
}

#[test]
fn the_sum_is_that_of_rfc_1071() {
    // Its section 3.
    assert_eq!(
        sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
        0xddf2
    );
    assert_eq!(sum(&[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
    assert_eq!(sum(&[0xff; 65_535]), 0xff00);
}

#[test]
fn the_message_follows_a_header_of_any_length() {
    let whole = packet(&[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 7, 9]);
    assert_eq!(icmp_of(&whole), Some(20..31));
    let mut options = whole.clone();
    options[0] = 0x47;
    options.splice(20..20, [1; 8]);
    assert_eq!(icmp_of(&options), Some(28..39));
}

#[test]
fn a_wrong_checksum_is_no_message() {
    let whole = packet(&[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 7, 9]);
    for at in 20..whole.len() {
        let mut wrong = whole.clone();
        wrong[at] ^= 1;
        assert_eq!(icmp_of(&wrong), None, "byte {at}");
    }
}

#[test]
fn a_packet_cut_anywhere_is_no_message() {
    let whole = packet(&[3, 3, 0, 0, 0, 0, 0, 1]);
    assert_eq!(icmp_of(&whole), Some(20..28));
    for len in 0..whole.len() {
        assert_eq!(icmp_of(&whole[..len]), None, "{len} bytes");
    }
    for first in [0x40, 0x44, 0x4f] {
        let mut wrong = whole.clone();
        wrong[0] = first;
        assert_eq!(icmp_of(&wrong), None, "{first:#x}");
    }
}
