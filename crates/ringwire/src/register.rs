//! What [`Submitter`] registers: io_uring_register(2), and the `io-uring` crate's methods on it.

use std::ffi::c_void;
use std::io;
use std::os::fd::RawFd;

use io_uring::types::{BufRingEntry, CancelBuilder, CloneBuffersFlags, Napi, Timespec};
use ringwire_abi::errno::Errno;
use ringwire_abi::register::*;

pub use io_uring::register::{Restriction, SKIP_FILE};

use crate::mailbox;
use crate::ring::{Core, os_error};
use crate::submitter::Submitter;
use crate::usermem::read_plain;

impl Submitter<'_> {
    /// io_uring_register(2) on this ring, opcode by opcode as in the kernel
    /// (`ringwire_abi::register`, `IORING_REGISTER_*`); returns what the system call returns. The
    /// typed methods are made of it.
    ///
    /// # Errors
    /// The kernel's, and `EEXIST` while another thread is inside.
    ///
    /// # Safety
    /// As for the system call: what `arg` and the addresses in it point at is this opcode's argument,
    /// valid through the call, and writable where the kernel writes. What stays registered (a buffer
    /// ring, buffers) must stay valid until it is unregistered and no request uses it any more, or
    /// this ring is dropped.
    pub unsafe fn register(
        &self,
        opcode: u32,
        arg: *const c_void,
        nr_args: u32,
    ) -> io::Result<i32> {
        let mut core = self.shared.enter()?;
        let arg = arg as u64;
        let checked = core.engine.check_register(opcode, arg, nr_args);
        let result = match checked.map_err(os_error)? {
            IORING_REGISTER_ENABLE_RINGS => {
                drop(core);
                self.shared.enable().map(|()| 0)
            }
            IORING_REGISTER_CLONE_BUFFERS => clone_buffers(&mut core, arg),
            // SAFETY: the caller's promise is the engine's condition.
            _ => unsafe { core.engine.register(opcode, arg, nr_args) },
        };
        // The polling thread begins with the enabling, and shows what has been posted.
        if let Some(poller) = &self.shared.poller {
            poller.wake();
        }
        result.map_err(os_error)
    }

    /// An opcode whose argument is `count` of these structures, or as many bytes, that point nowhere
    /// beyond what their owner borrows through the call, and that nothing is kept of: for the typed methods alone.
    pub(crate) fn register_with<T: ?Sized>(
        &self,
        opcode: u32,
        arg: &mut T,
        count: usize,
    ) -> io::Result<i32> {
        let arg = std::ptr::from_mut(arg).cast::<c_void>();
        // SAFETY: the structures are borrowed through the call, and what they point at is borrowed by
        // the typed methods, which pass the structures that their opcodes take.
        unsafe { self.register(opcode, arg, count as u32) }
    }

    /// An opcode without an argument.
    pub(crate) fn register_plain(&self, opcode: u32) -> io::Result<()> {
        // SAFETY: nothing is pointed at.
        unsafe { self.register(opcode, std::ptr::null(), 0) }.map(drop)
    }
}

/// Direct descriptors.
impl Submitter<'_> {
    /// Registers a table of direct descriptors. A socket has no file descriptor here: every slot
    /// begins empty, which is said by `-1`.
    ///
    /// # Errors
    /// `EBUSY`: there is one; `EINVAL`: none asked for; `EMFILE`: more than 1048576; `EBADF`: not `-1`.
    pub fn register_files(&self, fds: &[RawFd]) -> io::Result<()> {
        let (arg, nr) = (fds.as_ptr().cast(), fds.len() as u32);
        // SAFETY: the descriptors are borrowed through the call, which only reads them.
        unsafe { self.register(IORING_REGISTER_FILES, arg, nr) }.map(drop)
    }

    /// Registers a table of `nr` empty direct descriptors.
    ///
    /// # Errors
    /// As for [`register_files`](Self::register_files).
    pub fn register_files_sparse(&self, nr: u32) -> io::Result<()> {
        let mut arg = RsrcRegister {
            nr,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        self.register_with(IORING_REGISTER_FILES2, &mut arg, size_of::<RsrcRegister>())
            .map(drop)
    }

    /// Empties slots from `offset` on: `-1` empties one, [`SKIP_FILE`]
    /// leaves one as it is. Returns how many were updated.
    ///
    /// # Errors
    /// `ENXIO`: no table; `EINVAL`: nothing to do, or beyond the table; `EBADF`: the first is another
    /// number, which empties the slot nevertheless, as in the kernel.
    pub fn register_files_update(&self, offset: u32, fds: &[RawFd]) -> io::Result<usize> {
        let mut arg = RsrcUpdate {
            offset,
            resv: 0,
            data: fds.as_ptr() as u64,
        };
        self.register_with(IORING_REGISTER_FILES_UPDATE, &mut arg, fds.len())
            .map(|updated| updated as usize)
    }

    /// Where `IORING_FILE_INDEX_ALLOC` finds free slots from here on: `len` of them, from `offset` on
    /// (`io_uring_register_file_alloc_range` of liburing).
    ///
    /// # Errors
    /// `EINVAL`: beyond the table; `EOVERFLOW`: the sum is beyond 32 bits.
    pub fn register_file_alloc_range(&self, offset: u32, len: u32) -> io::Result<()> {
        let mut arg = FileIndexRange {
            off: offset,
            len,
            resv: 0,
        };
        self.register_with(IORING_REGISTER_FILE_ALLOC_RANGE, &mut arg, 0)
            .map(drop)
    }

    /// Unregisters the table. Requests in flight keep their sockets.
    ///
    /// # Errors
    /// `ENXIO`: there is none.
    pub fn unregister_files(&self) -> io::Result<()> {
        self.register_plain(IORING_UNREGISTER_FILES)
    }
}

/// Registered buffers.
impl Submitter<'_> {
    /// Registers buffers, which requests then name by their index. An empty one, without an address,
    /// is an empty slot.
    ///
    /// # Errors
    /// `EBUSY`: there are some; `EINVAL`: none asked for, or more than 16384; `EFAULT`: an address
    /// without a length or a length without an address, or a buffer of more than 1 TiB.
    ///
    /// # Safety
    /// The memory must stay valid until its slot is replaced or unregistered and no request uses it
    /// any more, or this ring and those that cloned it are dropped. Nothing is pinned.
    pub unsafe fn register_buffers(&self, bufs: &[libc::iovec]) -> io::Result<()> {
        let (arg, nr) = (bufs.as_ptr().cast(), bufs.len() as u32);
        // SAFETY: the iovecs are borrowed through the call; their memory is the caller's promise.
        unsafe { self.register(IORING_REGISTER_BUFFERS, arg, nr) }.map(drop)
    }

    /// As [`register_buffers`](Self::register_buffers), with a tag for each: when a buffer has left
    /// the table and its last user has gone, a completion has the tag as its user data. 0 is no tag.
    ///
    /// # Errors
    /// As there; `EINVAL`: an empty slot has a tag.
    ///
    /// # Safety
    /// As there.
    pub unsafe fn register_buffers2(&self, bufs: &[libc::iovec], tags: &[u64]) -> io::Result<()> {
        let arg = RsrcRegister {
            nr: bufs.len().min(tags.len()) as u32,
            data: bufs.as_ptr() as u64,
            tags: tags.as_ptr() as u64,
            ..RsrcRegister::default()
        };
        let size = size_of_val(&arg) as u32;
        // SAFETY: all are borrowed through the call; the buffers' memory is the caller's promise.
        unsafe { self.register(IORING_REGISTER_BUFFERS2, (&raw const arg).cast(), size) }.map(drop)
    }

    /// Registers `nr` empty slots for buffers.
    ///
    /// # Errors
    /// As for [`register_buffers`](Self::register_buffers).
    pub fn register_buffers_sparse(&self, nr: u32) -> io::Result<()> {
        let mut arg = RsrcRegister {
            nr,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        self.register_with(
            IORING_REGISTER_BUFFERS2,
            &mut arg,
            size_of::<RsrcRegister>(),
        )
        .map(drop)
    }

    /// Replaces the buffers from `offset` on. What is replaced may be in use: its end is told with
    /// its tag.
    ///
    /// # Errors
    /// `ENXIO`: no table; `EINVAL`: nothing to do, or beyond the table; otherwise what
    /// [`register_buffers2`](Self::register_buffers2) says of the first. An error at a later one ends
    /// the update there, and nothing tells of it: as in the `io-uring` crate.
    ///
    /// # Safety
    /// As for `register_buffers`.
    pub unsafe fn register_buffers_update(
        &self,
        offset: u32,
        bufs: &[libc::iovec],
        tags: Option<&[u64]>,
    ) -> io::Result<()> {
        let nr = tags.map_or(bufs.len(), |tags| bufs.len().min(tags.len()));
        let arg = RsrcUpdate2 {
            offset,
            data: bufs.as_ptr() as u64,
            tags: tags.map_or(0, |tags| tags.as_ptr() as u64),
            nr: nr as u32,
            ..RsrcUpdate2::default()
        };
        let (at, size) = ((&raw const arg).cast(), size_of_val(&arg) as u32);
        // SAFETY: all are borrowed through the call; the buffers' memory is the caller's promise.
        unsafe { self.register(IORING_REGISTER_BUFFERS_UPDATE, at, size) }.map(drop)
    }

    /// Takes the buffers of a ring, without their tags: as registering them again. The ring is named
    /// by its `AsRawFd`; it must be this one, or another that this process has.
    ///
    /// # Errors
    /// `EBUSY`: this ring has buffers; `ENXIO`: the other has none; `EBADF`, `EOPNOTSUPP`: it is not
    /// a ring.
    pub fn register_buffers_clone(&self, src_fd: RawFd) -> io::Result<()> {
        self.register_buffers_clone_offset(src_fd, 0, 0, 0, CloneBuffersFlags::empty())
    }

    /// As [`register_buffers_clone`](Self::register_buffers_clone), `nr` buffers from `src_off` on, to
    /// `dst_off` and on. With `DST_REPLACE` they replace what is there.
    ///
    /// # Errors
    /// As there; `EINVAL`: an offset without a number, or more than there may be; `EOVERFLOW`: more
    /// than there are.
    pub fn register_buffers_clone_offset(
        &self,
        src_fd: RawFd,
        src_off: u32,
        dst_off: u32,
        nr: u32,
        flags: CloneBuffersFlags,
    ) -> io::Result<()> {
        let mut arg = CloneBuffers {
            src_fd: src_fd as u32,
            flags: flags.bits(),
            src_off,
            dst_off,
            nr,
            pad: [0; 3],
        };
        self.register_with(IORING_REGISTER_CLONE_BUFFERS, &mut arg, 1)
            .map(drop)
    }

    /// Unregisters all buffers. Requests in flight keep theirs.
    ///
    /// # Errors
    /// `ENXIO`: there are none.
    pub fn unregister_buffers(&self) -> io::Result<()> {
        self.register_plain(IORING_UNREGISTER_BUFFERS)
    }
}

/// Provided buffer rings.
impl Submitter<'_> {
    /// Registers a provided buffer ring. With `IOU_PBUF_RING_MMAP` the ring's memory is
    /// [lent](Self::buf_ring_memory), and `ring_addr` is not read. With
    /// [`IOU_PBUF_RING_LENT`](crate::IOU_PBUF_RING_LENT) receives with the group copy nothing:
    /// [`lent_buffers`](Self::lent_buffers).
    ///
    /// # Errors
    /// `EINVAL`: not a power of two, not page aligned, or flags that are not known; `EEXIST`: the
    /// group is a ring already, or has buffers; `EFAULT`: no address.
    ///
    /// # Safety
    /// The ring's memory must stay valid until it is unregistered or this ring is dropped.
    pub unsafe fn register_buf_ring_with_flags(
        &self,
        ring_addr: u64,
        ring_entries: u16,
        bgid: u16,
        flags: u16,
    ) -> io::Result<()> {
        let reg = BufReg {
            ring_addr,
            ring_entries: ring_entries.into(),
            bgid,
            flags,
            ..BufReg::default()
        };
        // SAFETY: the structure lives through the call; the ring's memory is the caller's promise.
        unsafe { self.register(IORING_REGISTER_PBUF_RING, (&raw const reg).cast(), 1) }.map(drop)
    }

    /// Where the entries of a buffer ring are that was registered with `IOU_PBUF_RING_MMAP`, all
    /// zeroes at first: what mmap(2) on the kernel's ring gives. The memory is lent until the buffer
    /// ring is unregistered or this ring is dropped, and not longer.
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: its memory is the application's, or it is not a ring.
    pub fn buf_ring_memory(&self, bgid: u16) -> io::Result<*mut BufRingEntry> {
        let core = self.shared.enter()?;
        let memory = core.engine.buf_ring_memory(bgid).map_err(os_error)?;
        Ok(memory as *mut BufRingEntry)
    }

    /// How many buffers of a buffer ring have been used up: the consumer's head, a free-running
    /// counter (`io_uring_buf_ring_head` of liburing).
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: its buffers were provided by requests.
    pub fn buf_ring_head(&self, bgid: u16) -> io::Result<u16> {
        let mut status = BufStatus {
            buf_group: bgid.into(),
            ..BufStatus::default()
        };
        self.register_with(IORING_REGISTER_PBUF_STATUS, &mut status, 1)?;
        Ok(status.head as u16)
    }

    /// Unregisters a provided buffer ring.
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: its buffers were provided by requests.
    pub fn unregister_buf_ring(&self, bgid: u16) -> io::Result<()> {
        let mut reg = BufReg {
            bgid,
            ..BufReg::default()
        };
        self.register_with(IORING_UNREGISTER_PBUF_RING, &mut reg, 1)
            .map(drop)
    }
}

/// The eventfd.
impl Submitter<'_> {
    /// Signals this eventfd once for each batch of completions that is posted. Inline, they are posted
    /// inside `submit` and its kin, and nowhere else: to wait for packets in an outside event loop,
    /// poll the ring (`AsRawFd`).
    ///
    /// # Errors
    /// `EBUSY`: there is one; `EBADF`: not open; `EINVAL`: not an eventfd.
    pub fn register_eventfd(&self, eventfd: RawFd) -> io::Result<()> {
        let mut eventfd = eventfd;
        self.register_with(IORING_REGISTER_EVENTFD, &mut eventfd, 1)
            .map(drop)
    }

    /// As [`register_eventfd`](Self::register_eventfd), but only what the kernel completes in one of
    /// its workers is signalled: entries with `IOSQE_ASYNC` that do not have to wait.
    ///
    /// # Errors
    /// As there.
    pub fn register_eventfd_async(&self, eventfd: RawFd) -> io::Result<()> {
        let mut eventfd = eventfd;
        self.register_with(IORING_REGISTER_EVENTFD_ASYNC, &mut eventfd, 1)
            .map(drop)
    }

    /// Signals the eventfd no more.
    ///
    /// # Errors
    /// `ENXIO`: there is none.
    pub fn unregister_eventfd(&self) -> io::Result<()> {
        self.register_plain(IORING_UNREGISTER_EVENTFD)
    }
}

/// Asking and restricting.
impl Submitter<'_> {
    /// Asks which operations there are.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside.
    pub fn register_probe(&self, probe: &mut Probe) -> io::Result<()> {
        // A probe is asked into zeroes.
        *probe = Probe::new();
        self.register_with(IORING_REGISTER_PROBE, &mut probe.0, Probe::COUNT)
            .map(drop)
    }

    /// Restricts a ring that was made with `setup_r_disabled` to what is named here, once. It is in
    /// force when the ring is enabled: another entry then completes with `-EACCES`, and so fails
    /// another registration.
    ///
    /// # Errors
    /// `EBADFD`: the ring is enabled; `EBUSY`: it is restricted; `EINVAL`: no such operation or
    /// registration.
    pub fn register_restrictions(&self, restrictions: &mut [Restriction]) -> io::Result<()> {
        let count = restrictions.len();
        self.register_with(IORING_REGISTER_RESTRICTIONS, restrictions, count)
            .map(drop)
    }
}

/// Enabling.
impl Submitter<'_> {
    /// Enables a ring that was made with `setup_r_disabled`. With `setup_single_issuer` it is this
    /// thread's from here on.
    ///
    /// # Errors
    /// `EBADFD`: it is enabled; `EACCES`: it is enabled, and restricted from this; `EEXIST`: another
    /// thread is inside.
    pub fn register_enable_rings(&self) -> io::Result<()> {
        self.register_plain(IORING_REGISTER_ENABLE_RINGS)
    }
}

/// Cancelling.
impl Submitter<'_> {
    /// Cancels requests that wait, and match. It is done at once, whatever the timeout.
    ///
    /// # Errors
    /// `ENOENT`: none matches; `EBADF`: the slot that is asked for is empty.
    pub fn register_sync_cancel(
        &self,
        timeout: Option<Timespec>,
        builder: CancelBuilder,
    ) -> io::Result<()> {
        let mut arg = SyncCancelReg::new(timeout, builder);
        self.register_with(IORING_REGISTER_SYNC_CANCEL, &mut arg, 1)
            .map(drop)
    }
}

/// What a ring is told.
impl Submitter<'_> {
    /// Which clock absolute times of waits are on: `CLOCK_MONOTONIC`, which it is at first, or
    /// `CLOCK_BOOTTIME` (`io_uring_register_clock` of liburing).
    ///
    /// # Errors
    /// `EINVAL`: another clock.
    pub fn register_clock(&self, clock: libc::clockid_t) -> io::Result<()> {
        let mut arg = ClockRegister {
            clockid: clock as u32,
            ..ClockRegister::default()
        };
        self.register_with(IORING_REGISTER_CLOCK, &mut arg, 0)
            .map(drop)
    }

    /// Takes NAPI settings, and gives back those before. They have no effect: the interface is polled
    /// by whoever waits.
    ///
    /// # Errors
    /// `EINVAL`: no such tracking.
    pub fn register_napi(&self, napi: &mut Napi) -> io::Result<()> {
        self.register_with(IORING_REGISTER_NAPI, napi, 1).map(drop)
    }

    /// Forgets the NAPI settings, and gives them back.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside.
    pub fn unregister_napi(&self, napi: &mut Napi) -> io::Result<()> {
        self.register_with(IORING_UNREGISTER_NAPI, napi, 1)
            .map(drop)
    }

    /// Takes an id for static tracking.
    ///
    /// # Errors
    /// `EINVAL`: tracking is not static, or no id; `EEXIST`: it is there.
    pub fn register_napi_add_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_ADD_ID, napi_id)
    }

    /// Forgets an id.
    ///
    /// # Errors
    /// `EINVAL`: tracking is not static, or no id; `ENOENT`: it is not there.
    pub fn register_napi_del_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_DEL_ID, napi_id)
    }

    fn napi_id(&self, opcode: u8, op_param: u32) -> io::Result<()> {
        let mut arg = NapiReg {
            opcode,
            op_param,
            ..NapiReg::default()
        };
        self.register_with(IORING_REGISTER_NAPI, &mut arg, 1)
            .map(drop)
    }

    /// Takes processors for workers. There are none: it has no effect.
    ///
    /// # Errors
    /// `EEXIST` while another thread is inside.
    pub fn register_iowq_aff(&self, cpu_set: &libc::cpu_set_t) -> io::Result<()> {
        let mut cpu_set = *cpu_set;
        let bytes = size_of::<libc::cpu_set_t>();
        self.register_with(IORING_REGISTER_IOWQ_AFF, &mut cpu_set, bytes)
            .map(drop)
    }

    /// Forgets them.
    ///
    /// # Errors
    /// As there.
    pub fn unregister_iowq_aff(&self) -> io::Result<()> {
        self.register_plain(IORING_UNREGISTER_IOWQ_AFF)
    }

    /// Takes limits for workers, and gives back those before. There are none: it has no effect.
    ///
    /// # Errors
    /// `EINVAL`: more than an `int` holds.
    pub fn register_iowq_max_workers(&self, max: &mut [u32; 2]) -> io::Result<()> {
        self.register_with(IORING_REGISTER_IOWQ_MAX_WORKERS, max, 2)
            .map(drop)
    }

    /// Gives an id to the credentials of this moment, which entries may name. It has no effect:
    /// nothing here asks for credentials.
    ///
    /// # Errors
    /// `EBUSY`: 65535 ids are given.
    pub fn register_personality(&self) -> io::Result<u16> {
        // SAFETY: nothing is pointed at.
        let id = unsafe { self.register(IORING_REGISTER_PERSONALITY, std::ptr::null(), 0) }?;
        Ok(id as u16)
    }

    /// Takes the id back.
    ///
    /// # Errors
    /// `EINVAL`: it was not given.
    pub fn unregister_personality(&self, personality: u16) -> io::Result<()> {
        let (opcode, id) = (IORING_UNREGISTER_PERSONALITY, personality.into());
        // SAFETY: nothing is pointed at.
        unsafe { self.register(opcode, std::ptr::null(), id) }.map(drop)
    }
}

/// `IORING_REGISTER_CLONE_BUFFERS`, from any ring of the process.
fn clone_buffers(core: &mut Core, arg: u64) -> Result<i32, Errno> {
    let clone: CloneBuffers = read_plain(arg)?;
    core.engine.check_clone(&clone)?;
    if clone.flags & IORING_REGISTER_SRC_REGISTERED != 0 {
        // No ring is registered.
        return Err(Errno::EBADF);
    }
    let source = mailbox::find(clone.src_fd as RawFd).map_err(|error| match error {
        Errno::EBADFD => Errno::EOPNOTSUPP,
        error => error,
    })?;
    core.engine.clone_buffers(&clone, source.buffers.spans())
}

/// Which operations there are, as [`Submitter::register_probe`] found.
#[derive(Clone, Debug, Default)]
pub struct Probe(Probed);

/// As the kernel writes it.
#[repr(C)]
#[derive(Clone, Debug)]
struct Probed {
    header: ProbeHeader,
    ops: [ProbeOp; Probe::COUNT],
}

impl Default for Probed {
    fn default() -> Probed {
        Probed {
            header: ProbeHeader::default(),
            ops: [ProbeOp::default(); Probe::COUNT],
        }
    }
}

impl Probe {
    const COUNT: usize = 256;

    /// One that knows of no operation.
    pub fn new() -> Probe {
        Probe::default()
    }

    /// Whether there is an operation (`opcode::Send::CODE` and its kin).
    pub fn is_supported(&self, opcode: u8) -> bool {
        self.0.ops[usize::from(opcode)].flags & IO_URING_OP_SUPPORTED != 0
    }
}
