use std::net::Ipv4Addr;

use super::*;

fn ends() -> (End, End) {
    let end = |last, port| End {
        mac: [2, 0, 0, 0, 0, last],
        address: SocketAddrV4::new(Ipv4Addr::new(10, 7, 0, last), port),
    };
    (end(2, 12_345), end(1, 9))
}

/// A datagram with this payload.
fn frame(payload: &[u8]) -> Vec<u8> {
    let (from, to) = ends();
    let mut frame = headers(from, to, payload.len()).to_vec();
    frame.extend(payload);
    write_checksum(&mut frame);
    frame
}

#[test]
fn a_frame_that_was_made_here_is_right_and_stays_right_when_it_goes_back() {
    for bytes in [0, 1, 64, 1401] {
        let payload: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
        let mut frame = frame(&payload);
        let sent = frame.clone();
        assert!(exchange(&mut frame) && sum_again(&mut frame));
        assert_eq!(frame[40..42], sent[40..42], "{bytes} bytes");
        assert_eq!((&frame[..6], &frame[26..30]), (&sent[6..12], &sent[30..34]));
    }
}

#[test]
fn a_frame_with_a_byte_changed_is_refused() {
    let mut frame = frame(&[1, 2, 3, 4]);
    frame[44] ^= 1;
    assert!(!sum_again(&mut frame));
}

#[test]
fn a_checksum_is_right_when_what_has_come_in_place_of_zeros_is_added() {
    let zeros = frame(&[0; 4]);
    // With its own complement a sum is 0xffff, of which the checksum would be 0.
    let complement = [zeros[40], zeros[41], 0, 0];
    for added in [[0, 0, 0, 0], [1, 2, 3, 4], [0xff; 4], complement] {
        let mut amended = zeros.clone();
        amended[HEADER_BYTES..].copy_from_slice(&added);
        add_to_checksum(&mut amended, &added);
        assert_eq!(amended, frame(&added));
    }
}

#[test]
fn an_answer_has_the_payload_that_its_length_says() {
    let sent = frame(&[1, 2, 3, 4]);
    let mut echo = sent.clone();
    exchange(&mut echo);
    // Short frames are padded.
    echo.extend([0; 6]);
    assert_eq!(answer(&echo, &sent), Some(&[1, 2, 3, 4][..]));
}

#[test]
fn what_comes_from_elsewhere_or_goes_elsewhere_is_no_answer() {
    let sent = frame(&[1, 2, 3, 4]);
    let mut echo = sent.clone();
    exchange(&mut echo);
    // Addresses and ports.
    for at in 26..38 {
        let mut other = echo.clone();
        other[at] ^= 1;
        assert_eq!(answer(&other, &sent), None, "byte {at}");
    }
}

#[test]
fn a_frame_that_is_shorter_than_it_says_is_no_answer() {
    let sent = frame(&[1, 2, 3, 4]);
    let mut echo = sent.clone();
    exchange(&mut echo);
    for len in 0..echo.len() {
        assert_eq!(answer(&echo[..len], &sent), None, "{len} bytes");
    }
}
