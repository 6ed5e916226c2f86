//! What is set of a TCP socket, and told about it.

use ringwire_tcp::State;

use crate::Stack;
use crate::error::SocketError;
use crate::options::SocketOptions;
use crate::socket::SocketId;

impl Stack {
    /// Connections that wait to be accepted, and how many may; `None` unless the socket listens.
    pub fn tcp_backlog(&self, id: SocketId) -> Option<(u32, u32)> {
        let listener = self.tcp.get(id)?.listener.as_deref()?;
        Some((listener.accept.len() as u32, listener.backlog()))
    }

    pub(crate) fn tcp_set_socket_options(
        &mut self,
        id: SocketId,
        options: SocketOptions,
    ) -> Result<(), SocketError> {
        let socket = self.tcp.get_mut(id).ok_or(SocketError::Invalid)?;
        let before = std::mem::replace(&mut socket.options, options);
        let window = options.window_bytes();
        if window != before.window_bytes() {
            let room = socket.receive_room();
            if let Some(connection) = &mut socket.connection {
                connection.set_receive_buffer(window);
                connection.read(room);
            }
        }
        let lower = options.receive_low_bytes() < before.receive_low_bytes();
        let readable = lower && socket.is_readable();
        let (local, accepted) = (socket.local, socket.accepted);
        if let Some(port) = local.map(|local| local.port()) {
            let ports = &mut self.tcp.ports;
            if accepted {
                ports.leave_accepted(port, before.sharing());
                ports.take_accepted(port, options.sharing());
            } else {
                ports.set_sharing(id, port, options.sharing());
            }
        }
        self.tcp.mark_ready(id);
        let more_room = options.send_buffer_bytes() > before.send_buffer_bytes();
        if readable || more_room {
            self.tcp.events.mark(id, readable, more_room);
        }
        Ok(())
    }

    pub(crate) fn tcp_queued_in(&self, id: SocketId) -> Result<usize, SocketError> {
        let socket = self.tcp.get(id).ok_or(SocketError::Invalid)?;
        if socket.listener.is_some() {
            return Err(SocketError::Invalid);
        }
        Ok(socket.receive.len())
    }

    pub(crate) fn tcp_queued_out(&self, id: SocketId) -> Result<usize, SocketError> {
        let socket = self.tcp.get(id).ok_or(SocketError::Invalid)?;
        if socket.listener.is_some() {
            return Err(SocketError::Invalid);
        }
        let Some(connection) = socket
            .connection
            .as_ref()
            .filter(|_| !socket.is_connecting())
        else {
            return Ok(0);
        };
        // The states in which a FIN is queued and not acknowledged.
        let fin = matches!(
            connection.state(),
            State::FinWait1 | State::Closing | State::LastAck
        );
        Ok(connection.unacknowledged() as usize + usize::from(fin))
    }
}
