//! Provided buffers: rings shared with the application, and legacy groups filled by requests.

use std::collections::{HashMap, VecDeque};

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER};

use crate::usermem::{BufferRing, Span};

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

    /// Whether the group was ever made.
    pub(crate) fn exists(&self, group: u16) -> bool {
        self.groups.contains_key(&group)
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
        let len = if limit == 0 {
            whole.len
        } else {
            whole.len.min(limit)
        };
        Ok(Selected {
            group,
            bid,
            span: Span { addr, len },
            whole,
        })
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
            ring.advance(*head, addr + used as u64, (len - used) as u32);
            if used < len {
                return flags | IORING_CQE_F_BUF_MORE;
            }
        }
        *head = head.wrapping_add(1);
        flags
    }
}
