//! How a UMEM is cut: which chunks serve what.

use std::ops::Range;

/// The pools whose chunks the ledger hands out. Registered areas are no pool: they belong to the
/// application for as long as the UMEM lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Chunks that the NIC receives into.
    Rx,
    /// Chunks that hold the headers of packets whose payload lies elsewhere.
    Header,
    /// Chunks that hold packets the stack wrote itself: copied sends and control traffic.
    Send,
}

impl Pool {
    pub(crate) const ALL: [Pool; 3] = [Pool::Rx, Pool::Header, Pool::Send];

    #[inline]
    pub(crate) fn index(self) -> usize {
        match self {
            Pool::Rx => 0,
            Pool::Header => 1,
            Pool::Send => 2,
        }
    }
}

/// Sizes of a UMEM's parts, in the order in which they lie in memory: RX chunks, header chunks,
/// send chunks, registered areas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes in a chunk: 2048 or 4096 (the kernel takes no larger one in aligned mode).
    pub chunk_bytes: u32,
    /// Chunks for receiving.
    pub rx_chunks: u32,
    /// Chunks for headers.
    pub header_chunks: u32,
    /// Chunks for copied sends.
    pub send_chunks: u32,
    /// RX chunks that [`Ledger::lend`](crate::Ledger::lend) never takes: what keeps ARP, control
    /// traffic and other sockets alive beside an application that gives nothing back.
    pub lend_reserve_chunks: u32,
    /// The registered areas.
    pub areas: Vec<AreaLayout>,
}

/// Bytes in front of a payload that the stack writes its headers into: Ethernet, IPv6 and the longest
/// TCP header, and aligned.
pub const HEADROOM: u32 = 128;

/// What a registered area is cut into; it is rounded up to whole chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AreaLayout {
    /// So many bytes in a row. A packet with some of them needs a second descriptor, for its headers.
    Plain(usize),
    /// Slots for payloads, each with [`HEADROOM`] bytes in front of it that belong to the stack: a packet
    /// with a slot's payload is one descriptor.
    Slots {
        /// Number of slots.
        count: u32,
        /// Bytes that each holds.
        payload_bytes: u32,
    },
}

/// A layout that no UMEM can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The chunk size is not one that the kernel takes.
    #[error("chunks of {0} bytes are not supported: use 2048 or 4096")]
    ChunkBytes(u32),
    /// A pool that must not be empty is.
    #[error("a UMEM needs at least one RX chunk and one send chunk")]
    EmptyPool,
    /// More chunks than 32-bit indices can name.
    #[error("the UMEM would have {0} chunks: ask for fewer or smaller areas")]
    TooManyChunks(u64),
    /// A slot is empty, or does not fit into a chunk.
    #[error("a slot for {payload_bytes} bytes does not fit: 1 to {most} bytes do")]
    Slot {
        /// Bytes asked for.
        payload_bytes: u32,
        /// Most that a chunk has room for.
        most: u32,
    },
    /// The reserve would leave nothing to receive with.
    #[error("a lend reserve of {reserve} chunks leaves nothing of {rx} RX chunks")]
    Reserve {
        /// Chunks asked for as reserve.
        reserve: u32,
        /// Chunks in the RX pool.
        rx: u32,
    },
}

impl Layout {
    /// Checks the layout and returns the number of chunks in all.
    pub fn check(&self) -> Result<u32, LayoutError> {
        if self.chunk_bytes != 2048 && self.chunk_bytes != 4096 {
            return Err(LayoutError::ChunkBytes(self.chunk_bytes));
        }
        if self.rx_chunks == 0 || self.send_chunks == 0 {
            return Err(LayoutError::EmptyPool);
        }
        if self.lend_reserve_chunks >= self.rx_chunks {
            return Err(LayoutError::Reserve {
                reserve: self.lend_reserve_chunks,
                rx: self.rx_chunks,
            });
        }
        for area in &self.areas {
            let most = self.chunk_bytes - HEADROOM;
            if let AreaLayout::Slots { payload_bytes, .. } = *area
                && (payload_bytes == 0 || payload_bytes > most)
            {
                return Err(LayoutError::Slot {
                    payload_bytes,
                    most,
                });
            }
        }
        let pools =
            u64::from(self.rx_chunks) + u64::from(self.header_chunks) + u64::from(self.send_chunks);
        let total = (0..self.areas.len())
            .map(|area| u64::from(self.chunks_of(&self.areas[area])))
            .fold(pools, u64::saturating_add);
        match u32::try_from(total) {
            Ok(total) if total < u32::MAX => Ok(total),
            _ => Err(LayoutError::TooManyChunks(total)),
        }
    }

    /// The chunk indices of a pool.
    pub fn pool_chunks(&self, pool: Pool) -> Range<u32> {
        let header = self.rx_chunks;
        let send = header + self.header_chunks;
        match pool {
            Pool::Rx => 0..header,
            Pool::Header => header..send,
            Pool::Send => send..send + self.send_chunks,
        }
    }

    /// The pool that a chunk belongs to; `None` for a chunk of a registered area.
    #[inline]
    pub fn pool_of(&self, chunk: u32) -> Option<Pool> {
        let header = self.rx_chunks;
        let send = header + self.header_chunks;
        match chunk {
            _ if chunk < header => Some(Pool::Rx),
            _ if chunk < send => Some(Pool::Header),
            _ if chunk < send + self.send_chunks => Some(Pool::Send),
            _ => None,
        }
    }

    /// The chunk indices of a registered area.
    pub fn area_chunks(&self, area: usize) -> Option<Range<u32>> {
        let first = self.areas.get(..area)?.iter();
        let first = first.fold(self.pool_chunks(Pool::Send).end, |at, earlier| {
            at + self.chunks_of(earlier)
        });
        Some(first..first + self.chunks_of(self.areas.get(area)?))
    }

    /// Bytes from the beginning of a slot to that of the next, and how many slots a chunk has.
    pub fn slot(&self, payload_bytes: u32) -> (u32, u32) {
        // Aligned, so that no two slots share a cache line.
        let count = self.chunk_bytes / (HEADROOM + payload_bytes).next_multiple_of(64);
        let count = count.max(1);
        ((self.chunk_bytes / count) & !63, count)
    }

    fn chunks_of(&self, area: &AreaLayout) -> u32 {
        match *area {
            AreaLayout::Plain(bytes) => {
                let chunks = bytes.div_ceil(self.chunk_bytes as usize);
                u32::try_from(chunks).unwrap_or(u32::MAX)
            }
            AreaLayout::Slots {
                count,
                payload_bytes,
            } => count.div_ceil(self.slot(payload_bytes).1),
        }
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
