//! URING_CMD on sockets (Linux `io_uring/cmd_net.c`).

use ringwire_abi::errno::Errno;
use ringwire_abi::request::SocketCommand;
use ringwire_stack::SocketId;

use super::{Engine, errno};

impl Engine {
    /// Carries a command out; none of them waits.
    pub(super) fn socket_command(
        &mut self,
        socket: SocketId,
        command: &SocketCommand,
    ) -> Result<i32, Errno> {
        match command {
            SocketCommand::QueuedIn => self.stack.queued_in(socket).map(count).map_err(errno),
            SocketCommand::QueuedOut => self.stack.queued_out(socket).map(count).map_err(errno),
            SocketCommand::GetOption(_) | SocketCommand::SetOption(_) => Err(Errno::ENOPROTOOPT),
            // Stamps come in 32-byte completions, which no ring here has.
            SocketCommand::TxTimestamp => Err(Errno::EINVAL),
            SocketCommand::Unknown(_) => Err(Errno::EOPNOTSUPP),
        }
    }
}

/// A number of bytes as a completion's result.
fn count(bytes: usize) -> i32 {
    bytes.try_into().unwrap_or(i32::MAX)
}
