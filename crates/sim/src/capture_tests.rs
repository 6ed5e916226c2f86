//! A capture is read back with a reader of its own, written from the specification.

use super::*;

/// A block's type and body.
type Block<'a> = (u32, &'a [u8]);

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// The blocks of a file: each says its length at both ends, and is a multiple of four bytes.
fn blocks(mut bytes: &[u8]) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = word(bytes, 4) as usize;
        assert_eq!(len % 4, 0);
        assert_eq!(word(bytes, len - 4) as usize, len);
        found.push((word(bytes, 0), &bytes[8..len - 4]));
        bytes = &bytes[len..];
    }
    found
}

fn options(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    loop {
        let (code, len) = (half(bytes, 0), usize::from(half(bytes, 2)));
        if code == 0 {
            assert_eq!((len, bytes.len()), (0, 4), "the end is the end");
            return found;
        }
        found.push((code, &bytes[4..4 + len]));
        bytes = &bytes[4 + len.next_multiple_of(4)..];
    }
}

#[test]
fn a_file_begins_with_a_section_in_our_byte_order() {
    let capture = Capture::new();
    let blocks = blocks(capture.as_bytes());
    let (kind, body) = blocks[0];
    assert_eq!((blocks.len(), kind), (1, 0x0a0d_0d0a));
    assert_eq!(word(body, 0), 0x1a2b_3c4d);
    assert_eq!((half(body, 4), half(body, 6)), (1, 0));
}

#[test]
fn an_interface_is_ethernet_with_nanoseconds() {
    let mut capture = Capture::new();
    let first = capture.interface("server");
    let second = capture.interface("client");
    assert_eq!((first.0, second.0), (0, 1));
    let blocks = blocks(capture.as_bytes());
    let (kind, body) = blocks[2];
    assert_eq!((kind, half(body, 0), word(body, 4)), (1, 1, 0));
    assert_eq!(options(&body[8..]), [(2, &b"client"[..]), (9, &[9][..])]);
}

#[test]
fn a_packet_keeps_its_bytes_time_and_way() {
    let mut capture = Capture::new();
    let interface = capture.interface("server");
    let time = 0x1234_5678_9abc_def0;
    for len in [60, 61, 62, 63] {
        capture.packet(interface, time, Way::In, &vec![7; len]);
    }
    capture.packet(interface, time + 1, Way::Out, &[8; 5]);
    let blocks = blocks(capture.as_bytes());
    for (len, (kind, body)) in [60, 61, 62, 63].into_iter().zip(&blocks[2..6]) {
        assert_eq!((*kind, word(body, 0)), (6, 0));
        assert_eq!((word(body, 4), word(body, 8)), (0x1234_5678, 0x9abc_def0));
        assert_eq!((word(body, 12), word(body, 16)), (len, len));
        assert_eq!(body[20..20 + len as usize], vec![7; len as usize]);
        let rest = &body[20 + len.next_multiple_of(4) as usize..];
        assert_eq!(options(rest), [(2, &[1, 0, 0, 0][..])]);
    }
    let (_, last) = blocks[6];
    assert_eq!(&last[20..25], [8; 5]);
    assert_eq!(options(&last[28..]), [(2, &[2, 0, 0, 0][..])]);
}
