//! Requests in flight.

use std::time::Duration;

use ringwire_abi::flags::{
    IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_DRAIN, IOSQE_IO_HARDLINK, IOSQE_IO_LINK,
};
use ringwire_abi::request::{Notify, Op};
use ringwire_stack::{Instant, SocketId};

use super::buffers::{Bundle, Selected};
use super::registered::BufferNode;
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
    pub(super) notify: Option<Notify>,
    /// The registered buffer that it holds.
    pub(super) buffer: Option<BufferNode>,
    /// The socket that it holds a reference to.
    pub(super) socket: Option<SocketId>,
    /// The next request of its chain.
    pub(super) link: Option<RequestId>,
    /// It is to complete with this without being issued.
    pub(super) failed: Option<i32>,
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
    /// Its key among the timeouts that count completions.
    pub(super) counted: Option<(u64, u64)>,
    /// Repetitions left of a multishot timeout (0: no end).
    pub(super) repeats: u64,
}

impl Request {
    pub(super) fn new(user_data: u64, flags: u8, op: Op) -> Request {
        Request {
            serial: 0,
            user_data,
            op,
            flags,
            prepared: Prepared::Nothing,
            notify: None,
            buffer: None,
            socket: None,
            link: None,
            failed: None,
            skip_links: false,
            attempted: false,
            done: 0,
            inq: None,
            kept: None,
            buffer_flags: 0,
            timer: None,
            counted: None,
            repeats: 0,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK) != 0
    }

    pub(super) fn is_hardlinked(&self) -> bool {
        self.flags & IOSQE_IO_HARDLINK != 0
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

/// The requests in flight, by id.
#[derive(Debug, Default)]
pub(super) struct Requests {
    slots: Vec<Option<Box<Request>>>,
    free: Vec<RequestId>,
    serial: u64,
}

impl Requests {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, mut request: Request) -> RequestId {
        self.serial += 1;
        request.serial = self.serial;
        let request = Some(Box::new(request));
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = request;
                id
            }
            None => {
                self.slots.push(request);
                (self.slots.len() - 1) as RequestId
            }
        }
    }

    pub(super) fn get(&self, id: RequestId) -> &Request {
        self.slots[id as usize]
            .as_deref()
            .expect("requests: an id of a request that has completed")
    }

    pub(super) fn get_mut(&mut self, id: RequestId) -> &mut Request {
        self.slots[id as usize]
            .as_deref_mut()
            .expect("requests: an id of a request that has completed")
    }

    pub(super) fn remove(&mut self, id: RequestId) -> Request {
        let request = self.slots[id as usize]
            .take()
            .expect("requests: a request completes once");
        self.free.push(id);
        *request
    }

    /// Whether the id still names the request that had this serial number.
    pub(super) fn is_still(&self, id: RequestId, serial: u64) -> bool {
        self.slots
            .get(id as usize)
            .and_then(Option::as_deref)
            .is_some_and(|request| request.serial == serial)
    }

    /// The requests in flight, lowest id first. Walks them all: for cancellation only.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &Request)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(id, slot)| Some((id as RequestId, slot.as_deref()?)))
    }
}
