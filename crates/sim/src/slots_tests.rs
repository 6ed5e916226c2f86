//! The rule of one notification for each set is enforced.

use super::*;

const LEN: i32 = 100;

fn slots() -> Slots {
    let slot = |index| Slot {
        tag: TAG | index,
        sequence: 0,
        begun: false,
        closing: None,
    };
    Slots {
        slots: (0..u64::from(OWN)).map(slot).collect(),
        ..Slots::new(false, Random::new(1))
    }
}

fn bound(request: u64) -> Bound {
    Bound {
        request,
        purpose: Purpose::Quiet,
        lent: None,
        res: None,
        len: LEN as u32,
        silent: false,
        flushes: false,
    }
}

/// The requests of a set that is notified of.
fn told(slots: &mut Slots, tag: u64, number: u32) -> Result<Vec<u64>, String> {
    let sends = slots.told(TAG | tag, 0, number)?;
    Ok(sends.iter().map(|send| send.request).collect())
}

/// Two sends are bound to slot 1 and complete, and request 9 flushes it.
fn flushed() -> Slots {
    let mut slots = slots();
    for request in [5, 6] {
        slots.join(1, bound(request));
        slots.send_completed(request, LEN);
    }
    slots.flush_range(0..2, Flush::By(9), 0);
    slots
}

#[test]
fn a_set_is_notified_of_once_by_its_tag_and_number() {
    let mut slots = flushed();
    slots.flush_completed(9);
    assert_eq!(slots.untold(), 1);
    assert!(told(&mut slots, 1, 1).is_err(), "another number");
    assert!(told(&mut slots, 0, 0).is_err(), "an empty slot");
    assert_eq!(told(&mut slots, 1, 0), Ok(vec![5, 6]));
    assert_eq!(slots.untold(), 0);
    let again = told(&mut slots, 1, 0).expect_err("told twice");
    assert!(again.contains("twice"), "{again}");
}

#[test]
fn a_notification_before_the_flush_has_completed_is_a_violation() {
    assert!(told(&mut flushed(), 1, 0).is_err());
}

#[test]
fn a_notification_of_a_slot_that_nobody_flushes_is_a_violation() {
    let mut slots = slots();
    slots.join(1, bound(5));
    slots.send_completed(5, LEN);
    assert!(told(&mut slots, 1, 0).is_err());
}

#[test]
fn a_notification_before_a_send_has_completed_is_a_violation() {
    let mut slots = slots();
    slots.join(1, bound(5));
    slots.flush_range(1..2, Flush::Done, 0);
    assert!(told(&mut slots, 1, 0).is_err());
    slots.send_completed(5, -libc::ECANCELED);
    assert_eq!(told(&mut slots, 1, 0), Ok(vec![5]));
}

#[test]
fn a_flush_begins_the_next_number_and_gives_its_tag_to_slots_that_were_not_empty() {
    let mut slots = flushed();
    slots.flush_completed(9);
    slots.flush_range(0..2, Flush::Done, TAG | 8);
    for index in [0, 1] {
        slots.join(index, bound(u64::from(index)));
        slots.send_completed(index.into(), LEN);
    }
    slots.flush_range(0..2, Flush::Done, TAG | 7);
    assert_eq!(told(&mut slots, 0, 0), Ok(vec![0]));
    assert_eq!(told(&mut slots, 1, 1), Ok(vec![1]));
    slots.join(1, bound(2));
    slots.send_completed(2, LEN);
    slots.flush_range(0..2, Flush::Done, 0);
    assert_eq!(told(&mut slots, 7, 2), Ok(vec![2]));
}

#[test]
fn a_send_flushes_its_slot_if_all_of_it_was_sent() {
    for (res, flushes) in [(LEN, true), (LEN - 1, false), (-libc::EPIPE, false)] {
        let mut slots = slots();
        slots.join(
            1,
            Bound {
                flushes: true,
                ..bound(5)
            },
        );
        slots.send_completed(5, res);
        assert_eq!(told(&mut slots, 1, 0).is_ok(), flushes);
    }
}

#[test]
fn a_notification_says_that_a_silent_send_has_flushed_its_slot() {
    let mut slots = slots();
    slots.join(
        1,
        Bound {
            flushes: true,
            silent: true,
            ..bound(5)
        },
    );
    let sends = slots.told(TAG | 1, 0, 0).expect("it was flushed");
    assert_eq!(sends[0].silently(), Some(LEN));
    slots.join(1, bound(6));
    slots.send_completed(6, LEN);
    slots.flush_range(1..2, Flush::Done, 0);
    assert_eq!(told(&mut slots, 1, 1), Ok(vec![6]));
}

#[test]
fn a_send_that_flushes_does_so_though_a_flush_behind_it_has_not_completed_and_the_slots_are_others()
{
    let mut slots = slots();
    slots.join(
        1,
        Bound {
            flushes: true,
            ..bound(5)
        },
    );
    slots.flush_range(1..2, Flush::By(9), 0);
    slots.slots.clear();
    slots.send_completed(5, LEN);
    assert_eq!(told(&mut slots, 1, 0), Ok(vec![5]));
}

#[test]
fn hostile_requests_keep_to_their_slots_and_tags() {
    let mut send = Sqe {
        opcode: RINGWIRE_OP_SEND_ZC_SLOT,
        ..Sqe::default()
    };
    keep_to_hostile(&mut send);
    assert_eq!(send.slot_index(), OWN);
    let mut flush = Sqe {
        opcode: RINGWIRE_OP_FLUSH_SLOTS,
        addr: TAG | 1,
        len: 1,
        ..Sqe::default()
    };
    keep_to_hostile(&mut flush);
    assert_eq!((flush.off, flush.addr), (OWN.into(), HOSTILE_TAG | 1));
}
