//! UMEM: the memory that an AF_XDP socket shares with the kernel, cut into *chunks*, and the
//! [`Ledger`] that knows who owns each chunk.
//!
//! This crate knows bytes and owners; it knows nothing of packets, sockets or the kernel's rings.
//! A [`Frame`] is an owned chunk: it can only be moved, and only the ledger makes one, so holding a
//! frame is the permission to touch its bytes. Addresses that come from outside (the kernel's rings,
//! the application) are checked in release builds too: a bad one is an [`AddressError`], never an
//! access out of bounds.
#![warn(missing_docs)]

mod frame;
mod layout;
mod ledger;
mod memory;

pub use frame::{Frame, Piece};
pub use layout::{Layout, LayoutError, Pool};
pub use ledger::{AddressError, Census, Ledger, Owner, TxDone};
pub use memory::{Area, Umem, UmemError};
