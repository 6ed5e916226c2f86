//! Opcodes and flag bits, under the names and with the values of Linux's
//! `include/uapi/linux/io_uring.h`.
//!
//! A constant here says only that the number is known; which of them ringwire takes is decided in
//! [`request`](crate::request) and [`setup`](crate::setup).

// Opcodes.

/// Opcode 0.
pub const IORING_OP_NOP: u8 = 0;
/// Opcode 1.
pub const IORING_OP_READV: u8 = 1;
/// Opcode 2.
pub const IORING_OP_WRITEV: u8 = 2;
/// Opcode 3.
pub const IORING_OP_FSYNC: u8 = 3;
/// Opcode 4.
pub const IORING_OP_READ_FIXED: u8 = 4;
/// Opcode 5.
pub const IORING_OP_WRITE_FIXED: u8 = 5;
/// Opcode 6.
pub const IORING_OP_POLL_ADD: u8 = 6;
/// Opcode 7.
pub const IORING_OP_POLL_REMOVE: u8 = 7;
/// Opcode 8.
pub const IORING_OP_SYNC_FILE_RANGE: u8 = 8;
/// Opcode 9.
pub const IORING_OP_SENDMSG: u8 = 9;
/// Opcode 10.
pub const IORING_OP_RECVMSG: u8 = 10;
/// Opcode 11.
pub const IORING_OP_TIMEOUT: u8 = 11;
/// Opcode 12.
pub const IORING_OP_TIMEOUT_REMOVE: u8 = 12;
/// Opcode 13.
pub const IORING_OP_ACCEPT: u8 = 13;
/// Opcode 14.
pub const IORING_OP_ASYNC_CANCEL: u8 = 14;
/// Opcode 15.
pub const IORING_OP_LINK_TIMEOUT: u8 = 15;
/// Opcode 16.
pub const IORING_OP_CONNECT: u8 = 16;
/// Opcode 19.
pub const IORING_OP_CLOSE: u8 = 19;
/// Opcode 20.
pub const IORING_OP_FILES_UPDATE: u8 = 20;
/// Opcode 22.
pub const IORING_OP_READ: u8 = 22;
/// Opcode 23.
pub const IORING_OP_WRITE: u8 = 23;
/// Opcode 26.
pub const IORING_OP_SEND: u8 = 26;
/// Opcode 27.
pub const IORING_OP_RECV: u8 = 27;
/// Opcode 29.
pub const IORING_OP_EPOLL_CTL: u8 = 29;
/// Opcode 31.
pub const IORING_OP_PROVIDE_BUFFERS: u8 = 31;
/// Opcode 32.
pub const IORING_OP_REMOVE_BUFFERS: u8 = 32;
/// Opcode 34.
pub const IORING_OP_SHUTDOWN: u8 = 34;
/// Opcode 40.
pub const IORING_OP_MSG_RING: u8 = 40;
/// Opcode 45.
pub const IORING_OP_SOCKET: u8 = 45;
/// Opcode 46.
pub const IORING_OP_URING_CMD: u8 = 46;
/// Opcode 47.
pub const IORING_OP_SEND_ZC: u8 = 47;
/// Opcode 48.
pub const IORING_OP_SENDMSG_ZC: u8 = 48;
/// Opcode 49.
pub const IORING_OP_READ_MULTISHOT: u8 = 49;
/// Opcode 54.
pub const IORING_OP_FIXED_FD_INSTALL: u8 = 54;
/// Opcode 56.
pub const IORING_OP_BIND: u8 = 56;
/// Opcode 57.
pub const IORING_OP_LISTEN: u8 = 57;
/// Opcode 58.
pub const IORING_OP_RECV_ZC: u8 = 58;
/// Opcode 59.
pub const IORING_OP_EPOLL_WAIT: u8 = 59;
/// Opcode 60.
pub const IORING_OP_READV_FIXED: u8 = 60;
/// Opcode 61.
pub const IORING_OP_WRITEV_FIXED: u8 = 61;
/// Opcode 62.
pub const IORING_OP_PIPE: u8 = 62;
/// Opcode 63.
pub const IORING_OP_NOP128: u8 = 63;
/// Opcode 64.
pub const IORING_OP_URING_CMD128: u8 = 64;
/// One past the last opcode of the ABI that this crate knows.
pub const IORING_OP_LAST: u8 = 65;

// ringwire's own opcodes, beyond all that Linux has.

/// A zero-copy send that is bound to a notification slot (of 6.0-rc1, `IORING_OP_SENDZC`).
pub const RINGWIRE_OP_SEND_ZC_SLOT: u8 = 240;
/// Flushes notification slots (of 6.0-rc1, RSRC_UPDATE with `IORING_RSRC_UPDATE_NOTIF`).
pub const RINGWIRE_OP_FLUSH_SLOTS: u8 = 241;
/// Tells what becomes of the ring's interface and queues, until it is cancelled.
pub const RINGWIRE_OP_WATCH: u8 = 242;

/// Whether an opcode is of ringwire's own operations.
pub const fn is_own_opcode(opcode: u8) -> bool {
    matches!(
        opcode,
        RINGWIRE_OP_SEND_ZC_SLOT | RINGWIRE_OP_FLUSH_SLOTS | RINGWIRE_OP_WATCH
    )
}

// SQE flags.

/// `fd` is an index into the registered files.
pub const IOSQE_FIXED_FILE: u8 = 1 << 0;
/// Starts only after every earlier request has completed.
pub const IOSQE_IO_DRAIN: u8 = 1 << 1;
/// The next request starts only when this one has succeeded.
pub const IOSQE_IO_LINK: u8 = 1 << 2;
/// The next request starts when this one has completed, even in failure.
pub const IOSQE_IO_HARDLINK: u8 = 1 << 3;
/// Never completed inline.
pub const IOSQE_ASYNC: u8 = 1 << 4;
/// The buffer comes from the group `buf_group`.
pub const IOSQE_BUFFER_SELECT: u8 = 1 << 5;
/// No completion entry on success.
pub const IOSQE_CQE_SKIP_SUCCESS: u8 = 1 << 6;
/// Every SQE flag the ABI defines; a request with another bit is refused.
pub const IOSQE_ALL: u8 = 0x7f;

// CQE flags.

/// The upper half of the flags names the provided buffer that was used.
pub const IORING_CQE_F_BUFFER: u32 = 1 << 0;
/// More completions of this request follow.
pub const IORING_CQE_F_MORE: u32 = 1 << 1;
/// The socket still has data (or connections) after this completion.
pub const IORING_CQE_F_SOCK_NONEMPTY: u32 = 1 << 2;
/// The notification that a zero-copy send has let go of its buffer.
pub const IORING_CQE_F_NOTIF: u32 = 1 << 3;
/// The provided buffer is not used up: its id comes again.
pub const IORING_CQE_F_BUF_MORE: u32 = 1 << 4;
/// Filler in a ring of mixed entry sizes.
pub const IORING_CQE_F_SKIP: u32 = 1 << 5;
/// A 32-byte entry in a ring of mixed entry sizes.
pub const IORING_CQE_F_32: u32 = 1 << 15;
/// Shift of the buffer id in the flags.
pub const IORING_CQE_BUFFER_SHIFT: u32 = 16;

// `ioprio` of the send and receive operations.

/// Wait for readiness before the first attempt.
pub const IORING_RECVSEND_POLL_FIRST: u16 = 1 << 0;
/// One request, a completion for every receive.
pub const IORING_RECV_MULTISHOT: u16 = 1 << 1;
/// The payload lies in the registered buffer `buf_index`.
pub const IORING_RECVSEND_FIXED_BUF: u16 = 1 << 2;
/// The notification says whether the payload was copied.
pub const IORING_SEND_ZC_REPORT_USAGE: u16 = 1 << 3;
/// Several provided buffers in one operation.
pub const IORING_RECVSEND_BUNDLE: u16 = 1 << 4;
/// `addr` is an iovec array and `len` its count.
pub const IORING_SEND_VECTORIZED: u16 = 1 << 5;

/// RINGWIRE_OP_SEND_ZC_SLOT: the slot is flushed behind the send (of 6.0-rc1,
/// `IORING_RECVSEND_NOTIF_FLUSH`).
pub const RINGWIRE_SEND_FLUSH: u16 = 1 << 3;

/// `res` of a notification: some of the payload was copied.
pub const IORING_NOTIF_USAGE_ZC_COPIED: u32 = 1 << 31;

// `ioprio` of ACCEPT.

/// One request, a completion for every connection.
pub const IORING_ACCEPT_MULTISHOT: u16 = 1 << 0;
/// `-EAGAIN` instead of waiting.
pub const IORING_ACCEPT_DONTWAIT: u16 = 1 << 1;
/// Wait for readiness before the first attempt.
pub const IORING_ACCEPT_POLL_FIRST: u16 = 1 << 2;

// Set-up flags (`io_uring_params.flags`).

/// Busy-poll for completions of storage I/O.
pub const IORING_SETUP_IOPOLL: u32 = 1 << 0;
/// A thread takes submissions without a system call.
pub const IORING_SETUP_SQPOLL: u32 = 1 << 1;
/// The SQPOLL thread is bound to a CPU.
pub const IORING_SETUP_SQ_AFF: u32 = 1 << 2;
/// `cq_entries` gives the completion queue size.
pub const IORING_SETUP_CQSIZE: u32 = 1 << 3;
/// Sizes above the maximum are lowered to it instead of refused.
pub const IORING_SETUP_CLAMP: u32 = 1 << 4;
/// Share the worker pool of another ring.
pub const IORING_SETUP_ATTACH_WQ: u32 = 1 << 5;
/// The ring starts disabled.
pub const IORING_SETUP_R_DISABLED: u32 = 1 << 6;
/// A request that fails its checks does not stop the rest of the submission.
pub const IORING_SETUP_SUBMIT_ALL: u32 = 1 << 7;
/// Completion work waits for the next entry into the kernel.
pub const IORING_SETUP_COOP_TASKRUN: u32 = 1 << 8;
/// `IORING_SQ_TASKRUN` says that completion work is waiting.
pub const IORING_SETUP_TASKRUN_FLAG: u32 = 1 << 9;
/// 128-byte submission entries.
pub const IORING_SETUP_SQE128: u32 = 1 << 10;
/// 32-byte completion entries.
pub const IORING_SETUP_CQE32: u32 = 1 << 11;
/// Only one thread submits.
pub const IORING_SETUP_SINGLE_ISSUER: u32 = 1 << 12;
/// Completion work runs only where the application waits.
pub const IORING_SETUP_DEFER_TASKRUN: u32 = 1 << 13;
/// The application provides the ring memory.
pub const IORING_SETUP_NO_MMAP: u32 = 1 << 14;
/// The ring has a registered index and no file descriptor.
pub const IORING_SETUP_REGISTERED_FD_ONLY: u32 = 1 << 15;
/// No index array: entries are taken in slot order.
pub const IORING_SETUP_NO_SQARRAY: u32 = 1 << 16;
/// IOPOLL that sleeps first.
pub const IORING_SETUP_HYBRID_IOPOLL: u32 = 1 << 17;
/// 16-byte and 32-byte completion entries in one ring.
pub const IORING_SETUP_CQE_MIXED: u32 = 1 << 18;
/// 64-byte and 128-byte submission entries in one ring.
pub const IORING_SETUP_SQE_MIXED: u32 = 1 << 19;
/// The submission queue starts again at slot 0 with every submission.
pub const IORING_SETUP_SQ_REWIND: u32 = 1 << 20;

// Feature bits (`io_uring_params.features`).

/// Both queues lie in one mapping.
pub const IORING_FEAT_SINGLE_MMAP: u32 = 1 << 0;
/// A full completion queue loses no completion.
pub const IORING_FEAT_NODROP: u32 = 1 << 1;
/// A request's parameters may be freed once it is submitted.
pub const IORING_FEAT_SUBMIT_STABLE: u32 = 1 << 2;
/// Offset -1 means the current file position.
pub const IORING_FEAT_RW_CUR_POS: u32 = 1 << 3;
/// Requests run with the credentials of the submitter.
pub const IORING_FEAT_CUR_PERSONALITY: u32 = 1 << 4;
/// Waiting uses the poll machinery, not a thread.
pub const IORING_FEAT_FAST_POLL: u32 = 1 << 5;
/// Poll masks have 32 bits.
pub const IORING_FEAT_POLL_32BITS: u32 = 1 << 6;
/// SQPOLL works with plain file descriptors.
pub const IORING_FEAT_SQPOLL_NONFIXED: u32 = 1 << 7;
/// Waiting takes a timeout argument.
pub const IORING_FEAT_EXT_ARG: u32 = 1 << 8;
/// Workers are threads of the application.
pub const IORING_FEAT_NATIVE_WORKERS: u32 = 1 << 9;
/// Registered resources can carry tags.
pub const IORING_FEAT_RSRC_TAGS: u32 = 1 << 10;
/// `IOSQE_CQE_SKIP_SUCCESS` works.
pub const IORING_FEAT_CQE_SKIP: u32 = 1 << 11;
/// A linked request looks up its file when it runs.
pub const IORING_FEAT_LINKED_FILE: u32 = 1 << 12;
/// Register operations take a registered ring index.
pub const IORING_FEAT_REG_REG_RING: u32 = 1 << 13;
/// Bundles work.
pub const IORING_FEAT_RECVSEND_BUNDLE: u32 = 1 << 14;
/// Waiting takes a minimum time.
pub const IORING_FEAT_MIN_TIMEOUT: u32 = 1 << 15;
/// Reads and writes take attributes.
pub const IORING_FEAT_RW_ATTR: u32 = 1 << 16;
/// Waiting need not count as I/O wait.
pub const IORING_FEAT_NO_IOWAIT: u32 = 1 << 17;

// `io_uring_enter` flags.

/// Wait for completions.
pub const IORING_ENTER_GETEVENTS: u32 = 1 << 0;
/// Wake the SQPOLL thread.
pub const IORING_ENTER_SQ_WAKEUP: u32 = 1 << 1;
/// Wait for room in the submission queue.
pub const IORING_ENTER_SQ_WAIT: u32 = 1 << 2;
/// The argument is an `io_uring_getevents_arg`.
pub const IORING_ENTER_EXT_ARG: u32 = 1 << 3;
/// The ring is given by registered index.
pub const IORING_ENTER_REGISTERED_RING: u32 = 1 << 4;
/// The timeout is absolute.
pub const IORING_ENTER_ABS_TIMER: u32 = 1 << 5;
/// The argument lies in a registered region.
pub const IORING_ENTER_EXT_ARG_REG: u32 = 1 << 6;
/// The wait does not count as I/O wait.
pub const IORING_ENTER_NO_IOWAIT: u32 = 1 << 7;

// SQ and CQ ring flags.

/// The SQPOLL thread sleeps.
pub const IORING_SQ_NEED_WAKEUP: u32 = 1 << 0;
/// Completions wait for room in the completion queue.
pub const IORING_SQ_CQ_OVERFLOW: u32 = 1 << 1;
/// Completion work is waiting.
pub const IORING_SQ_TASKRUN: u32 = 1 << 2;
/// The registered eventfd is not rung.
pub const IORING_CQ_EVENTFD_DISABLED: u32 = 1 << 0;

// `uring_cmd_flags` of URING_CMD.

/// The command uses the registered buffer `buf_index`.
pub const IORING_URING_CMD_FIXED: u32 = 1 << 0;
/// The command posts many completions, with provided buffers.
pub const IORING_URING_CMD_MULTISHOT: u32 = 1 << 1;

// Commands of sockets, `cmd_op` of URING_CMD (`enum io_uring_socket_op`).

/// Bytes that can be read.
pub const SOCKET_URING_OP_SIOCINQ: u32 = 0;
/// Bytes that are not acknowledged.
pub const SOCKET_URING_OP_SIOCOUTQ: u32 = 1;
/// getsockopt(2).
pub const SOCKET_URING_OP_GETSOCKOPT: u32 = 2;
/// setsockopt(2).
pub const SOCKET_URING_OP_SETSOCKOPT: u32 = 3;
/// Time stamps of what was sent.
pub const SOCKET_URING_OP_TX_TIMESTAMP: u32 = 4;
/// getsockname(2) and getpeername(2) (Linux 7).
pub const SOCKET_URING_OP_GETSOCKNAME: u32 = 5;

// `len` of POLL_ADD and POLL_REMOVE.

/// One request, a completion for every event.
pub const IORING_POLL_ADD_MULTI: u32 = 1 << 0;
/// POLL_REMOVE changes the mask instead.
pub const IORING_POLL_UPDATE_EVENTS: u32 = 1 << 1;
/// POLL_REMOVE changes the user data instead.
pub const IORING_POLL_UPDATE_USER_DATA: u32 = 1 << 2;
/// Level-triggered; defined, but refused by POLL_ADD.
pub const IORING_POLL_ADD_LEVEL: u32 = 1 << 3;

// TIMEOUT, TIMEOUT_REMOVE and LINK_TIMEOUT flags.

/// The time is absolute.
pub const IORING_TIMEOUT_ABS: u32 = 1 << 0;
/// TIMEOUT_REMOVE changes the time instead.
pub const IORING_TIMEOUT_UPDATE: u32 = 1 << 1;
/// On `CLOCK_BOOTTIME`.
pub const IORING_TIMEOUT_BOOTTIME: u32 = 1 << 2;
/// On `CLOCK_REALTIME`.
pub const IORING_TIMEOUT_REALTIME: u32 = 1 << 3;
/// TIMEOUT_REMOVE changes a link timeout.
pub const IORING_LINK_TIMEOUT_UPDATE: u32 = 1 << 4;
/// Expiry is no failure for a link.
pub const IORING_TIMEOUT_ETIME_SUCCESS: u32 = 1 << 5;
/// Fires repeatedly.
pub const IORING_TIMEOUT_MULTISHOT: u32 = 1 << 6;
/// `addr` is a number of nanoseconds, not a pointer (Linux 7).
pub const IORING_TIMEOUT_IMMEDIATE_ARG: u32 = 1 << 7;

// ASYNC_CANCEL flags.

/// Every match, not the first one.
pub const IORING_ASYNC_CANCEL_ALL: u32 = 1 << 0;
/// Match on the file.
pub const IORING_ASYNC_CANCEL_FD: u32 = 1 << 1;
/// Every request matches.
pub const IORING_ASYNC_CANCEL_ANY: u32 = 1 << 2;
/// The file is a registered index.
pub const IORING_ASYNC_CANCEL_FD_FIXED: u32 = 1 << 3;
/// Match on the user data, also beside FD or OP.
pub const IORING_ASYNC_CANCEL_USERDATA: u32 = 1 << 4;
/// Match on the opcode in `len`.
pub const IORING_ASYNC_CANCEL_OP: u32 = 1 << 5;

// MSG_RING commands and flags.

/// A completion.
pub const IORING_MSG_DATA: u64 = 0;
/// A direct descriptor.
pub const IORING_MSG_SEND_FD: u64 = 1;
/// A sent direct descriptor posts no completion.
pub const IORING_MSG_RING_CQE_SKIP: u32 = 1 << 0;
/// `file_index` gives the completion's flags.
pub const IORING_MSG_RING_FLAGS_PASS: u32 = 1 << 1;

// NOP flags.

/// The completion's `res` is `len`.
pub const IORING_NOP_INJECT_RESULT: u32 = 1 << 0;
/// Look up `fd`.
pub const IORING_NOP_FILE: u32 = 1 << 1;
/// Look up registered file `fd`.
pub const IORING_NOP_FIXED_FILE: u32 = 1 << 2;
/// Look up registered buffer `buf_index`.
pub const IORING_NOP_FIXED_BUFFER: u32 = 1 << 3;
/// Complete by way of task work.
pub const IORING_NOP_TW: u32 = 1 << 4;
/// Fill the second half of a 32-byte completion.
pub const IORING_NOP_CQE32: u32 = 1 << 5;

// Buffer ring registration flags.

/// The ring memory is allocated by the other side and mapped.
pub const IOU_PBUF_RING_MMAP: u16 = 1 << 0;
/// Buffers are consumed piece by piece.
pub const IOU_PBUF_RING_INC: u16 = 1 << 1;
/// ringwire's own: the group lends what was received where the NIC wrote it. Its entries are credit, each a
/// buffer id without memory.
pub const IOU_PBUF_RING_LENT: u16 = 1 << 15;

// Direct descriptors.

/// `file_index` that asks for any free slot.
pub const IORING_FILE_INDEX_ALLOC: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use io_uring::{opcode, squeue};

    #[test]
    fn opcodes_are_the_crates() {
        let pairs = [
            (IORING_OP_NOP, opcode::Nop::CODE),
            (IORING_OP_POLL_ADD, opcode::PollAdd::CODE),
            (IORING_OP_POLL_REMOVE, opcode::PollRemove::CODE),
            (IORING_OP_SENDMSG, opcode::SendMsg::CODE),
            (IORING_OP_RECVMSG, opcode::RecvMsg::CODE),
            (IORING_OP_TIMEOUT, opcode::Timeout::CODE),
            (IORING_OP_TIMEOUT_REMOVE, opcode::TimeoutRemove::CODE),
            (IORING_OP_ACCEPT, opcode::Accept::CODE),
            (IORING_OP_ASYNC_CANCEL, opcode::AsyncCancel2::CODE),
            (IORING_OP_LINK_TIMEOUT, opcode::LinkTimeout::CODE),
            (IORING_OP_CONNECT, opcode::Connect::CODE),
            (IORING_OP_CLOSE, opcode::Close::CODE),
            (IORING_OP_FILES_UPDATE, opcode::FilesUpdate::CODE),
            (IORING_OP_READ, opcode::Read::CODE),
            (IORING_OP_WRITE, opcode::Write::CODE),
            (IORING_OP_SEND, opcode::Send::CODE),
            (IORING_OP_RECV, opcode::Recv::CODE),
            (IORING_OP_PROVIDE_BUFFERS, opcode::ProvideBuffers::CODE),
            (IORING_OP_REMOVE_BUFFERS, opcode::RemoveBuffers::CODE),
            (IORING_OP_SHUTDOWN, opcode::Shutdown::CODE),
            (IORING_OP_MSG_RING, opcode::MsgRingData::CODE),
            (IORING_OP_SOCKET, opcode::Socket::CODE),
            (IORING_OP_URING_CMD, opcode::UringCmd16::CODE),
            (IORING_OP_SEND_ZC, opcode::SendZc::CODE),
            (IORING_OP_SENDMSG_ZC, opcode::SendMsgZc::CODE),
            (IORING_OP_READ_MULTISHOT, opcode::ReadMulti::CODE),
            (IORING_OP_FIXED_FD_INSTALL, opcode::FixedFdInstall::CODE),
            (IORING_OP_BIND, opcode::Bind::CODE),
            (IORING_OP_LISTEN, opcode::Listen::CODE),
            (IORING_OP_RECV_ZC, opcode::RecvZc::CODE),
            (IORING_OP_EPOLL_WAIT, opcode::EpollWait::CODE),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn sqe_flags_are_the_crates() {
        assert_eq!(IOSQE_IO_DRAIN, squeue::Flags::IO_DRAIN.bits());
        assert_eq!(IOSQE_IO_LINK, squeue::Flags::IO_LINK.bits());
        assert_eq!(IOSQE_IO_HARDLINK, squeue::Flags::IO_HARDLINK.bits());
        assert_eq!(IOSQE_ASYNC, squeue::Flags::ASYNC.bits());
        assert_eq!(IOSQE_BUFFER_SELECT, squeue::Flags::BUFFER_SELECT.bits());
        assert_eq!(IOSQE_CQE_SKIP_SUCCESS, squeue::Flags::SKIP_SUCCESS.bits());
        assert_eq!(IOSQE_ALL, squeue::Flags::all().bits());
    }
}
