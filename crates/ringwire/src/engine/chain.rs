//! What a completion sets going: links, link timeouts, drains; and the work that waits for its turn.
//!
//! As in the kernel, what a request sets going while it is issued or lets go of comes after what
//! completes at once: it is queued ([`Work`]), and has its turn when the batch is submitted.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::request::Op;
use ringwire_stack::SocketId;

use super::Engine;
use super::notifier::NotifierId;
use super::request::RequestId;

/// What has its turn after what completes at once (the kernel's task work).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A request's turn to be issued has come.
    Start(RequestId),
    /// A request completes with this, which is no failure.
    Complete(RequestId, i32),
    /// From this request on, a chain is completed without being issued.
    Fail(RequestId),
    /// A request that waits is cancelled.
    Cancel(RequestId),
    /// A poll that is armed looks at its socket.
    Poll(RequestId),
    /// A watch is told how things are.
    Watch(RequestId),
    /// A NOP that asked for it.
    Nop(RequestId),
    /// A notification slot was flushed.
    Flushed(NotifierId),
    /// Something came into a socket's error queue.
    ErrorQueue(SocketId),
}

/// The chain that a batch is in the middle of.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) head: Option<RequestId>,
    last: Option<RequestId>,
    /// Operation of the last entry, whether it could be prepared or not.
    last_opcode: u8,
}

impl Chain {
    /// A LINK_TIMEOUT stands behind a request that is linked to it, and that is none itself
    /// (`__io_timeout_prep`).
    pub(super) fn takes_link_timeout(&self) -> bool {
        self.head.is_some() && self.last_opcode != IORING_OP_LINK_TIMEOUT
    }
}

impl Engine {
    /// Puts a request behind those of its chain; with the last one the chain is queued.
    pub(super) fn extend(&mut self, chain: &mut Chain, id: RequestId, opcode: u8) {
        // Nearly all stand alone.
        if chain.head.is_none() && !self.requests.get(id).is_linked() {
            return self.queue(id);
        }
        match (chain.head, chain.last) {
            (Some(head), Some(last)) => {
                self.requests.get_mut(last).link = Some(id);
                let broken = self.requests.get(id).failed.is_some();
                let head = self.requests.get_mut(head);
                if broken && head.failed.is_none() {
                    head.set_failed(Errno::ECANCELED.res());
                }
            }
            _ => chain.head = Some(id),
        }
        chain.last = Some(id);
        chain.last_opcode = opcode;
        if !self.requests.get(id).is_linked() {
            self.end_chain(chain);
        }
    }

    /// Queues the chain, if there is one.
    pub(super) fn end_chain(&mut self, chain: &mut Chain) {
        if let Some(head) = std::mem::take(chain).head {
            self.queue(head);
        }
    }

    /// A drain in the middle of a chain holds the whole chain back, and what follows the chain
    /// (`io_init_drain`).
    pub(super) fn begin_drain(&mut self, chain: &Chain) {
        self.drain_active = true;
        if let Some(head) = chain.head {
            self.requests.get_mut(head).flags |= IOSQE_IO_DRAIN;
            self.drain_next = true;
        }
    }

    /// Whether an entry is to wait as if it were a drain: the first one behind a chain that has one.
    pub(super) fn takes_drain(&mut self, chain: &Chain) -> bool {
        chain.head.is_none() && std::mem::take(&mut self.drain_next)
    }

    /// Starts a chain, or lets it wait for a drain (`io_queue_sqe_fallback`, `io_drain_req`).
    fn queue(&mut self, head: RequestId) {
        let request = self.requests.get_mut(head);
        if let Some(res) = request.failed {
            // What cannot be prepared breaks hard links too.
            request.flags = request.flags & !IOSQE_IO_HARDLINK | IOSQE_IO_LINK;
            return self.complete_as(head, res, 0, true);
        }
        if !self.drain_active {
            return self.start(head);
        }
        let drain = request.is_drain();
        self.held_back += self.chain_len(head);
        self.deferred.push_back(head);
        self.start_deferred();
        if !drain && self.deferred.is_empty() {
            self.drain_active = false;
        }
    }

    fn chain_len(&self, head: RequestId) -> usize {
        let next = |&id: &RequestId| self.requests.get(id).link;
        std::iter::successors(Some(head), next).count()
    }

    /// Issues what a drain held back, as far as its condition is met: there is no request but those held
    /// back (`io_queue_deferred`).
    fn start_deferred(&mut self) {
        let mut drain_seen = false;
        let mut first = true;
        while let Some(&head) = self.deferred.front() {
            drain_seen |= self.requests.get(head).is_drain();
            if (drain_seen || first) && self.requests.len() != self.held_back {
                return;
            }
            self.deferred.pop_front();
            self.held_back -= self.chain_len(head);
            self.work.push_back(Work::Start(head));
            first = false;
        }
    }

    /// Posts what has completed and lets go of it, which queues what was linked to it or held back.
    #[inline]
    pub(super) fn let_go(&mut self) {
        let nothing = self.finished.is_empty() && self.counted.is_empty() && !self.drain_active;
        if !nothing || self.ledger.has_repaid() {
            self.let_go_of_finished();
        }
    }

    fn let_go_of_finished(&mut self) {
        self.post_finished();
        self.finish_counted();
        while let Some(id) = self.finished.pop_front() {
            self.let_go_of(id);
        }
        // A socket that went with its last request may have had memory.
        self.post_repaid();
        if self.drain_active {
            self.start_deferred();
        }
    }

    fn let_go_of(&mut self, id: RequestId) {
        if self.requests.get(id).link.is_some()
            && let Some(timeout) = self.take_link_timeout(id)
        {
            self.disarm(timeout);
            self.requests.get_mut(timeout).timed = None;
            self.work
                .push_back(Work::Complete(timeout, Errno::ECANCELED.res()));
        }
        let request = self.requests.get_mut(id);
        let (socket, buffer) = (request.socket, request.buffer.take());
        let breaks = request.breaks_links();
        let (link, silent) = (request.link, request.skip_links);
        if let Some(next) = link {
            if breaks {
                self.silence(next, silent);
                self.work.push_back(Work::Fail(next));
            } else {
                self.work.push_back(Work::Start(next));
            }
        }
        self.requests.remove(id);
        if let Some(buffer) = buffer {
            self.let_go_of_buffer(buffer);
        }
        if let Some(socket) = socket {
            self.drop_file(socket);
        }
    }

    /// Takes the LINK_TIMEOUT of a request out of the chain: what is behind it follows the request from
    /// now on.
    pub(super) fn take_link_timeout(&mut self, id: RequestId) -> Option<RequestId> {
        let timeout = self.link_timeout(id)?;
        let behind = self.requests.get_mut(timeout).link.take();
        self.requests.get_mut(id).link = behind;
        Some(timeout)
    }

    /// The LINK_TIMEOUT of a request.
    pub(super) fn link_timeout(&self, id: RequestId) -> Option<RequestId> {
        let next = self.requests.get(id).link?;
        matches!(self.requests.get(next).op, Op::LinkTimeout { .. }).then_some(next)
    }

    /// The request that broke a chain decides for all behind it whether they complete silently
    /// (`io_fail_links`).
    fn silence(&mut self, first: RequestId, silent: bool) {
        let mut next = Some(first);
        while let Some(id) = next {
            let request = self.requests.get_mut(id);
            request.flags &= !IOSQE_CQE_SKIP_SUCCESS;
            if silent {
                request.flags |= IOSQE_CQE_SKIP_SUCCESS;
            }
            next = request.link;
        }
    }

    /// Completes a chain without issuing it, in order (`io_req_tw_fail_links`).
    fn fail_chain(&mut self, first: RequestId) {
        let mut next = Some(first);
        while let Some(id) = next {
            let request = self.requests.get_mut(id);
            next = request.link.take();
            let res = request.failed.unwrap_or(Errno::ECANCELED.res());
            self.complete_unissued(id, res);
        }
    }

    /// Does the work that waits, and what comes of it.
    #[inline]
    pub(super) fn run_work(&mut self) {
        loop {
            self.let_go();
            if self.work.is_empty() {
                return;
            }
            // What this sets going has its turn after all of it.
            for _ in 0..self.work.len() {
                if let Some(work) = self.work.pop_front() {
                    self.run_one(work);
                }
            }
        }
    }

    fn run_one(&mut self, work: Work) {
        match work {
            Work::Start(id) => self.start(id),
            Work::Complete(id, res) => self.complete_as(id, res, 0, false),
            Work::Fail(first) => self.fail_chain(first),
            Work::Cancel(id) => {
                if self.requests.waits(id) && self.requests.get(id).cancelled {
                    self.cancel(id);
                }
            }
            Work::Nop(id) => {
                if self.requests.waits(id) {
                    self.issue_nop(id);
                }
            }
            Work::Flushed(notifier) => self.let_go_of_notifier(notifier),
            Work::ErrorQueue(socket) => self.serve_error_queue(socket),
            Work::Poll(id) => {
                if self.requests.waits(id) {
                    self.look_at_poll(id);
                }
            }
            Work::Watch(id) => {
                if self.requests.waits(id) {
                    self.begin_watch(id);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
