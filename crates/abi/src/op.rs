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

/// SEND and RECV.
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

/// SENDMSG and RECVMSG.
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
    /// Whether the first attempt waits for readiness.
    pub poll_first: bool,
    /// RECVMSG: whether it goes on after a completion.
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
    Nop {
        inject: Option<i32>,
    },
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
    AsyncCancel(CancelMatch),
    PollAdd {
        target: Target,
        events: u32,
        multishot: bool,
    },
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
    /// The file that is looked up when the request is issued. CLOSE finds its own.
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
            _ => None,
        }
    }

    /// The operation's number.
    pub fn opcode(&self) -> u8 {
        match self {
            Op::Nop { .. } => IORING_OP_NOP,
            Op::Socket { .. } => IORING_OP_SOCKET,
            Op::Bind { .. } => IORING_OP_BIND,
            Op::Listen { .. } => IORING_OP_LISTEN,
            Op::Accept(_) => IORING_OP_ACCEPT,
            Op::Connect { .. } => IORING_OP_CONNECT,
            Op::Send(_) => IORING_OP_SEND,
            Op::SendMsg(_) => IORING_OP_SENDMSG,
            Op::Recv(_) => IORING_OP_RECV,
            Op::RecvMsg(_) => IORING_OP_RECVMSG,
            Op::Shutdown { .. } => IORING_OP_SHUTDOWN,
            Op::Close { .. } => IORING_OP_CLOSE,
            Op::Timeout { .. } => IORING_OP_TIMEOUT,
            Op::AsyncCancel(_) => IORING_OP_ASYNC_CANCEL,
            Op::PollAdd { .. } => IORING_OP_POLL_ADD,
            Op::ProvideBuffers { .. } => IORING_OP_PROVIDE_BUFFERS,
            Op::RemoveBuffers { .. } => IORING_OP_REMOVE_BUFFERS,
            Op::SocketCommand { .. } => IORING_OP_URING_CMD,
        }
    }
}
