//! A host with an address of its own, in this thread's network namespace, and a peer in another one.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use ringwire_xsk::{Interface, Protocol};

use crate::support::run;

pub const PATIENCE: Duration = Duration::from_secs(5);

pub const OURS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const THEIRS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
pub const THEIRS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
pub const OURS_ON_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub const THEIRS_ON_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

/// The peer's namespace, which goes with its last thread, socket and descriptor.
pub struct Peer(File);

impl Peer {
    /// Joins the two by the pair `local` and `peer`, with an address of each family, and waits for the link.
    pub fn new() -> Peer {
        let here = namespace();
        // SAFETY: no memory is passed; only this thread changes its namespace.
        let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(status, 0, "unshare: {}", io::Error::last_os_error());
        let peer = Peer(namespace());
        enter(&here);
        let theirs = format!("/proc/{}/fd/{}", std::process::id(), peer.0.as_raw_fd());
        run(&format!(
            "ip link add local type veth peer name peer netns {theirs}"
        ));
        set_up("local", OURS, [OURS6, OURS_ON_LINK]);
        peer.enter(|| set_up("peer", THEIRS, [THEIRS6, THEIRS_ON_LINK]));
        soon(|| run("ip -o link show dev local").contains("state UP"));
        peer.enter(|| soon(|| run("ip -o link show dev peer").contains("state UP")));
        peer
    }

    /// Does something with this thread in the peer's namespace.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let here = namespace();
        enter(&self.0);
        let result = work();
        enter(&here);
        result
    }

    /// A UDP socket of the peer's.
    pub fn udp(&self, address: impl Into<std::net::IpAddr>) -> UdpSocket {
        self.enter(|| UdpSocket::bind((address.into(), 0)).unwrap())
    }

    /// The index of `peer`, which is the scope of addresses of the link there.
    pub fn index(&self) -> u32 {
        self.enter(|| Interface::by_name("peer").unwrap().index)
    }
}

/// The kernel says nothing of its own accord on the interface.
fn set_up(interface: &str, v4: Ipv4Addr, v6: [Ipv6Addr; 2]) {
    run("ip link set dev lo up");
    run(&format!("ip link set dev {interface} addrgenmode none"));
    run(&format!(
        "ip address add {v4}/24 broadcast 192.0.2.255 dev {interface}"
    ));
    for v6 in v6 {
        run(&format!("ip address add {v6}/64 dev {interface} nodad"));
    }
    run(&format!("ip link set dev {interface} up"));
}

fn namespace() -> File {
    File::open("/proc/thread-self/ns/net").unwrap()
}

fn enter(namespace: &File) {
    // SAFETY: no memory is passed; only this thread changes its namespace.
    let status = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(status, 0, "setns: {}", io::Error::last_os_error());
}

/// Asks until it is so, or five seconds.
#[track_caller]
pub fn soon(mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until there is something to read.
#[track_caller]
pub fn readable(fds: &[i32]) {
    let interest = |fd: &i32| libc::pollfd {
        fd: *fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polls: Vec<libc::pollfd> = fds.iter().map(interest).collect();
    let timeout = PATIENCE.as_millis() as i32;
    // SAFETY: so many pollfds live through the call.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, timeout) };
    assert!(ready > 0, "nothing came within {PATIENCE:?}");
}

/// The index of `local`.
pub fn index() -> u32 {
    Interface::by_name("local").unwrap().index
}

/// The address that the host has on the link alone.
pub fn on_link(port: u16) -> SocketAddr {
    SocketAddrV6::new(OURS_ON_LINK, port, 0, index()).into()
}

/// What another program on the host does: a socket, bound to an address, and listening if it is TCP.
pub fn another_programs(
    protocol: Protocol,
    local: SocketAddr,
    options: &[i32],
) -> io::Result<OwnedFd> {
    let family = if local.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = match protocol {
        Protocol::Udp => libc::SOCK_DGRAM,
        Protocol::Tcp => libc::SOCK_STREAM,
    };
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    for option in options {
        let on = 1i32;
        // SAFETY: the option takes an int.
        let set =
            unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, *option, (&raw const on).cast(), 4) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
    }
    // SAFETY: the structs are integers, for which zero is a value.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { std::mem::zeroed() };
    let (address, len) = match local {
        SocketAddr::V4(local) => {
            v4.sin_family = libc::AF_INET as u16;
            v4.sin_port = local.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(local.ip().octets());
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        SocketAddr::V6(local) => {
            v6.sin6_family = libc::AF_INET6 as u16;
            v6.sin6_port = local.port().to_be();
            v6.sin6_addr.s6_addr = local.ip().octets();
            v6.sin6_scope_id = local.scope_id();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    // SAFETY: the address is readable for its length.
    if unsafe { libc::bind(fd, address, len as u32) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointers are passed.
    if protocol == Protocol::Tcp && unsafe { libc::listen(fd, 8) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

/// The errno of a failure.
#[track_caller]
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => error.raw_os_error().unwrap_or_else(|| panic!("{error}")),
    }
}
