//! Entries read into typed requests: the checks that the kernel makes before it looks at a file or
//! at memory (`io_init_req`, and each operation's `prep`).

use crate::errno::Errno;
use crate::flags::*;
use crate::sqe::Sqe;

mod control;
mod socket;
mod transfer;

pub use transfer::notification;

pub use crate::op::{
    Accept, CancelMatch, MessageTransfer, Nop, Notify, Op, OptionTransfer, PollUpdate, ReadWrite,
    RingMessage, Slot, SlotBinding, SocketCommand, Target, TimeoutUpdate, Transfer,
    ZeroCopyReceive,
};

/// The first of the checks that are the same for every operation, in the kernel's order
/// (`io_init_req`). That the kernel refuses IO_DRAIN with CQE_SKIP_SUCCESS or after one on the ring, and
/// what the ring is restricted to, is for the ring to check after this.
///
/// # Errors
/// `EINVAL`: no such operation, or an unknown flag. `EOPNOTSUPP`: buffer selection for an
/// operation that has none.
pub fn check_flags(sqe: &Sqe) -> Result<(), Errno> {
    let known = sqe.opcode < IORING_OP_LAST || is_own_opcode(sqe.opcode);
    if !known || sqe.flags & !IOSQE_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    // These take 128-byte entries, which no ring here has.
    if matches!(sqe.opcode, IORING_OP_NOP128 | IORING_OP_URING_CMD128) {
        return Err(Errno::EINVAL);
    }
    if sqe.flags & IOSQE_BUFFER_SELECT != 0 && !selects_buffers(sqe) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(())
}

/// The last of them. `knows`: whether these credentials are registered.
///
/// # Errors
/// `EINVAL`: a priority that the operation does not use, or credentials that are not known.
pub fn check_priority(sqe: &Sqe, knows: impl FnOnce(u16) -> bool) -> Result<(), Errno> {
    if sqe.ioprio != 0 && !uses_ioprio(sqe.opcode) {
        return Err(Errno::EINVAL);
    }
    if sqe.personality != 0 && !knows(sqe.personality) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn selects_buffers(sqe: &Sqe) -> bool {
    // The kernel has no buffers for it to select: an extension has registered ones.
    if sqe.opcode == IORING_OP_SEND_ZC {
        return sqe.ioprio & IORING_RECVSEND_FIXED_BUF != 0;
    }
    matches!(
        sqe.opcode,
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
            | RINGWIRE_OP_SEND_ZC_SLOT
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

/// Reads an entry that passed [`check_flags`] and [`check_priority`].
///
/// # Errors
/// `EINVAL`: a field that the operation does not use is set, or one makes no sense. `E2BIG`,
/// `EOVERFLOW`: as PROVIDE_BUFFERS has them. `EBADF`: CLOSE of a fixed file by its flag.
/// `EOPNOTSUPP`: an operation of io_uring that ringwire does not have.
pub fn parse(sqe: &Sqe) -> Result<Op, Errno> {
    match sqe.opcode {
        IORING_OP_NOP => control::nop(sqe),
        IORING_OP_SOCKET => socket::socket(sqe),
        IORING_OP_BIND | IORING_OP_CONNECT => socket::address(sqe),
        IORING_OP_LISTEN => socket::listen(sqe),
        IORING_OP_ACCEPT => socket::accept(sqe),
        IORING_OP_SEND => transfer::send(sqe),
        IORING_OP_SENDMSG => transfer::send_message(sqe),
        IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => transfer::send_zero_copy(sqe),
        RINGWIRE_OP_SEND_ZC_SLOT => transfer::send_to_slot(sqe),
        RINGWIRE_OP_FLUSH_SLOTS => control::flush_slots(sqe),
        RINGWIRE_OP_WATCH => control::watch(sqe),
        IORING_OP_RECV => transfer::receive(sqe),
        IORING_OP_RECVMSG => transfer::receive_message(sqe),
        IORING_OP_RECV_ZC => transfer::receive_zero_copy(sqe),
        IORING_OP_READ
        | IORING_OP_READV
        | IORING_OP_READ_FIXED
        | IORING_OP_READV_FIXED
        | IORING_OP_READ_MULTISHOT => transfer::read(sqe),
        IORING_OP_WRITE | IORING_OP_WRITEV | IORING_OP_WRITE_FIXED | IORING_OP_WRITEV_FIXED => {
            transfer::write(sqe)
        }
        IORING_OP_SHUTDOWN => socket::shutdown(sqe),
        IORING_OP_CLOSE => socket::close(sqe),
        IORING_OP_TIMEOUT => control::timeout(sqe),
        IORING_OP_LINK_TIMEOUT => control::link_timeout(sqe),
        IORING_OP_TIMEOUT_REMOVE => control::timeout_remove(sqe),
        IORING_OP_ASYNC_CANCEL => control::cancel(sqe),
        IORING_OP_POLL_ADD => control::poll(sqe),
        IORING_OP_POLL_REMOVE => control::poll_remove(sqe),
        IORING_OP_MSG_RING => control::message(sqe),
        IORING_OP_FILES_UPDATE => control::files_update(sqe),
        IORING_OP_PROVIDE_BUFFERS => control::provide(sqe),
        IORING_OP_REMOVE_BUFFERS => control::remove(sqe),
        IORING_OP_URING_CMD => socket::command(sqe),
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

#[cfg(test)]
mod own_tests;
#[cfg(test)]
mod registered_group_tests;
#[cfg(test)]
mod sweep_tests;
#[cfg(test)]
mod tests;
