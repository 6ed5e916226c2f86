//! `ringwire doctor`: what was read of the machine ([`Machine`]), and what is to be said of it.
//!
//! `ringwire-xsk` reads; each file here judges one part of what was read, by functions without side effects.

mod finding;
mod kernel;
mod link;
mod machine;
mod memory;
mod mode;
mod offloads;
mod privileges;
mod probe;
mod queues;
mod quirks;
#[cfg(test)]
mod tests;

pub(crate) use finding::Diagnosis;
pub(crate) use machine::Machine;

use std::net::Ipv4Addr;

use finding::Finding;

impl Diagnosis {
    /// All that is to be said of a machine.
    pub(crate) fn of(machine: &Machine) -> Diagnosis {
        let parts: [fn(&Machine) -> Vec<Finding>; 8] = [
            kernel::judge,
            link::judge,
            mode::judge,
            queues::judge,
            offloads::judge,
            memory::judge,
            privileges::judge,
            quirks::judge,
        ];
        Diagnosis {
            interface: machine.link.name.clone(),
            findings: parts.iter().flat_map(|judge| judge(machine)).collect(),
        }
    }

    /// Probes too: this takes privileges, attaches ringwire's program for a second or two, and sends a frame by each
    /// queue. `target` is the neighbour to ask; one that the kernel knows by default.
    pub(crate) fn probe(&mut self, machine: &Machine, target: Option<Ipv4Addr>) {
        self.findings.extend(probe::examine(machine, target));
    }
}
