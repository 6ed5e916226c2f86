//! What other stacks have handed over to one, until its next turn: bounded, so that a stack that takes no turns
//! holds no more than that, and nobody waits for it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringwire_tcp::Segment;

use crate::icmp::{Problem, Quote};
use crate::neighbour::{Learn, Mac};
use crate::tcp::Ends;

/// Most bytes that wait, each item's [`OVERHEAD`] included: some 1300 whole segments.
const MAX_BYTES: usize = 2 << 20;
/// Charged for each item beside its payload.
const OVERHEAD: usize = 128;

/// What one stack got and another one is to have.
#[derive(Debug)]
pub(crate) enum HandedOver {
    /// A TCP segment with a right checksum, and its payload.
    Segment {
        ends: Ends,
        segment: Segment,
        payload: Vec<u8>,
    },
    /// The payload of a UDP datagram with a right checksum.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    },
    /// An ICMP error about a packet.
    Error(Quote, Problem),
    /// A neighbour's Ethernet address; `None`: the one that is known was confirmed.
    Neighbour {
        ip: IpAddr,
        mac: Option<Mac>,
        how: Learn,
    },
}

impl HandedOver {
    /// Whether it was a packet for a socket, and not news for all.
    pub(super) fn is_packet(&self) -> bool {
        !matches!(self, HandedOver::Neighbour { .. })
    }

    fn charge(&self) -> usize {
        let payload = match self {
            HandedOver::Segment { payload, .. } | HandedOver::Datagram { payload, .. } => {
                payload.len()
            }
            HandedOver::Error(..) | HandedOver::Neighbour { .. } => 0,
        };
        payload + OVERHEAD
    }
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<HandedOver>,
    bytes: usize,
    /// Whose it is has gone.
    shut: bool,
}

/// Where other stacks put what is for one.
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    /// Something is in it, so that nobody has to lock it to find nothing. Written under the lock.
    filled: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(super) fn new(wake: Box<dyn Fn() + Send + Sync>) -> Inbox {
        Inbox {
            queue: Mutex::default(),
            filled: AtomicBool::new(false),
            wake,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // What is counted and what is queued change without a panic between.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, and wakes whose it is if there was nothing before; `false`: there is no room, or nobody.
    pub(super) fn put(&self, item: HandedOver) -> bool {
        let mut queue = self.queue();
        let charge = item.charge();
        if queue.shut || queue.bytes + charge > MAX_BYTES {
            return false;
        }
        let first = queue.items.is_empty();
        queue.bytes += charge;
        queue.items.push_back(item);
        self.filled.store(true, Ordering::Release);
        drop(queue);
        if first {
            (self.wake)();
        }
        true
    }

    pub(super) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes what came first, so many items at most. If some are left, nobody wakes for those.
    pub(super) fn take(&self, most: usize) -> VecDeque<HandedOver> {
        if !self.is_filled() {
            return VecDeque::new();
        }
        let mut queue = self.queue();
        let count = queue.items.len().min(most);
        let rest = queue.items.split_off(count);
        let taken = std::mem::replace(&mut queue.items, rest);
        queue.bytes -= taken.iter().map(HandedOver::charge).sum::<usize>();
        self.filled
            .store(!queue.items.is_empty(), Ordering::Release);
        taken
    }

    /// Nobody takes from it any more.
    pub(super) fn shut(&self) {
        let mut queue = self.queue();
        *queue = Queue {
            shut: true,
            ..Queue::default()
        };
        self.filled.store(false, Ordering::Release);
    }
}
