//! The ICMP errors that the kernel gets on an address of its own: copies of them, and nothing is taken.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::inet;

/// What each socket holds of messages that nobody has taken yet, in bytes as `SO_RCVBUF` counts them (socket(7)).
/// What finds no room is lost to ringwire alone.
const RECEIVE_BUFFER: i32 = 65_536;

/// `ICMP_FILTER` of raw(7) and <linux/icmp.h>, a socket option of the level `SOL_RAW`.
const ICMP_FILTER: i32 = 1;
/// `ICMPV6_FILTER` of <linux/icmpv6.h>.
const ICMPV6_FILTER: i32 = 1;

/// Destination unreachable, time exceeded, parameter problem (RFC 792). Too large is one of the first.
const ERRORS: [u32; 3] = [3, 11, 12];
/// Destination unreachable, packet too big, time exceeded, parameter problem (RFC 4443).
const ERRORS_V6: [u32; 4] = [1, 2, 3, 4];

/// The echo request's type.
const ECHO: u8 = 8;
const ECHO_V6: u8 = 128;

/// Follows the ICMP errors that arrive by an interface: raw sockets, of which the kernel fills copies.
///
/// It needs CAP_NET_RAW once, when it is opened. Whether a message is about a connection of ringwire's has to be seen
/// from the packet that it quotes.
#[derive(Debug)]
pub struct IcmpErrors {
    v4: OwnedFd,
    /// None where the kernel has no IPv6.
    v6: Option<OwnedFd>,
    /// Which one is asked first, in turns: many messages of one family do not keep those of the other.
    v6_next: bool,
}

/// An ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// Who sent it: its family says whether it is ICMP or ICMPv6.
    pub source: IpAddr,
    /// From its type on. Its checksum has been verified; one of ICMPv6 that was longer than the buffer is cut off.
    pub message: &'a [u8],
}

impl IcmpErrors {
    /// Opens the sockets, in the calling thread's network namespace.
    ///
    /// # Errors
    /// `EPERM`: it takes CAP_NET_RAW; `ENODEV`: there is no such interface; `EMFILE`; or what else the
    /// kernel says.
    pub fn open(interface: &str) -> io::Result<IcmpErrors> {
        let index = inet::index_of(interface)?;
        let v4 = inet::socket(index, libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
        let other_types = !ERRORS.iter().fold(0u32, |set, number| set | 1 << number);
        // SAFETY: the option takes a `struct icmp_filter`, which is such an integer: the types not wanted.
        unsafe { inet::set_option(&v4, libc::SOL_RAW, ICMP_FILTER, &other_types)? };
        bound(&v4)?;
        let v6 = match inet::socket(index, libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6) {
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => None,
            socket => Some(socket?),
        };
        if let Some(v6) = &v6 {
            let mut other_types = [u32::MAX; 8];
            other_types[0] = !ERRORS_V6.iter().fold(0u32, |set, number| set | 1 << number);
            // SAFETY: the option takes a `struct icmp6_filter`, which is eight such integers.
            unsafe { inet::set_option(v6, libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &other_types)? };
            bound(v6)?;
        }
        Ok(IcmpErrors {
            v4,
            v6,
            v6_next: false,
        })
    }

    /// Those that another process has opened, IPv4's first; nothing if they are too few or too many.
    pub(crate) fn of_sockets(sockets: Vec<OwnedFd>) -> Option<IcmpErrors> {
        let mut sockets = sockets.into_iter();
        let (v4, v6) = (sockets.next()?, sockets.next());
        sockets.next().is_none().then_some(IcmpErrors {
            v4,
            v6,
            v6_next: false,
        })
    }

    /// To give them to another process.
    pub(crate) fn into_sockets(self) -> Vec<OwnedFd> {
        std::iter::once(self.v4).chain(self.v6).collect()
    }

    /// The next message; `None`: there is none for now, and one of the [descriptors](Self::fds) will be
    /// readable. A buffer of 1,280 bytes holds any that is as short as it ought to be (RFC 1812, section
    /// 4.3.2.3; RFC 4443, section 2.4).
    ///
    /// The kernel verifies the checksum of ICMPv6 before a raw socket has the message (`rawv6_rcv_skb`), and that of
    /// ICMP after (`icmp_rcv`): the latter is verified here. A message with a wrong one is passed over, which
    /// the kernel counts (`IcmpInCsumErrors`), and so is one of ICMP that was longer than the buffer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn next<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<IcmpError<'a>>> {
        let v6_first = self.v6_next;
        self.v6_next = !v6_first;
        for v6 in [v6_first, !v6_first] {
            let found = match (v6, &self.v6) {
                (false, _) => next_v4(&self.v4, buffer)?,
                (true, Some(socket)) => next_v6(socket, buffer)?,
                (true, None) => None,
            };
            if let Some((source, range)) = found {
                let message = &buffer[range];
                return Ok(Some(IcmpError { source, message }));
            }
        }
        Ok(None)
    }

    /// Sends an echo request to a neighbour, whose MAC address the kernel then finds out if it has to. It takes no
    /// capability. The answer goes to the kernel, which drops it.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`: the kernel has no IPv6; `ENETUNREACH`, `EHOSTUNREACH`, `ENETDOWN`, `EAGAIN` and what else
    /// the kernel says: nothing was sent.
    pub fn ping(&self, neighbour: IpAddr) -> io::Result<()> {
        let neighbour = neighbour.to_canonical();
        let identifier = (std::process::id() as u16).to_be_bytes();
        let mut message = [0, 0, 0, 0, identifier[0], identifier[1], 0, 0];
        match neighbour {
            IpAddr::V4(_) => {
                message[0] = ECHO;
                let checksum = !sum(&message);
                message[2..4].copy_from_slice(&checksum.to_be_bytes());
                inet::send(&self.v4, &message, neighbour)
            }
            IpAddr::V6(_) => {
                let no_ipv6 = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
                let socket = self.v6.as_ref().ok_or_else(no_ipv6)?;
                // The kernel writes the checksum (RFC 3542, section 3.1).
                message[0] = ECHO_V6;
                inet::send(socket, &message, neighbour)
            }
        }
    }

    /// One of these is readable when there is a message.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> {
        let v6 = self.v6.as_ref().map(AsRawFd::as_raw_fd);
        std::iter::once(self.v4.as_raw_fd()).chain(v6)
    }
}

fn bound(socket: &OwnedFd) -> io::Result<()> {
    inet::set_flag(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER)
}

/// A source, and where the message lies in the buffer.
type Found = Option<(IpAddr, std::ops::Range<usize>)>;

fn next_v4(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Found> {
    while let Some(packet) = inet::receive(socket, buffer)? {
        let message = icmp_of(&buffer[..packet.len]);
        match message {
            Some(message) if !packet.truncated => return Ok(Some((packet.from.ip(), message))),
            _ => {}
        }
    }
    Ok(None)
}

fn next_v6(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Found> {
    let packet = inet::receive(socket, buffer)?;
    Ok(packet.map(|packet| (packet.from.ip(), 0..packet.len)))
}

/// Where the ICMP message lies in an IPv4 packet, if its checksum is right.
fn icmp_of(packet: &[u8]) -> Option<std::ops::Range<usize>> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let message = packet.get(header..)?;
    // RFC 792: the shortest has 8 bytes.
    (header >= 20 && message.len() >= 8 && sum(message) == 0xffff).then_some(header..packet.len())
}

/// The one's complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => u32::from(word[0]) << 8,
    });
    // A message is at most 65,535 bytes long, so 32 bits hold the sum.
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
#[path = "icmp_tests.rs"]
mod tests;
