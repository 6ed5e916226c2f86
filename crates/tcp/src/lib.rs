//! The TCP engine: RFC 9293 and its companions as a pure state machine.
//!
//! It knows sequence numbers and nothing else: no bytes, no frames, no clock, no I/O. Segments go in
//! as sequence ranges, and come out so; time and randomness are arguments. A [`Connection`] says by a
//! [`Disposition`] which bytes to keep, which to let go, and what has happened; a listener is
//! [`listen::on_segment`], and what answers for nobody is [`closed::on_segment`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod ack;
mod acknowledge;
mod arrival;
mod config;
mod connection;
mod cookie;
mod disposition;
mod handshake;
mod isn;
mod limit;
mod nagle;
mod output;
mod reassembly;
mod recovery;
mod reno;
mod rtt;
mod segment;
mod seq;
mod state;
mod time;
mod timers;
mod timestamps;
mod window;

pub use config::Config;
pub use connection::Connection;
pub use cookie::SynCookies;
pub use disposition::{Disposition, Failure, Keep, Refusal};
pub use isn::Isn;
pub use segment::{Options, Segment, Timestamps};
pub use seq::SeqNumber;
pub use state::time_wait::{Answer, TimeWait};
pub use state::{State, closed, listen};
pub use time::Instant;

#[cfg(test)]
mod tests;
