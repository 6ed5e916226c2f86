//! Ports that the kernel holds for a stack with shared addresses, each for as long as anything here uses it:
//! a socket, a connection that outlives its listener, or one in TIME-WAIT.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use crate::Stack;
use crate::error::SocketError;
use crate::kernel::{Kernel, Reservation};
use crate::options::Sharing;
use crate::socket::{Family, Protocol, overlap};

/// Ports for connections that are taken at a time.
const BLOCK: usize = 32;
/// Unused ones that are kept for the next connections.
const SPARE: usize = 2 * BLOCK;

/// One address at which a port is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    ip: IpAddr,
    family: Family,
    /// The kernel keeps silent about it.
    guarded: bool,
}

impl Held {
    /// Whether the kernel's sockets are kept from this address, too.
    fn covers(&self, ip: IpAddr, family: Family) -> bool {
        let takes_both = |ip, family| family == Family::V6 && ip == Family::V6.unspecified();
        let same = self.ip.is_ipv4() == ip.is_ipv4();
        let all = self.ip.is_unspecified();
        // A wildcard of both families is more than one of either.
        takes_both(self.ip, self.family)
            || !takes_both(ip, family) && same && (all || self.ip == ip)
    }
}

/// One of the ports for connections.
#[derive(Debug)]
struct Port {
    /// Where it stands among them.
    place: usize,
    used: bool,
}

/// The ports for connections of one family.
#[derive(Debug, Default)]
struct Blocks {
    ports: Vec<u16>,
    by_number: HashMap<u16, Port, FixedState>,
    /// How many of them nobody uses.
    unused: usize,
}

impl Blocks {
    fn add(&mut self, port: u16) {
        let place = self.ports.len();
        self.by_number.insert(port, Port { place, used: false });
        self.ports.push(port);
        self.unused += 1;
    }

    /// One of them is used, by the first or by one more.
    fn note_use(&mut self, number: u16) {
        if let Some(port) = self.by_number.get_mut(&number)
            && !std::mem::replace(&mut port.used, true)
        {
            self.unused -= 1;
        }
    }

    /// A port is used by nobody (any more); whether it stays one of them.
    fn keep(&mut self, number: u16) -> bool {
        let Some(port) = self.by_number.get_mut(&number) else {
            return false;
        };
        if std::mem::replace(&mut port.used, false) {
            self.unused += 1;
        }
        self.unused <= SPARE + self.ports.len() / 2 || !self.take_out(number)
    }

    /// Takes out one that nobody uses; `false`: it is none.
    fn take_out(&mut self, number: u16) -> bool {
        let port = self.by_number.get(&number);
        let Some(&Port { place, used: false }) = port else {
            return false;
        };
        self.unused -= 1;
        self.by_number.remove(&number);
        self.ports.swap_remove(place);
        let moved = self.ports.get(place);
        if let Some(port) = moved.and_then(|moved| self.by_number.get_mut(moved)) {
            port.place = place;
        }
        true
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reserved {
    held: HashMap<(Protocol, u16), Vec<Held>, FixedState>,
    /// Of IPv4 and of IPv6.
    blocks: [Blocks; 2],
}

impl Reserved {
    fn covering(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        family: Family,
    ) -> Option<&mut Held> {
        let held = self.held.get_mut(&(protocol, local.port()))?;
        held.iter_mut().find(|held| held.covers(local.ip(), family))
    }

    fn add(&mut self, protocol: Protocol, local: SocketAddr, family: Family, guarded: bool) {
        let held = self.held.entry((protocol, local.port())).or_default();
        held.push(Held {
            ip: local.ip(),
            family,
            guarded,
        });
    }

    /// A port for a connection: the first that is free from `start` on, and how many were tried. More are
    /// taken if none is.
    pub(crate) fn find(
        &mut self,
        kernel: &mut dyn Kernel,
        v6: bool,
        start: u64,
        is_free: impl Fn(&u16) -> bool,
    ) -> Result<(u16, u64), SocketError> {
        let blocks = &self.blocks[usize::from(v6)];
        let count = blocks.ports.len();
        let first = start.checked_rem(count as u64).unwrap_or(0) as usize;
        let (before, after) = blocks.ports.split_at(first);
        let mut ports = after.iter().chain(before).zip(1..);
        let found = ports.find(|(port, _)| is_free(port));
        let (port, tried) = match found {
            Some((port, tried)) => (*port, tried),
            None => {
                self.grow(kernel, v6)?;
                let blocks = &self.blocks[usize::from(v6)];
                let found = blocks.ports[count..].iter().find(|port| is_free(port));
                (*found.ok_or(SocketError::AddressNotAvailable)?, 1)
            }
        };
        self.blocks[usize::from(v6)].note_use(port);
        Ok((port, tried))
    }

    /// Takes more ports for connections.
    fn grow(&mut self, kernel: &mut dyn Kernel, v6: bool) -> Result<(), SocketError> {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let any = SocketAddr::new(family.unspecified(), 0);
        for taken in 0..BLOCK {
            let port = match take_guarded(kernel, any) {
                Ok(port) => port,
                // Fewer than wanted are enough for now.
                Err(_) if taken > 0 => break,
                Err(SocketError::AddressInUse) => return Err(SocketError::AddressNotAvailable),
                Err(error) => return Err(error),
            };
            // It keeps sockets of the other family from nothing.
            let local = SocketAddr::new(any.ip(), port);
            self.add(Protocol::Tcp, local, Family::V4, true);
            self.blocks[usize::from(v6)].add(port);
        }
        Ok(())
    }

    /// A port is used by nobody any more.
    fn let_go(&mut self, kernel: &mut dyn Kernel, protocol: Protocol, port: u16) {
        let kept = self
            .blocks
            .each_mut()
            .map(|blocks| protocol == Protocol::Tcp && blocks.keep(port));
        self.release(kernel, protocol, port, |held| {
            !kept[usize::from(held.ip.is_ipv6())]
        });
    }

    /// A socket is to have a port at this address. If it is one for connections that nobody uses, it is none of them any
    /// more, and what keeps the kernel from giving the rest of it is given back.
    fn take_out(&mut self, kernel: &mut dyn Kernel, local: SocketAddr, family: Family) {
        for of in [Family::V4, Family::V6] {
            let ip = of.unspecified();
            // As it was taken: for one family.
            let taken = overlap((ip, Family::V4), (local.ip(), family))
                && self.blocks[usize::from(of == Family::V6)].take_out(local.port());
            if taken {
                self.release(kernel, Protocol::Tcp, local.port(), |held| {
                    held.ip == ip && !held.covers(local.ip(), family)
                });
            }
        }
    }

    /// Gives back what is held at some of the addresses of a port.
    fn release(
        &mut self,
        kernel: &mut dyn Kernel,
        protocol: Protocol,
        port: u16,
        is_left: impl Fn(&Held) -> bool,
    ) {
        let key = (protocol, port);
        let Some(all) = self.held.get_mut(&key) else {
            return;
        };
        all.retain(|held| {
            let left = is_left(held);
            if left {
                kernel.release(protocol, SocketAddr::new(held.ip, port));
            }
            !left
        });
        if all.is_empty() {
            self.held.remove(&key);
        }
    }
}

/// A port for connections, which the kernel chooses and keeps silent about.
fn take_guarded(kernel: &mut dyn Kernel, any: SocketAddr) -> Result<u16, SocketError> {
    let port = kernel.reserve(&Reservation {
        protocol: Protocol::Tcp,
        local: any,
        v6_only: true,
        reuse_address: false,
        reuse_port: false,
    })?;
    let local = SocketAddr::new(any.ip(), port);
    if let Err(error) = kernel.guard(Protocol::Tcp, local) {
        kernel.release(Protocol::Tcp, local);
        return Err(error);
    }
    Ok(port)
}

impl Stack {
    /// Has the kernel keep a port from its own sockets, where it is beside us; returns the address with the
    /// port, which it chooses if it is 0.
    pub(crate) fn reserve(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        family: Family,
        sharing: Sharing,
    ) -> Result<SocketAddr, SocketError> {
        let Some(shared) = &mut self.shared else {
            return Ok(local);
        };
        let (reserved, kernel) = (&mut shared.reserved, &mut *shared.kernel);
        let chosen = local.port() > 0;
        if chosen && protocol == Protocol::Tcp {
            reserved.take_out(kernel, local, family);
        }
        if chosen && reserved.covering(protocol, local, family).is_some() {
            return Ok(local);
        }
        // Who does not care shares with nobody: the kernel would give the same port again.
        let port = kernel.reserve(&Reservation {
            protocol,
            local,
            v6_only: false,
            reuse_address: chosen && sharing.address,
            reuse_port: chosen && sharing.port,
        })?;
        let local = SocketAddr::new(local.ip(), port);
        reserved.add(protocol, local, family, false);
        Ok(local)
    }

    /// Has the kernel keep silent about a port that we have.
    pub(crate) fn guard(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
        family: Family,
    ) -> Result<(), SocketError> {
        let Some(shared) = &mut self.shared else {
            return Ok(());
        };
        let Some(held) = shared.reserved.covering(protocol, local, family) else {
            return Ok(());
        };
        if !held.guarded {
            shared
                .kernel
                .guard(protocol, SocketAddr::new(held.ip, local.port()))?;
            held.guarded = true;
        }
        Ok(())
    }

    /// Gives ports back that nobody uses any more.
    pub(crate) fn release_ports(&mut self) {
        let Some(shared) = &mut self.shared else {
            while self.tcp.next_idle_port().is_some() {}
            self.sockets.idle_ports.clear();
            return;
        };
        let (reserved, kernel) = (&mut shared.reserved, &mut *shared.kernel);
        while let Some(port) = self.sockets.idle_ports.pop() {
            if !self.sockets.uses(port) {
                reserved.let_go(kernel, Protocol::Udp, port);
            }
        }
        while let Some(port) = self.tcp.next_idle_port() {
            if !self.tcp.uses(port) {
                reserved.let_go(kernel, Protocol::Tcp, port);
            }
        }
    }
}

#[cfg(test)]
#[path = "reserved_tests.rs"]
mod tests;
