//! ringwire, as the text calls it.

use std::ffi::c_void;
use std::io;

pub use ringwire::{Builder, IoUring, Probe, Submitter};
use ringwire_tests::net::{RING_INTERFACE, RING_V4, RING_V6};

#[path = "text/mod.rs"]
pub mod text;

/// ringwire has the ring's addresses alone.
const KERNEL_AT_RING: bool = false;

fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .rx_checksum(ringwire::RxChecksum::AcceptPartial)
        .detect_duplicates(false);
    builder
}

fn build(builder: &Builder, entries: u32) -> io::Result<IoUring> {
    builder.build(entries).map_err(io::Error::from)
}

/// io_uring_register(2) on a ring.
unsafe fn register(ring: &IoUring, opcode: u32, arg: *const c_void, nr: u32) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { ring.submitter().register(opcode, arg, nr) }
}
