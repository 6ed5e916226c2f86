//! The one module that follows the application's pointers.
//!
//! An entry names memory by address, and pushing one is `unsafe`: the application promises that the
//! memory is valid until the completion. This module relies on that promise and on nothing else; it
//! refuses what cannot be memory (the first page), as the kernel does with `-EFAULT`. An address that is wrong
//! in another way is undefined behaviour here, where the kernel would still say `-EFAULT`.

use std::alloc::Layout;
use std::mem::size_of;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use ringwire_abi::errno::Errno;
use ringwire_abi::notifier::{NotifierRegister, NotifierSlot};
use ringwire_abi::register::*;
use ringwire_abi::zcrx::{
    REFILL_ENTRY_BYTES, REFILL_OFFSETS, Refill, RegionDesc, ZcrxAreaReg, ZcrxReg,
};
use ringwire_stack::LentPart;
use ringwire_umem::{Borrowed, Ledger, LendTable, LoanId};

/// Nothing is mapped below (`vm.mmap_min_addr`).
const FIRST_ADDRESS: u64 = 4096;
/// Nothing of a process is beyond, on any 64-bit machine that runs Linux.
const ADDRESS_END: u64 = 1 << 56;
/// Most iovecs of one message (`UIO_MAXIOV`).
pub(crate) const MAX_IOVECS: usize = 1024;
/// Most bytes of one transfer (`MAX_RW_COUNT`): a completion's result is an `int`.
pub(crate) const MAX_TRANSFER: usize = (i32::MAX & !4095) as usize;
/// Bytes of the largest socket address (`struct sockaddr_storage`).
pub(crate) const MAX_SOCKADDR: usize = 128;

/// A span of the application's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) addr: u64,
    pub(crate) len: usize,
}

impl Span {
    /// Checks that the span can be memory.
    pub(crate) fn check(self) -> Result<Span, Errno> {
        if self.len > 0 && (self.addr < FIRST_ADDRESS || !self.is_in_range()) {
            return Err(Errno::EFAULT);
        }
        Ok(self)
    }

    /// Whether it ends where a process's memory can end (`access_ok`).
    pub(crate) fn is_in_range(self) -> bool {
        let end = self.addr.checked_add(self.len as u64);
        end.is_some_and(|end| end <= ADDRESS_END)
    }
}

/// Copies bytes out of the application's memory.
pub(crate) fn read(span: Span, to: &mut [u8]) -> Result<(), Errno> {
    span.check()?;
    let len = span.len.min(to.len());
    // SAFETY: the application promised with the unsafe push that the span is readable until the
    // completion; `check` refused null and wrapping ones; `to` is memory of the engine's own.
    unsafe { std::ptr::copy(span.addr as *const u8, to.as_mut_ptr(), len) };
    Ok(())
}

/// Copies bytes into the application's memory, as many as fit.
pub(crate) fn write(span: Span, from: &[u8]) -> Result<usize, Errno> {
    span.check()?;
    let len = span.len.min(from.len());
    // SAFETY: as in `read`, for writing.
    unsafe { std::ptr::copy(from.as_ptr(), span.addr as *mut u8, len) };
    Ok(len)
}

/// Whether a span is the application's part of UMEM, in one piece.
pub(crate) fn is_lendable(ledger: &Ledger, span: Span) -> bool {
    let offset = ledger.umem().offset_of(span.addr, span.len);
    let part = offset.zip(u32::try_from(span.len).ok());
    part.is_some_and(|(offset, len)| ledger.is_lendable(offset, len))
}

/// Borrows a span that is the application's part of UMEM; `None` if it is not.
pub(crate) fn borrow(ledger: &mut Ledger, loan: LoanId, span: Span) -> Option<Borrowed> {
    let offset = ledger.umem().offset_of(span.addr, span.len)?;
    let len = u32::try_from(span.len).ok()?;
    // SAFETY: the application promised with the unsafe push that nobody writes to the span before the
    // notification, which is posted when the loan is repaid.
    unsafe { ledger.borrow(loan, offset, len) }.ok()
}

/// Plain C structs that may be copied from and to the application.
///
/// # Safety
/// Every bit pattern is a valid value.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($kind:ty),+ $(,)?) => {
        // SAFETY: integers and raw pointers only.
        $(unsafe impl Plain for $kind {})+
    };
}

plain! {
    libc::msghdr, libc::iovec, [i64; 2], i32, u64,
    NotifierRegister, NotifierSlot,
    ZcrxReg, ZcrxAreaReg, RegionDesc, BufReg, BufStatus, CloneBuffers, FileIndexRange, GetEventsArg, RsrcRegister, RsrcUpdate, RsrcUpdate2,
    [u32; 2], ClockRegister, NapiReg, ProbeHeader, ProbeOp, Restriction, SyncCancelReg,
}

/// Copies a structure out of the application's memory.
pub(crate) fn read_plain<T: Plain>(addr: u64) -> Result<T, Errno> {
    Span {
        addr,
        len: size_of::<T>(),
    }
    .check()?;
    // SAFETY: readable by the application's promise; `Plain` takes every bit pattern; the read is
    // unaligned, since the kernel asks for no alignment either.
    Ok(unsafe { std::ptr::read_unaligned(addr as *const T) })
}

/// Copies a structure into the application's memory.
pub(crate) fn write_plain<T: Plain>(addr: u64, value: T) -> Result<(), Errno> {
    Span {
        addr,
        len: size_of::<T>(),
    }
    .check()?;
    // SAFETY: writable by the application's promise; the write is unaligned, as the read is.
    unsafe { std::ptr::write_unaligned(addr as *mut T, value) };
    Ok(())
}

/// Copies the element of an array of the application's.
pub(crate) fn read_element<T: Plain>(array: u64, index: u32) -> Result<T, Errno> {
    read_plain(array.wrapping_add(u64::from(index) * size_of::<T>() as u64))
}

/// Writes the element of an array of the application's.
pub(crate) fn write_element<T: Plain>(array: u64, index: u32, value: T) -> Result<(), Errno> {
    let at = array.wrapping_add(u64::from(index) * size_of::<T>() as u64);
    write_plain(at, value)
}

/// Copies an iovec of an array; its length is a `ssize_t` in the kernel's eyes.
pub(crate) fn read_iovec(array: u64, index: u32) -> Result<Span, Errno> {
    let iovec: libc::iovec = read_element(array, index)?;
    if iovec.iov_len > isize::MAX as usize {
        return Err(Errno::EINVAL);
    }
    Ok(Span {
        addr: iovec.iov_base as u64,
        len: iovec.iov_len,
    })
}

/// Copies an array of iovecs; where they point is checked unless something else decides about it. What
/// goes beyond the most is cut off (`__import_iovec`). They go into `spans`, which is empty.
pub(crate) fn read_iovecs(
    array: u64,
    count: u32,
    check: bool,
    mut spans: Vec<Span>,
) -> Result<Vec<Span>, Errno> {
    spans.reserve(count as usize);
    let mut room = MAX_TRANSFER;
    for index in 0..count {
        let mut span = read_iovec(array, index)?;
        if check && !span.is_in_range() {
            return Err(Errno::EFAULT);
        }
        span.len = span.len.min(room);
        room -= span.len;
        spans.push(span);
    }
    Ok(spans)
}

/// Copies the tag of a resource, if there are tags.
pub(crate) fn read_tag(tags: u64, index: u32) -> Result<u64, Errno> {
    match tags {
        0 => Ok(0),
        tags => read_element(tags, index),
    }
}

/// Bytes of the longest address that says something to a socket here (`struct sockaddr_in6`).
const KEPT_SOCKADDR: usize = 28;

/// A socket address as the application gave it: copied at submission, parsed at issue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawAddress {
    bytes: [u8; KEPT_SOCKADDR],
    // So long that all of it is moved in whole words.
    len: u32,
}

impl RawAddress {
    pub(crate) fn read(addr: u64, len: usize) -> Result<RawAddress, Errno> {
        if len > MAX_SOCKADDR {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; KEPT_SOCKADDR];
        read(Span { addr, len }, &mut bytes)?;
        let len = len.min(KEPT_SOCKADDR) as u32;
        Ok(RawAddress { bytes, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }
}

/// Writes a socket address where accept(2) has it: as much as fits into the room that stands at
/// `len_addr`, which becomes the address's length. The room is an `int`: `EINVAL` for a negative one.
pub(crate) fn write_address(addr: u64, len_addr: u64, bytes: &[u8]) -> Result<(), Errno> {
    let room: i32 = read_plain(len_addr)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let len = room.min(bytes.len());
    write(Span { addr, len }, &bytes[..len])?;
    let full = (bytes.len() as i32).to_ne_bytes();
    let len = full.len();
    write(
        Span {
            addr: len_addr,
            len,
        },
        &full,
    )
    .map(drop)
}

/// A `msghdr` and what it points at, copied at submission.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    header: u64,
    /// `msg_namelen` and `msg_controllen` as given: the areas of a multishot receive.
    pub(crate) name_area: usize,
    pub(crate) control_area: usize,
    /// The address to send to, if this is a send that has one.
    pub(crate) to: Option<RawAddress>,
    pub(crate) name: Span,
    pub(crate) control: Span,
    pub(crate) buffers: Vec<Span>,
}

impl Message {
    /// A name's length is an `int` in the kernel's eyes: a negative one is refused (`__copy_msghdr`). If the payload's memory
    /// is selected from a buffer group, or registered, it does not matter here where the iovecs point. They go into `spans`, which is
    /// empty.
    pub(crate) fn read(header: u64, selects: bool, spans: Vec<Span>) -> Result<Message, Errno> {
        let raw: libc::msghdr = read_plain(header)?;
        if !raw.msg_name.is_null() && (raw.msg_namelen as i32) < 0 {
            return Err(Errno::EINVAL);
        }
        if raw.msg_iovlen > MAX_IOVECS {
            return Err(Errno::EMSGSIZE);
        }
        let buffers = read_iovecs(raw.msg_iov as u64, raw.msg_iovlen as u32, !selects, spans)?;
        let name_len = if raw.msg_name.is_null() {
            0
        } else {
            raw.msg_namelen as usize
        };
        let control_len = if raw.msg_control.is_null() {
            0
        } else {
            raw.msg_controllen
        };
        Ok(Message {
            header,
            name_area: raw.msg_namelen as usize,
            control_area: raw.msg_controllen,
            to: None,
            name: Span {
                addr: raw.msg_name as u64,
                len: name_len,
            },
            control: Span {
                addr: raw.msg_control as u64,
                len: control_len,
            },
            buffers,
        })
    }

    /// A message without a `msghdr`: buffers to send, and where to.
    pub(crate) fn of(buffers: Vec<Span>, to: Option<RawAddress>) -> Message {
        Message {
            header: 0,
            name_area: 0,
            control_area: 0,
            to,
            name: Span::default(),
            control: Span::default(),
            buffers,
        }
    }

    /// Writes what a receive reports in the `msghdr`: lengths and flags. Where no name is asked for, its length stays
    /// (`____sys_recvmsg`).
    pub(crate) fn write_back(
        &self,
        name_len: u32,
        control_len: usize,
        flags: i32,
    ) -> Result<(), Errno> {
        let mut raw: libc::msghdr = read_plain(self.header)?;
        if self.name.addr != 0 {
            raw.msg_namelen = name_len;
        }
        raw.msg_controllen = control_len;
        raw.msg_flags = flags;
        write_plain(self.header, raw)
    }

    /// Writes how many bytes of the control messages count.
    pub(crate) fn write_control_len(&self, control_len: usize) -> Result<(), Errno> {
        let mut raw: libc::msghdr = read_plain(self.header)?;
        raw.msg_controllen = control_len;
        write_plain(self.header, raw)
    }
}

/// Copies the control messages of a send, and looks at the copy.
pub(crate) fn with_control<T>(
    control: Span,
    look: impl FnOnce(&[u8]) -> Result<T, Errno>,
) -> Result<T, Errno> {
    // `sysctl net.core.optmem_max` bounds this in the kernel, with ENOBUFS.
    const MAX_CONTROL: usize = 128 << 10;
    // One of each kind, and the longest array.
    const ORDINARY: usize = 384;
    if control.len > MAX_CONTROL {
        return Err(Errno::ENOBUFS);
    }
    let (mut ordinary, mut long) = ([0; ORDINARY], Vec::new());
    let bytes = match ordinary.get_mut(..control.len) {
        Some(bytes) => bytes,
        None => {
            long.resize(control.len, 0);
            &mut long
        }
    };
    read(control, bytes)?;
    look(bytes)
}

/// Reads a `__kernel_timespec`: seconds and nanoseconds.
pub(crate) fn read_timespec(addr: u64) -> Result<(i64, i64), Errno> {
    let [seconds, nanos] = read_plain::<[i64; 2]>(addr)?;
    Ok((seconds, nanos))
}

/// Copies the signal mask that a wait was given.
pub(crate) fn read_sigmask(addr: u64) -> Result<libc::sigset_t, Errno> {
    // SAFETY: all zeroes is a valid sigset_t.
    let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
    // The kernel's set is the first 8 bytes of libc's.
    let mut bytes = [0u8; 8];
    read(
        Span {
            addr,
            len: bytes.len(),
        },
        &mut bytes,
    )?;
    for signal in 1..=64 {
        if u64::from_ne_bytes(bytes) >> (signal - 1) & 1 == 1 {
            // SAFETY: the set is initialised and the number is a signal's; others are refused.
            unsafe { libc::sigaddset(&raw mut mask, signal) };
        }
    }
    Ok(mask)
}

/// Puts what the stack has just lent, and nobody has besides, into a group's table.
pub(crate) fn put_lent(table: &LendTable, bid: u16, part: LentPart) {
    // SAFETY: the stack lends what it received into the UMEM that engine and table share, and counts a part
    // for it; the caller has that part from there, and gives it to the table alone.
    unsafe { table.put(bid, part.addr, part.len) };
}

/// A registered buffer ring: in the application's memory, or in memory that the application asks for.
#[derive(Debug)]
pub(crate) struct BufferRing {
    addr: u64,
    mask: u16,
    /// Lent to the application, if the ring was registered without memory of its own.
    owned: Option<Layout>,
}

impl BufferRing {
    /// A ring of `entries` (a power of two) at a page-aligned address.
    ///
    /// # Safety
    /// The memory must stay valid until the ring is unregistered or the engine is dropped.
    pub(crate) unsafe fn new(addr: u64, entries: u16) -> BufferRing {
        BufferRing {
            addr,
            mask: entries - 1,
            owned: None,
        }
    }

    /// A ring of `entries` (a power of two) in memory of its own, all zeroes, until it is dropped.
    pub(crate) fn allocate(entries: u16) -> Result<BufferRing, Errno> {
        let bytes = usize::from(entries) * BUF_ENTRY_BYTES;
        let layout = Layout::from_size_align(bytes, BUF_RING_ALIGN as usize);
        let layout = layout.map_err(|_| Errno::EINVAL)?;
        // SAFETY: the layout is not empty: a power of two is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        if memory.is_null() {
            return Err(Errno::ENOMEM);
        }
        Ok(BufferRing {
            addr: memory as u64,
            mask: entries - 1,
            owned: Some(layout),
        })
    }

    /// Where the memory is that the application was lent.
    pub(crate) fn lent(&self) -> Option<u64> {
        self.owned.map(|_| self.addr)
    }

    /// The application's tail.
    pub(crate) fn tail(&self) -> u16 {
        let tail = (self.addr as usize + BUF_RING_TAIL) as *const AtomicU16;
        // SAFETY: `new`'s promise, or memory of its own: the ring is valid; it is page aligned, so the
        // tail at offset 14 is aligned for a u16, which the application writes atomically.
        unsafe { (*tail).load(Ordering::Acquire) }
    }

    /// A copy of an entry: address, length, buffer id.
    pub(crate) fn entry(&self, index: u16) -> (u64, u32, u16) {
        let at = self.at(index);
        // SAFETY: the masked index lies in the ring; 16-byte entries on a page are aligned. The reads
        // are volatile, since the application may write the entry at any time: whatever is read is
        // only used as numbers, and checked.
        unsafe {
            let addr = std::ptr::read_volatile(at as *const u64);
            let len = std::ptr::read_volatile((at + BUF_ENTRY_LEN) as *const u32);
            let bid = std::ptr::read_volatile((at + BUF_ENTRY_BID) as *const u16);
            (addr, len, bid)
        }
    }

    /// Writes back where the rest of a partly used buffer is (`IOU_PBUF_RING_INC`).
    pub(crate) fn set_addr(&self, index: u16, addr: u64) {
        // SAFETY: as in `entry`, for writing.
        unsafe { std::ptr::write_volatile(self.at(index) as *mut u64, addr) };
    }

    /// Writes back how long it is.
    pub(crate) fn set_len(&self, index: u16, len: u32) {
        let at = self.at(index) + BUF_ENTRY_LEN;
        // SAFETY: as in `entry`, for writing.
        unsafe { std::ptr::write_volatile(at as *mut u32, len) };
    }

    fn at(&self, index: u16) -> usize {
        self.addr as usize + usize::from(index & self.mask) * BUF_ENTRY_BYTES
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        if let Some(layout) = self.owned {
            // SAFETY: it was allocated with this layout, and nobody else frees it. What the
            // application does with the pointer that it was lent ends with the registration: its
            // promise, where it dereferences it.
            unsafe { std::alloc::dealloc(self.addr as *mut u8, layout) };
        }
    }
}

/// The refill ring of zero-copy receive, in the application's memory.
#[derive(Debug)]
pub(crate) struct RefillRing {
    addr: usize,
    entries: u32,
}

impl RefillRing {
    /// A ring of `entries` (a power of two) in a region at a page-aligned address.
    ///
    /// # Safety
    /// The memory must be as long as [`RegionDesc::check`] asks for, and stay valid until the engine takes
    /// no turn any more.
    pub(crate) unsafe fn new(addr: u64, entries: u32) -> RefillRing {
        RefillRing {
            addr: addr as usize,
            entries,
        }
    }

    /// Entries behind `head` that the application has published: not more than there are.
    pub(crate) fn available(&self, head: u32) -> u32 {
        let tail = self.index(REFILL_OFFSETS.tail).load(Ordering::Acquire);
        tail.wrapping_sub(head).min(self.entries)
    }

    /// A copy of an entry.
    pub(crate) fn entry(&self, index: u32) -> Refill {
        let index = (index & (self.entries - 1)) as usize;
        let at = self.addr + REFILL_OFFSETS.rqes as usize + index * REFILL_ENTRY_BYTES;
        // SAFETY: the masked index lies in the region, by `new`'s promise; 16-byte entries are aligned
        // there. The read is volatile, since the application may write the entry at any time: whatever is
        // read is only used as numbers, and checked.
        unsafe { std::ptr::read_volatile(at as *const Refill) }
    }

    /// Tells the application that the entries before `head` are free.
    pub(crate) fn set_head(&self, head: u32) {
        self.index(REFILL_OFFSETS.head)
            .store(head, Ordering::Release);
    }

    fn index(&self, offset: u32) -> &AtomicU32 {
        let at = self.addr + offset as usize;
        // SAFETY: `new`'s promise: the region is valid while the engine uses this; it is page aligned, so
        // the head and the tail are aligned, and both sides use them atomically.
        unsafe { &*(at as *const AtomicU32) }
    }
}

#[cfg(test)]
#[path = "usermem_tests.rs"]
pub(crate) mod tests;
