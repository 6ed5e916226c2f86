//! Zero-copy receive as an application has it: where RECV_ZC's bytes are, and the refill ring.

use std::sync::atomic::{AtomicU32, Ordering};

use ringwire::engine::Engine;
use ringwire_abi::register::IORING_REGISTER_ZCRX_IFQ;
use ringwire_abi::zcrx::{
    IORING_MEM_REGION_TYPE_USER, REFILL_OFFSETS, Refill, RegionDesc, ZcrxAreaReg, ZcrxReg,
};

/// Entries of the refill ring: more than there are chunks to receive into.
const ENTRIES: u32 = 1024;
const REGION_BYTES: usize = 5 * 4096;

#[repr(C, align(4096))]
struct Region([u8; REGION_BYTES]);

/// A registration for zero-copy receive. It lives longer than the engine's last turn.
pub struct ZeroCopyReceive {
    region: Box<Region>,
    area: ZcrxAreaReg,
    /// What RECV_ZC names it by.
    pub id: u32,
    tail: u32,
}

impl ZeroCopyReceive {
    /// Registers it.
    ///
    /// # Panics
    /// If the engine does not take it.
    pub fn register(engine: &mut Engine) -> ZeroCopyReceive {
        let mut region = Box::new(Region([0; REGION_BYTES]));
        let mut desc = RegionDesc {
            user_addr: &raw mut *region as u64,
            size: REGION_BYTES as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        let mut area = ZcrxAreaReg::default();
        let mut reg = ZcrxReg {
            rq_entries: ENTRIES,
            region_ptr: &raw mut desc as u64,
            area_ptr: &raw mut area as u64,
            ..ZcrxReg::default()
        };
        let arg = &raw mut reg as u64;
        // SAFETY: the structures live through the call, and the region as long as this. What is put into it are
        // places that RECV_ZC has named, each once (`give`).
        unsafe { engine.register(IORING_REGISTER_ZCRX_IFQ, arg, 1) }.expect("a registration");
        ZeroCopyReceive {
            region,
            area,
            id: reg.zcrx_id,
            tail: 0,
        }
    }

    /// The bytes that a completion names by its offset, until it is given back.
    ///
    /// # Panics
    /// If they are not in the area.
    pub fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        assert!(offset + len as u64 <= self.area.len, "outside of the area");
        // SAFETY: they lie in the area, which is mapped as long as the engine; nobody writes to what is lent.
        unsafe { std::slice::from_raw_parts((self.area.addr + offset) as *const u8, len) }
    }

    /// Gives the bytes at an offset back.
    pub fn give(&mut self, offset: u64) {
        let entry = Refill {
            off: offset | self.area.rq_area_token,
            ..Refill::default()
        };
        let memory = self.region.0.as_mut_ptr();
        let at = (self.tail % ENTRIES) as usize;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: tail and entries lie in the region, aligned; the engine uses the tail atomically, and reads
        // no entry behind it.
        unsafe {
            let entries = memory.add(REFILL_OFFSETS.rqes as usize).cast::<Refill>();
            entries.add(at).write(entry);
            let tail = &*memory.add(REFILL_OFFSETS.tail as usize).cast::<AtomicU32>();
            tail.store(self.tail, Ordering::Release);
        }
    }
}
