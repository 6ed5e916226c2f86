//! io_uring_register(2): files and buffer rings.

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IOU_PBUF_RING_INC, IOU_PBUF_RING_MMAP};
use ringwire_abi::register::BufReg;

use super::Engine;

impl Engine {
    /// Registers a sparse table of direct descriptors (`IORING_REGISTER_FILES2`, sparse).
    pub fn register_files_sparse(&mut self, slots: u32) -> Result<(), Errno> {
        self.files.register(slots)
    }

    /// Unregisters the table; sockets live on while requests use them.
    pub fn unregister_files(&mut self) -> Result<(), Errno> {
        for socket in self.files.unregister()? {
            self.drop_file(socket);
        }
        Ok(())
    }

    /// Registers a buffer ring.
    ///
    /// # Safety
    /// The ring's memory must stay valid until it is unregistered or the engine is dropped.
    pub unsafe fn register_buf_ring(&mut self, reg: &BufReg) -> Result<(), Errno> {
        reg.check()?;
        if reg.flags & IOU_PBUF_RING_MMAP != 0 {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the caller's promise; `check` saw the size and alignment.
        let ring =
            unsafe { crate::usermem::BufferRing::new(reg.ring_addr, reg.ring_entries as u16) };
        self.groups
            .add_ring(reg.bgid, ring, reg.flags & IOU_PBUF_RING_INC != 0)
    }

    /// Unregisters a buffer ring.
    pub fn unregister_buf_ring(&mut self, group: u16) -> Result<(), Errno> {
        self.groups.remove_ring(group)
    }
}
