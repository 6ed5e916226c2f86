//! Provided buffers: rings shared with the application, and legacy groups filled by requests.

use std::collections::{HashMap, VecDeque};

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER};

use crate::usermem::{BufferRing, MAX_TRANSFER, Span};

/// A buffer taken for one attempt: used up by [`Groups::commit`], or put back by [`Groups::recycle`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selected {
    group: u16,
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
    bid: u16,
    /// What may be written or read, in order.
    pub(crate) spans: Vec<Span>,
    /// The group has no more buffers (`REQ_F_BL_EMPTY`).
    pub(crate) exhausted: bool,
    /// The limit fell inside a buffer (`partial_map`).
    pub(crate) cut: bool,
    /// The one buffer of a group that was filled by requests.
    legacy: Option<Selected>,
}

/// Most buffers of one bundle (`PEEK_MAX_IMPORT`).
const MAX_BUNDLE: usize = 256;

#[derive(Debug)]
struct Legacy {
    addr: u64,
    len: u32,
    bid: u16,
}

#[derive(Debug)]
enum Group {
    Ring {
        ring: BufferRing,
        head: u16,
        incremental: bool,
    },
    Legacy(VecDeque<Legacy>),
}

/// The buffer groups of a ring.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<u16, Group>,
}

impl Groups {
    /// Registers a buffer ring (`IORING_REGISTER_PBUF_RING`).
    pub(crate) fn add_ring(
        &mut self,
        group: u16,
        ring: BufferRing,
        incremental: bool,
    ) -> Result<(), Errno> {
        match self.groups.get(&group) {
            Some(Group::Ring { .. }) => return Err(Errno::EEXIST),
            Some(Group::Legacy(buffers)) if !buffers.is_empty() => return Err(Errno::EEXIST),
            _ => {}
        }
        self.groups.insert(
            group,
            Group::Ring {
                ring,
                head: 0,
                incremental,
            },
        );
        Ok(())
    }

    /// Unregisters a buffer ring.
    pub(crate) fn remove_ring(&mut self, group: u16) -> Result<(), Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Legacy(_)) => Err(Errno::EINVAL),
            Some(Group::Ring { .. }) => {
                self.groups.remove(&group);
                Ok(())
            }
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
        Span {
            addr,
            len: len as usize * count as usize,
        }
        .check()?;
        let group = self
            .groups
            .entry(group)
            .or_insert_with(|| Group::Legacy(VecDeque::new()));
        let Group::Legacy(buffers) = group else {
            return Err(Errno::EINVAL);
        };
        buffers.extend((0..count).map(|index| Legacy {
            addr: addr + u64::from(index) * u64::from(len),
            len,
            bid: bid.wrapping_add(index as u16),
        }));
        Ok(())
    }

    /// REMOVE_BUFFERS: takes up to `count` away and says how many that were.
    pub(crate) fn remove(&mut self, group: u16, count: u32) -> Result<u32, Errno> {
        match self.groups.get_mut(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Ring { .. }) => Err(Errno::EINVAL),
            Some(Group::Legacy(buffers)) => {
                let count = buffers.len().min(count as usize);
                buffers.drain(..count);
                Ok(count as u32)
            }
        }
    }

    /// Takes a buffer for one attempt, at most `limit` bytes of it (0: all of it).
    pub(crate) fn select(&mut self, group: u16, limit: usize) -> Result<Selected, Errno> {
        let (addr, len, bid) = match self.groups.get_mut(&group) {
            None => return Err(Errno::ENOBUFS),
            Some(Group::Ring { ring, head, .. }) => {
                if ring.tail() == *head {
                    return Err(Errno::ENOBUFS);
                }
                ring.entry(*head)
            }
            Some(Group::Legacy(buffers)) => {
                let buffer = buffers.pop_front().ok_or(Errno::ENOBUFS)?;
                (buffer.addr, buffer.len, buffer.bid)
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
            bid,
            span: Span { addr, len },
            whole,
        })
    }

    /// As [`Groups::select`], with a send's answers: `ENOENT` for a group that never was, `ENOBUFS`
    /// also where the next buffer of a ring is empty (Linux `io_buffers_select`).
    pub(crate) fn select_to_send(&mut self, group: u16, limit: usize) -> Result<Selected, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Ring { ring, head, .. }) if ring.entry(*head).1 == 0 => Err(Errno::ENOBUFS),
            Some(_) => self.select(group, limit),
        }
    }

    /// Looks at the buffers for a bundle of at most `limit` bytes; without a limit (0) at one. Nothing
    /// is taken before [`Groups::commit_bundle`] (Linux `io_ring_buffers_peek`).
    pub(crate) fn peek_bundle(&mut self, group: u16, limit: usize) -> Result<Bundle, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::ENOENT),
            Some(Group::Legacy(_)) => {
                let selected = self.select(group, limit)?;
                Ok(Bundle {
                    group,
                    bid: selected.bid,
                    spans: vec![selected.span],
                    exhausted: self.is_empty(group),
                    cut: false,
                    legacy: Some(selected),
                })
            }
            Some(&Group::Ring {
                ring,
                head,
                incremental,
            }) => peek_ring(group, ring, head, incremental, limit),
        }
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
        let Some(Group::Ring {
            ring,
            head,
            incremental,
        }) = self.groups.get_mut(&bundle.group)
        else {
            return flags;
        };
        let mut left = used;
        for span in &bundle.spans {
            if left == 0 {
                break;
            }
            let taken = left.min(span.len);
            left -= taken;
            if *incremental {
                let (addr, len, _) = ring.entry(*head);
                let rest = len.saturating_sub(taken as u32);
                ring.advance(*head, addr.wrapping_add(taken as u64), rest);
                if rest > 0 {
                    flags |= IORING_CQE_F_BUF_MORE;
                    break;
                }
            }
            *head = head.wrapping_add(1);
        }
        flags
    }

    /// Puts a bundle back that nothing was received into.
    pub(crate) fn recycle_bundle(&mut self, bundle: Bundle) {
        if let Some(selected) = bundle.legacy {
            self.recycle(selected);
        }
    }

    /// Puts a buffer back that nothing was received into.
    pub(crate) fn recycle(&mut self, selected: Selected) {
        // A ring's buffer was never taken off it: its head has not moved. A legacy buffer goes back
        // to the head, but never into a ring that has taken its group's place since.
        if let Some(Group::Legacy(buffers)) = self.groups.get_mut(&selected.group) {
            let Span { addr, len } = selected.whole;
            buffers.push_front(Legacy {
                addr,
                len: len as u32,
                bid: selected.bid,
            });
        }
    }

    /// Uses a buffer up with `used` bytes; returns the flags that name it in the completion.
    pub(crate) fn commit(&mut self, selected: Selected, used: usize) -> u32 {
        let flags = IORING_CQE_F_BUFFER | u32::from(selected.bid) << IORING_CQE_BUFFER_SHIFT;
        let Some(Group::Ring {
            ring,
            head,
            incremental,
        }) = self.groups.get_mut(&selected.group)
        else {
            return flags;
        };
        if *incremental {
            let Span { addr, len } = selected.whole;
            let used = used.min(len);
            let rest = (len - used) as u32;
            ring.advance(*head, addr.wrapping_add(used as u64), rest);
            if used < len {
                return flags | IORING_CQE_F_BUF_MORE;
            }
        }
        *head = head.wrapping_add(1);
        flags
    }
}

fn peek_ring(
    group: u16,
    ring: BufferRing,
    first: u16,
    incremental: bool,
    limit: usize,
) -> Result<Bundle, Errno> {
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
    let mut bundle = Bundle {
        group,
        bid,
        spans: Vec::with_capacity(count),
        exhausted: false,
        cut: false,
        legacy: None,
    };
    let mut head = first;
    loop {
        let (addr, len, _) = ring.entry(head);
        let mut len = len as usize;
        if len > left {
            len = left;
            if !incremental {
                bundle.cut = true;
                // Only the first buffer is ever used in part.
                if !bundle.spans.is_empty() {
                    break;
                }
            }
        }
        bundle.spans.push(Span { addr, len });
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
