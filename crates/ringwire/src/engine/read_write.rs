//! READ and WRITE in all their forms: on a socket, receives and sends without flags of their own (Linux
//! `io_uring/rw.c`, `sock_read_iter`, `sock_write_iter`).

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{Op, ReadWrite};
use ringwire_stack::SocketId;

use super::Engine;
use super::request::{Prepared, RequestId, Spare};
use crate::usermem::{self, Span};

/// `RWF_*` that mean nothing on a socket: DSYNC, SYNC, APPEND, NOAPPEND, NOSIGNAL.
const IGNORED: i32 =
    libc::RWF_DSYNC | libc::RWF_SYNC | libc::RWF_APPEND | libc::RWF_NOAPPEND | RWF_NOSIGNAL;
/// `RWF_NOSIGNAL` (Linux 6.18): nothing here raises a signal.
const RWF_NOSIGNAL: i32 = 0x100;

/// Copies the iovecs of READV and WRITEV. With a buffer group there is one, for its length.
pub(super) fn prepare(transfer: &ReadWrite, spare: &mut Spare) -> Result<Prepared, Errno> {
    let own = transfer.group.is_none() && transfer.fixed.is_none();
    let (addr, len) = (transfer.addr, transfer.len as usize);
    if transfer.vectored {
        return usermem::read_iovecs(addr, transfer.len, own, spare.spans()).map(Prepared::Spans);
    }
    if own && !(Span { addr, len }).is_in_range() {
        return Err(Errno::EFAULT);
    }
    Ok(Prepared::Nothing)
}

/// The `MSG_*` that `rw_flags` amount to.
pub(super) fn message_flags(transfer: &ReadWrite) -> i32 {
    match transfer.rw_flags & libc::RWF_NOWAIT {
        0 => 0,
        _ => libc::MSG_DONTWAIT,
    }
}

/// Refuses what a socket has not (`kiocb_set_rw_flags`, `io_rw_init_file`).
fn check_flags(rw_flags: i32) -> Result<(), Errno> {
    let both = libc::RWF_APPEND | libc::RWF_NOAPPEND;
    if rw_flags & !(IGNORED | libc::RWF_NOWAIT | libc::RWF_HIPRI) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    // Polling for completions is for storage.
    if rw_flags & both == both || rw_flags & libc::RWF_HIPRI != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// A socket has no positions but the first (`rw_verify_area`, `sock_read_iter`).
fn check_offset(offset: u64, len: usize) -> Result<(), Errno> {
    match offset as i64 {
        -1 | 0 => Ok(()),
        offset if offset < 0 || offset.checked_add(len as i64).is_none() => Err(Errno::EINVAL),
        _ => Err(Errno::ESPIPE),
    }
}

impl Engine {
    pub(super) fn issue_read_write(&mut self, id: RequestId, socket: SocketId) {
        let (Op::Read(transfer) | Op::Write(transfer)) = self.requests.get(id).op else {
            unreachable!("issue: neither a read nor a write");
        };
        let checked = self
            .import_memory(id)
            .and_then(|()| check_flags(transfer.rw_flags))
            .and_then(|()| check_offset(transfer.offset, self.own_len(id)));
        if let Err(error) = checked {
            return self.complete(id, error.res(), 0);
        }
        let reads = matches!(self.requests.get(id).op, Op::Read(_));
        if reads && transfer.group.is_none() && self.own_len(id) == 0 {
            // Not even the end of a stream is waited for.
            return self.complete(id, 0, 0);
        }
        if reads {
            self.issue_receive(id, socket)
        } else {
            self.issue_send(id, socket)
        }
    }

    fn own_len(&self, id: RequestId) -> usize {
        let mut single = [Span::default()];
        let spans = self.requests.get(id).own_memory(&mut single);
        spans.iter().map(|span| span.len).sum()
    }
}
