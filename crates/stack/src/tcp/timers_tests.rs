use super::*;
use crate::socket::Protocol;

fn id(slot: u32) -> SocketId {
    SocketId {
        protocol: Protocol::Tcp,
        slot,
        generation: 0,
    }
}

fn at(nanos: u64) -> Option<Instant> {
    Some(Instant::from_nanos(nanos))
}

/// Everything that is due by then, by slot.
fn due(timers: &mut Timers, nanos: u64) -> Vec<u32> {
    let now = Instant::from_nanos(nanos);
    std::iter::from_fn(|| timers.pop_due(now).map(|id| id.slot)).collect()
}

#[test]
fn what_is_due_comes_in_the_order_of_the_deadlines() {
    let mut timers = Timers::default();
    for slot in 0..100 {
        timers.follow(id(slot), at(u64::from(slot * 37 % 100)));
    }
    assert_eq!(timers.next(), at(0));
    let first = due(&mut timers, 49);
    assert_eq!(first.len(), 50);
    assert!(first.is_sorted_by_key(|slot| slot * 37 % 100));
    assert_eq!(timers.next(), at(50));
    assert_eq!(due(&mut timers, 99).len(), 50);
    assert_eq!(timers.next(), None);
}

#[test]
fn an_earlier_deadline_moves_the_entry_and_a_later_one_does_not() {
    let mut timers = Timers::default();
    timers.follow(id(1), at(20));
    timers.follow(id(2), at(30));
    timers.follow(id(2), at(10));
    timers.follow(id(1), at(40));
    assert_eq!(timers.len(), 2);
    assert_eq!(due(&mut timers, 20), [2, 1]);
}

#[test]
fn an_entry_goes_with_its_deadline_wherever_it_is() {
    for gone in 0..50 {
        let mut timers = Timers::default();
        for slot in 0..50 {
            timers.follow(id(slot), at(u64::from(slot * 7 % 50)));
        }
        timers.follow(id(gone), None);
        timers.follow(id(gone), None);
        let left = due(&mut timers, 50);
        assert_eq!(left.len(), 49);
        assert!(!left.contains(&gone));
        assert!(
            left.is_sorted_by_key(|slot| slot * 7 % 50),
            "without {gone}"
        );
    }
}
