//! What was read of a machine and an interface of it.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use ringwire_xsk::{Driver, Features, Host, Interface, Link, Nic, VirtioFeatures, addresses};

/// A machine, and the interface that ringwire is to run on. Everything here was read without a privilege.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) host: Host,
    pub(crate) link: Link,
    pub(crate) driver: Driver,
    pub(crate) features: Features,
    pub(crate) nic: Nic,
    /// What a virtio device has agreed on, if it is one.
    pub(crate) virtio: Option<VirtioFeatures>,
    /// RX queues, as the library counts them.
    pub(crate) rx_queues: u32,
    /// The queues that ringwire is to have, if not all.
    pub(crate) wanted_queues: Option<Vec<u32>>,
    /// Rules that put received flows on queues of their own, if the driver has such.
    pub(crate) steering_rules: Option<u32>,
    /// The kernel's addresses on the interface.
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    /// VLAN interfaces that stand on it.
    pub(crate) vlans: Vec<String>,
    /// A veth's other end, if it is in the same network namespace.
    pub(crate) peer: Option<Peer>,
}

/// A veth's other end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) link: Link,
    pub(crate) nic: Nic,
    /// VLAN interfaces that stand on it.
    pub(crate) vlans: Vec<String>,
}

impl Machine {
    /// Looks at an interface of the calling thread's network namespace.
    pub(crate) fn look(
        name: &str,
        wanted_queues: Option<Vec<u32>>,
    ) -> Result<Machine, Box<dyn Error>> {
        let interface = Interface::by_name(name)?;
        let reading = |what| move |error: io::Error| format!("reading {what}: {error}");
        let links = Link::all().map_err(reading("the links"))?;
        let link = Link::by_index(interface.index).map_err(reading("the link"))?;
        let peer = peer_of(&link, &links).map(|peer| Peer {
            nic: Nic::of(peer.index),
            vlans: vlans_on(peer, &links),
            link: peer.clone(),
        });
        let driver = interface.driver_info();
        Ok(Machine {
            host: Host::look(),
            virtio: VirtioFeatures::of(&driver),
            driver,
            features: interface.features(),
            nic: Nic::of(interface.index),
            rx_queues: interface.rx_queues,
            wanted_queues,
            steering_rules: interface.steering_rules(),
            addresses: addresses(interface.index).map_err(reading("the addresses"))?,
            vlans: vlans_on(&link, &links),
            peer,
            link,
        })
    }

    /// The queues that ringwire would have.
    pub(crate) fn queues(&self) -> Vec<u32> {
        let all = || (0..self.rx_queues).collect();
        self.wanted_queues.clone().unwrap_or_else(all)
    }

    /// Whether it is an end of a veth pair.
    pub(crate) fn is_veth(&self) -> bool {
        self.link.kind.as_deref() == Some("veth")
    }

    /// The driver, or what the kernel calls the kind of interface.
    pub(crate) fn driver_name(&self) -> &str {
        match self.driver.name.as_str() {
            "" => self.link.kind.as_deref().unwrap_or("this interface"),
            name => name,
        }
    }
}

/// A veth's other end, if it can be seen from here.
fn peer_of<'a>(link: &Link, links: &'a [Link]) -> Option<&'a Link> {
    let index = link.tied_to.filter(|_| !link.tied_elsewhere)?;
    let veth = link.kind.as_deref() == Some("veth");
    links.iter().find(|other| veth && other.index == index)
}

fn vlans_on(link: &Link, links: &[Link]) -> Vec<String> {
    let stands = |other: &&Link| {
        let vlan = other.kind.as_deref() == Some("vlan");
        vlan && !other.tied_elsewhere && other.tied_to == Some(link.index)
    };
    let names = links.iter().filter(stands).map(|vlan| vlan.name.clone());
    names.collect()
}
