//! The neighbour table: which Ethernet address an IP address on the link has.
//!
//! ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861) share it, with the states of RFC 4861,
//! section 7.3.2, as in Linux (`net/core/neighbour.c`). It builds no packet and sends none: it says
//! what to solicit, keeps the packets that wait for an answer, and gives them back.
//!
//! Every operation costs a hash lookup and at most a logarithm; nothing walks the table.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;

use ringwire_tcp::Instant;

mod config;
pub mod dad;
mod random;
mod recent;

pub use config::Config;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What became of a packet given to [`Table::resolve`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the packet may have come back"]
pub enum Resolve<P> {
    /// The neighbour is known: the packet can be sent to this address now.
    Known(Mac, P),
    /// The packet waits for the neighbour's answer.
    Queued {
        /// A solicitation (broadcast, or to the solicited-node group) is to be sent now.
        solicit: bool,
        /// The oldest packet that waited for this neighbour, which had to make way.
        evicted: Option<P>,
    },
    /// The neighbour did not answer a moment ago: the destination is unreachable.
    Failed(P),
    /// The table is full of neighbours in use, or too many packets wait.
    Full(P),
}

/// How a neighbour's Ethernet address came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learn {
    /// An answer to us: an ARP reply to our address (which overrides), or a neighbour
    /// advertisement with the Solicited flag.
    Solicited {
        /// The advertisement's Override flag.
        overrides: bool,
    },
    /// An announcement to everybody: gratuitous ARP (which overrides), or a neighbour advertisement
    /// without the Solicited flag. It changes an entry, but never makes one.
    Unsolicited {
        /// The advertisement's Override flag.
        overrides: bool,
    },
    /// The sender's address in an ARP request or a neighbour solicitation for one of our addresses.
    /// It makes an entry while there is room.
    Request,
}

/// What [`Table::poll`] asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<P> {
    /// Send a solicitation.
    Solicit {
        /// Who is asked for.
        ip: IpAddr,
        /// Where to send it: to the known address that is being checked, or to everybody.
        unicast: Option<Mac>,
    },
    /// The neighbour does not answer: whoever remembers its Ethernet address must forget it.
    Failed {
        /// The neighbour.
        ip: IpAddr,
        /// The packets that waited for it; none if it was known before.
        packets: Vec<P>,
    },
}

/// Events since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Solicitations asked for, the first ones and the repeated ones.
    pub solicits: u64,
    /// Neighbours that never answered.
    pub unresolved: u64,
    /// Known neighbours that stopped answering.
    pub lost: u64,
    /// Neighbours forgotten because they were idle.
    pub expired: u64,
    /// Neighbours forgotten early to make room.
    pub evicted: u64,
    /// Waiting packets replaced by newer ones.
    pub packets_evicted: u64,
    /// Packets refused because the table or the waiting room was full.
    pub packets_refused: u64,
    /// A known neighbour changed its Ethernet address.
    pub moved: u64,
    /// Claims with an address that no host has: a group's, zero, or an unspecified IP address.
    pub learn_invalid: u64,
    /// Claims not believed: for no entry of ours, without the right to override, or without room.
    pub learn_ignored: u64,
}

/// The states of RFC 4861, section 7.3.2.
#[derive(Debug)]
enum State<P> {
    /// INCOMPLETE: asked for `tries` times, no answer yet.
    Incomplete { queue: VecDeque<P>, tries: u32 },
    /// REACHABLE until `fresh_until`, then STALE.
    Known { fresh_until: Instant },
    /// DELAY (no `tries` yet), then PROBE: still used, but it must confirm its address.
    Probe { tries: u32 },
    /// Asked for in vain.
    Failed,
}

#[derive(Debug)]
struct Entry<P> {
    state: State<P>,
    /// Meaningless in `Incomplete` and `Failed`.
    mac: Mac,
    /// When a packet was last sent to it, if ever.
    used: Option<Instant>,
    /// Under which the entry stands in `retries` or `expiries`, as its state says.
    deadline: Instant,
}

impl<P> Entry<P> {
    /// Whether the deadline is the next solicitation's. Such an entry is never evicted.
    fn is_asking(&self) -> bool {
        matches!(self.state, State::Incomplete { .. } | State::Probe { .. })
    }

    fn is_resolved(&self) -> bool {
        matches!(self.state, State::Known { .. } | State::Probe { .. })
    }
}

/// The neighbours on one link, and the packets `P` that wait for them.
#[derive(Debug)]
pub struct Table<P> {
    config: Config,
    entries: HashMap<IpAddr, Entry<P>, FixedState>,
    /// Every entry that is being asked for, by its next solicitation.
    retries: BTreeSet<(Instant, IpAddr)>,
    /// Every other entry, by when it is forgotten. A lookup does not move its entry, so an entry
    /// may stand too early here, never too late: it is moved when its turn comes.
    expiries: BTreeSet<(Instant, IpAddr)>,
    pending: usize,
    random: random::Random,
    counters: Counters,
    recent: Option<recent::Recent>,
}

impl<P> Table<P> {
    /// An empty table. The seed chooses the hash function and the reachable times; where peers can
    /// choose addresses it should be unknown to them.
    ///
    /// # Panics
    /// If a limit or `tries` is zero, or `idle` is shorter than twice `in_use`.
    pub fn new(config: Config, seed: u64) -> Table<P> {
        assert!(
            config.capacity > 0 && config.pending_per_neighbour > 0 && config.pending_total > 0,
            "a neighbour table with a limit of zero resolves nothing"
        );
        assert!(
            config.tries > 0,
            "a neighbour must be asked for at least once"
        );
        assert!(
            config.idle >= config.in_use.saturating_mul(2),
            "a neighbour in use must not come near to idle"
        );
        Table {
            config,
            entries: HashMap::with_hasher(FixedState::with_seed(seed)),
            retries: BTreeSet::new(),
            expiries: BTreeSet::new(),
            pending: 0,
            random: random::Random::new(seed),
            counters: Counters::default(),
            recent: None,
        }
    }

    /// Number of neighbours, those asked for included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no neighbours.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Packets that wait.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Events so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Finds the neighbour a packet is for, or keeps the packet while the neighbour is asked for.
    pub fn resolve(&mut self, now: Instant, ip: IpAddr, packet: P) -> Resolve<P> {
        if let Some(mac) = self.lookup(now, ip) {
            return Resolve::Known(mac, packet);
        }
        self.forget_recent();
        match self.entries.get(&ip) {
            Some(entry) if !entry.is_asking() && now < entry.deadline => Resolve::Failed(packet),
            Some(entry) if entry.is_asking() => self.join(ip, packet),
            _ => self.ask(now, ip, packet),
        }
    }

    /// Queues one more packet behind an entry that is being asked for.
    fn join(&mut self, ip: IpAddr, packet: P) -> Resolve<P> {
        let config = &self.config;
        let entry = self.entries.get_mut(&ip).expect("resolve found it");
        let State::Incomplete { queue, .. } = &mut entry.state else {
            unreachable!("an entry that is being asked for and not resolved is incomplete");
        };
        // The newest packet is worth the most, as in Linux (`__neigh_event_send`).
        let full =
            queue.len() >= config.pending_per_neighbour || self.pending >= config.pending_total;
        let evicted = if full { queue.pop_front() } else { None };
        queue.push_back(packet);
        match evicted {
            Some(_) => self.counters.packets_evicted += 1,
            None => self.pending += 1,
        }
        Resolve::Queued {
            solicit: false,
            evicted,
        }
    }

    /// Starts asking for a neighbour.
    fn ask(&mut self, now: Instant, ip: IpAddr, packet: P) -> Resolve<P> {
        self.remove(ip);
        if self.pending >= self.config.pending_total || !self.make_room(now) {
            self.counters.packets_refused += 1;
            return Resolve::Full(packet);
        }
        self.pending += 1;
        self.counters.solicits += 1;
        let state = State::Incomplete {
            queue: VecDeque::from([packet]),
            tries: 1,
        };
        self.insert(ip, state, [0; 6], None, now + self.config.retry);
        Resolve::Queued {
            solicit: true,
            evicted: None,
        }
    }

    /// Takes note of a neighbour's claim to an Ethernet address (RFC 4861, sections 7.2.3 and
    /// 7.2.5; RFC 826). The packets that waited for it are put into `sendable`.
    ///
    /// A neighbour advertisement without a link-layer address is [`Table::confirm`]'s.
    pub fn learn(&mut self, now: Instant, ip: IpAddr, mac: Mac, how: Learn, sendable: &mut Vec<P>) {
        self.forget_recent();
        if !is_host(ip, mac) {
            self.counters.learn_invalid += 1;
            return;
        }
        match self.entries.get(&ip) {
            None => self.learn_new(now, ip, mac, how),
            Some(entry) if entry.is_resolved() => self.learn_again(now, ip, mac, how),
            Some(_) => self.learn_first(now, ip, mac, how, sendable),
        }
    }

    fn learn_new(&mut self, now: Instant, ip: IpAddr, mac: Mac, how: Learn) {
        if how != Learn::Request || self.entries.len() >= self.config.capacity {
            self.counters.learn_ignored += 1;
            return;
        }
        let state = State::Known { fresh_until: now };
        self.insert(ip, state, mac, None, now + self.config.in_use);
    }

    /// An entry that was asked for gets its address.
    fn learn_first(
        &mut self,
        now: Instant,
        ip: IpAddr,
        mac: Mac,
        how: Learn,
        sendable: &mut Vec<P>,
    ) {
        let waiting = self.remove(ip);
        let used = (!waiting.is_empty()).then_some(now);
        self.pending -= waiting.len();
        sendable.extend(waiting);
        let solicited = matches!(how, Learn::Solicited { .. });
        let fresh_until = if solicited {
            self.fresh_until(now)
        } else {
            now
        };
        self.insert(
            ip,
            State::Known { fresh_until },
            mac,
            used,
            self.expiry(now, used),
        );
        if used.is_some() && !solicited {
            self.doubt(now, ip);
        }
    }

    /// An entry that has an address hears of it again, or of another one.
    fn learn_again(&mut self, now: Instant, ip: IpAddr, mac: Mac, how: Learn) {
        let entry = self.entries.get_mut(&ip).expect("learn found it");
        let same = entry.mac == mac;
        let (solicited, overrides) = match how {
            Learn::Solicited { overrides } => (true, overrides),
            Learn::Unsolicited { overrides } => (false, overrides),
            Learn::Request => (false, true),
        };
        if !same && !overrides {
            // Two hosts, or two addresses of one: the old one is kept but must prove itself.
            if let State::Known { fresh_until } = &mut entry.state {
                *fresh_until = (*fresh_until).min(now);
            }
            self.counters.learn_ignored += 1;
            return;
        }
        self.counters.moved += u64::from(!same);
        entry.mac = mac;
        if solicited {
            self.confirm(now, ip);
        } else if !same {
            self.settle(now, ip, now);
        }
    }

    /// The neighbour was heard to receive what we send: a solicited advertisement without an
    /// address, or progress of a connection (RFC 4861, section 7.3.1). Nothing if it is not known.
    pub fn confirm(&mut self, now: Instant, ip: IpAddr) {
        self.forget_recent();
        if self.entries.get(&ip).is_some_and(Entry::is_resolved) {
            let fresh_until = self.fresh_until(now);
            self.settle(now, ip, fresh_until);
        }
    }

    /// Who asks for us says that the neighbour does not answer; returns the packets that waited for it.
    pub fn fail(&mut self, now: Instant, ip: IpAddr) -> VecDeque<P> {
        self.forget_recent();
        match self.entries.get(&ip) {
            Some(entry) if entry.is_asking() => match self.give_up(now, ip) {
                Action::Failed { packets, .. } => packets.into(),
                Action::Solicit { .. } => unreachable!("to give up is to fail"),
            },
            // It is asked again when it is used again.
            Some(entry) if entry.is_resolved() => {
                self.counters.lost += 1;
                self.remove(ip)
            }
            _ => VecDeque::new(),
        }
    }

    /// Does what is due: asks again, gives up, forgets.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        self.forget_recent();
        while let Some(&(deadline, ip)) = self.retries.first() {
            if deadline > now {
                break;
            }
            out.push(self.retry(now, ip));
        }
        while let Some(&(deadline, ip)) = self.expiries.first() {
            if deadline > now {
                break;
            }
            if !self.refresh_expiry(ip) {
                self.remove(ip);
                self.counters.expired += 1;
            }
        }
    }

    /// When [`Table::poll`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let retry = self.retries.first().map(|&(deadline, _)| deadline);
        let expiry = self.expiries.first().map(|&(deadline, _)| deadline);
        retry.into_iter().chain(expiry).min()
    }

    /// Forgets everything, as when the link went down, and gives the waiting packets back.
    pub fn clear(&mut self) -> Vec<P> {
        self.forget_recent();
        self.expiries.clear();
        let asking = std::mem::take(&mut self.retries);
        let mut packets = Vec::with_capacity(self.pending);
        // In the order of the deadlines, because a hash table's order is nobody's.
        for (_, ip) in asking {
            if let Some(State::Incomplete { queue, .. }) = self.entries.remove(&ip).map(|e| e.state)
            {
                packets.extend(queue);
            }
        }
        self.entries.clear();
        self.pending = 0;
        packets
    }

    /// The deadline of an entry that is being asked for has come.
    fn retry(&mut self, now: Instant, ip: IpAddr) -> Action<P> {
        let entry = self.entries.get_mut(&ip).expect("retries names entries");
        let (tries, unicast) = match &mut entry.state {
            State::Incomplete { tries, .. } => (tries, None),
            State::Probe { tries } => (tries, Some(entry.mac)),
            State::Known { .. } | State::Failed => {
                unreachable!("only what is asked for is retried")
            }
        };
        if *tries >= self.config.tries {
            return self.give_up(now, ip);
        }
        let wait = self
            .config
            .retry
            .saturating_mul(1u32.checked_shl(*tries).unwrap_or(u32::MAX));
        *tries += 1;
        self.counters.solicits += 1;
        self.reschedule(ip, now + wait);
        Action::Solicit { ip, unicast }
    }

    fn give_up(&mut self, now: Instant, ip: IpAddr) -> Action<P> {
        let was_known = self.entries[&ip].is_resolved();
        let packets = self.remove(ip);
        self.pending -= packets.len();
        if was_known {
            // Perhaps it has another address by now: the next packet asks everybody, at once.
            self.counters.lost += 1;
        } else {
            self.counters.unresolved += 1;
            self.insert(
                ip,
                State::Failed,
                [0; 6],
                None,
                now + self.config.failed_hold,
            );
        }
        Action::Failed {
            ip,
            packets: packets.into(),
        }
    }

    /// A stale entry was used: it is probed after a while, if nothing confirms it before.
    fn doubt(&mut self, now: Instant, ip: IpAddr) {
        self.set_state(ip, State::Probe { tries: 0 }, now + self.config.delay);
    }

    /// An entry with an address has been confirmed, or put in doubt, by its owner.
    fn settle(&mut self, now: Instant, ip: IpAddr, fresh_until: Instant) {
        let used = self.entries[&ip].used;
        self.set_state(ip, State::Known { fresh_until }, self.expiry(now, used));
    }

    fn fresh_until(&mut self, now: Instant) -> Instant {
        let mean_ns = u64::try_from(self.config.reachable.as_nanos()).unwrap_or(u64::MAX / 2);
        now + Duration::from_nanos(mean_ns / 2 + self.random.below(mean_ns.max(1)))
    }

    /// When an entry without a solicitation under way is forgotten. One that was never used makes
    /// way before all that are in use.
    fn expiry(&self, now: Instant, used: Option<Instant>) -> Instant {
        used.map_or(now + self.config.in_use, |used| used + self.config.idle)
    }

    /// Moves an entry to its proper place among the expiries; `false` if it is there.
    fn refresh_expiry(&mut self, ip: IpAddr) -> bool {
        let entry = &self.entries[&ip];
        let Some(used) = entry.used else { return false };
        let expiry = used + self.config.idle;
        let moves = expiry > entry.deadline;
        if moves {
            self.reschedule(ip, expiry);
        }
        moves
    }

    /// Makes room for one more entry, if need be at the expense of the one not used for longest.
    fn make_room(&mut self, now: Instant) -> bool {
        /// Entries looked at for one packet, so that no packet pays for the whole table.
        const LOOKS: usize = 8;
        if self.entries.len() < self.config.capacity {
            return true;
        }
        for _ in 0..LOOKS {
            let Some(&(_, ip)) = self.expiries.first() else {
                return false;
            };
            if self.refresh_expiry(ip) {
                continue;
            }
            // The first one in its proper place is the one not used for longest.
            if self.entries[&ip]
                .used
                .is_some_and(|used| now - used < self.config.in_use)
            {
                return false;
            }
            self.remove(ip);
            self.counters.evicted += 1;
            return true;
        }
        false
    }

    fn insert(
        &mut self,
        ip: IpAddr,
        state: State<P>,
        mac: Mac,
        used: Option<Instant>,
        deadline: Instant,
    ) {
        let entry = Entry {
            state,
            mac,
            used,
            deadline,
        };
        self.deadlines(entry.is_asking()).insert((deadline, ip));
        let before = self.entries.insert(ip, entry);
        assert!(before.is_none(), "a neighbour is entered once");
    }

    /// Removes an entry, if there is one, and returns what waited for it (still in `pending`).
    fn remove(&mut self, ip: IpAddr) -> VecDeque<P> {
        let Some(entry) = self.entries.remove(&ip) else {
            return VecDeque::new();
        };
        self.deadlines(entry.is_asking())
            .remove(&(entry.deadline, ip));
        match entry.state {
            State::Incomplete { queue, .. } => queue,
            State::Known { .. } | State::Probe { .. } | State::Failed => VecDeque::new(),
        }
    }

    fn set_state(&mut self, ip: IpAddr, state: State<P>, deadline: Instant) {
        let entry = self.entries.get_mut(&ip).expect("the caller found it");
        let (was_asking, was_due) = (entry.is_asking(), entry.deadline);
        entry.state = state;
        entry.deadline = deadline;
        let is_asking = entry.is_asking();
        self.deadlines(was_asking).remove(&(was_due, ip));
        self.deadlines(is_asking).insert((deadline, ip));
    }

    fn reschedule(&mut self, ip: IpAddr, deadline: Instant) {
        let entry = self.entries.get_mut(&ip).expect("the caller found it");
        let was_due = std::mem::replace(&mut entry.deadline, deadline);
        let asking = entry.is_asking();
        let deadlines = self.deadlines(asking);
        deadlines.remove(&(was_due, ip));
        deadlines.insert((deadline, ip));
    }

    fn deadlines(&mut self, asking: bool) -> &mut BTreeSet<(Instant, IpAddr)> {
        if asking {
            &mut self.retries
        } else {
            &mut self.expiries
        }
    }
}

/// Whether one host can have these addresses (RFC 1812, section 3.3.2).
fn is_host(ip: IpAddr, mac: Mac) -> bool {
    const GROUP_BIT: u8 = 1;
    let group_ip = ip.is_multicast() || ip == IpAddr::from([255; 4]);
    mac[0] & GROUP_BIT == 0 && mac != [0; 6] && !group_ip && !ip.is_unspecified()
}

#[cfg(test)]
mod tests;
