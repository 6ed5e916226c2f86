//! What a ring holds of the system: the interface, its sockets, and what it takes to have them anew when the engine asks
//! for that (`engine/watchdog.rs`).

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_stack::Instant;
use ringwire_umem::{Ledger, Pool, Umem};
use ringwire_xsk::{
    BindMode, Change, Error, Interface, Link, MulticastMembership, Privileges, QueueConfig, Rings,
    Rtnetlink, Socket, network_namespace,
};

use crate::builder::FILL_RING;
use crate::engine::{Failure, LinkState, NewLink};
use crate::offload::TxChecksum;
use crate::poller::errno_of;
use crate::port::AfXdpPort;
use crate::ring::Core;

const RX_RING: u32 = 2048;
const TX_RING: u32 = 1024;
const COMPLETION_RING: u32 = 2048;

/// How often the interface's link is looked at while packets keep the ring from sleeping.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What opens the sockets of an interface.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) queues: Vec<u32>,
    pub(crate) umem: Arc<Umem>,
    pub(crate) bind: BindMode,
    pub(crate) tx_checksum: TxChecksum,
    pub(crate) privileges: Privileges,
    pub(crate) scatter_from: Option<u32>,
    /// The smallest MTU that the addresses' families allow.
    pub(crate) least_mtu: u32,
    /// Multicast groups that the NIC is to let through, by their Ethernet addresses.
    pub(crate) groups: Vec<[u8; 6]>,
}

impl Device {
    /// A socket for each queue, whose fill ring begins so.
    pub(crate) fn open(
        &self,
        interface: &Interface,
        fills: &[Vec<u64>],
        open: impl Fn(&QueueConfig<'_>) -> Result<(Socket, Rings), Error>,
    ) -> Result<(Vec<Socket>, Vec<Rings>), Error> {
        let mut sockets: Vec<Socket> = Vec::new();
        let mut rings = Vec::new();
        for (&queue, fill) in self.queues.iter().zip(fills) {
            let config = QueueConfig {
                ifindex: interface.index,
                ifname: &interface.name,
                queue,
                umem: &self.umem,
                shared_with: sockets.first(),
                rx_entries: RX_RING,
                tx_entries: TX_RING,
                fill_entries: FILL_RING,
                completion_entries: COMPLETION_RING,
                fill,
                mode: self.bind,
                scatter: true,
                tx_checksum: self.tx_checksum == TxChecksum::Offload,
                privileges: self.privileges.clone(),
            };
            let (socket, ring) = open(&config)?;
            sockets.push(socket);
            rings.push(ring);
        }
        Ok((sockets, rings))
    }

    /// Has the NIC let the groups through.
    pub(crate) fn join_groups(
        &self,
        interface: &Interface,
    ) -> Result<Arc<[MulticastMembership]>, Error> {
        let groups = self.groups.iter();
        groups
            .map(|&group| self.privileges.join_multicast(interface, group))
            .collect()
    }
}

/// What each fill ring begins with: no more than half of the chunks, so that sockets can queue what arrives.
pub(crate) fn first_fills(ledger: &mut Ledger, queues: u16) -> Vec<Vec<u64>> {
    let share = ledger.umem().layout().rx_chunks / 2 / u32::from(queues);
    let mut fill = |queue| {
        let frames = (0..FILL_RING.min(share)).map_while(|_| ledger.alloc(Pool::Rx));
        let frames: Vec<_> = frames.collect();
        let frames = frames.into_iter();
        frames.map(|frame| ledger.post_fill(frame, queue)).collect()
    };
    (0..queues).map(&mut fill).collect()
}

/// The interface as it was last seen, and what is held of it.
#[derive(Debug)]
pub(crate) struct Presence {
    index: u32,
    /// Tells what becomes of the link, and that others come.
    link: Rtnetlink,
    /// The interface is gone: one of its name is another one, or was away.
    gone: bool,
    next_look: Instant,
    /// The network namespace in which the interface's name means it.
    namespace: Option<u64>,
    _memberships: Arc<[MulticastMembership]>,
}

impl Presence {
    pub(crate) fn new(
        interface: &Interface,
        memberships: Arc<[MulticastMembership]>,
    ) -> io::Result<Presence> {
        Ok(Presence {
            index: interface.index,
            link: Rtnetlink::of_link(interface.index)?,
            gone: false,
            next_look: Instant::ZERO,
            namespace: network_namespace(),
            _memberships: memberships,
        })
    }

    /// What the interface is like now. What changes later is told.
    pub(crate) fn state(&mut self) -> LinkState {
        state_of(self.link.link())
    }

    /// What wakes a ring that sleeps: its sockets, and news of its link.
    pub(crate) fn fds(&self, sockets: &[Socket]) -> Vec<i32> {
        let sockets = sockets.iter().map(AsRawFd::as_raw_fd);
        sockets.chain([self.link.as_raw_fd()]).collect()
    }
}

fn state_of(asked: io::Result<Link>) -> LinkState {
    match asked {
        Ok(link) => link_state(link.up, link.carrier),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => LinkState::Removed,
        // It may be there: what is sent is seen to get nowhere.
        Err(_) => LinkState::Up,
    }
}

fn link_state(up: bool, carrier: bool) -> LinkState {
    match (up, carrier) {
        (true, true) => LinkState::Up,
        (true, false) => LinkState::NoCarrier,
        (false, _) => LinkState::Down,
    }
}

/// What a set-up's failure means for the next attempt.
fn failure(error: &Error) -> Failure {
    let why = error.to_string();
    match error {
        Error::NoInterface { .. } | Error::InterfaceDown { .. } => Failure::Absent,
        Error::MissingCapability { .. }
        | Error::UserNamespace { .. }
        | Error::NotIssued { .. }
        | Error::KernelTooOld { .. } => Failure::Lasting(Errno::EPERM, why),
        Error::QueueTaken { .. } | Error::ForeignProgram { .. } => {
            Failure::Passing(Errno::EBUSY, why)
        }
        Error::UmemTooLarge { .. } => Failure::Passing(Errno::ENOBUFS, why),
        _ => Failure::Passing(Errno::ENETDOWN, why),
    }
}

impl Core {
    /// What comes before a turn: news of the link, and new sockets where they are due.
    pub(crate) fn tend(&mut self, now: Instant) {
        if now >= self.presence.next_look {
            self.look(now);
        }
        if self.engine.wants_sockets(now) {
            // Perhaps the reason is known meanwhile.
            self.look(now);
            if let Err(failure) = self.renew(now) {
                self.engine.refuse_rings(now, failure);
            }
        }
    }

    /// Takes what has become of the link.
    fn look(&mut self, now: Instant) {
        self.presence.next_look = now + LOOK_EVERY;
        let presence = &mut self.presence;
        while let Some(change) = presence.link.next_change() {
            let link = match change {
                Change::Link { up, carrier, .. } => link_state(up, carrier),
                Change::Removed => LinkState::Removed,
                Change::Lost => state_of(presence.link.link()),
                // Another interface: perhaps the one that is waited for.
                Change::Routes if presence.gone => {
                    self.engine.hurry_sockets(now);
                    continue;
                }
                _ => continue,
            };
            presence.gone |= link == LinkState::Removed;
            self.engine.set_link(now, link);
        }
    }

    /// Closes the sockets and opens others in their place.
    fn renew(&mut self, now: Instant) -> Result<(), Failure> {
        if self.engine.has_sockets() {
            if self.engine.link() != LinkState::Removed {
                // Who may not open new ones keeps what there is.
                let allowed = Socket::may_open(&self.device.privileges);
                allowed.map_err(|error| failure(&error))?;
            }
            self.close();
        }
        let interface = self.find()?;
        let program = &self.program;
        let attached = program.attach_again(&interface);
        attached.map_err(|error| failure(&error))?;
        let fills = self.engine.fill_anew(FILL_RING);
        let (device, presence) = (&self.device, &mut self.presence);
        let opened = device.open(&interface, &fills, Socket::open_now);
        let (sockets, rings) = opened.map_err(|error| failure(&error))?;
        let mut report = self.report.clone();
        report.describe(&interface, &sockets, device.scatter_from);
        if report.tx_checksum != self.report.tx_checksum {
            let why = "the interface does not write checksums as the last one did".to_owned();
            return Err(Failure::Passing(Errno::EOPNOTSUPP, why));
        }
        for socket in &sockets {
            let set = program.set_queue(socket.queue(), socket);
            set.map_err(|error| failure(&error))?;
        }
        if presence.index != interface.index || presence.gone {
            let memberships = device.join_groups(&interface);
            let memberships = memberships.map_err(|error| failure(&error))?;
            *presence = Presence::new(&interface, memberships).map_err(io_failure)?;
        }
        let waiter = &mut self.waiter;
        waiter
            .replace_sockets(presence.fds(&sockets))
            .map_err(io_failure)?;
        let link = NewLink {
            mac: interface.mac,
            mtu: report.mtu,
            plan: report.plan_limits(),
        };
        self.report = report;
        self.sockets = sockets.into();
        let port = Box::new(AfXdpPort::new(Arc::clone(&self.sockets)));
        self.engine.set_link(now, self.presence.state());
        self.engine.adopt_rings(now, rings, port, &fills, link);
        Ok(())
    }

    /// Lets go of the sockets.
    fn close(&mut self) {
        // Without room for what is watched there is less to watch: the timer is watched in any case.
        let _ = self.waiter.replace_sockets(self.presence.fds(&[]));
        self.sockets = Arc::new([]);
        let port = Box::new(AfXdpPort::new(Arc::clone(&self.sockets)));
        self.engine.drop_rings(port);
    }

    /// The interface of the ring's name, as it is now, if it can be served.
    fn find(&self) -> Result<Interface, Failure> {
        let device = &self.device;
        if network_namespace() != self.presence.namespace {
            let why = "the thread that enters the ring has left its interface's network namespace";
            return Err(Failure::Passing(Errno::ENODEV, why.to_owned()));
        }
        let found = Interface::by_name(&device.name);
        let interface = found.map_err(|error| failure(&error))?;
        if !interface.up {
            return Err(Failure::Absent);
        }
        if interface.mtu < device.least_mtu {
            let why = format!(
                "{} has an MTU of {}, and {} are needed",
                interface.name, interface.mtu, device.least_mtu
            );
            return Err(Failure::Passing(Errno::EMSGSIZE, why));
        }
        Ok(interface)
    }
}

fn io_failure(error: io::Error) -> Failure {
    Failure::Passing(errno_of(error), "making the ring's fds".to_owned())
}
