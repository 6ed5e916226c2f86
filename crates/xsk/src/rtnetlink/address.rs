//! The addresses that the kernel has on an interface.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeader, AddressMessage,
};

use super::{attributes, bytes_of};
use crate::netlink::{Netlink, Silence};

/// Bytes of `struct ifaddrmsg`.
const HEADER: usize = 8;

/// An address of some interface's (`RTM_NEWADDR`; `inet_fill_ifaddr`, net/ipv4/devinet.c, and `inet6_fill_ifaddr`,
/// net/ipv6/addrconf.c).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The interface's.
    pub(super) index: u32,
    ip: IpAddr,
    /// Bits of its prefix.
    prefix: u8,
    /// Whether it is known to be nobody else's (RFC 4862, 5.4).
    usable: bool,
}

impl Address {
    /// Those of an interface.
    pub(super) fn dump(netlink: &Netlink, index: u32) -> Result<Vec<Address>, Silence> {
        let question = bytes_of(&AddressMessage::default());
        let answers = netlink.dump(libc::RTM_GETADDR, &question, libc::RTM_NEWADDR)?;
        let addresses = answers.iter().map(|answer| Address::read(answer));
        let mut addresses: Vec<_> = addresses.collect::<Result<_, Silence>>()?;
        addresses.retain(|address| address.index == index);
        Ok(addresses)
    }

    pub(super) fn read(answer: &[u8]) -> Result<Address, Silence> {
        let header = AddressHeader::parse(answer)?;
        let (mut local, mut address) = (None, None);
        let mut flags = AddressFlags::from_bits_retain(u32::from(header.flags.bits()));
        for attribute in attributes(&answer[HEADER..], |attribute| {
            AddressAttribute::parse(attribute)
        })? {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(ip),
                AddressAttribute::Address(ip) => address = Some(ip),
                // The header has room for eight of them.
                AddressAttribute::Flags(all) => flags = all,
                _ => {}
            }
        }
        Ok(Address {
            index: header.index,
            // Where both are there, IFA_ADDRESS is the other end's.
            ip: local.or(address).ok_or(Silence::Malformed)?,
            prefix: header.prefix_len,
            usable: !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        })
    }
}

/// The usable ones of these, each with its prefix's length in bits.
pub(super) fn usable(addresses: Vec<Address>) -> Vec<(IpAddr, u8)> {
    let usable = addresses.into_iter().filter(|address| address.usable);
    usable.map(|address| (address.ip, address.prefix)).collect()
}

/// The addresses that the kernel has on an interface, usable or not yet, each with its prefix's length in bits.
///
/// # Errors
/// What the kernel said.
pub fn addresses(index: u32) -> io::Result<Vec<(IpAddr, u8)>> {
    let addresses = Address::dump(&Netlink::open(libc::NETLINK_ROUTE)?, index)?;
    let pairs = addresses.iter().map(|address| (address.ip, address.prefix));
    Ok(pairs.collect())
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;
