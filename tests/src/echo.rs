//! ICMP echo requests: a fence behind everything that was sent before.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Asks a host for an answer, and looks for it.
pub struct Echo {
    socket: OwnedFd,
    sequence: u16,
}

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const IPV4_HEADER: usize = 20;

impl Echo {
    /// A raw socket of this thread's namespace, to this address.
    ///
    /// # Panics
    /// Without CAP_NET_RAW.
    pub fn new(address: &str) -> Echo {
        let address: Ipv4Addr = address.parse().expect("an address");
        // SAFETY: a call without pointers; the new descriptor has no other owner.
        let socket = unsafe {
            let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let fd = libc::socket(libc::AF_INET, kind, libc::IPPROTO_ICMP);
            assert!(fd >= 0, "a raw socket");
            OwnedFd::from_raw_fd(fd)
        };
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(address.octets()),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: a valid address of that length.
        let result =
            unsafe { libc::connect(socket.as_raw_fd(), std::ptr::from_ref(&to).cast(), 16) };
        assert_eq!(result, 0, "a raw socket's peer");
        Echo {
            socket,
            sequence: 0,
        }
    }

    /// Sends a request.
    pub fn ask(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        let [high, low] = self.sequence.to_be_bytes();
        // The checksum is that of two words.
        let [first, second] =
            (!(u16::from(ECHO_REQUEST) << 8).wrapping_add(self.sequence)).to_be_bytes();
        let carry = (u32::from(ECHO_REQUEST) << 8) + u32::from(self.sequence) > 0xffff;
        assert!(!carry, "a checksum without a carry");
        let request = [ECHO_REQUEST, 0, first, second, 0, 0, high, low];
        // SAFETY: the bytes are readable for their length.
        unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                request.as_ptr().cast(),
                request.len(),
                0,
            )
        };
    }

    /// Whether the answer to the last request has come.
    pub fn is_answered(&mut self) -> bool {
        let mut packet = [0u8; 128];
        loop {
            // SAFETY: the buffer is writable for its length.
            let len = unsafe {
                libc::recv(
                    self.socket.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    0,
                )
            };
            if len < (IPV4_HEADER + 8) as isize {
                return false;
            }
            let message = &packet[IPV4_HEADER..];
            if message[0] == ECHO_REPLY && message[6..8] == self.sequence.to_be_bytes() {
                return true;
            }
        }
    }
}
