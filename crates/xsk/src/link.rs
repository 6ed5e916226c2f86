//! What rtnetlink(7) tells of an interface: its link, the XDP programs on it, and the kernel's addresses.

use std::io;
use std::net::IpAddr;

use crate::netlink::{Netlink, Silence, find, string_of, u32_of, u64_of};

/// Bytes of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// Bytes of `struct ndmsg`.
const NEIGHBOUR_HEADER: usize = 12;
/// States in which a neighbour's Ethernet address is known: `NUD_REACHABLE` and `NUD_PERMANENT` first, then those in
/// which it may have changed.
const SURE: u16 = libc::NUD_REACHABLE | libc::NUD_PERMANENT;
const KNOWN: u16 = SURE | libc::NUD_STALE | libc::NUD_DELAY | libc::NUD_PROBE;
/// `IFLA_STATS64`, and in it where `tx_packets` is.
const STATS: u16 = 23;
const STATS_TX_PACKETS: usize = 8;
/// `IFLA_XDP_DRV_PROG_ID`, `IFLA_XDP_SKB_PROG_ID`, `IFLA_XDP_HW_PROG_ID` (linux/if_link.h).
const XDP_IDS: [(u16, XdpMode); 3] = [
    (5, XdpMode::Native),
    (6, XdpMode::Generic),
    (7, XdpMode::Hardware),
];

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// Behind it, after the kernel has made an skb of the packet.
    Generic,
    /// In the NIC.
    Hardware,
}

/// An XDP program that is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// Its number (`bpftool prog show id N`).
    pub id: u32,
}

/// An interface's link (`RTM_NEWLINK`; net/core/rtnetlink.c `rtnl_fill_ifinfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// The interface's index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The kind of a virtual interface (`veth`, `vlan`, `bridge`, ...).
    pub kind: Option<String>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the link is there (`IFF_LOWER_UP`). `IFF_RUNNING` can be a second late (net/core/link_watch.c).
    pub carrier: bool,
    /// MTU in bytes, without the Ethernet header.
    pub mtu: u32,
    /// RX queues that it was made with.
    pub rx_queues: u32,
    /// TX queues that it was made with.
    pub tx_queues: u32,
    /// The interface that it is tied to: a veth's other end, or what a VLAN interface stands on.
    pub tied_to: Option<u32>,
    /// That one is in another network namespace, where its index counts.
    pub tied_elsewhere: bool,
    /// The XDP programs on it.
    pub xdp: Vec<XdpProgram>,
    /// Packets that it has sent, as far as its driver counts them.
    pub tx_packets: u64,
}

impl Link {
    /// The link of an interface in the calling thread's network namespace.
    ///
    /// # Errors
    /// `ENODEV` if there is none of that index, or what else the kernel said.
    pub fn by_index(index: u32) -> io::Result<Link> {
        let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
        let mut question = [0; LINK_HEADER];
        question[4..8].copy_from_slice(&index.to_ne_bytes());
        let answer = netlink.ask(libc::RTM_GETLINK, &question, libc::RTM_NEWLINK)?;
        Ok(Link::read(&answer)?)
    }

    /// All links of the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn all() -> io::Result<Vec<Link>> {
        let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
        let answers = netlink.dump(libc::RTM_GETLINK, &[0; LINK_HEADER], libc::RTM_NEWLINK)?;
        let links = answers.iter().map(|answer| Link::read(answer));
        Ok(links.collect::<Result<_, Silence>>()?)
    }

    fn read(answer: &[u8]) -> Result<Link, Silence> {
        let (header, attributes) = answer
            .split_first_chunk::<LINK_HEADER>()
            .ok_or(Silence::Malformed)?;
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let number =
            |kind| -> Result<Option<u32>, Silence> { Ok(find(attributes, kind)?.and_then(u32_of)) };
        let name = find(attributes, libc::IFLA_IFNAME)?.map(string_of);
        let kind = match find(attributes, libc::IFLA_LINKINFO)? {
            Some(info) => find(info, libc::IFLA_INFO_KIND)?.map(string_of),
            None => None,
        };
        let flags = word(8);
        Ok(Link {
            index: word(4),
            name: name.ok_or(Silence::Malformed)?,
            kind,
            up: flags & libc::IFF_UP as u32 != 0,
            carrier: flags & libc::IFF_LOWER_UP as u32 != 0,
            mtu: number(libc::IFLA_MTU)?.unwrap_or(0),
            rx_queues: number(libc::IFLA_NUM_RX_QUEUES)?.unwrap_or(1),
            tx_queues: number(libc::IFLA_NUM_TX_QUEUES)?.unwrap_or(1),
            tied_to: number(libc::IFLA_LINK)?.filter(|index| *index != 0),
            tied_elsewhere: find(attributes, libc::IFLA_LINK_NETNSID)?.is_some(),
            xdp: xdp_programs(attributes)?,
            tx_packets: tx_packets(attributes)?,
        })
    }
}

fn xdp_programs(attributes: &[u8]) -> Result<Vec<XdpProgram>, Silence> {
    let mut programs = Vec::new();
    let Some(xdp) = find(attributes, libc::IFLA_XDP)? else {
        return Ok(programs);
    };
    for (kind, mode) in XDP_IDS {
        if let Some(id) = find(xdp, kind)?.and_then(u32_of) {
            programs.push(XdpProgram { mode, id });
        }
    }
    Ok(programs)
}

fn tx_packets(attributes: &[u8]) -> Result<u64, Silence> {
    let stats = find(attributes, STATS)?.unwrap_or_default();
    let packets = stats.get(STATS_TX_PACKETS..STATS_TX_PACKETS + 8);
    Ok(packets.and_then(u64_of).unwrap_or(0))
}

/// The neighbours on an interface whose Ethernet address the kernel knows, those that it is sure of first.
///
/// # Errors
/// What the kernel said.
pub fn neighbours(index: u32) -> io::Result<Vec<IpAddr>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
    let question = [0; NEIGHBOUR_HEADER];
    let answers = netlink.dump(libc::RTM_GETNEIGH, &question, libc::RTM_NEWNEIGH)?;
    let mut neighbours = Vec::new();
    for answer in answers {
        neighbours.extend(neighbour(&answer, index)?);
    }
    neighbours.sort_by_key(|(_, state)| state & SURE == 0);
    Ok(neighbours.into_iter().map(|(ip, _)| ip).collect())
}

/// The neighbour of an answer with its state, if it is the interface's and known.
fn neighbour(answer: &[u8], index: u32) -> Result<Option<(IpAddr, u16)>, Silence> {
    let (header, attributes) = answer
        .split_first_chunk::<NEIGHBOUR_HEADER>()
        .ok_or(Silence::Malformed)?;
    let state = u16::from_ne_bytes([header[8], header[9]]);
    if u32::from_ne_bytes([4, 5, 6, 7].map(|byte: usize| header[byte])) != index
        || state & KNOWN == 0
    {
        return Ok(None);
    }
    let ip = find(attributes, libc::NDA_DST)?;
    // A bridge's entries have none.
    Ok(ip.and_then(ip_of).map(|ip| (ip, state)))
}

fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match <[u8; 4]>::try_from(value) {
        Ok(v4) => Some(IpAddr::from(v4)),
        Err(_) => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
    }
}

/// The addresses that the kernel has on an interface, each with its prefix's length in bits.
///
/// # Errors
/// What the kernel said.
pub fn addresses(index: u32) -> io::Result<Vec<(IpAddr, u8)>> {
    let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
    let answers = netlink.dump(libc::RTM_GETADDR, &[0; ADDRESS_HEADER], libc::RTM_NEWADDR)?;
    let mut addresses = Vec::new();
    for answer in answers {
        addresses.extend(address(&answer, index)?);
    }
    Ok(addresses)
}

/// The address of an answer, if it is the interface's.
fn address(answer: &[u8], index: u32) -> Result<Option<(IpAddr, u8)>, Silence> {
    let (header, attributes) = answer
        .split_first_chunk::<ADDRESS_HEADER>()
        .ok_or(Silence::Malformed)?;
    if u32::from_ne_bytes([4, 5, 6, 7].map(|byte: usize| header[byte])) != index {
        return Ok(None);
    }
    // Where both are there, IFA_ADDRESS is the other end's.
    let value = match find(attributes, libc::IFA_LOCAL)? {
        Some(local) => Some(local),
        None => find(attributes, libc::IFA_ADDRESS)?,
    };
    let value = value.ok_or(Silence::Malformed)?;
    let ip = ip_of(value).ok_or(Silence::Malformed)?;
    Ok(Some((ip, header[1])))
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
