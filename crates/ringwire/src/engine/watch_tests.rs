use io_uring::{opcode, squeue};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_CQE_F_MORE, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};
use ringwire_stack::Instant;

use crate::engine::bed::{Bed, ENTRIES};
use crate::engine::{Failure, LinkState};
use crate::events::{self, Event};

const WATCH: u64 = 7;

fn watching(setup_flags: u32) -> Bed {
    let mut bed = Bed::new(setup_flags);
    bed.push(events::watch().user_data(WATCH));
    bed.engine.submit(Instant::ZERO, 1);
    bed.engine.turn(Instant::ZERO);
    assert_eq!(bed.completions(), [told(Event::Up)]);
    bed
}

fn told(event: Event) -> (u64, i32, u32) {
    (WATCH, event.result(), IORING_CQE_F_MORE)
}

fn set_link(bed: &mut Bed, links: &[LinkState]) {
    for &link in links {
        bed.engine.set_link(Instant::ZERO, link);
    }
    bed.engine.turn(Instant::ZERO);
}

#[test]
fn each_change_of_the_link_is_a_completion() {
    let mut bed = watching(0);
    set_link(&mut bed, &[LinkState::NoCarrier]);
    assert_eq!(bed.completions(), [told(Event::CarrierLost)]);
    set_link(&mut bed, &[LinkState::Up]);
    assert_eq!(bed.completions(), [told(Event::CarrierBack)]);
    set_link(&mut bed, &[LinkState::Down, LinkState::Up]);
    let both = [told(Event::Down), told(Event::Up)];
    assert_eq!(bed.completions(), both);
    set_link(&mut bed, &[LinkState::Removed, LinkState::NoCarrier]);
    let all = [Event::Removed, Event::Back, Event::CarrierLost].map(told);
    assert_eq!(bed.completions(), all);
}

#[test]
fn what_stays_as_it_is_is_not_told() {
    let mut bed = watching(0);
    set_link(&mut bed, &[LinkState::Up]);
    assert_eq!(bed.completions(), []);
}

#[test]
fn a_watch_is_told_first_how_things_are() {
    let mut bed = Bed::new(0);
    set_link(&mut bed, &[LinkState::Down]);
    let first = bed.run(events::watch().user_data(WATCH));
    assert_eq!(first, [told(Event::Down)]);
}

#[test]
fn every_watch_is_told() {
    let mut bed = watching(0);
    bed.run(events::watch().user_data(8));
    set_link(&mut bed, &[LinkState::NoCarrier]);
    let (lost, more) = (Event::CarrierLost.result(), IORING_CQE_F_MORE);
    assert_eq!(bed.completions(), [(WATCH, lost, more), (8, lost, more)]);
}

#[test]
fn a_watch_is_cancelled_by_its_user_data() {
    let mut bed = watching(0);
    let cancelled = bed.run(opcode::AsyncCancel::new(WATCH).build().user_data(1));
    assert_eq!(cancelled, [(1, 0, 0), (WATCH, Errno::ECANCELED.res(), 0)]);
    set_link(&mut bed, &[LinkState::Down]);
    assert_eq!(bed.completions(), [], "it has ended");
    assert_eq!(bed.engine.pending_requests(), 0);
}

#[test]
fn a_drain_waits_for_a_watch() {
    let mut bed = watching(0);
    let nop = opcode::Nop::new().build().user_data(1);
    assert_eq!(bed.run(nop.flags(squeue::Flags::IO_DRAIN)), []);
    bed.engine.turn(Instant::ZERO);
    assert_eq!(bed.completions(), []);
}

#[test]
fn what_is_linked_behind_a_watch_begins_when_it_ends() {
    let mut bed = Bed::new(0);
    let watch = events::watch().user_data(WATCH);
    bed.push(watch.flags(squeue::Flags::IO_HARDLINK));
    bed.push(opcode::Nop::new().build().user_data(1));
    bed.engine.submit(Instant::ZERO, 2);
    assert_eq!(bed.completions(), [told(Event::Up)]);
    let cancelled = bed.run(opcode::AsyncCancel::new(WATCH).build().user_data(2));
    let ended = (WATCH, Errno::ECANCELED.res(), 0);
    assert_eq!(cancelled, [(2, 0, 0), ended, (1, 0, 0)]);
}

#[test]
fn an_event_that_finds_the_queue_full_ends_the_watch() {
    let mut bed = watching(0);
    for _ in 0..ENTRIES {
        bed.push(opcode::Nop::new().build().user_data(1));
    }
    bed.engine.submit(Instant::ZERO, ENTRIES);
    set_link(&mut bed, &[LinkState::Down]);
    assert_eq!(bed.completions().len(), ENTRIES as usize);
    bed.engine.flush_overflow();
    let last = (WATCH, Event::Down.result(), 0);
    assert_eq!(bed.completions(), [last], "without MORE");
    assert_eq!(bed.engine.pending_requests(), 0);
}

#[test]
fn events_wait_for_an_enter_that_asks_for_completions() {
    let mut bed = watching(IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER);
    bed.engine.set_link(Instant::ZERO, LinkState::Down);
    bed.engine.turn_deferred(Instant::ZERO);
    assert_eq!(bed.completions(), []);
    bed.engine.turn(Instant::ZERO);
    assert_eq!(bed.completions(), [told(Event::Down)]);
}

#[test]
fn of_too_many_events_the_oldest_are_left_out() {
    let mut bed = watching(0);
    for _ in 0..100 {
        bed.engine.set_link(Instant::ZERO, LinkState::NoCarrier);
        bed.engine.set_link(Instant::ZERO, LinkState::Up);
    }
    assert_eq!(bed.engine.watches.news.len(), super::MOST);
    assert_eq!(
        bed.engine.watches.news.back(),
        Some(&Ok(Event::CarrierBack))
    );
}

#[test]
fn watches_end_when_sockets_are_needed_and_cannot_be_had() {
    let mut bed = watching(0);
    set_link(&mut bed, &[LinkState::Removed]);
    let failure = Failure::Lasting(Errno::EPERM, "recreating needs CAP_NET_RAW".to_owned());
    bed.engine.refuse_rings(Instant::ZERO, failure);
    bed.engine.turn(Instant::ZERO);
    let ended = (WATCH, Errno::EPERM.res(), 0);
    assert_eq!(bed.completions(), [told(Event::Removed), ended]);
    let again = bed.run(events::watch().user_data(8));
    assert_eq!(again, [(8, Errno::EPERM.res(), 0)]);
    assert_eq!(bed.engine.lost(), Some("recreating needs CAP_NET_RAW"));
}
