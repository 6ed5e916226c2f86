//! The kernel's io_uring, as the text calls it.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd;

pub use io_uring::{Builder, IoUring, Probe, Submitter};

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

/// io_uring_register(2) on a ring.
unsafe fn register(ring: &IoUring, opcode: u32, arg: *const c_void, nr: u32) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            opcode,
            arg,
            nr,
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result as i32),
    }
}
