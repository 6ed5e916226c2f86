//! An interface that drops all that it receives, by XDP: what is sent to it costs its sender no more than the way.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Commands of bpf(2), and their arguments' parts (Linux `include/uapi/linux/bpf.h`).
const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// `r0 = XDP_DROP; exit`
static PROGRAM: [u64; 2] = [1 << 32 | 0xb7, 0x95];
static LICENSE: &std::ffi::CStr = c"MIT";

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct Link {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

/// Drops what an interface of this thread's namespace receives, until it is dropped itself.
pub struct Sink {
    _link: OwnedFd,
}

impl Sink {
    /// Attaches to the interface of this index, in its driver.
    ///
    /// # Errors
    /// bpf(2)'s: without the privilege, where the driver has no XDP, or another program is there.
    pub fn attach(interface: u32) -> io::Result<Sink> {
        let load = Load {
            kind: BPF_PROG_TYPE_XDP,
            instructions: PROGRAM.len() as u32,
            program: PROGRAM.as_ptr() as u64,
            license: LICENSE.as_ptr() as u64,
            // Else an interface with a large MTU does not take it.
            flags: BPF_F_XDP_HAS_FRAGS,
            ..Load::default()
        };
        let program = bpf(BPF_PROG_LOAD, &load)?;
        let link = Link {
            program: program.as_raw_fd() as u32,
            interface,
            kind: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        let link = bpf(BPF_LINK_CREATE, &link)?;
        Ok(Sink { _link: link })
    }
}

/// A command that makes a descriptor.
fn bpf<T>(command: i32, argument: &T) -> io::Result<OwnedFd> {
    let argument = std::ptr::from_ref(argument);
    // SAFETY: the commands above read their argument, which is as long as it says, and what it points at: statics.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, argument, size_of::<T>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
