//! What sockets say about themselves, and what an application sets of them (socket(7), ip(7), ipv6(7)).

use ringwire_tcp::State;

use crate::Stack;
use crate::error::SocketError;
use crate::socket::{Protocol, SocketId};
use crate::udp;

impl Stack {
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
