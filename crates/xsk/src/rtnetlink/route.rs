//! Routes: where the host sends what goes to an address.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_core::ParseableParametrized;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteLwEnCapType, RouteMessage, RouteMetric,
    RouteType, RouteVia,
};

use super::{attributes, bytes_of};
use crate::netlink::{Netlink, Silence};

/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;

/// Where the host sends what goes to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To itself.
    Local,
    /// To all on the link.
    Broadcast,
    /// To a group on the link.
    Multicast,
    /// To a neighbour on the link.
    Via {
        /// A router, or the address itself.
        neighbour: IpAddr,
        /// The source address: the one that was asked with, or else what the host would choose.
        source: Option<IpAddr>,
        /// The MTU of the route in bytes, where it has one of its own: set with it, or learnt of the path.
        mtu: Option<u32>,
    },
    /// Not as it is by this interface: by another one, or inside another packet (a tunnel's route).
    Elsewhere {
        /// The other interface's index.
        index: u32,
    },
    /// Nowhere.
    None {
        /// What connect(2) would say: `ENETUNREACH` if there is no route; for a route that says no, `EHOSTUNREACH`
        /// (unreachable), `EACCES` (prohibit), `EINVAL` (blackhole). One of these, too, if the source address is none of
        /// the host's IPv4 addresses.
        errno: i32,
    },
}

impl Route {
    /// Asks for what the host sends from an address of its own, or one that it is to choose, to another.
    pub(super) fn ask(
        netlink: &Netlink,
        index: u32,
        from: Option<IpAddr>,
        to: IpAddr,
    ) -> Result<Route, Silence> {
        let question = question(index, from, to)?;
        match netlink.ask(libc::RTM_GETROUTE, &question, libc::RTM_NEWROUTE) {
            Ok(answer) => Route::read(&answer, index, from, to),
            Err(Silence::Io(error)) => match error.raw_os_error() {
                Some(
                    errno @ (libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL),
                ) => Ok(Route::None { errno }),
                _ => Err(error.into()),
            },
            Err(other) => Err(other),
        }
    }

    /// The route of an answer (`rt_fill_info`, net/ipv4/route.c; `rt6_fill_node`, net/ipv6/route.c).
    fn read(answer: &[u8], index: u32, from: Option<IpAddr>, to: IpAddr) -> Result<Route, Silence> {
        let header = RouteHeader::parse(answer)?;
        let none = |errno| Ok(Route::None { errno });
        match header.kind {
            RouteType::Local | RouteType::Anycast => return Ok(Route::Local),
            RouteType::Unreachable => return none(libc::EHOSTUNREACH),
            RouteType::Prohibit => return none(libc::EACCES),
            RouteType::BlackHole => return none(libc::EINVAL),
            RouteType::Broadcast | RouteType::Multicast | RouteType::Unicast => {}
            _ => return Err(Silence::Malformed),
        }
        let path = Path::read(&answer[HEADER..], &header)?;
        let leaves = path.interface.ok_or(Silence::Malformed)?;
        if leaves != index || path.wrapped {
            return Ok(Route::Elsewhere { index: leaves });
        }
        Ok(match header.kind {
            RouteType::Broadcast => Route::Broadcast,
            // The kernel calls IPv6's unicast before Linux 5.9.
            _ if to.is_multicast() => Route::Multicast,
            _ => Route::Via {
                neighbour: path.router.unwrap_or(to),
                source: from.or(path.source),
                mtu: path.mtu,
            },
        })
    }
}

/// The attributes of a route.
#[derive(Default)]
struct Path {
    /// The index of the interface that it leaves by.
    interface: Option<u32>,
    router: Option<IpAddr>,
    source: Option<IpAddr>,
    mtu: Option<u32>,
    /// Whether packets are put into others on the way (`RTA_ENCAP_TYPE`).
    wrapped: bool,
}

impl Path {
    fn read(bytes: &[u8], header: &RouteHeader) -> Result<Path, Silence> {
        let mut path = Path::default();
        // Whatever the packets are put into, what is told of it is not looked at.
        let parameters = (
            header.address_family,
            header.kind,
            RouteLwEnCapType::default(),
        );
        for attribute in attributes(bytes, |attribute| {
            RouteAttribute::parse_with_param(attribute, parameters)
        })? {
            match attribute {
                RouteAttribute::Oif(index) => path.interface = Some(index),
                RouteAttribute::Gateway(router) => path.router = Some(ip_of(router)?),
                RouteAttribute::Via(RouteVia::Inet(router)) => path.router = Some(router.into()),
                RouteAttribute::Via(RouteVia::Inet6(router)) => path.router = Some(router.into()),
                RouteAttribute::Via(_) => return Err(Silence::Malformed),
                RouteAttribute::PrefSource(source) => path.source = Some(ip_of(source)?),
                RouteAttribute::EncapType(_) => path.wrapped = true,
                RouteAttribute::Metrics(metrics) => {
                    path.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        Ok(path)
    }
}

fn question(index: u32, from: Option<IpAddr>, to: IpAddr) -> io::Result<Vec<u8>> {
    let bits = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    let mut message = RouteMessage::default();
    message.header.address_family = to.into();
    message.header.destination_prefix_length = bits(to);
    message
        .attributes
        .push(RouteAttribute::Destination(to.into()));
    if let Some(from) = from {
        if from.is_ipv4() != to.is_ipv4() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        message.header.source_prefix_length = bits(from);
        message.attributes.push(RouteAttribute::Source(from.into()));
    }
    // Everything else is asked without an interface, so that the host chooses it.
    if matches!(to, IpAddr::V6(to) if is_of_link(to)) {
        message.attributes.push(RouteAttribute::Oif(index));
    }
    Ok(bytes_of(&message))
}

/// Whether an address means something on one link only (RFC 4291, 2.5.6 and 2.7).
fn is_of_link(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.octets();
    ip.is_unicast_link_local() || (first == 0xff && matches!(second & 0xf, 1 | 2))
}

fn ip_of(address: RouteAddress) -> Result<IpAddr, Silence> {
    match address {
        RouteAddress::Inet(ip) => Ok(ip.into()),
        RouteAddress::Inet6(ip) => Ok(ip.into()),
        _ => Err(Silence::Malformed),
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
