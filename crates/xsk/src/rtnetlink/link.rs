//! A network interface's link, and the XDP programs on it.

use std::io;

use netlink_packet_core::{NlasIterator, Parseable, ParseableParametrized};
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkHeader, LinkMessage, LinkXdp,
};

use super::{attributes, bytes_of};
use crate::netlink::{Netlink, Silence};

/// Bytes of `struct ifinfomsg`.
const HEADER: usize = 16;

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
    /// Its MAC address: zeros where it has none.
    pub mac: [u8; 6],
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
        Ok(Link::ask(&Netlink::open(libc::NETLINK_ROUTE)?, index)?)
    }

    /// All links of the calling thread's network namespace.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn all() -> io::Result<Vec<Link>> {
        let netlink = Netlink::open(libc::NETLINK_ROUTE)?;
        let question = bytes_of(&LinkMessage::default());
        let answers = netlink.dump(libc::RTM_GETLINK, &question, libc::RTM_NEWLINK)?;
        let links = answers.iter().map(|answer| Link::read(answer));
        Ok(links.collect::<Result<_, Silence>>()?)
    }

    pub(super) fn ask(netlink: &Netlink, index: u32) -> Result<Link, Silence> {
        let mut question = LinkMessage::default();
        question.header.index = index;
        let question = bytes_of(&question);
        let answer = netlink.ask(libc::RTM_GETLINK, &question, libc::RTM_NEWLINK)?;
        Link::read(&answer)
    }

    pub(super) fn read(answer: &[u8]) -> Result<Link, Silence> {
        let header = LinkHeader::parse(answer)?;
        let mut link = Link {
            index: header.index,
            kind: kind(&answer[HEADER..])?,
            up: header.flags.contains(LinkFlags::Up),
            carrier: header.flags.contains(LinkFlags::LowerUp),
            rx_queues: 1,
            tx_queues: 1,
            ..Link::default()
        };
        let family = header.interface_family;
        for attribute in attributes(&answer[HEADER..], |attribute| {
            LinkAttribute::parse_with_param(attribute, family)
        })? {
            link.take(attribute);
        }
        match link.name.as_str() {
            "" => Err(Silence::Malformed),
            _ => Ok(link),
        }
    }

    fn take(&mut self, attribute: LinkAttribute) {
        match attribute {
            LinkAttribute::IfName(name) => self.name = name,
            LinkAttribute::Address(mac) => self.mac = mac.try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => self.mtu = mtu,
            LinkAttribute::NumRxQueues(queues) => self.rx_queues = queues,
            LinkAttribute::NumTxQueues(queues) => self.tx_queues = queues,
            LinkAttribute::Link(index) => self.tied_to = Some(index).filter(|index| *index != 0),
            LinkAttribute::LinkNetNsId(_) => self.tied_elsewhere = true,
            LinkAttribute::Xdp(programs) => self.xdp = xdp_programs(&programs),
            LinkAttribute::Stats64(stats) => self.tx_packets = stats.tx_packets,
            _ => {}
        }
    }
}

/// The kind of a virtual interface. What else is told of it may be newer than the library, so that is not looked at.
fn kind(bytes: &[u8]) -> Result<Option<String>, Silence> {
    for attribute in NlasIterator::new(bytes) {
        let attribute = attribute?;
        if attribute.kind() == libc::IFLA_LINKINFO {
            let kinds = attributes(attribute.value(), InfoKind::parse)?;
            return Ok(kinds.first().map(InfoKind::to_string));
        }
    }
    Ok(None)
}

fn xdp_programs(told: &[LinkXdp]) -> Vec<XdpProgram> {
    let program = |told: &LinkXdp| match *told {
        LinkXdp::DrvProgId(id) => Some((XdpMode::Native, id)),
        LinkXdp::SkbProgId(id) => Some((XdpMode::Generic, id)),
        LinkXdp::HwProgId(id) => Some((XdpMode::Hardware, id)),
        _ => None,
    };
    let programs = told.iter().filter_map(program);
    programs.map(|(mode, id)| XdpProgram { mode, id }).collect()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
