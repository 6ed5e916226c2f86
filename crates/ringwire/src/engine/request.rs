//! Requests in flight.

use std::time::Duration;

use ringwire_abi::flags::{
    IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_DRAIN, IOSQE_IO_HARDLINK, IOSQE_IO_LINK,
};
use ringwire_abi::request::{Nop, Op};
use ringwire_stack::{Instant, SocketId};
use ringwire_umem::LoanId;

use super::buffers::{Bundle, Selected};
use super::error_queue::RangeArray;
use super::registered::BufferNode;
use super::zero_copy::Promise;
use crate::usermem::{Message, RawAddress, Span};

/// Names a request until it completes.
pub(super) type RequestId = u32;

/// What a request's pointers pointed at when it was submitted (`IORING_FEAT_SUBMIT_STABLE`).
#[derive(Debug, Default)]
pub(super) enum Prepared {
    #[default]
    Nothing,
    Address(RawAddress),
    Message(Box<Message>),
    /// What READV and WRITEV are given.
    Spans(Vec<Span>),
    Time(Duration),
}

/// Buffers that a request holds on to while it waits.
#[derive(Debug)]
pub(super) enum Kept {
    One(Selected),
    Many(Bundle),
}

/// A request from its submission to its last completion.
#[derive(Debug)]
pub(super) struct Request {
    /// Tells it from others that have had its id.
    pub(super) serial: u64,
    pub(super) user_data: u64,
    pub(super) op: Op,
    /// `IOSQE_*` as submitted; changed as links break.
    pub(super) flags: u8,
    pub(super) prepared: Prepared,
    /// What follows the completion of a zero-copy send.
    pub(super) promise: Option<Promise>,
    /// Counts what needs its memory, if some of that is sent from where it lies.
    pub(super) loan: Option<LoanId>,
    /// Where it wants ranges of other sends that are over.
    pub(super) ranges: Option<RangeArray>,
    /// The registered buffer that it holds.
    pub(super) buffer: Option<BufferNode>,
    /// The socket that it holds a reference to.
    pub(super) socket: Option<SocketId>,
    /// The next request of its chain.
    pub(super) link: Option<RequestId>,
    /// It has failed, or is to complete with this without being issued.
    pub(super) failed: Option<i32>,
    /// It has completed for good, and is to be let go of.
    pub(super) ended: bool,
    /// What it completed with: result, flags, the second half of a 32-byte completion.
    pub(super) result: (i32, u32, [u64; 2]),
    /// It is to be cancelled as soon as those before it have had their turn.
    pub(super) cancelled: bool,
    /// Its failure silences the rest of its chain.
    pub(super) skip_links: bool,
    /// Its first attempt is over: POLL_FIRST has had its effect.
    pub(super) attempted: bool,
    /// Bytes of a stream that it has moved so far (`done_io`).
    pub(super) done: usize,
    /// What was left to read when it last received (`msg_inq`).
    pub(super) inq: Option<usize>,
    /// The buffers that it is in the middle of.
    pub(super) kept: Option<Kept>,
    /// What names the buffers of a send in its completion: they are used up when it takes them.
    pub(super) buffer_flags: u32,
    /// Its key among the timers, if it is a timeout that is armed.
    pub(super) timer: Option<(Instant, u64)>,
    /// It is among the timeouts that count completions.
    pub(super) counted: bool,
    /// Repetitions left of a multishot timeout (0: no end).
    pub(super) repeats: u32,
    /// The request that it is the LINK_TIMEOUT of, while it is armed.
    pub(super) timed: Option<RequestId>,
}

/// Stands for what a request is to do before it is known, and if it never is.
const NOTHING: Op = Op::Nop(Nop {
    inject: None,
    file: None,
    buffer: None,
    extra: None,
    by_task_work: false,
});

impl Request {
    fn new() -> Request {
        Request {
            serial: 0,
            user_data: 0,
            op: NOTHING,
            flags: 0,
            prepared: Prepared::Nothing,
            promise: None,
            loan: None,
            ranges: None,
            buffer: None,
            socket: None,
            link: None,
            failed: None,
            ended: false,
            result: (0, 0, [0; 2]),
            cancelled: false,
            skip_links: false,
            attempted: false,
            done: 0,
            inq: None,
            kept: None,
            buffer_flags: 0,
            timer: None,
            counted: false,
            repeats: 0,
            timed: None,
        }
    }

    /// Makes a new request of one that is gone, where it lies: it is too long to be moved for each.
    fn renew(&mut self, new_serial: u64, new_user_data: u64, new_flags: u8) {
        // Each by name, so that none that comes is forgotten here.
        let Request {
            serial,
            user_data,
            op,
            flags,
            prepared,
            promise,
            loan,
            ranges,
            buffer,
            socket,
            link,
            failed,
            ended,
            result,
            cancelled,
            skip_links,
            attempted,
            done,
            inq,
            kept,
            buffer_flags,
            timer,
            counted,
            repeats,
            timed,
        } = self;
        (*serial, *user_data, *flags) = (new_serial, new_user_data, new_flags);
        (*op, *prepared) = (NOTHING, Prepared::Nothing);
        (*promise, *loan, *ranges, *buffer, *kept) = (None, None, None, None, None);
        (*socket, *link, *timed, *timer) = (None, None, None, None);
        (*failed, *ended, *result) = (None, false, (0, 0, [0; 2]));
        (*cancelled, *skip_links, *attempted) = (false, false, false);
        (*done, *inq, *buffer_flags) = (0, None, 0);
        (*counted, *repeats) = (false, 0);
    }

    /// It is not to be issued: what it was to do cannot be done.
    pub(super) fn forget_operation(&mut self) {
        (self.op, self.prepared) = (NOTHING, Prepared::Nothing);
    }

    pub(super) fn is_linked(&self) -> bool {
        self.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0
    }

    pub(super) fn is_hardlinked(&self) -> bool {
        self.flags & IOSQE_IO_HARDLINK != 0
    }

    /// What is linked behind it is not to run.
    pub(super) fn breaks_links(&self) -> bool {
        self.failed.is_some() && !self.is_hardlinked()
    }

    pub(super) fn is_drain(&self) -> bool {
        self.flags & IOSQE_IO_DRAIN != 0
    }

    pub(super) fn is_silent(&self) -> bool {
        self.flags & IOSQE_CQE_SKIP_SUCCESS != 0
    }

    /// Marks it failed: a failure is never silent, but it may silence what is linked behind it
    /// (Linux `io_uring/io_uring.h`, `req_set_fail`).
    pub(super) fn set_failed(&mut self, res: i32) {
        self.failed = Some(res);
        if self.is_silent() {
            self.flags &= !IOSQE_CQE_SKIP_SUCCESS;
            self.skip_links = true;
        }
    }
}

/// Memory of requests that are gone, for those that come.
#[derive(Debug, Default)]
pub(super) struct Spare {
    #[expect(clippy::vec_box, reason = "the boxes are what is kept")]
    messages: Vec<Box<Message>>,
    spans: Vec<Vec<Span>>,
}

impl Spare {
    /// What is kept of each kind: as many as a busy ring submits at a time.
    const MOST: usize = 64;

    /// No spans, with memory for some.
    pub(super) fn spans(&mut self) -> Vec<Span> {
        self.spans.pop().unwrap_or_default()
    }

    pub(super) fn message(&mut self, message: Message) -> Prepared {
        Prepared::Message(match self.messages.pop() {
            Some(mut memory) => {
                *memory = message;
                memory
            }
            None => Box::new(message),
        })
    }

    fn keep(&mut self, prepared: Prepared) {
        match prepared {
            Prepared::Message(mut message) => {
                self.keep_spans(std::mem::take(&mut message.buffers));
                if self.messages.len() < Self::MOST {
                    self.messages.push(message);
                }
            }
            Prepared::Spans(spans) => self.keep_spans(spans),
            Prepared::Nothing | Prepared::Address(_) | Prepared::Time(_) => {}
        }
    }

    fn keep_spans(&mut self, mut spans: Vec<Span>) {
        if self.spans.len() < Self::MOST && spans.capacity() > 0 {
            spans.clear();
            self.spans.push(spans);
        }
    }
}

/// The requests in flight, by id. A slot's memory is the next request's.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<RequestId>,
    serial: u64,
    pub(super) spare: Spare,
}

#[derive(Debug)]
struct Slot {
    taken: bool,
    request: Request,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A new request, which does nothing yet.
    pub(super) fn insert(&mut self, user_data: u64, flags: u8) -> RequestId {
        self.serial += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            let (taken, request) = (false, Request::new());
            self.slots.push(Slot { taken, request });
            (self.slots.len() - 1) as RequestId
        });
        let slot = &mut self.slots[id as usize];
        slot.taken = true;
        slot.request.renew(self.serial, user_data, flags);
        id
    }

    pub(super) fn get(&self, id: RequestId) -> &Request {
        let slot = &self.slots[id as usize];
        assert!(slot.taken, "requests: an id of a request that is gone");
        &slot.request
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> &mut Request {
        let slot = &mut self.slots[id as usize];
        assert!(slot.taken, "requests: an id of a request that is gone");
        &mut slot.request
    }

    /// As [`get_mut`](Self::get_mut), with the memory for what it is to have.
    pub(super) fn get_with_spare(&mut self, id: RequestId) -> (&mut Request, &mut Spare) {
        let slot = &mut self.slots[id as usize];
        assert!(slot.taken, "requests: an id of a request that is gone");
        (&mut slot.request, &mut self.spare)
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        let slot = &mut self.slots[id as usize];
        assert!(slot.taken, "requests: a request goes once");
        slot.taken = false;
        // What it owns goes with it, not with the slot's next request.
        self.spare.keep(std::mem::take(&mut slot.request.prepared));
        slot.request.kept = None;
        self.free.push(id);
    }

    /// Whether the request that had this id has not completed for good.
    pub(super) fn waits(&self, id: RequestId) -> bool {
        let slot = &self.slots[id as usize];
        slot.taken && !slot.request.ended
    }

    /// Whether the request of this id has a timer with this key.
    pub(super) fn has_timer(&self, id: RequestId, key: (Instant, u64)) -> bool {
        let slot = &self.slots[id as usize];
        slot.taken && slot.request.timer == Some(key)
    }

    /// The requests that have not completed. Walks them all: for cancellation only.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        let slots = self.slots.iter().enumerate();
        let waiting = slots.filter(|(_, slot)| slot.taken && !slot.request.ended);
        waiting.map(|(id, slot)| (id as RequestId, &slot.request))
    }
}
