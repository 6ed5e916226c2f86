//! The other stacks of an interface: those of a process's other engines, each with queues and a thread of its own.
//!
//! Who has which port, connection or connected socket is written into a directory when it is opened and closed. It
//! is read only by a stack that gets something for which it has no socket: another one's, perhaps, and then handed
//! over to it by its [`Inbox`]. A stack that has a socket for what it gets never asks.

mod hand_over;
mod inbox;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;

use crate::options::Sharing;
use crate::socket::{Family, Protocol, overlap};
use crate::tcp::Ends;

pub(crate) use inbox::HandedOver;
use inbox::Inbox;

/// Parts of the table of flows, each with a lock of its own: engines open and close many at a time.
const PARTS: usize = 64;

/// What has a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A socket that is bound and, of UDP, not connected.
    Bound,
    /// A TCP socket that listens.
    Listens,
    /// A TCP socket that connected without being bound, or a connected UDP socket.
    Connected,
    /// Connections that listeners have made, and that would share the port in this way all of them.
    Accepted,
}

/// How a port is used at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) ip: IpAddr,
    pub(crate) family: Family,
    pub(crate) sharing: Sharing,
    pub(crate) by: Use,
}

impl Claim {
    /// Whether somebody else may not have the same (Linux `inet_bind_conflict`, `udp_lib_lport_inuse`).
    fn conflicts(&self, other: &Claim) -> bool {
        let overlaps =
            other.by == Use::Accepted || overlap((self.ip, self.family), (other.ip, other.family));
        overlaps && !self.sharing.admits(other.sharing, other.by == Use::Listens)
    }

    /// Whether what comes for this address, and belongs to no connection, is for it.
    fn takes(&self, local: IpAddr) -> bool {
        let family = match local {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        };
        let open = matches!(self.by, Use::Bound | Use::Listens);
        open && overlap((local, family), (self.ip, self.family))
    }
}

/// A connection, or a connected UDP socket: without the scopes and flow labels of IPv6.
type Flow = (Protocol, [(IpAddr, u16); 2]);

fn flow(protocol: Protocol, (local, remote): &Ends) -> Flow {
    let ends = [local, remote];
    (protocol, ends.map(|end| (end.ip(), end.port())))
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    member: usize,
    /// Sockets and connections in TIME-WAIT that have it there.
    count: u32,
}

type Ports = HashMap<(Protocol, u16), Vec<(usize, Claim)>, FixedState>;
type Flows = HashMap<Flow, Owner, FixedState>;

/// What the stacks of an interface have.
#[derive(Debug)]
struct Directory {
    ports: Mutex<Ports>,
    flows: Box<[Mutex<Flows>]>,
    hasher: FixedState,
    inboxes: Box<[Inbox]>,
}

impl Directory {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        // Each change is made in one step, whoever panicked.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flows(&self, flow: &Flow) -> MutexGuard<'_, Flows> {
        let part = self.hasher.hash_one(flow) as usize % PARTS;
        let part = self.flows[part].lock();
        part.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stack's place among those of its interface. When it goes, what it had is nobody's.
#[derive(Debug)]
pub struct Sibling {
    directory: Arc<Directory>,
    index: usize,
}

impl Sibling {
    /// The places of as many stacks as there are functions, each of which wakes whoever takes that stack's turns.
    /// The seed keeps strangers from choosing what falls together in the tables.
    pub fn group(seed: u64, wake: Vec<Box<dyn Fn() + Send + Sync>>) -> Vec<Sibling> {
        let count = wake.len();
        let hasher = FixedState::with_seed(seed);
        let part = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        let directory = Arc::new(Directory {
            ports: Mutex::new(HashMap::with_hasher(hasher.clone())),
            flows: (0..PARTS).map(|_| part()).collect(),
            // The parts are chosen by other bits than the places in them.
            hasher: FixedState::with_seed(!seed),
            inboxes: wake.into_iter().map(Inbox::new).collect(),
        });
        let sibling = |index| Sibling {
            directory: Arc::clone(&directory),
            index,
        };
        (0..count).map(sibling).collect()
    }

    /// Takes a port, unless another stack has it and does not share it.
    pub(crate) fn claim(&self, protocol: Protocol, port: u16, claim: Claim) -> bool {
        let mut ports = self.directory.ports();
        let claims = ports.entry((protocol, port)).or_default();
        let mut others = claims.iter().filter(|(member, _)| *member != self.index);
        let free = !others.any(|(_, other)| claim.conflicts(other));
        if free {
            claims.push((self.index, claim));
        }
        // Otherwise somebody else's are there: the entry is not empty.
        free
    }

    /// Says what this stack has of a port now.
    pub(crate) fn publish(
        &self,
        protocol: Protocol,
        port: u16,
        claims: impl Iterator<Item = Claim>,
    ) {
        let mut ports = self.directory.ports();
        let all = ports.entry((protocol, port)).or_default();
        all.retain(|(member, _)| *member != self.index);
        all.extend(claims.map(|claim| (self.index, claim)));
        if all.is_empty() {
            ports.remove(&(protocol, port));
        }
    }

    /// Whether another stack has the port and does not share it.
    pub(crate) fn conflicts(&self, protocol: Protocol, port: u16, claim: Claim) -> bool {
        self.any_other(protocol, port, |other| claim.conflicts(other))
    }

    /// Whether a connection may begin at the port: other stacks have at most connections there.
    pub(crate) fn may_connect_from(&self, port: u16) -> bool {
        !self.any_other(Protocol::Tcp, port, |other| other.by != Use::Connected)
    }

    fn any_other(&self, protocol: Protocol, port: u16, is: impl Fn(&Claim) -> bool) -> bool {
        let ports = self.directory.ports();
        let claims = ports.get(&(protocol, port)).into_iter().flatten();
        let mut others = claims.filter(|(member, _)| *member != self.index);
        others.any(|(_, other)| is(other))
    }

    /// Notes that this stack has a flow; `false`: another one has it.
    pub(crate) fn open(&self, protocol: Protocol, ends: &Ends) -> bool {
        let flow = flow(protocol, ends);
        let mut flows = self.directory.flows(&flow);
        let fresh = Owner {
            member: self.index,
            count: 0,
        };
        let owner = flows.entry(flow).or_insert(fresh);
        let ours = owner.member == self.index;
        owner.count += u32::from(ours);
        ours
    }

    /// Takes an [`open`](Self::open) that succeeded back.
    pub(crate) fn close(&self, protocol: Protocol, ends: &Ends) {
        let flow = flow(protocol, ends);
        if let Entry::Occupied(mut entry) = self.directory.flows(&flow).entry(flow)
            && entry.get().member == self.index
        {
            entry.get_mut().count -= 1;
            if entry.get().count == 0 {
                entry.remove();
            }
        }
    }

    /// The other stack that has a flow.
    pub(crate) fn owner(&self, protocol: Protocol, ends: &Ends) -> Option<usize> {
        let flow = flow(protocol, ends);
        let owner = self.directory.flows(&flow).get(&flow).copied()?;
        Some(owner.member).filter(|&member| member != self.index)
    }

    /// The other stack that takes what belongs to no flow and comes from the second of the ends to the first: one
    /// at that address rather than at any, and the same for the same ends.
    pub(crate) fn holder(&self, protocol: Protocol, ends: &Ends) -> Option<usize> {
        let (local, _) = ends;
        let ports = self.directory.ports();
        let claims = ports.get(&(protocol, local.port()))?;
        let takes =
            |(member, claim): &&(usize, Claim)| *member != self.index && claim.takes(local.ip());
        let there = claims.iter().filter(takes);
        let exact = there.clone().any(|(_, claim)| claim.ip == local.ip());
        let there = there.filter(|(_, claim)| !exact || claim.ip == local.ip());
        let count = there.clone().count();
        let hash = self.directory.hasher.hash_one(flow(protocol, ends));
        let chosen = (u128::from(hash) * count as u128) >> 64;
        let (member, _) = there.clone().nth(chosen as usize)?;
        Some(*member)
    }

    /// The other stack that what comes from the second of the ends to the first is for.
    fn recipient(&self, protocol: Protocol, ends: &Ends) -> Option<usize> {
        self.owner(protocol, ends)
            .or_else(|| self.holder(protocol, ends))
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let index = self.index;
        (0..self.directory.inboxes.len()).filter(move |&other| other != index)
    }

    /// Ports and flows in the directory.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        let flows = self
            .directory
            .flows
            .iter()
            .map(|part| part.lock().unwrap().len());
        (self.directory.ports().len(), flows.sum())
    }

    fn inbox(&self) -> &Inbox {
        &self.directory.inboxes[self.index]
    }
}

impl Drop for Sibling {
    fn drop(&mut self) {
        self.inbox().shut();
        self.directory.ports().retain(|_, claims| {
            claims.retain(|(member, _)| *member != self.index);
            !claims.is_empty()
        });
        for part in &self.directory.flows {
            let mut flows = part.lock().unwrap_or_else(PoisonError::into_inner);
            flows.retain(|_, owner| owner.member != self.index);
        }
    }
}

#[cfg(test)]
#[path = "siblings/tests.rs"]
mod tests;
