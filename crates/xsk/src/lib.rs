//! AF_XDP as ringwire uses it: sockets and their four rings on the kernel's UAPI, the XDP program
//! that steers packets to them, and what has to be known of the interface.
//!
//! One kernel noun is one file. This crate knows the kernel; it knows nothing of packets.
#![warn(missing_docs)]

mod bind;
mod desc;
mod error;
mod eventfd;
mod features;
mod interface;
mod mapping;
mod maps;
mod netlink;
mod offload;
mod program;
mod ring;
mod socket;
#[doc(hidden)]
pub mod sync;
mod waiter;

pub use desc::{Desc, TxMetadata};
pub use error::Error;
pub use eventfd::{EventFd, is_open};
pub use features::Features;
pub use interface::{Interface, MulticastMembership};
pub use maps::{Protocol, SteerCounters};
pub use offload::NoTxChecksum;
pub use program::{AttachMode, Attached, Program};
pub use ring::{Consumer, Entry, Producer, Rings, pair};
pub use socket::{BindMode, Kick, Mode, QueueConfig, Socket, Statistics};
pub use waiter::{Waiter, Waker, block_signals, clock, run_on_cpu};

#[cfg(all(test, loom))]
mod loom_tests;
