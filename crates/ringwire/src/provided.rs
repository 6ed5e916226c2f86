//! Sends from provided registered buffers: a buffer group whose entries name memory in the registered buffers,
//! which neither the kernel nor the `io-uring` crate has. `docs/PROVIDED_REGISTERED_BUFFERS.md` has the rules.
//!
//! The group is a buffer ring like any other
//! ([`register_buf_ring_with_flags`](crate::Submitter::register_buf_ring_with_flags)); what an entry's address
//! means is decided by the request that takes it.

use ringwire_abi::flags::{
    IORING_OP_SEND, IORING_OP_SEND_ZC, IORING_RECVSEND_BUNDLE, IORING_RECVSEND_FIXED_BUF,
    IORING_SEND_ZC_REPORT_USAGE, IOSQE_BUFFER_SELECT, IOSQE_FIXED_FILE,
};
use ringwire_abi::register::pack_registered;
use ringwire_abi::sqe::Sqe;

use crate::squeue::Entry;
use crate::types::Fixed;

/// The address of a [`BufRingEntry`](crate::types::BufRingEntry) that names memory from `offset` bytes on in the
/// registered buffer at `index`.
///
/// # Panics
/// If the index has more than 20 bits, or the offset more than 44.
pub const fn entry_addr(index: u32, offset: u64) -> u64 {
    pack_registered(index, offset)
}

/// A send from provided registered buffers, before it is an entry.
#[derive(Clone, Debug)]
pub struct ProvidedSend(Sqe);

/// SEND from a group: what is not in the NIC's hands yet is copied. `len` is the most bytes that are taken at a
/// time; 0: no limit.
pub fn send(socket: Fixed, group: u16, len: u32) -> ProvidedSend {
    ProvidedSend::new(IORING_OP_SEND, socket, group, len)
}

/// SEND_ZC from a group: one completion, and one notification, both of which name the first buffer. `len` is the
/// most bytes that it takes; 0: no limit.
pub fn send_zc(socket: Fixed, group: u16, len: u32) -> ProvidedSend {
    ProvidedSend::new(IORING_OP_SEND_ZC, socket, group, len)
}

impl ProvidedSend {
    fn new(opcode: u8, socket: Fixed, group: u16, len: u32) -> ProvidedSend {
        ProvidedSend(Sqe {
            opcode,
            flags: IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT,
            ioprio: IORING_RECVSEND_FIXED_BUF,
            fd: socket.0 as i32,
            len,
            buf_index: group,
            ..Sqe::default()
        })
    }

    /// Takes as many buffers as there are, while they lie in one registered buffer: 256 at most.
    pub fn bundle(self) -> ProvidedSend {
        self.with(IORING_RECVSEND_BUNDLE)
    }

    /// Has the notification say whether anything was copied; only of a [`send_zc`].
    pub fn report_usage(self) -> ProvidedSend {
        self.with(IORING_SEND_ZC_REPORT_USAGE)
    }

    /// `MSG_*`.
    pub fn flags(mut self, flags: i32) -> ProvidedSend {
        self.0.op_flags = flags as u32;
        self
    }

    /// Where a datagram goes; the address is read when the entry is submitted.
    pub fn dest_addr(mut self, address: *const libc::sockaddr, len: u16) -> ProvidedSend {
        self.0.off = address as u64;
        self.0.file_index = len.into();
        self
    }

    /// The entry.
    pub fn build(self) -> Entry {
        self.0.to_entry()
    }

    fn with(mut self, flag: u16) -> ProvidedSend {
        self.0.ioprio |= flag;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire_abi::request::{Op, Target, Transfer, parse};

    fn read(send: ProvidedSend) -> Transfer {
        match parse(&Sqe::from_entry(&send.build())) {
            Ok(Op::Send(transfer)) => transfer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_asks_for_what_its_builder_says() {
        let plain = read(send(Fixed(3), 7, 100));
        assert_eq!((plain.target, plain.len), (Target::Fixed(3), 100));
        assert_eq!((plain.group, plain.registered), (Some(7), true));
        assert!(!plain.bundle && plain.notify.is_none());
        let address = std::ptr::without_provenance(4096);
        let bundle = send_zc(Fixed(3), 7, 0).bundle().report_usage();
        let bundle = read(bundle.flags(libc::MSG_MORE).dest_addr(address, 28));
        assert!(bundle.registered && bundle.bundle);
        assert!(bundle.notify.is_some_and(|notify| notify.report_usage));
        assert_eq!((bundle.msg_flags, bundle.to), (libc::MSG_MORE, (4096, 28)));
    }
}
