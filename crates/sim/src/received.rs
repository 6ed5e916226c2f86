//! What is lent to the application: received bytes where the NIC wrote them. It keeps them for a while, and they must
//! not change before it has given them back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use memmap2::MmapMut;
use ringwire::engine::Engine;
use ringwire_abi::register::IORING_REGISTER_ZCRX_IFQ;
use ringwire_abi::zcrx::{
    IORING_MEM_REGION_TYPE_USER, REFILL_ENTRY_BYTES, REFILL_OFFSETS, RegionDesc, ZcrxAreaReg,
    ZcrxReg,
};
use ringwire_umem::{LendTable, Lent, Umem};

use crate::buffers::Buffers;
use crate::lending::Lent as Counts;
use crate::random::Random;

/// Bytes that are kept, and what they were when they came.
struct Kept<T> {
    by: T,
    bytes: Vec<u8>,
}

/// A lent buffer group.
pub(crate) struct LentGroup {
    buffers: Buffers,
    table: Arc<LendTable>,
    count: u16,
    /// The ids in the ring, in its order: what comes is under the first of them.
    credit: VecDeque<u16>,
    /// The ids under which more of a frame comes, by slot of the socket.
    open: BTreeMap<u32, u16>,
    kept: Vec<Kept<u16>>,
    guards: Vec<Kept<Lent>>,
    pub(crate) counts: Counts,
    random: Random,
}

impl LentGroup {
    /// Registers a group of `count` ids (a power of two) and gives them all.
    pub(crate) fn register(
        engine: &mut Engine,
        group: u16,
        count: u16,
        random: Random,
    ) -> LentGroup {
        let buffers = Buffers::register_lent(engine, group, count);
        let table = engine.lend_table(group);
        LentGroup {
            buffers,
            table: table.expect("the group that was just registered"),
            count,
            credit: (0..count).collect(),
            open: BTreeMap::new(),
            kept: Vec::new(),
            guards: Vec::new(),
            counts: Counts::default(),
            random,
        }
    }

    /// The ids of a datagram, or of a message with its header, of so many bytes.
    ///
    /// # Errors
    /// It is not under the ring's next ids, or not as long.
    pub(crate) fn message(&mut self, bid: u16, len: usize) -> Result<Vec<u16>, String> {
        let mut ids = Vec::new();
        let mut left = len;
        while left > 0 || ids.is_empty() {
            let next = self.credit.pop_front().ok_or("lent without an id")?;
            if ids.is_empty() && next != bid {
                return Err(format!("lent under the id {bid} instead of {next}"));
            }
            let here = self.get(next).len();
            left = left.checked_sub(here).ok_or("more is lent than was said")?;
            if here == 0 {
                return Err(format!("nothing is lent under the id {next}"));
            }
            ids.push(next);
            self.counts.parts += 1;
        }
        Ok(ids)
    }

    /// The next bytes of a stream, which have come under an id; `more`: and there is more to come. They are to
    /// be given back some time.
    ///
    /// # Errors
    /// They are not under the ring's next id.
    pub(crate) fn part(
        &mut self,
        slot: u32,
        (bid, len): (u16, usize),
        more: bool,
    ) -> Result<Vec<u8>, String> {
        let bytes = self.arrived(slot, (bid, len), more)?.to_vec();
        if self.random.chance(300) {
            // What was taken before leaves only the latest bytes, or all of them.
            self.guard(bid);
        }
        if !more {
            self.keep(bid);
        }
        Ok(bytes)
    }

    /// As [`part`](Self::part), but the id is the caller's to [`keep`](Self::keep), if no more comes.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn arrived(
        &mut self,
        slot: u32,
        (bid, len): (u16, usize),
        more: bool,
    ) -> Result<&[u8], String> {
        self.counts.parts += 1;
        let open = self.open.remove(&slot);
        if open != Some(bid) {
            self.keep_open(open);
            match self.credit.pop_front() {
                Some(next) if next == bid => {}
                next => return Err(format!("lent under the id {bid} instead of {next:?}")),
            }
        }
        if more {
            self.open.insert(slot, bid);
        }
        let all = self.get(bid);
        let start = all.len().checked_sub(len);
        Ok(&all[start.ok_or("less is lent than was said")?..])
    }

    /// No more comes of a stream.
    pub(crate) fn closed(&mut self, slot: u32) {
        let open = self.open.remove(&slot);
        self.keep_open(open);
    }

    /// No more comes of any stream.
    pub(crate) fn closed_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        open.into_values().for_each(|bid| self.keep(bid));
    }

    fn keep_open(&mut self, open: Option<u16>) {
        open.into_iter().for_each(|bid| self.keep(bid));
    }

    /// The bytes under an id.
    pub(crate) fn get(&self, bid: u16) -> &[u8] {
        // SAFETY: the id is given again, and its bytes are taken, with `&mut self` only.
        unsafe { self.table.get(bid) }.unwrap_or_default()
    }

    /// The bytes under an id are to be given back some time.
    pub(crate) fn keep(&mut self, bid: u16) {
        let bytes = self.get(bid).to_vec();
        self.kept.push(Kept { by: bid, bytes });
    }

    fn guard(&mut self, bid: u16) {
        if let Some(by) = self.table.take(bid, usize::MAX) {
            let bytes = by.to_vec();
            self.guards.push(Kept { by, bytes });
        }
    }

    /// Gives some back: each so many times in a thousand, in any order. `bad`: and an id that is none.
    ///
    /// # Errors
    /// They have changed meanwhile.
    pub(crate) fn give_back(&mut self, per_mille: u32, bad: bool) -> Result<(), String> {
        // A ring that nobody has looked at yet has no room.
        let has_room = self.credit.len() < usize::from(self.count);
        if bad && has_room && self.random.chance(50) {
            self.counts.bad_ids += 1;
            let bid = self.count + self.random.below(100) as u16;
            self.buffers.provide_id(bid);
        }
        let mut at = 0;
        // The ring has room for an entry that is none besides.
        let mut room = self.count - 1;
        while at < self.kept.len() && room > 0 {
            if !self.random.chance(per_mille) {
                at += 1;
                continue;
            }
            let Kept { by: bid, bytes } = self.kept.swap_remove(at);
            if self.get(bid) != bytes {
                return Err(format!("what was lent under the id {bid} has changed"));
            }
            if self.random.chance(300) {
                self.guard(bid);
            }
            self.buffers.provide_id(bid);
            self.credit.push_back(bid);
            room -= 1;
        }
        let mut at = 0;
        while at < self.guards.len() {
            if !self.random.chance(per_mille) {
                at += 1;
                continue;
            }
            let Kept { by, bytes } = self.guards.swap_remove(at);
            if *by != bytes {
                return Err("what was lent has changed behind its guard".to_string());
            }
        }
        Ok(())
    }
}

/// Entries of the refill ring.
const REFILLS: u32 = 64;
const REGION_BYTES: usize = 4096;

/// What RECV_ZC lends.
pub(crate) struct Refills {
    umem: Arc<Umem>,
    region: MmapMut,
    tail: u32,
    kept: Vec<Kept<u64>>,
    pub(crate) counts: Counts,
    random: Random,
}

impl Refills {
    pub(crate) fn register(engine: &mut Engine, umem: &Arc<Umem>, random: Random) -> Refills {
        let mut region = MmapMut::map_anon(REGION_BYTES).expect("memory for a refill ring");
        let mut area = ZcrxAreaReg::default();
        let mut desc = RegionDesc {
            user_addr: region.as_mut_ptr() as u64,
            size: REGION_BYTES as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        let mut reg = ZcrxReg {
            rq_entries: REFILLS,
            area_ptr: &raw mut area as u64,
            region_ptr: &raw mut desc as u64,
            ..ZcrxReg::default()
        };
        // SAFETY: the arguments live through the call, and the region in the application, which its host keeps
        // as long as the engine.
        unsafe { engine.register(IORING_REGISTER_ZCRX_IFQ, &raw mut reg as u64, 1) }
            .expect("a refill ring");
        Refills {
            umem: Arc::clone(umem),
            region,
            tail: 0,
            kept: Vec::new(),
            counts: Counts::default(),
            random,
        }
    }

    /// Bytes that a completion has named; they are given back some time.
    ///
    /// # Errors
    /// They are not in the UMEM.
    pub(crate) fn received(&mut self, at: u64, len: usize) -> Result<Vec<u8>, String> {
        if at + len as u64 > self.umem.len_bytes() as u64 {
            return Err(format!("{len} bytes at {at:#x} are not in the UMEM"));
        }
        self.counts.parts += 1;
        let bytes = self.read(at, len);
        self.kept.push(Kept {
            by: at,
            bytes: bytes.clone(),
        });
        Ok(bytes)
    }

    fn read(&self, at: u64, len: usize) -> Vec<u8> {
        // SAFETY: the bytes are lent to the application and lie in the UMEM; engine and kernel run on this same
        // thread, and are not running.
        unsafe {
            let first = self.umem.as_ptr().add(at as usize);
            std::slice::from_raw_parts(first, len).to_vec()
        }
    }

    /// Gives some back, as [`LentGroup::give_back`] does.
    ///
    /// # Errors
    /// They have changed meanwhile.
    pub(crate) fn give_back(&mut self, per_mille: u32, bad: bool) -> Result<(), String> {
        let mut room = REFILLS - self.tail.wrapping_sub(self.word(REFILL_OFFSETS.head));
        let len = self.umem.len_bytes() as u64;
        if bad && room > 0 && self.random.chance(50) {
            let offset = match self.random.below(3) {
                0 => len + self.random.below(1 << 40),
                1 => self.random.next() | 1 << 60,
                // The registered areas lie at the end, and are never lent.
                _ => len - 1 - self.random.below(4096),
            };
            self.refill(offset);
            self.counts.bad_places += 1;
            room -= 1;
        }
        let chunk = u64::from(self.umem.chunk_bytes());
        let mut at = 0;
        while at < self.kept.len() && room > 0 {
            if !self.random.chance(per_mille) {
                at += 1;
                continue;
            }
            let Kept { by: offset, bytes } = self.kept.swap_remove(at);
            if self.read(offset, bytes.len()) != bytes {
                return Err(format!("what was lent at {offset:#x} has changed"));
            }
            // Any address of the chunk names it.
            let offset = match self.random.chance(500) {
                true => offset - offset % chunk + self.random.below(chunk),
                false => offset,
            };
            self.refill(offset);
            room -= 1;
        }
        Ok(())
    }

    fn refill(&mut self, offset: u64) {
        let index = (self.tail % REFILLS) as usize * REFILL_ENTRY_BYTES;
        let at = REFILL_OFFSETS.rqes as usize + index;
        self.region[at..at + 8].copy_from_slice(&offset.to_ne_bytes());
        self.region[at + 8..at + 16].fill(0);
        self.tail = self.tail.wrapping_add(1);
        // The engine reads on this same thread: no ordering is needed.
        let tail = REFILL_OFFSETS.tail as usize;
        self.region[tail..tail + 4].copy_from_slice(&self.tail.to_ne_bytes());
    }

    fn word(&self, at: u32) -> u32 {
        let bytes = &self.region[at as usize..at as usize + 4];
        u32::from_ne_bytes(bytes.try_into().expect("four bytes"))
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
