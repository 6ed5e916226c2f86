//! What rtnetlink(7) tells of an interface: its link, its addresses, its neighbours and the host's routes; asked, and
//! followed as it changes.
//!
//! An attribute that cannot be read is as one that is not there, so that what a newer kernel adds or lengthens does no
//! harm; without one that is needed, the message is malformed.

mod address;
mod link;
mod neighbour;
mod route;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};

use netlink_packet_core::{DecodeError, Emitable, NlaBuffer, NlasIterator};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkHeader;
use netlink_packet_route::neighbour::NeighbourFlags;

use crate::netlink::{ANSWER_BYTES, Header, Netlink, Silence};

use address::Address;
pub use address::addresses;
pub use link::{Link, XdpMode, XdpProgram};
use neighbour::Entry;
pub use neighbour::{Neighbour, neighbours};
pub use route::Route;

/// `RTNLGRP_*` (linux/rtnetlink.h): group N is the bit N - 1. `RTNLGRP_NEXTHOP`, because the routes that use a nexthop
/// object change with it, and are told only where `net.ipv4.nexthop_compat_mode` is on.
const GROUPS: u32 = {
    const NEIGH: u32 = 3;
    const IPV4_IFADDR: u32 = 5;
    const IPV4_ROUTE: u32 = 7;
    const IPV4_RULE: u32 = 8;
    const IPV6_IFADDR: u32 = 9;
    const IPV6_ROUTE: u32 = 11;
    const IPV6_RULE: u32 = 19;
    const NEXTHOP: u32 = 32;
    const fn bit(group: u32) -> u32 {
        1 << (group - 1)
    }
    LINK_GROUP
        | bit(NEIGH)
        | bit(IPV4_IFADDR)
        | bit(IPV4_ROUTE)
        | bit(IPV4_RULE)
        | bit(IPV6_IFADDR)
        | bit(IPV6_ROUTE)
        | bit(IPV6_RULE)
        | bit(NEXTHOP)
};
/// `RTNLGRP_LINK` is 1.
const LINK_GROUP: u32 = 1;
/// `RTM_NEWNEXTHOP` and `RTM_DELNEXTHOP` (linux/rtnetlink.h).
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
/// So many messages that are of no concern are passed over before the caller has its turn.
const PATIENCE: u32 = 256;

/// More messages than the socket's buffer holds (`net.core.rmem_default`, and some hundred bytes each).
const QUEUED: u32 = 4096;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The interface's addresses.
    Addresses,
    /// The interface's link, as it is now. Routes may have gone with it: of those that IPv4 loses with a link the
    /// kernel tells nothing else (`fib_sync_down_dev`, net/ipv4/fib_semantics.c).
    Link {
        /// Its MAC address: zeros where it has none.
        mac: [u8; 6],
        /// Its MTU in bytes, without the Ethernet header.
        mtu: u32,
        /// Whether it is administratively up.
        up: bool,
        /// Whether the link is there (`IFF_LOWER_UP`).
        carrier: bool,
    },
    /// The interface is gone from this network namespace.
    Removed,
    /// The host's routes, rules or nexthops, or another interface whose routes come and go with it.
    Routes,
    /// A neighbour on the interface.
    Neighbour {
        /// Its IP address.
        address: IpAddr,
        /// What is known of it now.
        is: Neighbour,
    },
    /// Changes came faster than they were taken (`ENOBUFS`), or one could not be read: everything is to be asked for
    /// again.
    Lost,
}

/// What rtnetlink(7) says of one interface, asked and followed, in the network namespace that it was opened in.
///
/// Its descriptor is readable when something may have changed. Path MTUs that the host learns are told by no change.
pub struct Rtnetlink {
    index: u32,
    asks: Netlink,
    listens: Netlink,
    buffer: Box<[u8]>,
    /// The messages in the buffer that have not been looked at.
    unread: Range<usize>,
}

impl Rtnetlink {
    /// Opens it for an interface of the calling thread's network namespace: changes are told from now on. Needs no
    /// privilege.
    ///
    /// # Errors
    /// What the kernel said: too many descriptors, for example.
    pub fn open(index: u32) -> io::Result<Rtnetlink> {
        Rtnetlink::listening(index, GROUPS)
    }

    /// The same, told of links alone: what changes besides is not.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_link(index: u32) -> io::Result<Rtnetlink> {
        Rtnetlink::listening(index, LINK_GROUP)
    }

    fn listening(index: u32, groups: u32) -> io::Result<Rtnetlink> {
        let listens = Netlink::open(libc::NETLINK_ROUTE)?;
        listens.join(groups)?;
        Ok(Rtnetlink {
            index,
            asks: Netlink::open(libc::NETLINK_ROUTE)?,
            listens,
            buffer: vec![0; ANSWER_BYTES].into(),
            unread: 0..0,
        })
    }

    /// The interface's link.
    ///
    /// # Errors
    /// `ENODEV` if the interface is gone, or what else the kernel said.
    pub fn link(&mut self) -> io::Result<Link> {
        Ok(Link::ask(&self.asks, self.index)?)
    }

    /// The kernel's addresses on the interface that can be used, each with its prefix's length in bits: not those that
    /// duplicate address detection is still about, or has found taken (RFC 4862, 5.4).
    ///
    /// # Errors
    /// What the kernel said.
    pub fn addresses(&mut self) -> io::Result<Vec<(IpAddr, u8)>> {
        Ok(address::usable(Address::dump(&self.asks, self.index)?))
    }

    /// Where the host sends what goes from `from`, or an address that it chooses, to `to`. An IPv6 address that means
    /// something on one link only is taken as this interface's. Rules that look at ports, marks or users, and IPsec's
    /// policies, are not asked about.
    ///
    /// # Errors
    /// `InvalidInput` if the addresses are not of one family, or what the kernel said. That there is no route is no
    /// error.
    pub fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> io::Result<Route> {
        Ok(Route::ask(&self.asks, self.index, from, to)?)
    }

    /// What the kernel knows of a neighbour on the interface. Does not have it find out.
    ///
    /// # Errors
    /// What the kernel said: `EOPNOTSUPP` before Linux 5.0.
    pub fn neighbour(&mut self, ip: IpAddr) -> io::Result<Neighbour> {
        let question = neighbour::name(self.index, ip, NeighbourFlags::empty());
        let answer = self
            .asks
            .ask(libc::RTM_GETNEIGH, &question, libc::RTM_NEWNEIGH);
        match answer {
            Ok(answer) => match Entry::read(&answer)? {
                Some(entry) if (entry.index, entry.address) == (self.index, ip) => {
                    Ok(entry.neighbour())
                }
                _ => Err(Silence::Malformed.into()),
            },
            Err(Silence::Io(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(Neighbour::Unknown)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// What the kernel knows of each neighbour on the interface that it knows something of.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn neighbours(&mut self) -> io::Result<Vec<(IpAddr, Neighbour)>> {
        let entries = Entry::dump(&self.asks)?;
        let here = entries.iter().filter(|entry| entry.index == self.index);
        Ok(here
            .map(|entry| (entry.address, entry.neighbour()))
            .collect())
    }

    /// Tells the kernel that something is sent to a neighbour on the interface, as if the kernel had: it finds out what
    /// is not known or doubted (`NTF_USE`; `neigh_event_send`, net/core/neighbour.c), and a [`Change`] tells it.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_ADMIN, or what else the kernel said.
    pub fn resolve(&mut self, ip: IpAddr) -> io::Result<()> {
        let order = neighbour::name(self.index, ip, NeighbourFlags::Use);
        let done = self
            .asks
            .tell(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE, &order);
        Ok(done?)
    }

    /// What has changed next, or `None` if nothing more is known for now. Never blocks. While the descriptor is
    /// readable, there may be more.
    pub fn next_change(&mut self) -> Option<Change> {
        for _ in 0..PATIENCE {
            if self.unread.is_empty() {
                match self.listens.receive_into(&mut self.buffer) {
                    Ok(len) => self.unread = 0..len,
                    Err(Silence::Io(error)) if error.raw_os_error() != Some(libc::ENOBUFS) => {
                        return None;
                    }
                    Err(_) => {
                        self.discard();
                        return Some(Change::Lost);
                    }
                }
            }
            let bytes = &self.buffer[self.unread.clone()];
            let (change, rest) = next(bytes, self.index).unwrap_or((Some(Change::Lost), &[]));
            self.unread.start = self.unread.end - rest.len();
            if change.is_some() {
                return change;
            }
        }
        None
    }
}

impl Rtnetlink {
    /// Empties the socket. What is queued there is older than what was lost, and until it has been taken the kernel
    /// loses more and says nothing (`netlink_overrun` and `netlink_rcv_wake`, net/netlink/af_netlink.c).
    fn discard(&mut self) {
        for _ in 0..QUEUED {
            match self.listens.receive_into(&mut self.buffer) {
                Err(Silence::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

impl fmt::Debug for Rtnetlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtnetlink")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl AsRawFd for Rtnetlink {
    /// The descriptor that is readable when something may have changed.
    fn as_raw_fd(&self) -> RawFd {
        self.listens.as_raw_fd()
    }
}

/// The change that the first of the messages in a row of bytes tells of an interface, if it tells one; and the bytes
/// behind it.
fn next(bytes: &[u8], index: u32) -> Result<(Option<Change>, &[u8]), Silence> {
    let header = Header::of(bytes).ok_or(Silence::Malformed)?;
    let payload = header.payload(bytes).ok_or(Silence::Malformed)?;
    Ok((change(header.kind, payload, index)?, header.rest(bytes)))
}

fn change(kind: u16, payload: &[u8], index: u32) -> Result<Option<Change>, Silence> {
    Ok(match kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK => link_change(kind, payload, index)?,
        libc::RTM_NEWADDR | libc::RTM_DELADDR => {
            let address = Address::read(payload)?;
            (address.index == index).then_some(Change::Addresses)
        }
        libc::RTM_NEWNEIGH | libc::RTM_DELNEIGH => {
            let entry = Entry::read(payload)?.filter(|entry| entry.index == index);
            entry.map(|entry| Change::Neighbour {
                address: entry.address,
                is: match kind {
                    libc::RTM_NEWNEIGH => entry.neighbour(),
                    _ => Neighbour::Unknown,
                },
            })
        }
        libc::RTM_NEWROUTE
        | libc::RTM_DELROUTE
        | libc::RTM_NEWRULE
        | libc::RTM_DELRULE
        | RTM_NEWNEXTHOP
        | RTM_DELNEXTHOP => Some(Change::Routes),
        _ => None,
    })
}

fn link_change(kind: u16, payload: &[u8], index: u32) -> Result<Option<Change>, Silence> {
    let header = LinkHeader::parse(payload)?;
    if header.interface_family != AddressFamily::Unspec {
        // What a bridge tells of its port: that it left the bridge, for example, and not the host.
        return Ok(None);
    }
    if header.index != index {
        return Ok(Some(Change::Routes));
    }
    if kind == libc::RTM_DELLINK {
        return Ok(Some(Change::Removed));
    }
    let link = Link::read(payload)?;
    Ok(Some(Change::Link {
        mac: link.mac,
        mtu: link.mtu,
        up: link.up,
        carrier: link.carrier,
    }))
}

/// A message's payload as bytes.
fn bytes_of(payload: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; payload.buffer_len()];
    payload.emit(&mut bytes);
    bytes
}

/// The attributes in a row of bytes that can be read.
fn attributes<'a, T>(
    bytes: &'a [u8],
    read: impl Fn(&NlaBuffer<&'a [u8]>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, Silence> {
    let mut attributes = Vec::new();
    for attribute in NlasIterator::new(bytes) {
        attributes.extend(read(&attribute?));
    }
    Ok(attributes)
}

impl From<DecodeError> for Silence {
    fn from(_: DecodeError) -> Silence {
        Silence::Malformed
    }
}

#[cfg(test)]
#[path = "rtnetlink_tests.rs"]
mod tests;
