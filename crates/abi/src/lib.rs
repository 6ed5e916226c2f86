//! The io_uring ABI as ringwire reads it: no I/O, no memory access, no policy.
//!
//! An application builds its requests with the `io-uring` crate's own builders. This crate turns the
//! 64 bytes of such a submission entry ([`Sqe`]) into a typed request ([`Op`]), refusing what Linux's
//! `prep` functions refuse and with the same [`Errno`], and makes completion entries ([`cqe::words`]).
//!
//! * [`sqe`], [`cqe`]: the two entries, in and out of the `io-uring` crate's types;
//! * [`flags`]: opcodes and flag bits, under the names of `linux/io_uring.h`;
//! * [`errno`]: error numbers as a type;
//! * [`request`]: [`request::check_flags`], [`request::check_priority`], then [`request::parse`];
//! * [`setup`]: ring sizes and set-up flags;
//! * [`register`]: provided-buffer-ring registration and layout;
//! * [`notifier`]: notification slots, which Linux has no more;
//! * [`error_queue`]: notifications of MSG_ZEROCOPY, and their inline form, which Linux never had.
//!
//! Pointers in an entry stay plain `u64` addresses: whether they point at memory is not known here, so
//! the refusals that come from reading it (`EFAULT`, a negative timespec, a bad `msghdr`) are the
//! caller's.
//!
//! The crate reads the entries by their layout, which `io-uring` does not promise: that dependency is
//! pinned to one version, and known-answer tests hold every offset.
#![warn(missing_docs)]

pub mod cqe;
pub mod errno;
pub mod error_queue;
pub mod flags;
pub mod notifier;
mod op;
pub mod register;
pub mod request;
pub mod setup;
pub mod sqe;
pub mod zcrx;

pub use errno::Errno;
pub use request::{Op, Slot, Target};
pub use sqe::Sqe;

// `addr_len` is read as the low half of `file_index`, which is true of little-endian machines; the
// kernel also swaps the poll mask on big-endian ones.
const _: () = assert!(cfg!(target_endian = "little"));

#[cfg(test)]
mod oracle;
