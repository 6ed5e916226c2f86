//! ASYNC_CANCEL.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::{CancelMatch, Op, Target};
use ringwire_stack::SocketId;

use super::Engine;
use super::request::{Kept, Request, RequestId};

impl Engine {
    /// Cancels what waits and matches. The cancellation completes first, then its targets.
    pub(super) fn issue_cancel(&mut self, id: RequestId, key: &CancelMatch) {
        let socket = match key.target {
            None => None,
            Some(Target::Fixed(index)) => match self.files.lookup(index) {
                Ok(socket) => Some(socket),
                Err(error) => return self.complete(id, error.res(), 0),
            },
            Some(Target::Fd(_)) => return self.complete(id, Errno::EBADF.res(), 0),
        };
        let waiting = self
            .requests
            .iter()
            .filter(|(other, request)| *other != id && waits(request));
        let matching = waiting
            .filter(|(_, request)| matches(request, key, socket))
            .map(|(other, request)| (other, request.serial));
        let targets: Vec<(RequestId, u64)> = if key.all {
            matching.collect()
        } else {
            matching.take(1).collect()
        };
        let res = match (targets.len(), key.all) {
            (count, true) => count as i32,
            (0, false) => Errno::ENOENT.res(),
            (_, false) => 0,
        };
        self.complete(id, res, 0);
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
