//! A seeded impairment of a line: loss, delay, reordering, duplication, a rate with a bounded queue.
//! No clock and no I/O: a [`Line`] is one direction, and what happens to its packet N is a hash of the
//! seed, the direction and N, so that a seed repeats it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What a line does to its packets. ARP and neighbour discovery pass untouched.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Chooses the packets that are dropped, held back and sent twice.
    pub seed: u64,
    /// The probability that a packet is dropped.
    pub loss: f64,
    /// The delay of each packet, one way, behind the queue.
    pub delay: Duration,
    /// The probability that a packet is held back, so that later ones overtake it.
    pub reorder: f64,
    /// A packet that is held back comes so much later at most.
    pub hold: Duration,
    /// The probability that a packet comes twice.
    pub duplicate: f64,
    /// Bits a second, each way, counting whole Ethernet frames without preamble and checksum.
    pub rate: u64,
    /// What waits for the rate at most, in bytes; packets beyond it are dropped.
    pub queue_bytes: u64,
}

impl Impairment {
    /// A line of a rate with a queue of 20 ms, which does nothing else yet.
    pub fn line(seed: u64, rate: u64) -> Impairment {
        Impairment {
            seed,
            loss: 0.0,
            delay: Duration::ZERO,
            reorder: 0.0,
            hold: Duration::ZERO,
            duplicate: 0.0,
            rate,
            queue_bytes: rate / 8 / 50,
        }
    }
}

/// What a line has done, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came, without ARP and neighbour discovery.
    pub packets: u64,
    /// Dropped by the seed.
    pub lost: u64,
    /// Dropped by the full queue.
    pub overflowed: u64,
    /// Held back.
    pub held: u64,
    /// Sent twice.
    pub duplicated: u64,
}

/// A frame on the line. Frames that are due at the same time leave in the order in which they came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: Duration,
    order: u64,
    frame: Vec<u8>,
}

/// One direction of a line. Times are since any fixed point, and do not go back.
pub struct Line {
    impairment: Impairment,
    direction: u64,
    /// When the last bit of what is queued leaves at the rate.
    busy_until: Duration,
    flying: BinaryHeap<Reverse<Flying>>,
    order: u64,
    counts: Counts,
}

/// What is drawn for a packet.
#[derive(Clone, Copy)]
enum Draw {
    Loss,
    Reorder,
    Hold,
    Duplicate,
}

impl Line {
    /// An empty line. The two directions of a link draw differently.
    pub fn new(impairment: Impairment, direction: u64) -> Line {
        Line {
            impairment,
            direction,
            busy_until: Duration::ZERO,
            flying: BinaryHeap::new(),
            order: 0,
            counts: Counts::default(),
        }
    }

    /// Takes an Ethernet frame.
    pub fn offer(&mut self, now: Duration, frame: &[u8]) {
        if resolves_addresses(frame) {
            return self.fly(now, frame);
        }
        let index = self.counts.packets;
        self.counts.packets += 1;
        let Impairment {
            loss,
            delay,
            reorder,
            hold,
            duplicate,
            rate,
            queue_bytes,
            ..
        } = self.impairment;
        if self.draw(index, Draw::Loss) < loss {
            self.counts.lost += 1;
            return;
        }
        let start = self.busy_until.max(now);
        let queued = (start - now).as_nanos() * u128::from(rate) / 8_000_000_000;
        if queued + frame.len() as u128 > u128::from(queue_bytes) {
            self.counts.overflowed += 1;
            return;
        }
        let serialised = frame.len() as u64 * 8_000_000_000 / rate;
        self.busy_until = start + Duration::from_nanos(serialised);
        let mut due = self.busy_until + delay;
        if self.draw(index, Draw::Reorder) < reorder {
            self.counts.held += 1;
            due += hold.mul_f64(self.draw(index, Draw::Hold));
        }
        self.fly(due, frame);
        if self.draw(index, Draw::Duplicate) < duplicate {
            self.counts.duplicated += 1;
            self.fly(due, frame);
        }
    }

    /// When the next frame is due, if there is one.
    pub fn next_due(&self) -> Option<Duration> {
        self.flying.peek().map(|Reverse(flying)| flying.due)
    }

    /// A frame that has arrived at the other end.
    pub fn take(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        self.flying.pop().map(|Reverse(flying)| flying.frame)
    }

    /// What it has done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn fly(&mut self, due: Duration, frame: &[u8]) {
        let frame = frame.to_vec();
        self.flying.push(Reverse(Flying {
            due,
            order: self.order,
            frame,
        }));
        self.order += 1;
    }

    /// A number in 0..1 that only the seed, the direction, the packet and the question decide.
    fn draw(&self, index: u64, draw: Draw) -> f64 {
        let inputs = [self.direction, index, draw as u64];
        let hash = inputs
            .iter()
            .fold(mix(self.impairment.seed), |state, input| {
                mix(state ^ mix(*input))
            });
        (hash >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), one step from a state.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Whether an Ethernet frame is ARP or neighbour discovery (RFC 4861: ICMPv6 types 133 to 137).
fn resolves_addresses(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => {
            frame.get(20) == Some(&58)
                && frame.get(54).is_some_and(|kind| (133..=137).contains(kind))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "impair_tests.rs"]
mod tests;
