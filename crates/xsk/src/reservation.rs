//! Ports that the kernel keeps for ringwire on an address of its own: a kernel socket each.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::inet;
use crate::maps::Protocol;

/// What a UDP reservation holds of datagrams that nobody has taken yet, in bytes as `SO_RCVBUF` counts them
/// (socket(7): the kernel doubles it for its overhead). Room for three of the longest.
const RECEIVE_BUFFER: i32 = 212_992;

/// What [`Reservation::new`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ReserveConfig<'a> {
    /// The interface. What arrives by another one, the loopback included, is not the reservation's.
    pub interface: &'a str,
    /// Whose port.
    pub protocol: Protocol,
    /// An address of the host's or the wildcard of its family, and the port. For port 0 the kernel chooses
    /// one of `net.ipv4.ip_local_port_range` that nobody else has. The scope of a link-local address is
    /// the interface, said (`scope_id`) or not.
    pub local: SocketAddr,
    /// `IPV6_V6ONLY`; without it the IPv6 wildcard reserves the port for IPv4, too.
    pub v6_only: bool,
    /// `SO_REUSEADDR`.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
}

/// A port of an address that the kernel has, too: a kernel socket that is bound to it for as long as this
/// lives. A bind of another program's then gives `EADDRINUSE`, and so does this where another program
/// was first, by the kernel's own rules for addresses, interfaces, `SO_REUSEADDR` and `SO_REUSEPORT`. It takes
/// no capability, but CAP_NET_BIND_SERVICE for a port below `net.ipv4.ip_unprivileged_port_start`.
///
/// What the steering program does not redirect lands here: fragments, which the kernel reassembles;
/// broadcasts and multicast; packets on a queue without a socket. UDP datagrams can be
/// [received](Self::receive). TCP segments are dropped without an answer once the reservation
/// [listens](Self::listen): the kernel knows nothing of the connection and would reset it. Until then, and
/// when the process has died, it answers with RST; to a UDP datagram with "port unreachable" when the process
/// has died.
///
/// Programs on the host itself do not reach the port: their datagrams and segments are dropped without an answer.
///
/// The port is free at once when this is dropped, unless another thread is starting a child: that has a copy of the
/// socket until its exec.
///
/// It stays with the interface that had the name: once that was removed, nothing arrives here any more,
/// also when there is a new one by its name; the port stays taken.
#[derive(Debug)]
pub struct Reservation {
    socket: OwnedFd,
    port: u16,
}

/// A datagram that landed on a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its source. That of an IPv4 datagram is an IPv4 address on an IPv6 reservation, too.
    pub from: SocketAddr,
    /// Its destination: an address of the host's, a broadcast address or a multicast group.
    pub to: IpAddr,
    /// Its length in bytes.
    pub len: usize,
}

impl Reservation {
    /// Reserves a port, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EADDRINUSE`: somebody else has the port, or none is left; `EACCES`: it takes CAP_NET_BIND_SERVICE;
    /// `EADDRNOTAVAIL`: the address is not the host's, or of another interface's scope; `ENODEV`: there is no
    /// such interface; `EMFILE`; or what else the kernel says.
    pub fn new(config: &ReserveConfig<'_>) -> io::Result<Reservation> {
        let index = inet::index_of(config.interface)?;
        let (family, local) = match config.local {
            SocketAddr::V4(v4) => (libc::AF_INET, SocketAddr::V4(v4)),
            SocketAddr::V6(v6) => (libc::AF_INET6, SocketAddr::V6(scoped(v6, index)?)),
        };
        let kind = match config.protocol {
            Protocol::Udp => libc::SOCK_DGRAM,
            Protocol::Tcp => libc::SOCK_STREAM,
        };
        let socket = inet::socket(index, family, kind, 0)?;
        if family == libc::AF_INET6 {
            let v6_only = i32::from(config.v6_only);
            inet::set_flag(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, v6_only)?;
        }
        match config.protocol {
            Protocol::Udp => {
                tell_destination(&socket, family)?;
                drop_loopback(&socket, index)?;
            }
            Protocol::Tcp => drop_all(&socket, family)?,
        }
        if local.port() == 0 {
            // With SO_REUSEADDR the kernel might choose a UDP port that another program has.
            inet::bind(&socket, local)?;
            share(&socket, config)?;
        } else {
            share(&socket, config)?;
            inet::bind(&socket, local)?;
        }
        Reservation::of_socket(socket)
    }

    /// One that another process has made.
    pub(crate) fn of_socket(socket: OwnedFd) -> io::Result<Reservation> {
        let port = inet::local_address(&socket)?.port();
        Ok(Reservation { socket, port })
    }

    /// To give it to another process.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// The port: for port 0 the kernel's choice.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Of a TCP port: has the kernel leave segments to it without an answer, and refuse the port to another
    /// listener. For a socket that connects, too.
    ///
    /// # Errors
    /// `EADDRINUSE`: with `SO_REUSEADDR` another program was bound to the port as well, and has begun to
    /// listen. `EOPNOTSUPP`: it is a UDP port.
    pub fn listen(&self) -> io::Result<()> {
        // SAFETY: no pointers are passed.
        match unsafe { libc::listen(self.socket.as_raw_fd(), 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Of a UDP port: the next datagram that landed here; `None`: there is none for now, and the descriptor
    /// will be readable. The kernel has verified its checksum.
    ///
    /// # Errors
    /// `EMSGSIZE`: a datagram was longer than the buffer and is lost; 65,535 bytes hold any. `ENOTCONN`: it is
    /// a TCP port. Or what else the kernel says.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let Some(packet) = inet::receive(&self.socket, buffer)? else {
            return Ok(None);
        };
        if packet.truncated {
            return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
        }
        Ok(Some(Received {
            from: packet.from,
            to: packet.to.ok_or(io::ErrorKind::InvalidData)?,
            len: packet.len,
        }))
    }
}

/// Readable when a datagram has landed here.
impl AsRawFd for Reservation {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// bind(2) takes a scope for the interface to bind to, whatever `SO_BINDTOIFINDEX` said.
fn scoped(local: SocketAddrV6, index: u32) -> io::Result<SocketAddrV6> {
    if ![0, index].contains(&local.scope_id()) {
        return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
    }
    Ok(SocketAddrV6::new(*local.ip(), local.port(), 0, index))
}

fn share(socket: &OwnedFd, config: &ReserveConfig<'_>) -> io::Result<()> {
    let (address, port) = (
        i32::from(config.reuse_address),
        i32::from(config.reuse_port),
    );
    inet::set_flag(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, address)?;
    inet::set_flag(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, port)
}

/// Each datagram comes with its destination.
fn tell_destination(socket: &OwnedFd, family: i32) -> io::Result<()> {
    inet::set_flag(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)?;
    if family == libc::AF_INET {
        inet::set_flag(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    } else {
        // Also of IPv4 datagrams, as mapped addresses (`ip6_datagram_recv_common_ctl`).
        inet::set_flag(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    }
}

/// Lets only what arrived by the interface through. The kernel takes what the host sends to its own address for
/// something that came by the address's interface (`ip_route_output_key_hash_rcu`, `ipv6_rcv`), although its
/// device is the loopback.
fn drop_loopback(socket: &OwnedFd, index: u32) -> io::Result<()> {
    // SKF_AD_IFINDEX as linux/filter.h has it: the packet's device.
    let device = (libc::SKF_AD_OFF + libc::SKF_AD_IFINDEX) as u32;
    filter(
        socket,
        &mut [
            instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, device, 0),
            instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, index, 1),
            instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
            instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0),
        ],
    )
}

/// Lets nothing through: `tcp_v4_rcv` asks before it answers anything for a listener. Linux 6.18.44 allows a TCP
/// socket's filter to CAP_NET_ADMIN alone; without it a minimum TTL of 255, with which no common system sends, drops
/// the rest.
fn drop_all(socket: &OwnedFd, family: i32) -> io::Result<()> {
    match filter(
        socket,
        &mut [instruction(libc::BPF_RET | libc::BPF_K, 0, 0)],
    ) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if family == libc::AF_INET6 {
                inet::set_flag(socket, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, 255)?;
            }
            inet::set_flag(socket, libc::IPPROTO_IP, libc::IP_MINTTL, 255)
        }
        attached => attached,
    }
}

/// One instruction of classic BPF; `skip` is how many are skipped where a comparison holds.
fn instruction(code: u32, k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: skip,
        jf: 0,
        k,
    }
}

fn filter(socket: &OwnedFd, instructions: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: instructions.len() as u16,
        filter: instructions.as_mut_ptr(),
    };
    // SAFETY: the option takes a sock_fprog, whose instructions live through the call.
    unsafe { inet::set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}
