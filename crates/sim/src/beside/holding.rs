//! Ports that a kernel holds for a ring.

use std::net::{IpAddr, SocketAddr};

use ringwire_stack::{Protocol, Reservation, SocketError};

use super::State;

/// The first port that it gives to who does not care.
pub(super) const FIRST_EPHEMERAL: u16 = 40_000;
/// The most ports of a family that a stack may keep for connections to come.
const MOST_SPARES: usize = 128;

/// One socket of the kernel's that holds a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    wanted: Reservation,
    /// The kernel chose the port.
    chosen: bool,
    guarded: bool,
}

impl Held {
    /// Whether bind(2) refuses one socket while there is the other.
    fn conflicts(&self, other: &Reservation) -> bool {
        let ours = &self.wanted;
        let overlap = takes(ours, other.local.ip()) || takes(other, ours.local.ip());
        let shared = ours.reuse_address && other.reuse_address && !self.guarded
            || ours.reuse_port && other.reuse_port;
        ours.protocol == other.protocol
            && ours.local.port() == other.local.port()
            && overlap
            && !shared
    }
}

/// Whether a socket takes what comes to an address, or to all of its family.
fn takes(wanted: &Reservation, ip: IpAddr) -> bool {
    let own = wanted.local.ip();
    let both = own.is_ipv6() && own.is_unspecified() && !wanted.v6_only;
    let all = own.is_unspecified() && own.is_ipv4() == ip.is_ipv4();
    both || all || own == ip
}

impl State {
    /// Whether packets to there are claimed.
    pub(super) fn covers(&self, protocol: Protocol, local: SocketAddr) -> bool {
        let is_it = |held: &Held| {
            held.wanted.protocol == protocol
                && held.wanted.local.port() == local.port()
                && takes(&held.wanted, local.ip())
        };
        self.held.iter().any(is_it)
    }

    pub(super) fn hold(&mut self, wanted: &Reservation) -> Result<u16, SocketError> {
        let mut wanted = *wanted;
        let chosen = wanted.local.port() == 0;
        // What the applications cannot do without is not refused: their datagram sockets are made once.
        let may_be_refused = chosen && wanted.protocol == Protocol::Tcp;
        if let Some((error, _)) = self.refuses.filter(|_| may_be_refused) {
            match error {
                SocketError::TooManyFiles => self.coverage.too_many_files += 1,
                _ => self.coverage.ports_in_use += 1,
            }
            return Err(error);
        }
        if chosen {
            let port = self.free_port(&wanted)?;
            wanted.local.set_port(port);
        } else if self.held.iter().any(|held| held.conflicts(&wanted)) {
            return Err(SocketError::AddressInUse);
        }
        self.coverage.ports_held += 1;
        self.held.push(Held {
            wanted,
            chosen,
            guarded: false,
        });
        Ok(wanted.local.port())
    }

    fn free_port(&mut self, wanted: &Reservation) -> Result<u16, SocketError> {
        let mut wanted = *wanted;
        for _ in FIRST_EPHEMERAL..60_000 {
            let port = self.next_port;
            self.next_port = if port == 59_999 {
                FIRST_EPHEMERAL
            } else {
                port + 1
            };
            wanted.local.set_port(port);
            if !self.held.iter().any(|held| held.conflicts(&wanted)) {
                return Ok(port);
            }
        }
        Err(SocketError::AddressInUse)
    }

    pub(super) fn silence(
        &mut self,
        protocol: Protocol,
        local: SocketAddr,
    ) -> Result<(), SocketError> {
        let place = self.place(protocol, local, |held| !held.guarded);
        let Some(place) = place else {
            self.violates(format!("{protocol:?} {local} is guarded, and not held so"));
            return Err(SocketError::AddressInUse);
        };
        if self.held[place].chosen && self.refuses.is_some() && self.random.chance(500) {
            self.coverage.ports_in_use += 1;
            return Err(SocketError::AddressInUse);
        }
        self.held[place].guarded = true;
        Ok(())
    }

    pub(super) fn let_go(&mut self, protocol: Protocol, local: SocketAddr) {
        let Some(place) = self.place(protocol, local, |_| true) else {
            return self.violates(format!("{protocol:?} {local} is released, and not held"));
        };
        self.held.remove(place);
        self.coverage.ports_released += 1;
        self.released.push((protocol, local));
        if local.port() < 20_000 && super::checks::SERVED.contains(&local.port()) && !self.ending {
            self.violates(format!(
                "{protocol:?} {local} is released while it is served"
            ));
        }
    }

    fn place(
        &self,
        protocol: Protocol,
        local: SocketAddr,
        also: impl Fn(&Held) -> bool,
    ) -> Option<usize> {
        let is_it = |held: &Held| {
            (held.wanted.protocol, held.wanted.local) == (protocol, local) && also(held)
        };
        self.held.iter().position(is_it)
    }

    pub(super) fn must_hold(&mut self, port: u16) {
        let is_held =
            |held: &Held| held.wanted.protocol == Protocol::Tcp && held.wanted.local.port() == port;
        if !self.ending && !self.held.iter().any(is_held) {
            self.violates(format!("port {port} is used, and not held"));
        }
    }

    pub(super) fn holds_spares_only(&self) -> bool {
        let is_spare = |held: &Held| {
            held.wanted.protocol == Protocol::Tcp
                && held.wanted.local.ip().is_unspecified()
                && held.chosen
                && held.guarded
        };
        let of = |v6: bool| {
            let held = self.held.iter();
            held.filter(|held| held.wanted.local.is_ipv6() == v6)
                .count()
        };
        self.held.iter().all(is_spare) && of(false) <= MOST_SPARES && of(true) <= MOST_SPARES
    }

    pub(super) fn held_text(&self) -> String {
        let held = self.held.iter().filter(|held| !held.chosen);
        let held: Vec<String> = held
            .map(|held| format!("{:?} {}", held.wanted.protocol, held.wanted.local))
            .collect();
        format!("{} ports held, of them chosen: {held:?}", self.held.len())
    }
}
