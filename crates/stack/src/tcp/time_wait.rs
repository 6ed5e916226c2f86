//! Connections in TIME-WAIT: a few numbers each, in a table of their own, bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use ringwire_tcp::{Instant, TimeWait};

use super::Ends;
use crate::ends_map::EndsMap;
use crate::siblings::Sibling;
use crate::socket::Protocol;

/// Most that are kept: the oldest goes for one more (Linux's `tcp_max_tw_buckets` is of this order).
const MAX_ENTRIES: usize = 65_536;

#[derive(Debug)]
pub(crate) struct TimeWaits {
    entries: EndsMap<TimeWait>,
    /// In the order in which they end, but for those whose wait began again.
    order: VecDeque<(Instant, Ends)>,
    /// How many there are at each local port.
    ports: HashMap<u16, u32, FixedState>,
    /// Ports that have none any more.
    idle: Vec<u16>,
    sibling: Option<Arc<Sibling>>,
}

impl TimeWaits {
    pub(crate) fn new(seed: u64) -> TimeWaits {
        TimeWaits {
            entries: EndsMap::new(seed),
            order: VecDeque::new(),
            ports: HashMap::with_hasher(FixedState::with_seed(seed)),
            idle: Vec::new(),
            sibling: None,
        }
    }

    pub(crate) fn join(&mut self, sibling: &Arc<Sibling>) {
        self.sibling = Some(Arc::clone(sibling));
    }

    /// Adds an entry; returns how many had to go for it.
    pub(crate) fn insert(&mut self, ends: Ends, entry: TimeWait) -> u64 {
        let mut evicted = 0;
        while self.entries.len() >= MAX_ENTRIES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            evicted += u64::from(self.take(&oldest));
        }
        self.order.push_back((entry.until(), ends));
        if self.entries.insert(ends, entry).is_none() {
            *self.ports.entry(ends.0.port()).or_default() += 1;
            if let Some(sibling) = &self.sibling {
                sibling.open(Protocol::Tcp, &ends);
            }
        }
        evicted
    }

    pub(crate) fn get_mut(&mut self, ends: &Ends) -> Option<&mut TimeWait> {
        self.entries.get_mut(ends)
    }

    pub(crate) fn contains(&self, ends: &Ends) -> bool {
        self.entries.contains_key(ends)
    }

    pub(crate) fn remove(&mut self, ends: &Ends) {
        self.take(ends);
    }

    /// Whether it was there.
    fn take(&mut self, ends: &Ends) -> bool {
        let found = self.entries.remove(ends).is_some();
        if let Some(sibling) = self.sibling.as_ref().filter(|_| found) {
            sibling.close(Protocol::Tcp, ends);
        }
        let port = ends.0.port();
        if found && let Some(count) = self.ports.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.ports.remove(&port);
                self.idle.push(port);
            }
        }
        found
    }

    /// Whether a local port has any.
    pub(crate) fn uses(&self, port: u16) -> bool {
        self.ports.contains_key(&port)
    }

    /// A local port that has none any more.
    pub(crate) fn next_idle_port(&mut self) -> Option<u16> {
        self.idle.pop()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    /// Lets go of those whose time has come.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(until, ends)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            // Its wait may have begun again, or the ends be used by a later one.
            match self.entries.get(&ends).map(TimeWait::until) {
                Some(later) if later > now => self.order.push_back((later, ends)),
                Some(_) => {
                    self.take(&ends);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "time_wait_tests.rs"]
mod tests;
