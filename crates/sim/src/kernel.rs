//! The kernel's side of a queue's four rings, over the engine's own UMEM.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringwire::engine::Port;
use ringwire_abi::errno::Errno;
use ringwire_umem::Umem;
use ringwire_xsk::{Consumer, Desc, Producer, Rings, TxMetadata, pair};

use crate::random::Random;

/// Bytes that XDP keeps free in front of each received frame (`XDP_PACKET_HEADROOM`).
const HEADROOM: u64 = 256;
/// Descriptors of the largest packet.
const MOST_PIECES: usize = 18;
/// Bytes of a packet that hold the longest headers (Ethernet, IPv6, TCP).
const HEAD_BYTES: u32 = 14 + 40 + 60;

/// The kernel's side of one queue.
pub(crate) struct Queue {
    umem: Arc<Umem>,
    fill: Consumer<u64>,
    completion: Producer<u64>,
    rx: Producer<Desc>,
    tx: Consumer<Desc>,
    /// Taken off the TX ring, whose slots are not given back yet.
    waiting: VecDeque<Desc>,
    /// Sent, and not yet said so.
    unreported: VecDeque<Desc>,
    /// Whose return was reported in this step.
    reported: Vec<Desc>,
    /// Which never come back.
    lost: Vec<Desc>,
    /// The pieces of a packet whose last one has not been published yet.
    partial: Vec<u8>,
    /// A break for the checkers to find: chunks that never come back.
    pub(crate) steal: u32,
    /// The UMEM was registered with TX metadata.
    pub(crate) writes_checksums: bool,
    /// The metadata of the packet whose last piece has not been taken yet.
    metadata: Option<Vec<u8>>,
    /// How packets begin that were seen in the TX ring, if anybody looks.
    posted: Option<Vec<Vec<u8>>>,
    /// What was seen last goes on in the next descriptor.
    goes_on: bool,
    entries: u32,
    /// The engine had room for all that it had to send when the TX ring was looked at last.
    had_room: bool,
}

impl Queue {
    /// The rings for the engine, and the kernel's side of them. `filled` is in the fill ring already.
    pub(crate) fn new(umem: Arc<Umem>, entries: u32, filled: &[u64]) -> (Queue, Rings) {
        let (mut fill, kernel_fill) = pair(entries);
        let (kernel_completion, completion) = pair(entries);
        let (kernel_rx, rx) = pair(entries);
        let (tx, kernel_tx) = pair(entries);
        for &addr in filled {
            fill.push(addr)
                .expect("the fill ring holds what it is filled with");
        }
        fill.publish();
        let queue = Queue {
            umem,
            fill: kernel_fill,
            completion: kernel_completion,
            rx: kernel_rx,
            tx: kernel_tx,
            waiting: VecDeque::new(),
            unreported: VecDeque::new(),
            reported: Vec::new(),
            lost: Vec::new(),
            partial: Vec::new(),
            steal: 0,
            writes_checksums: false,
            metadata: None,
            posted: None,
            goes_on: false,
            entries,
            had_room: true,
        };
        (
            queue,
            Rings {
                fill,
                completion,
                rx,
                tx,
            },
        )
    }

    /// Receives a packet; `false` if it was dropped for want of chunks or room.
    pub(crate) fn receive(&mut self, packet: &[u8]) -> bool {
        let room = u64::from(self.umem.chunk_bytes()) - HEADROOM;
        let pieces: Vec<&[u8]> = packet.chunks(room as usize).collect();
        let lacks = |have: u32| (have as usize) < pieces.len();
        if lacks(self.fill.available()) || lacks(self.rx.free()) {
            return false;
        }
        for (index, piece) in pieces.iter().enumerate() {
            let chunk = self.fill.pop().expect("the fill ring has as many");
            let addr = chunk + HEADROOM;
            self.write(addr, piece);
            let options = if index + 1 < pieces.len() {
                Desc::CONTINUED
            } else {
                0
            };
            if self.steal > 0 {
                self.steal -= 1;
                continue;
            }
            self.rx
                .push(Desc {
                    addr,
                    len: piece.len() as u32,
                    options,
                })
                .expect("the RX ring has room");
        }
        self.fill.release();
        self.rx.publish();
        true
    }

    /// Looks at what is in the TX ring. `seen` is told of where that lies.
    pub(crate) fn look(&mut self, mut seen: impl FnMut(Range<u64>)) {
        // Its slots are given back when all are taken.
        let was_empty = self.waiting.is_empty();
        while let Some(desc) = self.tx.pop() {
            seen(span(&desc));
            let begins = !std::mem::replace(&mut self.goes_on, desc.is_continued());
            if begins && self.posted.is_some() {
                let head = self.read(desc.addr, desc.len.min(HEAD_BYTES));
                self.posted
                    .iter_mut()
                    .for_each(|posted| posted.push(head.clone()));
            }
            self.waiting.push_back(desc);
        }
        self.had_room = was_empty && self.waiting.len() + MOST_PIECES <= self.entries as usize;
    }

    /// Whether nothing waits for room in the TX ring.
    pub(crate) fn had_room(&self) -> bool {
        self.had_room
    }

    /// From now on the beginnings of packets are kept.
    pub(crate) fn watch(&mut self) {
        self.posted = Some(Vec::new());
    }

    /// How the packets begin that were seen in the TX ring since.
    pub(crate) fn posted(&mut self) -> Vec<Vec<u8>> {
        self.posted.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes up to `limit` descriptors off the TX ring; returns the packets that they complete. `seen` is told
    /// of what it reads.
    pub(crate) fn transmit(
        &mut self,
        limit: u64,
        mut seen: impl FnMut(Range<u64>),
    ) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for _ in 0..limit {
            let Some(desc) = self.waiting.pop_front() else {
                break;
            };
            self.take_metadata(&desc);
            let bytes = self.read(desc.addr, desc.len);
            self.partial.extend_from_slice(&bytes);
            seen(span(&desc));
            self.unreported.push_back(desc);
            if !desc.is_continued() {
                let mut packet = std::mem::take(&mut self.partial);
                if let Some(metadata) = self.metadata.take() {
                    write_checksum(&mut packet, &metadata);
                }
                packets.push(packet);
            }
        }
        if self.waiting.is_empty() {
            self.tx.release();
        }
        packets
    }

    /// What the kernel does with a descriptor before it reads its bytes (`xp_aligned_validate_desc`,
    /// `xsk_skb_metadata`).
    fn take_metadata(&mut self, desc: &Desc) {
        let metadata = TxMetadata::BYTES as u64;
        let room = desc.addr % u64::from(self.umem.chunk_bytes());
        assert!(
            !self.writes_checksums || room >= metadata,
            "a descriptor has {room} bytes in front of it"
        );
        if desc.options & Desc::METADATA != 0 {
            assert!(self.writes_checksums, "metadata that nobody asked for");
            assert!(self.partial.is_empty(), "metadata inside of a packet");
            self.metadata = Some(self.read(desc.addr - metadata, metadata as u32));
        }
    }

    /// Reports up to `limit` sent descriptors.
    pub(crate) fn report(&mut self, limit: u64) {
        self.reported.clear();
        for _ in 0..limit {
            let Some(&desc) = self.unreported.front() else {
                break;
            };
            if self.completion.push(desc.addr).is_err() {
                break;
            }
            self.unreported.pop_front();
            self.reported.push(desc);
        }
        self.completion.publish();
    }

    /// The packet that was sent first is reported after the next one, as drivers do that have several queues.
    pub(crate) fn reorder(&mut self) -> bool {
        let ends = |desc: &Desc| !desc.is_continued();
        let Some(first) = self.unreported.iter().position(ends) else {
            return false;
        };
        let mut behind = self.unreported.iter().skip(first + 1);
        let Some(second) = behind.position(ends) else {
            return false;
        };
        self.unreported.make_contiguous()[..first + second + 2].rotate_left(first + 1);
        true
    }

    /// A device reset: up to `most` descriptors never come back.
    pub(crate) fn lose(&mut self, most: usize) -> &[Desc] {
        let count = most.min(self.unreported.len());
        self.lost.extend(self.unreported.drain(..count));
        &self.lost[self.lost.len() - count..]
    }

    /// Reports what is not in flight; `false`: there was no room.
    pub(crate) fn report_wrongly(&mut self, addr: u64) -> bool {
        let pushed = self.completion.push(addr).is_ok();
        self.completion.publish();
        pushed
    }

    /// What has been reported in this step.
    pub(crate) fn reported(&self) -> &[Desc] {
        &self.reported
    }

    /// Those that never come back.
    pub(crate) fn lost(&self) -> &[Desc] {
        &self.lost
    }

    /// Whether a descriptor points at some of these bytes whose return has not been reported.
    pub(crate) fn points_at(&self, bytes: &Range<u64>) -> bool {
        self.with_the_nic().any(|desc| {
            let span = span(desc);
            span.start < bytes.end && bytes.start < span.end
        })
    }

    /// Descriptors whose return has not been reported.
    pub(crate) fn with_the_nic(&self) -> impl Iterator<Item = &Desc> {
        self.waiting
            .iter()
            .chain(&self.unreported)
            .chain(&self.lost)
    }

    /// Chunks that are the kernel's to receive into.
    pub(crate) fn held(&mut self) -> u32 {
        self.fill.available()
    }

    pub(crate) fn ask_for_wakeups(&self, random: &mut Random) {
        self.tx.set_needs_wakeup(random.chance(800));
        self.fill.set_needs_wakeup(random.chance(500));
    }

    fn write(&self, addr: u64, bytes: &[u8]) {
        self.check(addr, bytes.len());
        // SAFETY: the span lies in the UMEM (checked); the chunk came from the fill ring, so no frame
        // of the ledger's is borrowed for it: the engine runs on this same thread, and is not running.
        unsafe {
            let to = self.umem.as_ptr().add(addr as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
    }

    fn read(&self, addr: u64, len: u32) -> Vec<u8> {
        self.check(addr, len as usize);
        let mut bytes = vec![0; len as usize];
        // SAFETY: as in `write`, for reading.
        unsafe {
            let from = self.umem.as_ptr().add(addr as usize);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
        bytes
    }

    /// The engine must never hand out what is not inside one chunk.
    fn check(&self, addr: u64, len: usize) {
        let chunk = u64::from(self.umem.chunk_bytes());
        let inside = addr % chunk + len as u64 <= chunk && addr < self.umem.len_bytes() as u64;
        assert!(inside, "descriptor {addr:#x}+{len} is not inside a chunk");
    }
}

/// Writes the checksum that `struct xsk_tx_metadata` asks for: over everything from a place on, what stands in its
/// field included.
fn write_checksum(packet: &mut [u8], metadata: &[u8]) {
    const CHECKSUM: [u8; 8] = 2u64.to_ne_bytes();
    assert_eq!(metadata[..8], CHECKSUM, "the flags of metadata");
    let number = |at| usize::from(u16::from_ne_bytes([metadata[at], metadata[at + 1]]));
    let (start, field) = (number(8), number(8) + number(10));
    assert!(field + 2 <= packet.len(), "a checksum behind the packet");
    let checksum = match !smoltcp::wire::checksum::data(&packet[start..]) {
        0 => 0xffff,
        checksum => checksum,
    };
    packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn span(desc: &Desc) -> Range<u64> {
    desc.addr..desc.addr + u64::from(desc.len)
}

/// Counts the engine's kicks; the simulated kernel decides which of them it hears.
#[derive(Debug, Default)]
pub(crate) struct Kicks {
    tx: AtomicU32,
}

impl Kicks {
    /// Whether the engine asked for TX since this was last looked at.
    pub(crate) fn take_tx(&self) -> bool {
        self.tx.swap(0, Ordering::Relaxed) > 0
    }
}

/// The engine's port to the simulated kernel.
#[derive(Debug)]
pub(crate) struct SimPort(pub(crate) Arc<Kicks>);

impl Port for SimPort {
    fn kick_tx(&mut self, _: u16) -> Result<(), Errno> {
        self.0.tx.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn kick_rx(&mut self, _: u16) -> Result<(), Errno> {
        Ok(())
    }

    /// The simulated machine was started at the epoch.
    fn clock(&self, _: libc::clockid_t) -> Duration {
        Duration::ZERO
    }
}
