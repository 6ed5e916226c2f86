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
mod congestion;
mod connection;
mod cookie;
mod cubic;
mod disposition;
mod ecn;
mod flight;
mod handshake;
mod info;
mod isn;
mod keep_alive;
mod limit;
mod nagle;
mod new_reno;
mod options;
mod output;
mod path_mtu;
mod predict;
mod prr;
mod rack;
mod reassembly;
mod recovery;
mod rtt;
mod segment;
mod seq;
mod state;
mod tail_loss;
mod time;
mod timers;
mod timestamps;
mod undo;
mod window;

pub use config::Config;
pub use congestion::Algorithm;
pub use connection::Connection;
pub use cookie::SynCookies;
pub use disposition::{Disposition, Failure, Keep, Refusal};
pub use info::{CongestionState, Info, Totals};
pub use isn::Isn;
pub use options::{KeepAlive, TcpOptions};
pub use segment::{Ecn, MAX_SACK_BLOCKS, Options, SackBlocks, Segment, Timestamps};
pub use seq::SeqNumber;
pub use state::time_wait::{Answer, TimeWait};
pub use state::{State, closed, listen};
pub use time::{Instant, Millis};

#[cfg(test)]
mod tests;
