//! Notification slots: several zero-copy sends, and one notification when nothing needs the memory of any of
//! them (Linux 6.0-rc1, `io_uring/notif.c`).
//!
//! A slot has a *notifier* from the first send on that is bound to it until it is flushed. The notifier counts
//! the sends that are not repaid, and its slot; the notification is posted when the count comes to nothing.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_SETUP_CQE_MIXED, IORING_SETUP_DEFER_TASKRUN};
use ringwire_abi::notifier::{NotifierRegister, NotifierSlot};
use ringwire_abi::request::{Op, SlotBinding};

use super::chain::Work;
use super::request::RequestId;
use super::zero_copy::Promise;
use super::{Completion, Engine};
use crate::usermem::{read_element, read_plain};

/// Names a notifier until its notification is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotifierId(u32);

#[derive(Clone, Copy, Debug)]
struct Notifier {
    tag: u64,
    sequence: u32,
    /// Sends that are not repaid, and the slot that is not flushed.
    references: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u64,
    /// Of the next notifier.
    sequence: u32,
    notifier: Option<NotifierId>,
}

/// The slots of a ring, and the notifiers of which it waits for the end.
#[derive(Debug, Default)]
pub(super) struct Notifiers {
    slots: Option<Vec<Slot>>,
    notifiers: Vec<Option<Notifier>>,
    free: Vec<NotifierId>,
}

impl Notifiers {
    fn insert(&mut self, notifier: Notifier) -> NotifierId {
        match self.free.pop() {
            Some(id) => {
                self.notifiers[id.0 as usize] = Some(notifier);
                id
            }
            None => {
                self.notifiers.push(Some(notifier));
                NotifierId((self.notifiers.len() - 1) as u32)
            }
        }
    }

    /// The notifier of a slot, for one more send.
    fn hold(&mut self, index: u16) -> Result<NotifierId, Errno> {
        let slots = self.slots.as_deref_mut();
        let slot = slots.unwrap_or_default().get_mut(usize::from(index));
        let slot = *slot.ok_or(Errno::EINVAL)?;
        let id = match slot.notifier {
            Some(id) => id,
            None => {
                let id = self.insert(Notifier {
                    tag: slot.tag,
                    sequence: slot.sequence,
                    references: 1,
                });
                self.slot(index).notifier = Some(id);
                id
            }
        };
        if !cfg!(feature = "broken-slots") {
            self.get_mut(id).references += 1;
        }
        Ok(id)
    }

    fn slot(&mut self, index: u16) -> &mut Slot {
        let slots = self.slots.as_mut();
        &mut slots.expect("notifiers: the slot was looked up")[usize::from(index)]
    }

    fn get_mut(&mut self, id: NotifierId) -> &mut Notifier {
        let notifier = self.notifiers[id.0 as usize].as_mut();
        notifier.expect("notifiers: one that is held is there")
    }

    /// Lets go of a notifier; returns it with its last reference.
    fn let_go(&mut self, id: NotifierId) -> Option<Notifier> {
        let notifier = self.get_mut(id);
        notifier.references -= 1;
        if notifier.references > 0 {
            return None;
        }
        self.free.push(id);
        self.notifiers[id.0 as usize].take()
    }

    /// Takes the notifier off a slot, which goes on with the next number.
    fn flush(slot: &mut Slot) -> Option<NotifierId> {
        let flushed = slot.notifier.take()?;
        slot.sequence = slot.sequence.wrapping_add(1);
        Some(flushed)
    }
}

impl Engine {
    /// `RINGWIRE_REGISTER_NOTIFIERS` (`io_notif_register`).
    pub(super) fn register_notifiers(&mut self, arg: u64, bytes: u32) -> Result<i32, Errno> {
        if self.notifiers.slots.is_some() {
            return Err(Errno::EBUSY);
        }
        // In a mixed queue a sequence number would be read as a completion's size.
        let mixed = self.setup_flags & IORING_SETUP_CQE_MIXED != 0;
        if bytes as usize != size_of::<NotifierRegister>() || mixed {
            return Err(Errno::EINVAL);
        }
        let register: NotifierRegister = read_plain(arg)?;
        register.check()?;
        let slots = (0..register.nr_slots).map(|index| {
            let slot: NotifierSlot = read_element(register.data, index)?;
            slot.check()?;
            Ok(Slot {
                tag: slot.tag,
                sequence: 0,
                notifier: None,
            })
        });
        self.notifiers.slots = Some(slots.collect::<Result<_, Errno>>()?);
        Ok(0)
    }

    /// `RINGWIRE_UNREGISTER_NOTIFIERS`: what is bound to the slots is flushed (`io_notif_unregister`).
    pub(super) fn unregister_notifiers(&mut self) -> Result<i32, Errno> {
        let slots = self.notifiers.slots.take().ok_or(Errno::ENXIO)?;
        let flushed = slots.iter().filter_map(|slot| slot.notifier);
        self.work.extend(flushed.map(Work::Flushed));
        match self.setup_flags & IORING_SETUP_DEFER_TASKRUN {
            0 => self.run_work(),
            _ => self.show_waiting(!self.work.is_empty()),
        }
        Ok(0)
    }

    /// Binds a send to its slot, if it is to have one.
    pub(super) fn bind_to_slot(&mut self, id: RequestId) -> Result<(), Errno> {
        let request = self.requests.get_mut(id);
        if let Op::Send(send) = &request.op
            && let Some(SlotBinding { index, .. }) = send.slot
        {
            request.promise = Some(Promise::Slot(self.notifiers.hold(index)?));
        }
        Ok(())
    }

    /// Flushes the slot of a send that completes and asked for it, if all that it was to send is queued. What is
    /// issued next is bound to the slot's next notifier.
    pub(super) fn flush_behind(&mut self, id: RequestId) {
        let request = self.requests.get(id);
        let Op::Send(send) = &request.op else {
            return;
        };
        let (Some(binding), Some(Promise::Slot(bound))) = (send.slot, request.promise) else {
            return;
        };
        let whole = request.failed.is_none() && u32::try_from(request.result.0) == Ok(send.len);
        let slots = self.notifiers.slots.as_deref_mut();
        let slot = slots
            .unwrap_or_default()
            .get_mut(usize::from(binding.index));
        // It may have been flushed since, or the slots registered anew.
        if let Some(slot) = slot.filter(|slot| slot.notifier == Some(bound))
            && binding.flush
            && whole
        {
            let flushed = Notifiers::flush(slot);
            self.work.extend(flushed.map(Work::Flushed));
        }
    }

    /// Flushes a range of slots. One that nothing was bound to stays as it is (`io_notif_update`).
    pub(super) fn flush_slots(&mut self, first: u32, count: u32, tag: u64) -> Result<i32, Errno> {
        let end = first.checked_add(count).ok_or(Errno::EOVERFLOW)?;
        let slots = self.notifiers.slots.as_deref_mut();
        let range = slots
            .unwrap_or_default()
            .get_mut(first as usize..end as usize);
        for slot in range.ok_or(Errno::EINVAL)? {
            if let Some(flushed) = Notifiers::flush(slot) {
                self.work.push_back(Work::Flushed(flushed));
                if tag != 0 {
                    slot.tag = tag;
                }
            }
        }
        Ok(0)
    }

    /// A send of a notifier's is repaid.
    pub(super) fn repay_notifier(&mut self, id: NotifierId) {
        if !cfg!(feature = "broken-slots") {
            self.let_go_of_notifier(id);
        }
    }

    /// A send of a notifier's is repaid, or its slot flushed: the last of them is told.
    pub(super) fn let_go_of_notifier(&mut self, id: NotifierId) {
        if let Some(notifier) = self.notifiers.let_go(id) {
            let completion = Completion {
                user_data: notifier.tag,
                res: 0,
                flags: notifier.sequence,
                extra: [0; 2],
            };
            self.post(completion);
        }
    }
}

#[cfg(test)]
#[path = "notifier_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "notifier_batch_tests.rs"]
mod batch_tests;
