//! Entries read into typed requests: the checks that the kernel makes before it looks at a file or
//! at memory (`io_init_req`, and each operation's `prep`).

use crate::errno::Errno;
use crate::flags::*;
use crate::sqe::Sqe;

pub use crate::op::{
    Accept, CancelMatch, MessageTransfer, Op, OptionTransfer, Slot, SocketCommand, Target, Transfer,
};

/// The checks that are the same for every operation, in the kernel's order (`io_init_req`).
///
/// # Errors
/// `EINVAL`: no such operation, an unknown flag, a priority that the operation does not use, or
/// credentials, which are never registered. `EOPNOTSUPP`: buffer selection for an operation that
/// has none, or IO_DRAIN with CQE_SKIP_SUCCESS. That the kernel refuses IO_DRAIN after any earlier
/// CQE_SKIP_SUCCESS on the ring too is for the ring to check.
pub fn check_common(sqe: &Sqe) -> Result<(), Errno> {
    if sqe.opcode >= IORING_OP_LAST || sqe.flags & !IOSQE_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    // These take 128-byte entries, which no ring here has.
    if matches!(sqe.opcode, IORING_OP_NOP128 | IORING_OP_URING_CMD128) {
        return Err(Errno::EINVAL);
    }
    if sqe.flags & IOSQE_BUFFER_SELECT != 0 && !selects_buffers(sqe.opcode) {
        return Err(Errno::EOPNOTSUPP);
    }
    let silent_drain = IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS;
    if sqe.flags & silent_drain == silent_drain {
        return Err(Errno::EOPNOTSUPP);
    }
    if sqe.ioprio != 0 && !uses_ioprio(sqe.opcode) {
        return Err(Errno::EINVAL);
    }
    if sqe.personality != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn selects_buffers(opcode: u8) -> bool {
    matches!(
        opcode,
        IORING_OP_READ
            | IORING_OP_READV
            | IORING_OP_READ_MULTISHOT
            | IORING_OP_RECV
            | IORING_OP_RECVMSG
            | IORING_OP_SEND
            | IORING_OP_URING_CMD
    )
}

fn uses_ioprio(opcode: u8) -> bool {
    matches!(
        opcode,
        IORING_OP_ACCEPT
            | IORING_OP_SEND
            | IORING_OP_SENDMSG
            | IORING_OP_SEND_ZC
            | IORING_OP_SENDMSG_ZC
            | IORING_OP_RECV
            | IORING_OP_RECVMSG
            | IORING_OP_RECV_ZC
            | IORING_OP_READ
            | IORING_OP_READV
            | IORING_OP_READ_FIXED
            | IORING_OP_READV_FIXED
            | IORING_OP_WRITE
            | IORING_OP_WRITEV
            | IORING_OP_WRITE_FIXED
            | IORING_OP_WRITEV_FIXED
    )
}

/// Reads an entry that passed [`check_common`].
///
/// # Errors
/// `EINVAL`: a field that the operation does not use is set, or one makes no sense. `E2BIG`,
/// `EOVERFLOW`: as PROVIDE_BUFFERS has them. `EBADF`: CLOSE of a fixed file by its flag.
/// `EOPNOTSUPP`: an operation of io_uring that ringwire does not have.
pub fn parse(sqe: &Sqe) -> Result<Op, Errno> {
    match sqe.opcode {
        IORING_OP_NOP => nop(sqe),
        IORING_OP_SOCKET => socket(sqe),
        IORING_OP_BIND | IORING_OP_CONNECT => address(sqe),
        IORING_OP_LISTEN => listen(sqe),
        IORING_OP_ACCEPT => accept(sqe),
        IORING_OP_SEND => send(sqe),
        IORING_OP_SENDMSG => send_message(sqe),
        IORING_OP_RECV => receive(sqe),
        IORING_OP_RECVMSG => receive_message(sqe),
        IORING_OP_SHUTDOWN => shutdown(sqe),
        IORING_OP_CLOSE => close(sqe),
        IORING_OP_TIMEOUT => timeout(sqe),
        IORING_OP_ASYNC_CANCEL => cancel(sqe),
        IORING_OP_POLL_ADD => poll(sqe),
        IORING_OP_PROVIDE_BUFFERS => provide(sqe),
        IORING_OP_REMOVE_BUFFERS => remove(sqe),
        IORING_OP_URING_CMD => socket_command(sqe),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// Longest socket address, in bytes (`struct sockaddr_storage`).
const MAX_SOCKADDR_LEN: u32 = 128;

/// `EINVAL` for a length that is negative as the `int` that the kernel keeps it in.
fn check_len(sqe: &Sqe) -> Result<(), Errno> {
    if sqe.len > i32::MAX as u32 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// `EINVAL` unless all of these fields are zero.
fn zero(fields: &[u64]) -> Result<(), Errno> {
    if fields.iter().all(|&field| field == 0) {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

fn target(sqe: &Sqe) -> Target {
    if sqe.flags & IOSQE_FIXED_FILE != 0 {
        Target::Fixed(sqe.fd as u32)
    } else {
        Target::Fd(sqe.fd)
    }
}

fn group(sqe: &Sqe) -> Option<u16> {
    (sqe.flags & IOSQE_BUFFER_SELECT != 0).then_some(sqe.buf_group())
}

fn bundle(sqe: &Sqe) -> bool {
    sqe.ioprio & IORING_RECVSEND_BUNDLE != 0 && sqe.flags & IOSQE_BUFFER_SELECT != 0
}

fn nop(sqe: &Sqe) -> Result<Op, Errno> {
    // The flags that look files and buffers up, or change the completion's size, are not there yet.
    if sqe.op_flags & !IORING_NOP_INJECT_RESULT != 0 {
        return Err(Errno::EINVAL);
    }
    let inject = sqe.op_flags & IORING_NOP_INJECT_RESULT != 0;
    Ok(Op::Nop {
        inject: inject.then_some(sqe.len as i32),
    })
}

fn slot(sqe: &Sqe) -> Slot {
    match sqe.file_index {
        0 => Slot::None,
        IORING_FILE_INDEX_ALLOC => Slot::Alloc,
        index => Slot::Index(index - 1),
    }
}

fn socket(sqe: &Sqe) -> Result<Op, Errno> {
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

fn address(sqe: &Sqe) -> Result<Op, Errno> {
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

fn listen(sqe: &Sqe) -> Result<Op, Errno> {
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

fn accept(sqe: &Sqe) -> Result<Op, Errno> {
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

fn transfer(sqe: &Sqe) -> Transfer {
    Transfer {
        target: target(sqe),
        addr: sqe.addr,
        len: sqe.len,
        msg_flags: sqe.op_flags as i32,
        group: group(sqe),
        poll_first: sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0,
        multishot: false,
        bundle: bundle(sqe),
        to: (0, 0),
        limit: 0,
    }
}

fn message(sqe: &Sqe) -> MessageTransfer {
    MessageTransfer {
        target: target(sqe),
        header: sqe.addr,
        msg_flags: sqe.op_flags as i32,
        group: group(sqe),
        poll_first: sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0,
        multishot: false,
    }
}

fn send(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.pad3().into()])?;
    check_len(sqe)?;
    if sqe.ioprio & !(IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_BUNDLE) != 0 {
        return Err(Errno::EINVAL);
    }
    let to = if sqe.addr2() == 0 {
        (0, 0)
    } else if u32::from(sqe.addr_len()) > MAX_SOCKADDR_LEN {
        return Err(Errno::EINVAL);
    } else {
        (sqe.addr2(), sqe.addr_len())
    };
    Ok(Op::Send(Transfer {
        to,
        ..transfer(sqe)
    }))
}

fn send_message(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr2(), sqe.file_index.into()])?;
    check_len(sqe)?;
    if sqe.ioprio & !IORING_RECVSEND_POLL_FIRST != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::SendMsg(message(sqe)))
}

/// Whether a receive is multishot, which needs a buffer group and bears no MSG_WAITALL.
fn multishot(sqe: &Sqe) -> Result<bool, Errno> {
    const KNOWN: u16 = IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE;
    if sqe.ioprio & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    if sqe.ioprio & IORING_RECV_MULTISHOT == 0 {
        return Ok(false);
    }
    let waits_for_all = sqe.op_flags as i32 & libc::MSG_WAITALL != 0;
    if sqe.flags & IOSQE_BUFFER_SELECT == 0 || waits_for_all {
        return Err(Errno::EINVAL);
    }
    Ok(true)
}

fn receive(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr2()])?;
    check_len(sqe)?;
    let multishot = multishot(sqe)?;
    if !multishot {
        zero(&[sqe.file_index.into()])?;
    }
    Ok(Op::Recv(Transfer {
        multishot,
        limit: sqe.file_index,
        ..transfer(sqe)
    }))
}

fn receive_message(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr2(), sqe.file_index.into()])?;
    check_len(sqe)?;
    if sqe.ioprio & IORING_RECVSEND_BUNDLE != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::RecvMsg(MessageTransfer {
        multishot: multishot(sqe)?,
        ..message(sqe)
    }))
}

fn shutdown(sqe: &Sqe) -> Result<Op, Errno> {
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

fn close(sqe: &Sqe) -> Result<Op, Errno> {
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

fn timeout(sqe: &Sqe) -> Result<Op, Errno> {
    const CLOCKS: u32 = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
    const KNOWN: u32 =
        IORING_TIMEOUT_ABS | CLOCKS | IORING_TIMEOUT_ETIME_SUCCESS | IORING_TIMEOUT_MULTISHOT;
    zero(&[
        sqe.buf_index.into(),
        sqe.file_index.into(),
        sqe.addr3,
        sqe.pad2,
    ])?;
    let flags = sqe.op_flags;
    let both = |bits: u32| flags & bits == bits;
    if sqe.len != 1
        || flags & !KNOWN != 0
        || both(CLOCKS)
        || both(IORING_TIMEOUT_MULTISHOT | IORING_TIMEOUT_ABS)
    {
        return Err(Errno::EINVAL);
    }
    Ok(Op::Timeout {
        timespec: sqe.addr,
        count: sqe.off as u32,
        flags,
    })
}

fn cancel(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u32 = IORING_ASYNC_CANCEL_ALL
        | IORING_ASYNC_CANCEL_FD
        | IORING_ASYNC_CANCEL_ANY
        | IORING_ASYNC_CANCEL_FD_FIXED
        | IORING_ASYNC_CANCEL_USERDATA
        | IORING_ASYNC_CANCEL_OP;
    zero(&[sqe.off, sqe.file_index.into()])?;
    let has = |bits: u32| sqe.op_flags & bits != 0;
    let any = has(IORING_ASYNC_CANCEL_ANY);
    let by_opcode = has(IORING_ASYNC_CANCEL_OP);
    let by_key = by_opcode || has(IORING_ASYNC_CANCEL_FD);
    if has(!KNOWN) || (by_key && any) {
        return Err(Errno::EINVAL);
    }
    // The key where there is no other one; ANY overrides even an explicit USERDATA.
    let by_user_data = !any && (has(IORING_ASYNC_CANCEL_USERDATA) || !by_key);
    let target = if has(IORING_ASYNC_CANCEL_FD_FIXED) {
        Target::Fixed(sqe.fd as u32)
    } else {
        target(sqe)
    };
    Ok(Op::AsyncCancel(CancelMatch {
        user_data: by_user_data.then_some(sqe.addr),
        target: has(IORING_ASYNC_CANCEL_FD).then_some(target),
        // Truncated without a check, as in the kernel.
        opcode: by_opcode.then_some(sqe.len as u8),
        all: any || has(IORING_ASYNC_CANCEL_ALL),
    }))
}

fn poll(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.buf_index.into(), sqe.off, sqe.addr])?;
    if sqe.len & !IORING_POLL_ADD_MULTI != 0 {
        return Err(Errno::EINVAL);
    }
    let multishot = sqe.len & IORING_POLL_ADD_MULTI != 0;
    if multishot && sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::PollAdd {
        target: target(sqe),
        events: sqe.op_flags,
        multishot,
    })
}

fn provide(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.op_flags.into(), sqe.file_index.into()])?;
    let count = sqe.fd as u32;
    if sqe.fd <= 0 || count > 65536 {
        return Err(Errno::E2BIG);
    }
    if sqe.len == 0 {
        return Err(Errno::EINVAL);
    }
    let bytes = u64::from(sqe.len) * u64::from(count);
    if sqe.addr.checked_add(bytes).is_none() {
        return Err(Errno::EOVERFLOW);
    }
    if sqe.off > 65535 {
        return Err(Errno::E2BIG);
    }
    if sqe.off + u64::from(count) > 65536 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::ProvideBuffers {
        group: sqe.buf_group(),
        addr: sqe.addr,
        len: sqe.len,
        count,
        bid: sqe.off as u16,
    })
}

fn remove(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[
        sqe.op_flags.into(),
        sqe.addr,
        sqe.len.into(),
        sqe.off,
        sqe.file_index.into(),
    ])?;
    if sqe.fd <= 0 || sqe.fd as u32 > 65536 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::RemoveBuffers {
        group: sqe.buf_group(),
        count: sqe.fd as u32,
    })
}

/// The fields that the command itself reads are checked when it is carried out (`io_uring_cmd_prep`
/// and `io_uring_cmd_sock`). Commands of sockets that take provided buffers do not exist, so
/// `IORING_URING_CMD_MULTISHOT` is refused with them too.
fn socket_command(sqe: &Sqe) -> Result<Op, Errno> {
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
            number => SocketCommand::Unknown(number),
        },
    })
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
