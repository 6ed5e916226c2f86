//! Requests about requests, buffers and files: NOP, timeouts, polls, cancellation, provided buffers.

use super::{target, zero};
use crate::errno::Errno;
use crate::flags::*;
use crate::op::{CancelMatch, Nop, Op, PollUpdate, RingMessage, Target, TimeoutUpdate};
use crate::sqe::Sqe;

pub(super) fn nop(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u32 = IORING_NOP_INJECT_RESULT
        | IORING_NOP_FILE
        | IORING_NOP_FIXED_FILE
        | IORING_NOP_FIXED_BUFFER
        | IORING_NOP_TW
        | IORING_NOP_CQE32;
    let has = |bit: u32| sqe.op_flags & bit != 0;
    if has(!KNOWN) {
        return Err(Errno::EINVAL);
    }
    let file = if has(IORING_NOP_FIXED_FILE) {
        Target::Fixed(sqe.fd as u32)
    } else {
        Target::Fd(sqe.fd)
    };
    Ok(Op::Nop(Nop {
        inject: has(IORING_NOP_INJECT_RESULT).then_some(sqe.len as i32),
        file: has(IORING_NOP_FILE).then_some(file),
        buffer: has(IORING_NOP_FIXED_BUFFER).then_some(sqe.buf_index),
        extra: has(IORING_NOP_CQE32).then_some([sqe.off, sqe.addr]),
        by_task_work: has(IORING_NOP_TW),
    }))
}

/// A flush of notification slots (`io_rsrc_update_prep` of Linux 6.0-rc1).
pub(super) fn flush_slots(sqe: &Sqe) -> Result<Op, Errno> {
    const REFUSED: u8 = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    zero(&[
        (sqe.flags & REFUSED).into(),
        sqe.op_flags.into(),
        sqe.file_index.into(),
        sqe.addr3,
        sqe.pad2,
    ])?;
    if sqe.len == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::FlushSlots {
        first: u32::try_from(sqe.off).map_err(|_| Errno::EOVERFLOW)?,
        count: sqe.len,
        tag: sqe.addr,
    })
}

/// A watch: it takes nothing, and tells each time, so that its successes cannot be silent.
pub(super) fn watch(sqe: &Sqe) -> Result<Op, Errno> {
    const REFUSED: u8 = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;
    zero(&[
        (sqe.flags & REFUSED).into(),
        sqe.off,
        sqe.addr,
        sqe.len.into(),
        sqe.op_flags.into(),
        sqe.buf_index.into(),
        sqe.file_index.into(),
        sqe.addr3,
        sqe.pad2,
    ])?;
    Ok(Op::Watch)
}

/// Flags of TIMEOUT and LINK_TIMEOUT.
fn timeout_flags(sqe: &Sqe) -> Result<u32, Errno> {
    const CLOCKS: u32 = IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME;
    const KNOWN: u32 = IORING_TIMEOUT_ABS
        | CLOCKS
        | IORING_TIMEOUT_ETIME_SUCCESS
        | IORING_TIMEOUT_MULTISHOT
        | IORING_TIMEOUT_IMMEDIATE_ARG;
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
    Ok(flags)
}

pub(super) fn timeout(sqe: &Sqe) -> Result<Op, Errno> {
    Ok(Op::Timeout {
        timespec: sqe.addr,
        count: sqe.off as u32,
        flags: timeout_flags(sqe)?,
    })
}

/// That it stands behind a request with a link is for the chain to check.
pub(super) fn link_timeout(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.off as u32 as u64])?;
    Ok(Op::LinkTimeout {
        timespec: sqe.addr,
        flags: timeout_flags(sqe)?,
    })
}

pub(super) fn timeout_remove(sqe: &Sqe) -> Result<Op, Errno> {
    const UPDATE: u32 = IORING_TIMEOUT_UPDATE | IORING_LINK_TIMEOUT_UPDATE;
    const KNOWN: u32 = UPDATE | IORING_TIMEOUT_ABS | IORING_TIMEOUT_IMMEDIATE_ARG;
    zero(&[
        sqe.buf_index.into(),
        sqe.len.into(),
        sqe.file_index.into(),
        sqe.addr3,
        sqe.pad2,
        u64::from(sqe.flags & IOSQE_FIXED_FILE),
    ])?;
    let flags = sqe.op_flags;
    let update = if flags & UPDATE == 0 {
        zero(&[flags.into()])?;
        None
    } else if flags & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    } else {
        Some(TimeoutUpdate {
            timespec: sqe.addr2(),
            flags,
            link: flags & IORING_LINK_TIMEOUT_UPDATE != 0,
        })
    };
    Ok(Op::TimeoutRemove {
        user_data: sqe.addr,
        update,
    })
}

pub(super) fn cancel(sqe: &Sqe) -> Result<Op, Errno> {
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

pub(super) fn poll(sqe: &Sqe) -> Result<Op, Errno> {
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

pub(super) fn poll_remove(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u32 =
        IORING_POLL_UPDATE_EVENTS | IORING_POLL_UPDATE_USER_DATA | IORING_POLL_ADD_MULTI;
    zero(&[sqe.buf_index.into(), sqe.file_index.into()])?;
    let has = |bit: u32| sqe.len & bit != 0;
    // Multishot means nothing without an update.
    if has(!KNOWN) || sqe.len == IORING_POLL_ADD_MULTI {
        return Err(Errno::EINVAL);
    }
    let new_user_data = has(IORING_POLL_UPDATE_USER_DATA).then_some(sqe.off);
    let events =
        has(IORING_POLL_UPDATE_EVENTS).then_some((sqe.op_flags, has(IORING_POLL_ADD_MULTI)));
    if (new_user_data.is_none() && sqe.off != 0) || (events.is_none() && sqe.op_flags != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(Op::PollRemove(PollUpdate {
        user_data: sqe.addr,
        events,
        new_user_data,
    }))
}

pub(super) fn message(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.buf_index.into(), sqe.personality.into()])?;
    if sqe.op_flags & !(IORING_MSG_RING_CQE_SKIP | IORING_MSG_RING_FLAGS_PASS) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::MsgRing(RingMessage {
        target: target(sqe),
        command: sqe.addr,
        user_data: sqe.off,
        res: sqe.len as i32,
        source: sqe.addr3,
        destination: sqe.file_index,
        flags: sqe.op_flags,
    }))
}

pub(super) fn files_update(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[
        sqe.op_flags.into(),
        sqe.file_index.into(),
        u64::from(sqe.flags & IOSQE_FIXED_FILE),
    ])?;
    if sqe.len == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::FilesUpdate {
        files: sqe.addr,
        count: sqe.len,
        offset: sqe.off as u32,
    })
}

pub(super) fn provide(sqe: &Sqe) -> Result<Op, Errno> {
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

pub(super) fn remove(sqe: &Sqe) -> Result<Op, Errno> {
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
