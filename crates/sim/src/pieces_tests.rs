//! What a send takes of provided registered buffers is known, and must be said.

use ringwire_abi::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER};

use super::*;

const FIRST_BID: u16 = 7;
const NAMED: u32 = IORING_CQE_F_BUFFER | (FIRST_BID as u32) << IORING_CQE_BUFFER_SHIFT;
const EFAULT: i32 = -libc::EFAULT;

/// Entries of 10, 20 and 30 bytes, and one in another registered buffer.
fn pieces() -> Pieces {
    let mut pieces = Pieces {
        ring: Buffers::unregistered(ENTRIES, 0),
        entries: VecDeque::new(),
        sending: None,
        socket: types::Fixed(0),
        next_bid: FIRST_BID,
        counts: Counts::default(),
        random: Random::new(1),
    };
    for (index, len) in [(2, 10), (2, 20), (2, 30), (3, 40)] {
        let offset = 0;
        pieces.provide(&Piece { index, offset, len }, None);
    }
    pieces
}

/// The same, of which a bundle of any length is being sent.
fn sending() -> Pieces {
    let mut pieces = pieces();
    let takes = pieces.takes(true, 0);
    pieces.sending = Some(Sending { number: 1, takes });
    pieces
}

fn wrong() -> Pieces {
    let mut pieces = pieces();
    pieces.entries.clear();
    let piece = Piece {
        index: 2,
        offset: 0,
        len: 0,
    };
    pieces.next_bid = FIRST_BID;
    pieces.provide(&piece, Some((2, EFAULT)));
    pieces.take_wrong().expect("nothing else is sent");
    pieces
}

#[test]
fn a_bundle_ends_at_another_registered_buffer_at_what_is_wrong_and_at_its_length() {
    let mut pieces = pieces();
    assert_eq!(pieces.takes(true, 0), (3, 60));
    assert_eq!(pieces.takes(true, 30), (2, 30));
    assert_eq!(pieces.takes(true, 59), (2, 30));
    assert_eq!(pieces.takes(true, 4), (1, 4));
    assert_eq!(pieces.takes(false, 0), (1, 10));
    pieces.entries[1].error = Some(EFAULT);
    assert_eq!(pieces.takes(true, 0), (1, 10));
}

#[test]
fn a_send_names_its_first_buffer_and_sends_no_more_than_it_has_taken() {
    assert_eq!(sending().completed(1, 60, NAMED), Ok(()));
    assert_eq!(sending().completed(1, 5, NAMED), Ok(()));
    assert!(sending().completed(1, 61, NAMED).is_err());
    let next = NAMED + (1 << IORING_CQE_BUFFER_SHIFT);
    assert!(sending().completed(1, 60, next).is_err());
    assert!(sending().completed(1, 60, 0).is_err());
}

#[test]
fn a_send_that_is_given_up_before_its_turn_has_taken_nothing() {
    let mut pieces = sending();
    assert_eq!(pieces.completed(1, -libc::ECANCELED, 0), Ok(()));
    assert_eq!(pieces.counts.taken, 0);
}

#[test]
fn what_is_wrong_is_named_by_the_send_that_fails() {
    let mut pieces = wrong();
    assert_eq!(pieces.completed(0, EFAULT, NAMED), Ok(()));
    assert_eq!(pieces.counts.bad, 1);
    assert!(wrong().completed(0, EFAULT, 0).is_err());
    assert!(wrong().completed(0, 5, NAMED).is_err());
}
