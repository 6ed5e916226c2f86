//! What becomes of a ring's interface and queues, as completions. ringwire's own; the kernel has none
//! (`docs/WATCHDOG.md`).
//!
//! ```no_run
//! # use ringwire::{IoUring, events::{self, Event}};
//! # fn f(ring: &mut IoUring) -> std::io::Result<()> {
//! let entry = events::watch().user_data(7);
//! // SAFETY: a watch names no memory.
//! unsafe { ring.submission().push(&entry) }.expect("room in the queue");
//! ring.submit_and_wait(1)?;
//! for completion in ring.completion().filter(|completion| completion.user_data() == 7) {
//!     match Event::from_result(completion.result()) {
//!         Some(Event::CarrierLost) => eprintln!("somebody has pulled the cable"),
//!         Some(event) => eprintln!("{event:?}"),
//!         None => eprintln!("new sockets cannot be had: {}", completion.result()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use ringwire_abi::flags::RINGWIRE_OP_WATCH;
use ringwire_abi::sqe::Sqe;

use crate::squeue::Entry;

/// Watches the ring's interface and queues (opcode 242, multishot): each event is a completion with
/// `IORING_CQE_F_MORE`, whose result is [one of these](Event). The first tells how things are now, and comes at once.
///
/// The last completion has no `IORING_CQE_F_MORE`: when the watch is cancelled (`ECANCELED`), when the completion queue
/// was full (an event: watch again), or when new sockets were needed and cannot be had (`EPERM`, `ENETDOWN` or what else
/// the kernel said; [`Report::lost`](crate::Report::lost) says why). Of more than 64 events that wait for an enter the
/// oldest are left out.
pub fn watch() -> Entry {
    let entry = Sqe {
        opcode: RINGWIRE_OP_WATCH,
        ..Sqe::default()
    };
    entry.to_entry()
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The interface is up, and has a carrier.
    Up,
    /// It has lost its carrier: what is sent is dropped until there is one again.
    CarrierLost,
    /// It has a carrier again.
    CarrierBack,
    /// It was set down: what is sent is dropped until it is up.
    Down,
    /// It is gone, and its sockets with it.
    Removed,
    /// There is one of that name again; [`Recreated`](Event::Recreated) follows when it serves.
    Back,
    /// A queue (by its place among the ring's) did not move for seconds though it was woken, or its socket has lost its
    /// device: new sockets are opened for all of them.
    QueueStuck(u16),
    /// There are new sockets in place of the old ones, and the ring serves.
    Recreated,
}

const UP: i32 = 1;
const CARRIER_LOST: i32 = 2;
const CARRIER_BACK: i32 = 3;
const DOWN: i32 = 4;
const REMOVED: i32 = 5;
const BACK: i32 = 6;
const QUEUE_STUCK: i32 = 7;
const RECREATED: i32 = 8;

impl Event {
    /// The event of a completion; `None` for an error, or an event of a later version.
    pub fn from_result(result: i32) -> Option<Event> {
        let queue = u16::try_from(result >> 8).ok()?;
        Some(match (result & 0xff, queue) {
            (UP, 0) => Event::Up,
            (CARRIER_LOST, 0) => Event::CarrierLost,
            (CARRIER_BACK, 0) => Event::CarrierBack,
            (DOWN, 0) => Event::Down,
            (REMOVED, 0) => Event::Removed,
            (BACK, 0) => Event::Back,
            (QUEUE_STUCK, queue) => Event::QueueStuck(queue),
            (RECREATED, 0) => Event::Recreated,
            _ => return None,
        })
    }

    /// The result of its completion: the kind in the lowest byte, and above it the queue.
    pub fn result(self) -> i32 {
        match self {
            Event::Up => UP,
            Event::CarrierLost => CARRIER_LOST,
            Event::CarrierBack => CARRIER_BACK,
            Event::Down => DOWN,
            Event::Removed => REMOVED,
            Event::Back => BACK,
            Event::QueueStuck(queue) => QUEUE_STUCK | i32::from(queue) << 8,
            Event::Recreated => RECREATED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_from_its_completion() {
        let events = [
            Event::Up,
            Event::CarrierLost,
            Event::CarrierBack,
            Event::Down,
            Event::Removed,
            Event::Back,
            Event::QueueStuck(0),
            Event::QueueStuck(u16::MAX),
            Event::Recreated,
        ];
        for event in events {
            assert!(event.result() > 0);
            assert_eq!(Event::from_result(event.result()), Some(event));
        }
    }

    #[test]
    fn an_error_is_no_event() {
        for result in [i32::MIN, -libc::ECANCELED, -1, 0, 9, i32::MAX, 1 | 1 << 8] {
            assert_eq!(Event::from_result(result), None, "{result}");
        }
    }
}
