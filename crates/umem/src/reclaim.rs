//! What the kernel had when its sockets were closed.

use crate::ledger::{Ledger, Owner, TxDone};

impl Ledger {
    /// The addresses of the chunks that the kernel has by a queue's fill ring, received into or not. A socket that
    /// takes the place of the queue's last one may begin with them: they are its own as soon as it is bound.
    pub fn filled(&self, queue: u16) -> impl Iterator<Item = u64> {
        let chunks = self.chunks.iter().enumerate();
        let filled = chunks.filter(move |(_, state)| state.owner == Owner::Fill(queue));
        filled.map(|(chunk, _)| self.address(chunk as u32, 0))
    }

    /// The sockets are closed: what was in flight stays so, and the loans with it, until it is
    /// [taken back](Self::reclaim), but no address means it any more. What is posted and comes back meanwhile is
    /// something else.
    pub fn abandon(&mut self) {
        let loans = &mut self.loans;
        for in_flight in &mut loans.in_flight {
            loans.abandoned.append(in_flight);
        }
    }

    /// Takes back all that the kernel had, of every queue, but the chunks in fill rings that were given to new sockets:
    /// received packets that nobody took are gone, and descriptors in flight count as come back. `freed` is told of each
    /// chunk that returned to its pool from a TX ring. Walks all chunks.
    ///
    /// To be called when nothing of the old sockets reads or writes the UMEM any more: when the kernel has bound others
    /// to the same queues (it refuses that with `EBUSY` while the last pool is there: `xp_assign_dev`,
    /// net/xdp/xsk_buff_pool.c), or the interface is gone (`xsk_notifier`, net/xdp/xsk.c).
    ///
    /// # Panics
    /// If an address to keep is not of a chunk in a fill ring.
    pub fn reclaim(&mut self, kept: &[Vec<u64>], mut freed: impl FnMut(u32)) {
        let mut keep = vec![false; self.chunks.len()];
        for (queue, addresses) in kept.iter().enumerate() {
            for &addr in addresses {
                let place = self.locate(addr, 0);
                let (chunk, _) = place.expect("ledger: what is kept lies in the UMEM");
                let owner = self.chunks[chunk as usize].owner;
                assert!(
                    owner == Owner::Fill(queue as u16),
                    "ledger: a chunk of {owner:?} is not in fill ring {queue}"
                );
                keep[chunk as usize] = true;
            }
        }
        self.abandon();
        while let Some(descriptor) = self.loans.abandoned.pop_front() {
            if let TxDone::Freed(chunk) = self.descriptor_done(descriptor) {
                freed(chunk);
            }
        }
        for (chunk, kept) in (0..).zip(keep) {
            let state = &mut self.chunks[chunk as usize];
            match state.owner {
                Owner::Fill(_) if !kept => self.let_go(chunk),
                // Those that are left are of the stack's own packets.
                _ if state.in_flight > 0 => {
                    state.in_flight = 0;
                    if self.settle(chunk) {
                        freed(chunk);
                    }
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "reclaim_tests.rs"]
mod tests;
