//! The kernel beside an engine whose addresses are its own, too: one link, on which everybody is reached at once.

use std::net::{IpAddr, SocketAddr};

use ringwire_stack::{Kernel, KernelEvent, Neighbour, Protocol, Reservation, Route, SocketError};

/// Where the ports begin that a kernel chooses (`net.ipv4.ip_local_port_range`).
const FIRST_EPHEMERAL: u16 = 32_768;

/// Such a kernel. It has no sockets of its own, and nothing ever changes.
#[derive(Debug)]
pub struct Beside {
    next_port: u16,
}

impl Default for Beside {
    fn default() -> Beside {
        Beside {
            next_port: FIRST_EPHEMERAL,
        }
    }
}

impl Kernel for Beside {
    fn route(&mut self, _: Option<IpAddr>, to: IpAddr) -> Route {
        Route::Via {
            neighbour: to,
            source: None,
            mtu: None,
        }
    }

    /// An engine's Ethernet address ends as its addresses do.
    fn resolve(&mut self, neighbour: IpAddr) -> Neighbour {
        let last = match neighbour {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        Neighbour::Known {
            mac: [2, 0, 0, 0, 0, last],
            sure: true,
        }
    }

    fn reserve(&mut self, wanted: &Reservation) -> Result<u16, SocketError> {
        Ok(match wanted.local.port() {
            0 => {
                self.next_port += 1;
                self.next_port
            }
            port => port,
        })
    }

    fn guard(&mut self, _: Protocol, _: SocketAddr) -> Result<(), SocketError> {
        Ok(())
    }

    fn release(&mut self, _: Protocol, _: SocketAddr) {}

    fn relink(&mut self) {}

    fn next_event(&mut self) -> Option<KernelEvent> {
        None
    }
}
