//! One attempt of a SEND or SENDMSG: provided buffers and bundles, short sends, MSG_WAITALL (Linux
//! `io_send`).

use ringwire_abi::errno::Errno;
use ringwire_abi::request::Op;
use ringwire_stack::{Protocol, SocketId};

use super::request::{Kept, RequestId};
use super::send::Gather;
use super::{Engine, errno};
use crate::usermem::{MAX_TRANSFER, Span};

/// What one attempt came to.
pub(super) enum Outcome {
    /// No room yet.
    Wait,
    Done {
        res: i32,
        failed: bool,
    },
}

impl Engine {
    /// Tries to send; `false` if there is no room yet.
    pub(super) fn attempt_transfer(&mut self, id: RequestId, socket: SocketId) -> bool {
        let request = self.requests.get_mut(id);
        let first = !std::mem::replace(&mut request.attempted, true);
        loop {
            if let Err(error) = self.take_buffers(id) {
                let flags = std::mem::take(&mut self.requests.get_mut(id).buffer_flags);
                self.complete(id, error.res(), flags);
                return true;
            }
            let outcome = match socket.protocol() {
                Protocol::Tcp => self.send_bytes(id, socket),
                Protocol::Udp => match self.send_datagram(id, socket) {
                    Err(Errno::EAGAIN) => Outcome::Wait,
                    Err(error) => Outcome::end(0, error),
                    Ok(len) => Outcome::Done {
                        res: len as i32,
                        failed: false,
                    },
                },
            };
            let (res, failed) = match outcome {
                Outcome::Wait => return false,
                Outcome::Done { res, failed } => (res, failed),
            };
            let request = self.requests.get_mut(id);
            request.done = 0;
            let flags = std::mem::take(&mut request.buffer_flags);
            let exhausted = match request.kept.take() {
                Some(Kept::Many(bundle)) => {
                    let exhausted = bundle.exhausted;
                    self.groups.let_go(bundle);
                    exhausted
                }
                _ => true,
            };
            // A bundle goes on with the next buffers, unless it had to wait; without the limit that it
            // had (the kernel forgets it).
            if let Op::Send(send) = &mut request.op
                && send.bundle
            {
                send.len = 0;
            }
            let goes_on = first && res > 0 && !failed && !exhausted;
            if !goes_on || !self.post_more(id, res, flags) {
                self.complete_as(id, res, flags, failed);
                return true;
            }
            self.number_part(id, res);
        }
    }

    /// Takes provided buffers, if the request sends such and has none yet. They are used up at once
    /// (`io_buffers_select`).
    fn take_buffers(&mut self, id: RequestId) -> Result<(), Errno> {
        let request = self.requests.get(id);
        let Op::Send(send) = &request.op else {
            return Ok(());
        };
        let Some(group) = send.group.filter(|_| request.kept.is_none()) else {
            return Ok(());
        };
        let send = *send;
        if send.registered {
            return self.take_registered(id, &send, group);
        }
        // The length is no cap for buffers that requests have provided (`io_provided_buffers_select`).
        let limit = match self.groups.is_provided(group) {
            true => 0,
            false => send.len as usize,
        };
        let (kept, flags) = if send.bundle {
            let limit = if limit == 0 { MAX_TRANSFER } else { limit };
            let bundle = self.groups.peek_bundle(group, limit)?;
            let len = bundle.spans.iter().map(|span| span.len).sum();
            let flags = self.groups.commit_bundle(&bundle, len);
            (Kept::Many(bundle), flags)
        } else {
            let selected = self.groups.select_to_send(group, limit)?;
            let flags = self.groups.commit(selected, selected.span.len);
            (Kept::One(selected), flags)
        };
        let request = self.requests.get_mut(id);
        request.kept = Some(kept);
        request.buffer_flags = flags;
        Ok(())
    }

    fn send_bytes(&mut self, id: RequestId, socket: SocketId) -> Outcome {
        let request = self.requests.get(id);
        let mut single = [Span::default()];
        let spans = request.payload(&mut single);
        let bundle = matches!(request.kept, Some(Kept::Many(_)));
        let (msg_flags, _) = self.send_flags(id);
        let wait_all = bundle || msg_flags & libc::MSG_WAITALL != 0;
        let more = msg_flags & libc::MSG_MORE != 0;
        // As the kernel has it for what goes in one copy; a bad pointer further on is found early.
        if spans.iter().any(|span| span.check().is_err()) {
            return Outcome::end(request.done, Errno::EFAULT);
        }
        let len: usize = spans.iter().map(|span| span.len).sum();
        // Once some of it was lent, what is copied counts.
        if request.loan.is_some() || self.lends(id) {
            return self.lend_bytes(id, socket, (len, wait_all, more));
        }
        let mut done = request.done;
        let outcome = loop {
            let mut source = Gather::new(spans, done);
            let fill = &mut |part: &mut [u8]| source.fill(part);
            match self
                .stack
                .tcp_send(&mut self.ledger, socket, len - done, more, fill)
            {
                Ok(count) => done += count,
                Err(error) if errno(error) == Errno::EAGAIN => break Outcome::Wait,
                Err(error) => break Outcome::end(done, errno(error)),
            }
            if done == len || !wait_all {
                break Outcome::Done {
                    res: done as i32,
                    failed: done < len && matches!(request.op, Op::Write(_)),
                };
            }
        };
        self.requests.get_mut(id).done = done;
        outcome
    }
}

impl Outcome {
    /// So much was sent.
    pub(super) fn sent(done: usize) -> Outcome {
        Outcome::Done {
            res: done as i32,
            failed: false,
        }
    }

    /// An error ends it; what was sent before counts.
    pub(super) fn end(done: usize, error: Errno) -> Outcome {
        Outcome::Done {
            res: if done > 0 { done as i32 } else { error.res() },
            failed: true,
        }
    }
}
