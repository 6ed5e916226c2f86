//! What the benchmarks and the tests of memory bounds share: two hosts of ours, two of smoltcp's, the wire between
//! either, and what they allocate; command lines, times, and who used the processors.

pub mod args;
pub mod beside;
pub mod bulk;
pub mod callgrind;
pub mod clock;
pub mod count;
pub mod echo;
pub mod engines;
pub mod epoll;
pub mod groups;
pub mod guard;
pub mod hosts;
pub mod latency;
pub mod loopback;
pub mod measure;
pub mod memcheck;
pub mod nic;
pub mod receiving;
pub mod refill;
pub mod requests;
pub mod sending;
pub mod sink;
pub mod smol;
pub mod take;
pub mod usage;
mod valgrind;
pub mod wire;
