//! Ports that the kernel holds for a stack with shared addresses, each for as long as anything here uses it:
//! a socket, a connection that outlives its listener, or one in TIME-WAIT.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;

use crate::Stack;
use crate::error::SocketError;
use crate::kernel::{Kernel, Reservation};
use crate::options::Sharing;
use crate::socket::{Family, Protocol};

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
        let same = self.ip.is_ipv4() == ip.is_ipv4();
        let all = self.ip.is_unspecified();
        let both = all && self.family == Family::V6;
        // A wildcard of both families is more than one of either.
        let wanted_both = ip.is_unspecified() && family == Family::V6;
        both || !wanted_both && same && (all || self.ip == ip)
    }
}

/// The ports for connections of one family.
#[derive(Debug, Default)]
struct Blocks {
    ports: Vec<u16>,
    /// Where each stands among them.
    places: HashMap<u16, usize, FixedState>,
    /// How many of them nobody uses.
    unused: usize,
}

impl Blocks {
    fn add(&mut self, port: u16) {
        self.places.insert(port, self.ports.len());
        self.ports.push(port);
        self.unused += 1;
    }

    /// One of them is used by nobody any more; whether it stays one of them.
    fn keep(&mut self, port: u16) -> bool {
        let Some(&place) = self.places.get(&port) else {
            return false;
        };
        self.unused += 1;
        if self.unused <= SPARE + self.ports.len() / 2 {
            return true;
        }
        self.unused -= 1;
        self.places.remove(&port);
        self.ports.swap_remove(place);
        if let Some(moved) = self.ports.get(place) {
            self.places.insert(*moved, place);
        }
        false
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
        is_used: impl Fn(u16) -> bool,
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
        if !is_used(port) {
            let blocks = &mut self.blocks[usize::from(v6)];
            blocks.unused = blocks.unused.saturating_sub(1);
        }
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
        let mut kept = false;
        if protocol == Protocol::Tcp {
            for blocks in &mut self.blocks {
                kept |= blocks.keep(port);
            }
        }
        if kept {
            return;
        }
        for held in self.held.remove(&(protocol, port)).unwrap_or_default() {
            kernel.release(protocol, SocketAddr::new(held.ip, port));
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
        if local.port() > 0 && shared.reserved.covering(protocol, local, family).is_some() {
            return Ok(local);
        }
        let port = shared.kernel.reserve(&Reservation {
            protocol,
            local,
            v6_only: false,
            reuse_address: sharing.address,
            reuse_port: sharing.port,
        })?;
        let local = SocketAddr::new(local.ip(), port);
        shared.reserved.add(protocol, local, family, false);
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
