//! Shared addresses: they are the kernel's, which goes on answering ARP, neighbour discovery and ICMP and
//! keeps every port that is not reserved here. What the stack needs of it, it asks by [`Kernel`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use foldhash::fast::FixedState;
use ringwire_tcp::Instant;
use ringwire_umem::Ledger;

use crate::Stack;
use crate::address::{Addresses, Cidr, Reach};
use crate::error::SocketError;
use crate::icmp::{classify_v4, classify_v6};
use crate::neighbour::{Learn, Mac};
use crate::packet::Payload;
use crate::reserved::Reserved;
use crate::socket::Protocol;

/// How often the kernel is looked at while packets keep the owner from sleeping.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Events taken at a time.
const EVENTS: usize = 256;
/// Destinations whose routes are remembered.
const MAX_ROUTES: usize = 65_536;

/// The kernel beside the stack, where the interface's addresses are its own.
///
/// Nothing here may block: it is asked between two packets.
pub trait Kernel: Send + Debug {
    /// What the kernel would do with a packet to `to`, from this address if one is chosen. The answer is
    /// remembered until [`KernelEvent::Routes`] or [`KernelEvent::Addresses`].
    fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> Route;

    /// What the kernel knows of a neighbour. If it is not sure, it is to find out, and a
    /// [`KernelEvent::Neighbour`] follows.
    fn resolve(&mut self, neighbour: IpAddr) -> Neighbour;

    /// Takes a port, so that no socket of the kernel's can have it and its packets come here; returns
    /// which.
    ///
    /// # Errors
    /// As bind(2) of the kernel: `AddressInUse`, `Access`, `AddressNotAvailable`, `TooManyFiles`.
    fn reserve(&mut self, wanted: &Reservation) -> Result<u16, SocketError>;

    /// Keeps the kernel from answering what comes to it of a port that is used now: it may not be ours
    /// to hear (a fragment), but it is not for the kernel to refuse.
    ///
    /// # Errors
    /// As listen(2) of the kernel: `AddressInUse`.
    fn guard(&mut self, protocol: Protocol, local: SocketAddr) -> Result<(), SocketError>;

    /// Gives a port back that was taken at this address.
    fn release(&mut self, protocol: Protocol, local: SocketAddr);

    /// The interface is another one than before, under the same name: it is to be followed, and ports held there.
    fn relink(&mut self);

    /// What has happened since, in order; `None` if there is nothing more.
    fn next_event(&mut self) -> Option<KernelEvent>;
}

/// What the kernel would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Send it from this interface.
    Via {
        /// To this neighbour: the destination, or a router.
        neighbour: IpAddr,
        /// From this address, if none is chosen.
        source: Option<IpAddr>,
        /// With at most so many bytes of IP packet, if the route says so.
        mtu: Option<u16>,
    },
    /// Send it to everybody on this interface's link.
    Broadcast,
    /// Something else: send it from another interface, keep it, or refuse it. What an operation fails with.
    None(SocketError),
}

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Nothing yet.
    Unknown,
    /// It does not answer.
    Failed,
    /// Its Ethernet address.
    Known {
        /// That address.
        mac: Mac,
        /// It was confirmed lately.
        sure: bool,
    },
}

/// A port to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Of this protocol.
    pub protocol: Protocol,
    /// At this address, or at all of its family; port 0: any that the kernel gives to who does not care.
    pub local: SocketAddr,
    /// An IPv6 wildcard without IPv4.
    pub v6_only: bool,
    /// The application has set `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// The application has set `SO_REUSEPORT`.
    pub reuse_port: bool,
}

/// What happens beside the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// The interface has these addresses now, and no others.
    Addresses(Vec<Cidr>),
    /// The interface's own Ethernet address and MTU (in bytes of IP packet) are these now.
    Link {
        /// The Ethernet address.
        mac: Mac,
        /// The MTU.
        mtu: u16,
    },
    /// Routes have changed: what was told of them may not be so.
    Routes,
    /// News of a neighbour.
    Neighbour {
        /// Whose.
        address: IpAddr,
        /// What is known now.
        is: Neighbour,
    },
    /// A whole datagram that came to the kernel for a reserved port, as those do that it has put together of
    /// fragments.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// Which address and port it is for.
        to: SocketAddr,
        /// Its payload.
        payload: Vec<u8>,
    },
    /// An ICMP or ICMPv6 message, by the family of `from`; its checksum is right.
    Icmp {
        /// Who sent it.
        from: IpAddr,
        /// The message, from its type on.
        message: Vec<u8>,
    },
}

/// What a stack with shared addresses has beside others.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) kernel: Box<dyn Kernel>,
    pub(crate) reserved: Reserved,
    routes: HashMap<(Option<IpAddr>, IpAddr), Route, FixedState>,
    /// The last one that was asked for.
    recent: Option<((Option<IpAddr>, IpAddr), Route)>,
    /// Of destinations whose route says one.
    mtus: HashMap<IpAddr, u16, FixedState>,
    /// How often routes were forgotten.
    changes: u64,
    next_look: Instant,
}

impl Shared {
    pub(crate) fn new(now: Instant, kernel: Box<dyn Kernel>, seed: u64) -> Shared {
        Shared {
            kernel,
            reserved: Reserved::default(),
            routes: HashMap::with_hasher(FixedState::with_seed(seed)),
            recent: None,
            mtus: HashMap::with_hasher(FixedState::with_seed(seed)),
            changes: 0,
            next_look: now,
        }
    }

    /// What the destination of a packet of ours is.
    pub(crate) fn reach(
        &mut self,
        addresses: &Addresses,
        from: Option<IpAddr>,
        to: IpAddr,
    ) -> Reach {
        if addresses.is_local(to) {
            return Reach::Local;
        }
        if to.is_multicast() {
            // No route is asked for, which would have said so.
            if from.is_some_and(|from| !addresses.is_local(from)) {
                return Reach::None;
            }
            return Reach::Multicast;
        }
        if to.is_loopback() || to.is_unspecified() {
            return Reach::None;
        }
        match self.route(from, to) {
            Route::Via { neighbour, .. } => Reach::Via(neighbour),
            Route::Broadcast => Reach::Broadcast,
            Route::None(_) => Reach::None,
        }
    }

    fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> Route {
        let key = (from, to);
        if let Some((recent, route)) = self.recent
            && recent == key
        {
            return route;
        }
        let route = match self.routes.get(&key) {
            Some(route) => *route,
            None => self.ask(key),
        };
        self.recent = Some((key, route));
        route
    }

    #[cold]
    fn ask(&mut self, key: (Option<IpAddr>, IpAddr)) -> Route {
        if self.routes.len() >= MAX_ROUTES {
            self.forget_routes();
        }
        let route = self.kernel.route(key.0, key.1);
        self.routes.insert(key, route);
        if let Route::Via { mtu: Some(mtu), .. } = route {
            let mtu = mtu.max(if key.1.is_ipv4() { LEAST_V4 } else { LEAST_V6 });
            // Another source may have another way: the narrower one is good for both.
            let known = self.mtus.entry(key.1).or_insert(mtu);
            *known = mtu.min(*known);
        }
        route
    }

    pub(crate) fn forget_routes(&mut self) {
        self.routes.clear();
        self.mtus.clear();
        self.recent = None;
        self.changes += 1;
    }

    /// How often routes have changed, as far as is known.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// What becomes of an operation whose destination is not reached.
    fn refusal(&mut self, from: Option<IpAddr>, to: IpAddr) -> SocketError {
        match self.route(from, to) {
            Route::None(error) if !to.is_loopback() && !to.is_unspecified() => error,
            _ => SocketError::NetworkUnreachable,
        }
    }

    /// The address that the kernel would send from.
    pub(crate) fn source_for(&mut self, to: IpAddr) -> Option<IpAddr> {
        match self.route(None, to) {
            Route::Via { source, .. } => source,
            _ => None,
        }
    }

    /// Bytes of the largest IP packet to there, over a path of so many.
    pub(crate) fn limit(&self, to: IpAddr, path: usize) -> usize {
        if self.mtus.is_empty() {
            return path;
        }
        let mtu = self.mtus.get(&to);
        mtu.map_or(path, |&mtu| path.min(usize::from(mtu)))
    }
}

impl Stack {
    /// What the destination of a packet from there (if that is decided) is.
    #[inline]
    pub(crate) fn reach(&mut self, from: Option<IpAddr>, to: IpAddr) -> Reach {
        match &mut self.shared {
            None => self.addresses.reach(to),
            Some(shared) => shared.reach(&self.addresses, from, to),
        }
    }

    /// What an operation fails with whose destination is not [reached](Self::reach).
    pub(crate) fn refusal(&mut self, from: Option<IpAddr>, to: IpAddr) -> SocketError {
        let ours = from.is_none_or(|from| self.addresses.is_local(from));
        match &mut self.shared {
            Some(shared) if ours => shared.refusal(from, to),
            _ => SocketError::NetworkUnreachable,
        }
    }

    /// The address to send from, if none is chosen.
    pub(crate) fn source_for(&mut self, to: IpAddr) -> Option<IpAddr> {
        let chosen = match &mut self.shared {
            Some(shared) if !self.addresses.is_local(to) => shared.source_for(to),
            _ => None,
        };
        // The route may name another interface's address.
        let ours = chosen.filter(|&source| self.addresses.is_local(source));
        ours.or_else(|| self.addresses.source_for(to))
    }

    /// The kernel has something to say: [`Stack::poll`] is to listen.
    pub fn kernel_is_ready(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.next_look = Instant::ZERO;
        }
    }

    /// Whether the kernel has said that it is ready, or had more to say than one look takes.
    pub(crate) fn has_kernel_events(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.next_look == Instant::ZERO)
    }

    /// Takes what has happened beside us, if it is time to look.
    pub(crate) fn poll_kernel(&mut self, now: Instant, ledger: &mut Ledger) {
        let Some(shared) = &mut self.shared else {
            return;
        };
        if now < shared.next_look {
            return;
        }
        shared.next_look = now + LOOK_EVERY;
        for _ in 0..EVENTS {
            let next = self.shared.as_mut();
            let Some(event) = next.and_then(|shared| shared.kernel.next_event()) else {
                return;
            };
            self.take_kernel_event(now, ledger, event);
        }
        // There may be more.
        self.kernel_is_ready();
    }

    fn take_kernel_event(&mut self, now: Instant, ledger: &mut Ledger, event: KernelEvent) {
        match event {
            KernelEvent::Addresses(cidrs) => self.take_addresses(ledger, &cidrs),
            KernelEvent::Link { mac, mtu } => self.set_link(now, mac, mtu),
            KernelEvent::Routes => self.forget_routes(),
            KernelEvent::Neighbour { address, is } => {
                self.hear_of_neighbour(now, ledger, address, is);
            }
            KernelEvent::Datagram { from, to, payload } => {
                self.take_kernel_datagram(ledger, from, to, payload);
            }
            KernelEvent::Icmp { from, message } => {
                let message = match from {
                    IpAddr::V4(_) => classify_v4(&message),
                    IpAddr::V6(_) => classify_v6(&message),
                };
                self.take_icmp(now, ledger, message);
            }
        }
    }

    /// The interface is another one.
    pub(crate) fn relink_kernel(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.kernel.relink();
        }
        self.forget_routes();
        self.kernel_is_ready();
    }

    fn forget_routes(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.forget_routes();
        }
    }

    fn take_addresses(&mut self, ledger: &mut Ledger, cidrs: &[Cidr]) {
        let stays = |ip| cidrs.iter().any(|cidr| cidr.address == ip);
        let all_stay = self.addresses.all().all(stays);
        self.addresses.replace(cidrs);
        self.tcp.forget_flow();
        self.forget_routes();
        if !all_stay {
            // What waits may be from an address that is gone: nobody could answer it. The kernel is asked again.
            for packet in self.neighbours.clear() {
                self.drop_packet(ledger, packet);
            }
        }
    }

    pub(crate) fn set_link(&mut self, now: Instant, mac: Mac, mtu: u16) {
        self.config.mac = mac;
        self.tcp.forget_flow();
        let mtu = mtu.max(LEAST_MTU);
        let shorter = mtu < self.config.mtu;
        self.config.mtu = mtu;
        if shorter {
            self.shorten_segments(now);
        }
    }

    /// Takes the kernel's word on a neighbour.
    fn hear_of_neighbour(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        address: IpAddr,
        is: Neighbour,
    ) {
        match is {
            Neighbour::Unknown => {}
            Neighbour::Known { mac, sure } => {
                let overrides = true;
                let how = match sure {
                    true => Learn::Solicited { overrides },
                    false => Learn::Unsolicited { overrides },
                };
                self.learn(now, ledger, address, mac, how);
            }
            Neighbour::Failed => {
                for packet in self.neighbours.fail(now, address) {
                    self.drop_unreachable(ledger, packet);
                }
            }
        }
    }

    /// Has the kernel find a neighbour's Ethernet address out.
    pub(crate) fn ask_kernel(&mut self, now: Instant, ledger: &mut Ledger, neighbour: IpAddr) {
        let Some(shared) = &mut self.shared else {
            return;
        };
        match shared.kernel.resolve(neighbour) {
            // It has just begun to ask again.
            Neighbour::Failed => {}
            is => self.hear_of_neighbour(now, ledger, neighbour, is),
        }
    }

    fn take_kernel_datagram(
        &mut self,
        ledger: &mut Ledger,
        from: SocketAddr,
        to: SocketAddr,
        payload: Vec<u8>,
    ) {
        self.counters.rx_from_kernel += 1;
        match self.sockets.find(to, from) {
            Some(id) => self.deliver(ledger, id, from, Payload::heap(payload), None),
            None => {
                let part = (0, payload.len());
                let payload = Payload::heap(payload);
                if !self.hand_over_datagram(ledger, (from, to), &payload, part) {
                    // Between its arrival and now the socket was closed.
                    self.counters.rx_no_port += 1;
                }
            }
        }
    }
}

/// RFC 791: every host takes packets of this many bytes.
const LEAST_MTU: u16 = 576;
/// No route takes less, whatever it says (RFC 791, section 3.2; RFC 8200, section 5).
const LEAST_V4: u16 = 68;
const LEAST_V6: u16 = 1280;
