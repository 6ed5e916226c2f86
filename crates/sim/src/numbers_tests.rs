//! The rule of one telling for each number is enforced.

use super::*;

const SLOT: u32 = 3;

/// A socket with three sends that have completed.
fn numbers() -> Numbers {
    let mut numbers = Numbers::new(Random::new(1));
    numbers.add(SLOT);
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
    assert_eq!(numbers.told(SLOT, range(2, 2, 1)).map(|it| it.len()), Ok(1));
    assert_eq!(numbers.untold(), 2);
    assert_eq!(numbers.told(SLOT, range(0, 1, 1)).map(|it| it.len()), Ok(2));
    assert_eq!(numbers.untold(), 0);
    assert!(numbers.told(SLOT, range(1, 1, 1)).is_err());
}

#[test]
fn a_number_that_no_send_has_yet_is_a_violation() {
    assert!(numbers().told(SLOT, range(2, 3, 1)).is_err());
    assert!(numbers().told(SLOT, range(1, 0, 1)).is_err());
}

#[test]
fn ranges_that_come_together_and_follow_one_another_alike_are_a_violation() {
    assert!(are_apart(&[range(0, 1, 1), range(2, 2, 1)]).is_err());
    assert!(are_apart(&[range(0, 1, 1), range(2, 2, 0), range(4, 4, 0)]).is_ok());
}
