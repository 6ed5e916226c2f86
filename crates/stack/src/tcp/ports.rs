//! Which ports are taken, and by whom (bind(2), and Linux's `inet_csk_get_port` without
//! `SO_REUSEADDR`).

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::socket::{Family, SocketId, overlap};

/// First ephemeral port (Linux's `ip_local_port_range`), and how many there are.
pub(crate) const EPHEMERAL: (u16, u16) = (32768, 28232);

/// A socket that was bound, by bind(2) or because it connected or listened without.
#[derive(Clone, Copy, Debug)]
struct Bound {
    id: SocketId,
    ip: IpAddr,
    family: Family,
    /// It connected without being bound: others may connect from the same port to elsewhere.
    shares: bool,
}

#[derive(Debug)]
pub(crate) struct Ports {
    bound: HashMap<u16, Vec<Bound>, FixedState>,
    /// Connections that listeners have made, which outlive them.
    accepted: HashMap<u16, u32, FixedState>,
}

impl Ports {
    pub(crate) fn new(seed: u64) -> Ports {
        Ports {
            bound: HashMap::with_hasher(FixedState::with_seed(seed)),
            accepted: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    pub(crate) fn take(&mut self, id: SocketId, port: u16, ip: IpAddr, family: Family) {
        self.add(id, port, ip, family, false);
    }

    /// Takes a port for one connection; others may use it for other peers.
    pub(crate) fn share(&mut self, id: SocketId, port: u16, ip: IpAddr, family: Family) {
        self.add(id, port, ip, family, true);
    }

    fn add(&mut self, id: SocketId, port: u16, ip: IpAddr, family: Family, shares: bool) {
        self.bound.entry(port).or_default().push(Bound {
            id,
            ip,
            family,
            shares,
        });
    }

    pub(crate) fn leave(&mut self, id: SocketId, port: u16) {
        if let Some(sockets) = self.bound.get_mut(&port) {
            sockets.retain(|bound| bound.id != id);
            if sockets.is_empty() {
                self.bound.remove(&port);
            }
        }
    }

    pub(crate) fn take_accepted(&mut self, port: u16) {
        *self.accepted.entry(port).or_default() += 1;
    }

    pub(crate) fn leave_accepted(&mut self, port: u16) {
        if let Some(count) = self.accepted.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                self.accepted.remove(&port);
            }
        }
    }

    /// Whether binding would meet somebody else.
    pub(crate) fn is_taken(&self, ip: IpAddr, port: u16, family: Family) -> bool {
        let others = self.bound.get(&port).into_iter().flatten();
        self.accepted.contains_key(&port)
            || others
                .into_iter()
                .any(|other| overlap((ip, family), (other.ip, other.family)))
    }

    /// Whether a connection could begin at this port: nobody was bound to it for good.
    pub(crate) fn is_shareable(&self, port: u16) -> bool {
        let mut others = self.bound.get(&port).into_iter().flatten();
        !self.accepted.contains_key(&port) && others.all(|other| other.shares)
    }

    /// A free port, the first from `draw` on.
    pub(crate) fn free(&self, ip: IpAddr, family: Family, draw: u64) -> Option<u16> {
        ephemeral(draw).find(|&port| !self.is_taken(ip, port, family))
    }
}

/// All ephemeral ports, beginning somewhere.
pub(crate) fn ephemeral(start: u64) -> impl Iterator<Item = u16> {
    let (first, count) = EPHEMERAL;
    let start = start % u64::from(count);
    (0..u64::from(count)).map(move |step| first + ((start + step) % u64::from(count)) as u16)
}
