//! A deterministic simulator: ringwire's engine, unchanged, over rings and UMEM in plain memory, with
//! the kernel, the network, the other host and the applications simulated around it in virtual time.
//!
//! Everything follows from one seed: [`run`] with the same [`Config`] gives the same [`Outcome`],
//! digest included. Checkers look from outside: frames are conserved, every delivered
//! datagram equals one that was sent, every byte of a stream is a function of its offset, every request
//! completes exactly once; and once faults stop, everything gets through.

mod areas;
mod beside;
mod buffers;
mod capture;
mod client;
mod client_stream;
mod config;
mod coverage;
mod end;
pub mod fuzz;
mod garbage;
mod host;
mod hostile;
mod kernel;
mod lending;
mod loans;
mod network;
mod nic;
mod numbers;
mod payload;
mod pieces;
mod random;
mod received;
mod registered;
mod requests;
mod server;
mod slots;
mod smoltcp_host;
mod stream_memory;
mod sweep;
mod too_big;
mod traffic;
mod world;
mod wrong_memory;

pub use capture::{Capture, InterfaceId, Way};
pub use config::{Break, Config, Faults, LONGEST_PARTITION_NS, Path, Peers, Shape};
pub use coverage::Coverage;
pub use sweep::{Summary, sweep};
pub use world::{Outcome, run, run_captured};
