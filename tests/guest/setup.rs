//! Making a ring on a driver, and giving its queues back.

use ringwire::Mode;
use ringwire_tests::net::{PEER_V4, RING_V4};

use crate::Check;
use crate::bed::Bed;
use crate::datagrams::ask;

pub const CHECKS: &[Check] = &[("a ring is made again as soon as one has gone", again)];

/// Not one of the others: it is the contrary that must be seen.
pub const COPY: Check = ("a ring that is told to copy copies", copy);

fn again(bed: &Bed) {
    for _ in 0..3 {
        let serving = bed.serve(Mode::ZeroCopy);
        ask(&bed.client(PEER_V4, RING_V4));
        serving.stop();
    }
}

fn copy(bed: &Bed) {
    let serving = bed.serve(Mode::Copy);
    ask(&bed.client(PEER_V4, RING_V4));
    serving.stop();
}
