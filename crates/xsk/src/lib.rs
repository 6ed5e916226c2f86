//! AF_XDP as ringwire uses it: sockets and their four rings on the kernel's UAPI, the XDP program
//! that steers packets to them, and what has to be known of the interface.
//!
//! One kernel noun is one file. This crate knows the kernel; it knows nothing of packets.
#![warn(missing_docs)]

mod bind;
mod desc;
mod epoll;
mod error;
mod ethtool;
mod eventfd;
mod features;
mod host;
mod icmp;
mod inet;
mod interface;
mod issuer;
mod map_fd;
mod mapping;
mod maps;
mod netlink;
mod offload;
mod program;
mod quirks;
mod receive_hash;
mod reservation;
mod ring;
mod rtnetlink;
mod seqpacket;
mod socket;
#[doc(hidden)]
pub mod sync;
mod virtio;
mod waiter;

pub use bind::{fits_chunk, split_by_driver};
pub use desc::{Desc, TxMetadata};
pub use epoll::Epoll;
pub use error::Error;
pub use ethtool::{Amount, Channels, Nic, Offload};
pub use eventfd::{EventFd, is_open};
pub use features::Features;
pub use host::{Host, HugePages, network_namespace};
pub use icmp::{IcmpError, IcmpErrors};
pub use interface::{Driver, Interface, MulticastMembership};
pub use issuer::Issuer;
pub use issuer::credentials::User;
pub use issuer::launch::run;
pub use issuer::privileges::Privileges;
pub use maps::{Protocol, SteerCounters};
pub use offload::{NoTxChecksum, tx_checksum};
pub use program::{AttachMode, Attached, Program};
pub use quirks::{QUIRKS, Quirk, quirks, transmit_timeout};
pub use receive_hash::{FlowFields, ReceiveHash};
pub use reservation::{Received, Reservation, ReserveConfig};
pub use ring::{Consumer, Entry, Producer, Rings, pair};
pub use rtnetlink::{
    Change, Link, Neighbour, Route, Rtnetlink, XdpMode, XdpProgram, addresses, neighbours,
};
pub use socket::{BindMode, Kick, Mode, QueueConfig, Socket, Statistics};
pub use virtio::VirtioFeatures;
pub use waiter::{Waiter, Waker, block_signals, clock, run_on_cpu};

#[cfg(all(test, loom))]
mod loom_tests;
