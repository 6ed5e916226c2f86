//! Entries read into typed requests: the checks that the kernel makes before it looks at a file or
//! at memory (`io_init_req`, and each operation's `prep`). Pointers stay numbers here.

use crate::errno::Errno;
use crate::flags::*;
use crate::sqe::Sqe;

/// Where a new socket goes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Slot {
    /// A plain file descriptor.
    None,
    /// This slot of the table.
    Index(u32),
    /// A free slot of the table (`IORING_FILE_INDEX_ALLOC`).
    Alloc,
}

/// What an operation works on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A file descriptor.
    Fd(i32),
    /// A direct descriptor.
    Fixed(u32),
}

/// SEND and RECV.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// The socket.
    pub target: Target,
    /// The buffer; not read with a buffer group.
    pub addr: u64,
    /// Its length in bytes; with a buffer group, the most that is used of a buffer (0: no limit).
    pub len: u32,
    /// `MSG_*`.
    pub msg_flags: i32,
    /// The buffer group to take the buffer from.
    pub group: Option<u16>,
    /// Whether the first attempt waits for readiness (`IORING_RECVSEND_POLL_FIRST`).
    pub poll_first: bool,
    /// RECV: whether it goes on after a completion.
    pub multishot: bool,
    /// SEND: the destination's address and its length; 0 for none.
    pub to: (u64, u16),
    /// Multishot RECV: bytes after which it ends (0: no limit).
    pub limit: u32,
}

/// SENDMSG and RECVMSG.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MessageTransfer {
    /// The socket.
    pub target: Target,
    /// Address of the `msghdr`.
    pub header: u64,
    /// `MSG_*`.
    pub msg_flags: i32,
    /// RECVMSG: the buffer group to take the buffer from.
    pub group: Option<u16>,
    /// Whether the first attempt waits for readiness.
    pub poll_first: bool,
    /// RECVMSG: whether it goes on after a completion.
    pub multishot: bool,
}

/// What ASYNC_CANCEL looks for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CancelMatch {
    /// By `user_data`.
    pub user_data: Option<u64>,
    /// By the file worked on.
    pub target: Option<Target>,
    /// By operation.
    pub opcode: Option<u8>,
    /// Every match, not only the first.
    pub all: bool,
}

/// A request.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the fields are those of the operation's man page
pub enum Op {
    Nop {
        inject: Option<i32>,
    },
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
        slot: Slot,
    },
    Bind {
        target: Target,
        addr: u64,
        len: u32,
    },
    Connect {
        target: Target,
        addr: u64,
        len: u32,
    },
    Send(Transfer),
    SendMsg(MessageTransfer),
    Recv(Transfer),
    RecvMsg(MessageTransfer),
    Shutdown {
        target: Target,
        how: i32,
    },
    Close {
        target: Target,
    },
    Timeout {
        timespec: u64,
        count: u32,
        flags: u32,
    },
    AsyncCancel(CancelMatch),
    PollAdd {
        target: Target,
        events: u32,
        multishot: bool,
    },
    ProvideBuffers {
        group: u16,
        addr: u64,
        len: u32,
        count: u32,
        bid: u16,
    },
    RemoveBuffers {
        group: u16,
        count: u32,
    },
}

impl Op {
    /// The file that is looked up when the request is issued. CLOSE finds its own.
    pub fn target(&self) -> Option<Target> {
        match *self {
            Op::Bind { target, .. }
            | Op::Connect { target, .. }
            | Op::Shutdown { target, .. }
            | Op::PollAdd { target, .. } => Some(target),
            Op::Send(transfer) | Op::Recv(transfer) => Some(transfer.target),
            Op::SendMsg(message) | Op::RecvMsg(message) => Some(message.target),
            _ => None,
        }
    }

    /// The operation's number.
    pub fn opcode(&self) -> u8 {
        match self {
            Op::Nop { .. } => IORING_OP_NOP,
            Op::Socket { .. } => IORING_OP_SOCKET,
            Op::Bind { .. } => IORING_OP_BIND,
            Op::Connect { .. } => IORING_OP_CONNECT,
            Op::Send(_) => IORING_OP_SEND,
            Op::SendMsg(_) => IORING_OP_SENDMSG,
            Op::Recv(_) => IORING_OP_RECV,
            Op::RecvMsg(_) => IORING_OP_RECVMSG,
            Op::Shutdown { .. } => IORING_OP_SHUTDOWN,
            Op::Close { .. } => IORING_OP_CLOSE,
            Op::Timeout { .. } => IORING_OP_TIMEOUT,
            Op::AsyncCancel(_) => IORING_OP_ASYNC_CANCEL,
            Op::PollAdd { .. } => IORING_OP_POLL_ADD,
            Op::ProvideBuffers { .. } => IORING_OP_PROVIDE_BUFFERS,
            Op::RemoveBuffers { .. } => IORING_OP_REMOVE_BUFFERS,
        }
    }
}

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

fn socket(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr, sqe.op_flags.into(), sqe.buf_index.into()])?;
    let slot = match sqe.file_index {
        0 => Slot::None,
        IORING_FILE_INDEX_ALLOC => Slot::Alloc,
        index => Slot::Index(index - 1),
    };
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

fn transfer(sqe: &Sqe) -> Transfer {
    Transfer {
        target: target(sqe),
        addr: sqe.addr,
        len: sqe.len,
        msg_flags: sqe.op_flags as i32,
        group: group(sqe),
        poll_first: sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0,
        multishot: false,
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
    if sqe.ioprio & !IORING_RECVSEND_POLL_FIRST != 0 {
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
    if sqe.ioprio & !(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT) != 0 {
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

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
