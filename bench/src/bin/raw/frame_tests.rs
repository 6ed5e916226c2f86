use super::*;

#[test]
fn a_frame_that_was_made_here_is_right_and_stays_right_when_it_goes_back() {
    for bytes in [0, 1, 64, 1401] {
        let mut frame = headers([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 7, 0, 2), bytes).to_vec();
        frame.extend((0..bytes).map(|at| at as u8));
        write_checksum(&mut frame);
        let sent = frame.clone();
        assert!(exchange(&mut frame) && sum_again(&mut frame));
        assert_eq!(frame[40..42], sent[40..42], "{bytes} bytes");
        assert_eq!((&frame[..6], &frame[26..30]), (&sent[6..12], &sent[30..34]));
    }
}

#[test]
fn a_frame_with_a_byte_changed_is_refused() {
    let mut frame = headers([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 7, 0, 2), 4).to_vec();
    frame.extend([1, 2, 3, 4]);
    write_checksum(&mut frame);
    frame[44] ^= 1;
    assert!(!sum_again(&mut frame));
}
