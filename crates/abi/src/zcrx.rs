//! Zero-copy receive: what `IORING_REGISTER_ZCRX_IFQ` is given, and the layout of its refill ring (Linux
//! `include/uapi/linux/io_uring.h`; the checks: `io_uring/zcrx.c`, `io_uring/memmap.c`).
//!
//! The refill ring is a region that the kernel reads and the application writes: a head, a tail, and an
//! array of 16-byte entries `{off: u64, len: u32, pad: u32}`. They are where the registration says.

use crate::errno::Errno;

/// Most entries of a refill ring (`IO_RQ_MAX_ENTRIES`).
pub const MAX_REFILL_ENTRIES: u32 = 32768;
/// Where in an offset the area's token is (`IORING_ZCRX_AREA_SHIFT`).
pub const IORING_ZCRX_AREA_SHIFT: u32 = 48;
/// [`ZcrxReg::flags`]: no network device is behind it (Linux 7, `ZCRX_REG_NODEV`).
pub const ZCRX_REG_NODEV: u32 = 2;
/// [`RegionDesc::flags`]: the memory is the application's.
pub const IORING_MEM_REGION_TYPE_USER: u32 = 1;
/// Alignment of a region, in bytes: the smallest page of the supported machines.
pub const REGION_ALIGN: u64 = 4096;
/// Bytes of an entry of the refill ring.
pub const REFILL_ENTRY_BYTES: usize = size_of::<Refill>();
/// Where the head, the tail and the entries are in the region. An application asks
/// [`ZcrxReg::offsets`].
pub const REFILL_OFFSETS: ZcrxOffsets = ZcrxOffsets {
    head: 0,
    tail: 4,
    rqes: 64,
    resv2: 0,
    resv: [0; 2],
};

/// Where things are in the region of a refill ring (`struct io_uring_zcrx_offsets`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
#[allow(missing_docs)]
pub struct ZcrxOffsets {
    pub head: u32,
    pub tail: u32,
    pub rqes: u32,
    pub resv2: u32,
    pub resv: [u64; 2],
}

/// Argument of the registration (`struct io_uring_zcrx_ifq_reg`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ZcrxReg {
    /// The interface's index.
    pub if_idx: u32,
    /// Its receive queue.
    pub if_rxq: u32,
    /// Entries of the refill ring: rounded up to a power of two.
    pub rq_entries: u32,
    /// [`ZCRX_REG_NODEV`].
    pub flags: u32,
    /// Address of a [`ZcrxAreaReg`].
    pub area_ptr: u64,
    /// Address of a [`RegionDesc`]: where the refill ring is.
    pub region_ptr: u64,
    /// Filled in.
    pub offsets: ZcrxOffsets,
    /// Filled in: what RECV_ZC names.
    pub zcrx_id: u32,
    /// Reserved: of Linux 7 the length of a buffer.
    pub resv2: u32,
    /// Reserved.
    pub resv: [u64; 3],
}

/// What packets are received into (`struct io_uring_zcrx_area_reg`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ZcrxAreaReg {
    /// Where it begins.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Filled in: the upper bits of the offsets of what is in it.
    pub rq_area_token: u64,
    /// None here: the kernel's is for memory of a device.
    pub flags: u32,
    /// Reserved: that memory's descriptor.
    pub dmabuf_fd: u32,
    /// Reserved.
    pub resv2: [u64; 2],
}

/// Memory that is shared with the kernel (`struct io_uring_region_desc`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct RegionDesc {
    /// Where it begins.
    pub user_addr: u64,
    /// Its length in bytes: whole pages.
    pub size: u64,
    /// [`IORING_MEM_REGION_TYPE_USER`].
    pub flags: u32,
    /// Reserved.
    pub id: u32,
    /// Filled in for memory of the kernel's.
    pub mmap_offset: u64,
    /// Reserved.
    pub resv: [u64; 4],
}

/// An entry of the refill ring (`struct io_uring_zcrx_rqe`).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Refill {
    /// The offset that a completion said, or another in the same chunk, with the area's token.
    pub off: u64,
    /// Not read.
    pub len: u32,
    /// Reserved.
    pub pad: u32,
}

const _: () = {
    use io_uring::types::{
        io_uring_region_desc, io_uring_zcrx_area_reg, io_uring_zcrx_ifq_reg, io_uring_zcrx_rqe,
    };
    assert!(size_of::<ZcrxReg>() == size_of::<io_uring_zcrx_ifq_reg>());
    assert!(size_of::<ZcrxAreaReg>() == size_of::<io_uring_zcrx_area_reg>());
    assert!(size_of::<RegionDesc>() == size_of::<io_uring_region_desc>());
    assert!(size_of::<Refill>() == size_of::<io_uring_zcrx_rqe>());
};

impl ZcrxReg {
    /// The first checks, of the structure alone; returns the entries that the refill ring gets. With
    /// `clamp` (`IORING_SETUP_CLAMP`) too many are as many as there may be.
    ///
    /// # Errors
    /// `EINVAL`: a reserved field, an id or an unknown flag is set; the queue is -1; no entries, or more
    /// than [`MAX_REFILL_ENTRIES`].
    pub fn check(&self, clamp: bool) -> Result<u32, Errno> {
        let reserved = self.resv != [0; 3] || self.resv2 != 0 || self.zcrx_id != 0;
        let unknown = self.flags & !ZCRX_REG_NODEV != 0;
        let too_many = self.rq_entries > MAX_REFILL_ENTRIES && !clamp;
        if reserved || unknown || too_many || self.if_rxq == u32::MAX || self.rq_entries == 0 {
            return Err(Errno::EINVAL);
        }
        Ok(self.rq_entries.min(MAX_REFILL_ENTRIES).next_power_of_two())
    }
}

impl RegionDesc {
    /// Checks memory for a refill ring of so many entries (`io_allocate_rbuf_ring`, `io_create_region`).
    ///
    /// # Errors
    /// `EINVAL`: too small, a reserved field or an unknown flag is set, or not whole pages. `EFAULT`: an
    /// address and no flag for it, or the other way round. `E2BIG`, `EOVERFLOW`: too large.
    /// `EOPNOTSUPP`: memory of the kernel's, which is the application's here.
    pub fn check(&self, entries: u32) -> Result<(), Errno> {
        let least = REFILL_OFFSETS.rqes as usize + entries as usize * REFILL_ENTRY_BYTES;
        if self.size < least as u64 || self.resv != [0; 4] {
            return Err(Errno::EINVAL);
        }
        if self.flags & !IORING_MEM_REGION_TYPE_USER != 0 {
            return Err(Errno::EINVAL);
        }
        let user = self.flags & IORING_MEM_REGION_TYPE_USER != 0;
        if user != (self.user_addr != 0) {
            return Err(Errno::EFAULT);
        }
        if self.mmap_offset != 0 || self.id != 0 {
            return Err(Errno::EINVAL);
        }
        if self.size / REGION_ALIGN > i32::MAX as u64 {
            return Err(Errno::E2BIG);
        }
        if !(self.user_addr | self.size).is_multiple_of(REGION_ALIGN) {
            return Err(Errno::EINVAL);
        }
        if self.user_addr.checked_add(self.size).is_none() {
            return Err(Errno::EOVERFLOW);
        }
        if !user {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }
}

impl ZcrxAreaReg {
    /// Checks that the area is left to the ring, whose memory it is. (The kernel takes memory of the
    /// application's.)
    ///
    /// # Errors
    /// `EINVAL`: a field is set.
    pub fn check(&self) -> Result<(), Errno> {
        if *self != ZcrxAreaReg::default() {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "zcrx_tests.rs"]
mod tests;
