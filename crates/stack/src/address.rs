//! Our own addresses, and the way to everybody else's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address with the length of its network prefix, written `10.0.0.2/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix_bits: u8,
}

/// The text is not an address with a prefix length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrError(String);

impl std::fmt::Display for CidrError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "'{}' is not an address with a prefix length, as in 10.0.0.2/24 or fd00::2/64",
            self.0
        )
    }
}

impl std::error::Error for CidrError {}

impl Cidr {
    /// Whether another address has the same prefix.
    pub fn contains(&self, other: IpAddr) -> bool {
        let (ours, theirs, width) = match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(a.to_bits()), u128::from(b.to_bits()), 32)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            _ => return false,
        };
        let host_bits = width - u32::from(self.prefix_bits);
        ours.checked_shr(host_bits) == theirs.checked_shr(host_bits)
    }

    /// The broadcast address of an IPv4 network that has one (RFC 3021: none at 31 bits).
    fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(address) if self.prefix_bits < 31 => Some(Ipv4Addr::from_bits(
                address.to_bits() | (u32::MAX >> self.prefix_bits),
            )),
            _ => None,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let error = || CidrError(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix_bits: u8 = bits.parse().map_err(|_| error())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        if prefix_bits > width || address.is_unspecified() || address.is_multicast() {
            return Err(error());
        }
        Ok(Cidr {
            address,
            prefix_bits,
        })
    }
}

/// What an address of a packet is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// One of ours.
    Local,
    /// Everybody on the link.
    Broadcast,
    /// A group.
    Multicast,
    /// On the link, or behind the gateway: this neighbour takes it.
    Via(IpAddr),
    /// No route.
    None,
}

#[derive(Debug)]
struct Local {
    cidr: Cidr,
    usable: bool,
}

/// A usable IPv4 address and its network, as every packet asks for them.
#[derive(Debug)]
struct LinkV4 {
    address: u32,
    host_bits: u32,
    /// 255.255.255.255 where the network has none of its own.
    broadcast: u32,
}

impl LinkV4 {
    fn new(cidr: Cidr) -> Option<LinkV4> {
        let IpAddr::V4(address) = cidr.address else {
            return None;
        };
        let broadcast = cidr.broadcast().unwrap_or(Ipv4Addr::BROADCAST);
        Some(LinkV4 {
            address: address.to_bits(),
            host_bits: u32::MAX.checked_shr(cidr.prefix_bits.into()).unwrap_or(0),
            broadcast: broadcast.to_bits(),
        })
    }
}

/// Our addresses and gateways.
#[derive(Debug)]
pub(crate) struct Addresses {
    locals: Vec<Local>,
    /// Of the usable ones.
    links_v4: Vec<LinkV4>,
    gateways: Vec<IpAddr>,
    /// How often they changed.
    changes: u64,
}

impl Addresses {
    pub(crate) fn new(cidrs: &[Cidr], gateways: &[IpAddr]) -> Addresses {
        let locals = cidrs
            .iter()
            .map(|&cidr| Local {
                cidr,
                usable: false,
            })
            .collect();
        Addresses {
            locals,
            links_v4: Vec::new(),
            gateways: gateways.to_vec(),
            changes: 0,
        }
    }

    /// How often they changed so far.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Has these, all usable, and no others.
    pub(crate) fn replace(&mut self, cidrs: &[Cidr]) {
        let local = |&cidr| Local { cidr, usable: true };
        self.locals = cidrs.iter().map(local).collect();
        self.note_change();
    }

    pub(crate) fn set_usable(&mut self, address: IpAddr, usable: bool) {
        for local in self
            .locals
            .iter_mut()
            .filter(|local| local.cidr.address == address)
        {
            local.usable = usable;
        }
        self.note_change();
    }

    fn note_change(&mut self) {
        self.links_v4 = self.usable().filter_map(LinkV4::new).collect();
        self.changes += 1;
    }

    /// Ours, also those in doubt.
    pub(crate) fn all(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.locals.iter().map(|local| local.cidr.address)
    }

    pub(crate) fn usable(&self) -> impl Iterator<Item = Cidr> + '_ {
        self.locals
            .iter()
            .filter(|local| local.usable)
            .map(|local| local.cidr)
    }

    /// Ours, and not in doubt (duplicate address detection).
    #[inline]
    pub(crate) fn is_local(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                self.links_v4.iter().any(|link| link.address == bits)
            }
            IpAddr::V6(_) => self.usable().any(|cidr| cidr.address == address),
        }
    }

    /// Whether a packet is what nearly all are: from the IPv4 address of another host to one of ours.
    /// `false`: look closer.
    #[inline]
    pub(crate) fn is_between_hosts(&self, source: IpAddr, destination: IpAddr) -> bool {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else {
            return false;
        };
        let (source, destination) = (source.to_bits(), destination.to_bits());
        // No group, no loopback, not "this network".
        let network = source >> 24;
        let unicast = network > 0 && network != 127 && network < 224;
        let is_ours = |link: &LinkV4| link.address == source || link.broadcast == source;
        unicast
            && self.links_v4.iter().any(|link| link.address == destination)
            && !self.links_v4.iter().any(is_ours)
    }

    /// Ours, or about to be.
    pub(crate) fn is_configured(&self, address: IpAddr) -> bool {
        self.locals
            .iter()
            .any(|local| local.cidr.address == address)
    }

    /// What the destination of a packet of ours is.
    #[inline]
    pub(crate) fn reach(&self, to: IpAddr) -> Reach {
        if let IpAddr::V4(v4) = to
            && let Some(reach) = self.reach_on_link(v4)
        {
            return reach;
        }
        self.reach_any(to)
    }

    fn reach_any(&self, to: IpAddr) -> Reach {
        if self.is_local(to) {
            return Reach::Local;
        }
        if to.is_multicast() {
            return Reach::Multicast;
        }
        if self.is_broadcast(to) {
            return Reach::Broadcast;
        }
        // RFC 1122, section 3.2.1.3: these never leave a host, not even by the gateway.
        if to.is_loopback() || to.is_unspecified() {
            return Reach::None;
        }
        if self.usable().any(|cidr| cidr.contains(to)) {
            return Reach::Via(to);
        }
        if is_link_local(to) && to.is_ipv6() {
            return Reach::Via(to);
        }
        let gateway = self
            .gateways
            .iter()
            .find(|gateway| gateway.is_ipv4() == to.is_ipv4());
        gateway.map_or(Reach::None, |&gateway| Reach::Via(gateway))
    }

    /// What most packets are for, in one pass: a host on the link. `None`: look closer.
    #[inline]
    fn reach_on_link(&self, to: Ipv4Addr) -> Option<Reach> {
        let mut via = None;
        let bits = to.to_bits();
        for link in &self.links_v4 {
            let differing = link.address ^ bits;
            if differing == 0 {
                return Some(Reach::Local);
            }
            if differing & !link.host_bits == 0 {
                // All ones is the network's broadcast address, where there is one.
                if bits & link.host_bits == link.host_bits {
                    return None;
                }
                via = Some(Reach::Via(to.into()));
            }
        }
        via.filter(|_| !to.is_loopback() && !to.is_unspecified() && !to.is_multicast())
    }

    pub(crate) fn is_broadcast(&self, to: IpAddr) -> bool {
        match to {
            IpAddr::V4(to) => {
                to.is_broadcast() || self.usable().any(|cidr| cidr.broadcast() == Some(to))
            }
            IpAddr::V6(_) => false,
        }
    }

    /// The address to send from: the one that shares a prefix with the destination or its gateway,
    /// else the first of the family (a small part of RFC 6724).
    pub(crate) fn source_for(&self, to: IpAddr) -> Option<IpAddr> {
        if self.is_local(to) {
            return Some(to);
        }
        let next_hop = match self.reach(to) {
            Reach::Via(neighbour) => neighbour,
            _ => to,
        };
        let family = || {
            self.usable()
                .filter(|cidr| cidr.address.is_ipv4() == to.is_ipv4())
        };
        family()
            .filter(|cidr| cidr.contains(next_hop))
            .max_by_key(|cidr| cidr.prefix_bits)
            .or_else(|| family().next())
            .map(|cidr| cidr.address)
    }
}

/// Whether no honest host sends from this address (RFC 1122, section 3.2.1.3; RFC 4291, 2.7). An
/// IPv4-mapped one would pass for IPv4 at the socket; Linux drops it too (`ip6_rcv_core`).
pub(crate) fn is_bad_source(address: IpAddr) -> bool {
    let bad = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
    };
    bad || address.is_multicast() || address.is_loopback() || address.is_unspecified()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// The solicited-node multicast group of an IPv6 address (RFC 4291, section 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = address.octets();
    Ipv6Addr::from([
        0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, low[13], low[14], low[15],
    ])
}

/// The Ethernet address of an IP multicast group (RFC 1112, section 6.4; RFC 2464, section 7).
pub fn multicast_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(group) => {
            let low = group.octets();
            [0x01, 0x00, 0x5e, low[1] & 0x7f, low[2], low[3]]
        }
        IpAddr::V6(group) => {
            let low = group.octets();
            [0x33, 0x33, low[12], low[13], low[14], low[15]]
        }
    }
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
