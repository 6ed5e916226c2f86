//! Making rings: one, or several that share an interface's queues out among them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{cqueue, squeue};
use ringwire_abi::errno::Errno;
use ringwire_abi::setup::ring_sizes;
use ringwire_stack::{
    AddressState, HashFields, HashedFields, Rss, Sibling, multicast_mac, solicited_node,
};
use ringwire_umem::{Ledger, Umem};
use ringwire_xsk::{
    FlowFields, Interface, MulticastMembership, Program, ReceiveHash, Socket, Waiter,
    transmit_timeout,
};

use super::check::check_groups;
use super::{Builder, random_numbers};
use crate::device::{Presence, first_fills};
use crate::engine::{Engine, EngineConfig};
use crate::host_kernel::HostKernel;
use crate::params::Parameters;
use crate::port::AfXdpPort;
use crate::report::AddressMode;
use crate::ring::{Core, IoUring, now};
use crate::setup_error::SetupError;

/// How long to wait for a link that attaching has reset.
const CARRIER_WAIT: Duration = Duration::from_secs(5);
/// How often the engines but the first are looked at while the addresses are probed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What all rings of an interface have in common, until the last of them goes.
struct Attachment {
    program: Arc<Program>,
    memberships: Arc<[MulticastMembership]>,
}

/// A ring that is being made.
struct Made {
    core: Core,
    umem: Arc<Umem>,
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Builder<S, C> {
    /// Makes a ring whose submission queue has (at least) `entries` entries: maps the UMEM, attaches
    /// the XDP program, binds a socket to each queue, and makes sure of the addresses.
    ///
    /// This takes CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK (docs/PRIVILEGES.md). Nothing that a ring does
    /// afterwards takes one, but opening sockets anew where a NIC hangs or the interface is made again
    /// (docs/WATCHDOG.md), so a program can give them up then.
    ///
    /// # Errors
    /// [`SetupError`], whose message names the cure.
    pub fn build(&self, entries: u32) -> Result<IoUring<S, C>, SetupError> {
        let interface = self.find_interface()?;
        let queues = self.queues_of(&interface);
        let rings = self.build_groups(entries, &interface, vec![queues])?;
        rings.into_iter().next().ok_or(SetupError::NoQueues)
    }

    /// Makes a ring for each group of queues, each to be driven by a thread of its own, and together one host: they
    /// have the same addresses, and share ports out among them as sockets of one kernel do (`EADDRINUSE`,
    /// `SO_REUSEPORT`). A flow lives on the ring of the queue on which it arrives; what arrives elsewhere is handed
    /// over (docs/QUEUES.md). The program stays attached until the last of them is dropped.
    ///
    /// Each has the UMEM that [`build`](Self::build) would give one with so many queues. Everything else that the
    /// builder was told holds for all, but that [`queues`](Self::queues) means nothing, and that with
    /// [`setup_sqpoll_cpu`](Self::setup_sqpoll_cpu) the polling threads have consecutive processors.
    ///
    /// # Errors
    /// As [`build`](Self::build); [`SetupError::NoQueues`], [`SetupError::QueueInTwoGroups`].
    pub fn build_each(
        &self,
        entries: u32,
        groups: &[&[u32]],
    ) -> Result<Vec<IoUring<S, C>>, SetupError> {
        let interface = self.find_interface()?;
        let groups = groups.iter().map(|group| group.to_vec()).collect();
        self.build_groups(entries, &interface, groups)
    }

    fn find_interface(&self) -> Result<Interface, SetupError> {
        let name = self.interface.as_deref().ok_or(SetupError::NoInterface)?;
        Ok(Interface::by_name(name)?)
    }

    fn build_groups(
        &self,
        entries: u32,
        interface: &Interface,
        mut groups: Vec<Vec<u32>>,
    ) -> Result<Vec<IoUring<S, C>>, SetupError> {
        let (sq_entries, cq_entries) =
            ring_sizes(entries, self.cq_entries, self.setup_flags).map_err(SetupError::Ring)?;
        self.check(interface)?;
        check_groups(interface, &mut groups)?;
        let config = EngineConfig {
            sq_entries,
            cq_entries,
            setup_flags: self.setup_flags,
        };
        let attachment = self.attach(interface)?;
        let made = groups.into_iter();
        let made = made.map(|queues| self.make(interface, &attachment, config, queues));
        let mut made: Vec<Made> = made.collect::<Result<_, _>>()?;
        join(&mut made)?;
        self.await_addresses(&mut made)?;
        let rings = made.into_iter().zip(0..);
        rings
            .map(|(Made { core, umem }, index)| {
                let params = Parameters {
                    sq_entries,
                    cq_entries,
                    setup_flags: self.setup_flags,
                    sq_thread_idle: self.sq_thread_idle,
                };
                let cpu = self.sq_thread_cpu.map(|cpu| cpu.saturating_add(index));
                IoUring::new(core, umem, params, cpu).map_err(thread_error)
            })
            .collect()
    }

    /// Attaches the program, and claims the addresses for it.
    fn attach(&self, interface: &Interface) -> Result<Attachment, SetupError> {
        let program = self.privileges.attach(interface, self.attach)?;
        await_carrier(interface)?;
        let mut memberships = Vec::new();
        for cidr in &self.addresses {
            program.own_address(cidr.address)?;
            if let IpAddr::V6(address) = cidr.address {
                let group = multicast_mac(solicited_node(address).into());
                memberships.push(self.privileges.join_multicast(interface, group)?);
            }
        }
        Ok(Attachment {
            program: Arc::new(program),
            memberships: memberships.into(),
        })
    }

    /// Makes an engine over some queues, and all that it has to itself.
    fn make(
        &self,
        interface: &Interface,
        attachment: &Attachment,
        config: EngineConfig,
        queues: Vec<u32>,
    ) -> Result<Made, SetupError> {
        let umem = Umem::new(self.layout(queues.len() as u32))?;
        let mut ledger = Ledger::new(Arc::clone(&umem));
        let device = self.device(interface, &queues, &umem);
        let fills = first_fills(&mut ledger, queues.len() as u16);
        let (sockets, rings) = device.open(interface, &fills, Socket::open)?;
        for socket in &sockets {
            attachment.program.set_queue(socket.queue(), socket)?;
        }
        let making_fds = |source| SetupError::Io {
            doing: "making the ring's fds",
            source,
        };
        let mut waiter = Waiter::new(&sockets).map_err(making_fds)?;
        let memberships = Arc::clone(&attachment.memberships);
        let mut presence = Presence::new(interface, memberships).map_err(making_fds)?;
        let watched = presence.fds(&sockets);
        waiter.replace_sockets(watched).map_err(making_fds)?;
        let program = &attachment.program;
        let kernel = match self.address_mode() {
            AddressMode::Owned => None,
            AddressMode::Shared => Some(HostKernel::new(
                interface,
                Arc::clone(program),
                self.privileges.clone(),
            )?),
        };
        if let Some(kernel) = &kernel {
            let epoll = Arc::clone(kernel.epoll());
            waiter.watch(epoll).map_err(making_fds)?;
        }
        let waker = waiter.waker().clone();
        umem.on_return(move || waker.wake());
        let rss = rss(interface, &queues);
        let report = self.report(interface, queues, &umem, program, &sockets);
        let sockets: Arc<[Socket]> = sockets.into();
        let mut stack = self.stack(interface, &ledger, &report, kernel)?;
        stack.set_rss(rss);
        let port = Box::new(AfXdpPort::new(Arc::clone(&sockets)));
        let mut engine = Engine::new(now(), config, ledger, stack, rings, port);
        // The kernel's own watchdog comes first.
        engine.set_patience(transmit_timeout(&interface.driver) + Duration::from_secs(1));
        engine.set_link(now(), presence.state());
        let core = Core {
            engine,
            waiter,
            sockets,
            program: Arc::clone(program),
            report,
            spin: self.spin,
            abandoned: false,
            device,
            presence,
        };
        Ok(Made { core, umem })
    }

    /// Takes turns until every address is known to be ours. The first engine probes; the others listen, since what
    /// tells of another host may arrive on any queue.
    fn await_addresses(&self, made: &mut [Made]) -> Result<(), SetupError> {
        let Some((first, others)) = made.split_first_mut() else {
            return Ok(());
        };
        if self.detect_duplicates {
            for other in others.iter_mut() {
                other.core.engine.stack_mut().follow_addresses();
            }
        }
        loop {
            let mut tentative = self.look_at_addresses(&mut first.core)?;
            for other in others.iter_mut() {
                tentative |= self.look_at_addresses(&mut other.core)? && !self.detect_duplicates;
            }
            if !tentative {
                break;
            }
            let timeout = first.core.engine.next_deadline();
            let timeout = timeout.map(|deadline| deadline - now());
            let timeout = match others.is_empty() {
                true => timeout,
                false => Some(timeout.unwrap_or(LOOK_EVERY).min(LOOK_EVERY)),
            };
            match first.core.waiter.sleep(timeout, None) {
                Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                    return Err(SetupError::Io {
                        doing: "waiting for the addresses",
                        source,
                    });
                }
                _ => {}
            }
        }
        for other in others {
            other.core.engine.settle_addresses(now());
        }
        Ok(())
    }

    /// Takes a turn; whether an address is not known to be ours yet.
    fn look_at_addresses(&self, core: &mut Core) -> Result<bool, SetupError> {
        core.engine.turn(now());
        let mut tentative = false;
        for cidr in &self.addresses {
            match core.engine.stack().address_state(cidr.address) {
                Some(AddressState::Duplicate(mac)) => {
                    return Err(SetupError::AddressTaken {
                        address: cidr.address,
                        mac,
                    });
                }
                Some(AddressState::Preferred) => {}
                _ => tentative = true,
            }
        }
        Ok(tentative)
    }
}

/// Makes siblings of the engines' stacks, if there are several.
fn join(made: &mut [Made]) -> Result<(), SetupError> {
    if made.len() < 2 {
        return Ok(());
    }
    let wakers = made.iter().map(|made| -> Box<dyn Fn() + Send + Sync> {
        let waker = made.core.waiter.waker().clone();
        Box::new(move || waker.wake())
    });
    let [seed, ..] = random_numbers()?;
    let siblings = Sibling::group(seed, wakers.collect());
    for (made, sibling) in made.iter_mut().zip(siblings) {
        made.core.engine.stack_mut().join(sibling);
    }
    Ok(())
}

/// How the NIC chooses between these queues and the others, if that is known.
fn rss(interface: &Interface, queues: &[u32]) -> Option<Rss> {
    let told = ReceiveHash::of(interface)?;
    let ours = told.indirection.iter();
    let ours = ours.map(|queue| queues.contains(queue)).collect();
    let fields = |fields: FlowFields| match fields {
        _ if fields.is_addresses() => HashFields::Addresses,
        _ if fields.is_addresses_and_ports() => HashFields::AddressesAndPorts,
        _ => HashFields::Unknown,
    };
    let fields = HashedFields {
        tcp_v4: fields(told.tcp_v4),
        tcp_v6: fields(told.tcp_v6),
        udp_v4: fields(told.udp_v4),
        udp_v6: fields(told.udp_v6),
    };
    Rss::new(told.key, ours, fields)
}

fn thread_error(source: io::Error) -> SetupError {
    match source.raw_os_error() {
        Some(libc::EINVAL) => SetupError::Ring(Errno::EINVAL),
        _ => SetupError::Io {
            doing: "starting the polling thread",
            source,
        },
    }
}

/// Attaching an XDP program resets the link of some NICs (igb: one to two seconds): what is sent
/// meanwhile, address probes included, would be lost. A link that stays away is no error: the cable
/// may be plugged in later.
fn await_carrier(interface: &Interface) -> Result<(), SetupError> {
    let deadline = now() + CARRIER_WAIT;
    while !Interface::by_name(&interface.name)?.carrier && now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
