//! What a stack asks of the kernel beside it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use ringwire_stack::{Kernel, KernelEvent, Neighbour, Protocol, Reservation, Route, SocketError};

use super::{State, Way, router};

pub(super) struct StandIn(pub(super) Arc<Mutex<State>>);

impl fmt::Debug for StandIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a simulated kernel")
    }
}

impl StandIn {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Kernel for StandIn {
    fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> Route {
        let state = self.state();
        let own = state.own(to);
        if from.is_some_and(|from| !state.has(from)) || !state.has(own) {
            return Route::None(SocketError::NetworkUnreachable);
        }
        let on_link = match to {
            IpAddr::V4(to) => to.octets()[..3] == [10, 0, 0],
            IpAddr::V6(to) => to.segments()[..4] == [0xfd00, 0, 0, 0],
        };
        if to == IpAddr::from([10, 0, 0, 255]) {
            return Route::Broadcast;
        }
        let neighbour = match state.way {
            _ if !on_link => return Route::None(SocketError::NetworkUnreachable),
            Way::Nowhere => return Route::None(SocketError::NetworkUnreachable),
            Way::Direct => to,
            Way::Router => router(to),
        };
        Route::Via {
            neighbour,
            source: Some(own),
            mtu: state.route_mtu,
        }
    }

    fn resolve(&mut self, neighbour: IpAddr) -> Neighbour {
        let mut state = self.state();
        let now = state.now;
        let entry = state.entry(neighbour);
        let sure = entry.mac.is_some() && now < entry.sure_until;
        if !sure && entry.asking.is_none() {
            entry.asking = Some((0, now));
        }
        match (entry.mac, entry.failed) {
            (Some(mac), _) => {
                state.told_macs.insert(mac);
                Neighbour::Known { mac, sure }
            }
            (None, true) => Neighbour::Failed,
            (None, false) => {
                state.coverage.neighbours_unknown += 1;
                Neighbour::Unknown
            }
        }
    }

    fn reserve(&mut self, wanted: &Reservation) -> Result<u16, SocketError> {
        self.state().hold(wanted)
    }

    fn guard(&mut self, protocol: Protocol, local: SocketAddr) -> Result<(), SocketError> {
        self.state().silence(protocol, local)
    }

    fn release(&mut self, protocol: Protocol, local: SocketAddr) {
        self.state().let_go(protocol, local);
    }

    fn relink(&mut self) {}

    fn next_event(&mut self) -> Option<KernelEvent> {
        let mut state = self.state();
        let now = state.now;
        state.events.front().filter(|(at, _)| *at <= now)?;
        let (_, event) = state.events.pop_front()?;
        match &event {
            KernelEvent::Addresses(now) => {
                let told = |ip| now.iter().any(|cidr| cidr.address == ip);
                let told = [told(state.v4), told(state.v6)];
                // What waited may go out before it hears that the address is gone again.
                for (may_send, told) in state.may_send.iter_mut().zip(told) {
                    *may_send |= told;
                }
                state.told = told;
            }
            KernelEvent::Neighbour {
                is: Neighbour::Known { mac, .. },
                ..
            } => {
                state.told_macs.insert(*mac);
            }
            _ => {}
        }
        Some(event)
    }
}
