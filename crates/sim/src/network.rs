//! The wire between the two hosts: two directions, each with a rate, a queue, a delay and jitter, and
//! the faults on it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Faults, LONGEST_PARTITION_NS, Path};
use crate::coverage::Coverage;
use crate::random::Random;
use crate::too_big;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer = 0,
    ToClient = 1,
}

impl Direction {
    pub(crate) const BOTH: [Direction; 2] = [Direction::ToServer, Direction::ToClient];

    fn opposite(self) -> Direction {
        match self {
            Direction::ToServer => Direction::ToClient,
            Direction::ToClient => Direction::ToServer,
        }
    }
}

/// MTUs that a path may come to have, tunnels and IPv6's least among them.
const PATH_MTUS: [usize; 6] = [576, 1280, 1400, 1480, 1500, 4000];
const ETHERNET: usize = 14;

struct Link {
    path: Path,
    /// Packets by the time of their arrival.
    packets: BTreeMap<(u64, u64), Vec<u8>>,
    /// When the bottleneck has sent what it was given.
    free_at: u64,
    /// When what was sent last arrives: jitter does not reorder.
    last_arrival: u64,
    cut: bool,
}

pub(crate) struct Network {
    links: [Link; 2],
    serial: u64,
    heals_at: Option<u64>,
    mtu: Option<usize>,
    /// What the MTU is without faults.
    own_mtu: Option<usize>,
    reports_too_big: bool,
    /// Datagrams one of whose fragments has a flipped bit: another could make up for it.
    corrupted_datagrams: BTreeSet<Vec<u8>>,
    pub(crate) coverage: Coverage,
}

impl Network {
    /// A network; `mtu` is the path's, where it is less than the interfaces'.
    pub(crate) fn new(paths: [Path; 2], mtu: Option<u16>, reports_too_big: bool) -> Network {
        let mtu = mtu.map(usize::from);
        Network {
            links: paths.map(|path| Link {
                path,
                packets: BTreeMap::new(),
                free_at: 0,
                last_arrival: 0,
                cut: false,
            }),
            serial: 0,
            heals_at: None,
            mtu,
            own_mtu: mtu,
            reports_too_big,
            corrupted_datagrams: BTreeSet::new(),
            coverage: Coverage::default(),
        }
    }

    /// Cuts the wire, mends it, changes its MTU.
    pub(crate) fn step(&mut self, now: u64, faults: &Faults, random: &mut Random) {
        if self.heals_at.is_some_and(|at| at <= now) {
            self.heal();
        }
        if random.chance(faults.partition) && self.heals_at.is_none() {
            self.coverage.partitions += 1;
            self.heals_at = Some(now + random.below(LONGEST_PARTITION_NS));
            let which = random.below(3);
            for link in Direction::BOTH {
                self.links[link as usize].cut = which == 2 || which == link as u64;
            }
        }
        if random.chance(faults.mtu_change) {
            self.coverage.mtu_changes += 1;
            let choice = random.below(1 + PATH_MTUS.len() as u64) as usize;
            self.mtu = PATH_MTUS.get(choice).copied().or(self.own_mtu);
        }
    }

    /// From now on the wire is whole, and its MTU its own.
    pub(crate) fn calm(&mut self) {
        self.heal();
        self.mtu = self.own_mtu;
    }

    fn heal(&mut self) {
        self.heals_at = None;
        for link in &mut self.links {
            link.cut = false;
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.heals_at.is_some()
    }

    /// Sends a packet, which may be lost, doubled, delayed past others, or corrupted.
    pub(crate) fn send(
        &mut self,
        direction: Direction,
        now: u64,
        packet: Vec<u8>,
        faults: &Faults,
        random: &mut Random,
    ) {
        if self.links[direction as usize].cut {
            self.coverage.cut_off += 1;
            return;
        }
        if let Some(mtu) = self.mtu.filter(|mtu| packet.len() > mtu + ETHERNET) {
            self.coverage.too_big += 1;
            let report = too_big::report(&packet, mtu).filter(|_| self.reports_too_big);
            if let Some(report) = report {
                self.coverage.too_big_reported += 1;
                self.put(direction.opposite(), now, report, faults, random);
            }
            return;
        }
        if random.chance(faults.loss) {
            self.coverage.lost += 1;
            return;
        }
        if random.chance(faults.duplication) {
            self.coverage.duplicated += 1;
            self.put(direction, now, packet.clone(), faults, random);
        }
        self.put(direction, now, packet, faults, random);
    }

    fn put(
        &mut self,
        direction: Direction,
        now: u64,
        mut packet: Vec<u8>,
        faults: &Faults,
        random: &mut Random,
    ) {
        let Some(mut at) = self.links[direction as usize].arrival(now, packet.len(), random) else {
            self.coverage.overflowed += 1;
            return;
        };
        if random.chance(faults.reordering) {
            self.coverage.reordered += 1;
            at += random.below(5_000_000 + self.links[direction as usize].path.delay_ns);
        }
        if random.chance(faults.corruption) && self.may_corrupt(&packet) {
            self.coverage.corrupted += 1;
            if packet.get(12..14) == Some(&[8, 6]) {
                // ARP has no checksum but the frame's, and the NIC drops what that does not match.
                return;
            }
            let bit = random.below(packet.len() as u64 * 8) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        self.serial += 1;
        self.links[direction as usize]
            .packets
            .insert((at, self.serial), packet);
    }

    /// Whether one flipped bit is sure to be noticed, or to do no harm: not a second one in the fragments
    /// of one datagram, since the Internet checksum does not tell two that make up for each other.
    fn may_corrupt(&mut self, packet: &[u8]) -> bool {
        datagram_of_fragment(packet).is_none_or(|id| self.corrupted_datagrams.insert(id))
    }

    /// The next packet that has arrived.
    pub(crate) fn arrived(&mut self, direction: Direction, now: u64) -> Option<Vec<u8>> {
        let entry = self.links[direction as usize].packets.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the next packet arrives, at either end.
    pub(crate) fn next_arrival(&self) -> Option<u64> {
        let first = |link: &Link| link.packets.first_key_value().map(|(&(at, _), _)| at);
        self.links.iter().filter_map(first).min()
    }
}

impl Link {
    /// When a packet that is sent now arrives; `None` if the bottleneck's queue has no room for it.
    ///
    /// Of what finds it full some gets in: otherwise hosts whose timers run in step lose the same packets every time
    /// (Floyd and Jacobson, "On Traffic Phase Effects in Packet-Switched Gateways", 1991), which no wire does for long.
    fn arrival(&mut self, now: u64, len: usize, random: &mut Random) -> Option<u64> {
        let mut leaves = now;
        if self.path.rate_bytes_per_s > 0 {
            let time_of = |bytes: u64| (bytes * 1_000_000_000).div_ceil(self.path.rate_bytes_per_s);
            let starts = self.free_at.max(now);
            let (waits, most) = (starts - now, time_of(self.path.queue_bytes));
            if waits > most && random.below(waits) > most {
                return None;
            }
            leaves = starts + time_of(len as u64);
            self.free_at = leaves;
        }
        let jitter = random.below(self.path.jitter_ns + 1);
        self.last_arrival = self.last_arrival.max(leaves + self.path.delay_ns + jitter);
        Some(self.last_arrival)
    }
}

/// What all fragments of one datagram have in common, if the packet is one: addresses, protocol (IPv4)
/// and identification.
fn datagram_of_fragment(packet: &[u8]) -> Option<Vec<u8>> {
    let ip = packet.get(ETHERNET..)?;
    match (packet.get(12..14)?, ip.len()) {
        ([8, 0], 20..) => {
            let is_fragment = ip[6] & 0x3f != 0 || ip[7] != 0;
            is_fragment.then(|| [&ip[4..6], &ip[9..10], &ip[12..20]].concat())
        }
        ([0x86, 0xdd], 48..) => (ip[6] == 44).then(|| [&ip[8..40], &ip[44..48]].concat()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
