//! Neighbours: what the kernel has found out by ARP and ND.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::ParseableParametrized;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourHeader, NeighbourMessage,
};

use super::{attributes, bytes_of};
use crate::netlink::{Netlink, Silence};

/// Bytes of `struct ndmsg`.
const HEADER: usize = 12;
/// States in which the Ethernet address is not doubted (`NUD_CONNECTED`, include/net/neighbour.h), and those in which
/// it is known (`NUD_VALID`).
const SURE: u16 = libc::NUD_PERMANENT | libc::NUD_NOARP | libc::NUD_REACHABLE;
const KNOWN: u16 = SURE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE;

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Nothing yet.
    Unknown,
    /// It was asked and did not answer.
    Failed,
    /// Its Ethernet address.
    Known {
        /// The address.
        mac: [u8; 6],
        /// Whether it was confirmed lately. If not, it is to be used nevertheless, and the kernel told that it is
        /// (`Rtnetlink::resolve`), which then asks.
        sure: bool,
    },
}

/// An entry of the neighbour table (`RTM_NEWNEIGH`; `neigh_fill_info`, net/core/neighbour.c).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The interface's index.
    pub(super) index: u32,
    pub(super) address: IpAddr,
    state: u16,
    mac: Option<[u8; 6]>,
}

impl Entry {
    /// The entry of an answer; `None` if it is not of an IP neighbour: a bridge's, or one that the host answers for.
    pub(super) fn read(answer: &[u8]) -> Result<Option<Entry>, Silence> {
        let header = NeighbourHeader::parse(answer)?;
        let (mut address, mut mac) = (None, None);
        for attribute in attributes(&answer[HEADER..], |attribute| {
            NeighbourAttribute::parse_with_param(attribute, header.family)
        })? {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                    address = Some(IpAddr::from(ip));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                    address = Some(IpAddr::from(ip));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.try_into().ok(),
                _ => {}
            }
        }
        let entry = address.map(|address| Entry {
            index: header.ifindex,
            address,
            state: header.state.into(),
            mac,
        });
        Ok(entry.filter(|_| !header.flags.contains(NeighbourFlags::Proxy)))
    }

    /// Those of all interfaces.
    pub(super) fn dump(netlink: &Netlink) -> Result<Vec<Entry>, Silence> {
        let question = bytes_of(&NeighbourMessage::default());
        let answers = netlink.dump(libc::RTM_GETNEIGH, &question, libc::RTM_NEWNEIGH)?;
        let entries = answers.iter().map(|answer| Entry::read(answer));
        entries.filter_map(Result::transpose).collect()
    }

    pub(super) fn neighbour(&self) -> Neighbour {
        match self.mac {
            Some(mac) if self.state & KNOWN != 0 => Neighbour::Known {
                mac,
                sure: self.state & SURE != 0,
            },
            _ if self.state & libc::NUD_FAILED != 0 => Neighbour::Failed,
            _ => Neighbour::Unknown,
        }
    }
}

/// Names a neighbour: the question for it, and with `NTF_USE` the order to resolve it.
pub(super) fn name(index: u32, ip: IpAddr, flags: NeighbourFlags) -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = ip.into();
    message.header.ifindex = index;
    message.header.flags = flags;
    message.attributes = vec![NeighbourAttribute::Destination(ip.into())];
    bytes_of(&message)
}

/// The neighbours on an interface whose Ethernet address the kernel knows, those that it is sure of first.
///
/// # Errors
/// What the kernel said.
pub fn neighbours(index: u32) -> io::Result<Vec<IpAddr>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
    let entries = Entry::dump(&netlink)?;
    let known = entries.iter().filter_map(|entry| sure_of(entry, index));
    let mut neighbours: Vec<_> = known.collect();
    neighbours.sort_by_key(|(_, sure)| !sure);
    Ok(neighbours.into_iter().map(|(ip, _)| ip).collect())
}

/// The neighbour of an entry and whether the kernel is sure of it, if it is the interface's and has told its address
/// itself: one that needs none, a group's for example, has not.
fn sure_of(entry: &Entry, index: u32) -> Option<(IpAddr, bool)> {
    match entry.neighbour() {
        Neighbour::Known { sure, .. }
            if entry.index == index && entry.state & libc::NUD_NOARP == 0 =>
        {
            Some((entry.address, sure))
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;
