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

    /// Takes what a router says of packets to `to`, where the link takes `link` bytes. Returns the bytes
    /// of the largest IP packet, if that is less than was known.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        to: IpAddr,
        said: u32,
        link: usize,
    ) -> Option<usize> {
        let least = if to.is_ipv4() { LEAST_V4 } else { LEAST_V6 };
        let mtu = said.max(least) as usize;
        if mtu >= self.limit(to, link) {
            return None;
        }
        if self.entries.len() >= MAX_ENTRIES
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let until = now + LIFETIME;
        self.entries.insert(to, (mtu as u16, until));
        self.order.push_back((until, to));
        Some(mtu)
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
        while let Some(&(until, to)) = self.order.front()
            && until <= now
        {
            self.order.pop_front();
            // It may have been learnt again since.
            if self.entries.get(&to).is_some_and(|&(_, last)| last <= now) {
                self.entries.remove(&to);
            }
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
        assert_eq!(paths.learn(Instant::ZERO, host(1), 1400, 1500), Some(1400));
        assert_eq!(
            paths.learn(Instant::ZERO, host(1), 1450, 1500),
            None,
            "more"
        );
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
    fn nobody_makes_packets_shorter_than_every_path_takes() {
        let mut paths = PathMtus::new(1);
        assert_eq!(paths.learn(Instant::ZERO, host(1), 68, 1500), Some(552));
        let v6 = "2001:db8::1".parse().unwrap();
        assert_eq!(paths.learn(Instant::ZERO, v6, 600, 1500), Some(1280));
        assert_eq!(paths.learn(Instant::ZERO, v6, u32::MAX, 1500), None);
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
