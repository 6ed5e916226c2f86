//! Notification slots: several zero-copy sends, one notification for all of them.
//!
//! They are the third version of zero-copy send on the io_uring list (July 2022), which was in 6.0-rc1 and
//! was replaced by a notification for each request before Linux 6.0. The layouts are those; the numbers are
//! ringwire's own, since Linux has given the old ones to others.

use crate::errno::Errno;

/// Registers notification slots ([`NotifierRegister`]; the argument's size in bytes stands for their number).
pub const RINGWIRE_REGISTER_NOTIFIERS: u32 = 0x5257_0000;
/// Unregisters them; no argument.
pub const RINGWIRE_UNREGISTER_NOTIFIERS: u32 = 0x5257_0001;

/// Most slots (`IORING_MAX_NOTIF_SLOTS`).
pub const MAX_NOTIFIER_SLOTS: u32 = 1 << 15;

/// What a slot begins with (`struct io_uring_notification_slot`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct NotifierSlot {
    /// `user_data` of its notifications.
    pub tag: u64,
    /// Reserved.
    pub resv: [u64; 3],
}

const _: () = assert!(size_of::<NotifierSlot>() == 32);

impl NotifierSlot {
    /// Checks what does not depend on the ring.
    ///
    /// # Errors
    /// `EINVAL`: a reserved field is set.
    pub fn check(&self) -> Result<(), Errno> {
        match self.resv {
            [0, 0, 0] => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// Argument of [`RINGWIRE_REGISTER_NOTIFIERS`] (`struct io_uring_notification_register`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct NotifierRegister {
    /// Slots.
    pub nr_slots: u32,
    /// Reserved.
    pub resv: u32,
    /// Reserved.
    pub resv2: u64,
    /// Address of so many [`NotifierSlot`]s.
    pub data: u64,
    /// Reserved.
    pub resv3: u64,
}

const _: () = assert!(size_of::<NotifierRegister>() == 32);

impl NotifierRegister {
    /// Checks what does not depend on the ring.
    ///
    /// # Errors
    /// `EINVAL`: a reserved field is set, no slots, or more than [`MAX_NOTIFIER_SLOTS`].
    pub fn check(&self) -> Result<(), Errno> {
        let reserved = self.resv != 0 || self.resv2 != 0 || self.resv3 != 0;
        if reserved || self.nr_slots == 0 || self.nr_slots > MAX_NOTIFIER_SLOTS {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}
