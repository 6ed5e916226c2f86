//! The submission queue entry.

use io_uring::squeue;

/// One 64-byte submission entry, field by field.
///
/// Fields that Linux declares as unions carry one of their names; the others are the methods below.
/// What a field means depends on the opcode: see [`parse`](crate::request::parse).
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Sqe {
    /// Operation, an `IORING_OP_*`.
    pub opcode: u8,
    /// `IOSQE_*` flags.
    pub flags: u8,
    /// Priority; the flag word of the send, receive and accept operations.
    pub ioprio: u16,
    /// File descriptor or registered file index; SOCKET: domain; PROVIDE_BUFFERS: count.
    pub fd: i32,
    /// Offset; also `addr2`, `cmd_op`.
    pub off: u64,
    /// Address of the payload, of a `msghdr`, of a socket address, or another operation's key.
    pub addr: u64,
    /// Length in bytes, or a count.
    pub len: u32,
    /// The operation's own flag word: `msg_flags`, `timeout_flags`, `poll32_events`, `rw_flags`, ….
    pub op_flags: u32,
    /// Returned unchanged in the completion.
    pub user_data: u64,
    /// Registered buffer index; also `buf_group`.
    pub buf_index: u16,
    /// Registered credentials, 0 for none.
    pub personality: u16,
    /// Slot of a direct descriptor plus one; also `addr_len` (low half), `optlen`, `splice_fd_in`.
    pub file_index: u32,
    /// Third address; also `optval`.
    pub addr3: u64,
    /// Reserved (`__pad2`).
    pub pad2: u64,
}

const _: () = assert!(size_of::<Sqe>() == 64 && align_of::<Sqe>() == 8);
const _: () = assert!(size_of::<squeue::Entry>() == 64 && align_of::<squeue::Entry>() == 8);

impl Sqe {
    /// The fields of an entry made by the `io-uring` crate.
    pub fn from_entry(entry: &squeue::Entry) -> Self {
        // SAFETY: `Entry` is a `repr(C)` newtype of `io_uring_sqe`: same size and alignment as `Sqe`
        // (asserted above), without padding, and its builders start from zeroed memory, so all 64
        // bytes are initialised. Every bit pattern is a valid `Sqe`.
        unsafe { std::mem::transmute_copy(entry) }
    }

    /// The fields of an entry's 64 bytes, as eight words.
    pub fn from_words(words: [u64; 8]) -> Self {
        // SAFETY: 64 bytes, all initialised, and every bit pattern is a valid `Sqe`.
        unsafe { std::mem::transmute(words) }
    }

    /// The same entry as the `io-uring` crate's type.
    pub fn to_entry(&self) -> squeue::Entry {
        // SAFETY: same layout as above. `Sqe` has no padding, so all 64 bytes are initialised, and
        // `io_uring_sqe` is made of integers, for which every bit pattern is valid.
        unsafe { std::mem::transmute(*self) }
    }

    /// The second address, in `off`.
    pub fn addr2(&self) -> u64 {
        self.off
    }

    /// Length in bytes of the socket address of a send: the low half of `file_index`.
    pub fn addr_len(&self) -> u16 {
        self.file_index as u16
    }

    /// Command of URING_CMD: the low half of `off`.
    pub fn cmd_op(&self) -> u32 {
        self.off as u32
    }

    /// Reserved word (`__pad1`) behind `cmd_op`.
    pub fn pad1(&self) -> u32 {
        (self.off >> 32) as u32
    }

    /// Level of a socket option: the low half of `addr`.
    pub fn level(&self) -> i32 {
        self.addr as i32
    }

    /// Number of a socket option: the high half of `addr`.
    pub fn optname(&self) -> i32 {
        (self.addr >> 32) as i32
    }

    /// Reserved half-word (`__pad3`) behind `addr_len`.
    pub fn pad3(&self) -> u16 {
        (self.file_index >> 16) as u16
    }

    /// Notification slot of a send that is bound to one: the low half of `file_index`.
    pub fn slot_index(&self) -> u16 {
        self.file_index as u16
    }

    /// Length in bytes of the socket address of such a send: the high half of `file_index`.
    pub fn slot_addr_len(&self) -> u16 {
        (self.file_index >> 16) as u16
    }

    /// Buffer group, in `buf_index`.
    pub fn buf_group(&self) -> u16 {
        self.buf_index
    }
}

#[cfg(test)]
#[path = "sqe_tests.rs"]
mod tests;
