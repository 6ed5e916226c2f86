//! The steering program's maps, whose layouts are in bpf/steer.h.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, Object};

use crate::error::Error;
use crate::map_fd::MapFd;

/// `STEER_MAX_QUEUES`: queues that can be steered to.
pub(crate) const MAX_QUEUES: u32 = 1024;
/// `STEER_MAX_LOCALS`: addresses that can be owned or shared, the owned ones' solicited-node groups included.
const MAX_LOCALS: u32 = 4096;
/// `STEER_MAX_CLAIMS`: ports that can be claimed.
const MAX_CLAIMS: u32 = 65536;

/// A transport protocol whose ports can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Protocol::Udp => libc::IPPROTO_UDP as u8,
            Protocol::Tcp => libc::IPPROTO_TCP as u8,
        }
    }
}

/// `enum steer_local`: whose an address is, or what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// Ringwire's alone.
    Owned = 1,
    /// The kernel's; ringwire has the ports that it claimed.
    Shared = 2,
    /// The solicited-node group of owned addresses.
    Group = 3,
}

/// Declares [`SteerCounters`], so that the order of `enum steer_reason` is stated once.
macro_rules! steer_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What became of the packets that the steering program saw: each is counted once.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct SteerCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl SteerCounters {
            /// The counters' names, in the order of `enum steer_reason` in bpf/steer.h.
            #[cfg(test)]
            pub(crate) const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Asks `read` for each counter by its index.
            fn read<E>(mut read: impl FnMut(u32) -> Result<u64, E>) -> Result<SteerCounters, E> {
                let mut next = 0..;
                Ok(SteerCounters { $($name: read(next.next().unwrap_or(u32::MAX))?,)* })
            }
        }
    };
}

steer_counters! {
    /// Passed: an ethertype other than ARP, IPv4 and IPv6.
    pass_not_ip,
    /// Passed: a VLAN tag in the packet. Tagged traffic stays with the kernel.
    pass_vlan,
    /// Passed: the packet, or the part of it that XDP sees, ends inside a header.
    pass_truncated,
    /// Passed: a wrong version, an IHL below 5, or more than 8 extension headers.
    pass_malformed,
    /// Passed: an IP fragment to a shared address. The kernel reassembles it.
    pass_fragment,
    /// Passed: well formed, and nothing claims it.
    pass_foreign,
    /// Passed although it is claimed: no socket is bound to the queue that it came on.
    pass_no_socket,
    /// Redirected: to an owned address.
    redirect_owned,
    /// Redirected: to a claimed port of a shared address.
    redirect_claim,
    /// Redirected: ARP about an owned address.
    redirect_arp,
    /// Redirected: a neighbour solicitation or advertisement about an owned IPv6 address, or a listener query for its
    /// solicited-node group.
    redirect_neighbor,
}

/// `struct steer_addr`: IPv4 as ::ffff:a.b.c.d.
pub(crate) fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// `struct steer_claim`.
pub(crate) fn claim_key(protocol: Protocol, address: IpAddr, port: u16) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address_key(address));
    key[16..18].copy_from_slice(&port.to_be_bytes());
    key[18] = protocol.number();
    key
}

/// The solicited-node group of an address (RFC 4291, section 2.7.1): neighbour solicitations for the
/// address go there. `None` for IPv4, also where it is mapped.
pub(crate) fn solicited_node(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => {
            let [.., a, b, c] = v6.octets();
            let group = [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c];
            Some(IpAddr::V6(Ipv6Addr::from(group)))
        }
    }
}

/// How many maps there are.
pub(crate) const MAPS: usize = 4;

/// Handles on the loaded maps.
#[derive(Debug)]
pub(crate) struct Maps {
    xsks: MapFd,
    locals: MapFd,
    claims: MapFd,
    counters: MapFd,
}

impl Maps {
    pub(crate) fn of(object: &Object) -> Result<Maps, Error> {
        let find = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            let map = map.ok_or_else(|| Error::Program {
                log: format!("it has no map '{name}'"),
            })?;
            let fd = map.as_fd().try_clone_to_owned();
            fd.map_err(|source| Error::Io {
                doing: "duplicating a map's descriptor",
                source,
            })
        };
        Maps::of_fds([
            find("xsks")?,
            find("locals")?,
            find("claims")?,
            find("counters")?,
        ])
    }

    /// The maps of a program that is loaded already, in the order of [`fds`](Self::fds).
    pub(crate) fn of_fds(fds: [OwnedFd; MAPS]) -> Result<Maps, Error> {
        let open =
            |fd| MapFd::new(fd).map_err(|error| libbpf_error("looking at a steering map", error));
        let [xsks, locals, claims, counters] = fds;
        Ok(Maps {
            xsks: open(xsks)?,
            locals: open(locals)?,
            claims: open(claims)?,
            counters: open(counters)?,
        })
    }

    /// Their descriptors.
    pub(crate) fn fds(&self) -> [BorrowedFd<'_>; MAPS] {
        [&self.xsks, &self.locals, &self.claims, &self.counters].map(AsFd::as_fd)
    }

    pub(crate) fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), Error> {
        let value = socket.as_raw_fd().to_ne_bytes();
        let updated = self
            .xsks
            .update(&queue.to_ne_bytes(), &value, MapFlags::ANY);
        updated.map_err(|error| map_error(error, "queues", MAX_QUEUES))
    }

    pub(crate) fn set_local(&self, address: IpAddr, local: Local) -> Result<(), Error> {
        let updated = self
            .locals
            .update(&address_key(address), &[local as u8], MapFlags::ANY);
        updated.map_err(|error| map_error(error, "addresses", MAX_LOCALS))
    }

    pub(crate) fn remove_local(&self, address: IpAddr) -> Result<(), Error> {
        gone(self.locals.delete(&address_key(address)))
    }

    pub(crate) fn claim(
        &self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
    ) -> Result<(), Error> {
        let updated = self
            .claims
            .update(&claim_key(protocol, address, port), &[1], MapFlags::ANY);
        updated.map_err(|error| map_error(error, "claimed ports", MAX_CLAIMS))
    }

    pub(crate) fn unclaim(
        &self,
        protocol: Protocol,
        address: IpAddr,
        port: u16,
    ) -> Result<(), Error> {
        gone(self.claims.delete(&claim_key(protocol, address, port)))
    }

    pub(crate) fn counters(&self) -> Result<SteerCounters, Error> {
        SteerCounters::read(|reason| {
            let per_cpu = self.counters.lookup_percpu(&reason.to_ne_bytes());
            let per_cpu =
                per_cpu.map_err(|error| libbpf_error("reading the steering counters", error))?;
            Ok(per_cpu.into_iter().fold(0, u64::wrapping_add))
        })
    }
}

/// Deleting what is not there is no failure.
fn gone(deleted: libbpf_rs::Result<()>) -> Result<(), Error> {
    match deleted {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(libbpf_error("deleting from a steering map", error))
        }
        _ => Ok(()),
    }
}

fn map_error(error: libbpf_rs::Error, what: &'static str, entries: u32) -> Error {
    match error.kind() {
        ErrorKind::TooBig => Error::MapFull { what, entries },
        _ => libbpf_error("updating a steering map", error),
    }
}

fn libbpf_error(doing: &'static str, error: libbpf_rs::Error) -> Error {
    match error.kind() {
        ErrorKind::PermissionDenied => Error::MissingCapability {
            doing,
            // From then on the descriptor is enough (`__sys_bpf`).
            capability: "CAP_BPF before Linux 5.19",
        },
        _ => Error::Io {
            doing,
            source: std::io::Error::other(format!("{error:#}")),
        },
    }
}

#[cfg(test)]
#[path = "maps_tests.rs"]
mod tests;
