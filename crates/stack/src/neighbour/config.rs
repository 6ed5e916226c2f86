//! How many neighbours are known, and for how long.

use std::time::Duration;

/// The limits and times of a [`Table`](super::Table).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most neighbours known at a time.
    pub capacity: usize,
    /// Most packets that wait for one neighbour; another one replaces the oldest.
    pub pending_per_neighbour: usize,
    /// Most packets that wait in all.
    pub pending_total: usize,
    /// Mean time for which an answer is believed without question (BaseReachableTime). Each is
    /// drawn between half and one and a half of it (RFC 4861, section 6.3.2).
    pub reachable: Duration,
    /// How long an entry in doubt is used before it is probed (DELAY_FIRST_PROBE_TIME).
    pub delay: Duration,
    /// Time from the first solicitation to the second; it doubles with each further one.
    pub retry: Duration,
    /// Solicitations without an answer before the neighbour counts as gone.
    pub tries: u32,
    /// How long packets for a neighbour that did not answer are refused at once.
    pub failed_hold: Duration,
    /// A neighbour sent to within this time is never evicted to make room for another.
    pub in_use: Duration,
    /// A neighbour not sent to for this long is forgotten. At least twice `in_use`, so that one
    /// that was never sent to always makes way before one in use.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            capacity: 1024,
            pending_per_neighbour: 16,
            pending_total: 512,
            reachable: Duration::from_secs(30),
            delay: Duration::from_secs(5),
            retry: Duration::from_secs(1),
            tries: 3,
            failed_hold: Duration::from_secs(1),
            in_use: Duration::from_secs(30),
            idle: Duration::from_secs(600),
        }
    }
}
