//! The application's registered areas: zero-copy sends of what lies in them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use ringwire::engine::Engine;
use ringwire::msg_zerocopy::{RangeArray, ZeroCopyRange};
use ringwire_abi::flags::IORING_SEND_ZC_REPORT_USAGE;
use ringwire_umem::{Area, AreaLayout, Umem};

use crate::config::Shape;
use crate::loans::{self, Lent};
use crate::pieces::{self, Piece, Pieces};
use crate::random::Random;
use crate::registered;
use crate::stream_memory::scribble;

/// Bytes in a row.
const PLAIN_BYTES: usize = 24 * 4096 - 100;
const SLOTS: u32 = 24;
/// Places looked at for some bytes.
const TRIES: u32 = 4;
/// Ranges of numbers that a send has room for.
const RANGES: usize = 2;
/// Parts that bytes are spread over.
const MOST_PARTS: u64 = 6;

/// The areas that every host has, in their order.
pub(crate) fn layout(shape: Shape) -> Vec<AreaLayout> {
    let slots = AreaLayout::Slots {
        count: SLOTS,
        payload_bytes: shape.slot_bytes,
    };
    vec![AreaLayout::Plain(PLAIN_BYTES), slots]
}

/// Where bytes lie.
#[derive(Clone, Debug)]
enum Part {
    Plain(Range<usize>),
    Slot(usize, usize),
}

/// A socket address and its length.
pub(crate) struct Name(pub(crate) libc::sockaddr_in6, pub(crate) u32);

impl Name {
    /// As a request has it.
    fn parts(name: Option<&Name>) -> (*const libc::sockaddr_in6, u32) {
        name.map_or((std::ptr::null(), 0), |Name(name, len)| (name, *len))
    }
}

/// What a `msghdr` points at, and itself.
struct Message {
    header: libc::msghdr,
    parts: Vec<libc::iovec>,
    name: Option<Name>,
    /// For numbers that are told with it, and the slot of the socket that tells them.
    array: RangeArray<RANGES>,
    asks: Option<u32>,
}

/// Bytes that are being sent.
struct Placed {
    parts: Vec<Part>,
    reports: bool,
    message: Box<Message>,
}

pub(crate) struct Areas {
    umem: Arc<Umem>,
    /// The number of the plain one as a registered buffer.
    index: u16,
    plain: Area,
    taken: Vec<Range<usize>>,
    slots: Vec<Area>,
    free: Vec<usize>,
    /// Entries that name what was placed.
    pub(crate) pieces: Pieces,
    placed: BTreeMap<u64, Placed>,
    serial: u64,
    random: Random,
}

impl Areas {
    /// Takes the areas of a UMEM, and registers the plain one as a buffer too, and behind it all slots as one.
    pub(crate) fn register(
        engine: &mut Engine,
        umem: &Arc<Umem>,
        index: u16,
        mut random: Random,
    ) -> Areas {
        let mut plain = umem.take_area(0).expect("the first area, once");
        let mut slots = umem.take_slots(1).expect("the second area, once");
        let whole = libc::iovec {
            iov_base: plain.as_mut_ptr().cast(),
            iov_len: plain.len(),
        };
        let first = slots[0].as_mut_ptr();
        let last = slots.last_mut().expect("some slots").as_mut_ptr_range().end;
        let of_slots = libc::iovec {
            iov_base: first.cast(),
            iov_len: last as usize - first as usize,
        };
        registered::put(engine, index, &[whole, of_slots]);
        Areas {
            pieces: Pieces::register(engine, Random::new(random.next())),
            umem: Arc::clone(umem),
            index,
            plain,
            taken: Vec::new(),
            free: (0..slots.len()).collect(),
            slots,
            placed: BTreeMap::new(),
            serial: 0,
            random,
        }
    }

    /// Writes bytes somewhere in the areas, and gives them a number; `None` if there is no room for them.
    pub(crate) fn place(&mut self, bytes: &[u8]) -> Option<u64> {
        let count = match self.random.below(3) {
            0 => 1 + self.random.below(MOST_PARTS),
            _ => 1,
        };
        let mut parts = Vec::new();
        let mut at = 0;
        for index in 0..count {
            let left = bytes.len() - at;
            let len = match index + 1 {
                last if last == count => left,
                _ => self.random.below(left as u64 + 1) as usize,
            };
            match self.take(len) {
                Some(part) => {
                    self.bytes(&part).copy_from_slice(&bytes[at..at + len]);
                    parts.push(part);
                }
                None => {
                    parts.iter().for_each(|part| self.free(part));
                    return None;
                }
            }
            at += len;
        }
        let placed = self.placed(parts);
        self.serial += 1;
        self.placed.insert(self.serial, placed);
        Some(self.serial)
    }

    fn placed(&mut self, parts: Vec<Part>) -> Placed {
        let iovec = |part| {
            let bytes = self.bytes(part);
            libc::iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: bytes.len(),
            }
        };
        let message = Message {
            // SAFETY: all zeroes is a valid msghdr.
            header: unsafe { std::mem::zeroed() },
            parts: parts.iter().map(iovec).collect(),
            name: None,
            array: RangeArray::new(),
            asks: None,
        };
        Placed {
            parts,
            reports: self.random.chance(700),
            message: Box::new(message),
        }
    }

    /// A request that sends what was placed, to a name if there is one, and what the checkers are to know.
    pub(crate) fn send(
        &mut self,
        number: u64,
        slot: u32,
        name: Option<Name>,
        flags: i32,
    ) -> (squeue::Entry, Lent) {
        let provided = self.random.chance(250).then(|| self.pieces_of(number));
        let random = &mut self.random;
        let placed = self.placed.get_mut(&number).expect("it was placed");
        let lent = Lent::new(spans(&self.umem, &placed.message.parts), placed.reports);
        let priority = if placed.reports {
            IORING_SEND_ZC_REPORT_USAGE
        } else {
            0
        };
        let message = &mut *placed.message;
        message.name = name;
        let (name, name_len) = Name::parts(message.name.as_ref());
        let socket = types::Fixed(slot);
        if let Some(pieces) = provided {
            let manner = pieces::Manner {
                socket,
                flags,
                reports: placed.reports,
                is_stream: name.is_null(),
            };
            let name = message.name.as_ref();
            if let Some(send) = self.pieces.send(number, &pieces, name, manner) {
                return (send, lent);
            }
        }
        if placed.parts.len() > 1 || random.chance(300) {
            message.header.msg_name = name.cast_mut().cast();
            message.header.msg_namelen = name_len;
            message.header.msg_iov = message.parts.as_mut_ptr();
            message.header.msg_iovlen = message.parts.len();
            let send = opcode::SendMsgZc::new(socket, &raw const message.header);
            let send = send.ioprio(priority).flags(flags as u32);
            return (send.build(), lent);
        }
        let part = message.parts[0];
        let send = opcode::SendZc::new(socket, part.iov_base.cast(), part.iov_len as u32);
        let mut send = send.zc_flags(priority).flags(flags);
        if name_len > 0 {
            send = send.dest_addr(name.cast()).dest_addr_len(name_len);
        }
        if matches!(placed.parts[0], Part::Plain(_)) && random.chance(300) {
            send = send.buf_index(Some(self.index));
        }
        (send.build(), lent)
    }

    /// As [`send`](Self::send) with MSG_ZEROCOPY; some ask for numbers that are told.
    pub(crate) fn send_numbered(
        &mut self,
        number: u64,
        slot: u32,
        name: Option<Name>,
        flags: i32,
    ) -> (squeue::Entry, Lent) {
        let random = &mut self.random;
        let placed = self.placed.get_mut(&number).expect("it was placed");
        let lent = Lent::new(spans(&self.umem, &placed.message.parts), false);
        let message = &mut *placed.message;
        message.name = name;
        let (name, name_len) = Name::parts(message.name.as_ref());
        let (socket, flags) = (types::Fixed(slot), flags | libc::MSG_ZEROCOPY);
        let asks = random.chance(400);
        if placed.parts.len() == 1 && !asks {
            let part = message.parts[0];
            let send = opcode::Send::new(socket, part.iov_base.cast(), part.iov_len as u32);
            let send = send.dest_addr(name.cast()).dest_addr_len(name_len);
            return (send.flags(flags).build(), lent);
        }
        message.header.msg_name = name.cast_mut().cast();
        message.header.msg_namelen = name_len;
        message.header.msg_iov = message.parts.as_mut_ptr();
        message.header.msg_iovlen = message.parts.len();
        if asks {
            message.array.attach(&mut message.header);
            message.asks = Some(slot);
        }
        let send = opcode::SendMsg::new(socket, &raw const message.header);
        (send.flags(flags as u32).build(), lent)
    }

    /// The numbers that were told with a send that asked for them, which has completed well, and the socket's slot.
    pub(crate) fn ranges(&self, number: u64) -> Option<(u32, Vec<ZeroCopyRange>)> {
        let message = &self.placed.get(&number)?.message;
        let ranges = message.array.taken(&message.header);
        message.asks.map(|slot| (slot, ranges.to_vec()))
    }

    /// What was placed, as parts of the registered buffers.
    fn pieces_of(&self, number: u64) -> Vec<Piece> {
        let slots = self.slots[0].as_ptr() as usize;
        let piece = |part: &Part| match part {
            Part::Plain(range) => Piece {
                index: self.index,
                offset: range.start as u64,
                len: range.len() as u32,
            },
            Part::Slot(slot, len) => Piece {
                index: self.index + 1,
                offset: (self.slots[*slot].as_ptr() as usize - slots) as u64,
                len: *len as u32,
            },
        };
        let pieces = self.placed[&number].parts.iter().map(piece);
        // An entry is some bytes.
        pieces.filter(|piece| piece.len > 0).collect()
    }

    /// Where bytes that are the application's lie in the UMEM.
    pub(crate) fn spans(&self, parts: &[libc::iovec]) -> Vec<Range<u64>> {
        spans(&self.umem, parts)
    }

    /// The first byte in some spans that is the application's, and not being sent.
    pub(crate) fn first_not_lent(&mut self, described: &[Range<u64>]) -> Option<u64> {
        if described.is_empty() {
            return None;
        }
        let whole = |area: &mut Area| libc::iovec {
            iov_base: area.as_mut_ptr().cast(),
            iov_len: area.len(),
        };
        let areas = std::iter::once(&mut self.plain).chain(&mut self.slots);
        let areas: Vec<libc::iovec> = areas.map(whole).collect();
        let owned = spans(&self.umem, &areas);
        let placed = self.placed.values();
        let lent = placed.flat_map(|placed| spans(&self.umem, &placed.message.parts));
        let lent: Vec<Range<u64>> = lent.collect();
        let mut described = described.iter();
        described.find_map(|span| loans::first_not_lent(span, &owned, &lent))
    }

    /// Writes over some of what was placed, but for its first bytes, though it is not the application's.
    pub(crate) fn spoil(&mut self, number: u64, keep: usize) {
        let Some(placed) = self.placed.get(&number) else {
            return;
        };
        let mut at = 0;
        for part in placed.parts.clone() {
            let spoils = self.random.chance(500);
            let bytes = self.bytes(&part);
            let skip = keep.saturating_sub(at).min(bytes.len());
            at += bytes.len();
            if spoils {
                bytes[skip..].fill(0x5a);
            }
        }
    }

    /// What was placed is the application's again.
    pub(crate) fn take_back(&mut self, number: u64) {
        let placed = self.placed.remove(&number).expect("it was placed");
        for part in &placed.parts {
            scribble(self.bytes(part));
            self.free(part);
        }
    }

    fn take(&mut self, len: usize) -> Option<Part> {
        let fits = self.slots.first().is_some_and(|slot| len <= slot.len());
        if fits && self.random.chance(500) {
            return self.free.pop().map(|slot| Part::Slot(slot, len));
        }
        let last = self.plain.len().checked_sub(len)? as u64;
        (0..TRIES).find_map(|_| {
            let start = self.random.below(last + 1) as usize;
            let part = start..start + len;
            let is_taken = |it: &Range<usize>| it.start < part.end && part.start < it.end;
            if self.taken.iter().any(is_taken) {
                return None;
            }
            self.taken.push(part.clone());
            Some(Part::Plain(part))
        })
    }

    fn free(&mut self, part: &Part) {
        match part {
            Part::Plain(range) => {
                let at = self.taken.iter().position(|it| it == range);
                self.taken.swap_remove(at.expect("it was taken"));
            }
            Part::Slot(slot, _) => self.free.push(*slot),
        }
    }

    fn bytes(&mut self, part: &Part) -> &mut [u8] {
        match part {
            Part::Plain(range) => &mut self.plain[range.clone()],
            Part::Slot(slot, len) => &mut self.slots[*slot][..*len],
        }
    }
}

fn spans(umem: &Umem, parts: &[libc::iovec]) -> Vec<Range<u64>> {
    let span = |part: &libc::iovec| {
        let start = umem.offset_of(part.iov_base as u64, part.iov_len);
        let start = start.expect("what is lent lies in the UMEM");
        start..start + part.iov_len as u64
    };
    parts.iter().map(span).collect()
}
