//! ASYNC_CANCEL, and its synchronous sister.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::register::SyncCancelReg;
use ringwire_abi::request::{self, CancelMatch, Op, Target};
use ringwire_abi::sqe::Sqe;
use ringwire_stack::SocketId;

use super::Engine;
use super::request::{Kept, Request, RequestId};
use crate::usermem::read_plain;

impl Engine {
    /// Cancels what waits and matches. The cancellation completes first, then its targets.
    pub(super) fn issue_cancel(&mut self, id: RequestId, key: &CancelMatch) {
        match self.find(Some(id), key) {
            Ok(targets) => {
                let res = count(&targets, key).unwrap_or_else(Errno::res);
                self.complete(id, res, 0);
                self.cancel_all(targets);
            }
            Err(error) => self.complete(id, error.res(), 0),
        }
    }

    /// `IORING_REGISTER_SYNC_CANCEL`: as the operation, without a completion of its own. Whatever it
    /// finds is cancelled at once, so its timeout never counts (Linux `io_sync_cancel`).
    pub(super) fn sync_cancel(&mut self, arg: u64) -> Result<i32, Errno> {
        let cancel: SyncCancelReg = read_plain(arg)?;
        let key = cancel_key(&cancel)?;
        let targets = self.find(None, &key)?;
        let counted = count(&targets, &key);
        self.cancel_all(targets);
        counted
    }

    /// The requests that wait and match, and their serial numbers.
    fn find(
        &self,
        except: Option<RequestId>,
        key: &CancelMatch,
    ) -> Result<Vec<(RequestId, u64)>, Errno> {
        let socket = match key.target {
            None => None,
            Some(Target::Fixed(index)) => Some(self.files.lookup(index)?),
            Some(Target::Fd(_)) => return Err(Errno::EBADF),
        };
        let waiting = self
            .requests
            .iter()
            .filter(|&(id, request)| Some(id) != except && waits(request));
        let matching = waiting
            .filter(|(_, request)| matches(request, key, socket))
            .map(|(id, request)| (id, request.serial));
        Ok(matching
            .take(if key.all { usize::MAX } else { 1 })
            .collect())
    }

    fn cancel_all(&mut self, targets: Vec<(RequestId, u64)>) {
        for (target, serial) in targets {
            // What is linked behind one target may have ended another.
            if self.requests.is_still(target, serial) {
                self.cancel(target);
            }
        }
    }

    fn cancel(&mut self, id: RequestId) {
        self.disarm(id);
        if let Some(socket) = self.requests.get(id).socket {
            self.forget_receive(id, socket);
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
            Some(Kept::Many(bundle)) => self.groups.commit_bundle(&bundle, done),
            None => flags,
        }
    }
}

/// What a cancellation returns: how many, if all were asked for.
fn count(targets: &[(RequestId, u64)], key: &CancelMatch) -> Result<i32, Errno> {
    match (targets.len(), key.all) {
        (count, true) => Ok(count as i32),
        (0, false) => Err(Errno::ENOENT),
        (_, false) => Ok(0),
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
fn waits(request: &Request) -> bool {
    request.socket.is_some() || request.timer.is_some()
}

fn matches(request: &Request, key: &CancelMatch, socket: Option<SocketId>) -> bool {
    // A timeout has no file and no cancellation by opcode (`io_timeout_extract` looks at user_data).
    let timeout = matches!(request.op, Op::Timeout { .. });
    key.user_data
        .is_none_or(|user_data| request.user_data == user_data)
        && socket.is_none_or(|socket| request.socket == Some(socket))
        && key
            .opcode
            .is_none_or(|opcode| request.op.opcode() == opcode && !timeout)
}
