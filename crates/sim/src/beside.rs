//! The kernel of a host whose addresses are shared: it keeps them, answers for them, finds neighbours, holds ports, and
//! hands over what only it can read. Its news come late, in bursts, and of what has changed meanwhile.
//!
//! It is also where the checkers stand that look at what a ring does beside a kernel.

mod checks;
mod fragments;
mod frames;
mod holding;
mod standin;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use ringwire_stack::{Cidr, Instant, Kernel, KernelEvent, Neighbour, Protocol, SocketError};
use smoltcp::wire::{TcpPacket, UdpPacket};

use crate::coverage::Coverage;
use crate::host::HostConfig;
use crate::random::Random;
use crate::too_big::{ROUTER_MAC, ROUTER_V4, ROUTER_V6};
use checks::Flows;
use fragments::{Fragments, fragment};
use frames::{Heard, Mac, heard};
use holding::Held;
use standin::StandIn;

const MS: u64 = 1_000_000;
/// Between two requests of a neighbour's address, and how many there are (`RETRANS_TIMER`, `MCAST_SOLICIT`).
const ASK_EVERY_NS: u64 = 1_000 * MS;
const ASKS: u32 = 3;
/// How long a confirmation is worth something, at least (`MIN_RANDOM_FACTOR` of `REACHABLE_TIME`), and what is added at most.
const SURE_NS: u64 = 15_000 * MS;
const SURE_MORE_NS: u64 = 30_000 * MS;
/// The longest that news takes, that an address or a way is gone, and that ports are refused.
const LATE_NS: u64 = 200 * MS;
const GONE_NS: u64 = 3_000 * MS;
const REFUSED_NS: u64 = 500 * MS;

/// Where packets to the link go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Direct,
    Router,
    Nowhere,
}

#[derive(Debug)]
struct Entry {
    mac: Option<Mac>,
    /// Until when that is confirmed.
    sure_until: Instant,
    /// It did not answer.
    failed: bool,
    /// It is being asked for: how often it was, and when it is again.
    asking: Option<(u32, Instant)>,
}

pub(crate) struct State {
    random: Random,
    now: Instant,
    v4: IpAddr,
    v6: IpAddr,
    mac: Mac,
    mtu: u16,
    own_mtu: u16,
    /// Whether its Ethernet address may change.
    may_move: bool,
    /// Of IPv4 and of IPv6: when an address that is gone comes back.
    gone_until: [Option<Instant>; 2],
    /// What the ring has been told of that.
    told: [bool; 2],
    /// What it has been told in its turn, or when something was sent that waited for room until now.
    may_send: [bool; 2],
    /// Ethernet addresses that it has been told.
    told_macs: BTreeSet<Mac>,
    way: Way,
    way_until: Option<Instant>,
    /// What routes say of MTUs.
    route_mtu: Option<u16>,
    neighbours: BTreeMap<IpAddr, Entry>,
    refuses: Option<(SocketError, Instant)>,
    held: Vec<Held>,
    /// Given back since the ring's packets were looked at.
    released: Vec<(Protocol, SocketAddr)>,
    next_port: u16,
    /// With the time from which they can be heard, in order.
    events: VecDeque<(Instant, KernelEvent)>,
    fragments: Fragments,
    flows: Flows,
    /// What goes out by the kernel itself.
    frames: Vec<Vec<u8>>,
    /// The application closes everything.
    ending: bool,
    violation: Option<String>,
    coverage: Coverage,
}

/// A host's handle on its kernel; the stack has the other.
pub(crate) struct Beside(Arc<Mutex<State>>);

impl Beside {
    pub(crate) fn new(now: Instant, config: &HostConfig<'_>) -> Beside {
        let (address, mtu) = (config.address, config.mtu);
        Beside(Arc::new(Mutex::new(State {
            random: Random::new(config.seed.rotate_left(40)),
            now,
            v4: address.v4,
            v6: address.v6,
            mac: address.mac,
            mtu,
            own_mtu: mtu,
            may_move: config.may_move,
            gone_until: [None; 2],
            told: [true; 2],
            may_send: [true; 2],
            told_macs: BTreeSet::new(),
            way: Way::Direct,
            way_until: None,
            route_mtu: None,
            neighbours: BTreeMap::new(),
            refuses: None,
            held: Vec::new(),
            released: Vec::new(),
            next_port: holding::FIRST_EPHEMERAL,
            events: VecDeque::new(),
            fragments: Fragments::default(),
            flows: Flows::default(),
            frames: Vec::new(),
            ending: false,
            violation: None,
            coverage: Coverage::default(),
        })))
    }

    /// What the stack has of it.
    pub(crate) fn kernel(&self) -> Box<dyn Kernel> {
        Box::new(StandIn(Arc::clone(&self.0)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }

    pub(crate) fn mac(&self) -> Mac {
        self.state().mac
    }

    /// A frame has arrived. Whether it is the ring's.
    pub(crate) fn steers(&self, frame: &[u8]) -> bool {
        self.state().steers(frame)
    }

    /// What was steered is in a ring.
    pub(crate) fn taken(&self, frame: &[u8]) {
        self.state().note_received(frame);
    }

    /// The ring has had its turn, and handed over packets that begin so.
    /// `all`: nothing is left that waits for room.
    pub(crate) fn posted(&self, heads: &[Vec<u8>], all: bool) {
        self.state().look_at(heads, all);
    }

    /// A port that the application uses must be held.
    pub(crate) fn uses(&self, port: u16) {
        self.state().must_hold(port);
    }

    /// Time has come to this, with so many changes in a thousand steps; returns what goes out.
    pub(crate) fn step(&self, now: Instant, changes: u32, coverage: &mut Coverage) -> Vec<Vec<u8>> {
        let mut state = self.state();
        state.now = now;
        state.come_back();
        state.ask_neighbours();
        if state.random.chance(changes) {
            state.change();
        }
        *coverage += std::mem::take(&mut state.coverage);
        std::mem::take(&mut state.frames)
    }

    /// All is as it was.
    pub(crate) fn calm(&self) {
        let mut state = self.state();
        let now = state.now;
        for gone in state.gone_until.iter_mut().flatten() {
            *gone = now;
        }
        state.way_until = state.way_until.map(|_| now);
        state.refuses = None;
        state.come_back();
        state.mtu = state.own_mtu;
        state.say_link();
        state.announce();
    }

    /// The application closes everything, or is gone.
    pub(crate) fn end(&self) {
        self.state().ending = true;
    }

    /// Nothing is held but what the stack keeps for connections to come.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.state().holds_spares_only()
    }

    /// What is held, for a violation's text.
    pub(crate) fn held(&self) -> String {
        self.state().held_text()
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.state().violation.take()
    }
}

impl State {
    fn has(&self, ip: IpAddr) -> bool {
        ip == self.v4 && self.gone_until[0].is_none()
            || ip == self.v6 && self.gone_until[1].is_none()
    }

    fn own(&self, family_of: IpAddr) -> IpAddr {
        if family_of.is_ipv4() {
            self.v4
        } else {
            self.v6
        }
    }

    fn violates(&mut self, violation: String) {
        self.violation.get_or_insert(violation);
    }

    /// What a steering program and the kernel behind it do with a frame. Whether it is the ring's.
    fn steers(&mut self, frame: &[u8]) -> bool {
        let to = frame.first_chunk::<6>();
        if to.is_none_or(|to| *to != self.mac && to[0] & 1 == 0) {
            self.coverage.not_ours += 1;
            return false;
        }
        if let Some(heard) = heard(frame) {
            self.hear(heard);
            return false;
        }
        if let Some(fragment) = fragment(frame) {
            self.put_together(&fragment);
            return false;
        }
        let Some(packet) = checks::packet(frame) else {
            return false;
        };
        let local = packet.to.ip();
        if !self.has(local) {
            return false;
        }
        match packet.protocol {
            1 | 58 => self.hear_icmp(&packet),
            6 if self.covers(Protocol::Tcp, packet.to) => return true,
            17 if self.covers(Protocol::Udp, packet.to) => return true,
            6 => self.refuse(frame, &packet),
            _ => {}
        }
        false
    }

    fn refuse(&mut self, frame: &[u8], packet: &checks::Head<'_>) {
        let Ok(segment) = TcpPacket::new_checked(packet.payload) else {
            return;
        };
        let (from, to) = (packet.from.ip(), packet.to.ip());
        if !segment.verify_checksum(&from.into(), &to.into()) {
            return;
        }
        let back = frame[6..12].try_into().expect("six bytes");
        let refusal = frames::refusal(self.mac, back, (from, to), &segment);
        self.coverage.refused_by_kernel += u64::from(refusal.is_some());
        self.frames.extend(refusal);
    }

    fn hear_icmp(&mut self, packet: &checks::Head<'_>) {
        let (from, to) = (packet.from.ip(), packet.to.ip());
        let is_right = match (from, to) {
            (IpAddr::V4(_), _) => {
                let message = smoltcp::wire::Icmpv4Packet::new_checked(packet.payload);
                message.is_ok_and(|message| message.verify_checksum())
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let message = smoltcp::wire::Icmpv6Packet::new_checked(packet.payload);
                message.is_ok_and(|message| message.verify_checksum(&from, &to))
            }
            _ => false,
        };
        if is_right {
            self.coverage.errors_told += 1;
            let message = packet.payload.to_vec();
            self.say(KernelEvent::Icmp { from, message });
        }
    }

    fn put_together(&mut self, fragment: &fragments::Fragment<'_>) {
        if !self.has(fragment.to) {
            return;
        }
        let Some(whole) = self.fragments.take(self.now, fragment) else {
            return;
        };
        // What is not UDP is the kernel's, or nobody's.
        let Ok(datagram) = UdpPacket::new_checked(&whole[..]) else {
            return;
        };
        let (from, to) = (fragment.from, fragment.to);
        if fragment.protocol != 17 || !datagram.verify_checksum(&from.into(), &to.into()) {
            return;
        }
        let to = SocketAddr::new(to, datagram.dst_port());
        if self.covers(Protocol::Udp, to) {
            self.coverage.drained += 1;
            self.say(KernelEvent::Datagram {
                from: SocketAddr::new(from, datagram.src_port()),
                to,
                payload: datagram.payload().to_vec(),
            });
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Asked { target, by, mac } if self.has(target) => {
                if by.is_unspecified() || by == target {
                    return;
                }
                let answer = frames::answer((self.mac, target), Some((mac, by)));
                self.frames.extend(answer);
                let entry = self.entry(by);
                if entry.mac != Some(mac) {
                    self.learn(by, mac, false);
                }
            }
            // Who announces itself asks for itself.
            Heard::Asked { target, by, mac } if target == by => self.hear_news(by, mac, false),
            Heard::Asked { .. } => {}
            Heard::Told { address, mac } => {
                let asked = self.neighbours.get(&address);
                let sure = asked.is_some_and(|entry| entry.asking.is_some());
                self.hear_news(address, mac, sure);
            }
        }
    }

    /// Of a neighbour that the kernel has an entry for.
    fn hear_news(&mut self, address: IpAddr, mac: Mac, sure: bool) {
        let known = self.neighbours.get(&address);
        if known.is_some_and(|entry| sure || entry.mac.is_some_and(|known| known != mac)) {
            self.learn(address, mac, sure);
        }
    }

    fn entry(&mut self, ip: IpAddr) -> &mut Entry {
        let never = Instant::ZERO;
        self.neighbours.entry(ip).or_insert(Entry {
            mac: None,
            sure_until: never,
            failed: false,
            asking: None,
        })
    }

    fn learn(&mut self, address: IpAddr, mac: Mac, sure: bool) {
        let more = self.random.below(SURE_MORE_NS);
        let until = later(self.now, SURE_NS + more);
        let now = self.now;
        let entry = self.entry(address);
        let moved = entry.mac.is_some_and(|known| known != mac);
        entry.mac = Some(mac);
        entry.failed = false;
        entry.sure_until = if sure { until } else { now };
        if sure {
            entry.asking = None;
        }
        self.coverage.neighbours_moved += u64::from(moved);
        let is = Neighbour::Known { mac, sure };
        self.say(KernelEvent::Neighbour { address, is });
    }

    /// Asks again, or gives up.
    fn ask_neighbours(&mut self) {
        let now = self.now;
        let due = |(_, at): (u32, Instant)| at <= now;
        let asked = self.neighbours.iter();
        let asked = asked.filter(|(_, entry)| entry.asking.is_some_and(due));
        for ip in asked.map(|(&ip, _)| ip).collect::<Vec<_>>() {
            let entry = self.entry(ip);
            let (asks, _) = entry.asking.expect("it is due");
            if asks == ASKS {
                (entry.mac, entry.failed, entry.asking) = (None, true, None);
                self.fails(ip);
                continue;
            }
            entry.asking = Some((asks + 1, later(now, ASK_EVERY_NS)));
            let from = self.own(ip);
            if ip == router(ip) {
                // It is the wire's: it answers, mostly.
                if self.random.chance(700) {
                    self.learn(ip, ROUTER_MAC, true);
                }
            } else if self.has(from) {
                self.frames.extend(frames::request((self.mac, from), ip));
            }
        }
    }

    fn fails(&mut self, address: IpAddr) {
        self.coverage.neighbours_failed += 1;
        let is = Neighbour::Failed;
        self.say(KernelEvent::Neighbour { address, is });
    }

    /// News goes its way, now and then a long one.
    fn say(&mut self, event: KernelEvent) {
        let mut at = self.events.back().map_or(self.now, |(last, _)| *last);
        at = at.max(self.now);
        if self.random.chance(100) {
            self.coverage.late_news += 1;
            at = at.max(later(self.now, self.random.below(LATE_NS)));
        }
        self.events.push_back((at, event));
    }

    fn say_addresses(&mut self) {
        let cidr = |address, prefix_bits| Cidr {
            address,
            prefix_bits,
        };
        let all = [cidr(self.v4, 24), cidr(self.v6, 64)];
        let has = |cidr: &Cidr| self.has(cidr.address);
        let now = all.into_iter().filter(has).collect();
        self.say(KernelEvent::Addresses(now));
    }

    fn say_link(&mut self) {
        let (mac, mtu) = (self.mac, self.mtu);
        self.say(KernelEvent::Link { mac, mtu });
    }

    /// Tells everybody on the link where the addresses are.
    fn announce(&mut self) {
        for ip in [self.v4, self.v6] {
            if self.has(ip) {
                self.frames.extend(frames::answer((self.mac, ip), None));
            }
        }
    }

    /// What was gone for a while is there again.
    fn come_back(&mut self) {
        let now = self.now;
        let mut back = false;
        for gone in &mut self.gone_until {
            back |= gone.take_if(|at| *at <= now).is_some();
        }
        if back {
            self.coverage.addresses_back += 1;
            self.say_addresses();
            self.say(KernelEvent::Routes);
            self.announce();
        }
        if self.way_until.take_if(|at| *at <= now).is_some() {
            self.way = Way::Direct;
            self.route_mtu = None;
            self.say(KernelEvent::Routes);
        }
        self.refuses.take_if(|(_, until)| *until <= now);
    }

    /// Something changes.
    fn change(&mut self) {
        match self.random.below(9) {
            0 => self.trouble_a_neighbour(|state, ip, mac| {
                state.coverage.neighbours_stale += 1;
                let now = state.now;
                state.entry(ip).sure_until = now;
                let is = Neighbour::Known { mac, sure: false };
                state.say(KernelEvent::Neighbour { address: ip, is });
            }),
            1 => self.trouble_a_neighbour(|state, ip, _| {
                state.coverage.neighbours_forgotten += 1;
                state.neighbours.remove(&ip);
                let is = Neighbour::Unknown;
                state.say(KernelEvent::Neighbour { address: ip, is });
            }),
            2 => self.trouble_a_neighbour(|state, ip, _| {
                let entry = state.entry(ip);
                (entry.mac, entry.failed, entry.asking) = (None, true, None);
                state.fails(ip);
            }),
            3 => self.lose_an_address(),
            4 => {
                let others = [1280, 1400, self.own_mtu];
                self.mtu = *self.random.one_of(&others);
                self.coverage.interface_mtu_changes += 1;
                self.say_link();
            }
            5 if !self.may_move => {}
            5 => {
                self.mac[4] = self.random.next() as u8;
                self.coverage.own_moves += 1;
                self.say_link();
                self.announce();
            }
            6 => self.change_ways(),
            7 => {
                let errors = [SocketError::AddressInUse, SocketError::TooManyFiles];
                let until = later(self.now, self.random.below(REFUSED_NS));
                self.refuses = Some((*self.random.one_of(&errors), until));
            }
            _ => {
                self.coverage.bursts += 1;
                for _ in 0..300 + self.random.below(400) {
                    match self.random.below(3) {
                        0 => self.say_addresses(),
                        1 => self.say_link(),
                        _ => self.say(KernelEvent::Routes),
                    }
                }
            }
        }
    }

    fn trouble_a_neighbour(&mut self, trouble: impl FnOnce(&mut State, IpAddr, Mac)) {
        let known = self.neighbours.iter();
        let known = known.filter_map(|(ip, entry)| Some((*ip, entry.mac?)));
        let known: Vec<(IpAddr, Mac)> = known.collect();
        if !known.is_empty() {
            let (ip, mac) = *self.random.one_of(&known);
            trouble(self, ip, mac);
        }
    }

    fn lose_an_address(&mut self) {
        let which = self.random.below(2) as usize;
        if self.gone_until[which].is_none() {
            self.coverage.addresses_lost += 1;
            self.gone_until[which] = Some(later(self.now, self.random.below(GONE_NS)));
            self.say_addresses();
            self.say(KernelEvent::Routes);
        }
    }

    fn change_ways(&mut self) {
        self.coverage.route_changes += 1;
        self.way = *self
            .random
            .one_of(&[Way::Direct, Way::Router, Way::Router, Way::Nowhere]);
        self.route_mtu = *self.random.one_of(&[None, Some(1280), Some(1400)]);
        self.way_until = Some(later(self.now, self.random.below(GONE_NS)));
        self.say(KernelEvent::Routes);
    }
}

fn later(now: Instant, ns: u64) -> Instant {
    Instant::from_nanos(now.as_nanos() + ns)
}

/// The router of a family.
fn router(family_of: IpAddr) -> IpAddr {
    match family_of {
        IpAddr::V4(_) => ROUTER_V4.into(),
        IpAddr::V6(_) => ROUTER_V6.into(),
    }
}
