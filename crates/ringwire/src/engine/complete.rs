//! Completions: posting, the overflow list, and what a completion sets free.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_CQE_F_32, IORING_CQE_F_MORE, IORING_CQE_F_NOTIF, IORING_NOTIF_USAGE_ZC_COPIED,
    IORING_SETUP_CQE_MIXED, IORING_SQ_CQ_OVERFLOW, IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_HARDLINK,
    IOSQE_IO_LINK,
};
use ringwire_abi::request::Op;

use super::request::{Request, RequestId};
use super::{Completion, Engine};

impl Engine {
    /// Posts a completion that is not the request's last. `false` when the queue is full: such
    /// completions never go to the overflow list, and the request ends with its data in the last
    /// one (Linux `io_req_post_cqe`).
    pub(super) fn post_more(&mut self, id: RequestId, res: i32, flags: u32) -> bool {
        let request = self.requests.get(id);
        let user_data = request.user_data;
        let counts = !matches!(request.op, Op::Timeout { .. });
        let completion = Completion {
            user_data,
            res,
            flags: flags | IORING_CQE_F_MORE,
            extra: [0; 2],
        };
        if !self.overflow.is_empty() || !self.place(&completion) {
            return false;
        }
        self.count_posted(counts);
        true
    }

    /// Completes a request for good. Whether it failed decides about what is linked behind it.
    pub(super) fn complete(&mut self, id: RequestId, res: i32, flags: u32) {
        self.complete_as(id, res, flags, res < 0);
    }

    /// As [`complete`](Self::complete), with the second half of a 32-byte completion, which the ring
    /// has.
    pub(super) fn complete_big(&mut self, id: RequestId, res: i32, extra: [u64; 2]) {
        let mixed = self.setup_flags & IORING_SETUP_CQE_MIXED != 0;
        let flags = if mixed { IORING_CQE_F_32 } else { 0 };
        self.outstanding -= 1;
        self.finish(id, (res, flags, extra), res < 0);
        self.start_deferred();
    }

    /// As [`complete`](Self::complete), for results that say it otherwise: a short receive with
    /// MSG_WAITALL, a timeout whose expiry counts as success.
    pub(super) fn complete_as(&mut self, id: RequestId, res: i32, flags: u32, failed: bool) {
        self.outstanding -= 1;
        self.finish(id, (res, flags, [0; 2]), failed);
        self.start_deferred();
    }

    /// Completes a request that may never have been issued.
    fn finish(&mut self, id: RequestId, result: (i32, u32, [u64; 2]), failed: bool) {
        let (res, flags, extra) = result;
        if failed {
            self.requests.get_mut(id).set_failed(res);
        }
        let request = self.requests.remove(id);
        let counts = !matches!(request.op, Op::Timeout { .. });
        let more = request.notify.map_or(0, |_| IORING_CQE_F_MORE);
        if !request.is_silent() {
            let completion = Completion {
                user_data: request.user_data,
                res,
                flags: flags | more,
                extra,
            };
            self.post(completion, counts);
        }
        self.notify(&request);
        if let Some(socket) = request.socket {
            self.drop_file(socket);
        }
        let Some(next) = request.link else { return };
        if failed && !request.is_hardlinked() {
            self.cancel_chain(next, request.skip_links);
        } else {
            self.start(next);
        }
    }

    /// Says that a zero-copy send needs its memory no longer, and lets go of a registered buffer. The
    /// payload was copied when the send was queued, or never will be, so that this follows the send's
    /// completion at once.
    fn notify(&mut self, request: &Request) {
        if let Some(notify) = request.notify {
            let completion = Completion {
                user_data: notify.user_data.unwrap_or(request.user_data),
                res: match notify.report_usage {
                    true => IORING_NOTIF_USAGE_ZC_COPIED as i32,
                    false => 0,
                },
                flags: IORING_CQE_F_NOTIF,
                extra: [0; 2],
            };
            self.post(completion, true);
        }
        if let Some(buffer) = request.buffer {
            self.let_go_of_buffer(buffer);
        }
    }

    /// Completes a chain without issuing it, in order.
    fn cancel_chain(&mut self, first: RequestId, silent: bool) {
        let mut next = Some(first);
        while let Some(id) = next {
            let request = self.requests.get_mut(id);
            next = request.link.take();
            let res = request.failed.unwrap_or(Errno::ECANCELED.res());
            // As the kernel has it: the failed head decides for all (`io_fail_links`).
            if silent {
                request.flags |= IOSQE_CQE_SKIP_SUCCESS;
            } else {
                request.flags &= !IOSQE_CQE_SKIP_SUCCESS;
            }
            let request = self.requests.remove(id);
            if !request.is_silent() {
                let completion = Completion {
                    user_data: request.user_data,
                    res,
                    ..Completion::default()
                };
                self.post(completion, true);
            }
            self.notify(&request);
        }
    }

    /// Completes a chain whose submission went wrong: its head says so, the rest is cancelled.
    pub(super) fn fail_chain(&mut self, head: RequestId) {
        let request = self.requests.get_mut(head);
        request.flags = request.flags & !IOSQE_IO_HARDLINK | IOSQE_IO_LINK;
        let res = request
            .failed
            .expect("complete: only a failed chain is failed");
        self.finish(head, (res, 0, [0; 2]), true);
    }

    /// Posts a completion, or puts it into the overflow list.
    pub(super) fn post(&mut self, completion: Completion, counts: bool) {
        self.count_posted(counts);
        if self.overflow.is_empty() && self.place(&completion) {
            return;
        }
        self.counters.overflowed += 1;
        self.overflow.push_back(completion);
        self.queues.set_sq_flag(IORING_SQ_CQ_OVERFLOW, true);
    }

    fn count_posted(&mut self, counts: bool) {
        self.counters.completed += 1;
        self.posted += u64::from(counts);
    }

    /// Moves completions from the overflow list into the queue, in order, while there is room. Whether
    /// any was moved.
    pub fn flush_overflow(&mut self) -> bool {
        let mut moved = false;
        while let Some(&completion) = self.overflow.front() {
            if !self.place(&completion) {
                break;
            }
            self.overflow.pop_front();
            moved = true;
        }
        if moved {
            if self.overflow.is_empty() {
                self.queues.set_sq_flag(IORING_SQ_CQ_OVERFLOW, false);
            }
            self.signal();
        }
        moved
    }

    /// Issues what a drain held back, as far as its condition is met (Linux `io_queue_deferred`).
    pub(super) fn start_deferred(&mut self) {
        let mut drain_seen = false;
        let mut first = true;
        while let Some(&head) = self.deferred.front() {
            drain_seen |= self.requests.get(head).is_drain();
            if (drain_seen || first) && self.outstanding > 0 {
                return;
            }
            self.deferred.pop_front();
            self.start(head);
            first = false;
        }
    }
}
