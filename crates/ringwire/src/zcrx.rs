//! What [`Submitter`] registers for RECV_ZC: zero-copy receive.

use std::io;

use io_uring::types::io_uring_zcrx_ifq_reg;
use ringwire_abi::register::IORING_REGISTER_ZCRX_IFQ;

use crate::submitter::Submitter;

impl Submitter<'_> {
    /// Registers for zero-copy receive, once (`io_uring_register_ifq` of liburing). `region_ptr` names memory of
    /// the application's for the refill ring (`IORING_MEM_REGION_TYPE_USER`); `offsets` and `zcrx_id` are
    /// filled in. The interface is the ring's own: `if_idx` and `if_rxq` are not looked at.
    ///
    /// One thing differs from the kernel: the area is not the application's memory but the ring's. `area_ptr`
    /// names a `io_uring_zcrx_area_reg` of zeroes, in which the area's address, its length and its token are
    /// filled in. It is mapped until the ring is dropped.
    ///
    /// # Errors
    /// `EINVAL`: the ring lacks `setup_defer_taskrun`, or `setup_cqe32` and its kin; no entries, or over 32768
    /// without `setup_clamp`; a region that is too small or not whole pages; an area, or an unknown or
    /// reserved field, that is set. `EOPNOTSUPP`: a region of the kernel's. `EFAULT`: a region with an address
    /// and no flag for it, or the other way round. `EEXIST`: it is registered, or another thread is inside.
    ///
    /// # Safety
    /// What `area_ptr` and `region_ptr` point at is valid through the call, and the refill ring's memory until
    /// this ring is dropped. What is put into the refill ring are places that RECV_ZC has named, each once,
    /// where nobody reads any more.
    pub unsafe fn register_ifq(&self, reg: &mut io_uring_zcrx_ifq_reg) -> io::Result<()> {
        let reg = std::ptr::from_mut(reg).cast();
        // SAFETY: the structure is borrowed through the call; the rest is the caller's promise.
        unsafe { self.register(IORING_REGISTER_ZCRX_IFQ, reg, 1) }.map(drop)
    }
}
