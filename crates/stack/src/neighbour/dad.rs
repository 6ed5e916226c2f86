//! Duplicate address detection: nobody else may have an address before it is used.
//!
//! For IPv4 it is RFC 5227, for IPv6 RFC 4862, section 5.4: the same thing with other numbers. Like
//! the neighbour table it builds no packet: it says when to probe and when to announce.

use std::net::IpAddr;
use std::time::Duration;

use super::{Mac, random::Random};
use ringwire_tcp::Instant;

/// How the addresses of one family are probed and announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Longest random wait before the first probe, so that hosts started at once do not talk at once.
    pub start_wait: Duration,
    /// Number of probes. With none the address is usable at once, unprobed.
    pub probes: u32,
    /// Shortest time between two probes.
    pub interval_min: Duration,
    /// Longest time between two probes.
    pub interval_max: Duration,
    /// How long an answer to the last probe is waited for.
    pub answer_wait: Duration,
    /// Number of announcements once the address is usable.
    pub announcements: u32,
    /// Time between two announcements.
    pub announce_interval: Duration,
    /// Shortest time between two announcements that defend the address; `None`: it is not defended.
    pub defend_interval: Option<Duration>,
}

impl Probing {
    /// RFC 5227, section 1.1. Its third way to defend is taken (section 2.4(c)): an address that was
    /// given to us on purpose is never given up.
    pub const IPV4: Probing = Probing {
        start_wait: Duration::from_secs(1),
        probes: 3,
        interval_min: Duration::from_secs(1),
        interval_max: Duration::from_secs(2),
        answer_wait: Duration::from_secs(2),
        announcements: 2,
        announce_interval: Duration::from_secs(2),
        defend_interval: Some(Duration::from_secs(10)),
    };

    /// RFC 4862, sections 5.1 and 5.4.2: one probe, and a second for the answer.
    pub const IPV6: Probing = Probing {
        start_wait: Duration::from_secs(1),
        probes: 1,
        interval_min: Duration::from_secs(1),
        interval_max: Duration::from_secs(1),
        answer_wait: Duration::from_secs(1),
        announcements: 0,
        announce_interval: Duration::from_secs(1),
        defend_interval: None,
    };

    /// Usable at once, and nothing sent.
    pub const OFF: Probing = Probing {
        start_wait: Duration::ZERO,
        probes: 0,
        interval_min: Duration::ZERO,
        interval_max: Duration::ZERO,
        answer_wait: Duration::ZERO,
        announcements: 0,
        announce_interval: Duration::ZERO,
        defend_interval: None,
    };
}

/// The probing of both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DadConfig {
    /// IPv4 addresses.
    pub ipv4: Probing,
    /// IPv6 addresses.
    pub ipv6: Probing,
}

impl DadConfig {
    /// No detection: every address is usable at once.
    pub const OFF: DadConfig = DadConfig {
        ipv4: Probing::OFF,
        ipv6: Probing::OFF,
    };
}

impl Default for DadConfig {
    fn default() -> DadConfig {
        DadConfig {
            ipv4: Probing::IPV4,
            ipv6: Probing::IPV6,
        }
    }
}

/// What an address of ours may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressState {
    /// Being probed: not to be used.
    Tentative,
    /// Ours.
    Preferred,
    /// The host with this Ethernet address has it, or wants it too: not to be used.
    Duplicate(Mac),
}

/// What [`Dad::poll`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DadAction {
    /// Send an ARP probe (sender address zero), or a neighbour solicitation from `::`.
    Probe(IpAddr),
    /// The address is usable from now on.
    Ready(IpAddr),
    /// Send an ARP announcement, or an unsolicited neighbour advertisement.
    Announce(IpAddr),
}

#[derive(Debug)]
struct Address {
    ip: IpAddr,
    step: Step,
    /// When the next step is due.
    due: Option<Instant>,
    defended_at: Option<Instant>,
}

#[derive(Debug)]
enum Step {
    Probing { left: u32 },
    Announcing { left: u32 },
    Lost(Mac),
}

/// The addresses of ours, and how sure we are of them.
#[derive(Debug)]
pub struct Dad {
    config: DadConfig,
    /// A handful, so a list.
    addresses: Vec<Address>,
    random: Random,
}

impl Dad {
    /// No addresses yet. The seed chooses the random waits; it should differ from host to host.
    pub fn new(config: DadConfig, seed: u64) -> Dad {
        Dad {
            config,
            addresses: Vec::new(),
            random: Random::new(seed),
        }
    }

    /// Starts to probe an address, from the beginning if it is known already.
    pub fn start(&mut self, now: Instant, ip: IpAddr) {
        self.stop(ip);
        let probing = self.probing(ip);
        let wait = if probing.probes == 0 {
            Duration::ZERO
        } else {
            self.between(Duration::ZERO, probing.start_wait)
        };
        let step = Step::Probing {
            left: probing.probes,
        };
        self.addresses.push(Address {
            ip,
            step,
            due: Some(now + wait),
            defended_at: None,
        });
    }

    /// Forgets an address.
    pub fn stop(&mut self, ip: IpAddr) {
        self.addresses.retain(|address| address.ip != ip);
    }

    /// What is known of an address; `None` if it was never started.
    pub fn state(&self, ip: IpAddr) -> Option<AddressState> {
        let address = self.addresses.iter().find(|address| address.ip == ip)?;
        Some(match address.step {
            Step::Probing { .. } => AddressState::Tentative,
            Step::Announcing { .. } => AddressState::Preferred,
            Step::Lost(mac) => AddressState::Duplicate(mac),
        })
    }

    /// The steps that are due, in order. A late call makes up for no lost time: the waits after a
    /// step run from the call.
    pub fn poll(&mut self, now: Instant) -> Vec<DadAction> {
        let mut actions = Vec::new();
        for index in 0..self.addresses.len() {
            while self.addresses[index].due.is_some_and(|due| due <= now) {
                actions.extend(self.step(now, index));
            }
        }
        actions
    }

    /// When [`Dad::poll`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.addresses
            .iter()
            .filter_map(|address| address.due)
            .min()
    }

    /// Somebody else, at `mac`, uses our address or probes for it. The caller leaves out what we
    /// sent ourselves. What counts as use: for IPv4 an ARP packet whose sender address it is, or a
    /// probe for it (RFC 5227, sections 2.1.1 and 2.4); for IPv6 an advertisement of it, or a
    /// solicitation for it from `::` (RFC 4862, sections 5.4.3 and 5.4.4).
    ///
    /// Returns whether the address was being probed and is lost. One that is ours already stays
    /// ours, and is defended by an announcement if the configuration says so.
    pub fn on_conflict(&mut self, now: Instant, ip: IpAddr, mac: Mac) -> bool {
        let interval = self.probing(ip).defend_interval;
        let Some(address) = self.addresses.iter_mut().find(|address| address.ip == ip) else {
            return false;
        };
        match &mut address.step {
            Step::Probing { .. } => {
                address.step = Step::Lost(mac);
                address.due = None;
                true
            }
            Step::Announcing { left } => {
                let last = address.defended_at;
                if interval.is_some_and(|wait| last.is_none_or(|last| now - last >= wait)) {
                    *left = (*left).max(1);
                    address.due = Some(now);
                    address.defended_at = Some(now);
                }
                false
            }
            Step::Lost(_) => false,
        }
    }

    /// Announces the addresses that are ours once more, whatever the configuration says.
    pub fn announce(&mut self, now: Instant) {
        for address in &mut self.addresses {
            if let Step::Announcing { left } = &mut address.step {
                *left = (*left).max(1);
                address.due = Some(now);
            }
        }
    }

    /// Sends nothing more of its own accord: another one probes and announces the same addresses, and says when they
    /// are usable. Until then they are tentative, and lost if somebody is heard to have them.
    pub fn follow(&mut self) {
        for probing in [&mut self.config.ipv4, &mut self.config.ipv6] {
            probing.announcements = 0;
        }
        for address in &mut self.addresses {
            address.due = None;
        }
    }

    /// Takes the addresses that are being probed for ours, with the next [`poll`](Self::poll).
    pub fn settle(&mut self, now: Instant) {
        for address in &mut self.addresses {
            if let Step::Probing { left } = &mut address.step {
                *left = 0;
                address.due = Some(now);
            }
        }
    }

    /// Takes the step of an address that is due.
    fn step(&mut self, now: Instant, index: usize) -> Option<DadAction> {
        let ip = self.addresses[index].ip;
        let probing = self.probing(ip);
        let (action, step, wait) = match self.addresses[index].step {
            Step::Probing { left: 0 } => {
                let wait = (probing.announcements > 0).then_some(Duration::ZERO);
                let step = Step::Announcing {
                    left: probing.announcements,
                };
                (Some(DadAction::Ready(ip)), step, wait)
            }
            Step::Probing { left: 1 } => (
                Some(DadAction::Probe(ip)),
                Step::Probing { left: 0 },
                Some(probing.answer_wait),
            ),
            Step::Probing { left } => {
                let wait = self.between(probing.interval_min, probing.interval_max);
                (
                    Some(DadAction::Probe(ip)),
                    Step::Probing { left: left - 1 },
                    Some(wait),
                )
            }
            Step::Announcing { left: 0 } => (None, Step::Announcing { left: 0 }, None),
            Step::Announcing { left } => {
                let wait = (left > 1).then_some(probing.announce_interval);
                (
                    Some(DadAction::Announce(ip)),
                    Step::Announcing { left: left - 1 },
                    wait,
                )
            }
            Step::Lost(mac) => (None, Step::Lost(mac), None),
        };
        let address = &mut self.addresses[index];
        address.step = step;
        address.due = wait.map(|wait| now + wait);
        action
    }

    fn probing(&self, ip: IpAddr) -> Probing {
        if ip.is_ipv4() {
            self.config.ipv4
        } else {
            self.config.ipv6
        }
    }

    /// A random time from `min` to `max`.
    fn between(&mut self, min: Duration, max: Duration) -> Duration {
        let spread_ns = max
            .saturating_sub(min)
            .as_nanos()
            .min(u128::from(u64::MAX - 1)) as u64;
        min + Duration::from_nanos(self.random.below(spread_ns + 1))
    }
}

#[cfg(test)]
#[path = "dad_tests.rs"]
mod tests;
