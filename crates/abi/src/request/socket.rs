//! Sockets: made, named, connected, ended, and their commands.

use super::{MAX_SOCKADDR_LEN, target, zero};
use crate::errno::Errno;
use crate::flags::*;
use crate::op::{Accept, Op, OptionTransfer, Slot, SocketCommand, Target};
use crate::sqe::Sqe;

fn slot(sqe: &Sqe) -> Slot {
    match sqe.file_index {
        0 => Slot::None,
        IORING_FILE_INDEX_ALLOC => Slot::Alloc,
        index => Slot::Index(index - 1),
    }
}

pub(super) fn socket(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr, sqe.op_flags.into(), sqe.buf_index.into()])?;
    let slot = slot(sqe);
    let kind = sqe.off as i32;
    let flags = kind & !0xf;
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    if slot != Slot::None && flags & libc::SOCK_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::Socket {
        domain: sqe.fd,
        kind: kind & 0xf,
        protocol: sqe.len as i32,
        slot,
    })
}

pub(super) fn address(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[
        sqe.len.into(),
        sqe.buf_index.into(),
        sqe.op_flags.into(),
        sqe.file_index.into(),
    ])?;
    // An int in the kernel; a negative one is refused like one that is too long.
    let (target, addr, len) = (target(sqe), sqe.addr, sqe.off as u32);
    if len > MAX_SOCKADDR_LEN {
        return Err(Errno::EINVAL);
    }
    Ok(match sqe.opcode {
        IORING_OP_BIND => Op::Bind { target, addr, len },
        _ => Op::Connect { target, addr, len },
    })
}

pub(super) fn listen(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[
        sqe.addr,
        sqe.off,
        sqe.buf_index.into(),
        sqe.op_flags.into(),
        sqe.file_index.into(),
    ])?;
    Ok(Op::Listen {
        target: target(sqe),
        backlog: sqe.len as i32,
    })
}

pub(super) fn accept(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u16 = IORING_ACCEPT_MULTISHOT | IORING_ACCEPT_DONTWAIT | IORING_ACCEPT_POLL_FIRST;
    zero(&[sqe.len.into(), sqe.buf_index.into()])?;
    let slot = slot(sqe);
    let flags = sqe.op_flags as i32;
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0 || sqe.ioprio & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if slot != Slot::None && flags & libc::SOCK_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let multishot = sqe.ioprio & IORING_ACCEPT_MULTISHOT != 0;
    if multishot && matches!(slot, Slot::Index(_)) {
        return Err(Errno::EINVAL);
    }
    Ok(Op::Accept(Accept {
        target: target(sqe),
        addr: sqe.addr,
        addr_len: sqe.off,
        slot,
        multishot,
        dont_wait: sqe.ioprio & IORING_ACCEPT_DONTWAIT != 0,
        poll_first: sqe.ioprio & IORING_ACCEPT_POLL_FIRST != 0,
    }))
}

pub(super) fn shutdown(sqe: &Sqe) -> Result<Op, Errno> {
    let unused = [
        sqe.off,
        sqe.addr,
        sqe.op_flags.into(),
        sqe.buf_index.into(),
        sqe.file_index.into(),
    ];
    zero(&unused)?;
    Ok(Op::Shutdown {
        target: target(sqe),
        how: sqe.len as i32,
    })
}

pub(super) fn close(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[
        sqe.off,
        sqe.addr,
        sqe.len.into(),
        sqe.op_flags.into(),
        sqe.buf_index.into(),
    ])?;
    if sqe.flags & IOSQE_FIXED_FILE != 0 {
        return Err(Errno::EBADF);
    }
    match sqe.file_index {
        0 => Ok(Op::Close {
            target: Target::Fd(sqe.fd),
        }),
        index if sqe.fd == 0 => Ok(Op::Close {
            target: Target::Fixed(index - 1),
        }),
        _ => Err(Errno::EINVAL),
    }
}

/// The fields that the command itself reads are checked when it is carried out (`io_uring_cmd_prep`
/// and `io_uring_cmd_sock`). Commands of sockets that take provided buffers do not exist, so
/// `IORING_URING_CMD_MULTISHOT` is refused with them too.
pub(super) fn command(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.pad1().into()])?;
    let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
    if sqe.op_flags & !IORING_URING_CMD_FIXED != 0 || selects {
        return Err(Errno::EINVAL);
    }
    let option = OptionTransfer {
        level: sqe.level(),
        name: sqe.optname(),
        value: sqe.addr3,
        len: sqe.file_index as i32,
    };
    Ok(Op::SocketCommand {
        target: target(sqe),
        command: match sqe.cmd_op() {
            SOCKET_URING_OP_SIOCINQ => SocketCommand::QueuedIn,
            SOCKET_URING_OP_SIOCOUTQ => SocketCommand::QueuedOut,
            SOCKET_URING_OP_GETSOCKOPT => SocketCommand::GetOption(option),
            SOCKET_URING_OP_SETSOCKOPT => SocketCommand::SetOption(option),
            SOCKET_URING_OP_TX_TIMESTAMP => SocketCommand::TxTimestamp,
            SOCKET_URING_OP_GETSOCKNAME if sqe.len != 0 => return Err(Errno::EINVAL),
            SOCKET_URING_OP_GETSOCKNAME => SocketCommand::Name {
                peer: match sqe.file_index {
                    0 => false,
                    1 => true,
                    _ => return Err(Errno::EINVAL),
                },
                addr: sqe.addr,
                addr_len: sqe.addr3,
            },
            number => SocketCommand::Unknown(number),
        },
    })
}
