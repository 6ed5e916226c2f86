//! Entries of the socket commands (URING_CMD) that the `io-uring` crate has no builders for; it has
//! one for SETSOCKOPT, [`opcode::SetSockOpt`](crate::opcode::SetSockOpt). The kernel takes them too.

use ringwire_abi::flags::{
    IORING_OP_URING_CMD, IOSQE_FIXED_FILE, SOCKET_URING_OP_GETSOCKOPT, SOCKET_URING_OP_SIOCINQ,
    SOCKET_URING_OP_SIOCOUTQ,
};
use ringwire_abi::sqe::Sqe;

use crate::squeue::Entry;
use crate::types::Fixed;

fn command(socket: Fixed, number: u32) -> Sqe {
    Sqe {
        opcode: IORING_OP_URING_CMD,
        flags: IOSQE_FIXED_FILE,
        fd: socket.0 as i32,
        off: number.into(),
        ..Sqe::default()
    }
}

/// GETSOCKOPT: reads an option into `len` bytes at `value`, which must stay valid until the completion.
/// Its result is the length of what was written.
pub fn get_sock_opt(
    socket: Fixed,
    level: i32,
    name: i32,
    value: *mut libc::c_void,
    len: u32,
) -> Entry {
    let entry = Sqe {
        addr: u64::from(name as u32) << 32 | u64::from(level as u32),
        addr3: value as u64,
        file_index: len,
        ..command(socket, SOCKET_URING_OP_GETSOCKOPT)
    };
    entry.to_entry()
}

/// SIOCINQ: how many bytes can be read; of a datagram socket, the length of the first datagram.
pub fn queued_in(socket: Fixed) -> Entry {
    command(socket, SOCKET_URING_OP_SIOCINQ).to_entry()
}

/// SIOCOUTQ: how many bytes are not acknowledged, or not sent yet.
pub fn queued_out(socket: Fixed) -> Entry {
    command(socket, SOCKET_URING_OP_SIOCOUTQ).to_entry()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire_abi::request::{Op, SocketCommand, parse};

    fn read(entry: &Entry) -> SocketCommand {
        match parse(&Sqe::from_entry(entry)) {
            Ok(Op::SocketCommand { command, .. }) => command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_asks_for_what_its_builder_says() {
        let mut value = 0i32;
        let address = (&raw mut value).cast();
        let SocketCommand::GetOption(option) = read(&get_sock_opt(Fixed(3), -1, 7, address, 4))
        else {
            panic!("another command")
        };
        assert_eq!((option.level, option.name, option.len), (-1, 7, 4));
        assert_eq!(option.value, address as u64);
        assert_eq!(read(&queued_in(Fixed(3))), SocketCommand::QueuedIn);
        assert_eq!(read(&queued_out(Fixed(3))), SocketCommand::QueuedOut);
    }
}
