//! A userspace TCP and UDP stack over AF_XDP, driven as Linux's io_uring is driven.
//!
//! The entries, opcodes, flags and errnos are io_uring's, and the types are the `io-uring` crate's,
//! re-exported here: a program's loop over entries and completions stays as it is. What changes is
//! the `use` line, the builder (it takes an interface), and that sockets are made by operations, as direct
//! descriptors. A ring shares the interface's addresses with the kernel, unless it is given addresses of its own
//! ([`Builder::address`]).
//!
//! Pushing an entry is `unsafe`, since it names memory by address. [`owned`] is a layer over the entries
//! that owns the memory, and is safe.
//!
//! `docs/ARCHITECTURE.md` says how it works; the README has a whole program.
#![warn(missing_docs)]

// A break on purpose, which the simulator must then find. Whoever gets the feature by accident (all features at once,
// say) gets this error and no library.
#[cfg(feature = "broken-slots")]
const _: () = assert!(
    option_env!("RINGWIRE_BROKEN").is_some(),
    "the feature broken-slots makes ringwire wrong on purpose: it is for scripts/broken.sh only"
);

mod builder;
pub mod command;
mod device;
#[doc(hidden)]
pub mod engine;
mod enter;
pub mod events;
mod host_kernel;
mod lent;
mod mailbox;
pub mod msg_zerocopy;
mod offload;
pub mod owned;
mod params;
mod poller;
mod port;
pub mod provided;
mod queue;
pub mod register;
mod report;
mod ring;
mod setup_error;
pub mod slots;
mod submitter;
mod usermem;
mod zcrx;

pub use io_uring::{opcode, types};
pub use ringwire_stack::{Cidr, CidrError, MAX_ADDRESSES, RxChecksum};
pub use ringwire_umem::{Area, Lent, RingGone};
pub use ringwire_xsk::{AttachMode, Attached, BindMode, Features, Mode, Privileges};

pub use engine::LinkState;

pub use builder::{Builder, CHUNK_BYTES, LEAST_MTU_V4, LEAST_MTU_V6};
pub use lent::{IOU_PBUF_RING_LENT, LentBuffers};
pub use offload::TxChecksum;
pub use params::Parameters;
pub use queue::{CompletionQueue, SubmissionQueue};
pub use register::Probe;
pub use report::{AddressMode, Counters, Report};
pub use ring::IoUring;
pub use setup_error::SetupError;
pub use submitter::{Submitter, register_sync_msg};

/// Submission entries and their queue.
pub mod squeue {
    pub use crate::queue::{PushError, SubmissionQueue};
    pub use io_uring::squeue::{Entry, Entry128, EntryMarker, Flags};
}

/// Completion entries, their queue, and what their flags say.
pub mod cqueue {
    pub use crate::queue::CompletionQueue;
    pub use io_uring::cqueue::{
        Entry, Entry32, EntryMarker, buffer_more, buffer_select, more, notif, sock_nonempty,
    };
}

#[cfg(all(test, loom))]
mod loom_tests;
