//! What [`Submitter`] registers: files, buffers, and the rest of io_uring_register(2).

use std::io;

use ringwire_abi::register::BufReg;

use crate::ring::{Submitter, os_error};

impl Submitter<'_> {
    /// Registers a table of `nr` empty direct descriptors.
    ///
    /// # Errors
    /// `EBUSY`: there is one; `EINVAL`: none asked for; `EMFILE`: too many.
    pub fn register_files_sparse(&self, nr: u32) -> io::Result<()> {
        self.shared
            .enter()?
            .engine
            .register_files_sparse(nr)
            .map_err(os_error)
    }

    /// Unregisters the table. Requests in flight keep their sockets.
    ///
    /// # Errors
    /// `ENXIO`: there is none.
    pub fn unregister_files(&self) -> io::Result<()> {
        self.shared
            .enter()?
            .engine
            .unregister_files()
            .map_err(os_error)
    }

    /// Registers a provided buffer ring.
    ///
    /// # Errors
    /// `EINVAL`: not a power of two, not page aligned, or flags that are not known; `EEXIST`: the
    /// group is a ring already; `EFAULT`: no address.
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
        // SAFETY: the caller's promise is the engine's condition.
        unsafe { self.shared.enter()?.engine.register_buf_ring(&reg) }.map_err(os_error)
    }

    /// Unregisters a provided buffer ring.
    ///
    /// # Errors
    /// `ENOENT`: no such group; `EINVAL`: its buffers were provided by requests.
    pub fn unregister_buf_ring(&self, bgid: u16) -> io::Result<()> {
        self.shared
            .enter()?
            .engine
            .unregister_buf_ring(bgid)
            .map_err(os_error)
    }
}
