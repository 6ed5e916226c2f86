//! The kernel's io_uring, as the text calls it.

use std::io;

pub use io_uring::{Builder, IoUring};

#[path = "text/mod.rs"]
pub mod text;

/// The kernel has the ring's addresses.
const KERNEL_AT_RING: bool = true;

fn builder() -> Builder {
    IoUring::builder()
}

fn build(builder: &Builder, entries: u32) -> io::Result<IoUring> {
    builder.build(entries)
}
