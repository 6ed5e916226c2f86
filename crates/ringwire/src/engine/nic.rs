//! The NIC's side of an engine: rings, bursts, kicks.

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_stack::{Packet, TxFlags};
use ringwire_umem::{Ledger, Pool, TxDone};
use ringwire_xsk::{Desc, Rings};

use super::Engine;
use super::watchdog::{Pulse, note};

/// Packets taken from each RX ring in a turn.
const RX_BURST: usize = 64;
/// Packets between the one that is dealt with and the one whose first bytes are fetched meanwhile.
const PREFETCH: u32 = 2;
/// TX descriptors of one queue that the NIC may hold: some drivers lose what exceeds the hardware's
/// ring, without a counter.
const TX_WINDOW: u32 = 512;
/// Most pieces of one packet (the kernel's `MAX_SKB_FRAGS`, and one).
const MAX_PIECES: usize = 18;
/// When to kick again after the kernel took less than there was.
pub(super) const RETRY: Duration = Duration::from_millis(1);

/// What wakes the far side of the rings: the kernel, or a simulated one.
pub trait Port: Send + std::fmt::Debug {
    /// TX descriptors of a queue were published and the far side asked to be woken, or has not moved for long.
    ///
    /// # Errors
    /// `ENXIO`, `ENODEV`, `EBADF`: nobody is there any more. Others may pass.
    fn kick_tx(&mut self, queue: u16) -> Result<(), Errno>;
    /// Fill descriptors of a queue were published and the far side asked to be woken.
    ///
    /// # Errors
    /// As for [`kick_tx`](Self::kick_tx).
    fn kick_rx(&mut self, queue: u16) -> Result<(), Errno>;
    /// The time on one of the kernel's other clocks (`CLOCK_REALTIME`, `CLOCK_BOOTTIME`).
    fn clock(&self, clock: libc::clockid_t) -> Duration;
}

/// What the rings counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NicCounters {
    /// RX descriptors that named memory which was not in that queue's fill ring.
    pub bad_rx_descriptors: u64,
    /// Completion ring entries that named no descriptor in flight.
    pub bad_tx_completions: u64,
    /// Packets dropped because they came in more pieces than a packet has.
    pub rx_too_many_pieces: u64,
    /// Times that the NIC was woken to send.
    pub tx_kicks: u64,
    /// Times that the NIC was woken to receive.
    pub rx_kicks: u64,
    /// Turns in which the fill ring could not be topped up.
    pub fill_starved: u64,
    /// Times that the kernel said no to being woken: the interface was down, or gone.
    pub failed_kicks: u64,
    /// Packets dropped because there was no link to send them on.
    pub tx_dropped: u64,
    /// Queues that stood still, or whose socket was dead, with a link.
    pub stuck: u64,
    /// Times that sockets were opened in place of others.
    pub recreated: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) rings: Rings,
    /// The pieces of a packet whose last piece has not come yet.
    partial: Option<Packet>,
    /// The pieces that still come belong to a packet that was dropped.
    skipping: bool,
    pub(super) in_flight: u32,
    pub(super) pulse: Pulse,
}

impl Queue {
    fn new(rings: Rings) -> Queue {
        Queue {
            rings,
            partial: None,
            skipping: false,
            in_flight: 0,
            pulse: Pulse::default(),
        }
    }

    /// The next packet of the RX ring, of the `left` descriptors that may still be taken.
    fn next_packet(
        &mut self,
        ledger: &mut Ledger,
        counters: &mut NicCounters,
        index: u16,
        left: &mut usize,
    ) -> Option<Packet> {
        while *left > 0 {
            *left -= 1;
            let desc = self.rings.rx.pop()?;
            if let Some(later) = self.rings.rx.peek(PREFETCH) {
                ledger.prefetch(later.addr);
            }
            let packet = self.take_piece(ledger, counters, index, desc);
            if packet.is_some() {
                return packet;
            }
        }
        None
    }

    /// Claims one RX descriptor; returns the packet when its last piece is there.
    fn take_piece(
        &mut self,
        ledger: &mut Ledger,
        counters: &mut NicCounters,
        index: u16,
        desc: Desc,
    ) -> Option<Packet> {
        let piece = match ledger.claim(index, desc.addr, desc.len) {
            Ok(piece) => piece,
            Err(_) => {
                counters.bad_rx_descriptors += 1;
                // What belongs to it is not a packet without it.
                if let Some(packet) = self.partial.take() {
                    packet.release(ledger);
                }
                self.skipping = desc.is_continued();
                return None;
            }
        };
        if self.skipping {
            self.skipping = desc.is_continued();
            ledger.release(piece.frame);
            return None;
        }
        let packet = match self.partial.take() {
            None => Packet::new(piece),
            Some(mut packet) => {
                packet.rest.push(piece);
                packet
            }
        };
        if packet.piece_count() > MAX_PIECES {
            counters.rx_too_many_pieces += 1;
            packet.release(ledger);
            self.skipping = desc.is_continued();
            return None;
        }
        if desc.is_continued() {
            self.partial = Some(packet);
            return None;
        }
        Some(packet)
    }
}

#[derive(Debug)]
pub(super) struct Nic {
    /// None while there are no sockets.
    pub(super) queues: Vec<Queue>,
    count: u16,
    pub(super) port: Box<dyn Port>,
    pub(super) counters: NicCounters,
    /// A queue whose socket has lost its device.
    pub(super) dead: Option<u16>,
}

impl Nic {
    pub(super) fn new(rings: Vec<Rings>, port: Box<dyn Port>) -> Nic {
        Nic {
            count: rings.len() as u16,
            queues: rings.into_iter().map(Queue::new).collect(),
            port,
            counters: NicCounters::default(),
            dead: None,
        }
    }

    pub(super) fn queues(&self) -> u16 {
        self.count
    }

    pub(super) fn is_open(&self) -> bool {
        !self.queues.is_empty()
    }

    /// Lets go of the rings; of a packet that was not all there nothing is left.
    pub(super) fn close(&mut self, ledger: &mut Ledger, port: Box<dyn Port>) {
        for queue in std::mem::take(&mut self.queues) {
            if let Some(packet) = queue.partial {
                packet.release(ledger);
            }
        }
        self.dead = None;
        self.port = port;
    }

    /// Goes on with new rings, one set for each queue.
    pub(super) fn open(&mut self, rings: Vec<Rings>, port: Box<dyn Port>) {
        assert!(
            !self.is_open() && rings.len() == usize::from(self.count),
            "nic: new rings come in place of all old ones"
        );
        self.queues = rings.into_iter().map(Queue::new).collect();
        self.port = port;
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.queues.iter().map(|queue| queue.in_flight).sum()
    }

    pub(super) fn counters(&self) -> NicCounters {
        self.counters
    }

    pub(super) fn clock(&self, clock: libc::clockid_t) -> Duration {
        self.port.clock(clock)
    }

    pub(super) fn has_received(&mut self) -> bool {
        self.queues
            .iter_mut()
            .any(|queue| queue.rings.rx.available() > 0)
    }

    pub(super) fn has_sent(&mut self) -> bool {
        self.queues
            .iter_mut()
            .any(|queue| queue.rings.completion.available() > 0)
    }

    /// Wakes the far side where it asked for it and there is something for it.
    pub(super) fn kick(&mut self) {
        let (dead, counters) = (&mut self.dead, &mut self.counters);
        for (index, queue) in (0..).zip(&mut self.queues) {
            if queue.in_flight > 0 && queue.rings.tx.needs_wakeup() && !queue.rings.tx.is_empty() {
                counters.tx_kicks += 1;
                note(dead, counters, index, self.port.kick_tx(index));
            }
            if queue.rings.fill.needs_wakeup() && !queue.rings.fill.is_empty() {
                counters.rx_kicks += 1;
                note(dead, counters, index, self.port.kick_rx(index));
            }
        }
    }
}

fn options(flags: TxFlags) -> u32 {
    let more = if flags.more { Desc::CONTINUED } else { 0 };
    let metadata = if flags.metadata { Desc::METADATA } else { 0 };
    more | metadata
}

impl Engine {
    /// Takes back the descriptors that the NIC has sent.
    pub(super) fn reap_sent(&mut self) {
        for (index, queue) in self.nic.queues.iter_mut().enumerate() {
            while let Some(addr) = queue.rings.completion.pop() {
                match self.ledger.tx_done(index as u16, addr) {
                    Ok(done) => {
                        queue.in_flight = queue.in_flight.saturating_sub(1);
                        queue.pulse.moved = true;
                        if let TxDone::Freed(chunk) = done {
                            self.stack.chunk_freed(chunk);
                        }
                    }
                    Err(_) => self.nic.counters.bad_tx_completions += 1,
                }
            }
            queue.rings.completion.release();
        }
    }

    /// Tops up the fill rings.
    pub(super) fn refill(&mut self) {
        self.ledger.collect_returns();
        // Half of the chunks at most: the rest is what sockets queue before datagrams are compacted.
        let target =
            (self.ledger.umem().layout().rx_chunks / 2 / u32::from(self.nic.queues())).max(1);
        for (index, queue) in self.nic.queues.iter_mut().enumerate() {
            let fill = &mut queue.rings.fill;
            // What waits in the RX ring is the kernel's still.
            let given = fill.len() + queue.rings.rx.available();
            let mut missing = fill.free().min(target.saturating_sub(given));
            while missing > 0 {
                let Some(frame) = self.ledger.alloc(Pool::Rx) else {
                    self.nic.counters.fill_starved += 1;
                    break;
                };
                let addr = self.ledger.post_fill(frame, index as u16);
                fill.push(addr)
                    .expect("nic: the fill ring said that it has room");
                missing -= 1;
            }
            fill.publish();
        }
    }

    /// Hands a burst of received packets to the stack; returns how many.
    pub(super) fn receive_burst(&mut self) -> usize {
        let mut packets = 0;
        let Nic {
            queues, counters, ..
        } = &mut self.nic;
        for (index, queue) in queues.iter_mut().enumerate() {
            let (id, mut left) = (index as u16, RX_BURST);
            let next = |ledger: &mut Ledger| queue.next_packet(ledger, counters, id, &mut left);
            packets += self.stack.receive(self.now, &mut self.ledger, id, next);
            queue.rings.rx.release();
        }
        packets
    }

    /// Writes the packets that wait into the TX rings.
    pub(super) fn send_burst(&mut self) {
        for (index, queue) in self.nic.queues.iter_mut().enumerate() {
            let tx = &mut queue.rings.tx;
            let mut room = tx.free().min(TX_WINDOW.saturating_sub(queue.in_flight));
            loop {
                let post = |addr, len, flags| {
                    let options = options(flags);
                    tx.push(Desc { addr, len, options })
                        .expect("nic: the TX ring said that it has room");
                };
                let (now, ledger) = (self.now, &mut self.ledger);
                let count = self.stack.transmit(now, ledger, index as u16, room, post);
                if count == 0 {
                    break;
                }
                room -= count;
                queue.in_flight += count;
            }
            tx.publish();
        }
    }
}

#[cfg(test)]
#[path = "nic_tests.rs"]
mod tests;
