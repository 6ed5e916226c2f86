//! Completions: posting, and the overflow list.

use ringwire_abi::flags::{
    IORING_CQE_F_32, IORING_CQE_F_MORE, IORING_SETUP_CQE_MIXED, IORING_SQ_CQ_OVERFLOW,
};

use super::request::RequestId;
use super::zero_copy::Promise;
use super::{Completion, Engine};

impl Engine {
    /// Posts a completion that is not the request's last. `false` when the queue is full: such
    /// completions never go to the overflow list, and the request ends with its data in the last
    /// one (Linux `io_req_post_cqe`).
    pub(super) fn post_more(&mut self, id: RequestId, res: i32, flags: u32) -> bool {
        self.post_more_as(id, (res, flags, [0; 2]))
    }

    /// As [`post_more`](Self::post_more), with the second half of a 32-byte completion, which the ring has.
    pub(super) fn post_more_big(&mut self, id: RequestId, res: i32, extra: [u64; 2]) -> bool {
        self.post_more_as(id, (res, self.big_flag(), extra))
    }

    /// Whether [`post_more_big`](Self::post_more_big) would post.
    pub(super) fn may_post_more_big(&mut self) -> bool {
        self.post_finished();
        self.overflow.is_empty() && self.queues.has_room_for_big()
    }

    fn post_more_as(&mut self, id: RequestId, (res, flags, extra): (i32, u32, [u64; 2])) -> bool {
        self.post_finished();
        let completion = Completion {
            user_data: self.requests.get(id).user_data,
            res,
            flags: flags | IORING_CQE_F_MORE,
            extra,
        };
        let posted = self.overflow.is_empty() && self.place(&completion);
        self.counters.completed += u64::from(posted);
        posted
    }

    /// Completes a request for good. Whether it failed decides about what is linked behind it.
    pub(super) fn complete(&mut self, id: RequestId, res: i32, flags: u32) {
        self.complete_as(id, res, flags, res < 0);
    }

    /// As [`complete`](Self::complete), with the second half of a 32-byte completion, which the ring
    /// has.
    pub(super) fn complete_big(&mut self, id: RequestId, res: i32, extra: [u64; 2]) {
        self.finish(id, (res, self.big_flag(), extra), res < 0);
    }

    /// What tells a 32-byte completion from others in a mixed queue.
    fn big_flag(&self) -> u32 {
        match self.setup_flags & IORING_SETUP_CQE_MIXED {
            0 => 0,
            _ => IORING_CQE_F_32,
        }
    }

    /// As [`complete`](Self::complete), for results that say it otherwise: a short receive with
    /// MSG_WAITALL, a timeout whose expiry counts as success.
    pub(super) fn complete_as(&mut self, id: RequestId, res: i32, flags: u32, failed: bool) {
        self.finish(id, (res, flags, [0; 2]), failed);
    }

    /// The last completion of a request. It is posted, and what it sets free is let go of, behind all
    /// that completes at once.
    fn finish(&mut self, id: RequestId, result: (i32, u32, [u64; 2]), failed: bool) {
        let (res, mut flags, extra) = result;
        let request = self.requests.get_mut(id);
        if failed {
            request.set_failed(res);
        }
        match request.promise {
            None | Some(Promise::Socket(..)) => self.end(id, (res, flags, extra)),
            Some(Promise::Request(_)) => {
                flags |= IORING_CQE_F_MORE;
                self.end(id, (res, flags, extra));
            }
            Some(Promise::Slot(_)) => {
                self.end(id, (res, flags, extra));
                self.flush_behind(id);
            }
        }
    }

    /// As [`complete`](Self::complete), of a request that was never issued and that breaks no links.
    pub(super) fn complete_unissued(&mut self, id: RequestId, res: i32) {
        self.end(id, (res, 0, [0; 2]));
    }

    #[inline]
    fn end(&mut self, id: RequestId, result: (i32, u32, [u64; 2])) {
        let request = self.requests.get_mut(id);
        assert!(!request.ended, "complete: a request completes once");
        request.ended = true;
        request.result = result;
        self.finished.push_back(id);
        self.unposted += 1;
    }

    /// Posts the last completions of the requests that have finished.
    #[inline]
    pub(super) fn post_finished(&mut self) {
        if self.unposted > 0 {
            self.post_unposted();
        }
    }

    fn post_unposted(&mut self) {
        let first = self.finished.len() - std::mem::take(&mut self.unposted);
        for index in first..self.finished.len() {
            let request = self.requests.get(self.finished[index]);
            let (res, flags, extra) = request.result;
            let (user_data, promise) = (request.user_data, request.promise);
            let (silent, wants_ranges) = (request.is_silent(), request.ranges.is_some());
            if let Some(Promise::Socket(..)) = promise {
                self.number_sent(self.finished[index], res);
                self.post_repaid();
            }
            // Before its completion can be seen; its own number may be among them.
            if wants_ranges {
                self.write_ranges(self.finished[index]);
            }
            if !silent {
                let completion = Completion {
                    user_data,
                    res,
                    flags,
                    extra,
                };
                self.post(completion);
            }
            if let Some(Promise::Request(_) | Promise::Slot(_)) = promise {
                self.end_loan(self.finished[index]);
            }
            self.post_repaid();
        }
    }

    /// Posts a completion, or puts it into the overflow list.
    pub(super) fn post(&mut self, completion: Completion) {
        self.counters.completed += 1;
        if self.overflow.is_empty() && self.place(&completion) {
            return;
        }
        self.counters.overflowed += 1;
        self.overflow.push_back(completion);
        self.queues.set_sq_flag(IORING_SQ_CQ_OVERFLOW, true);
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
}
