//! The XDP program: what a queue receives goes to the socket in the map, if there is one. By bpf(2), since libxdp's own
//! would be looked for in a directory of the system.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Commands of bpf(2), types and flags (Linux `include/uapi/linux/bpf.h`, `if_link.h`).
const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

static LICENSE: &std::ffi::CStr = c"MIT";

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Native,
    Generic,
}

#[repr(C)]
#[derive(Default)]
struct Map {
    kind: u32,
    key_bytes: u32,
    value_bytes: u32,
    entries: u32,
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u64,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
}

#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
}

/// The program, attached until it is dropped.
pub struct Program {
    _map: OwnedFd,
    _link: OwnedFd,
}

impl Program {
    /// Attaches it to an interface whose queue 0 this socket is bound to.
    pub fn attach(name: &str, mode: Mode, socket: RawFd) -> io::Result<Program> {
        let map = descriptor(bpf(
            BPF_MAP_CREATE,
            &Map {
                kind: BPF_MAP_TYPE_XSKMAP,
                key_bytes: 4,
                value_bytes: 4,
                entries: 1,
            },
        )?);
        let (key, value) = (0u32, socket as u32);
        bpf(
            BPF_MAP_UPDATE_ELEM,
            &Element {
                map: map.as_raw_fd() as u64,
                key: &raw const key as u64,
                value: &raw const value as u64,
                flags: 0,
            },
        )?;
        let instructions = instructions(map.as_raw_fd());
        let program = descriptor(bpf(
            BPF_PROG_LOAD,
            &Load {
                kind: BPF_PROG_TYPE_XDP,
                instructions: instructions.len() as u32,
                program: instructions.as_ptr() as u64,
                license: LICENSE.as_ptr() as u64,
            },
        )?);
        let flags = match mode {
            Mode::Native => XDP_FLAGS_DRV_MODE,
            Mode::Generic => XDP_FLAGS_SKB_MODE,
        };
        let link = descriptor(bpf(
            BPF_LINK_CREATE,
            &Link {
                program: program.as_raw_fd() as u32,
                interface: index(name)?,
                kind: BPF_XDP,
                flags,
            },
        )?);
        Ok(Program {
            _map: map,
            _link: link,
        })
    }
}

/// `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS);`
fn instructions(map: RawFd) -> [u64; 6] {
    let instruction = |code: u64, to: u64, from: u64, offset: u64, value: u64| {
        code | to << 8 | from << 12 | offset << 16 | value << 32
    };
    const PSEUDO_MAP_FD: u64 = 1;
    const REDIRECT_MAP: u64 = 51;
    const PASS: u64 = 2;
    const RX_QUEUE_INDEX_AT: u64 = 16;
    [
        instruction(0x61, 2, 1, RX_QUEUE_INDEX_AT, 0),
        instruction(0x18, 1, PSEUDO_MAP_FD, 0, map as u64),
        0,
        instruction(0xb7, 3, 0, 0, PASS),
        instruction(0x85, 0, 0, 0, REDIRECT_MAP),
        instruction(0x95, 0, 0, 0, 0),
    ]
}

fn index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: a string that ends with a zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A command; its result.
fn bpf<T>(command: i32, argument: &T) -> io::Result<i32> {
    let argument = std::ptr::from_ref(argument);
    // SAFETY: the commands above read their argument, which is as long as it says, and what it points at, which the
    // callers keep.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, argument, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result as i32)
}

fn descriptor(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
