//! A kernel in memory, for a stack with shared addresses: the test says what it knows, and sees what it was asked.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use super::build;
use super::harness::{
    Host, OUR_MAC, OUR_V4, OUR_V6, PEER_MAC, PEER_V4, PEER_V6, Pair, Setup, at, ip,
};
use crate::{Kernel, KernelEvent, Neighbour, Protocol, Reservation, Route, SocketError, Stack};

/// The first port that it gives to who does not care.
pub(super) const FIRST_EPHEMERAL: u16 = 40_000;

/// One socket of the kernel's that holds a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) wanted: Reservation,
    pub(super) guarded: bool,
}

impl Held {
    /// Whether bind(2) refuses one socket while there is the other.
    fn conflicts(&self, other: &Reservation) -> bool {
        let ours = &self.wanted;
        let families = |wanted: &Reservation| {
            let v6 = wanted.local.is_ipv6();
            let both = v6 && wanted.local.ip().is_unspecified() && !wanted.v6_only;
            (!v6 || both, v6)
        };
        let ((v4, v6), (other_v4, other_v6)) = (families(ours), families(other));
        let (ip, other_ip) = (ours.local.ip(), other.local.ip());
        let overlap = (v4 && other_v4 || v6 && other_v6)
            && (ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified());
        let shared = ours.reuse_address && other.reuse_address && !self.guarded
            || ours.reuse_port && other.reuse_port;
        ours.protocol == other.protocol
            && ours.local.port() == other.local.port()
            && overlap
            && !shared
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// What it says of packets from there (if that is decided) to there; without an entry the next one
    /// without a source is looked at, then whether the destination is on the link.
    pub(super) routes: HashMap<(Option<IpAddr>, IpAddr), Route>,
    pub(super) routes_asked: Vec<(Option<IpAddr>, IpAddr)>,
    /// How often the interface was another one.
    pub(super) relinked: u32,
    pub(super) neighbours: HashMap<IpAddr, Neighbour>,
    pub(super) neighbours_asked: Vec<IpAddr>,
    /// Ports that are held for the stack.
    pub(super) held: Vec<Held>,
    /// Every port that was asked for, granted or not.
    pub(super) wanted: Vec<Reservation>,
    /// Every port that was given back.
    pub(super) released: Vec<(Protocol, SocketAddr)>,
    /// Ports that others of the kernel's sockets have, of both protocols.
    pub(super) foreign: HashSet<u16>,
    /// How it refuses every port.
    pub(super) refuses: Option<SocketError>,
    /// How many ports it has left.
    pub(super) left: Option<usize>,
    /// How it refuses to keep silent.
    pub(super) refuses_guard: Option<SocketError>,
    pub(super) events: VecDeque<KernelEvent>,
}

impl State {
    fn is_free(&self, wanted: &Reservation) -> bool {
        !self.foreign.contains(&wanted.local.port())
            && !self.held.iter().any(|held| held.conflicts(wanted))
    }

    /// The ports held at addresses of a protocol, in order.
    pub(super) fn ports(&self, protocol: Protocol) -> Vec<SocketAddr> {
        let ours = |held: &&Held| held.wanted.protocol == protocol;
        let held = self.held.iter().filter(ours);
        let mut ports: Vec<_> = held.map(|held| held.wanted.local).collect();
        ports.sort();
        ports
    }
}

/// A handle on it: the stack has another.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeKernel(Arc<Mutex<State>>);

impl FakeKernel {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A kernel that knows the peer of the harness.
    pub(super) fn new() -> FakeKernel {
        let kernel = FakeKernel::default();
        for peer in [PEER_V4, PEER_V6] {
            kernel.knows(peer, PEER_MAC, true);
        }
        kernel
    }

    pub(super) fn knows(&self, neighbour: &str, mac: [u8; 6], sure: bool) {
        let known = Neighbour::Known { mac, sure };
        self.state().neighbours.insert(ip(neighbour), known);
    }

    /// Has packets to there, from anywhere or from this address, go by a neighbour.
    pub(super) fn routes(&self, from: Option<&str>, to: &str, route: Route) {
        let key = (from.map(ip), ip(to));
        self.state().routes.insert(key, route);
    }

    /// Something happens.
    pub(super) fn says(&self, event: KernelEvent) {
        self.state().events.push_back(event);
    }

    /// The addresses at which ports are held for TCP, in order.
    pub(super) fn tcp_ports(&self) -> Vec<SocketAddr> {
        self.state().ports(Protocol::Tcp)
    }

    pub(super) fn udp_ports(&self) -> Vec<SocketAddr> {
        self.state().ports(Protocol::Udp)
    }

    /// Whether the one socket that holds this address is silent.
    pub(super) fn is_guarded(&self, local: &str) -> bool {
        let state = self.state();
        let held = state
            .held
            .iter()
            .find(|held| held.wanted.local == at(local));
        held.expect("it is held").guarded
    }

    /// A host that stands beside it.
    pub(super) fn host(&self) -> Host {
        self.host_with(|_| {})
    }

    pub(super) fn host_with(&self, change: impl FnOnce(&mut Setup)) -> Host {
        // Those are the kernel's.
        let mut addresses = Vec::new();
        let mut host = Host::with(|setup| {
            change(setup);
            addresses = std::mem::take(&mut setup.config.addresses);
        });
        host.config.addresses = addresses;
        let (config, kernel) = (host.config.clone(), Box::new(self.clone()));
        host.stack = Stack::beside(host.now, config, kernel, &host.ledger, [7, 8, 9]);
        host
    }

    /// Two hosts on one wire, the first beside this kernel. They know each other: nobody answers for the first.
    pub(super) fn pair(&self) -> Pair {
        let mut pair = Pair::new();
        for peer in ["10.0.0.3", "fd00::3"] {
            self.knows(peer, pair.b.config.mac, true);
        }
        pair.a = self.host();
        let met = [
            build::arp_request(OUR_MAC, OUR_V4, "10.0.0.3"),
            build::neighbour_solicit(OUR_MAC, OUR_V6, "fd00::3"),
        ];
        for frame in &met {
            pair.b.receive(frame);
        }
        pair.b.sent();
        pair
    }
}

/// A way by this neighbour, from no address in particular, for packets of any length.
pub(super) fn via(neighbour: &str) -> Route {
    Route::Via {
        neighbour: ip(neighbour),
        source: None,
        mtu: None,
    }
}

impl Kernel for FakeKernel {
    fn relink(&mut self) {
        self.state().relinked += 1;
    }

    fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> Route {
        let mut state = self.state();
        state.routes_asked.push((from, to));
        let known = state.routes.get(&(from, to));
        if let Some(route) = known.or_else(|| state.routes.get(&(None, to))) {
            return *route;
        }
        let on_link = match to {
            IpAddr::V4(to) => to.octets()[..3] == [10, 0, 0],
            IpAddr::V6(to) => to.segments()[..4] == [0xfd00, 0, 0, 0],
        };
        match on_link {
            true => Route::Via {
                neighbour: to,
                source: None,
                mtu: None,
            },
            false => Route::None(SocketError::NetworkUnreachable),
        }
    }

    fn resolve(&mut self, neighbour: IpAddr) -> Neighbour {
        let mut state = self.state();
        state.neighbours_asked.push(neighbour);
        let known = state.neighbours.get(&neighbour);
        known.copied().unwrap_or(Neighbour::Unknown)
    }

    fn reserve(&mut self, wanted: &Reservation) -> Result<u16, SocketError> {
        let mut state = self.state();
        state.wanted.push(*wanted);
        if let Some(error) = state.refuses {
            return Err(error);
        }
        match &mut state.left {
            Some(0) => return Err(SocketError::AddressInUse),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut wanted = *wanted;
        if wanted.local.port() == 0 {
            // As the kernel, it may give one port to two who share it.
            let free = (FIRST_EPHEMERAL..60_000).find(|&port| {
                wanted.local.set_port(port);
                state.is_free(&wanted)
            });
            wanted
                .local
                .set_port(free.ok_or(SocketError::AddressInUse)?);
        } else if !state.is_free(&wanted) {
            return Err(SocketError::AddressInUse);
        }
        state.held.push(Held {
            wanted,
            guarded: false,
        });
        Ok(wanted.local.port())
    }

    fn guard(&mut self, protocol: Protocol, local: SocketAddr) -> Result<(), SocketError> {
        let mut state = self.state();
        if let Some(error) = state.refuses_guard {
            return Err(error);
        }
        let is_it =
            |held: &&mut Held| (held.wanted.protocol, held.wanted.local) == (protocol, local);
        let held = state.held.iter_mut().find(is_it);
        let held = held.expect("what is guarded is held");
        assert!(!held.guarded, "{local} was guarded before");
        held.guarded = true;
        Ok(())
    }

    fn release(&mut self, protocol: Protocol, local: SocketAddr) {
        let mut state = self.state();
        let is_it = |held: &Held| (held.wanted.protocol, held.wanted.local) == (protocol, local);
        let place = state.held.iter().position(is_it);
        state.held.remove(place.expect("what is released is held"));
        state.released.push((protocol, local));
        if let Some(left) = &mut state.left {
            *left += 1;
        }
    }

    fn next_event(&mut self) -> Option<KernelEvent> {
        self.state().events.pop_front()
    }
}
