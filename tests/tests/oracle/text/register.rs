//! io_uring_register(2), as the cases about it call it, and the structures that it is given.

use std::ffi::c_void;

use super::*;

pub const REGISTER_BUFFERS: u32 = 0;
pub const UNREGISTER_BUFFERS: u32 = 1;
pub const REGISTER_FILES: u32 = 2;
pub const UNREGISTER_FILES: u32 = 3;
pub const FILES_UPDATE: u32 = 6;
pub const REGISTER_FILES2: u32 = 13;
pub const FILES_UPDATE2: u32 = 14;
pub const REGISTER_BUFFERS2: u32 = 15;
pub const BUFFERS_UPDATE: u32 = 16;
pub const REGISTER_PBUF_RING: u32 = 22;
pub const UNREGISTER_PBUF_RING: u32 = 23;
pub const FILE_ALLOC_RANGE: u32 = 25;
pub const PBUF_STATUS: u32 = 26;

pub const SPARSE: u32 = 1;
/// Bytes of the structures whose opcodes want them told.
pub const RSRC: u32 = 32;

/// An address, as the structures have it.
pub fn at<T: ?Sized>(what: &T) -> u64 {
    std::ptr::from_ref(what).cast::<u8>() as u64
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

pub fn rsrc_register(nr: u32, flags: u32, data: u64, tags: u64) -> [u64; 4] {
    [pair(nr, flags), 0, data, tags]
}

pub fn rsrc_update(offset: u32, data: u64) -> [u64; 2] {
    [offset.into(), data]
}

pub fn rsrc_update2(offset: u32, data: u64, tags: u64, nr: u32) -> [u64; 4] {
    [offset.into(), data, tags, nr.into()]
}

pub fn index_range(offset: u32, len: u32) -> [u64; 2] {
    [pair(offset, len), 0]
}

pub fn buf_reg(addr: u64, entries: u32, group: u16, flags: u16, min_left: u32) -> [u64; 5] {
    let second = pair(entries, u32::from(group) | u32::from(flags) << 16);
    [addr, second, min_left.into(), 0, 0]
}

pub fn iovec(addr: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: len,
    }
}

impl Bench {
    /// Lets what the peer sent reach a receive that waits for it: when it is acknowledged it is there,
    /// and one turn moves it on.
    pub fn until_taken(&mut self, peer: &TcpStream) {
        let fd = peer.as_raw_fd();
        self.pump("the ring acknowledges", || {
            let mut left = 0i32;
            // SAFETY: the request fills an int.
            let done = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &raw mut left) };
            done == 0 && left == 0
        });
        self.ring.submit().expect("a turn");
    }

    /// io_uring_register(2); writes down what it returned.
    pub fn register<T: ?Sized>(&mut self, what: &str, opcode: u32, arg: &T, nr: u32) {
        self.register_at(what, opcode, at(arg), nr);
    }

    /// As [`register`](Self::register), with any address.
    pub fn register_at(&mut self, what: &str, opcode: u32, arg: u64, nr: u32) {
        let result = self.register_quietly(opcode, arg, nr);
        self.say((what, result));
    }

    pub fn register_quietly(&mut self, opcode: u32, arg: u64, nr: u32) -> Result<i32, Option<i32>> {
        // SAFETY: the cases pass what their opcodes take, and leak what stays registered.
        let result =
            unsafe { super::super::register(&self.ring, opcode, arg as *const c_void, nr) };
        result.map_err(|error| error.raw_os_error())
    }
}
