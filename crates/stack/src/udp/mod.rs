//! The UDP socket table (RFC 768; socket rules as Linux's `net/ipv4/udp.c`).
//!
//! A socket is found by hash, at one and at 100,000 sockets alike: first by the four addresses of a
//! connected one, then by local address and port, then by port alone.

pub(crate) mod ops;
pub(crate) mod send;
mod send_borrowed;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::ends_map::{End, EndsMap};
use crate::error::SocketError;
use crate::group::{self, Group};
use crate::options::{Sharing, SocketOptions};
use crate::packet::Payload;
use crate::siblings::{Claim, Sibling, Use};
use crate::slab::Slab;
use crate::socket::{Events, Family, Protocol, SocketId, for_each_key, overlap};

/// What Linux charges a receive buffer for each datagram beside its bytes (about one `sk_buff`).
const DATAGRAM_OVERHEAD_BYTES: usize = 768;
/// What Linux charges a send buffer for a packet of a small datagram (`SKB_TRUESIZE`). Here each has a
/// chunk.
pub(crate) const PACKET_CHARGE_BYTES: usize = 832;
/// First ephemeral port (Linux's `ip_local_port_range`), and how many there are.
const EPHEMERAL: (u16, u16) = (32768, 28232);

/// A received datagram.
#[derive(Debug)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    pub(crate) payload: Payload,
}

impl Datagram {
    /// Bytes of its payload.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether it has no payload.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload, if it lies in one piece.
    #[inline]
    pub fn bytes<'a>(&'a self, ledger: &'a ringwire_umem::Ledger) -> Option<&'a [u8]> {
        self.payload.bytes(ledger)
    }

    /// Calls `each` with the first `limit` bytes of the payload, part by part, in order.
    pub fn for_each(&self, ledger: &ringwire_umem::Ledger, limit: usize, each: impl FnMut(&[u8])) {
        self.payload.for_each(ledger, limit, each);
    }

    fn charge(&self) -> usize {
        self.len() + DATAGRAM_OVERHEAD_BYTES
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) family: Family,
    pub(crate) options: SocketOptions,
    /// IPv4-mapped addresses appear as IPv4 here and in every key.
    pub(crate) local: Option<SocketAddr>,
    /// The address was chosen by bind, not by connect: it survives a disconnect.
    address_bound: bool,
    pub(crate) remote: Option<SocketAddr>,
    queue: VecDeque<Datagram>,
    queued_bytes: usize,
    pub(crate) error: Option<SocketError>,
    pub(crate) receive_shut: bool,
    pub(crate) send_shut: bool,
    /// Send chunks that hold this socket's datagrams.
    pub(crate) chunks_in_use: u32,
    /// The NIC queue that its last datagram came from: answers leave by the same one.
    pub(crate) nic_queue: u16,
}

impl Socket {
    #[inline]
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }
}

#[derive(Debug)]
pub(crate) struct Sockets {
    slab: Slab<Socket>,
    bound: HashMap<End, Group, FixedState>,
    connected: EndsMap<Group>,
    by_port: HashMap<u16, Vec<SocketId>, FixedState>,
    /// Ports that nobody has any more.
    pub(crate) idle_ports: Vec<u16>,
    pub(crate) events: Events,
    sibling: Option<Arc<Sibling>>,
}

impl Sockets {
    pub(crate) fn new(seed: u64) -> Sockets {
        let hasher = || FixedState::with_seed(seed);
        Sockets {
            slab: Slab::new(Protocol::Udp),
            bound: HashMap::with_hasher(hasher()),
            connected: EndsMap::new(seed),
            by_port: HashMap::with_hasher(hasher()),
            idle_ports: Vec::new(),
            events: Events::default(),
            sibling: None,
        }
    }

    /// Has ports and connected sockets known to the interface's other stacks.
    pub(crate) fn join(&mut self, sibling: &Arc<Sibling>) {
        self.sibling = Some(Arc::clone(sibling));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slab.ids().is_empty()
    }

    /// Tells the interface's other stacks what we have of a port now.
    pub(crate) fn publish(&self, port: u16) {
        let Some(sibling) = &self.sibling else {
            return;
        };
        let ids = self.by_port.get(&port).into_iter().flatten();
        let claims = ids.filter_map(|&id| {
            let socket = self.get(id)?;
            Some(Claim {
                ip: socket.local?.ip(),
                family: socket.family,
                sharing: socket.options.sharing(),
                by: match socket.remote {
                    Some(_) => Use::Connected,
                    None => Use::Bound,
                },
            })
        });
        sibling.publish(Protocol::Udp, port, claims);
    }

    pub(crate) fn open(&mut self, family: Family) -> SocketId {
        self.slab.insert(Socket {
            family,
            options: SocketOptions::new(Protocol::Udp),
            local: None,
            address_bound: false,
            remote: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            error: None,
            receive_shut: false,
            send_shut: false,
            chunks_in_use: 0,
            nic_queue: 0,
        })
    }

    pub(crate) fn get(&self, id: SocketId) -> Option<&Socket> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        self.slab.get_mut(id)
    }

    /// Ends a socket; returns what it had queued.
    pub(crate) fn close(&mut self, id: SocketId) -> VecDeque<Datagram> {
        self.unhash(id);
        let Some(socket) = self.slab.remove(id) else {
            return VecDeque::new();
        };
        if let Some(local) = socket.local {
            self.leave_port(id, local.port());
        }
        socket.queue
    }

    /// Binds a socket. `address` is ours or the wildcard of its family; port 0 takes a free one,
    /// the first from `draw` on.
    pub(crate) fn bind(
        &mut self,
        id: SocketId,
        address: SocketAddr,
        draw: u64,
    ) -> Result<(), SocketError> {
        let socket = self.get(id).ok_or(SocketError::Invalid)?;
        if socket.local.is_some() {
            return Err(SocketError::Invalid);
        }
        let (family, sharing) = (socket.family, socket.options.sharing());
        let port = match address.port() {
            0 => self
                .free_port(address.ip(), family, draw)
                .ok_or(SocketError::AddressInUse)?,
            port if self.port_taken(address.ip(), port, family, sharing) => {
                return Err(SocketError::AddressInUse);
            }
            port => port,
        };
        let local = SocketAddr::new(address.ip(), port);
        let claim = Claim {
            ip: local.ip(),
            family,
            sharing,
            by: Use::Bound,
        };
        let sibling = self.sibling.as_ref();
        if sibling.is_some_and(|it| !it.claim(Protocol::Udp, port, claim)) {
            self.idle_ports.push(port);
            return Err(SocketError::AddressInUse);
        }
        let socket = self.get_mut(id).ok_or(SocketError::Invalid)?;
        socket.local = Some(local);
        socket.address_bound = !address.ip().is_unspecified();
        self.by_port.entry(port).or_default().push(id);
        self.hash(id);
        Ok(())
    }

    /// Connects a bound socket, from this local address; `None` dissolves the connection.
    pub(crate) fn connect(&mut self, id: SocketId, to: Option<(IpAddr, SocketAddr)>) {
        self.unhash(id);
        let Some(socket) = self.get_mut(id) else {
            return;
        };
        socket.remote = to.map(|(_, remote)| remote);
        if let (Some(local), false) = (socket.local, socket.address_bound) {
            let wildcard = socket.family.unspecified();
            let ip = to.map_or(wildcard, |(source, _)| source);
            socket.local = Some(SocketAddr::new(ip, local.port()));
        }
        let local = socket.local;
        self.hash(id);
        if let Some(local) = local {
            self.publish(local.port());
        }
    }

    /// The socket that a datagram is for.
    pub(crate) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        if let Some(id) = self.find_connected(local, remote) {
            return Some(id);
        }
        let group = self.bound.get(&local.into()).or_else(|| {
            let any = match local.ip() {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            self.bound.get(&SocketAddr::new(any, local.port()).into())
        });
        group?.pick(local, remote, self.bound.hasher())
    }

    /// The connected socket that an ICMP error is about.
    pub(crate) fn find_connected(&self, local: SocketAddr, remote: SocketAddr) -> Option<SocketId> {
        let group = self.connected.get(&(local, remote))?;
        group.pick(local, remote, self.bound.hasher())
    }

    /// Queues a datagram, or gives it back when the receive buffer is full. As in the kernel, the
    /// buffer takes whatever comes while it is not full yet.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        id: SocketId,
        datagram: Datagram,
        nic_queue: Option<u16>,
    ) -> Result<(), Datagram> {
        let Some(socket) = self.get_mut(id) else {
            return Err(datagram);
        };
        let room = socket.options.receive_buffer_bytes() as usize;
        if socket.queued_bytes + datagram.charge() > room && !socket.queue.is_empty() {
            return Err(datagram);
        }
        socket.queued_bytes += datagram.charge();
        socket.queue.push_back(datagram);
        if let Some(queue) = nic_queue {
            socket.nic_queue = queue;
        }
        self.events.mark(id, true, false);
        Ok(())
    }

    #[inline]
    pub(crate) fn front(&self, id: SocketId) -> Option<&Datagram> {
        self.get(id)?.queue.front()
    }

    #[inline]
    pub(crate) fn pop(&mut self, id: SocketId) -> Option<Datagram> {
        let socket = self.get_mut(id)?;
        let datagram = socket.queue.pop_front()?;
        socket.queued_bytes -= datagram.charge();
        Some(datagram)
    }

    pub(crate) fn set_error(&mut self, id: SocketId, error: SocketError) {
        if let Some(socket) = self.get_mut(id) {
            socket.error = Some(error);
            self.events.mark(id, true, true);
        }
    }

    pub(crate) fn readable(&self, id: SocketId) -> bool {
        self.get(id).is_some_and(Socket::has_queued)
    }

    fn hash(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let (family, remote) = (socket.family, socket.remote);
        let spreads = socket.options.reuse_port;
        let Some(local) = socket.local else { return };
        match remote {
            Some(remote) => {
                let group = self.connected.get_or_default((local, remote));
                group.add(id, family, spreads);
                if let Some(sibling) = &self.sibling {
                    sibling.open(Protocol::Udp, &(local, remote));
                }
            }
            None => for_each_key(local, family, |key| {
                let group = self.bound.entry(key.into()).or_default();
                group.add(id, family, spreads);
            }),
        }
    }

    fn unhash(&mut self, id: SocketId) {
        let Some(socket) = self.get(id) else { return };
        let (family, remote) = (socket.family, socket.remote);
        let Some(local) = socket.local else { return };
        match remote {
            Some(remote) => {
                let ends = (local, remote);
                if let Some(group) = self.connected.get_mut(&ends)
                    && group.remove(id)
                {
                    self.connected.remove(&ends);
                }
                if let Some(sibling) = &self.sibling {
                    sibling.close(Protocol::Udp, &(local, remote));
                }
            }
            None => for_each_key(local, family, |key| {
                group::leave(&mut self.bound, key.into(), id);
            }),
        }
    }

    /// Whether somebody has the port.
    pub(crate) fn uses(&self, port: u16) -> bool {
        self.by_port.contains_key(&port)
    }

    fn leave_port(&mut self, id: SocketId, port: u16) {
        if let Some(ids) = self.by_port.get_mut(&port) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_port.remove(&port);
                self.idle_ports.push(port);
            }
        }
        self.publish(port);
    }

    /// Whether somebody has the port who does not share it (Linux `udp_lib_lport_inuse`).
    pub(crate) fn port_taken(
        &self,
        ip: IpAddr,
        port: u16,
        family: Family,
        sharing: Sharing,
    ) -> bool {
        let others = self.by_port.get(&port).into_iter().flatten();
        others.filter_map(|&id| self.get(id)).any(|other| {
            let overlaps = other
                .local
                .is_some_and(|local| overlap((ip, family), (local.ip(), other.family)));
            overlaps && !sharing.admits(other.options.sharing(), false)
        }) || self.is_taken_elsewhere(ip, port, family, sharing)
    }

    /// The same of the interface's other stacks.
    fn is_taken_elsewhere(&self, ip: IpAddr, port: u16, family: Family, sharing: Sharing) -> bool {
        let by = Use::Bound;
        let claim = Claim {
            ip,
            family,
            sharing,
            by,
        };
        let sibling = self.sibling.as_ref();
        sibling.is_some_and(|sibling| sibling.conflicts(Protocol::Udp, port, claim))
    }

    fn free_port(&self, ip: IpAddr, family: Family, draw: u64) -> Option<u16> {
        let (first, count) = EPHEMERAL;
        let start = draw % u64::from(count);
        (0..u64::from(count))
            .map(|step| first + ((start + step) % u64::from(count)) as u16)
            .find(|&port| !self.port_taken(ip, port, family, Sharing::default()))
    }
}

#[cfg(test)]
mod tests;
