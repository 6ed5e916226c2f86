//! What can be known to be wrong before anything is made.

use std::net::IpAddr;

use io_uring::{cqueue, squeue};
use ringwire_stack::MAX_ADDRESSES;
use ringwire_xsk::Interface;

use super::{Builder, LEAST_MTU_V4, LEAST_MTU_V6};
use crate::report::AddressMode;
use crate::setup_error::SetupError;

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Builder<S, C> {
    /// Checks what needs nothing made; returns the queues to serve.
    pub(super) fn check(&self, interface: &Interface) -> Result<Vec<u32>, SetupError> {
        self.check_addresses(interface)?;
        if !interface.up {
            return Err(ringwire_xsk::Error::InterfaceDown {
                name: interface.name.clone(),
            }
            .into());
        }
        let v6 = self.addresses.iter().any(|cidr| cidr.address.is_ipv6());
        let least = if v6 { LEAST_MTU_V6 } else { LEAST_MTU_V4 };
        if interface.mtu < least {
            return Err(SetupError::SmallMtu {
                interface: interface.name.clone(),
                mtu: interface.mtu,
                least,
            });
        }
        let mut queues = self
            .queues
            .clone()
            .unwrap_or_else(|| (0..interface.rx_queues).collect());
        queues.sort_unstable();
        queues.dedup();
        let missing = queues.iter().find(|&&queue| queue >= interface.rx_queues);
        if let Some(&queue) = missing.or(if queues.is_empty() { Some(&0) } else { None }) {
            let (interface, available) = (interface.name.clone(), interface.rx_queues);
            return Err(ringwire_xsk::Error::NoSuchQueue {
                interface,
                queue,
                available,
            }
            .into());
        }
        Ok(queues)
    }

    pub(super) fn address_mode(&self) -> AddressMode {
        match self.addresses.is_empty() {
            true => AddressMode::Shared,
            false => AddressMode::Owned,
        }
    }

    fn check_addresses(&self, interface: &Interface) -> Result<(), SetupError> {
        if self.address_mode() == AddressMode::Owned {
            return match self.addresses.len() {
                count if count > MAX_ADDRESSES => Err(SetupError::TooManyAddresses(count)),
                _ => Ok(()),
            };
        }
        if !self.gateways.is_empty() {
            return Err(SetupError::GatewayOfTheKernel);
        }
        let addresses =
            ringwire_xsk::addresses(interface.index).map_err(|source| SetupError::Io {
                doing: "reading the interface's addresses",
                source,
            })?;
        // The kernel gives itself a link-local one wherever it can.
        let is_given = |ip: &IpAddr| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        match addresses.iter().any(|(ip, _)| is_given(ip)) {
            true => Ok(()),
            false => Err(SetupError::NoAddress(interface.name.clone())),
        }
    }
}
