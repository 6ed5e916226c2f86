//! Rings that do not move, and links that go: what is noticed, and what is to be done about it (`docs/WATCHDOG.md`).
//!
//! The engine decides what and when, in its own time. Sockets are made by who has the engine, since that takes the
//! system: it asks [`Engine::wants_sockets`], and tells what came of it.

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_stack::{Instant, PlanLimits};
use ringwire_umem::{Pool, TxDone};
use ringwire_xsk::Rings;

use super::Engine;
use super::nic::{Nic, Port};
use crate::events::Event;

/// How often the rings are looked at, and the most of the time between two looks that counts: an application that was
/// elsewhere has not waited for the NIC.
const LOOK: Duration = Duration::from_millis(100);
/// The longest that a queue is waited for, when new sockets have brought nothing.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// When to try again to open sockets.
const FIRST_WAIT: Duration = Duration::from_millis(5);
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// When to look again for an interface that is gone, or down.
const ABSENT_WAIT: Duration = Duration::from_millis(100);
/// Attempts before the sockets are given up: about a minute.
const ATTEMPTS: u32 = 64;

/// What a ring's interface is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// It is up, and has a carrier.
    #[default]
    Up,
    /// It is up, and has none: the cable is out, or the other end is down.
    NoCarrier,
    /// It is set down.
    Down,
    /// There is none.
    Removed,
}

/// Why there are no new sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The interface is not there, or down: it is waited for without end.
    Absent,
    /// Something that may pass.
    Passing(Errno, String),
    /// Something that will not pass by itself.
    Lasting(Errno, String),
}

/// What sockets were made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLink {
    /// The interface's Ethernet address.
    pub mac: [u8; 6],
    /// Bytes of the largest IP packet.
    pub mtu: u16,
    /// What packets may be.
    pub plan: PlanLimits,
}

/// The sockets that are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sockets {
    /// They serve, or none are asked for.
    Settled,
    /// New ones are to be opened.
    Wanted { attempts: u32, at: Instant },
}

/// What the engine knows of its interface and its queues.
#[derive(Debug)]
pub(super) struct Watchdog {
    link: LinkState,
    sockets: Sockets,
    /// Why they were given up.
    lost: Option<(Errno, String)>,
    /// The queue because of which they are wanted.
    stuck: Option<u16>,
    /// How long a queue may stand still, by the driver and by how often that was in vain.
    base: Duration,
    patience: Duration,
    last_look: Instant,
}

impl Watchdog {
    /// How long a queue may stand still, unless the driver is known to take longer: the kernel's own watchdog gives a
    /// driver five seconds (`dev_watchdog_up`, net/sched/sch_generic.c), and comes first.
    pub(super) const PATIENCE: Duration = Duration::from_secs(6);

    pub(super) fn new() -> Watchdog {
        Watchdog {
            link: LinkState::Up,
            sockets: Sockets::Settled,
            lost: None,
            stuck: None,
            base: Watchdog::PATIENCE,
            patience: Watchdog::PATIENCE,
            last_look: Instant::ZERO,
        }
    }

    fn want(&mut self, now: Instant) {
        self.lost = None;
        self.sockets = Sockets::Wanted {
            attempts: 0,
            at: now,
        };
    }
}

/// How a queue is doing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    /// Completions have come since the last look.
    pub(super) moved: bool,
    /// What the kernel had not taken of the TX ring at the last look.
    unread: u32,
    /// How long it has stood still while it was kicked.
    still: Duration,
}

impl Nic {
    /// What stands still does so for a reason that is not the queues'.
    fn rest(&mut self) {
        for queue in &mut self.queues {
            queue.pulse.still = Duration::ZERO;
        }
    }

    /// Looks at each queue; returns the first one that has stood still for as long, and whether any has moved.
    fn look(&mut self, passed: Duration, patience: Duration) -> (Option<u16>, bool) {
        let (mut stuck, mut moved) = (None, false);
        for (index, queue) in (0..).zip(&mut self.queues) {
            let unread = queue.rings.tx.len();
            let pulse = &mut queue.pulse;
            let moves = std::mem::take(&mut pulse.moved) || unread < pulse.unread;
            pulse.unread = unread;
            moved |= moves;
            if moves || queue.in_flight == 0 {
                pulse.still = Duration::ZERO;
                continue;
            }
            pulse.still += passed;
            if pulse.still >= patience {
                stuck = stuck.or(Some(index));
            } else {
                // Some drivers look at what was sent only when they are woken, and ask to be only for more.
                self.counters.tx_kicks += 1;
                note(
                    &mut self.dead,
                    &mut self.counters,
                    index,
                    self.port.kick_tx(index),
                );
            }
        }
        (stuck, moved)
    }
}

/// Takes note of what a kick came to.
pub(super) fn note(
    dead: &mut Option<u16>,
    counters: &mut super::NicCounters,
    queue: u16,
    kicked: Result<(), Errno>,
) {
    if let Err(errno) = kicked {
        counters.failed_kicks += 1;
        // An interface that is down, or resets itself, comes back (`ENETDOWN`); a socket does not that has lost its
        // device (`xsk_is_bound`, net/xdp/xsk.c), or its descriptor.
        if matches!(errno, Errno::ENXIO | Errno::ENODEV | Errno::EBADF) {
            *dead = dead.or(Some(queue));
        }
    }
}

impl Engine {
    /// How long a queue may stand still before its sockets are made anew, where the driver takes longer than others.
    pub fn set_patience(&mut self, patience: Duration) {
        self.watchdog.base = patience;
        self.watchdog.patience = patience;
    }

    /// What the interface is like.
    pub fn link(&self) -> LinkState {
        self.watchdog.link
    }

    /// Whether the sockets are there and serve.
    pub fn has_sockets(&self) -> bool {
        self.nic.is_open()
    }

    /// Why there are no new sockets, if they were given up.
    pub fn lost(&self) -> Option<&str> {
        self.watchdog.lost.as_ref().map(|(_, why)| &why[..])
    }

    /// Says what the interface is like now.
    pub fn set_link(&mut self, now: Instant, link: LinkState) {
        let before = std::mem::replace(&mut self.watchdog.link, link);
        if before == link {
            return;
        }
        if before == LinkState::Up {
            self.stack.link_lost(&mut self.ledger);
        }
        if link == LinkState::Removed && !self.nic.is_open() {
            self.reclaim(&[]);
        }
        for event in passed(before, link) {
            self.tell(*event);
        }
        let again = self.watchdog.lost.is_some() && link != LinkState::NoCarrier;
        if link == LinkState::Removed || again {
            self.watchdog.want(now);
        }
    }

    /// Looks at the queues, from time to time.
    pub(super) fn watch_queues(&mut self) {
        if let Some(queue) = self.nic.dead.take() {
            self.distrust(queue);
        }
        let watchdog = &mut self.watchdog;
        let passed = self.now - watchdog.last_look;
        if passed < LOOK {
            return;
        }
        watchdog.last_look = self.now;
        // Without a link the NIC may take its time.
        if watchdog.link != LinkState::Up {
            return self.nic.rest();
        }
        let (stuck, moved) = self.nic.look(passed.min(2 * LOOK), watchdog.patience);
        if moved {
            watchdog.patience = watchdog.base;
            // New sockets could not be had, and are not needed any more.
            watchdog.lost = None;
        }
        if let Some(queue) = stuck {
            self.distrust(queue);
        }
    }

    /// A queue is stuck, or dead: all sockets are to be made anew.
    fn distrust(&mut self, queue: u16) {
        let watchdog = &mut self.watchdog;
        if watchdog.sockets == Sockets::Settled && watchdog.lost.is_none() {
            watchdog.stuck = Some(queue);
            watchdog.want(self.now);
        }
    }

    /// Whether new sockets are to be opened now, in place of those that there are.
    pub fn wants_sockets(&self, now: Instant) -> bool {
        matches!(self.watchdog.sockets, Sockets::Wanted { at, .. } if at <= now)
    }

    /// What new sockets wait for may be there.
    pub fn hurry_sockets(&mut self, now: Instant) {
        if let Sockets::Wanted { at, .. } = &mut self.watchdog.sockets {
            *at = now.min(*at);
        }
    }

    /// When they are.
    pub(super) fn sockets_deadline(&self) -> Option<Instant> {
        match self.watchdog.sockets {
            Sockets::Wanted { at, .. } => Some(at),
            Sockets::Settled => None,
        }
    }

    /// Lets go of the rings, so that their sockets can be closed. From here on what is sent is dropped. What the kernel
    /// has stays lent to it until there are new sockets, or, if the interface is gone, until now.
    pub fn drop_rings(&mut self, port: Box<dyn Port>) {
        self.tell_stuck();
        self.nic.close(&mut self.ledger, port);
        self.ledger.abandon();
        if self.watchdog.link == LinkState::Removed {
            self.reclaim(&[]);
        }
    }

    /// Tells which queue the sockets are made anew for, unless that is no wonder.
    fn tell_stuck(&mut self) {
        if let Some(queue) = self.watchdog.stuck.take()
            && self.watchdog.link != LinkState::Removed
        {
            self.nic.counters.stuck += 1;
            self.tell(Event::QueueStuck(queue));
        }
    }

    /// What each fill ring may begin with: chunks that the last one had, and others, `most` in all.
    pub fn fill_anew(&mut self, most: u32) -> Vec<Vec<u64>> {
        let queues = self.nic.queues();
        let share = self.ledger.umem().layout().rx_chunks / 2 / u32::from(queues);
        let most = share.min(most) as usize;
        let mut fills = Vec::new();
        for queue in 0..queues {
            let mut fill: Vec<u64> = self.ledger.filled(queue).take(most).collect();
            while fill.len() < most
                && let Some(frame) = self.ledger.alloc(Pool::Rx)
            {
                fill.push(self.ledger.post_fill(frame, queue));
            }
            fills.push(fill);
        }
        fills
    }

    /// There are new sockets, whose fill rings began so.
    pub fn adopt_rings(
        &mut self,
        now: Instant,
        rings: Vec<Rings>,
        port: Box<dyn Port>,
        fills: &[Vec<u64>],
        link: NewLink,
    ) {
        self.reclaim(fills);
        self.nic.open(rings, port);
        self.nic.counters.recreated += 1;
        self.stack.relink(now, link.mac, link.mtu, link.plan);
        let watchdog = &mut self.watchdog;
        watchdog.sockets = Sockets::Settled;
        watchdog.lost = None;
        watchdog.patience = (watchdog.patience * 2).min(MOST_PATIENCE.max(watchdog.base));
        self.tell(Event::Recreated);
    }

    /// There are no new sockets.
    pub fn refuse_rings(&mut self, now: Instant, failure: Failure) {
        let watchdog = &mut self.watchdog;
        let Sockets::Wanted { attempts, .. } = watchdog.sockets else {
            return;
        };
        let attempts = attempts + 1;
        let (wait, attempts) = match failure {
            Failure::Absent => (ABSENT_WAIT, 0),
            Failure::Passing(..) if attempts < ATTEMPTS => {
                let wait = FIRST_WAIT * (1 << attempts.min(16));
                (wait.min(LONGEST_WAIT), attempts)
            }
            Failure::Passing(errno, why) | Failure::Lasting(errno, why) => {
                watchdog.sockets = Sockets::Settled;
                watchdog.lost = Some((errno, why));
                self.tell_stuck();
                return self.end_watches(errno);
            }
        };
        let at = now + wait;
        watchdog.sockets = Sockets::Wanted { attempts, at };
    }

    /// What a watch that begins now is told first: how things are.
    pub(super) fn first_event(&self) -> Result<Event, Errno> {
        if let Some((errno, _)) = self.watchdog.lost {
            return Err(errno);
        }
        Ok(match self.watchdog.link {
            LinkState::Up => Event::Up,
            LinkState::NoCarrier => Event::CarrierLost,
            LinkState::Down => Event::Down,
            LinkState::Removed => Event::Removed,
        })
    }

    /// Nothing of the old sockets reads or writes the UMEM any more.
    fn reclaim(&mut self, kept: &[Vec<u64>]) {
        let stack = &mut self.stack;
        self.ledger.reclaim(kept, |chunk| stack.chunk_freed(chunk));
    }

    /// Drops what is to be sent while there is no link, as a kernel does whose interface is down (`noop_enqueue`,
    /// net/sched/sch_generic.c). Whether there was no link.
    pub(super) fn drop_burst(&mut self) -> bool {
        /// Descriptors of a turn.
        const MOST: u32 = 512;
        if self.watchdog.link == LinkState::Up && self.nic.is_open() {
            return false;
        }
        let mut posted = Vec::new();
        for queue in 0..self.nic.queues() {
            let mut room = MOST;
            loop {
                let post = |addr, _, _| posted.push(addr);
                let (now, ledger) = (self.now, &mut self.ledger);
                let count = self.stack.transmit(now, ledger, queue, room, post);
                if count == 0 {
                    break;
                }
                room -= count;
                self.nic.counters.tx_dropped += 1;
                for addr in posted.drain(..) {
                    let done = self.ledger.tx_done(queue, addr);
                    if let TxDone::Freed(chunk) = done.expect("watchdog: it was just posted") {
                        self.stack.chunk_freed(chunk);
                    }
                }
            }
        }
        true
    }
}

/// What has happened between two states.
fn passed(before: LinkState, after: LinkState) -> &'static [Event] {
    match (before, after) {
        (LinkState::Removed, LinkState::Up) => &[Event::Back, Event::Up],
        (LinkState::Removed, LinkState::NoCarrier) => &[Event::Back, Event::CarrierLost],
        (LinkState::Removed, LinkState::Down) => &[Event::Back, Event::Down],
        (_, LinkState::Removed) => &[Event::Removed],
        (_, LinkState::Down) => &[Event::Down],
        (LinkState::Down, LinkState::Up) => &[Event::Up],
        (_, LinkState::NoCarrier) => &[Event::CarrierLost],
        (_, LinkState::Up) => &[Event::CarrierBack],
    }
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
