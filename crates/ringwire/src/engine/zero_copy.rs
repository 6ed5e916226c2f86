//! Zero-copy sends: what lies in UMEM is sent from there, and the notification says when nothing needs it any
//! more. Everything else is copied when it is queued.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{
    IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER, IORING_CQE_F_NOTIF, IORING_NOTIF_USAGE_ZC_COPIED,
};
use ringwire_abi::request::Notify;
use ringwire_stack::{BorrowedParts, SendOptions, SocketId};
use ringwire_umem::LoanId;

use super::notifier::NotifierId;
use super::registered::BufferNode;
use super::request::RequestId;
use super::send::Gather;
use super::stream_send::Outcome;
use super::{Completion, Engine, errno};
use crate::usermem::{self, Span};

/// Who hears that nothing needs the memory of a zero-copy send any more. Each is told once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Promise {
    /// Whoever waits for its own notification.
    Request(Notify),
    /// The notifier of a slot.
    Slot(NotifierId),
    /// The error queue of a socket, under this number once the send is over.
    Socket(SocketId, Option<u32>),
}

/// What is to be said when a loan is repaid.
#[derive(Debug)]
struct Notice {
    user_data: u64,
    promise: Promise,
    /// The registered buffer that the memory lies in.
    buffer: Option<BufferNode>,
    /// What names the first of the provided buffers that it was sent from (`IORING_CQE_F_BUFFER`).
    named: u32,
    /// The UDP socket, and what it is charged with.
    charge: Option<(SocketId, u32)>,
}

/// The notices of the loans that are not repaid.
#[derive(Debug, Default)]
pub(super) struct Notices(Vec<Option<Notice>>);

impl Notices {
    fn insert(&mut self, loan: LoanId, notice: Notice) {
        if self.0.len() <= loan.index() {
            self.0.resize_with(loan.index() + 1, || None);
        }
        self.0[loan.index()] = Some(notice);
    }

    fn get_mut(&mut self, loan: LoanId) -> &mut Notice {
        let notice = self.0[loan.index()].as_mut();
        notice.expect("zero copy: a loan has its notice")
    }

    fn take(&mut self, loan: LoanId) -> Notice {
        let notice = self.0[loan.index()].take();
        notice.expect("zero copy: a loan is repaid once")
    }
}

impl Engine {
    /// Whether a request is a zero-copy send with memory that can be sent from where it lies.
    pub(super) fn lends(&self, id: RequestId) -> bool {
        let request = self.requests.get(id);
        let mut single = [Span::default()];
        let mut spans = request.payload(&mut single).iter();
        request.promise.is_some()
            && spans.any(|span| span.len > 0 && usermem::is_lendable(&self.ledger, *span))
    }

    /// The loan that counts what needs a request's memory.
    fn loan(&mut self, id: RequestId) -> LoanId {
        let request = self.requests.get_mut(id);
        if let Some(loan) = request.loan {
            return loan;
        }
        let loan = self.ledger.begin_loan();
        request.loan = Some(loan);
        let notice = Notice {
            user_data: request.user_data,
            promise: request
                .promise
                .expect("zero copy: only such a send has a loan"),
            buffer: None,
            named: 0,
            charge: None,
        };
        self.notices.insert(loan, notice);
        loan
    }

    /// Sends a request's memory on a stream, span by span: what lies in UMEM from there.
    pub(super) fn lend_bytes(
        &mut self,
        id: RequestId,
        socket: SocketId,
        (len, wait_all, more): (usize, bool, bool),
    ) -> Outcome {
        let loan = self.loan(id);
        let mut done = self.requests.get(id).done;
        let begun = done;
        let mut place = (0, 0);
        let outcome = loop {
            if done == len {
                break Outcome::sent(done);
            }
            let span = self.span_at(id, done, &mut place);
            let follows = done + span.len < len;
            match self.lend_span(loan, socket, span, more || follows) {
                Ok(count) => done += count,
                // What was queued before goes out, though more was to follow.
                Err(error) => {
                    self.stack.tcp_push(socket);
                    break match errno(error) {
                        Errno::EAGAIN if wait_all || done == begun => Outcome::Wait,
                        Errno::EAGAIN => Outcome::sent(done),
                        error => Outcome::end(done, error),
                    };
                }
            }
        };
        self.requests.get_mut(id).done = done;
        outcome
    }

    /// The rest of the span that holds the byte at `at` of a request's memory. It is looked for from a place on:
    /// a span's index, and where it begins.
    fn span_at(&self, id: RequestId, at: usize, (index, begin): &mut (usize, usize)) -> Span {
        let mut single = [Span::default()];
        for span in &self.requests.get(id).payload(&mut single)[*index..] {
            let skip = at - *begin;
            if skip < span.len {
                return Span {
                    addr: span.addr + skip as u64,
                    len: span.len - skip,
                };
            }
            (*index, *begin) = (*index + 1, *begin + span.len);
        }
        unreachable!("zero copy: a byte behind the request's memory")
    }

    fn lend_span(
        &mut self,
        loan: LoanId,
        socket: SocketId,
        span: Span,
        more: bool,
    ) -> Result<usize, ringwire_stack::SocketError> {
        if let Some(borrowed) = usermem::borrow(&mut self.ledger, loan, span) {
            let ledger = &mut self.ledger;
            return self.stack.tcp_send_borrowed(ledger, socket, borrowed, more);
        }
        self.ledger.note_copied(loan);
        let spans = [span];
        let mut source = Gather::new(&spans, 0);
        let fill = &mut |part: &mut [u8]| source.fill(part);
        let ledger = &mut self.ledger;
        self.stack.tcp_send(ledger, socket, span.len, more, fill)
    }

    /// Borrows all of a zero-copy send's memory; `None` if some of it, or nothing, is in UMEM.
    pub(super) fn borrow_all(&mut self, id: RequestId) -> Option<BorrowedParts> {
        let loan = self.loan(id);
        let mut parts = BorrowedParts::default();
        let mut single = [Span::default()];
        let spans = self.requests.get(id).payload(&mut single).iter();
        for &span in spans.filter(|span| span.len > 0) {
            match usermem::borrow(&mut self.ledger, loan, span) {
                Some(part) => parts.push(part),
                None => {
                    parts.repay(&mut self.ledger);
                    return None;
                }
            }
        }
        (!parts.is_empty()).then_some(parts)
    }

    /// Sends a request's memory, which was borrowed, as a datagram.
    pub(super) fn lend_datagram(
        &mut self,
        id: RequestId,
        socket: SocketId,
        options: &SendOptions,
        parts: BorrowedParts,
    ) -> Result<(), Errno> {
        let loan = self.loan(id);
        let (now, ledger) = (self.now, &mut self.ledger);
        let sent = self
            .stack
            .udp_send_borrowed(now, ledger, socket, options, parts);
        let charge = sent.map_err(errno)?;
        self.notices.get_mut(loan).charge = Some((socket, charge));
        Ok(())
    }

    /// A zero-copy send has posted its completion: now it may be notified of. Its memory may have been copied
    /// when it was queued, or never will be sent: then the loan that ends here is all that there was.
    pub(super) fn end_loan(&mut self, id: RequestId) {
        if let Some(promise) = self.requests.get(id).promise {
            self.end_loan_as(id, promise);
        }
    }

    /// As [`end_loan`](Self::end_loan), with what is known of the promise now.
    pub(super) fn end_loan_as(&mut self, id: RequestId, promise: Promise) {
        let loan = self.loan(id);
        let request = self.requests.get_mut(id);
        request.loan = None;
        let notice = self.notices.get_mut(loan);
        (notice.buffer, notice.promise) = (request.buffer, promise);
        // A number may be told of before its request's completion, which holds the buffer, too.
        if let Some(buffer) = request.buffer {
            self.registered.hold(buffer);
        }
        let (_, flags, _) = request.result;
        notice.named = flags & (IORING_CQE_F_BUFFER | !0 << IORING_CQE_BUFFER_SHIFT);
        self.ledger.end_loan(loan);
    }

    /// Notifies of the sends whose memory nothing needs any more: as task work, which may have to be asked for.
    #[inline]
    pub(super) fn post_repaid(&mut self) {
        if !self.deferring && self.ledger.has_repaid() {
            self.post_all_repaid();
        }
    }

    fn post_all_repaid(&mut self) {
        while let Some(repaid) = self.ledger.next_repaid() {
            let notice = self.notices.take(repaid.loan);
            if let Some((socket, charge)) = notice.charge {
                self.stack.udp_repaid(socket, charge);
            }
            match notice.promise {
                Promise::Request(notify) => self.notify(&notice, notify, !repaid.uncopied),
                Promise::Slot(notifier) => self.repay_notifier(notifier),
                Promise::Socket(socket, number) => {
                    self.note_repaid(socket, number, !repaid.uncopied);
                }
            }
            if let Some(buffer) = notice.buffer {
                self.let_go_of_buffer(buffer);
            }
        }
    }

    /// Says that a zero-copy send needs its memory no longer.
    fn notify(&mut self, notice: &Notice, notify: Notify, copied: bool) {
        let completion = Completion {
            user_data: notify.user_data.unwrap_or(notice.user_data),
            res: match notify.report_usage && copied {
                true => IORING_NOTIF_USAGE_ZC_COPIED as i32,
                false => 0,
            },
            flags: IORING_CQE_F_NOTIF | notice.named,
            extra: [0; 2],
        };
        self.post(completion);
    }
}

#[cfg(test)]
#[path = "zero_copy_tests.rs"]
mod tests;
