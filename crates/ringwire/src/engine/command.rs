//! URING_CMD on sockets (Linux `io_uring/cmd_net.c`).

use std::net::{Ipv4Addr, Ipv6Addr};

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{OptionTransfer, SocketCommand};
use ringwire_stack::{Family, Protocol, SocketId};

use super::{Engine, address, errno};
use crate::usermem::{self, Span};

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
            SocketCommand::GetOption(option) => self.get_option(socket, option),
            SocketCommand::SetOption(option) => self.set_option(socket, option).map(|()| 0),
            // Stamps come in 32-byte completions, which no ring here has.
            SocketCommand::TxTimestamp => Err(Errno::EINVAL),
            SocketCommand::Name {
                peer,
                addr,
                addr_len,
            } => {
                let (bytes, len) = self.socket_name(socket, *peer)?;
                usermem::write_address(*addr, *addr_len, &bytes[..len]).map(|()| 0)
            }
            SocketCommand::Unknown(_) => Err(Errno::EOPNOTSUPP),
        }
    }

    /// As getsockname(2) and getpeername(2) have it.
    fn socket_name(
        &self,
        socket: SocketId,
        peer: bool,
    ) -> Result<([u8; address::IN6_BYTES], usize), Errno> {
        let (family, local) = self.stack.local(socket).ok_or(Errno::EBADF)?;
        let name = match (peer, local, family) {
            (true, ..) => self.stack.peer(socket).map_err(errno)?,
            (false, Some(local), _) => local,
            (false, None, Family::V4) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            (false, None, Family::V6) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Ok(address::emit(name, family))
    }

    /// As getsockopt(2); returns the length of what was written. The kernel's command knows SOL_SOCKET
    /// only: the other levels are an extension.
    fn get_option(&mut self, socket: SocketId, option: &OptionTransfer) -> Result<i32, Errno> {
        let level = option.level;
        let known = match level {
            libc::SOL_TCP => socket.protocol() == Protocol::Tcp,
            level => matches!(level, libc::SOL_SOCKET | libc::SOL_IP | libc::SOL_IPV6),
        };
        if !known {
            return Err(Errno::EOPNOTSUPP);
        }
        let room = usize::try_from(option.len).map_err(|_| Errno::EINVAL)?;
        let value = match level {
            libc::SOL_SOCKET => self.socket_option(socket, option.name),
            libc::SOL_TCP => self.tcp_option(socket, option.name),
            _ => self.ip_option(socket, level, option.name, room),
        }?;
        let len = value.len().min(room);
        let addr = option.value;
        usermem::write(Span { addr, len }, &value)?;
        Ok(count(len))
    }

    /// As setsockopt(2).
    fn set_option(&mut self, socket: SocketId, option: &OptionTransfer) -> Result<(), Errno> {
        let value = Value::new(option)?;
        match option.level {
            libc::SOL_SOCKET => self.set_socket_option(socket, option.name, value),
            libc::SOL_TCP if socket.protocol() == Protocol::Tcp => {
                self.set_tcp_option(socket, option.name, value)
            }
            libc::SOL_IP | libc::SOL_IPV6 => {
                self.set_ip_option(socket, option.level, option.name, value)
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }
}

/// The value that an option is set to, in the application's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    addr: u64,
    pub(super) len: usize,
}

impl Value {
    fn new(option: &OptionTransfer) -> Result<Value, Errno> {
        Ok(Value {
            addr: option.value,
            len: usize::try_from(option.len).map_err(|_| Errno::EINVAL)?,
        })
    }

    /// Whether it is nowhere.
    pub(super) fn is_null(self) -> bool {
        self.addr == 0
    }

    /// Its first bytes: `EINVAL` if it is not as long.
    pub(super) fn read<const N: usize>(self) -> Result<[u8; N], Errno> {
        if self.len < N {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; N];
        let addr = self.addr;
        usermem::read(Span { addr, len: N }, &mut bytes)?;
        Ok(bytes)
    }

    /// As many of its first bytes as there are, up to `most`.
    pub(super) fn prefix(self, most: usize) -> Result<Vec<u8>, Errno> {
        let (addr, len) = (self.addr, self.len.min(most));
        let mut bytes = vec![0; len];
        usermem::read(Span { addr, len }, &mut bytes)?;
        Ok(bytes)
    }

    /// The `int` that it begins with.
    pub(super) fn int(self) -> Result<i32, Errno> {
        self.read().map(i32::from_ne_bytes)
    }
}

/// A number of bytes as a completion's result.
fn count(bytes: usize) -> i32 {
    bytes.try_into().unwrap_or(i32::MAX)
}
