//! Provided buffer rings: the registration structure and the layout of the shared ring
//! (Linux `io_uring/kbuf.c`, `io_register_pbuf_ring`).
//!
//! The ring is an array of 16-byte entries `{addr: u64, len: u32, bid: u16, resv: u16}`. The
//! application's tail takes the place of the first entry's `resv`.

use crate::errno::Errno;
use crate::flags::{IOU_PBUF_RING_INC, IOU_PBUF_RING_MMAP};

/// Size of a buffer ring entry, in bytes.
pub const BUF_ENTRY_BYTES: usize = 16;
/// Offset of an entry's `addr`, a `u64`, in bytes.
pub const BUF_ENTRY_ADDR: usize = 0;
/// Offset of an entry's `len`, a `u32`, in bytes.
pub const BUF_ENTRY_LEN: usize = 8;
/// Offset of an entry's `bid`, a `u16`, in bytes.
pub const BUF_ENTRY_BID: usize = 12;
/// Offset of the ring's tail, a `u16`, from the start of the ring, in bytes.
pub const BUF_RING_TAIL: usize = 14;
/// Most entries of a buffer ring. The `u16` head and tail could not tell a full ring of 65536 from an
/// empty one.
pub const MAX_BUF_RING_ENTRIES: u32 = 32768;
/// Alignment of the ring's memory, in bytes: the smallest page of the supported machines.
pub const BUF_RING_ALIGN: u64 = 4096;

/// Argument of the PBUF_RING registration (`struct io_uring_buf_reg`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct BufReg {
    /// Address of the ring; not read with `IOU_PBUF_RING_MMAP`.
    pub ring_addr: u64,
    /// Number of entries.
    pub ring_entries: u32,
    /// Buffer group.
    pub bgid: u16,
    /// `IOU_PBUF_RING_*`.
    pub flags: u16,
    /// Reserved. Linux 7 uses the first word as `min_left`, which is refused here as older kernels do.
    pub resv: [u64; 3],
}

const _: () = assert!(size_of::<BufReg>() == 40 && align_of::<BufReg>() == 8);

impl BufReg {
    /// Checks what needs neither the ring's state nor its memory, in the kernel's order. Left to the
    /// caller: whether the group exists already (`EEXIST`) and whether the memory is mapped (`EFAULT`).
    ///
    /// # Errors
    ///
    /// `EINVAL`: a reserved field or an unknown flag is set, the number of entries is not a power of
    /// two from 1 to [`MAX_BUF_RING_ENTRIES`], or the ring is not aligned to [`BUF_RING_ALIGN`].
    /// `EFAULT`: no ring address, and no `IOU_PBUF_RING_MMAP` either.
    pub fn check(&self) -> Result<(), Errno> {
        if self.resv != [0; 3] || self.flags & !(IOU_PBUF_RING_MMAP | IOU_PBUF_RING_INC) != 0 {
            return Err(Errno::EINVAL);
        }
        if !self.ring_entries.is_power_of_two() || self.ring_entries > MAX_BUF_RING_ENTRIES {
            return Err(Errno::EINVAL);
        }
        if self.flags & IOU_PBUF_RING_MMAP != 0 {
            return Ok(());
        }
        if self.ring_addr == 0 {
            return Err(Errno::EFAULT);
        }
        if !self.ring_addr.is_multiple_of(BUF_RING_ALIGN) {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Size of the ring's memory, in bytes.
    pub fn ring_bytes(&self) -> usize {
        self.ring_entries as usize * BUF_ENTRY_BYTES
    }
}

/// Argument of a wait (`struct io_uring_getevents_arg`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct GetEventsArg {
    /// Address of the signal mask; 0 for none.
    pub sigmask: u64,
    /// Its size, in bytes.
    pub sigmask_bytes: u32,
    /// How long to wait for all the completions asked for, in microseconds; then one is enough.
    pub min_wait_us: u32,
    /// Address of a `__kernel_timespec`; 0 for none.
    pub timespec: u64,
}

const _: () =
    assert!(size_of::<GetEventsArg>() == size_of::<io_uring::types::SubmitArgs<'_, '_>>());

impl GetEventsArg {
    /// The fields of what the `io-uring` crate's users pass.
    pub fn from_submit_args(args: &io_uring::types::SubmitArgs<'_, '_>) -> Self {
        // SAFETY: `SubmitArgs` is `repr(transparent)` over `io_uring_getevents_arg`, which this is
        // (size asserted above), without padding; every bit pattern is a valid value.
        unsafe { std::mem::transmute_copy(args) }
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
