//! The requests of an application, and the rule that each is answered exactly once: completions that
//! say `F_MORE` come only for what is asked for more than once, and after one that does not say it there
//! is no other. A zero-copy send is answered twice: by its completion, then by its notification, which is that of
//! a slot if it is bound to one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use io_uring::{cqueue, opcode, squeue, types};
use ringwire_abi::flags::*;
use ringwire_abi::request::{Notify, check_flags, check_priority, notification};
use ringwire_abi::sqe::Sqe;

use crate::client;
use crate::loans::Lent;
use crate::numbers::{Numbers, Sent};
use crate::server;
use crate::slots::{Bound, Slots};

const LINKS: u8 = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its result does not matter.
    Quiet,
    /// Flushes slots.
    Flush,
    /// Receives from the error queue of a socket that numbers its sends.
    ErrorReceive(u64),
    /// Takes what a group has that names nothing.
    WrongPiece,
    Server(server::Step),
    Client(client::Step),
    /// Of no use to anybody; `allocates`: it opens sockets in slots that the ring chooses.
    Hostile {
        allocates: bool,
    },
}

/// How a request may be answered besides by one completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Any number of completions that say `F_MORE`, before the last one.
    Multishot,
    /// A completion, and a notification if that one says `F_MORE`.
    ZeroCopy {
        /// What is cancelled with its chain does not say that its notification comes, as in Linux.
        unsaid: bool,
    },
    /// The notification of a zero-copy send alone.
    Notification,
    /// A completion; the notification is that of a slot.
    Bound,
    /// A completion; its socket, in this slot, numbers it and tells the number.
    Numbered(u32),
}

/// What a completion is to the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A result; more may come.
    Result(Purpose),
    /// A result; a slot's notification comes, or a number.
    Bound(Purpose),
    /// The memory of a zero-copy send is the application's again.
    Notification(Purpose),
}

struct Open {
    purpose: Purpose,
    opcode: u8,
    kind: Kind,
    may_be_silent: bool,
    /// The first buffer that its completion has named.
    bid: Option<u16>,
    /// Memory in the UMEM that it sends from.
    lent: Option<Lent>,
}

/// What waits to be submitted, and what has not completed for good.
#[derive(Default)]
pub(crate) struct Requests {
    queue: VecDeque<squeue::Entry>,
    open: BTreeMap<u64, Open>,
    /// Other names of open requests: of a notification, or what a poll is called once it is changed.
    aliases: BTreeMap<u64, u64>,
    /// What was pushed last links to what comes next.
    linked: bool,
    /// Memory that has just become the application's again, for the checkers.
    pub(crate) repaid: Option<Lent>,
    /// If the application uses any.
    pub(crate) slots: Option<Slots>,
    /// If it uses MSG_ZEROCOPY.
    pub(crate) numbers: Option<Numbers>,
    serial: u64,
}

impl Requests {
    /// Queues a request; it gets a `user_data` of its own, which is returned.
    pub(crate) fn push(&mut self, entry: squeue::Entry, purpose: Purpose) -> u64 {
        self.push_with(entry, purpose, None)
    }

    fn push_with(&mut self, entry: squeue::Entry, purpose: Purpose, mut lent: Option<Lent>) -> u64 {
        let mut sqe = Sqe::from_entry(&entry);
        let id = self.name();
        let is_bound = self.bind(id, &mut sqe, purpose, &mut lent);
        sqe.user_data = id;
        let notify = notified(&sqe);
        if let Some(Notify {
            user_data: Some(_), ..
        }) = notify
        {
            sqe.addr3 = self.name();
            self.aliases.insert(sqe.addr3, id);
        }
        if renames(&sqe) {
            sqe.off = self.name();
            self.aliases.insert(sqe.off, sqe.addr);
        }
        let is_behind = std::mem::replace(&mut self.linked, sqe.flags & LINKS != 0);
        let open = Open {
            purpose,
            opcode: sqe.opcode,
            kind: match is_bound {
                true => Kind::Bound,
                false if lent.is_some() && is_numbered(&sqe) => Kind::Numbered(sqe.fd as u32),
                false => kind(&sqe, is_behind && notify.is_some()),
            },
            may_be_silent: sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0,
            bid: None,
            lent,
        };
        self.open.insert(id, open);
        self.queue.push_back(sqe.to_entry());
        id
    }

    /// As [`push`](Self::push), of a zero-copy send from memory in the UMEM.
    pub(crate) fn push_lent(&mut self, entry: squeue::Entry, purpose: Purpose, lent: Lent) {
        self.push_with(entry, purpose, Some(lent));
    }

    /// Binds a zero-copy send of the application's own to a slot, now and then.
    fn bind(&mut self, id: u64, sqe: &mut Sqe, purpose: Purpose, lent: &mut Option<Lent>) -> bool {
        let own = matches!(purpose, Purpose::Server(_) | Purpose::Client(_));
        // What is linked to another is bound when its turn comes.
        let selects = sqe.flags & IOSQE_BUFFER_SELECT != 0;
        if !own || self.linked || sqe.opcode != IORING_OP_SEND_ZC || selects {
            return false;
        }
        let slots = self.slots.as_mut();
        let bound = slots.and_then(|slots| slots.bind(id, sqe, purpose, lent));
        bound.map(|bound| *sqe = bound).is_some()
    }

    /// Has the socket that will be in a slot number its sends, if any do.
    pub(crate) fn number(&mut self, slot: u32, is_stream: bool) {
        self.number_accepted_by(slot);
        self.is_numbered(slot, is_stream);
    }

    /// Has what a listener accepts number its sends, if any do.
    pub(crate) fn number_accepted_by(&mut self, listener: u32) {
        if self.numbers.is_some() {
            self.push(Numbers::option(listener), Purpose::Quiet);
        }
    }

    /// The socket in a slot, or that will be there, numbers its sends, if any do.
    pub(crate) fn is_numbered(&mut self, slot: u32, is_stream: bool) {
        if let Some(numbers) = &mut self.numbers {
            numbers.add(slot, is_stream);
        }
    }

    /// Whether a send of the socket in a slot is to be numbered.
    pub(crate) fn takes_number(&mut self, slot: u32) -> bool {
        let numbers = self.numbers.as_mut();
        numbers.is_some_and(|numbers| numbers.takes(slot))
    }

    /// Receives from an error queue, now and then.
    pub(crate) fn receive_numbers(&mut self) {
        self.close_due();
        if let Some((receive, socket)) = self.numbers.as_mut().and_then(Numbers::receive) {
            self.push(receive, Purpose::ErrorReceive(socket));
        }
    }

    /// Closes the socket in a slot, which nothing but a receive from its error queue uses, once its numbers are told.
    pub(crate) fn close(&mut self, slot: u32, purpose: Purpose) {
        match &mut self.numbers {
            Some(numbers) => numbers.close(slot, purpose),
            None => self.close_now(slot, purpose),
        }
        self.close_due();
    }

    fn close_due(&mut self) {
        while let Some(due) = self.numbers.as_mut().and_then(Numbers::due) {
            if due.receiving {
                let all = types::CancelBuilder::fd(types::Fixed(due.slot)).all();
                self.push(opcode::AsyncCancel2::new(all).build(), Purpose::Quiet);
            }
            self.close_now(due.slot, due.purpose);
        }
    }

    fn close_now(&mut self, slot: u32, purpose: Purpose) {
        self.push(opcode::Close::new(types::Fixed(slot)).build(), purpose);
    }

    /// Flushes some slots, now and then.
    pub(crate) fn flush_slots(&mut self) {
        let id = self.serial + 1;
        if let Some(flush) = self.slots.as_mut().and_then(|slots| slots.flush(id)) {
            self.push(flush, Purpose::Flush);
        }
    }

    /// Flushes all slots; no send is bound any more.
    pub(crate) fn end_slots(&mut self) {
        let id = self.serial + 1;
        if let Some(slots) = &mut self.slots {
            let flush = slots.end(id);
            self.push(flush, Purpose::Flush);
        }
    }

    /// Takes the notification of a slot; returns the sends that it is of.
    ///
    /// # Errors
    /// There must not be one, not yet or not any more.
    pub(crate) fn told(&mut self, tag: u64, res: i32, flags: u32) -> Result<Vec<Bound>, String> {
        let slots = self.slots.as_mut();
        let slots = slots.ok_or("a notification of a slot, and there are none")?;
        let sends = slots.told(tag, res, flags)?;
        for send in &sends {
            self.open.remove(&send.request);
        }
        Ok(sends)
    }

    /// As [`push`](Self::push), with a LINK_TIMEOUT behind it.
    pub(crate) fn push_with_timeout(
        &mut self,
        entry: squeue::Entry,
        purpose: Purpose,
        time: &'static types::Timespec,
    ) -> u64 {
        let id = self.push(entry.flags(squeue::Flags::IO_LINK), purpose);
        self.push(opcode::LinkTimeout::new(time).build(), Purpose::Quiet);
        id
    }

    /// The same of a send from memory in the UMEM.
    pub(crate) fn push_lent_with_timeout(
        &mut self,
        entry: squeue::Entry,
        purpose: Purpose,
        lent: Lent,
        time: &'static types::Timespec,
    ) {
        self.push_lent(entry.flags(squeue::Flags::IO_LINK), purpose, lent);
        self.push(opcode::LinkTimeout::new(time).build(), Purpose::Quiet);
    }

    fn name(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn front(&self) -> Option<&squeue::Entry> {
        self.queue.front()
    }

    pub(crate) fn pop_front(&mut self) {
        self.queue.pop_front();
    }

    /// Takes a completion with its `IORING_CQE_F_*`.
    ///
    /// # Errors
    /// There must not be one, or it must not say what it says.
    pub(crate) fn completed(
        &mut self,
        user_data: u64,
        res: i32,
        flags: u32,
    ) -> Result<Answer, String> {
        let more = flags & IORING_CQE_F_MORE != 0;
        if flags & IORING_CQE_F_NOTIF != 0 {
            return self.notified(user_data, res, flags);
        }
        self.rename(user_data);
        let Some(open) = self.open.get_mut(&user_data) else {
            return Err(format!(
                "request {user_data:#x} completed twice, or never was"
            ));
        };
        let (purpose, opcode) = (open.purpose, open.opcode);
        open.bid = cqueue::buffer_select(flags);
        if let Some(lent) = &mut open.lent {
            lent.res = res;
        }
        match (open.kind, more) {
            (Kind::Multishot, true) => {}
            (Kind::ZeroCopy { .. }, true) => open.kind = Kind::Notification,
            (Kind::ZeroCopy { unsaid: true }, false) if res < 0 => open.kind = Kind::Notification,
            (Kind::Notification, _) => {
                return Err(format!("request {user_data:#x} completed twice"));
            }
            (Kind::Plain | Kind::Bound | Kind::Numbered(_), true) => {
                return Err(format!("opcode {opcode} says that more completions come"));
            }
            (Kind::Bound, false) => {
                self.open.remove(&user_data);
                let slots = self.slots.as_mut().expect("it was bound to one of them");
                slots.send_completed(user_data, res);
                return Ok(Answer::Bound(purpose));
            }
            (Kind::Numbered(slot), false) if res >= 0 => {
                let lent = self.open.remove(&user_data).and_then(|open| open.lent);
                let numbers = self.numbers.as_mut().expect("its sockets number");
                numbers.sent(slot, Sent { purpose, lent });
                return Ok(Answer::Bound(purpose));
            }
            (_, false) => {
                self.open.remove(&user_data);
            }
        }
        if purpose == Purpose::Flush {
            return self.flushed(user_data, res);
        }
        Ok(Answer::Result(purpose))
    }

    fn flushed(&mut self, user_data: u64, res: i32) -> Result<Answer, String> {
        if res != 0 {
            return Err(format!("a flush of slots that are registered: {res}"));
        }
        if let Some(slots) = &mut self.slots {
            slots.flush_completed(user_data);
        }
        Ok(Answer::Result(Purpose::Flush))
    }

    /// A poll completes by the name that it has been given: by no other one from now on.
    fn rename(&mut self, new: u64) {
        let is_poll = |open: &Open| open.opcode == IORING_OP_POLL_ADD;
        if let Some(&old) = self.aliases.get(&new)
            && self.open.get(&old).is_some_and(is_poll)
        {
            self.aliases.remove(&new);
            let open = self.open.remove(&old).expect("it was there");
            self.open.insert(new, open);
        }
    }

    fn notified(&mut self, user_data: u64, res: i32, flags: u32) -> Result<Answer, String> {
        let more = flags & IORING_CQE_F_MORE != 0;
        let id = self.aliases.remove(&user_data).unwrap_or(user_data);
        let open = self.open.get(&id);
        let open =
            open.ok_or_else(|| format!("nobody waits for the notification {user_data:#x}"))?;
        // What is cancelled in silence is notified of all the same, as in Linux.
        let is_due = match open.kind {
            Kind::Notification => true,
            Kind::ZeroCopy { unsaid } => unsaid && open.may_be_silent,
            Kind::Plain | Kind::Multishot | Kind::Bound | Kind::Numbered(_) => false,
        };
        if !is_due || more {
            let opcode = open.opcode;
            return Err(format!(
                "opcode {opcode}: a notification before its completion, or with more to come"
            ));
        }
        let (purpose, bid) = (open.purpose, open.bid);
        if cqueue::buffer_select(flags) != bid {
            return Err(format!(
                "the notification {user_data:#x} names another buffer than its completion, {bid:?}"
            ));
        }
        let open = self.open.remove(&id);
        self.repaid = open.and_then(|open| open.lent);
        if let Some(lent) = &mut self.repaid {
            lent.uncopied = lent.reports && res == 0;
        }
        Ok(Answer::Notification(purpose))
    }

    /// A request's completion may be left out, for the sake of another in its chain.
    pub(crate) fn may_be_silent(&mut self, user_data: u64) {
        if let Some(open) = self.open.get_mut(&user_data) {
            open.may_be_silent = true;
        }
    }

    /// The hostile requests that have not completed.
    pub(crate) fn hostile(&self) -> Vec<u64> {
        let is_hostile = |open: &Open| matches!(open.purpose, Purpose::Hostile { .. });
        let open = self.open.iter().filter(|(_, open)| is_hostile(open));
        open.map(|(&user_data, _)| user_data).collect()
    }

    /// One of the requests that have not completed, by its number modulo theirs: of these operations
    /// only, if there are any.
    pub(crate) fn any_open(&self, opcodes: &[u8], number: u64) -> Option<u64> {
        let is_of = |open: &Open| opcodes.is_empty() || opcodes.contains(&open.opcode);
        let open = || self.open.iter().filter(|(_, open)| is_of(open));
        let count = open().count().max(1) as u64;
        let (&id, _) = open().nth((number % count) as usize)?;
        Some(id)
    }

    /// The operation of a request that has not completed.
    pub(crate) fn opcode(&self, user_data: u64) -> Option<u8> {
        self.open.get(&user_data).map(|open| open.opcode)
    }

    /// The NIC keeps some memory for good: what sends from it is never notified of.
    pub(crate) fn give_up(&mut self, spans: &[Range<u64>]) {
        let meet = |a: &Range<u64>, b: &Range<u64>| a.start < b.end && b.start < a.end;
        let open = self.open.values_mut();
        let bound = self.slots.iter_mut().flat_map(Slots::lents);
        let numbered = self.numbers.iter_mut().flat_map(Numbers::lents);
        let lents = open.filter_map(|open| open.lent.as_mut()).chain(bound);
        for lent in lents.chain(numbered) {
            let mut spans = spans.iter();
            lent.is_lost |= spans.any(|lost| lent.spans.iter().any(|span| meet(span, lost)));
        }
    }

    /// Requests that must still complete, or be notified of, and sets of those that are bound to slots.
    pub(crate) fn unanswered(&self) -> usize {
        let is_lost = |open: &Open| open.lent.as_ref().is_some_and(|lent| lent.is_lost);
        let must = |open: &&Open| match open.kind {
            Kind::Notification if is_lost(open) => false,
            Kind::Notification | Kind::ZeroCopy { unsaid: true } => true,
            _ => !open.may_be_silent,
        };
        let untold = self.slots.as_ref().map_or(0, Slots::untold);
        self.open.values().filter(must).count() + untold
    }
}

/// The notification of a request, if it is a zero-copy send that passes the first checks.
fn notified(sqe: &Sqe) -> Option<Notify> {
    check_flags(sqe)
        .and_then(|()| check_priority(sqe, |_| false))
        .ok()
        .and_then(|()| notification(sqe))
}

/// Whether it is a send with MSG_ZEROCOPY.
fn is_numbered(sqe: &Sqe) -> bool {
    let sends = [IORING_OP_SEND, IORING_OP_SENDMSG].contains(&sqe.opcode);
    sends && sqe.op_flags as i32 & libc::MSG_ZEROCOPY != 0
}

/// Whether the request gives a poll another name.
fn renames(sqe: &Sqe) -> bool {
    sqe.opcode == IORING_OP_POLL_REMOVE && sqe.len & IORING_POLL_UPDATE_USER_DATA != 0
}

/// `unsaid`: the request has a notification, and is linked behind another.
fn kind(sqe: &Sqe, unsaid: bool) -> Kind {
    let of_priority = |bit: u16| sqe.ioprio & bit != 0;
    let of_len = |bit: u32| sqe.len & bit != 0;
    let repeats = match sqe.opcode {
        IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => return Kind::ZeroCopy { unsaid },
        IORING_OP_ACCEPT => of_priority(IORING_ACCEPT_MULTISHOT),
        IORING_OP_RECV | IORING_OP_RECVMSG => of_priority(IORING_RECV_MULTISHOT),
        IORING_OP_READ_MULTISHOT | IORING_OP_RECV_ZC => true,
        // A bundle of one buffer after the other.
        IORING_OP_SEND => of_priority(IORING_RECVSEND_BUNDLE),
        IORING_OP_TIMEOUT => sqe.op_flags & IORING_TIMEOUT_MULTISHOT != 0,
        IORING_OP_POLL_ADD => of_len(IORING_POLL_ADD_MULTI),
        _ => false,
    };
    match repeats {
        true => Kind::Multishot,
        false => Kind::Plain,
    }
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
