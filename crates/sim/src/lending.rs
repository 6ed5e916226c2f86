//! What an application has to lend and to be lent with, and how it goes about it.

use std::ops::AddAssign;
use std::sync::Arc;

use ringwire::engine::Engine;
use ringwire_abi::flags::{IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER};
use ringwire_umem::Umem;

use crate::areas::Areas;
use crate::config::{Faults, Shape};
use crate::random::Random;
use crate::received::{LentGroup, Refills};

/// The registered buffer that is the plain registered area.
const AREA: u16 = 2;

pub(crate) struct Lending {
    pub(crate) areas: Areas,
    /// For RECV_ZC, where there is one.
    pub(crate) refills: Option<Refills>,
    has_groups: bool,
    random: Random,
}

impl Lending {
    pub(crate) fn new(engine: &mut Engine, umem: &Arc<Umem>, shape: Shape, seed: u64) -> Lending {
        let mut random = Random::new(seed.rotate_left(32));
        let areas = Areas::register(engine, umem, AREA, Random::new(random.next()));
        let refills = (shape.big_completions != 0)
            .then(|| Refills::register(engine, umem, Random::new(random.next())));
        Lending {
            areas,
            refills,
            has_groups: shape.lends,
            random,
        }
    }

    /// Registers a lent group, if the application has any.
    pub(crate) fn group(&mut self, engine: &mut Engine, id: u16, count: u16) -> Option<LentGroup> {
        let random = Random::new(self.random.next());
        self.has_groups
            .then(|| LentGroup::register(engine, id, count, random))
    }
}

/// The set-up flags of a ring like this.
pub(crate) fn setup_flags(shape: Shape) -> u32 {
    match shape.big_completions {
        0 => 0,
        big => big | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
    }
}

/// How an application deals with what it is lent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// How much of what it has it gives back in a step: so many of a thousand.
    pub(crate) per_mille: u32,
    /// It gives back what it has not, too.
    pub(crate) bad: bool,
}

impl Manner {
    pub(crate) fn new(faults: &Faults) -> Manner {
        Manner {
            per_mille: if faults.keeps { 0 } else { 300 },
            bad: faults.hostile,
        }
    }
}

/// What an application was lent, and what it did with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lent {
    /// Parts under ids, and places.
    pub(crate) parts: u64,
    /// Of them, those that went out again from where they lay.
    pub(crate) forwarded: u64,
    /// Ids and places that it gave back though nothing was lent there.
    pub(crate) bad_ids: u64,
    pub(crate) bad_places: u64,
}

impl AddAssign for Lent {
    fn add_assign(&mut self, other: Lent) {
        self.parts += other.parts;
        self.forwarded += other.forwarded;
        self.bad_ids += other.bad_ids;
        self.bad_places += other.bad_places;
    }
}
