//! ASYNC_CANCEL, and its synchronous sister.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::register::SyncCancelReg;
use ringwire_abi::request::{self, CancelMatch, Op, Target};
use ringwire_abi::sqe::Sqe;
use ringwire_stack::SocketId;

use super::Engine;
use super::chain::Work;
use super::request::{Kept, Request, RequestId};
use crate::usermem::read_plain;

impl Engine {
    /// Cancels what waits and matches. The cancellation completes first, then its targets.
    pub(super) fn issue_cancel(&mut self, id: RequestId, key: &CancelMatch) {
        let res = self.cancel_matching(key).unwrap_or_else(Errno::res);
        self.complete(id, res, 0);
    }

    /// `IORING_REGISTER_SYNC_CANCEL`: as the operation, without a completion of its own. Whatever it
    /// finds is cancelled at once, so its timeout never counts (Linux `io_sync_cancel`).
    pub(super) fn sync_cancel(&mut self, arg: u64) -> Result<i32, Errno> {
        let cancel: SyncCancelReg = read_plain(arg)?;
        let cancelled = self.cancel_matching(&cancel_key(&cancel)?);
        self.run_work();
        cancelled
    }

    /// Cancels what waits and matches; returns how many, if all were asked for, or 0.
    fn cancel_matching(&mut self, key: &CancelMatch) -> Result<i32, Errno> {
        let socket = match key.target {
            None => None,
            Some(Target::Fixed(index)) => Some(self.files.lookup(index)?),
            Some(Target::Fd(_)) => return Err(Errno::EBADF),
        };
        let matching =
            |(_, request): &(RequestId, &Request)| waits(request) && matches(request, key, socket);
        let found = self.requests.iter().filter(matching);
        if !key.all {
            // Of several it is the one that the kernel finds first: what waits for a file, the latest
            // before others, and then a timeout (`io_try_cancel`).
            let first = found.min_by_key(|&(id, request)| match request.op {
                Op::Timeout { .. } => (true, self.timeout_order(id)),
                _ => (false, (0, u64::MAX - request.serial)),
            });
            let (id, _) = first.ok_or(Errno::ENOENT)?;
            self.cancel_later(id);
            return Ok(0);
        }
        let mut found: Vec<_> = found.map(|(id, _)| id).collect();
        found.sort_by_key(|&id| match self.requests.get(id).op {
            Op::Timeout { .. } => (true, self.timeout_order(id)),
            _ => (false, (0, 0)),
        });
        for &id in &found {
            self.cancel_later(id);
        }
        Ok(found.len() as i32)
    }

    /// Cancels a request that waits when its turn comes.
    pub(super) fn cancel_later(&mut self, id: RequestId) {
        let request = self.requests.get_mut(id);
        if !std::mem::replace(&mut request.cancelled, true) {
            // What has a time is taken off it at once, and is not found again.
            self.disarm(id);
            self.work.push_back(Work::Cancel(id));
        }
    }

    pub(super) fn cancel(&mut self, id: RequestId) {
        self.disarm(id);
        self.forget_watch(id);
        if let Some(socket) = self.requests.get(id).socket {
            self.forget_receive(id, socket);
            self.forget_error_receive(id, socket);
            self.forget_send(id, socket);
            self.forget_poll(id, socket);
        }
        // What a request has moved of a stream counts (`io_sendrecv_fail`).
        let request = self.requests.get_mut(id);
        let res = match request.done {
            0 => Errno::ECANCELED.res(),
            done => done as i32,
        };
        let flags = self.let_go_of_buffers(id);
        self.complete_as(id, res, flags, true);
    }

    /// The buffers of a request that ends in the middle of them; returns the flags that name them.
    pub(super) fn let_go_of_buffers(&mut self, id: RequestId) -> u32 {
        let request = self.requests.get_mut(id);
        let (done, flags) = (request.done, request.buffer_flags);
        match request.kept.take() {
            Some(_) if flags != 0 => flags,
            Some(Kept::One(selected)) if done > 0 => self.groups.commit(selected, done),
            Some(Kept::One(selected)) => {
                self.groups.recycle(selected);
                0
            }
            Some(Kept::Many(bundle)) => {
                let flags = self.groups.commit_bundle(&bundle, done);
                self.groups.let_go(bundle);
                flags
            }
            None => flags,
        }
    }
}

/// The key as the operation has it. With ANY the others do not count, but for a file, which must be
/// there.
fn cancel_key(cancel: &SyncCancelReg) -> Result<CancelMatch, Errno> {
    if cancel.pad != [0; 7] || cancel.pad2 != [0; 3] {
        return Err(Errno::EINVAL);
    }
    let any = cancel.flags & IORING_ASYNC_CANCEL_ANY != 0;
    let keys = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_OP;
    let op = request::parse(&Sqe {
        opcode: IORING_OP_ASYNC_CANCEL,
        // Here this says which table the file is in.
        flags: 0,
        fd: cancel.fd,
        addr: cancel.addr,
        len: cancel.opcode.into(),
        op_flags: if any {
            cancel.flags & !keys
        } else {
            cancel.flags
        },
        ..Sqe::default()
    })?;
    let Op::AsyncCancel(key) = op else {
        unreachable!("cancel: an opcode is parsed as its operation");
    };
    let fixed = cancel.flags & IORING_ASYNC_CANCEL_FD_FIXED != 0;
    let by_file = cancel.flags & IORING_ASYNC_CANCEL_FD != 0;
    if any && by_file && !fixed {
        return Err(Errno::EBADF);
    }
    Ok(key)
}

/// Whether the request was issued and waits: what is linked or deferred is not found, as in the kernel.
/// Nor is a LINK_TIMEOUT, which ends with its request.
fn waits(request: &Request) -> bool {
    match request.op {
        Op::LinkTimeout { .. } => false,
        Op::Watch => request.attempted,
        _ => request.socket.is_some() || request.timer.is_some(),
    }
}

fn matches(request: &Request, key: &CancelMatch, socket: Option<SocketId>) -> bool {
    // A timeout has no file, and so is not found by one.
    key.user_data
        .is_none_or(|user_data| request.user_data == user_data)
        && socket.is_none_or(|socket| request.socket == Some(socket))
        && key
            .opcode
            .is_none_or(|opcode| request.op.opcode() == opcode)
}
