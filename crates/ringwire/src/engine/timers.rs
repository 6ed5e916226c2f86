//! When requests' times have come. Disarming is common and firing is not, so a timer that is disarmed
//! stays where it is until it comes to the top, or until such are the most.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ringwire_stack::Instant;

use super::request::{RequestId, Requests};

/// Disarmed timers that are kept beside as many as are armed.
const SPARE: usize = 64;

/// The armed timers; each request has at most one, and its key.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, RequestId)>>,
    serial: u64,
    armed: usize,
}

impl Timers {
    /// Arms the timer of a request that has none. Of those for one time the first is the first to fire.
    pub(super) fn arm(&mut self, requests: &mut Requests, id: RequestId, at: Instant) {
        if self.heap.len() > 2 * self.armed + SPARE {
            self.heap
                .retain(|Reverse((at, serial, id))| requests.has_timer(*id, (*at, *serial)));
        }
        self.serial += 1;
        self.armed += 1;
        requests.get_mut(id).timer = Some((at, self.serial));
        self.heap.push(Reverse((at, self.serial, id)));
    }

    /// Disarms a request's timer; `false` if it has none.
    pub(super) fn disarm(&mut self, requests: &mut Requests, id: RequestId) -> bool {
        let armed = requests.get_mut(id).timer.take().is_some();
        self.armed -= usize::from(armed);
        armed
    }

    /// The timer that fires first.
    pub(super) fn first(&mut self, requests: &Requests) -> Option<(Instant, RequestId)> {
        while let Some(&Reverse((at, serial, id))) = self.heap.peek() {
            if requests.has_timer(id, (at, serial)) {
                return Some((at, id));
            }
            self.heap.pop();
        }
        None
    }
}

#[cfg(test)]
#[path = "timers_tests.rs"]
mod tests;
