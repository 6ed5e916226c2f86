//! The kernel beside a ring with shared addresses: what it says of the interface, the ports that it holds for
//! us, and what it was given that is ours.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use ringwire_stack::{
    Cidr, Kernel, KernelEvent, Neighbour, Protocol, Reservation as Wanted, Route, SocketError,
};
use ringwire_xsk::{
    self as xsk, Change, Epoll, IcmpErrors, Interface, Privileges, Program, Reservation,
    ReserveConfig, Rtnetlink,
};

/// Numbers in the epoll set; those of reservations follow.
const NETLINK: u64 = 0;
const ICMP: u64 = 1;
const FIRST_RESERVATION: u64 = 2;

/// Datagrams taken from one reservation, ICMP messages, and changes, before the others have their turn.
const BURST: usize = 64;
/// Holds any datagram.
const BUFFER_BYTES: usize = 1 << 16;

type Local = (Protocol, SocketAddr);

/// A port that the kernel holds, and whose packets are steered here.
#[derive(Debug)]
struct Held {
    reservation: Reservation,
    wanted: Wanted,
    /// The kernel keeps silent about it.
    guarded: bool,
    /// It is of an interface that is gone: nothing lands there, but the port stays taken.
    stale: bool,
    number: u64,
    claimed: Vec<IpAddr>,
}

#[derive(Debug)]
pub(crate) struct HostKernel {
    interface: String,
    index: u32,
    privileges: Privileges,
    rtnetlink: Rtnetlink,
    icmp: IcmpErrors,
    program: Arc<Program>,
    epoll: Arc<Epoll>,
    addresses: Vec<Cidr>,
    held: HashMap<Local, Held>,
    /// Reservations that datagrams come from, by their numbers.
    numbers: HashMap<u64, Local>,
    next_number: u64,
    events: VecDeque<KernelEvent>,
    ready: Vec<u64>,
    buffer: Box<[u8]>,
}

impl HostKernel {
    /// Begins to follow the interface, and has the claimed ports of its addresses steered here.
    ///
    /// # Errors
    /// A missing capability, or what else the kernel said.
    pub(crate) fn new(
        interface: &Interface,
        program: Arc<Program>,
        privileges: Privileges,
    ) -> Result<HostKernel, xsk::Error> {
        let io = |doing| move |source| xsk::Error::Io { doing, source };
        let rtnetlink =
            Rtnetlink::open(interface.index).map_err(io("opening rtnetlink sockets"))?;
        let icmp = privileges.icmp_errors(&interface.name)?;
        let epoll = Epoll::new().map_err(io("making an epoll set"))?;
        let add = |fd, number| epoll.add(fd, number).map_err(io("filling an epoll set"));
        add(rtnetlink.as_raw_fd(), NETLINK)?;
        for fd in icmp.fds() {
            add(fd, ICMP)?;
        }
        let mut kernel = HostKernel {
            interface: interface.name.clone(),
            index: interface.index,
            privileges,
            rtnetlink,
            icmp,
            program,
            epoll: Arc::new(epoll),
            addresses: Vec::new(),
            held: HashMap::new(),
            numbers: HashMap::new(),
            next_number: FIRST_RESERVATION,
            events: VecDeque::new(),
            ready: Vec::new(),
            buffer: vec![0; BUFFER_BYTES].into(),
        };
        kernel
            .read_addresses()
            .map_err(io("reading the interface's addresses"))?;
        Ok(kernel)
    }

    /// What is readable when there are events.
    pub(crate) fn epoll(&self) -> &Arc<Epoll> {
        &self.epoll
    }

    /// The interface's addresses as they were read last.
    pub(crate) fn addresses(&self) -> &[Cidr] {
        &self.addresses
    }

    /// Asks for the addresses, and has the program steer what is for them. Where it fails for want of room, those that
    /// there is room for are steered.
    fn read_addresses(&mut self) -> io::Result<()> {
        let addresses = self.rtnetlink.addresses()?;
        let cidr = |(address, prefix_bits)| Cidr {
            address,
            prefix_bits,
        };
        let addresses: Vec<Cidr> = addresses.into_iter().map(cidr).collect();
        let has = |cidrs: &[Cidr], address| cidrs.iter().any(|cidr| cidr.address == address);
        for gone in self.addresses.iter().map(|cidr| cidr.address) {
            if !has(&addresses, gone) {
                // It fails where the map is gone, with all of its addresses.
                let _ = self.program.unshare_address(gone);
            }
        }
        let known = std::mem::take(&mut self.addresses);
        let mut full = Ok(());
        for cidr in addresses {
            if !has(&known, cidr.address)
                && let Err(error) = self.program.share_address(cidr.address)
            {
                full = Err(io::Error::other(error));
                continue;
            }
            self.addresses.push(cidr);
        }
        full
    }

    /// Looks at what is readable, in bounded parts.
    fn look(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.epoll.ready(&mut ready);
        for number in &ready {
            match *number {
                NETLINK => self.take_changes(),
                ICMP => self.take_icmp(),
                number => self.take_datagrams(number),
            }
        }
        self.ready = ready;
    }

    fn take_changes(&mut self) {
        for _ in 0..BURST {
            match self.rtnetlink.next_change() {
                None => return,
                Some(Change::Addresses) => self.tell_addresses(),
                Some(Change::Link { mac, mtu, .. }) => {
                    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                    self.events.push_back(KernelEvent::Link { mac, mtu });
                    self.events.push_back(KernelEvent::Routes);
                }
                Some(Change::Routes) => self.events.push_back(KernelEvent::Routes),
                Some(Change::Neighbour { address, is }) => {
                    let is = neighbour(is);
                    self.events
                        .push_back(KernelEvent::Neighbour { address, is });
                }
                Some(Change::Lost) => {
                    self.tell_addresses();
                    self.events.push_back(KernelEvent::Routes);
                    if let Ok(link) = self.rtnetlink.link() {
                        let (mac, mtu) = (link.mac, u16::try_from(link.mtu).unwrap_or(u16::MAX));
                        self.events.push_back(KernelEvent::Link { mac, mtu });
                    }
                    for (address, is) in self.rtnetlink.neighbours().unwrap_or_default() {
                        let is = neighbour(is);
                        self.events
                            .push_back(KernelEvent::Neighbour { address, is });
                    }
                }
                Some(Change::Removed) => {}
            }
        }
    }

    fn tell_addresses(&mut self) {
        // Without an answer the interface is going, and what was known of it is as good as anything. Addresses that
        // there is no room for stay the kernel's, until there is.
        let _ = self.read_addresses();
        // Perhaps that of a port is back.
        self.hold_anew();
        let addresses = self.addresses.clone();
        self.events.push_back(KernelEvent::Addresses(addresses));
    }

    fn take_icmp(&mut self) {
        for _ in 0..BURST {
            // What fails is about one message.
            let Ok(Some(error)) = self.icmp.next(&mut self.buffer) else {
                return;
            };
            self.events.push_back(KernelEvent::Icmp {
                from: error.source,
                message: error.message.to_vec(),
            });
        }
    }

    fn take_datagrams(&mut self, number: u64) {
        let Some(local) = self.numbers.get(&number) else {
            return;
        };
        let (Some(held), port) = (self.held.get(local), local.1.port()) else {
            return;
        };
        for _ in 0..BURST {
            // What fails is about one datagram, or about none; the descriptor says whether there are more.
            let Ok(Some(datagram)) = held.reservation.receive(&mut self.buffer) else {
                return;
            };
            self.events.push_back(KernelEvent::Datagram {
                from: datagram.from,
                to: SocketAddr::new(datagram.to, port),
                payload: self.buffer[..datagram.len].to_vec(),
            });
        }
    }

    fn ask_for(&self, wanted: &Wanted) -> io::Result<Reservation> {
        self.privileges.reserve(&ReserveConfig {
            interface: &self.interface,
            protocol: xsk_protocol(wanted.protocol),
            local: wanted.local,
            v6_only: wanted.v6_only,
            reuse_address: wanted.reuse_address,
            reuse_port: wanted.reuse_port,
        })
    }

    /// Follows the interface that has the name now.
    fn follow(&mut self, index: u32) -> io::Result<()> {
        let rtnetlink = Rtnetlink::open(index)?;
        self.epoll.add(rtnetlink.as_raw_fd(), NETLINK)?;
        // The last one leaves the set as it is closed.
        self.rtnetlink = rtnetlink;
        self.index = index;
        // Without the privilege ICMP errors are not heard any more.
        if let Ok(icmp) = self.privileges.icmp_errors(&self.interface) {
            for fd in icmp.fds() {
                self.epoll.add(fd, ICMP)?;
            }
            self.icmp = icmp;
        }
        for held in self.held.values_mut() {
            held.stale = true;
        }
        Ok(())
    }

    /// Has ports held at the interface that there is now, where they are held at one that is gone. Those for an address
    /// that it has not got wait for that.
    fn hold_anew(&mut self) {
        let stale = self.held.iter().filter(|(_, held)| held.stale);
        let stale: Vec<(Local, Wanted)> =
            stale.map(|(local, held)| (*local, held.wanted)).collect();
        for (local, wanted) in stale {
            let at = Wanted {
                local: local.1,
                ..wanted
            };
            // Sockets of two interfaces are in nobody's way: the old one goes when the new one is there.
            let Ok(reservation) = self.ask_for(&at) else {
                continue;
            };
            let Some(held) = self.held.get_mut(&local) else {
                continue;
            };
            let listens = !held.guarded || reservation.listen().is_ok();
            let watched = wanted.protocol == Protocol::Tcp
                || self.epoll.add(reservation.as_raw_fd(), held.number).is_ok();
            if listens && watched {
                held.reservation = reservation;
                held.stale = false;
            }
        }
    }

    fn hold(&mut self, wanted: &Wanted) -> io::Result<Held> {
        let protocol = xsk_protocol(wanted.protocol);
        let reservation = self.ask_for(wanted)?;
        let mut held = Held {
            reservation,
            wanted: *wanted,
            guarded: false,
            stale: false,
            number: self.next_number,
            claimed: Vec::new(),
        };
        let ip = wanted.local.ip();
        let both = ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !wanted.v6_only;
        let other = both.then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        for address in [ip].into_iter().chain(other) {
            let claimed = self
                .program
                .claim(protocol, address, held.reservation.port());
            if let Err(error) = claimed {
                self.unclaim(protocol, &held);
                return Err(io::Error::other(error));
            }
            held.claimed.push(address);
        }
        if wanted.protocol == Protocol::Udp {
            let fd = held.reservation.as_raw_fd();
            if let Err(error) = self.epoll.add(fd, held.number) {
                self.unclaim(protocol, &held);
                return Err(error);
            }
        }
        self.next_number += 1;
        Ok(held)
    }

    fn unclaim(&self, protocol: xsk::Protocol, held: &Held) {
        for address in &held.claimed {
            // It fails where the map is gone, with all of its claims.
            let _ = self
                .program
                .unclaim(protocol, *address, held.reservation.port());
        }
    }
}

impl Kernel for HostKernel {
    fn route(&mut self, from: Option<IpAddr>, to: IpAddr) -> Route {
        match self.rtnetlink.route(from, to) {
            Ok(xsk::Route::Via {
                neighbour,
                source,
                mtu,
            }) => Route::Via {
                neighbour,
                source,
                mtu: mtu.and_then(|mtu| u16::try_from(mtu).ok()),
            },
            Ok(xsk::Route::Broadcast) => Route::Broadcast,
            Ok(xsk::Route::None { errno }) => Route::None(match errno {
                libc::EHOSTUNREACH => SocketError::HostUnreachable,
                libc::EACCES => SocketError::Access,
                libc::EINVAL => SocketError::Invalid,
                _ => SocketError::NetworkUnreachable,
            }),
            _ => Route::None(SocketError::NetworkUnreachable),
        }
    }

    fn resolve(&mut self, ip: IpAddr) -> Neighbour {
        let known = self.rtnetlink.neighbour(ip).map(neighbour);
        let known = known.unwrap_or(Neighbour::Unknown);
        let sure = matches!(known, Neighbour::Known { sure: true, .. });
        if !sure && self.rtnetlink.resolve(ip).is_err() {
            // Not without CAP_NET_ADMIN: then it is asked to send something to there. If that fails too, there
            // is no way to the neighbour.
            let _ = self.icmp.ping(ip);
        }
        known
    }

    fn reserve(&mut self, wanted: &Wanted) -> Result<u16, SocketError> {
        let held = self
            .hold(wanted)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::EADDRINUSE) => SocketError::AddressInUse,
                Some(libc::EACCES | libc::EPERM) => SocketError::Access,
                Some(libc::EMFILE | libc::ENFILE) => SocketError::TooManyFiles,
                _ => SocketError::AddressNotAvailable,
            })?;
        let port = held.reservation.port();
        let local = (wanted.protocol, SocketAddr::new(wanted.local.ip(), port));
        if wanted.protocol == Protocol::Udp {
            self.numbers.insert(held.number, local);
        }
        self.held.insert(local, held);
        Ok(port)
    }

    fn guard(&mut self, protocol: Protocol, local: SocketAddr) -> Result<(), SocketError> {
        let Some(held) = self.held.get_mut(&(protocol, local)) else {
            return Ok(());
        };
        let listens = held.reservation.listen();
        listens.map_err(|_| SocketError::AddressInUse)?;
        held.guarded = true;
        Ok(())
    }

    fn release(&mut self, protocol: Protocol, local: SocketAddr) {
        if let Some(held) = self.held.remove(&(protocol, local)) {
            self.unclaim(xsk_protocol(protocol), &held);
            self.numbers.remove(&held.number);
        }
    }

    fn relink(&mut self) {
        let Ok(interface) = Interface::by_name(&self.interface) else {
            return;
        };
        // What cannot be had now is asked for when the interface is another one again.
        if interface.index != self.index && self.follow(interface.index).is_ok() {
            self.tell_addresses();
        }
    }

    fn next_event(&mut self) -> Option<KernelEvent> {
        if self.events.is_empty() {
            self.look();
        }
        self.events.pop_front()
    }
}

impl Drop for HostKernel {
    /// Another engine may have the program still.
    fn drop(&mut self) {
        for ((protocol, _), held) in &self.held {
            self.unclaim(xsk_protocol(*protocol), held);
        }
    }
}

fn xsk_protocol(protocol: Protocol) -> xsk::Protocol {
    match protocol {
        Protocol::Udp => xsk::Protocol::Udp,
        Protocol::Tcp => xsk::Protocol::Tcp,
    }
}

fn neighbour(neighbour: xsk::Neighbour) -> Neighbour {
    match neighbour {
        xsk::Neighbour::Unknown => Neighbour::Unknown,
        xsk::Neighbour::Failed => Neighbour::Failed,
        xsk::Neighbour::Known { mac, sure } => Neighbour::Known { mac, sure },
    }
}
