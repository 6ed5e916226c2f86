//! The application's notification slots, and the rule for them: each set of sends that was bound to a slot until a
//! flush has one notification, by its tag and its number, when all of its sends have completed and the flush too.

use std::collections::BTreeMap;
use std::ops::Range;

use io_uring::{squeue, types};
use ringwire::engine::Engine;
use ringwire::slots::{SendZc, flush};
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::notifier::{
    NotifierRegister, NotifierSlot, RINGWIRE_REGISTER_NOTIFIERS, RINGWIRE_UNREGISTER_NOTIFIERS,
};
use ringwire_abi::sqe::Sqe;

use crate::loans::Lent;
use crate::random::Random;
use crate::requests::Purpose;

/// The application's slots; behind them are those of hostile requests.
pub(crate) const OWN: u16 = 4;
pub(crate) const ALL: u16 = OWN + 2;
/// Tags have a bit that no request's name has, and those of hostile requests another.
const TAG: u64 = 1 << 63;
pub(crate) const HOSTILE_TAG: u64 = 1 << 62;
const LINKS: u8 = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;

/// A send that is bound to a slot.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub(crate) request: u64,
    pub(crate) purpose: Purpose,
    pub(crate) lent: Option<Lent>,
    /// What it came to, if it has completed.
    pub(crate) res: Option<i32>,
    /// If nothing says that it has completed, all of these were sent.
    len: u32,
    silent: bool,
    pub(crate) flushes: bool,
}

impl Bound {
    /// What it came to when nobody was told.
    pub(crate) fn silently(&self) -> Option<i32> {
        self.res.is_none().then_some(self.len as i32)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    NotYet,
    /// This request has been made.
    By(u64),
    Done,
}

/// The sends that are bound to a slot between two flushes.
#[derive(Debug)]
struct Set {
    sends: Vec<Bound>,
    flush: Flush,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u64,
    /// Of the next set, or the one that has begun.
    sequence: u32,
    begun: bool,
    /// A send that flushes it, unless it comes to less than it should: nothing is bound before that is known.
    closing: Option<u64>,
}

pub(crate) struct Slots {
    /// None are registered, or [`OWN`].
    slots: Vec<Slot>,
    /// Those that are to be notified of, or will be once they are flushed, by tag and number.
    sets: BTreeMap<(u64, u32), Set>,
    serial: u64,
    /// What the NIC may keep for good does not share a slot with what somebody waits for.
    apart: bool,
    ended: bool,
    random: Random,
}

/// Whether a completion is the notification of a slot of anybody's.
pub(crate) fn is_tag(user_data: u64) -> bool {
    user_data & (TAG | HOSTILE_TAG) != 0
}

/// One of the slots of hostile requests.
pub(crate) fn hostile(random: &mut Random) -> u16 {
    OWN + random.below(u64::from(ALL - OWN)) as u16
}

/// The application's own slots, and their tags, are not for hostile requests.
pub(crate) fn keep_to_hostile(sqe: &mut Sqe) {
    match sqe.opcode {
        RINGWIRE_OP_SEND_ZC_SLOT if sqe.slot_index() < OWN => sqe.file_index += u32::from(OWN),
        RINGWIRE_OP_FLUSH_SLOTS => {
            sqe.off = sqe.off.max(OWN.into());
            if sqe.addr != 0 {
                sqe.addr = sqe.addr & !TAG | HOSTILE_TAG;
            }
        }
        _ => {}
    }
}

impl Slots {
    /// No slots. `apart`: the NIC may keep some memory for good.
    pub(crate) fn new(apart: bool, random: Random) -> Slots {
        Slots {
            slots: Vec::new(),
            sets: BTreeMap::new(),
            serial: 0,
            apart,
            ended: false,
            random,
        }
    }

    fn new_tag(&mut self) -> u64 {
        self.serial += 1;
        TAG | self.serial
    }

    /// Registers slots, where a ring can have any.
    ///
    /// # Errors
    /// They were refused, or were not though they must be.
    pub(crate) fn register(&mut self, engine: &mut Engine, mixed: bool) -> Result<(), String> {
        let tags: Vec<u64> = (0..ALL)
            .map(|index| match index {
                ..OWN => self.new_tag(),
                _ => HOSTILE_TAG | u64::from(index),
            })
            .collect();
        match (register(engine, &tags), mixed) {
            (Ok(0), false) => {
                let slot = |&tag| Slot {
                    tag,
                    sequence: 0,
                    begun: false,
                    closing: None,
                };
                self.slots = tags[..usize::from(OWN)].iter().map(slot).collect();
                Ok(())
            }
            (Err(Errno::EINVAL), true) => Ok(()),
            (result, _) => Err(format!("slots were registered: {result:?}")),
        }
    }

    /// Now and then, while no request waits to be issued: unregisters the slots, or registers them again. Returns
    /// whether it has.
    ///
    /// # Errors
    /// It was refused, or what is wrong was not.
    pub(crate) fn renew(&mut self, engine: &mut Engine) -> Result<bool, String> {
        if self.ended || !self.random.chance(10) {
            return Ok(false);
        }
        let answers = [
            register(engine, &[TAG]),
            unregister(engine),
            unregister(engine),
            register(engine, &[]),
        ];
        let refused = [Errno::EBUSY, Errno::ENXIO, Errno::EINVAL].map(Err);
        if answers != [refused[0], Ok(0), refused[1], refused[2]] {
            return Err(format!(
                "slots were registered and unregistered: {answers:?}"
            ));
        }
        for slot in std::mem::take(&mut self.slots) {
            if slot.begun {
                self.set(slot).flush = Flush::Done;
            }
        }
        self.register(engine, false)?;
        Ok(true)
    }

    pub(crate) fn are_registered(&self) -> bool {
        !self.slots.is_empty()
    }

    fn set(&mut self, slot: Slot) -> &mut Set {
        let set = self.sets.get_mut(&(slot.tag, slot.sequence));
        set.expect("a set that has begun is there")
    }

    /// Binds a zero-copy send to a slot, now and then; what it lends goes with it.
    pub(crate) fn bind(
        &mut self,
        request: u64,
        sqe: &Sqe,
        purpose: Purpose,
        lent: &mut Option<Lent>,
    ) -> Option<Sqe> {
        if self.ended || self.slots.is_empty() || !self.random.chance(400) {
            return None;
        }
        let mut index = self.random.below(u64::from(OWN)) as u16;
        if self.apart {
            index = index & !1 | u16::from(lent.is_some());
        }
        if self.slots[usize::from(index)].closing.is_some() {
            return None;
        }
        // Nothing else would say how much of a stream was sent.
        let is_whole = sqe.addr2() != 0 || sqe.op_flags as i32 & libc::MSG_WAITALL != 0;
        let may_be_silent = is_whole && sqe.flags & LINKS == 0 && !(self.apart && lent.is_some());
        let bound = Bound {
            request,
            purpose,
            lent: lent.take().map(|lent| Lent {
                shared: true,
                ..lent
            }),
            res: None,
            len: sqe.len,
            silent: may_be_silent && self.random.chance(300),
            flushes: self.random.chance(200),
        };
        let bound_sqe = to_slot(sqe, index, &bound);
        self.join(index, bound);
        Some(bound_sqe)
    }

    fn join(&mut self, index: u16, bound: Bound) {
        let slot = &mut self.slots[usize::from(index)];
        if bound.flushes {
            slot.closing = Some(bound.request);
        }
        slot.begun = true;
        let set = self.sets.entry((slot.tag, slot.sequence)).or_insert(Set {
            sends: Vec::new(),
            flush: Flush::NotYet,
        });
        set.sends.push(bound);
    }

    /// A flush of some slots, now and then, while there is anything to flush; it will have this name.
    pub(crate) fn flush(&mut self, request: u64) -> Option<squeue::Entry> {
        let has_begun = self.slots.iter().any(|slot| slot.begun);
        if !has_begun || !self.random.chance(120) {
            return None;
        }
        let first = self.random.below(u64::from(OWN)) as usize;
        let count = 1 + self.random.below((usize::from(OWN) - first) as u64) as usize;
        let range = first..first + count;
        let slots = &self.slots[range.clone()];
        // The next sets must be told apart, and it must be known which slots were empty.
        let may_name = slots.iter().all(|slot| slot.closing.is_none())
            && slots.iter().filter(|slot| slot.begun).count() <= 1;
        let tag = match may_name && self.random.chance(400) {
            true => self.new_tag(),
            false => 0,
        };
        let entry = flush(first as u32, count as u32, tag);
        let silent = self.random.chance(200);
        let by = if silent {
            Flush::Done
        } else {
            Flush::By(request)
        };
        self.flush_range(range, by, tag);
        Some(match silent {
            true => entry.flags(squeue::Flags::SKIP_SUCCESS),
            false => entry,
        })
    }

    fn flush_range(&mut self, range: Range<usize>, by: Flush, tag: u64) {
        for index in range {
            let slot = self.slots[index];
            if !slot.begun {
                continue;
            }
            self.set(slot).flush = by;
            let slot = &mut self.slots[index];
            (slot.begun, slot.sequence) = (false, slot.sequence.wrapping_add(1));
            if tag != 0 {
                slot.tag = tag;
            }
        }
    }

    /// Nothing is bound any more; flushes all.
    pub(crate) fn end(&mut self, request: u64) -> squeue::Entry {
        self.ended = true;
        let count = self.slots.len();
        self.flush_range(0..count, Flush::By(request), 0);
        flush(0, count as u32, 0)
    }

    /// A flush has completed.
    pub(crate) fn flush_completed(&mut self, request: u64) {
        for set in self.sets.values_mut() {
            if set.flush == Flush::By(request) {
                set.flush = Flush::Done;
            }
        }
    }

    /// A send that is bound to a slot has completed.
    pub(crate) fn send_completed(&mut self, request: u64, res: i32) {
        let sends = self.sets.iter_mut().flat_map(|(key, set)| {
            let sends = set.sends.iter_mut();
            sends.map(move |send| (*key, send))
        });
        let found = sends.into_iter().find(|(_, send)| send.request == request);
        let (key, send) = found.expect("what is bound is told of last");
        send.res = Some(res);
        if let Some(lent) = &mut send.lent {
            lent.res = res;
        }
        let whole = send.flushes && u32::try_from(res) == Ok(send.len);
        self.closed(request, key, whole);
    }

    /// A send that flushes its slot if it is `whole` has completed: the set is flushed then, if it was not before.
    fn closed(&mut self, request: u64, key: (u64, u32), whole: bool) {
        if whole {
            let set = self.sets.get_mut(&key);
            set.expect("it waits for its notification").flush = Flush::Done;
        }
        // It may have been registered anew since.
        let closing = |slot: &&mut Slot| slot.closing == Some(request);
        if let Some(slot) = self.slots.iter_mut().find(closing) {
            slot.closing = None;
            if whole && slot.begun && (slot.tag, slot.sequence) == key {
                (slot.begun, slot.sequence) = (false, slot.sequence.wrapping_add(1));
            }
        }
    }

    /// A set is notified of; returns what it had.
    ///
    /// # Errors
    /// There is no such set, or it is too early.
    pub(crate) fn told(&mut self, tag: u64, res: i32, flags: u32) -> Result<Vec<Bound>, String> {
        let key = (tag, flags);
        let name = format!("the notification {flags} of the slot's tag {tag:#x}");
        if res != 0 {
            return Err(format!("{name} has the result {res}"));
        }
        let set = self.sets.get(&key);
        let set = set.ok_or_else(|| format!("{name}: it came twice, or nobody waits for it"))?;
        let early = |send: &&Bound| send.res.is_none() && !send.silent;
        if let Some(send) = set.sends.iter().find(early) {
            let request = send.request;
            return Err(format!("{name}: before the send {request:#x} completed"));
        }
        // A silent send may have flushed it.
        let silent = |send: &&Bound| send.flushes && send.res.is_none();
        if let Some(request) = set.sends.iter().find(silent).map(|send| send.request) {
            self.closed(request, key, true);
        }
        let set = self.sets.remove(&key).expect("it was there");
        match set.flush {
            Flush::Done => Ok(set.sends),
            _ => Err(format!("{name}: before its flush: {set:?}")),
        }
    }

    /// The memory that waits for notifications.
    pub(crate) fn lents(&mut self) -> impl Iterator<Item = &mut Lent> {
        let sends = self.sets.values_mut().flat_map(|set| &mut set.sends);
        sends.filter_map(|send| send.lent.as_mut())
    }

    /// Sets that must still be notified of.
    pub(crate) fn untold(&self) -> usize {
        let is_lost = |send: &Bound| send.lent.as_ref().is_some_and(|lent| lent.is_lost);
        let sets = self.sets.values();
        sets.filter(|set| !set.sends.iter().any(is_lost)).count()
    }
}

/// The same send, bound to a slot.
fn to_slot(sqe: &Sqe, slot: u16, bound: &Bound) -> Sqe {
    let socket = types::Fixed(sqe.fd as u32);
    let send = SendZc::new(socket, slot, sqe.addr as *const u8, sqe.len)
        .flags(sqe.op_flags as i32)
        .poll_first(sqe.ioprio & IORING_RECVSEND_POLL_FIRST != 0)
        .flush(bound.flushes);
    let send = match sqe.ioprio & IORING_RECVSEND_FIXED_BUF {
        0 => send,
        _ => send.buf_index(sqe.buf_index),
    };
    let send = match sqe.addr2() {
        0 => send,
        to => send.dest_addr(to as *const libc::sockaddr, sqe.addr_len()),
    };
    let mut send = Sqe::from_entry(&send.build());
    send.flags |= sqe.flags;
    if bound.silent {
        send.flags |= IOSQE_CQE_SKIP_SUCCESS;
    }
    send
}

fn unregister(engine: &mut Engine) -> Result<i32, Errno> {
    // SAFETY: it has no argument.
    unsafe { engine.register(RINGWIRE_UNREGISTER_NOTIFIERS, 0, 0) }
}

fn register(engine: &mut Engine, tags: &[u64]) -> Result<i32, Errno> {
    let slot = |&tag| NotifierSlot { tag, resv: [0; 3] };
    let slots: Vec<NotifierSlot> = tags.iter().map(slot).collect();
    let register = NotifierRegister {
        nr_slots: slots.len() as u32,
        data: slots.as_ptr() as u64,
        ..NotifierRegister::default()
    };
    let bytes = size_of_val(&register) as u32;
    // SAFETY: the argument, and the slots that it names, live through the call.
    unsafe {
        engine.register(
            RINGWIRE_REGISTER_NOTIFIERS,
            &raw const register as u64,
            bytes,
        )
    }
}

#[cfg(test)]
#[path = "slots_tests.rs"]
mod tests;
