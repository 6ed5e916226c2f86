//! io_uring_register(2): which opcode does what. The checks of the arguments' shape stand here, in
//! the kernel's order (Linux `io_uring/register.c`, `__io_uring_register`).

use std::sync::Arc;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IOU_PBUF_RING_INC, IOU_PBUF_RING_LENT, IOU_PBUF_RING_MMAP};
use ringwire_abi::notifier::{RINGWIRE_REGISTER_NOTIFIERS, RINGWIRE_UNREGISTER_NOTIFIERS};
use ringwire_abi::register::*;
use ringwire_umem::LendTable;

use super::Engine;
use super::lent_group::LentGroup;
use crate::usermem::{BufferRing, Span, read_plain, write_plain};

impl Engine {
    /// The first checks: the opcode, whether the ring may register that, and the argument's shape.
    pub(crate) fn check_register(&self, opcode: u32, arg: u64, nr: u32) -> Result<u32, Errno> {
        let opcode = opcode & !IORING_REGISTER_USE_REGISTERED_RING;
        let own = matches!(
            opcode,
            RINGWIRE_REGISTER_NOTIFIERS | RINGWIRE_UNREGISTER_NOTIFIERS
        );
        if opcode >= IORING_REGISTER_LAST && !own {
            return Err(Errno::EINVAL);
        }
        self.check_registration(opcode)?;
        check_shape(opcode, arg, nr)?;
        Ok(opcode)
    }

    /// io_uring_register(2) on this ring: what it returns.
    ///
    /// # Safety
    /// As for the system call: what `arg` and the addresses in it point at is the argument of this
    /// opcode, valid through the call, and writable where the kernel writes. A buffer ring's memory
    /// stays valid until it is unregistered or the engine is dropped. A refill ring's does until then too,
    /// and is given only places that RECV_ZC has named, each once, where nobody reads any more.
    pub unsafe fn register(&mut self, opcode: u32, arg: u64, nr: u32) -> Result<i32, Errno> {
        let opcode = self.check_register(opcode, arg, nr)?;
        // SAFETY: the caller's promise.
        let result = unsafe { self.register_checked(opcode, arg, nr) };
        self.signal();
        result
    }

    /// # Safety
    /// As for [`register`](Self::register).
    unsafe fn register_checked(&mut self, opcode: u32, arg: u64, nr: u32) -> Result<i32, Errno> {
        match opcode {
            IORING_REGISTER_BUFFERS => self.register_buffers(arg, nr, 0),
            IORING_UNREGISTER_BUFFERS => self.unregister_buffers(),
            IORING_REGISTER_BUFFERS2 => self.register_buffers2(arg),
            IORING_REGISTER_BUFFERS_UPDATE => self.update_buffers(arg),
            IORING_REGISTER_FILES => self.register_files(arg, nr, 0),
            IORING_UNREGISTER_FILES => self.unregister_files(),
            IORING_REGISTER_FILES_UPDATE => self.register_files_update(arg, nr),
            IORING_REGISTER_FILES2 => self.register_files2(arg),
            IORING_REGISTER_FILES_UPDATE2 => self.register_files_update2(arg),
            IORING_REGISTER_FILE_ALLOC_RANGE => self.register_file_alloc_range(arg),
            IORING_REGISTER_EVENTFD => self.register_eventfd(arg, false),
            IORING_REGISTER_EVENTFD_ASYNC => self.register_eventfd(arg, true),
            IORING_UNREGISTER_EVENTFD => self.unregister_eventfd(),
            IORING_REGISTER_SYNC_CANCEL => self.sync_cancel(arg),
            IORING_REGISTER_PROBE => self.probe(arg, nr),
            IORING_REGISTER_PERSONALITY => self.register_personality(),
            IORING_UNREGISTER_PERSONALITY => self.unregister_personality(nr),
            IORING_REGISTER_RESTRICTIONS => self.register_restrictions(arg, nr),
            IORING_REGISTER_IOWQ_AFF => self.register_iowq_aff(arg, nr),
            IORING_UNREGISTER_IOWQ_AFF => Ok(0),
            IORING_REGISTER_IOWQ_MAX_WORKERS => self.register_iowq_max_workers(arg),
            IORING_REGISTER_NAPI => self.register_napi(arg),
            IORING_UNREGISTER_NAPI => self.unregister_napi(arg),
            IORING_REGISTER_CLOCK => self.register_clock(arg),
            // SAFETY: the caller's promise.
            IORING_REGISTER_PBUF_RING => unsafe { self.register_buf_ring(arg) },
            IORING_UNREGISTER_PBUF_RING => self.unregister_buf_ring(arg),
            IORING_REGISTER_PBUF_STATUS => self.buf_ring_status(arg),
            // SAFETY: the caller's promise.
            IORING_REGISTER_ZCRX_IFQ => unsafe { self.register_zcrx(arg) },
            RINGWIRE_REGISTER_NOTIFIERS => self.register_notifiers(arg, nr),
            RINGWIRE_UNREGISTER_NOTIFIERS => self.unregister_notifiers(),
            _ => Err(Errno::EINVAL),
        }
    }

    /// # Safety
    /// The ring's memory must stay valid until it is unregistered or the engine is dropped.
    unsafe fn register_buf_ring(&mut self, arg: u64) -> Result<i32, Errno> {
        let reg: BufReg = read_plain(arg)?;
        reg.check()?;
        self.groups.vacate(reg.bgid)?;
        reg.check_memory()?;
        let entries = reg.ring_entries as u16;
        let ring = if reg.flags & IOU_PBUF_RING_MMAP != 0 {
            BufferRing::allocate(entries)?
        } else {
            let (addr, len) = (reg.ring_addr, reg.ring_bytes());
            Span { addr, len }.check()?;
            // SAFETY: the caller's promise; the checks saw the size and alignment.
            unsafe { BufferRing::new(addr, entries) }
        };
        if reg.flags & IOU_PBUF_RING_LENT != 0 {
            let lent = LentGroup::new(ring, entries, self.ledger.umem());
            self.groups.add_lent(reg.bgid, lent);
            return Ok(0);
        }
        let incremental = reg.flags & IOU_PBUF_RING_INC != 0;
        let min_left = incremental.then_some(reg.min_left as usize);
        self.groups.add_ring(reg.bgid, ring, min_left);
        Ok(0)
    }

    fn unregister_buf_ring(&mut self, arg: u64) -> Result<i32, Errno> {
        let reg: BufReg = read_plain(arg)?;
        reg.check_unregister()?;
        self.groups.remove_ring(reg.bgid)?;
        Ok(0)
    }

    fn buf_ring_status(&mut self, arg: u64) -> Result<i32, Errno> {
        let mut status: BufStatus = read_plain(arg)?;
        if status.resv != [0; 8] {
            return Err(Errno::EINVAL);
        }
        let group = u16::try_from(status.buf_group).map_err(|_| Errno::ENOENT)?;
        status.head = self.groups.head(group)?.into();
        write_plain(arg, status)?;
        Ok(0)
    }

    /// Where the memory of a buffer ring is that was registered with `IOU_PBUF_RING_MMAP`, until it is
    /// unregistered: what mmap(2) on the kernel's ring gives.
    pub fn buf_ring_memory(&self, group: u16) -> Result<u64, Errno> {
        self.groups.memory(group)
    }

    /// What a lent group has lent, by buffer id.
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: it is not a lent one.
    pub fn lend_table(&self, group: u16) -> Result<Arc<LendTable>, Errno> {
        self.groups.table(group)
    }
}

/// Checks that there is an argument, or none, and how many.
fn check_shape(opcode: u32, arg: u64, nr: u32) -> Result<(), Errno> {
    let rsrc = size_of::<RsrcRegister>() as u32;
    let good = match opcode {
        IORING_REGISTER_BUFFERS | IORING_REGISTER_FILES if arg == 0 => return Err(Errno::EFAULT),
        IORING_UNREGISTER_BUFFERS
        | IORING_UNREGISTER_FILES
        | IORING_UNREGISTER_EVENTFD
        | IORING_REGISTER_PERSONALITY
        | IORING_REGISTER_ENABLE_RINGS
        | IORING_UNREGISTER_IOWQ_AFF
        | RINGWIRE_UNREGISTER_NOTIFIERS => arg == 0 && nr == 0,
        IORING_UNREGISTER_PERSONALITY => arg == 0,
        IORING_REGISTER_PROBE => arg != 0 && nr <= 256,
        IORING_REGISTER_IOWQ_AFF => arg != 0 && nr != 0,
        IORING_REGISTER_IOWQ_MAX_WORKERS => arg != 0 && nr == 2,
        IORING_REGISTER_BUFFERS2
        | IORING_REGISTER_BUFFERS_UPDATE
        | IORING_REGISTER_FILES2
        | IORING_REGISTER_FILES_UPDATE2 => nr == rsrc,
        IORING_REGISTER_EVENTFD | IORING_REGISTER_EVENTFD_ASYNC | IORING_UNREGISTER_NAPI => nr == 1,
        IORING_REGISTER_FILE_ALLOC_RANGE | IORING_REGISTER_CLOCK => arg != 0 && nr == 0,
        IORING_REGISTER_PBUF_RING
        | IORING_UNREGISTER_PBUF_RING
        | IORING_REGISTER_PBUF_STATUS
        | IORING_REGISTER_NAPI
        | IORING_REGISTER_SYNC_CANCEL
        | IORING_REGISTER_CLONE_BUFFERS
        | IORING_REGISTER_ZCRX_IFQ => arg != 0 && nr == 1,
        _ => true,
    };
    if good { Ok(()) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
