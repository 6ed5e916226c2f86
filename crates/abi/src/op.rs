//! What an entry asks for, as types. Pointers stay numbers here.

use crate::flags::*;

/// Where a new socket goes.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Slot {
    /// A plain file descriptor.
    None,
    /// This slot of the table.
    Index(u32),
    /// A free slot of the table (`IORING_FILE_INDEX_ALLOC`).
    Alloc,
}

/// What an operation works on.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// A file descriptor.
    Fd(i32),
    /// A direct descriptor.
    Fixed(u32),
}

/// The notification of a zero-copy send.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Notify {
    /// Its `user_data`, if not the request's own (Linux 7).
    pub user_data: Option<u64>,
    /// It says whether the payload was copied (`IORING_SEND_ZC_REPORT_USAGE`).
    pub report_usage: bool,
}

/// The notification slot that a send is bound to.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SlotBinding {
    /// Which one.
    pub index: u16,
    /// It is flushed behind the send (`RINGWIRE_SEND_FLUSH`).
    pub flush: bool,
}

/// SEND, SEND_ZC and RECV.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Transfer {
    /// The socket.
    pub target: Target,
    /// The buffer; not read with a buffer group.
    pub addr: u64,
    /// Its length in bytes; with a buffer group, the most that is used of a buffer (0: no limit).
    pub len: u32,
    /// `MSG_*`.
    pub msg_flags: i32,
    /// The buffer group to take the buffer from.
    pub group: Option<u16>,
    /// SEND and SEND_ZC: the group's entries name memory in the registered buffers; only with a group.
    /// An extension: the kernel refuses `IORING_RECVSEND_FIXED_BUF` with a group.
    pub registered: bool,
    /// The registered buffer that the buffer lies in (`IORING_RECVSEND_FIXED_BUF` without a group).
    pub fixed: Option<u16>,
    /// SEND: `addr` is an array of `len` iovecs (`IORING_SEND_VECTORIZED`).
    pub vectored: bool,
    /// SEND_ZC: that it is one, and what its notification says.
    pub notify: Option<Notify>,
    /// A zero-copy send whose notification is its slot's.
    pub slot: Option<SlotBinding>,
    /// Whether the first attempt waits for readiness (`IORING_RECVSEND_POLL_FIRST`).
    pub poll_first: bool,
    /// RECV: whether it goes on after a completion.
    pub multishot: bool,
    /// Whether several buffers of the group serve one completion (`IORING_RECVSEND_BUNDLE`); only
    /// with a group.
    pub bundle: bool,
    /// SEND: the destination's address and its length; 0 for none.
    pub to: (u64, u16),
    /// Multishot RECV: bytes after which it ends (0: no limit).
    pub limit: u32,
}

/// RECV_ZC.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ZeroCopyReceive {
    /// The socket.
    pub target: Target,
    /// What was registered to receive with (`zcrx_ifq_idx`).
    pub queue: u32,
    /// Bytes after which it ends (0: no limit).
    pub limit: u32,
    /// Whether the first attempt waits for readiness.
    pub poll_first: bool,
}

/// SENDMSG, SENDMSG_ZC and RECVMSG.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MessageTransfer {
    /// The socket.
    pub target: Target,
    /// Address of the `msghdr`.
    pub header: u64,
    /// `MSG_*`.
    pub msg_flags: i32,
    /// RECVMSG: the buffer group to take the buffer from.
    pub group: Option<u16>,
    /// SENDMSG_ZC: the registered buffer that the iovecs lie in.
    pub fixed: Option<u16>,
    /// SENDMSG_ZC: that it is one, and what its notification says.
    pub notify: Option<Notify>,
    /// Whether the first attempt waits for readiness.
    pub poll_first: bool,
    /// RECVMSG: whether it goes on after a completion.
    pub multishot: bool,
}

/// READ and WRITE in all their forms. The priority means nothing on a socket.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ReadWrite {
    /// The socket.
    pub target: Target,
    /// The buffer, or the iovec array; not read with a buffer group, but for READV.
    pub addr: u64,
    /// Its length in bytes, or the number of iovecs; with a buffer group, the most that is used of a
    /// buffer (0: no limit).
    pub len: u32,
    /// Where in the file, in bytes; -1 as `u64` for its own position. A socket has only the beginning.
    pub offset: u64,
    /// `RWF_*`.
    pub rw_flags: i32,
    /// READV, WRITEV and their fixed forms.
    pub vectored: bool,
    /// The registered buffer that the memory lies in (READ_FIXED and its kin).
    pub fixed: Option<u16>,
    /// Reads: the buffer group to take the buffer from.
    pub group: Option<u16>,
    /// READ_MULTISHOT.
    pub multishot: bool,
}

/// ACCEPT.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Accept {
    /// The listening socket.
    pub target: Target,
    /// Where the peer's address goes; 0 for nowhere.
    pub addr: u64,
    /// Where its length stands, as room before and as length after.
    pub addr_len: u64,
    /// Where the new socket goes.
    pub slot: Slot,
    /// Whether it goes on after a completion (`IORING_ACCEPT_MULTISHOT`).
    pub multishot: bool,
    /// Whether it fails with `EAGAIN` instead of waiting (`IORING_ACCEPT_DONTWAIT`).
    pub dont_wait: bool,
    /// Whether the first attempt waits for readiness (`IORING_ACCEPT_POLL_FIRST`).
    pub poll_first: bool,
}

/// What ASYNC_CANCEL looks for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct CancelMatch {
    /// By `user_data`.
    pub user_data: Option<u64>,
    /// By the file worked on.
    pub target: Option<Target>,
    /// By operation.
    pub opcode: Option<u8>,
    /// Every match, not only the first.
    pub all: bool,
}

/// NOP.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Nop {
    /// The result to complete with (`IORING_NOP_INJECT_RESULT`).
    pub inject: Option<i32>,
    /// A file to look up (`IORING_NOP_FILE`).
    pub file: Option<Target>,
    /// A registered buffer to look up (`IORING_NOP_FIXED_BUFFER`).
    pub buffer: Option<u16>,
    /// The second half of a 32-byte completion (`IORING_NOP_CQE32`).
    pub extra: Option<[u64; 2]>,
    /// It completes by task work: behind what completes at once (`IORING_NOP_TW`).
    pub by_task_work: bool,
}

/// POLL_REMOVE, which also changes polls.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct PollUpdate {
    /// `user_data` of the poll.
    pub user_data: u64,
    /// Its new events and whether it is multishot from now on (`IORING_POLL_UPDATE_EVENTS`).
    pub events: Option<(u32, bool)>,
    /// Its new `user_data` (`IORING_POLL_UPDATE_USER_DATA`).
    pub new_user_data: Option<u64>,
}

/// What TIMEOUT_REMOVE changes a timeout to (`IORING_TIMEOUT_UPDATE`).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TimeoutUpdate {
    /// Address of the `__kernel_timespec`, or nanoseconds with `IORING_TIMEOUT_IMMEDIATE_ARG`.
    pub timespec: u64,
    /// `IORING_TIMEOUT_*`.
    pub flags: u32,
    /// It is a LINK_TIMEOUT (`IORING_LINK_TIMEOUT_UPDATE`).
    pub link: bool,
}

/// MSG_RING.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct RingMessage {
    /// The other ring.
    pub target: Target,
    /// `IORING_MSG_*`: data, or a direct descriptor.
    pub command: u64,
    /// `user_data` of the completion that it becomes there.
    pub user_data: u64,
    /// The completion's result.
    pub res: i32,
    /// `addr3`: the direct descriptor to send.
    pub source: u64,
    /// `file_index`: its slot over there; or the completion's flags.
    pub destination: u32,
    /// `IORING_MSG_RING_*`.
    pub flags: u32,
}

/// A command of a socket (URING_CMD; the numbers are `enum io_uring_socket_op`'s).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum SocketCommand {
    /// `SOCKET_URING_OP_SIOCINQ`: bytes that can be read.
    QueuedIn,
    /// `SOCKET_URING_OP_SIOCOUTQ`: bytes that are sent and not acknowledged, or not sent yet.
    QueuedOut,
    /// `SOCKET_URING_OP_GETSOCKOPT`.
    GetOption(OptionTransfer),
    /// `SOCKET_URING_OP_SETSOCKOPT`.
    SetOption(OptionTransfer),
    /// `SOCKET_URING_OP_TX_TIMESTAMP`.
    TxTimestamp,
    /// `SOCKET_URING_OP_GETSOCKNAME` (Linux 7): the socket's address, or its peer's.
    Name {
        /// The peer's.
        peer: bool,
        /// Where the address goes.
        addr: u64,
        /// Where its length stands, as room before and as length after.
        addr_len: u64,
    },
    /// A number without a meaning: refused once there is a socket.
    Unknown(u32),
}

/// GETSOCKOPT and SETSOCKOPT: the arguments of getsockopt(2) and setsockopt(2).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct OptionTransfer {
    /// `SOL_*` or `IPPROTO_*`.
    pub level: i32,
    /// The option's number on its level.
    pub name: i32,
    /// Address of the value.
    pub value: u64,
    /// Bytes of the value, or room for it.
    pub len: i32,
}

/// A request.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs)] // the fields are those of the operation's man page
pub enum Op {
    Nop(Nop),
    Socket {
        domain: i32,
        kind: i32,
        protocol: i32,
        slot: Slot,
    },
    Bind {
        target: Target,
        addr: u64,
        len: u32,
    },
    Listen {
        target: Target,
        backlog: i32,
    },
    Accept(Accept),
    Connect {
        target: Target,
        addr: u64,
        len: u32,
    },
    Send(Transfer),
    SendMsg(MessageTransfer),
    Recv(Transfer),
    RecvMsg(MessageTransfer),
    RecvZc(ZeroCopyReceive),
    Read(ReadWrite),
    Write(ReadWrite),
    Shutdown {
        target: Target,
        how: i32,
    },
    Close {
        target: Target,
    },
    Timeout {
        timespec: u64,
        count: u32,
        flags: u32,
    },
    LinkTimeout {
        timespec: u64,
        flags: u32,
    },
    TimeoutRemove {
        user_data: u64,
        update: Option<TimeoutUpdate>,
    },
    AsyncCancel(CancelMatch),
    PollAdd {
        target: Target,
        events: u32,
        multishot: bool,
    },
    PollRemove(PollUpdate),
    MsgRing(RingMessage),
    FilesUpdate {
        files: u64,
        count: u32,
        offset: u32,
    },
    FlushSlots {
        first: u32,
        count: u32,
        tag: u64,
    },
    Watch,
    ProvideBuffers {
        group: u16,
        addr: u64,
        len: u32,
        count: u32,
        bid: u16,
    },
    RemoveBuffers {
        group: u16,
        count: u32,
    },
    SocketCommand {
        target: Target,
        command: SocketCommand,
    },
}

impl Op {
    /// The socket that is looked up when the request is issued. CLOSE, NOP and MSG_RING find their own
    /// files.
    pub fn target(&self) -> Option<Target> {
        match *self {
            Op::Bind { target, .. }
            | Op::Listen { target, .. }
            | Op::Connect { target, .. }
            | Op::Shutdown { target, .. }
            | Op::SocketCommand { target, .. }
            | Op::PollAdd { target, .. } => Some(target),
            Op::Accept(accept) => Some(accept.target),
            Op::Send(transfer) | Op::Recv(transfer) => Some(transfer.target),
            Op::SendMsg(message) | Op::RecvMsg(message) => Some(message.target),
            Op::RecvZc(receive) => Some(receive.target),
            Op::Read(transfer) | Op::Write(transfer) => Some(transfer.target),
            _ => None,
        }
    }

    /// The operation's number.
    pub fn opcode(&self) -> u8 {
        match self {
            Op::Nop(_) => IORING_OP_NOP,
            Op::Socket { .. } => IORING_OP_SOCKET,
            Op::Bind { .. } => IORING_OP_BIND,
            Op::Listen { .. } => IORING_OP_LISTEN,
            Op::Accept(_) => IORING_OP_ACCEPT,
            Op::Connect { .. } => IORING_OP_CONNECT,
            Op::Send(send) if send.slot.is_some() => RINGWIRE_OP_SEND_ZC_SLOT,
            Op::Send(send) if send.notify.is_some() => IORING_OP_SEND_ZC,
            Op::Send(_) => IORING_OP_SEND,
            Op::SendMsg(send) if send.notify.is_some() => IORING_OP_SENDMSG_ZC,
            Op::SendMsg(_) => IORING_OP_SENDMSG,
            Op::Recv(_) => IORING_OP_RECV,
            Op::RecvMsg(_) => IORING_OP_RECVMSG,
            Op::RecvZc(_) => IORING_OP_RECV_ZC,
            Op::Read(read) => match (read.multishot, read.vectored, read.fixed) {
                (true, ..) => IORING_OP_READ_MULTISHOT,
                (_, false, None) => IORING_OP_READ,
                (_, true, None) => IORING_OP_READV,
                (_, false, Some(_)) => IORING_OP_READ_FIXED,
                (_, true, Some(_)) => IORING_OP_READV_FIXED,
            },
            Op::Write(write) => match (write.vectored, write.fixed) {
                (false, None) => IORING_OP_WRITE,
                (true, None) => IORING_OP_WRITEV,
                (false, Some(_)) => IORING_OP_WRITE_FIXED,
                (true, Some(_)) => IORING_OP_WRITEV_FIXED,
            },
            Op::Shutdown { .. } => IORING_OP_SHUTDOWN,
            Op::Close { .. } => IORING_OP_CLOSE,
            Op::Timeout { .. } => IORING_OP_TIMEOUT,
            Op::LinkTimeout { .. } => IORING_OP_LINK_TIMEOUT,
            Op::TimeoutRemove { .. } => IORING_OP_TIMEOUT_REMOVE,
            Op::AsyncCancel(_) => IORING_OP_ASYNC_CANCEL,
            Op::PollAdd { .. } => IORING_OP_POLL_ADD,
            Op::PollRemove(_) => IORING_OP_POLL_REMOVE,
            Op::MsgRing(_) => IORING_OP_MSG_RING,
            Op::FilesUpdate { .. } => IORING_OP_FILES_UPDATE,
            Op::FlushSlots { .. } => RINGWIRE_OP_FLUSH_SLOTS,
            Op::Watch => RINGWIRE_OP_WATCH,
            Op::ProvideBuffers { .. } => IORING_OP_PROVIDE_BUFFERS,
            Op::RemoveBuffers { .. } => IORING_OP_REMOVE_BUFFERS,
            Op::SocketCommand { .. } => IORING_OP_URING_CMD,
        }
    }
}
