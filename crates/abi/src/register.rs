//! io_uring_register(2): its opcodes, the structures that it is given, and the layout of a shared
//! buffer ring (Linux `include/uapi/linux/io_uring.h`; the checks: `io_uring/register.c`, `rsrc.c`,
//! `kbuf.c`).
//!
//! A buffer ring is an array of 16-byte entries `{addr: u64, len: u32, bid: u16, resv: u16}`. The
//! application's tail takes the place of the first entry's `resv`.

use crate::errno::Errno;
use crate::flags::{IOU_PBUF_RING_INC, IOU_PBUF_RING_LENT, IOU_PBUF_RING_MMAP};

/// Declares the opcodes of io_uring_register(2).
macro_rules! opcodes {
    ($($name:ident = $value:expr),+ $(,)?) => {
        $(
            #[doc = concat!("`", stringify!($name), "`")]
            pub const $name: u32 = $value;
        )+
    };
}

opcodes! {
    IORING_REGISTER_BUFFERS = 0,
    IORING_UNREGISTER_BUFFERS = 1,
    IORING_REGISTER_FILES = 2,
    IORING_UNREGISTER_FILES = 3,
    IORING_REGISTER_EVENTFD = 4,
    IORING_UNREGISTER_EVENTFD = 5,
    IORING_REGISTER_FILES_UPDATE = 6,
    IORING_REGISTER_EVENTFD_ASYNC = 7,
    IORING_REGISTER_PROBE = 8,
    IORING_REGISTER_PERSONALITY = 9,
    IORING_UNREGISTER_PERSONALITY = 10,
    IORING_REGISTER_RESTRICTIONS = 11,
    IORING_REGISTER_ENABLE_RINGS = 12,
    IORING_REGISTER_FILES2 = 13,
    IORING_REGISTER_FILES_UPDATE2 = 14,
    IORING_REGISTER_BUFFERS2 = 15,
    IORING_REGISTER_BUFFERS_UPDATE = 16,
    IORING_REGISTER_IOWQ_AFF = 17,
    IORING_UNREGISTER_IOWQ_AFF = 18,
    IORING_REGISTER_IOWQ_MAX_WORKERS = 19,
    IORING_REGISTER_RING_FDS = 20,
    IORING_UNREGISTER_RING_FDS = 21,
    IORING_REGISTER_PBUF_RING = 22,
    IORING_UNREGISTER_PBUF_RING = 23,
    IORING_REGISTER_SYNC_CANCEL = 24,
    IORING_REGISTER_FILE_ALLOC_RANGE = 25,
    IORING_REGISTER_PBUF_STATUS = 26,
    IORING_REGISTER_NAPI = 27,
    IORING_UNREGISTER_NAPI = 28,
    IORING_REGISTER_CLOCK = 29,
    IORING_REGISTER_CLONE_BUFFERS = 30,
    IORING_REGISTER_SEND_MSG_RING = 31,
    IORING_REGISTER_ZCRX_IFQ = 32,
    IORING_REGISTER_RESIZE_RINGS = 33,
    IORING_REGISTER_MEM_REGION = 34,
    IORING_REGISTER_QUERY = 35,
    IORING_REGISTER_LAST = 36,
}

/// The ring is named by its place among the thread's registered rings; a bit of the opcode.
pub const IORING_REGISTER_USE_REGISTERED_RING: u32 = 1 << 31;

/// In a list of files: this slot stays as it is.
pub const IORING_REGISTER_FILES_SKIP: i32 = -2;
/// [`RsrcRegister::flags`]: a table of empty slots.
pub const IORING_RSRC_REGISTER_SPARSE: u32 = 1 << 0;

/// Argument of `IORING_REGISTER_FILES2` and `IORING_REGISTER_BUFFERS2`
/// (`struct io_uring_rsrc_register`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct RsrcRegister {
    /// Slots.
    pub nr: u32,
    /// `IORING_RSRC_REGISTER_*`.
    pub flags: u32,
    /// Reserved.
    pub resv2: u64,
    /// Address of file descriptors (`i32`) or of `struct iovec`s; 0 for empty slots.
    pub data: u64,
    /// Address of tags (`u64`); 0 for none.
    pub tags: u64,
}

const _: () = assert!(size_of::<RsrcRegister>() == 32);

impl RsrcRegister {
    /// Checks what does not depend on the ring (Linux `io_register_rsrc`).
    ///
    /// # Errors
    /// `EINVAL`: no slots, a reserved field or an unknown flag is set, or a sparse table with data.
    pub fn check(&self) -> Result<(), Errno> {
        let sparse = self.flags & IORING_RSRC_REGISTER_SPARSE != 0;
        if self.nr == 0
            || self.resv2 != 0
            || self.flags & !IORING_RSRC_REGISTER_SPARSE != 0
            || (sparse && self.data != 0)
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// Argument of `IORING_REGISTER_FILES_UPDATE` (`struct io_uring_rsrc_update`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct RsrcUpdate {
    /// First slot.
    pub offset: u32,
    /// Reserved.
    pub resv: u32,
    /// Address of file descriptors (`i32`).
    pub data: u64,
}

const _: () = assert!(size_of::<RsrcUpdate>() == 16);

/// Argument of `IORING_REGISTER_FILES_UPDATE2` and `IORING_REGISTER_BUFFERS_UPDATE`
/// (`struct io_uring_rsrc_update2`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct RsrcUpdate2 {
    /// First slot.
    pub offset: u32,
    /// Reserved.
    pub resv: u32,
    /// Address of file descriptors (`i32`) or of `struct iovec`s.
    pub data: u64,
    /// Address of tags (`u64`); 0 for none.
    pub tags: u64,
    /// Slots.
    pub nr: u32,
    /// Reserved.
    pub resv2: u32,
}

const _: () = assert!(size_of::<RsrcUpdate2>() == 32);

impl RsrcUpdate2 {
    /// Checks what does not depend on the ring (Linux `io_register_rsrc_update`).
    ///
    /// # Errors
    /// `EINVAL`: no slots, or a reserved field is set.
    pub fn check(&self) -> Result<(), Errno> {
        if self.nr == 0 || self.resv != 0 || self.resv2 != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

/// Argument of `IORING_REGISTER_FILE_ALLOC_RANGE` (`struct io_uring_file_index_range`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct FileIndexRange {
    /// First slot.
    pub off: u32,
    /// Slots.
    pub len: u32,
    /// Reserved.
    pub resv: u64,
}

const _: () = assert!(size_of::<FileIndexRange>() == 16);

/// [`CloneBuffers::flags`]: the source is named by its place among the thread's registered rings.
pub const IORING_REGISTER_SRC_REGISTERED: u32 = 1 << 0;
/// [`CloneBuffers::flags`]: what is registered already may be replaced.
pub const IORING_REGISTER_DST_REPLACE: u32 = 1 << 1;

/// Argument of `IORING_REGISTER_CLONE_BUFFERS` (`struct io_uring_clone_buffers`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct CloneBuffers {
    /// The ring to take from.
    pub src_fd: u32,
    /// `IORING_REGISTER_*`.
    pub flags: u32,
    /// First slot of the source.
    pub src_off: u32,
    /// First slot of this ring.
    pub dst_off: u32,
    /// Slots; 0 for all of the source.
    pub nr: u32,
    /// Reserved.
    pub pad: [u32; 3],
}

const _: () = assert!(size_of::<CloneBuffers>() == 32);

/// Argument of `IORING_REGISTER_CLOCK` (`struct io_uring_clock_register`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ClockRegister {
    /// `CLOCK_*`.
    pub clockid: u32,
    /// Reserved.
    pub resv: [u32; 3],
}

const _: () = assert!(size_of::<ClockRegister>() == 16);

/// [`NapiReg::opcode`]: new settings.
pub const IO_URING_NAPI_REGISTER_OP: u8 = 0;
/// [`NapiReg::opcode`]: one more id, in static tracking.
pub const IO_URING_NAPI_STATIC_ADD_ID: u8 = 1;
/// [`NapiReg::opcode`]: one id less, in static tracking.
pub const IO_URING_NAPI_STATIC_DEL_ID: u8 = 2;
/// [`NapiReg::op_param`]: the kernel finds the ids.
pub const IO_URING_NAPI_TRACKING_DYNAMIC: u32 = 0;
/// [`NapiReg::op_param`]: the application names the ids.
pub const IO_URING_NAPI_TRACKING_STATIC: u32 = 1;
/// [`NapiReg::op_param`]: there are none.
pub const IO_URING_NAPI_TRACKING_INACTIVE: u32 = 255;

/// Argument of `IORING_REGISTER_NAPI` and its opposite (`struct io_uring_napi`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct NapiReg {
    /// How long to poll, in microseconds.
    pub busy_poll_to: u32,
    /// Whether to poll rather than be interrupted.
    pub prefer_busy_poll: u8,
    /// `IO_URING_NAPI_*_OP` or `_ID`.
    pub opcode: u8,
    /// Reserved.
    pub pad: [u8; 2],
    /// `IO_URING_NAPI_TRACKING_*`, or an id.
    pub op_param: u32,
    /// Reserved.
    pub resv: u32,
}

const _: () = assert!(size_of::<NapiReg>() == 16 && size_of::<io_uring::types::Napi>() == 16);

/// Argument of `IORING_REGISTER_SYNC_CANCEL` (`struct io_uring_sync_cancel_reg`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SyncCancelReg {
    /// `user_data` of what to cancel.
    pub addr: u64,
    /// File of what to cancel.
    pub fd: i32,
    /// `IORING_ASYNC_CANCEL_*`.
    pub flags: u32,
    /// How long to wait, in seconds and nanoseconds; both -1: without end.
    pub timeout: [i64; 2],
    /// Operation of what to cancel.
    pub opcode: u8,
    /// Reserved.
    pub pad: [u8; 7],
    /// Reserved.
    pub pad2: [u64; 3],
}

const _: () = assert!(size_of::<SyncCancelReg>() == 64);
const _: () = assert!(size_of::<io_uring::types::Timespec>() == size_of::<[i64; 2]>());

impl SyncCancelReg {
    /// What the `io-uring` crate's method makes of its arguments.
    pub fn new(
        timeout: Option<io_uring::types::Timespec>,
        cancel: io_uring::types::CancelBuilder,
    ) -> Self {
        // The builder's fields are seen in the entry that it is made for.
        let entry = io_uring::opcode::AsyncCancel2::new(cancel).build();
        let sqe = crate::sqe::Sqe::from_entry(&entry);
        let timeout = match timeout {
            // SAFETY: `Timespec` is `repr(transparent)` over `__kernel_timespec`, which is two `i64`s
            // (size asserted above); every bit pattern is a valid value.
            Some(time) => unsafe {
                std::mem::transmute::<io_uring::types::Timespec, [i64; 2]>(time)
            },
            None => [-1, -1],
        };
        Self {
            addr: sqe.addr,
            fd: sqe.fd,
            flags: sqe.op_flags,
            timeout,
            opcode: 0,
            pad: [0; 7],
            pad2: [0; 3],
        }
    }
}

/// [`Restriction::opcode`]: this opcode of io_uring_register(2) is allowed.
pub const IORING_RESTRICTION_REGISTER_OP: u16 = 0;
/// [`Restriction::opcode`]: this operation is allowed.
pub const IORING_RESTRICTION_SQE_OP: u16 = 1;
/// [`Restriction::opcode`]: these flags of entries are allowed.
pub const IORING_RESTRICTION_SQE_FLAGS_ALLOWED: u16 = 2;
/// [`Restriction::opcode`]: these flags of entries are required.
pub const IORING_RESTRICTION_SQE_FLAGS_REQUIRED: u16 = 3;
/// Kinds of restrictions (`IORING_RESTRICTION_LAST`).
pub const IORING_RESTRICTION_LAST: u32 = 4;

/// One of what `IORING_REGISTER_RESTRICTIONS` is given (`struct io_uring_restriction`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Restriction {
    /// `IORING_RESTRICTION_*`.
    pub opcode: u16,
    /// An opcode, or `IOSQE_*` flags.
    pub arg: u8,
    /// Reserved, and not looked at.
    pub resv: u8,
    /// Reserved, and not looked at.
    pub resv2: [u32; 3],
}

const _: () =
    assert!(size_of::<Restriction>() == 16 && size_of::<io_uring::register::Restriction>() == 16);

/// [`ProbeOp::flags`]: the operation is there.
pub const IO_URING_OP_SUPPORTED: u16 = 1 << 0;

/// What `IORING_REGISTER_PROBE` writes first (`struct io_uring_probe`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ProbeHeader {
    /// The last operation that there is.
    pub last_op: u8,
    /// Operations that follow.
    pub ops_len: u8,
    /// Reserved.
    pub resv: u16,
    /// Reserved.
    pub resv2: [u32; 3],
}

const _: () = assert!(size_of::<ProbeHeader>() == 16);

/// What it writes of each operation (`struct io_uring_probe_op`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ProbeOp {
    /// `IORING_OP_*`.
    pub op: u8,
    /// Reserved.
    pub resv: u8,
    /// `IO_URING_OP_*`.
    pub flags: u16,
    /// Reserved.
    pub resv2: u32,
}

const _: () = assert!(size_of::<ProbeOp>() == 8);

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

/// Low bits of an entry's address that hold a registered buffer's index, where a request takes its memory
/// from registered buffers by way of a buffer group; the offset is above them.
pub const IOU_BUF_REGBUF_BITS: u32 = 20;

/// The address of a buffer ring's entry that names memory from `offset` on in a registered buffer.
///
/// # Panics
/// If the index has more than [`IOU_BUF_REGBUF_BITS`] bits, or the offset more than the 44 above them.
pub const fn pack_registered(index: u32, offset: u64) -> u64 {
    assert!(
        index >> IOU_BUF_REGBUF_BITS == 0,
        "a registered buffer's index has 20 bits"
    );
    assert!(
        offset >> (u64::BITS - IOU_BUF_REGBUF_BITS) == 0,
        "an offset in a registered buffer has 44 bits"
    );
    offset << IOU_BUF_REGBUF_BITS | index as u64
}

/// The registered buffer's index, and the offset in it, that such an address names.
pub const fn unpack_registered(addr: u64) -> (u32, u64) {
    let index = addr & ((1 << IOU_BUF_REGBUF_BITS) - 1);
    (index as u32, addr >> IOU_BUF_REGBUF_BITS)
}

/// The address that names what lies `bytes` further on in the same registered buffer.
pub const fn advance_registered(addr: u64, bytes: usize) -> u64 {
    addr.wrapping_add((bytes as u64) << IOU_BUF_REGBUF_BITS)
}

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
    /// Of a buffer of which less is left, in bytes, the rest is not used; only with
    /// `IOU_PBUF_RING_INC`.
    pub min_left: u32,
    /// Reserved.
    pub resv: [u32; 5],
}

const _: () = assert!(size_of::<BufReg>() == 40 && align_of::<BufReg>() == 8);

impl BufReg {
    /// Checks what needs neither the ring's state nor its memory. The kernel looks at the group after
    /// this, and then at the [memory](Self::check_memory).
    ///
    /// # Errors
    ///
    /// `EINVAL`: a reserved field or an unknown flag is set, `min_left` without `IOU_PBUF_RING_INC`, that with
    /// `IOU_PBUF_RING_LENT`, or the number of entries is not a power of two from 1 to [`MAX_BUF_RING_ENTRIES`].
    pub fn check(&self) -> Result<(), Errno> {
        let incremental = self.flags & IOU_PBUF_RING_INC != 0;
        let known = IOU_PBUF_RING_MMAP | IOU_PBUF_RING_INC | IOU_PBUF_RING_LENT;
        if self.resv != [0; 5]
            || self.flags & !known != 0
            || (incremental && self.flags & IOU_PBUF_RING_LENT != 0)
            || (self.min_left != 0 && !incremental)
            || !self.ring_entries.is_power_of_two()
            || self.ring_entries > MAX_BUF_RING_ENTRIES
        {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Checks where the ring is to be (Linux `io_create_region`). Whether memory is there is left to
    /// the caller.
    ///
    /// # Errors
    ///
    /// `EFAULT`: no ring address, and no `IOU_PBUF_RING_MMAP` either. `EINVAL`: it is not aligned to
    /// [`BUF_RING_ALIGN`].
    pub fn check_memory(&self) -> Result<(), Errno> {
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

    /// Checks what an unregistration has: only the group counts.
    ///
    /// # Errors
    ///
    /// `EINVAL`: a reserved field or a flag is set.
    pub fn check_unregister(&self) -> Result<(), Errno> {
        if self.resv != [0; 5] || self.flags != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Size of the ring's memory, in bytes.
    pub fn ring_bytes(&self) -> usize {
        self.ring_entries as usize * BUF_ENTRY_BYTES
    }
}

/// Argument of `IORING_REGISTER_PBUF_STATUS` (`struct io_uring_buf_status`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct BufStatus {
    /// Buffer group.
    pub buf_group: u32,
    /// Written: the consumer's head.
    pub head: u32,
    /// Reserved.
    pub resv: [u32; 8],
}

const _: () = assert!(size_of::<BufStatus>() == 40);

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
