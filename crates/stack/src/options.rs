//! What sockets say about themselves, and what an application sets of them (socket(7), ip(7), ipv6(7)).

use std::net::IpAddr;
use std::num::NonZeroU8;

use ringwire_tcp::{Instant, State};

use crate::Stack;
use crate::error::SocketError;
use crate::socket::{Protocol, SocketId};
use crate::udp;

/// Linux's default TTL and hop limit (`sysctl_ip_default_ttl`).
pub(crate) const HOP_LIMIT: u8 = 64;
/// Largest buffer that can be asked for: Linux's `net.core.rmem_max` and `wmem_max`.
const MAX_ASKED_BYTES: u32 = 4 << 20;
/// Smallest buffers (Linux's `SOCK_MIN_RCVBUF` and `SOCK_MIN_SNDBUF`: one packet, and two).
const MIN_RECEIVE_BYTES: u32 = 2304;
const MIN_SEND_BYTES: u32 = 4608;
/// Linux's `net.core.rmem_default` and `wmem_default`: what a UDP socket begins with.
const UDP_BUFFER_BYTES: u32 = 212_992;
/// What a TCP socket begins with. Half of the receive buffer is the window.
const TCP_RECEIVE_BYTES: u32 = 512 << 10;
const TCP_SEND_BYTES: u32 = 1 << 20;
/// What a TCP send buffer is charged for each chunk of cells.
const TCP_CHUNK_CHARGE_BYTES: u32 = 4096;

/// What happens when a socket is closed (`SO_LINGER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Linger {
    /// Whether the time means anything.
    pub on: bool,
    /// Zero: closing resets the connection. Any other time changes nothing, since closing never waits:
    /// what was sent goes out in the background.
    pub seconds: i32,
}

/// The options of a socket that do not belong to TCP. Connections have their listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// `SO_REUSEADDR`: of sockets that all have it, several may be bound to one address, though for TCP
    /// not to one where somebody listens.
    pub reuse_address: bool,
    /// `SO_REUSEPORT`: sockets that all have it may be bound to one address; datagrams and connections
    /// are shared out among them, by both ends' addresses.
    pub reuse_port: bool,
    /// `SO_LINGER`.
    pub linger: Linger,
    /// `IP_TOS`: the type-of-service octet of IPv4 packets.
    pub type_of_service: u8,
    /// `IPV6_TCLASS`: the traffic class of IPv6 packets.
    pub traffic_class: u8,
    /// `IP_TTL` of unicast packets; `None` for the default, 64.
    pub time_to_live: Option<NonZeroU8>,
    /// `IPV6_UNICAST_HOPS`; `None` for the default, 64.
    pub hop_limit: Option<u8>,
    /// `SO_ZEROCOPY`: sends with MSG_ZEROCOPY have numbers. They are given by who borrows the memory; here it is only
    /// kept.
    pub zero_copy: bool,
    receive_buffer_bytes: u32,
    send_buffer_bytes: u32,
    receive_low_bytes: u32,
    /// `SO_KEEPALIVE` of a datagram socket, which means nothing.
    keep_alive: bool,
}

impl SocketOptions {
    pub(crate) fn new(protocol: Protocol) -> SocketOptions {
        let (receive_buffer_bytes, send_buffer_bytes) = match protocol {
            Protocol::Udp => (UDP_BUFFER_BYTES, UDP_BUFFER_BYTES),
            Protocol::Tcp => (TCP_RECEIVE_BYTES, TCP_SEND_BYTES),
        };
        SocketOptions {
            reuse_address: false,
            reuse_port: false,
            linger: Linger::default(),
            type_of_service: 0,
            traffic_class: 0,
            time_to_live: None,
            hop_limit: None,
            zero_copy: false,
            receive_buffer_bytes,
            send_buffer_bytes,
            receive_low_bytes: 1,
            keep_alive: false,
        }
    }

    /// `SO_RCVBUF` as it is read: bytes with the overhead of their packets. A datagram is charged its
    /// length and 768 bytes; half of a stream's buffer is the window that its peer is offered.
    pub fn receive_buffer_bytes(&self) -> u32 {
        self.receive_buffer_bytes
    }

    /// `SO_SNDBUF` as it is read. Each packet of a datagram is charged 832 bytes, and each chunk of a
    /// stream 4096.
    pub fn send_buffer_bytes(&self) -> u32 {
        self.send_buffer_bytes
    }

    /// `SO_RCVBUF` as it is set: twice the bytes asked for, within 2304 and 8 MiB.
    pub fn ask_receive_buffer(&mut self, bytes: u32) {
        self.receive_buffer_bytes = (bytes.min(MAX_ASKED_BYTES) * 2).max(MIN_RECEIVE_BYTES);
    }

    /// `SO_SNDBUF` as it is set: twice the bytes asked for, within 4608 and 8 MiB.
    pub fn ask_send_buffer(&mut self, bytes: u32) {
        self.send_buffer_bytes = (bytes.min(MAX_ASKED_BYTES) * 2).max(MIN_SEND_BYTES);
    }

    /// `SO_RCVLOWAT` as it is read: a stream is readable from so many bytes on. It means nothing to
    /// datagrams.
    pub fn receive_low_bytes(&self) -> u32 {
        self.receive_low_bytes
    }

    /// `SO_RCVLOWAT` as it is set: at least 1, and for a stream at most half of the receive buffer that
    /// it has now (`tcp_set_rcvlowat`).
    pub fn ask_receive_low(&mut self, protocol: Protocol, bytes: u32) {
        let most = match protocol {
            Protocol::Udp => u32::MAX,
            Protocol::Tcp => self.window_bytes(),
        };
        self.receive_low_bytes = bytes.min(most).max(1);
    }

    /// The largest window that a stream's peer is offered.
    pub(crate) fn window_bytes(&self) -> u32 {
        self.receive_buffer_bytes / 2
    }

    /// Send chunks that the socket may have in use.
    pub(crate) fn send_chunks(&self, protocol: Protocol) -> u32 {
        let charge = match protocol {
            Protocol::Udp => udp::PACKET_CHARGE_BYTES as u32,
            Protocol::Tcp => TCP_CHUNK_CHARGE_BYTES,
        };
        self.send_buffer_bytes.div_ceil(charge)
    }

    /// Whether a bind with these options gets along with them.
    pub(crate) fn sharing(&self) -> Sharing {
        Sharing {
            address: self.reuse_address,
            port: self.reuse_port,
        }
    }

    /// The fields of the IP header of packets to there.
    pub(crate) fn service(&self, to: IpAddr) -> Service {
        match to {
            IpAddr::V4(_) => Service {
                hop_limit: self.time_to_live.map_or(HOP_LIMIT, NonZeroU8::get),
                traffic_class: self.type_of_service,
            },
            IpAddr::V6(_) => Service {
                hop_limit: self.hop_limit.unwrap_or(HOP_LIMIT),
                traffic_class: self.traffic_class,
            },
        }
    }
}

/// How a socket lets others have its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sharing {
    /// `SO_REUSEADDR`.
    pub(crate) address: bool,
    /// `SO_REUSEPORT`.
    pub(crate) port: bool,
}

impl Sharing {
    /// Whether two sockets that want the same address get along. `listens`: one of them listens.
    pub(crate) fn admits(self, other: Sharing, listens: bool) -> bool {
        self.address && other.address && !listens || self.port && other.port
    }
}

/// What a socket's packets ask of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            hop_limit: HOP_LIMIT,
            traffic_class: 0,
        }
    }
}

impl Stack {
    /// A socket's options.
    ///
    /// # Errors
    /// `Invalid`: there is no such socket.
    pub fn options(&self, id: SocketId) -> Result<SocketOptions, SocketError> {
        let options = match id.protocol() {
            Protocol::Udp => self.sockets.get(id).map(|socket| socket.options),
            Protocol::Tcp => self.tcp.get(id).map(|socket| socket.options),
        };
        options.ok_or(SocketError::Invalid)
    }

    /// Changes a socket's options; what they mean for requests that wait is seen at once. A window that
    /// was offered is not taken back.
    ///
    /// # Errors
    /// `Invalid`: there is no such socket.
    pub fn set_options(&mut self, id: SocketId, options: SocketOptions) -> Result<(), SocketError> {
        match id.protocol() {
            Protocol::Udp => {
                let socket = self.sockets.get_mut(id).ok_or(SocketError::Invalid)?;
                let before = std::mem::replace(&mut socket.options, options);
                let local = socket.local;
                if options.send_buffer_bytes > before.send_buffer_bytes {
                    self.sockets.events.mark(id, false, true);
                }
                if options.sharing() != before.sharing()
                    && let Some(local) = local
                {
                    self.sockets.publish(local.port());
                }
                Ok(())
            }
            Protocol::Tcp => self.tcp_set_socket_options(id, options),
        }
    }

    /// Whether idle connections are probed (`SO_KEEPALIVE`).
    ///
    /// # Errors
    /// `Invalid`: there is no such socket.
    pub fn keep_alive(&self, id: SocketId) -> Result<bool, SocketError> {
        match id.protocol() {
            Protocol::Udp => Ok(self.options(id)?.keep_alive),
            Protocol::Tcp => {
                let options = self.tcp_options(id).ok_or(SocketError::Invalid)?;
                Ok(options.keep_alive.enabled)
            }
        }
    }

    /// Sets it. It means nothing to datagrams, and is only kept.
    ///
    /// # Errors
    /// As [`Stack::keep_alive`].
    pub fn set_keep_alive(
        &mut self,
        now: Instant,
        id: SocketId,
        on: bool,
    ) -> Result<(), SocketError> {
        match id.protocol() {
            Protocol::Udp => {
                let keep_alive = on;
                let options = self.options(id)?;
                self.set_options(
                    id,
                    SocketOptions {
                        keep_alive,
                        ..options
                    },
                )
            }
            Protocol::Tcp => {
                let mut options = self.tcp_options(id).ok_or(SocketError::Invalid)?;
                options.keep_alive.enabled = on;
                self.tcp_set_options(now, id, options);
                Ok(())
            }
        }
    }

    /// Bytes that can be read: of a datagram socket, those of its first datagram (`SIOCINQ`).
    ///
    /// # Errors
    /// `Invalid`: the socket listens.
    pub fn queued_in(&self, id: SocketId) -> Result<usize, SocketError> {
        match id.protocol() {
            Protocol::Udp => Ok(self.udp_front(id).map_or(0, udp::Datagram::len)),
            Protocol::Tcp => self.tcp_queued_in(id),
        }
    }

    /// Bytes that were sent and not acknowledged, or not sent yet, a FIN counting as one; of a datagram
    /// socket, what its packets that the NIC still has are charged (`SIOCOUTQ`).
    ///
    /// # Errors
    /// `Invalid`: the socket listens.
    pub fn queued_out(&self, id: SocketId) -> Result<usize, SocketError> {
        match id.protocol() {
            Protocol::Udp => {
                let socket = self.sockets.get(id).ok_or(SocketError::Invalid)?;
                Ok(socket.chunks_in_use as usize * udp::PACKET_CHARGE_BYTES)
            }
            Protocol::Tcp => self.tcp_queued_out(id),
        }
    }

    /// Whether a socket waits for connections (`SO_ACCEPTCONN`).
    pub fn is_listening(&self, id: SocketId) -> bool {
        self.tcp_state(id) == Some(State::Listen)
    }
}
