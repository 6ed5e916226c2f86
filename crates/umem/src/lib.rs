//! UMEM: the memory that an AF_XDP socket shares with the kernel, cut into *chunks*, and the
//! [`Ledger`] that knows who owns each chunk.
//!
//! This crate knows bytes and owners; it knows nothing of packets, sockets or the kernel's rings.
//! A [`Frame`] is an owned chunk: it can only be moved, and only the ledger makes one, so holding a
//! frame is the permission to touch its bytes. Addresses that come from outside (the kernel's rings,
//! the application) are checked in release builds too: a bad one is an [`AddressError`], never an
//! access out of bounds.
#![warn(missing_docs)]

// Breaks on purpose what the simulator must then find. Whoever gets the feature by accident (all features at
// once, say) gets this error and no library.
#[cfg(any(
    feature = "broken-ledger",
    feature = "broken-returns",
    feature = "broken-loans"
))]
const _: () = assert!(
    option_env!("RINGWIRE_BROKEN").is_some(),
    "the features broken-* make ringwire wrong on purpose: it is for scripts/broken.sh only"
);

mod borrow;
mod frame;
mod layout;
mod ledger;
mod lend;
mod lend_table;
mod memory;
mod reclaim;
mod returns;
#[doc(hidden)]
pub mod sync;

pub use borrow::{Borrowed, LoanId, Repaid};
pub use frame::{Frame, Piece};
pub use layout::{AreaLayout, HEADROOM, Layout, LayoutError, Pool};
pub use ledger::{AddressError, Census, Ledger, Owner, TxDone};
pub use lend::{Lent, RingGone};
pub use lend_table::LendTable;
pub use memory::{Area, FrozenArea, Umem, UmemError};

#[cfg(all(test, loom))]
mod loom_tests;
