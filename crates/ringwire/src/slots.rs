//! Notification slots: several zero-copy sends, and one notification for all of them. ringwire's own; the
//! kernel has none (`docs/NOTIFICATION_SLOTS.md`).
//!
//! ```no_run
//! # use ringwire::{IoUring, slots, types::Fixed};
//! # fn f(ring: &mut IoUring, payload: &[u8]) -> std::io::Result<()> {
//! ring.submitter().register_slots(&[0xfeed])?;
//! let entry = slots::SendZc::new(Fixed(0), 0, payload.as_ptr(), payload.len() as u32)
//!     .flush(true)
//!     .build();
//! // SAFETY: nobody writes to the payload before the completion with user_data 0xfeed.
//! unsafe { ring.submission().push(&entry) }.expect("room in the queue");
//! ring.submit_and_wait(2)?;
//! # Ok(())
//! # }
//! ```

use std::io;

use ringwire_abi::flags::{
    IORING_RECVSEND_FIXED_BUF, IORING_RECVSEND_POLL_FIRST, IOSQE_FIXED_FILE,
    RINGWIRE_OP_FLUSH_SLOTS, RINGWIRE_OP_SEND_ZC_SLOT, RINGWIRE_SEND_FLUSH,
};
use ringwire_abi::notifier::{
    NotifierRegister, NotifierSlot, RINGWIRE_REGISTER_NOTIFIERS, RINGWIRE_UNREGISTER_NOTIFIERS,
};
use ringwire_abi::sqe::Sqe;

use crate::squeue::Entry;
use crate::submitter::Submitter;
use crate::types::Fixed;

/// A zero-copy send that is bound to a notification slot. Its completion says that it is queued, and may be left
/// out with [`Flags::SKIP_SUCCESS`](crate::squeue::Flags); the memory is the stack's until the slot's notification.
#[derive(Clone, Debug)]
#[must_use = "an entry is made by build"]
pub struct SendZc(Sqe);

impl SendZc {
    /// Sends `len` bytes at `buf` on a socket, bound to this slot.
    pub fn new(socket: Fixed, slot: u16, buf: *const u8, len: u32) -> SendZc {
        SendZc(Sqe {
            opcode: RINGWIRE_OP_SEND_ZC_SLOT,
            flags: IOSQE_FIXED_FILE,
            fd: socket.0 as i32,
            addr: buf as u64,
            len,
            file_index: slot.into(),
            ..Sqe::default()
        })
    }

    /// `MSG_*`.
    pub fn flags(mut self, flags: i32) -> SendZc {
        self.0.op_flags = flags as u32;
        self
    }

    /// The memory lies in this registered buffer.
    pub fn buf_index(mut self, index: u16) -> SendZc {
        self.0.ioprio |= IORING_RECVSEND_FIXED_BUF;
        self.0.buf_index = index;
        self
    }

    /// Where a datagram goes: a socket address of `len` bytes, read when the entry is submitted.
    pub fn dest_addr(mut self, addr: *const libc::sockaddr, len: u16) -> SendZc {
        self.0.off = addr as u64;
        self.0.file_index = self.0.file_index & 0xffff | u32::from(len) << 16;
        self
    }

    /// The first attempt waits until the socket can send (`IORING_RECVSEND_POLL_FIRST`).
    pub fn poll_first(self, on: bool) -> SendZc {
        self.set(IORING_RECVSEND_POLL_FIRST, on)
    }

    /// Flushes the slot behind the send, if that sends all of its bytes.
    pub fn flush(self, on: bool) -> SendZc {
        self.set(RINGWIRE_SEND_FLUSH, on)
    }

    fn set(mut self, bit: u16, on: bool) -> SendZc {
        self.0.ioprio = self.0.ioprio & !bit | if on { bit } else { 0 };
        self
    }

    /// The entry.
    pub fn build(self) -> Entry {
        self.0.to_entry()
    }
}

/// Flushes `count` slots from `first` on: the sends that were bound to each of them so far have one notification,
/// with the tag that the slot had. A slot that none was bound to is left as it is. The others have `tag` from now on,
/// if it is not 0.
///
/// The entry completes with 0, or `EINVAL` (no slots, or some that are not registered), or `EOVERFLOW`.
pub fn flush(first: u32, count: u32, tag: u64) -> Entry {
    let entry = Sqe {
        opcode: RINGWIRE_OP_FLUSH_SLOTS,
        off: first.into(),
        addr: tag,
        len: count,
        ..Sqe::default()
    };
    entry.to_entry()
}

impl Submitter<'_> {
    /// Registers notification slots, one for each tag, once. A slot's notifications are completions with its tag as
    /// `user_data`, 0 as result, and as flags their number, from 0 on.
    ///
    /// # Errors
    /// `EINVAL`: no tags, more than 32768 of them, or a ring with completions of both sizes
    /// (`IORING_SETUP_CQE_MIXED`); `EBUSY`: slots are registered; `EACCES`: the ring is restricted; `EEXIST`:
    /// another thread is inside.
    pub fn register_slots(&self, tags: &[u64]) -> io::Result<()> {
        let slot = |&tag| NotifierSlot { tag, resv: [0; 3] };
        let slots: Vec<NotifierSlot> = tags.iter().map(slot).collect();
        let mut register = NotifierRegister {
            nr_slots: u32::try_from(slots.len()).unwrap_or(u32::MAX),
            data: slots.as_ptr() as u64,
            ..NotifierRegister::default()
        };
        let bytes = size_of_val(&register);
        self.register_with(RINGWIRE_REGISTER_NOTIFIERS, &mut register, bytes)
            .map(drop)
    }

    /// Unregisters the slots, and flushes them: what was bound to them has its notifications still.
    ///
    /// # Errors
    /// `ENXIO`: there are none; `EACCES`, `EEXIST` as for [`register_slots`](Self::register_slots).
    pub fn unregister_slots(&self) -> io::Result<()> {
        self.register_plain(RINGWIRE_UNREGISTER_NOTIFIERS)
    }
}
