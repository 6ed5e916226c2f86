//! What the benchmarks in memory and the tests of memory bounds share: two hosts of ours, two of
//! smoltcp's, the wire between either, and what they allocate.

pub mod clock;
pub mod count;
pub mod engines;
pub mod groups;
pub mod hosts;
pub mod loopback;
pub mod memcheck;
pub mod nic;
pub mod refill;
pub mod sink;
pub mod smol;
pub mod take;
pub mod wire;
