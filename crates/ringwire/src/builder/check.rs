//! What can be known to be wrong before anything is made.

use std::net::IpAddr;

use io_uring::{cqueue, squeue};
use ringwire_stack::MAX_ADDRESSES;
use ringwire_xsk::Interface;

use super::{Builder, LEAST_MTU_V4, LEAST_MTU_V6};
use crate::report::AddressMode;
use crate::setup_error::SetupError;

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Builder<S, C> {
    /// Checks what needs nothing made, but for the queues.
    pub(super) fn check(&self, interface: &Interface) -> Result<(), SetupError> {
        self.check_addresses(interface)?;
        if !interface.up {
            return Err(ringwire_xsk::Error::InterfaceDown {
                name: interface.name.clone(),
            }
            .into());
        }
        let least = self.least_mtu();
        if interface.mtu < least {
            return Err(SetupError::SmallMtu {
                interface: interface.name.clone(),
                mtu: interface.mtu,
                least,
            });
        }
        Ok(())
    }

    /// The queues to serve.
    pub(super) fn queues_of(&self, interface: &Interface) -> Vec<u32> {
        let all = || (0..interface.rx_queues).collect();
        self.queues.clone().unwrap_or_else(all)
    }

    pub(super) fn least_mtu(&self) -> u32 {
        let v6 = self.addresses.iter().any(|cidr| cidr.address.is_ipv6());
        if v6 { LEAST_MTU_V6 } else { LEAST_MTU_V4 }
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

/// Puts each group in order, and checks that its queues are there, and its alone.
pub(super) fn check_groups(
    interface: &Interface,
    groups: &mut [Vec<u32>],
) -> Result<(), SetupError> {
    if groups.is_empty() {
        return Err(SetupError::NoQueues);
    }
    let mut seen = Vec::new();
    for group in groups {
        group.sort_unstable();
        group.dedup();
        if group.is_empty() {
            return Err(SetupError::NoQueues);
        }
        for &queue in &*group {
            check_queue(interface, queue)?;
            if seen.contains(&queue) {
                return Err(SetupError::QueueInTwoGroups(queue));
            }
            seen.push(queue);
        }
    }
    Ok(())
}

/// Checks that a queue is there, both to receive and to send by.
fn check_queue(interface: &Interface, queue: u32) -> Result<(), SetupError> {
    if queue >= interface.rx_queues {
        return Err(ringwire_xsk::Error::NoSuchQueue {
            interface: interface.name.clone(),
            queue,
            available: interface.rx_queues,
        }
        .into());
    }
    if queue >= interface.tx_queues {
        return Err(ringwire_xsk::Error::NoTxQueue {
            interface: interface.name.clone(),
            queue,
            available: interface.tx_queues,
        }
        .into());
    }
    Ok(())
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
