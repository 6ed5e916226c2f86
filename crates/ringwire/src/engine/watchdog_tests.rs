use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use io_uring::{opcode, types};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::IORING_CQE_F_MORE;
use ringwire_stack::{Instant, PlanLimits};
use ringwire_umem::Area;

use super::{ABSENT_WAIT, ATTEMPTS, LOOK, Watchdog};
use crate::engine::bed::{Bed, ENTRIES, MAC};
use crate::engine::zero_copy_bed::{GROUP, at, bed};
use crate::engine::{Failure, LinkState, NewLink, Port};
use crate::events::{self, Event};

const WATCH: u64 = 7;
const PATIENCE: Duration = Watchdog::PATIENCE;
const LINK: NewLink = NewLink {
    mac: MAC,
    mtu: 1500,
    plan: PlanLimits::SCATTER,
};

/// Counts kicks, and answers them.
#[derive(Clone, Debug, Default)]
struct Counted {
    kicks: Arc<AtomicU32>,
    answer: Arc<AtomicI32>,
}

impl Port for Counted {
    fn kick_tx(&mut self, _: u16) -> Result<(), Errno> {
        self.kicks.fetch_add(1, Ordering::Relaxed);
        match Errno::new(self.answer.load(Ordering::Relaxed)) {
            Some(errno) => Err(errno),
            None => Ok(()),
        }
    }

    fn kick_rx(&mut self, _: u16) -> Result<(), Errno> {
        Ok(())
    }

    fn clock(&self, _: libc::clockid_t) -> Duration {
        Duration::ZERO
    }
}

/// A watched engine with a UDP socket in slot 0 and memory of its own, and a clock.
struct Watched {
    bed: Bed,
    memory: Vec<Area>,
    port: Counted,
    now: Instant,
}

impl Watched {
    fn new() -> Watched {
        let (mut bed, memory) = bed(0);
        let port = Counted::default();
        bed.engine.nic.port = Box::new(port.clone());
        let first = bed.run(events::watch().user_data(WATCH));
        assert_eq!(first.len(), 1);
        let now = Instant::ZERO;
        Watched {
            bed,
            memory,
            port,
            now,
        }
    }

    /// Sends a payload where it lies, from this slot.
    fn send(&mut self, slot: usize) {
        let memory = &self.memory[slot];
        let send = opcode::SendZc::new(types::Fixed(0), memory.as_ptr(), 10)
            .dest_addr(at(&GROUP))
            .dest_addr_len(16)
            .build()
            .user_data(1);
        self.bed.push(send);
        self.bed.engine.submit(self.now, 1);
        self.bed.engine.turn(self.now);
    }

    /// Takes turns for so long, a thousand a second.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(1);
            self.bed.engine.turn(self.now);
        }
    }

    /// What the watch was told.
    fn told(&mut self) -> Vec<Event> {
        self.bed.engine.turn(self.now);
        let completions = self.bed.completions();
        let told = completions.iter().filter(|told| told.0 == WATCH);
        told.map(|&(_, res, flags)| {
            assert_eq!(flags, IORING_CQE_F_MORE);
            Event::from_result(res).expect("an event")
        })
        .collect()
    }

    /// Notifications of zero-copy sends.
    fn notified(&mut self) -> usize {
        const NOTIF: u32 = 1 << 3;
        self.bed.engine.turn(self.now);
        let completions = self.bed.completions();
        let notified = completions.iter().filter(|told| told.2 & NOTIF != 0);
        notified.count()
    }

    fn wants_sockets(&self) -> bool {
        self.bed.engine.wants_sockets(self.now)
    }

    fn close(&mut self) {
        self.bed.engine.drop_rings(Box::new(self.port.clone()));
    }

    fn reopen(&mut self) {
        let rings = self.bed.new_rings();
        let fills = self.bed.engine.fill_anew(ENTRIES);
        let rings = Bed::fill(rings, &fills[0]);
        let port = Box::new(self.port.clone());
        let engine = &mut self.bed.engine;
        engine.adopt_rings(self.now, vec![rings], port, &fills, LINK);
    }
}

#[test]
fn a_queue_that_stands_still_in_spite_of_kicks_is_stuck() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets());
    assert!(it.port.kicks.load(Ordering::Relaxed) > 10, "it was kicked");
    it.pass(Duration::from_secs(2));
    assert!(it.wants_sockets());
    it.close();
    assert_eq!(it.told(), [Event::QueueStuck(0)]);
    assert_eq!(it.bed.engine.nic_counters().stuck, 1);
}

#[test]
fn nothing_to_send_is_no_standing_still() {
    let mut it = Watched::new();
    it.pass(3 * PATIENCE);
    assert!(!it.wants_sockets());
    assert_eq!(it.port.kicks.load(Ordering::Relaxed), 0);
}

#[test]
fn a_slow_nic_is_not_stuck() {
    let mut it = Watched::new();
    for slot in 0..4 {
        it.send(slot);
    }
    let mut sent = it.bed.sent();
    while let Some(one) = sent.pop() {
        it.pass(PATIENCE - Duration::from_secs(1));
        assert!(!it.wants_sockets(), "it moves, if slowly");
        it.bed.report_sent(&[one]);
    }
    it.pass(3 * PATIENCE);
    assert!(!it.wants_sockets());
}

#[test]
fn a_tx_ring_that_is_read_moves() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE - Duration::from_secs(1));
    it.bed.sent();
    it.pass(PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets(), "it was read, and may take its time");
    it.pass(Duration::from_secs(2));
    assert!(it.wants_sockets());
}

#[test]
fn an_application_that_was_elsewhere_has_not_waited() {
    let mut it = Watched::new();
    it.send(0);
    for _ in 0..5 {
        it.now = it.now + Duration::from_secs(60);
        it.bed.engine.turn(it.now);
    }
    assert!(!it.wants_sockets(), "it was kicked five times");
}

#[test]
fn without_a_link_a_queue_may_stand_still() {
    let mut it = Watched::new();
    it.send(0);
    it.bed.engine.set_link(it.now, LinkState::NoCarrier);
    it.pass(3 * PATIENCE);
    assert!(!it.wants_sockets());
    it.bed.engine.set_link(it.now, LinkState::Up);
    it.pass(PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets(), "its time begins with the link");
    it.pass(Duration::from_secs(2));
    assert!(it.wants_sockets());
}

#[test]
fn a_socket_that_has_lost_its_device_is_made_anew_at_once() {
    for dead in [libc::ENXIO, libc::ENODEV, libc::EBADF] {
        let mut it = Watched::new();
        it.send(0);
        it.port.answer.store(dead, Ordering::Relaxed);
        it.pass(2 * LOOK);
        assert!(it.wants_sockets(), "errno {dead}");
        assert!(it.bed.engine.nic_counters().failed_kicks > 0);
    }
}

#[test]
fn an_interface_that_is_down_for_a_while_keeps_its_sockets() {
    let mut it = Watched::new();
    it.send(0);
    it.port.answer.store(libc::ENETDOWN, Ordering::Relaxed);
    it.pass(PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets());
    assert!(it.bed.engine.nic_counters().failed_kicks > 0);
}

#[test]
fn what_the_old_sockets_had_comes_back_with_the_new_ones() {
    let mut it = Watched::new();
    it.send(0);
    assert_eq!(it.notified(), 0);
    it.pass(PATIENCE + Duration::from_secs(1));
    it.close();
    assert_eq!(it.notified(), 0, "the NIC may read it still");
    it.reopen();
    let census = it.bed.engine.census();
    assert_eq!(census.descriptors_in_flight, 0);
    assert_eq!(census.fill, ENTRIES);
    assert_eq!(it.notified(), 1);
    it.pass(Duration::from_secs(1));
    assert_eq!(it.notified(), 0, "once");
}

#[test]
fn the_new_rings_serve() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE + Duration::from_secs(1));
    it.close();
    it.reopen();
    assert_eq!(it.told(), [Event::QueueStuck(0), Event::Recreated]);
    it.bed.sent();
    it.send(1);
    let sent = it.bed.sent();
    assert!(!sent.is_empty());
    it.bed.report_sent(&sent);
    assert_eq!(it.notified(), 1);
    let received = it.bed.engine.stack().counters().rx_packets;
    it.bed.receive(&[0xff; 60], 60);
    let after = it.bed.engine.stack().counters().rx_packets;
    assert_eq!(after, received + 1);
    assert_eq!(it.bed.engine.nic_counters().bad_tx_completions, 0);
    assert_eq!(it.bed.engine.nic_counters().bad_rx_descriptors, 0);
}

#[test]
fn what_is_sent_without_a_link_is_dropped() {
    let mut it = Watched::new();
    it.bed.engine.set_link(it.now, LinkState::NoCarrier);
    it.send(0);
    assert_eq!(it.bed.sent().len(), 0);
    assert_eq!(it.notified(), 1, "and its memory is the application's");
    assert!(it.bed.engine.nic_counters().tx_dropped > 0);
    it.bed.engine.set_link(it.now, LinkState::Up);
    it.send(1);
    assert!(!it.bed.sent().is_empty());
}

#[test]
fn with_a_removed_interface_everything_comes_back_at_once() {
    let mut it = Watched::new();
    it.send(0);
    it.bed.engine.set_link(it.now, LinkState::Removed);
    assert!(it.wants_sockets());
    it.close();
    assert_eq!(it.notified(), 1);
    let census = it.bed.engine.census();
    assert_eq!((census.fill, census.descriptors_in_flight), (0, 0));
    it.send(1);
    assert_eq!(it.notified(), 1, "dropped");
}

#[test]
fn sockets_closed_before_the_interface_went_give_everything_back_then() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE + Duration::from_secs(1));
    it.close();
    assert_eq!(it.notified(), 0);
    it.bed.engine.set_link(it.now, LinkState::Removed);
    assert_eq!(it.notified(), 1);
}

#[test]
fn an_interface_that_is_gone_is_waited_for_without_end() {
    let mut it = Watched::new();
    it.bed.engine.set_link(it.now, LinkState::Removed);
    it.close();
    for _ in 0..10 * ATTEMPTS {
        it.bed.engine.refuse_rings(it.now, Failure::Absent);
        assert!(!it.wants_sockets());
        let next = it.bed.engine.next_deadline();
        assert!(next.is_some_and(|next| next <= it.now + ABSENT_WAIT));
        it.now = it.now + ABSENT_WAIT;
        assert!(it.wants_sockets());
    }
    assert_eq!(it.bed.engine.lost(), None);
}

#[test]
fn attempts_come_at_growing_intervals_and_end() {
    let mut it = Watched::new();
    it.bed.engine.set_link(it.now, LinkState::Removed);
    it.close();
    let start = it.now;
    let mut waits = Vec::new();
    let busy = Failure::Passing(Errno::EBUSY, "the queue is taken".to_owned());
    while it.wants_sockets() {
        it.bed.engine.refuse_rings(it.now, busy.clone());
        let Some(at) = it.bed.engine.sockets_deadline() else {
            break;
        };
        waits.push(at - it.now);
        it.now = at;
    }
    assert!(waits.is_sorted());
    assert_eq!(waits.len() as u32, ATTEMPTS - 1);
    assert!(it.now - start < Duration::from_secs(64));
    assert_eq!(it.bed.engine.lost(), Some("the queue is taken"));
    // Something has changed: it is tried again.
    it.bed.engine.set_link(it.now, LinkState::Up);
    assert!(it.wants_sockets());
    assert_eq!(it.bed.engine.lost(), None);
}

#[test]
fn without_the_privilege_the_old_sockets_stay_and_may_move_again() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE + Duration::from_secs(1));
    assert!(it.wants_sockets());
    let failure = Failure::Lasting(Errno::EPERM, "it needs CAP_NET_RAW".to_owned());
    it.bed.engine.refuse_rings(it.now, failure);
    assert!(it.bed.engine.has_sockets());
    assert_eq!(it.bed.engine.lost(), Some("it needs CAP_NET_RAW"));
    it.pass(2 * PATIENCE);
    assert!(!it.wants_sockets(), "it would be refused again");
    let sent = it.bed.sent();
    it.bed.report_sent(&sent);
    it.pass(2 * LOOK);
    assert_eq!(it.bed.engine.lost(), None);
}

#[test]
fn new_sockets_that_bring_nothing_are_waited_for_longer() {
    let mut it = Watched::new();
    it.send(0);
    it.pass(PATIENCE + Duration::from_secs(1));
    it.close();
    it.reopen();
    it.send(1);
    it.pass(2 * PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets());
    it.pass(Duration::from_secs(2));
    assert!(it.wants_sockets());
}

#[test]
fn a_driver_may_have_more_patience() {
    let mut it = Watched::new();
    it.bed.engine.set_patience(4 * PATIENCE);
    it.send(0);
    it.pass(4 * PATIENCE - Duration::from_secs(1));
    assert!(!it.wants_sockets());
    it.pass(Duration::from_secs(2));
    assert!(it.wants_sockets());
}

#[test]
fn an_interface_that_may_be_there_is_looked_for_at_once() {
    let mut it = Watched::new();
    it.bed.engine.hurry_sockets(it.now);
    assert!(!it.wants_sockets(), "none are needed");
    it.bed.engine.set_link(it.now, LinkState::Removed);
    it.close();
    it.bed.engine.refuse_rings(it.now, Failure::Absent);
    assert!(!it.wants_sockets());
    it.bed.engine.hurry_sockets(it.now);
    assert!(it.wants_sockets());
}
