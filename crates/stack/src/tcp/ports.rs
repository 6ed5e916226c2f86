//! Which ports are taken, and by whom (bind(2), and Linux's `inet_csk_get_port`).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::options::Sharing;
use crate::siblings::{Claim, Sibling, Use};
use crate::socket::{Family, Protocol, SocketId, overlap};

/// First ephemeral port (Linux's `ip_local_port_range`), and how many there are.
pub(crate) const EPHEMERAL: (u16, u16) = (32768, 28232);

/// Searches for a port that go on where the last one ended (TABLE_LENGTH in RFC 6056, section 3.3.4).
const SEARCHES: usize = 64;

/// A socket that was bound, by bind(2) or because it connected or listened without.
#[derive(Clone, Copy, Debug)]
struct Bound {
    id: SocketId,
    ip: IpAddr,
    family: Family,
    /// It connected without being bound: others may connect from the same port to elsewhere.
    connects: bool,
    sharing: Sharing,
    listens: bool,
}

/// Connections that listeners have made, which outlive them.
#[derive(Clone, Copy, Debug, Default)]
struct Accepted {
    count: u32,
    /// Those of them that would share their port by either option.
    by_address: u32,
    by_port: u32,
}

impl Bound {
    fn claim(&self) -> Claim {
        Claim {
            ip: self.ip,
            family: self.family,
            sharing: self.sharing,
            by: match (self.listens, self.connects) {
                (true, _) => Use::Listens,
                (_, true) => Use::Connected,
                _ => Use::Bound,
            },
        }
    }
}

impl Accepted {
    /// How all of them would share the port.
    fn sharing(&self) -> Sharing {
        Sharing {
            address: self.by_address == self.count,
            port: self.by_port == self.count,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ports {
    bound: HashMap<u16, Vec<Bound>, FixedState>,
    accepted: HashMap<u16, Accepted, FixedState>,
    /// Ports that somebody has left, and that perhaps nobody has any more.
    idle: Vec<u16>,
    /// How far the searches for ports have come, for a part of the destinations each.
    steps: [u64; SEARCHES],
    sibling: Option<Arc<Sibling>>,
}

impl Ports {
    pub(crate) fn new(seed: u64) -> Ports {
        Ports {
            bound: HashMap::with_hasher(FixedState::with_seed(seed)),
            accepted: HashMap::with_hasher(FixedState::with_seed(seed)),
            idle: Vec::new(),
            steps: [0; SEARCHES],
            sibling: None,
        }
    }

    pub(crate) fn join(&mut self, sibling: &Arc<Sibling>) {
        self.sibling = Some(Arc::clone(sibling));
    }

    /// Tells the interface's other stacks what we have of a port now.
    fn publish(&self, port: u16) {
        let Some(sibling) = &self.sibling else {
            return;
        };
        let bound = self.bound.get(&port).into_iter().flatten();
        let accepted = self.accepted.get(&port).map(|accepted| Claim {
            ip: Family::V4.unspecified(),
            family: Family::V4,
            sharing: accepted.sharing(),
            by: Use::Accepted,
        });
        let claims = bound.map(Bound::claim).chain(accepted);
        sibling.publish(Protocol::Tcp, port, claims);
    }

    /// How far the searches have come for destinations whose keyed hash is like this one.
    pub(crate) fn step(&self, offset: u64) -> u64 {
        self.steps[search_of(offset)]
    }

    pub(crate) fn set_step(&mut self, offset: u64, step: u64) {
        self.steps[search_of(offset)] = step;
    }

    /// Takes a port; `false`: another stack has it.
    pub(crate) fn take(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        family: Family,
        how: Sharing,
    ) -> bool {
        let claim = Claim {
            ip: local.ip(),
            family,
            sharing: how,
            by: Use::Bound,
        };
        let sibling = self.sibling.as_ref();
        if sibling.is_some_and(|it| !it.claim(Protocol::Tcp, local.port(), claim)) {
            self.idle.push(local.port());
            return false;
        }
        self.add(id, local, family, how, false);
        true
    }

    /// Takes a port for one connection; others may use it for other peers.
    pub(crate) fn connect(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        family: Family,
        how: Sharing,
    ) {
        self.add(id, local, family, how, true);
        self.publish(local.port());
    }

    fn add(
        &mut self,
        id: SocketId,
        local: SocketAddr,
        family: Family,
        sharing: Sharing,
        connects: bool,
    ) {
        let bound = Bound {
            id,
            ip: local.ip(),
            family,
            connects,
            sharing,
            listens: false,
        };
        // Most ports have one socket: room for more would be most of what they take.
        let alone = || Vec::with_capacity(1);
        self.bound
            .entry(local.port())
            .or_insert_with(alone)
            .push(bound);
    }

    fn entry(&mut self, id: SocketId, port: u16) -> Option<&mut Bound> {
        let sockets = self.bound.get_mut(&port)?;
        sockets.iter_mut().find(|bound| bound.id == id)
    }

    /// Notes that a socket shares its port in another way now.
    pub(crate) fn set_sharing(&mut self, id: SocketId, port: u16, sharing: Sharing) {
        if let Some(bound) = self.entry(id, port) {
            bound.sharing = sharing;
        }
        self.publish(port);
    }

    /// Notes whether a socket listens.
    pub(crate) fn set_listening(&mut self, id: SocketId, port: u16, listens: bool) {
        if let Some(bound) = self.entry(id, port) {
            bound.listens = listens;
        }
        self.publish(port);
    }

    pub(crate) fn leave(&mut self, id: SocketId, port: u16) {
        if let Some(sockets) = self.bound.get_mut(&port) {
            sockets.retain(|bound| bound.id != id);
            if sockets.is_empty() {
                self.bound.remove(&port);
                self.idle.push(port);
            }
        }
        self.publish(port);
    }

    pub(crate) fn take_accepted(&mut self, port: u16, sharing: Sharing) {
        let before = self.accepted.get(&port).map(Accepted::sharing);
        let accepted = self.accepted.entry(port).or_default();
        accepted.count += 1;
        accepted.by_address += u32::from(sharing.address);
        accepted.by_port += u32::from(sharing.port);
        if before != Some(accepted.sharing()) {
            self.publish(port);
        }
    }

    pub(crate) fn leave_accepted(&mut self, port: u16, sharing: Sharing) {
        let Some(accepted) = self.accepted.get_mut(&port) else {
            return;
        };
        let before = accepted.sharing();
        accepted.count -= 1;
        accepted.by_address -= u32::from(sharing.address);
        accepted.by_port -= u32::from(sharing.port);
        let after = (accepted.count > 0).then(|| accepted.sharing());
        if after.is_none() {
            self.accepted.remove(&port);
            self.idle.push(port);
        }
        if after != Some(before) {
            self.publish(port);
        }
    }

    /// Whether a socket or a connection has the port.
    fn uses(&self, port: u16) -> bool {
        self.bound.contains_key(&port) || self.accepted.contains_key(&port)
    }

    /// Whether binding would meet somebody who does not share the port (Linux `inet_bind_conflict`).
    pub(crate) fn is_taken(&self, local: SocketAddr, family: Family, sharing: Sharing) -> bool {
        self.conflicts(None, local, family, sharing)
    }

    /// The same for a socket that has the port and is to listen at it.
    pub(crate) fn may_listen(
        &self,
        id: SocketId,
        local: SocketAddr,
        family: Family,
        sharing: Sharing,
    ) -> bool {
        !self.conflicts(Some(id), local, family, sharing)
    }

    fn conflicts(
        &self,
        id: Option<SocketId>,
        local: SocketAddr,
        family: Family,
        sharing: Sharing,
    ) -> bool {
        let accepted = self.accepted.get(&local.port());
        let with_accepted = accepted.is_some_and(|all| !sharing.admits(all.sharing(), false));
        let claim = Claim {
            ip: local.ip(),
            family,
            sharing,
            by: Use::Bound,
        };
        let sibling = self.sibling.as_ref();
        let elsewhere = sibling.is_some_and(|it| it.conflicts(Protocol::Tcp, local.port(), claim));
        let others = self.bound.get(&local.port()).into_iter().flatten();
        with_accepted
            || elsewhere
            || others.filter(|other| Some(other.id) != id).any(|other| {
                overlap((local.ip(), family), (other.ip, other.family))
                    && !sharing.admits(other.sharing, other.listens)
            })
    }

    /// Whether a connection could begin at this port: nobody was bound to it for good.
    pub(crate) fn is_shareable(&self, port: u16) -> bool {
        let mut others = self.bound.get(&port).into_iter().flatten();
        let sibling = self.sibling.as_ref();
        !self.accepted.contains_key(&port)
            && others.all(|other| other.connects)
            && sibling.is_none_or(|sibling| sibling.may_connect_from(port))
    }

    /// A free port, the first from `draw` on.
    pub(crate) fn free(&self, ip: IpAddr, family: Family, draw: u64) -> Option<u16> {
        ephemeral(draw).find(|&port| {
            let local = SocketAddr::new(ip, port);
            !self.is_taken(local, family, Sharing::default())
        })
    }
}

impl super::Table {
    /// Whether anything has the port, be it a connection in TIME-WAIT.
    pub(crate) fn uses(&self, port: u16) -> bool {
        self.ports.uses(port) || self.time_waits.uses(port)
    }

    /// A port that somebody has left.
    pub(crate) fn next_idle_port(&mut self) -> Option<u16> {
        self.ports
            .idle
            .pop()
            .or_else(|| self.time_waits.next_idle_port())
    }
}

/// Which search a destination has a part in: other bits of its hash than choose the port.
fn search_of(offset: u64) -> usize {
    (offset >> 32) as usize % SEARCHES
}

/// All ephemeral ports, beginning somewhere.
pub(crate) fn ephemeral(start: u64) -> impl Iterator<Item = u16> {
    let (first, count) = EPHEMERAL;
    let start = start % u64::from(count);
    (0..u64::from(count)).map(move |step| first + ((start + step) % u64::from(count)) as u16)
}
