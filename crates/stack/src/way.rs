//! The ways that datagrams took: what was found out for one holds for the next one to the same address, until our
//! addresses or the routes change (as the kernel's cached routes do, `dst_check`).

use std::net::IpAddr;

use crate::Stack;
use crate::address::Reach;

/// Ways that are remembered, a power of two. Each has one place: who has the same takes it.
const PLACES: usize = 256;

/// Where a packet comes from and who takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Its source address.
    pub(crate) source: IpAddr,
    /// What its destination is: nothing that a packet cannot be sent to.
    pub(crate) reach: Reach,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// The source address, if it was chosen, and the destination.
    key: (Option<IpAddr>, IpAddr),
    /// What had changed when it was found.
    changes: u64,
    way: Way,
}

#[derive(Debug)]
pub(crate) struct Ways {
    places: Box<[Option<Known>]>,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways {
            places: vec![None; PLACES].into(),
        }
    }
}

impl Stack {
    /// The way from the chosen address, or whichever fits, to there, if it is known.
    #[inline]
    pub(crate) fn known_way(&self, chosen: Option<IpAddr>, to: IpAddr) -> Option<Way> {
        let known = self.ways.places[place(to)].as_ref()?;
        let holds = known.changes == self.changes() && known.key == (chosen, to);
        holds.then_some(known.way)
    }

    /// Remembers a way.
    pub(crate) fn remember_way(&mut self, chosen: Option<IpAddr>, to: IpAddr, way: Way) {
        self.ways.places[place(to)] = Some(Known {
            key: (chosen, to),
            changes: self.changes(),
            way,
        });
    }

    /// How often what decides about ways has changed.
    #[inline]
    fn changes(&self) -> u64 {
        let routes = self.shared.as_ref().map_or(0, |shared| shared.changes());
        self.addresses.changes() + routes
    }
}

/// The place of the ways to an address. Who picks addresses with the same place only has them looked up each time.
#[inline]
pub(crate) fn place(to: IpAddr) -> usize {
    let bits = match to {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            (bits ^ (bits >> 64)) as u32
        }
    };
    // Fibonacci hashing: neighbouring addresses get different places.
    (bits.wrapping_mul(0x9e37_79b9) >> 24) as usize % PLACES
}
