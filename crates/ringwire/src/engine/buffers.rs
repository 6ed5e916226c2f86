//! Provided buffers: rings shared with the application, and legacy groups filled by requests.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER};
use ringwire_abi::register::advance_registered;
use ringwire_umem::LendTable;

use super::lent_group::LentGroup;
use crate::usermem::{BufferRing, MAX_TRANSFER, Span};

/// A buffer taken for one attempt: used up by [`Groups::commit`], or put back by [`Groups::recycle`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected {
    group: u16,
    /// The ring that it comes from; none: it was provided by a request.
    ring: Option<u64>,
    bid: u16,
    /// What may be written: the buffer, cut to the request's length.
    pub(crate) span: Span,
    /// The whole buffer, for putting it back.
    whole: Span,
}

/// Several consecutive buffers, taken for one completion.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) group: u16,
    /// The ring that it comes from.
    ring: u64,
    bid: u16,
    /// What may be written or read, in order.
    pub(crate) spans: Vec<Span>,
    /// The group has no more buffers (`REQ_F_BL_EMPTY`).
    pub(crate) exhausted: bool,
    /// The limit fell inside a buffer (`partial_map`).
    pub(crate) cut: bool,
    /// Bytes of the last buffer behind its span.
    rest: usize,
    /// The one buffer of a group that was filled by requests.
    legacy: Option<Selected>,
}

/// Most buffers of a group that requests fill.
const MAX_LEGACY: usize = u16::MAX as usize;
/// Lists of spans that are kept for the bundles to come.
const MOST_SPARE: usize = 64;
/// Most buffers of one bundle (`PEEK_MAX_IMPORT`).
pub(super) const MAX_BUNDLE: usize = 256;

#[derive(Debug)]
struct Legacy {
    addr: u64,
    len: u32,
    bid: u16,
}

/// A buffer ring, as its consumer has it. What is decided about a buffer is decided by a copy of its
/// entry: the application may write the ring's memory at any time, and so may what it receives there.
#[derive(Debug)]
struct Ring {
    /// Tells it from others that have had its group.
    serial: u64,
    ring: BufferRing,
    head: u16,
    /// With `IOU_PBUF_RING_INC`: a buffer goes when less is left of it.
    min_left: Option<usize>,
}

impl Ring {
    /// Uses the buffer at the head, of which this much was left; says whether it stays
    /// (Linux `io_kbuf_inc_commit`).
    fn consume(&mut self, whole: Span, used: usize) -> bool {
        let addr = whole.addr.wrapping_add(used as u64);
        self.consume_to(addr, whole.len, used)
    }

    /// As [`Ring::consume`], of a buffer whose rest is at `addr`.
    fn consume_to(&mut self, addr: u64, len: usize, used: usize) -> bool {
        if let Some(min_left) = self.min_left {
            let rest = len.saturating_sub(used);
            if rest >= min_left {
                self.ring.set_addr(self.head, addr);
                self.ring.set_len(self.head, rest as u32);
                return true;
            }
            self.ring.set_len(self.head, 0);
        }
        self.head = self.head.wrapping_add(1);
        false
    }

    /// Takes the entry at the head, and those behind it, up to `limit` bytes, `most` entries and the tail, while
    /// they lie in the same registered buffer. Says whether the last one stays.
    fn take_registered(
        &mut self,
        (mut addr, mut span): (u64, Span),
        (limit, most, tail): (usize, usize, u16),
        same: impl Fn(u64, usize) -> Option<Span>,
        spans: &mut Vec<Span>,
    ) -> bool {
        let (mut left, mut taken) = (limit, 0);
        loop {
            let used = span.len.min(left);
            match spans.last_mut() {
                // Pieces that lie side by side are sent as one.
                Some(last) if last.addr + last.len as u64 == span.addr => last.len += used,
                _ => spans.push(Span { len: used, ..span }),
            }
            left -= used;
            taken += 1;
            if self.consume_to(advance_registered(addr, used), span.len, used) {
                return true;
            }
            if left == 0 || taken == most || self.head == tail {
                return false;
            }
            let (next, len, _) = self.ring.entry(self.head);
            let Some(found) = same(next, len as usize) else {
                return false;
            };
            // Only the first is ever used in part, unless its rest can stay.
            if found.len > left && self.min_left.is_none() {
                return false;
            }
            (addr, span) = (next, found);
        }
    }
}

#[derive(Debug)]
enum Group {
    Ring(Ring),
    Lent(Box<LentGroup>),
    Legacy(VecDeque<Legacy>),
}

/// The buffer groups of a ring.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<u16, Group, FixedState>,
    /// The lent ones.
    lent: Vec<u16>,
    /// Buffer rings registered so far.
    serial: u64,
    /// Lists of spans of bundles that are gone, for those that come.
    spare: Vec<Vec<Span>>,
}

impl Groups {
    /// Whether a buffer ring may have this group: it is new, or the requests that provided its
    /// buffers have seen them all used; then it is no more.
    pub(crate) fn vacate(&mut self, group: u16) -> Result<(), Errno> {
        match self.groups.get(&group) {
            Some(Group::Legacy(buffers)) if buffers.is_empty() => {
                self.groups.remove(&group);
                Ok(())
            }
            Some(_) => Err(Errno::EEXIST),
            None => Ok(()),
        }
    }

    /// Registers a buffer ring (`IORING_REGISTER_PBUF_RING`) in a group that was vacated. With
    /// `min_left` it is incremental.
    pub(crate) fn add_ring(&mut self, group: u16, ring: BufferRing, min_left: Option<usize>) {
        self.serial += 1;
        let ring = Ring {
            serial: self.serial,
            ring,
            head: 0,
            // Of nothing, nothing is left.
            min_left: min_left.map(|min_left| min_left.max(1)),
        };
        self.groups.insert(group, Group::Ring(ring));
    }

    /// Registers a lent buffer ring in a group that was vacated.
    pub(super) fn add_lent(&mut self, group: u16, lent: LentGroup) {
        self.groups.insert(group, Group::Lent(Box::new(lent)));
        self.lent.push(group);
    }

    /// Unregisters a buffer ring.
    pub(crate) fn remove_ring(&mut self, group: u16) -> Result<(), Errno> {
        self.head(group)?;
        self.groups.remove(&group);
        self.lent.retain(|&lent| lent != group);
        Ok(())
    }

    /// The consumer's head of a buffer ring (`IORING_REGISTER_PBUF_STATUS`).
    pub(crate) fn head(&self, group: u16) -> Result<u16, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Legacy(_)) => Err(Errno::EINVAL),
            Some(Group::Ring(ring)) => Ok(ring.head),
            Some(Group::Lent(lent)) => Ok(lent.head()),
        }
    }

    /// Where the memory of a buffer ring is that was registered with `IOU_PBUF_RING_MMAP`.
    pub(crate) fn memory(&self, group: u16) -> Result<u64, Errno> {
        let memory = match self.groups.get(&group) {
            None => return Err(Errno::ENOENT),
            Some(Group::Legacy(_)) => None,
            Some(Group::Ring(ring)) => ring.ring.lent(),
            Some(Group::Lent(lent)) => lent.memory(),
        };
        memory.ok_or(Errno::EINVAL)
    }

    /// The lent groups, by their numbers.
    pub(super) fn lent_groups(&self) -> &[u16] {
        &self.lent
    }

    pub(super) fn is_lent(&self, group: u16) -> bool {
        self.lent.contains(&group)
    }

    pub(super) fn lent_group(&mut self, group: u16) -> Option<&mut LentGroup> {
        match self.groups.get_mut(&group) {
            Some(Group::Lent(lent)) => Some(lent),
            _ => None,
        }
    }

    /// What a lent group has lent.
    pub(super) fn table(&self, group: u16) -> Result<Arc<LendTable>, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Lent(lent)) => Ok(Arc::clone(lent.table())),
            Some(_) => Err(Errno::EINVAL),
        }
    }

    /// The ring that something was taken from, if it is still there.
    fn source(&mut self, group: u16, serial: u64) -> Option<&mut Ring> {
        match self.groups.get_mut(&group) {
            Some(Group::Ring(ring)) if ring.serial == serial => Some(ring),
            _ => None,
        }
    }

    /// PROVIDE_BUFFERS: `count` buffers of `len` bytes each, the first with id `bid`.
    pub(crate) fn provide(
        &mut self,
        group: u16,
        addr: u64,
        len: u32,
        count: u32,
        bid: u16,
    ) -> Result<(), Errno> {
        let group = self
            .groups
            .entry(group)
            .or_insert_with(|| Group::Legacy(VecDeque::new()));
        let Group::Legacy(buffers) = group else {
            return Err(Errno::EINVAL);
        };
        // More than there are ids could not be told apart (Linux `io_add_buffers`).
        let room = MAX_LEGACY - buffers.len();
        let taken = room.min(count as usize) as u32;
        buffers.extend((0..taken).map(|index| Legacy {
            addr: addr + u64::from(index) * u64::from(len),
            len: len.min(MAX_TRANSFER as u32),
            bid: bid.wrapping_add(index as u16),
        }));
        if taken == 0 {
            return Err(Errno::EOVERFLOW);
        }
        Ok(())
    }

    /// REMOVE_BUFFERS: takes up to `count` away and says how many that were.
    pub(crate) fn remove(&mut self, group: u16, count: u32) -> Result<u32, Errno> {
        match self.groups.get_mut(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Ring(_) | Group::Lent(_)) => Err(Errno::EINVAL),
            Some(Group::Legacy(buffers)) => {
                let count = buffers.len().min(count as usize);
                buffers.drain(..count);
                Ok(count as u32)
            }
        }
    }

    /// Takes a buffer for one attempt, at most `limit` bytes of it (0: all of it).
    pub(crate) fn select(&mut self, group: u16, limit: usize) -> Result<Selected, Errno> {
        let (ring, (addr, len, bid)) = match self.groups.get_mut(&group) {
            None => return Err(Errno::ENOBUFS),
            // There is no memory to send from, or to receive into.
            Some(Group::Lent(_)) => return Err(Errno::EINVAL),
            Some(Group::Ring(ring)) => {
                if ring.ring.tail() == ring.head {
                    return Err(Errno::ENOBUFS);
                }
                (Some(ring.serial), ring.ring.entry(ring.head))
            }
            Some(Group::Legacy(buffers)) => {
                let buffer = buffers.pop_front().ok_or(Errno::ENOBUFS)?;
                (None, (buffer.addr, buffer.len, buffer.bid))
            }
        };
        let whole = Span {
            addr,
            len: len as usize,
        };
        let limit = if limit == 0 { MAX_TRANSFER } else { limit };
        let len = whole.len.min(limit).min(MAX_TRANSFER);
        Ok(Selected {
            group,
            ring,
            bid,
            span: Span { addr, len },
            whole,
        })
    }

    /// As [`Groups::select`], but `ENOENT` for a group that never was (Linux `io_buffers_peek`).
    pub(crate) fn select_known(&mut self, group: u16, limit: usize) -> Result<Selected, Errno> {
        match self.groups.contains_key(&group) {
            true => self.select(group, limit),
            false => Err(Errno::ENOENT),
        }
    }

    /// As [`Groups::select_known`], with a send's answers: `ENOBUFS` also where the next buffer of a ring is
    /// empty (Linux `io_buffers_select`).
    pub(crate) fn select_to_send(&mut self, group: u16, limit: usize) -> Result<Selected, Errno> {
        match self.groups.get(&group) {
            Some(Group::Ring(ring)) if ring.ring.entry(ring.head).1 == 0 => Err(Errno::ENOBUFS),
            _ => self.select_known(group, limit),
        }
    }

    /// Looks at the buffers for a bundle of at most `limit` bytes; without a limit (0) at one. Nothing
    /// is taken before [`Groups::commit_bundle`] (Linux `io_ring_buffers_peek`).
    pub(crate) fn peek_bundle(&mut self, group: u16, limit: usize) -> Result<Bundle, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Lent(_)) => Err(Errno::EINVAL),
            Some(Group::Legacy(_)) => {
                let selected = self.select(group, limit)?;
                let mut spans = self.spare.pop().unwrap_or_default();
                spans.push(selected.span);
                Ok(Bundle {
                    group,
                    ring: 0,
                    bid: selected.bid,
                    spans,
                    exhausted: self.is_empty(group),
                    cut: false,
                    rest: 0,
                    legacy: Some(selected),
                })
            }
            Some(Group::Ring(ring)) => {
                let spans = self.spare.pop().unwrap_or_default();
                peek_ring(group, ring, limit, spans)
            }
        }
    }

    /// Takes consecutive entries that name registered memory off a group, at most `most` of them and `limit` bytes
    /// (0: no limit): they are used up. `find` says which buffer an entry names, and where in it. Returns the flags
    /// that name the first, and the bundle, or what is wrong with the first.
    pub(super) fn take_registered<Buffer: PartialEq>(
        &mut self,
        group: u16,
        (limit, most): (usize, usize),
        find: impl Fn(u64, usize) -> Result<(Buffer, Span), Errno>,
    ) -> (u32, Result<(Buffer, Bundle), Errno>) {
        let ring = match self.groups.get_mut(&group) {
            None => return (0, Err(Errno::ENOENT)),
            // Their addresses are memory; or there is none to send from.
            Some(Group::Legacy(_) | Group::Lent(_)) => return (0, Err(Errno::EINVAL)),
            Some(Group::Ring(ring)) => ring,
        };
        let tail = ring.ring.tail();
        if tail == ring.head {
            return (0, Err(Errno::ENOBUFS));
        }
        let (addr, len, bid) = ring.ring.entry(ring.head);
        let flags = IORING_CQE_F_BUFFER | u32::from(bid) << IORING_CQE_BUFFER_SHIFT;
        let (buffer, span) = match find(addr, len as usize) {
            Ok(found) => found,
            Err(error) => {
                ring.consume_to(addr, len as usize, len as usize);
                return (flags, Err(error));
            }
        };
        let mut spans = self.spare.pop().unwrap_or_default();
        let limit = if limit == 0 { MAX_TRANSFER } else { limit };
        let limits = (limit.min(MAX_TRANSFER), most, tail);
        let same = |addr, len| {
            let (other, span) = find(addr, len).ok()?;
            (other == buffer).then_some(span)
        };
        let stays = ring.take_registered((addr, span), limits, same, &mut spans);
        let bundle = Bundle {
            group,
            ring: ring.serial,
            bid,
            spans,
            exhausted: ring.head == tail,
            cut: false,
            rest: 0,
            legacy: None,
        };
        let more = if stays { IORING_CQE_F_BUF_MORE } else { 0 };
        (flags | more, Ok((buffer, bundle)))
    }

    /// Lets go of a bundle that was used up, or put back.
    pub(crate) fn let_go(&mut self, bundle: Bundle) {
        let mut spans = bundle.spans;
        if self.spare.len() < MOST_SPARE {
            spans.clear();
            self.spare.push(spans);
        }
    }

    /// Whether requests fill this group.
    pub(crate) fn is_provided(&self, group: u16) -> bool {
        matches!(self.groups.get(&group), Some(Group::Legacy(_)))
    }

    /// Whether a group that was filled by requests has no buffer left.
    fn is_empty(&self, group: u16) -> bool {
        matches!(self.groups.get(&group), Some(Group::Legacy(buffers)) if buffers.is_empty())
    }

    /// Uses a bundle up with `used` bytes; returns the flags that name its first buffer.
    pub(crate) fn commit_bundle(&mut self, bundle: &Bundle, used: usize) -> u32 {
        if used == 0 {
            return 0;
        }
        if let Some(selected) = bundle.legacy {
            return self.commit(selected, used);
        }
        let mut flags = IORING_CQE_F_BUFFER | u32::from(bundle.bid) << IORING_CQE_BUFFER_SHIFT;
        let Some(ring) = self.source(bundle.group, bundle.ring) else {
            return flags;
        };
        let mut left = used;
        for (index, &span) in bundle.spans.iter().enumerate() {
            if left == 0 {
                break;
            }
            let taken = left.min(span.len);
            left -= taken;
            let last = index + 1 == bundle.spans.len();
            let rest = if last { bundle.rest } else { 0 };
            let whole = Span {
                addr: span.addr,
                len: span.len + rest,
            };
            if ring.consume(whole, taken) {
                flags |= IORING_CQE_F_BUF_MORE;
                break;
            }
        }
        flags
    }

    /// Puts a bundle back that nothing was received into.
    pub(crate) fn recycle_bundle(&mut self, bundle: Bundle) {
        if let Some(selected) = bundle.legacy {
            self.recycle(selected);
        }
        self.let_go(bundle);
    }

    /// Puts a buffer back that nothing was received into.
    pub(crate) fn recycle(&mut self, selected: Selected) {
        // A ring's buffer was never taken off it: its head has not moved. A legacy buffer goes back
        // to the head, but never into a ring that has taken its group's place since.
        if selected.ring.is_none()
            && let Some(Group::Legacy(buffers)) = self.groups.get_mut(&selected.group)
        {
            let Span { addr, len } = selected.whole;
            buffers.push_front(Legacy {
                addr,
                len: len as u32,
                bid: selected.bid,
            });
        }
    }

    /// Takes a buffer off its ring that a request has received a part into and goes on with: no other is
    /// to get it. Of an incremental one the rest is lost.
    pub(crate) fn hold(&mut self, selected: &mut Selected) {
        if let Some(serial) = selected.ring.take()
            && let Some(ring) = self.source(selected.group, serial)
        {
            ring.consume(selected.whole, selected.whole.len);
        }
    }

    /// Uses a buffer up with `used` bytes; returns the flags that name it in the completion.
    pub(crate) fn commit(&mut self, selected: Selected, used: usize) -> u32 {
        let flags = IORING_CQE_F_BUFFER | u32::from(selected.bid) << IORING_CQE_BUFFER_SHIFT;
        let ring = selected
            .ring
            .and_then(|serial| self.source(selected.group, serial));
        if ring.is_some_and(|ring| ring.consume(selected.whole, used)) {
            return flags | IORING_CQE_F_BUF_MORE;
        }
        flags
    }
}

/// Linux `io_ring_buffers_peek`.
fn peek_ring(group: u16, from: &Ring, limit: usize, mut spans: Vec<Span>) -> Result<Bundle, Errno> {
    let (ring, first) = (&from.ring, from.head);
    let tail = ring.tail();
    let (_, len, bid) = ring.entry(first);
    if tail == first || (limit > 0 && len == 0) {
        return Err(Errno::ENOBUFS);
    }
    let available = usize::from(tail.wrapping_sub(first));
    let mut count = match limit {
        0 => 1,
        limit => available.min(limit.div_ceil(len as usize).min(MAX_BUNDLE)),
    };
    let mut left = if limit == 0 {
        MAX_TRANSFER
    } else {
        limit.min(MAX_TRANSFER)
    };
    spans.reserve(count);
    let mut bundle = Bundle {
        group,
        ring: from.serial,
        bid,
        spans,
        exhausted: false,
        cut: false,
        rest: 0,
        legacy: None,
    };
    let mut head = first;
    loop {
        let (addr, whole, _) = ring.entry(head);
        let mut len = whole as usize;
        if len > left {
            len = left;
            if from.min_left.is_none() {
                bundle.cut = true;
                // Only the first buffer is ever used in part.
                if !bundle.spans.is_empty() {
                    break;
                }
            }
        }
        bundle.spans.push(Span { addr, len });
        bundle.rest = whole as usize - len;
        left -= len;
        if left == 0 {
            break;
        }
        head = head.wrapping_add(1);
        count -= 1;
        if count == 0 {
            break;
        }
    }
    bundle.exhausted = head == tail;
    Ok(bundle)
}

#[cfg(test)]
#[path = "buffers_tests.rs"]
mod tests;
