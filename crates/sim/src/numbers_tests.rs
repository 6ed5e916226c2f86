//! The rule of one telling for each number is enforced.

use super::*;

const SLOT: u32 = 3;

/// A socket with three sends that have completed.
fn numbers() -> Numbers {
    let mut numbers = Numbers::new(Random::new(1));
    numbers.add(SLOT, true);
    for _ in 0..3 {
        let sent = Sent {
            purpose: Purpose::Quiet,
            lent: None,
        };
        numbers.sent(SLOT, sent);
    }
    numbers
}

fn range(lo: u32, hi: u32, zerocopy: u8) -> ZeroCopyRange {
    ZeroCopyRange {
        lo,
        hi,
        zerocopy,
        pad: [0; 3],
    }
}

#[test]
fn each_number_is_told_once_in_any_order() {
    let mut numbers = numbers();
    assert_eq!(numbers.told(1, range(2, 2, 1)).map(|it| it.len()), Ok(1));
    assert_eq!(numbers.untold(), 2);
    assert_eq!(numbers.told(1, range(0, 1, 1)).map(|it| it.len()), Ok(2));
    assert_eq!(numbers.untold(), 0);
    assert!(numbers.told(1, range(1, 1, 1)).is_err());
}

#[test]
fn a_number_that_no_send_has_yet_is_a_violation() {
    assert!(numbers().told(1, range(2, 3, 1)).is_err());
    assert!(numbers().told(1, range(1, 0, 1)).is_err());
}

#[test]
fn ranges_that_come_together_and_follow_one_another_alike_are_a_violation() {
    assert!(are_apart(&[range(0, 1, 1), range(2, 2, 1)]).is_err());
    assert!(are_apart(&[range(0, 1, 1), range(2, 2, 0), range(4, 4, 0)]).is_ok());
}

#[test]
fn a_socket_is_closed_when_all_is_told_unless_it_is_hasty() {
    let mut numbers = numbers();
    let socket = numbers.sockets.get_mut(&1).expect("it was added");
    socket.hasty = false;
    numbers.close(SLOT, Purpose::Quiet);
    assert!(numbers.due().is_none());
    numbers.told(1, range(0, 2, 1)).expect("three numbers");
    let due = numbers.due().expect("all is told");
    assert_eq!((due.slot, due.receiving, numbers.forgone), (SLOT, false, 0));
    assert!(!numbers.takes(SLOT), "it is closed");
}

#[test]
fn what_a_hasty_socket_does_not_tell_is_forgone() {
    let mut numbers = numbers();
    let socket = numbers.sockets.get_mut(&1).expect("it was added");
    socket.hasty = true;
    numbers.close(SLOT, Purpose::Quiet);
    assert!(numbers.due().is_some());
    assert_eq!((numbers.forgone, numbers.untold()), (3, 0));
}

#[test]
fn a_receive_that_waits_comes_to_nothing_only_of_a_stream_that_has_told_all() {
    let mut numbers = numbers();
    numbers.calm();
    assert!(numbers.receive().is_some(), "three numbers are not told");
    assert!(numbers.received(1, -libc::EAGAIN).is_err());
    numbers.told(1, range(0, 2, 1)).expect("three numbers");
    assert_eq!(numbers.received(1, -libc::EAGAIN), Ok(None));
}
