//! How long packets may be on the way to hosts from which somebody said that one was too long (RFC
//! 1191, RFC 8201). It is remembered for ten minutes, for those hosts alone, and for a bounded number.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;
use ringwire_tcp::Instant;

/// How long an entry is good (Linux's `ip_rt_mtu_expires`; RFC 8201, section 5.3).
const LIFETIME: Duration = Duration::from_secs(600);
/// Most that are remembered: the oldest goes for one more.
const MAX_ENTRIES: usize = 4096;
/// No path is taken to be narrower, whatever somebody says (Linux's `ip_rt_min_pmtu`; RFC 8200, section
/// 5).
const LEAST_V4: u32 = 552;
const LEAST_V6: u32 = 1280;

#[derive(Debug)]
pub(crate) struct PathMtus {
    entries: HashMap<IpAddr, (u16, Instant), FixedState>,
    /// In the order in which they expire.
    order: VecDeque<(Instant, IpAddr)>,
}

impl PathMtus {
    pub(crate) fn new(seed: u64) -> PathMtus {
        PathMtus {
            entries: HashMap::with_hasher(FixedState::with_seed(seed)),
            order: VecDeque::new(),
        }
    }

    /// Takes what a router says of packets to `to`, where the link takes `link` bytes, if that is less
    /// than was known.
    pub(crate) fn learn(&mut self, now: Instant, to: IpAddr, said: u32, link: usize) {
        let least = if to.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        let mtu = said.max(least) as usize;
        if mtu >= self.limit(to, link) {
            return;
        }
        if self.order.len() >= MAX_ENTRIES {
            self.forget_first();
        }
        let until = now + LIFETIME;
        self.entries.insert(to, (mtu as u16, until));
        self.order.push_back((until, to));
    }

    /// Forgets what expires next.
    fn forget_first(&mut self) {
        let Some((until, to)) = self.order.pop_front() else {
            return;
        };
        // It may have been learnt again since.
        if self
            .entries
            .get(&to)
            .is_some_and(|&(_, last)| last <= until)
        {
            self.entries.remove(&to);
        }
    }

    /// Bytes of the largest IP packet to there, over a link of so many.
    pub(crate) fn limit(&self, to: IpAddr, link: usize) -> usize {
        if self.entries.is_empty() {
            return link;
        }
        let known = self.entries.get(&to).map(|&(mtu, _)| usize::from(mtu));
        known.map_or(link, |mtu| mtu.min(link))
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.order.front().map(|&(until, _)| until)
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|&(until, _)| until <= now) {
            self.forget_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(index: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + index).into()
    }

    #[test]
    fn less_is_believed_for_ten_minutes_and_for_that_host_alone() {
        let mut paths = PathMtus::new(1);
        paths.learn(Instant::ZERO, host(1), 1400, 1500);
        paths.learn(Instant::ZERO, host(1), 1450, 1500);
        assert_eq!(
            (paths.limit(host(1), 1500), paths.limit(host(2), 1500)),
            (1400, 1500)
        );
        let end = paths.next_deadline().unwrap();
        assert_eq!(end, Instant::ZERO + LIFETIME);
        paths.expire(end);
        assert_eq!(paths.limit(host(1), 1500), 1500);
    }

    #[test]
    fn what_is_learnt_again_lasts_ten_minutes_from_then() {
        let mut paths = PathMtus::new(1);
        paths.learn(Instant::ZERO, host(1), 1400, 1500);
        let later = Instant::ZERO + LIFETIME / 2;
        paths.learn(later, host(1), 1300, 1500);
        paths.expire(Instant::ZERO + LIFETIME);
        assert_eq!(paths.limit(host(1), 1500), 1300);
        paths.expire(later + LIFETIME);
        assert_eq!(paths.limit(host(1), 1500), 1500);
    }

    #[test]
    fn nobody_makes_packets_shorter_than_every_path_takes() {
        let mut paths = PathMtus::new(1);
        let v6 = "2001:db8::1".parse().unwrap();
        for (to, said, believed) in [
            (host(1), 68, 552),
            (v6, 600, 1280),
            (host(2), u32::MAX, 1500),
        ] {
            paths.learn(Instant::ZERO, to, said, 1500);
            assert_eq!(paths.limit(to, 1500), believed);
        }
    }

    #[test]
    fn one_host_that_is_said_to_be_ever_narrower_takes_no_more_memory() {
        let mut paths = PathMtus::new(1);
        for said in (0..2 * MAX_ENTRIES as u32).rev() {
            paths.learn(Instant::ZERO, host(1), 600 + said, 60_000);
        }
        assert!(paths.order.len() <= MAX_ENTRIES);
        assert_eq!(paths.limit(host(1), 60_000), 600);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut paths = PathMtus::new(1);
        for index in 0..=MAX_ENTRIES as u32 {
            paths.learn(Instant::ZERO, host(index), 1400, 1500);
        }
        assert_eq!(paths.entries.len(), MAX_ENTRIES);
        assert_eq!(paths.limit(host(0), 1500), 1500);
        assert_eq!(paths.limit(host(1), 1500), 1400);
    }
}
