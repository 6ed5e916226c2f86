//! A host's NIC as its kernel shows it: several queues, and what it may get wrong.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use ringwire_umem::{Census, Pool, Umem};

use crate::config::Faults;
use crate::coverage::Coverage;
use crate::kernel::{Kicks, Queue};
use crate::loans::Lent;
use crate::random::Random;

/// Descriptors that device resets take at most, of one host: each is a chunk, or a buffer, less.
const MOST_LOST: usize = 6;

pub(crate) struct Nic {
    umem: Arc<Umem>,
    queues: Vec<Queue>,
    kicks: Arc<Kicks>,
    /// The first byte of the registered areas, and which of theirs have been sent from where they lie since
    /// they were last lent.
    areas: u64,
    sent: Vec<bool>,
    /// Returns that were reported of what was not in flight, and those of them that the engine has seen.
    wrong: u64,
    wrong_seen: u64,
}

impl Nic {
    pub(crate) fn new(umem: &Arc<Umem>, queues: Vec<Queue>, kicks: Arc<Kicks>) -> Nic {
        let layout = umem.layout();
        let areas = u64::from(layout.pool_chunks(Pool::Send).end) * u64::from(layout.chunk_bytes);
        Nic {
            umem: Arc::clone(umem),
            queues,
            kicks,
            areas,
            sent: vec![false; umem.len_bytes() - areas as usize],
            wrong: 0,
            wrong_seen: 0,
        }
    }

    /// Receives a packet on some queue; `false` if it was dropped, as with a full ring.
    pub(crate) fn receive(&mut self, frame: &[u8], random: &mut Random) -> bool {
        let queue = random.below(self.queues.len() as u64) as usize;
        self.queues[queue].receive(frame)
    }

    /// A chunk that was filled never comes back.
    pub(crate) fn steal(&mut self) {
        self.queues[0].steal = 1;
    }

    /// The engine has had its turn. Returns where in the registered areas lies what it has handed over.
    pub(crate) fn after_turn(&mut self) -> Vec<Range<u64>> {
        self.wrong_seen = self.wrong;
        let (areas, mut described) = (self.areas, Vec::new());
        for queue in &mut self.queues {
            queue.look(|span| described.extend((span.start >= areas).then_some(span)));
        }
        described
    }

    /// Has the beginnings of packets kept, for [`posted`](Self::posted).
    pub(crate) fn watch(&mut self) {
        self.queues.iter_mut().for_each(Queue::watch);
    }

    /// How the packets begin that the engine has handed over since.
    pub(crate) fn posted(&mut self) -> Vec<Vec<u8>> {
        self.queues.iter_mut().flat_map(Queue::posted).collect()
    }

    /// Whether nothing waits for room in a TX ring.
    pub(crate) fn had_room(&self) -> bool {
        self.queues.iter().all(Queue::had_room)
    }

    /// The kernel sends, if it heard that it should, and reports what it has sent, sooner or later.
    pub(crate) fn step(
        &mut self,
        faults: &Faults,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> Vec<Vec<u8>> {
        let kicked = self.kicks.take_tx();
        let heard = kicked && !random.chance(faults.deaf);
        coverage.unheard_kicks += u64::from(kicked && !heard);
        let mut packets = Vec::new();
        for queue in &mut self.queues {
            if heard || random.chance(100) {
                // As in copy mode: a batch for each call.
                let (areas, sent) = (self.areas, &mut self.sent);
                packets.extend(queue.transmit(1 + random.below(32), |span| {
                    if span.start >= areas {
                        sent[(span.start - areas) as usize..(span.end - areas) as usize].fill(true);
                        coverage.described += 1;
                    }
                }));
            }
            if random.chance(faults.disorder) {
                coverage.disordered += u64::from(queue.reorder());
            }
            if random.chance(faults.late_completions) {
                coverage.late_completions += 1;
                queue.report(0);
            } else {
                queue.report(1 + random.below(64));
            }
            queue.ask_for_wakeups(random);
        }
        if random.chance(faults.wrong_completions) {
            let is_wrong = self.report_wrongly(random);
            self.wrong += u64::from(is_wrong);
            coverage.wrong_completions += u64::from(is_wrong);
        }
        packets
    }

    /// Reports what is not in flight: what was reported before, or anything else, inside the UMEM or not.
    fn report_wrongly(&mut self, random: &mut Random) -> bool {
        let index = random.below(self.queues.len() as u64) as usize;
        let len = self.umem.len_bytes() as u64;
        let reported = self.queues[index].reported();
        let addr = match random.below(4) {
            0 => len + random.below(10_000),
            1 => random.next() | 1 << 63,
            2 if !reported.is_empty() => random.one_of(reported).addr,
            _ => random.below(len),
        };
        let chunk = |addr: u64| addr / u64::from(self.umem.chunk_bytes());
        // What a chunk of the stack's own is told of is its number: no descriptor may point there.
        let in_flight = |(at, queue): (usize, &Queue)| {
            let others = if at == index { &[] } else { queue.reported() };
            let mut with_the_nic = queue.with_the_nic().chain(others);
            with_the_nic.any(|desc| chunk(desc.addr) == chunk(addr))
        };
        if self.queues.iter().enumerate().any(in_flight) {
            return false;
        }
        self.queues[index].report_wrongly(addr)
    }

    /// A device reset: some of what was sent never comes back. Returns where that lies.
    pub(crate) fn reset(&mut self, random: &mut Random) -> Vec<Range<u64>> {
        let index = random.below(self.queues.len() as u64) as usize;
        let lost: usize = self.queues.iter().map(|queue| queue.lost().len()).sum();
        let most = random.below((MOST_LOST - lost) as u64 + 1) as usize;
        let lost = self.queues[index].lose(most);
        let span = |desc: &ringwire_xsk::Desc| desc.addr..desc.addr + u64::from(desc.len);
        lost.iter().map(span).collect()
    }

    /// The application is told that it has its memory back. `dropped`: some of what was queued may never have
    /// reached the NIC.
    pub(crate) fn check_repaid(&mut self, lent: &Lent, dropped: bool) -> Result<(), String> {
        let forwarded = lent.spans.iter().any(|span| span.start < self.areas);
        // Of several frames that are forwarded, by this send or others that are notified of with it, one may be given
        // back while the NIC has another, be received into again, and be forwarded by another send by now.
        let may_be_others = forwarded && (lent.spans.len() > 1 || lent.shared);
        // What it did not send may be another's already.
        for span in lent.sent().filter(|_| !may_be_others) {
            if !span.is_empty() && self.queues.iter().any(|queue| queue.points_at(&span)) {
                return Err(format!(
                    "notified of a send though the NIC may still read {span:x?}: {lent:x?}"
                ));
            }
        }
        // What was received is only forwarded, and not looked at here.
        if forwarded {
            return Ok(());
        }
        let area = |span: &Range<u64>| {
            (span.start - self.areas) as usize..(span.end - self.areas) as usize
        };
        let is_sent = |span: Range<u64>| self.sent[area(&span)].iter().all(|&sent| sent);
        if lent.uncopied && !dropped && !lent.sent().all(is_sent) {
            return Err("a send says that it was not copied, but nothing read it".to_string());
        }
        for span in &lent.spans {
            let span = area(span);
            self.sent[span].fill(false);
        }
        Ok(())
    }

    /// How many of the bytes that a request sent are not behind one that was read where it lies.
    pub(crate) fn read_in_place(&self, lent: &Lent) -> u64 {
        let (mut begin, mut end) = (0, 0);
        for span in lent.sent() {
            // What was received is only forwarded, and not looked at here.
            if span.start >= self.areas {
                let area = (span.start - self.areas) as usize..(span.end - self.areas) as usize;
                let last = self.sent[area].iter().rposition(|&sent| sent);
                end = last.map_or(end, |last| begin + last as u64 + 1);
            }
            begin += span.end - span.start;
        }
        end
    }

    /// Returns of what was not in flight that the engine must have counted.
    pub(crate) fn wrong_completions(&self) -> u64 {
        self.wrong_seen
    }

    /// Whether all is with the engine but what never comes back.
    pub(crate) fn is_at_rest(&self, census: &Census) -> bool {
        let lost = || self.queues.iter().flat_map(Queue::lost);
        let chunk_bytes = u64::from(self.umem.chunk_bytes());
        let of_pools = lost().filter(|desc| desc.addr < self.areas);
        let chunks: BTreeSet<u64> = of_pools.map(|desc| desc.addr / chunk_bytes).collect();
        census.descriptors_in_flight as usize == lost().count()
            && census.rx + census.stack == 0
            && census.tx as usize == chunks.len()
    }

    /// Chunks that are the kernel's to receive into.
    pub(crate) fn held(&mut self) -> u32 {
        self.queues.iter_mut().map(Queue::held).sum()
    }
}
