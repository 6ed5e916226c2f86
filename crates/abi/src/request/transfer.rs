//! What moves bytes: SEND, RECV and their kin, READ and WRITE.

use super::{MAX_SOCKADDR_LEN, check_len, target, zero};
use crate::errno::Errno;
use crate::flags::*;
use crate::op::{MessageTransfer, Notify, Op, ReadWrite, SlotBinding, Transfer, ZeroCopyReceive};
use crate::sqe::Sqe;

fn group(sqe: &Sqe) -> Option<u16> {
    (sqe.flags & IOSQE_BUFFER_SELECT != 0).then_some(sqe.buf_group())
}

fn bundle(sqe: &Sqe) -> bool {
    sqe.ioprio & IORING_RECVSEND_BUNDLE != 0 && sqe.flags & IOSQE_BUFFER_SELECT != 0
}

/// Whether memory is registered, with a group or without one.
fn registered(sqe: &Sqe) -> bool {
    sqe.ioprio & IORING_RECVSEND_FIXED_BUF != 0
}

/// The one registered buffer; with a group the field is that.
fn fixed(sqe: &Sqe) -> Option<u16> {
    (registered(sqe) && sqe.flags & IOSQE_BUFFER_SELECT == 0).then_some(sqe.buf_index)
}

fn transfer(sqe: &Sqe) -> Transfer {
    Transfer {
        target: target(sqe),
        addr: sqe.addr,
        len: sqe.len,
        msg_flags: sqe.op_flags as i32,
        group: group(sqe),
        registered: registered(sqe) && group(sqe).is_some(),
        fixed: fixed(sqe),
        vectored: false,
        notify: None,
        slot: None,
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
        fixed: None,
        notify: None,
        poll_first: sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0,
        multishot: false,
    }
}

/// Most iovecs of a request (`UIO_MAXIOV`).
const MAX_IOVECS: u32 = 1024;

/// The checks that SEND and SEND_ZC share (`io_send_setup`).
fn sends(sqe: &Sqe) -> Result<Transfer, Errno> {
    zero(&[sqe.pad3().into()])?;
    let vectored = sqe.ioprio & IORING_SEND_VECTORIZED != 0;
    let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
    if vectored && !selects && sqe.len > MAX_IOVECS {
        return Err(Errno::EINVAL);
    }
    let to = if sqe.addr2() == 0 {
        (0, 0)
    } else if u32::from(sqe.addr_len()) > MAX_SOCKADDR_LEN {
        return Err(Errno::EINVAL);
    } else {
        (sqe.addr2(), sqe.addr_len())
    };
    Ok(Transfer {
        to,
        // Buffers that are provided are no iovecs.
        vectored: vectored && !selects,
        ..transfer(sqe)
    })
}

/// Registered memory is Linux 7's here, and no array of iovecs may name it; that a group's entries may is an
/// extension.
pub(super) fn send(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u16 = IORING_RECVSEND_POLL_FIRST
        | IORING_RECVSEND_FIXED_BUF
        | IORING_RECVSEND_BUNDLE
        | IORING_SEND_VECTORIZED;
    let lone_bundle = fixed(sqe).is_some() && sqe.ioprio & IORING_RECVSEND_BUNDLE != 0;
    let vectored = sqe.ioprio & IORING_SEND_VECTORIZED != 0;
    if sqe.ioprio & !KNOWN != 0 || lone_bundle || (registered(sqe) && vectored) {
        return Err(Errno::EINVAL);
    }
    check_len(sqe)?;
    sends(sqe).map(Op::Send)
}

pub(super) fn send_message(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr2(), sqe.file_index.into()])?;
    check_len(sqe)?;
    // That it is vectored goes without saying.
    if sqe.ioprio & !(IORING_RECVSEND_POLL_FIRST | IORING_SEND_VECTORIZED) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::SendMsg(message(sqe)))
}

/// Whether `ioprio` of a zero-copy send holds nothing but what it may.
fn knows_zero_copy_flags(sqe: &Sqe) -> bool {
    const KNOWN: u16 = IORING_RECVSEND_POLL_FIRST
        | IORING_RECVSEND_FIXED_BUF
        | IORING_SEND_ZC_REPORT_USAGE
        | IORING_SEND_VECTORIZED;
    // The kernel has no group here, hence no bundle.
    let bundle = match group(sqe) {
        Some(_) => IORING_RECVSEND_BUNDLE,
        None => 0,
    };
    sqe.ioprio & !(KNOWN | bundle) == 0
}

/// The notification of an entry that passed [`check_flags`](super::check_flags) and [`check_priority`](super::check_priority). A zero-copy send
/// has one from an early point of its checks on, so also if [`parse`](super::parse) refuses it; the
/// completion then says so with `IORING_CQE_F_MORE` (`io_send_zc_prep`).
pub fn notification(sqe: &Sqe) -> Option<Notify> {
    let zero_copy = matches!(sqe.opcode, IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC);
    let silent = sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0;
    if !zero_copy || silent || sqe.pad2 != 0 {
        return None;
    }
    Some(Notify {
        user_data: (sqe.addr3 != 0).then_some(sqe.addr3),
        report_usage: knows_zero_copy_flags(sqe) && sqe.ioprio & IORING_SEND_ZC_REPORT_USAGE != 0,
    })
}

/// SEND_ZC and SENDMSG_ZC (`io_send_zc_prep`).
pub(super) fn send_zero_copy(sqe: &Sqe) -> Result<Op, Errno> {
    let notify = notification(sqe);
    if notify.is_none() || !knows_zero_copy_flags(sqe) {
        return Err(Errno::EINVAL);
    }
    if sqe.opcode == IORING_OP_SEND_ZC {
        // A message's iovecs may lie in registered memory, an array of them may not.
        if registered(sqe) && sqe.ioprio & IORING_SEND_VECTORIZED != 0 {
            return Err(Errno::EINVAL);
        }
        let send = sends(sqe)?;
        return Ok(Op::Send(Transfer { notify, ..send }));
    }
    zero(&[sqe.addr2(), sqe.file_index.into()])?;
    Ok(Op::SendMsg(MessageTransfer {
        notify,
        fixed: fixed(sqe),
        ..message(sqe)
    }))
}

/// A zero-copy send to a notification slot (`io_sendzc_prep` of Linux 6.0-rc1).
pub(super) fn send_to_slot(sqe: &Sqe) -> Result<Op, Errno> {
    const KNOWN: u16 = IORING_RECVSEND_POLL_FIRST | IORING_RECVSEND_FIXED_BUF | RINGWIRE_SEND_FLUSH;
    zero(&[sqe.addr3, sqe.pad2])?;
    if sqe.ioprio & !KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    check_len(sqe)?;
    let to = (sqe.addr2(), sqe.slot_addr_len());
    if u32::from(to.1) > MAX_SOCKADDR_LEN {
        return Err(Errno::EINVAL);
    }
    Ok(Op::Send(Transfer {
        to: if to.0 == 0 { (0, 0) } else { to },
        slot: Some(SlotBinding {
            index: sqe.slot_index(),
            flush: sqe.ioprio & RINGWIRE_SEND_FLUSH != 0,
        }),
        ..transfer(sqe)
    }))
}

/// Whether a receive is multishot, which needs a buffer group and bears no MSG_WAITALL.
fn multishot(sqe: &Sqe) -> Result<bool, Errno> {
    const KNOWN: u16 = IORING_RECVSEND_POLL_FIRST
        | IORING_RECV_MULTISHOT
        | IORING_RECVSEND_FIXED_BUF
        | IORING_RECVSEND_BUNDLE;
    const NOT_FIXED: u16 = IORING_RECV_MULTISHOT | IORING_RECVSEND_BUNDLE;
    let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
    if sqe.ioprio & !KNOWN != 0 || (registered(sqe) && (selects || sqe.ioprio & NOT_FIXED != 0)) {
        return Err(Errno::EINVAL);
    }
    if sqe.ioprio & IORING_RECV_MULTISHOT == 0 {
        return Ok(false);
    }
    let waits_for_all = sqe.op_flags as i32 & libc::MSG_WAITALL != 0;
    if !selects || waits_for_all {
        return Err(Errno::EINVAL);
    }
    Ok(true)
}

pub(super) fn receive(sqe: &Sqe) -> Result<Op, Errno> {
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

pub(super) fn receive_message(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr2(), sqe.file_index.into()])?;
    check_len(sqe)?;
    if sqe.ioprio & (IORING_RECVSEND_BUNDLE | IORING_RECVSEND_FIXED_BUF) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::RecvMsg(MessageTransfer {
        multishot: multishot(sqe)?,
        ..message(sqe)
    }))
}

/// RECV_ZC (`io_recvzc_prep`), which is always multishot. Whether its queue is registered is for the ring to
/// check.
pub(super) fn receive_zero_copy(sqe: &Sqe) -> Result<Op, Errno> {
    zero(&[sqe.addr, sqe.addr2(), sqe.addr3, sqe.op_flags.into()])?;
    let multishot = sqe.ioprio & IORING_RECV_MULTISHOT != 0;
    if !multishot || sqe.ioprio & !(IORING_RECVSEND_POLL_FIRST | IORING_RECV_MULTISHOT) != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::RecvZc(ZeroCopyReceive {
        target: target(sqe),
        queue: sqe.file_index,
        limit: sqe.len,
        poll_first: sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0,
    }))
}

/// What READ and WRITE have in common (`__io_prep_rw`).
fn read_write(sqe: &Sqe) -> Result<ReadWrite, Errno> {
    check_io_priority(sqe.ioprio)?;
    // No attribute is known for a socket.
    zero(&[sqe.pad2])?;
    let fixed = matches!(
        sqe.opcode,
        IORING_OP_READ_FIXED
            | IORING_OP_READV_FIXED
            | IORING_OP_WRITE_FIXED
            | IORING_OP_WRITEV_FIXED
    );
    let vectored = matches!(
        sqe.opcode,
        IORING_OP_READV | IORING_OP_WRITEV | IORING_OP_READV_FIXED | IORING_OP_WRITEV_FIXED
    );
    let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
    if vectored && !selects && sqe.len > MAX_IOVECS {
        return Err(Errno::EINVAL);
    }
    Ok(ReadWrite {
        target: target(sqe),
        addr: sqe.addr,
        len: sqe.len,
        offset: sqe.off,
        rw_flags: sqe.op_flags as i32,
        vectored,
        fixed: fixed.then_some(sqe.buf_index),
        group: group(sqe),
        multishot: false,
    })
}

/// The priority of a read or write of storage, which means nothing here but is checked
/// (`ioprio_check_cap`): a class, and a level that only a class gives a meaning.
fn check_io_priority(priority: u16) -> Result<(), Errno> {
    const CLASSES: u16 = 4;
    let (class, level) = (priority >> 13, priority & 7);
    if class >= CLASSES || (class == 0 && level != 0) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

pub(super) fn read(sqe: &Sqe) -> Result<Op, Errno> {
    let multishot = sqe.opcode == IORING_OP_READ_MULTISHOT;
    let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
    if multishot && !selects {
        return Err(Errno::EINVAL);
    }
    let read = read_write(sqe)?;
    if multishot {
        zero(&[sqe.addr, sqe.len.into()])?;
    }
    if selects && read.vectored && sqe.len != 1 {
        return Err(Errno::EINVAL);
    }
    Ok(Op::Read(ReadWrite { multishot, ..read }))
}

pub(super) fn write(sqe: &Sqe) -> Result<Op, Errno> {
    read_write(sqe).map(Op::Write)
}
