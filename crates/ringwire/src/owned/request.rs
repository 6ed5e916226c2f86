//! Operations with the memory that their entries name: what makes entries, and reads completions.

use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use ringwire_abi::flags::IORING_SEND_ZC_REPORT_USAGE;

use super::address::{self, MAX_BYTES};
use super::group::{BufferGroup, Group, OUT_BYTES};
use super::payload::{Completed, Operation, Payload, Socket};
use crate::types::{CancelBuilder, DestinationSlot, Fixed, Timespec};
use crate::{cqueue, opcode, squeue};

/// An operation, and the memory that is the caller's.
#[derive(Debug)]
pub(super) enum Request {
    Nop,
    Socket {
        domain: i32,
        kind: i32,
    },
    Bind(Socket, SocketAddr),
    Connect(Socket, SocketAddr),
    Listen(Socket, i32),
    Accept(Socket),
    AcceptMultishot(Socket),
    Shutdown(Socket, Shutdown),
    Close(Socket),
    Poll(Socket, u32),
    Timeout(Duration),
    Cancel(Operation),
    CancelAll(Socket),
    SetOption {
        socket: Socket,
        level: i32,
        name: i32,
        value: Payload,
    },
    Send {
        socket: Socket,
        payload: Payload,
        flags: i32,
        to: Option<SocketAddr>,
        zero_copy: bool,
    },
    Receive {
        socket: Socket,
        room: BytesMut,
        flags: i32,
    },
    ReceiveFrom {
        socket: Socket,
        room: BytesMut,
    },
    ReceiveProvided(Socket, Group),
    ReceiveMultishot(Socket, Group),
    ReceiveFromMultishot(Socket, Group),
}

/// The rest of what entries name: it stays where it is from push to the last completion.
#[derive(Debug)]
pub(super) struct Area {
    header: libc::msghdr,
    iovec: libc::iovec,
    name: [u8; MAX_BYTES],
    name_len: libc::socklen_t,
    time: Timespec,
}

impl Default for Area {
    fn default() -> Area {
        Area {
            // SAFETY: integers and pointers, of which all zeroes are valid values.
            header: unsafe { std::mem::zeroed() },
            iovec: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            name: [0; MAX_BYTES],
            name_len: 0,
            time: Timespec::new(),
        }
    }
}

/// The entry's length field, of memory that may be longer: the transfer is then a short one.
fn short(len: usize) -> u32 {
    len.min(i32::MAX as usize) as u32
}

impl Request {
    /// The entry. It names memory that this owns, and `area`, and nothing else.
    pub(super) fn entry(&mut self, area: &mut Area) -> squeue::Entry {
        match self {
            Request::Nop => opcode::Nop::new().build(),
            Request::Socket { domain, kind } => opcode::Socket::new(*domain, *kind, 0)
                .file_index(Some(DestinationSlot::auto_target()))
                .build(),
            Request::Bind(socket, to) => {
                let (name, len) = area.address(*to);
                opcode::Bind::new(fixed(*socket), name, len).build()
            }
            Request::Connect(socket, to) => {
                let (name, len) = area.address(*to);
                opcode::Connect::new(fixed(*socket), name, len).build()
            }
            Request::Listen(socket, backlog) => {
                opcode::Listen::new(fixed(*socket), *backlog).build()
            }
            Request::Accept(socket) => {
                area.name_len = MAX_BYTES as u32;
                let name = (&raw mut area.name).cast();
                opcode::Accept::new(fixed(*socket), name, &raw mut area.name_len)
                    .file_index(Some(DestinationSlot::auto_target()))
                    .build()
            }
            Request::AcceptMultishot(socket) => opcode::AcceptMulti::new(fixed(*socket))
                .allocate_file_index(true)
                .build(),
            Request::Shutdown(socket, how) => {
                let how = match how {
                    Shutdown::Read => libc::SHUT_RD,
                    Shutdown::Write => libc::SHUT_WR,
                    Shutdown::Both => libc::SHUT_RDWR,
                };
                opcode::Shutdown::new(fixed(*socket), how).build()
            }
            Request::Close(socket) => opcode::Close::new(fixed(*socket)).build(),
            Request::Poll(socket, events) => opcode::PollAdd::new(fixed(*socket), *events).build(),
            Request::Timeout(time) => {
                area.time = Timespec::from(*time);
                opcode::Timeout::new(&raw const area.time).build()
            }
            Request::Cancel(operation) => opcode::AsyncCancel::new(operation.0).build(),
            Request::CancelAll(socket) => {
                opcode::AsyncCancel2::new(CancelBuilder::fd(fixed(*socket)).all()).build()
            }
            Request::SetOption {
                socket,
                level,
                name,
                value,
            } => {
                let (bytes, len) = (value.as_ptr().cast(), short(value.len()));
                opcode::SetSockOpt::new(fixed(*socket), *level as u32, *name as u32, bytes, len)
                    .build()
            }
            Request::Send {
                socket,
                payload,
                flags,
                to,
                zero_copy,
            } => {
                let (name, name_len) = to.map_or((std::ptr::null(), 0), |to| area.address(to));
                let (bytes, len) = (payload.as_ptr(), short(payload.len()));
                if *zero_copy {
                    opcode::SendZc::new(fixed(*socket), bytes, len)
                        .flags(*flags)
                        .zc_flags(IORING_SEND_ZC_REPORT_USAGE)
                        .dest_addr(name)
                        .dest_addr_len(name_len)
                        .build()
                } else {
                    opcode::Send::new(fixed(*socket), bytes, len)
                        .flags(*flags)
                        .dest_addr(name)
                        .dest_addr_len(name_len)
                        .build()
                }
            }
            Request::Receive {
                socket,
                room,
                flags,
            } => {
                let room = room.spare_capacity_mut();
                opcode::Recv::new(fixed(*socket), room.as_mut_ptr().cast(), short(room.len()))
                    .flags(*flags)
                    .build()
            }
            Request::ReceiveFrom { socket, room } => {
                let header = area.message(Some(room));
                opcode::RecvMsg::new(fixed(*socket), header).build()
            }
            Request::ReceiveProvided(socket, group) => {
                opcode::Recv::new(fixed(*socket), std::ptr::null_mut(), 0)
                    .buf_group(group.id())
                    .build()
                    .flags(squeue::Flags::BUFFER_SELECT)
            }
            Request::ReceiveMultishot(socket, group) => {
                opcode::RecvMulti::new(fixed(*socket), group.id()).build()
            }
            Request::ReceiveFromMultishot(socket, group) => {
                let header = area.message(None);
                opcode::RecvMsgMulti::new(fixed(*socket), header, group.id()).build()
            }
        }
    }

    /// Adds to a completion what the operation says beside its result. With its last one, the memory
    /// of the caller's goes back.
    ///
    /// # Panics
    /// If the completion says what no such operation can have come to.
    pub(super) fn progress(&self, area: &Area, completed: &mut Completed) {
        let group = match self {
            Request::ReceiveProvided(_, group)
            | Request::ReceiveMultishot(_, group)
            | Request::ReceiveFromMultishot(_, group) => group,
            Request::Accept(_) if completed.result.is_ok() => {
                completed.address = area.name(area.name_len);
                return;
            }
            Request::ReceiveFrom { .. } if completed.result.is_ok() => {
                completed.address = area.name(area.header.msg_namelen);
                completed.truncated = area.header.msg_flags & libc::MSG_TRUNC != 0;
                return;
            }
            _ => return,
        };
        let Some(bid) = cqueue::buffer_select(completed.flags) else {
            return;
        };
        let len = *completed.result.as_ref().unwrap_or(&0);
        let message = matches!(self, Request::ReceiveFromMultishot(..));
        let mut read = |bytes: &[u8]| {
            if message {
                (completed.address, completed.truncated) = read_message(bytes);
            }
        };
        completed.payload = Some(match group {
            Group::Own(memory) => {
                let mut buffer = memory.lend(bid, len);
                read(&buffer);
                if message {
                    buffer.advance(BufferGroup::MESSAGE_HEADER_BYTES);
                }
                Payload::Provided(buffer)
            }
            Group::Lent(lending) => {
                let (mut first, rest) = lending.take(bid, len);
                read(&first);
                if message {
                    let header = BufferGroup::MESSAGE_HEADER_BYTES as usize;
                    first.advance(header.min(first.len()));
                }
                completed.rest = rest;
                Payload::Lent(first)
            }
        });
    }

    /// The memory of the caller's, when the operation is over: `received` bytes were stored in it, if
    /// it is a receive.
    ///
    /// # Panics
    /// If there was not so much room.
    pub(super) fn into_payload(self, received: u32) -> Option<Payload> {
        match self {
            Request::Send { payload, .. } | Request::SetOption { value: payload, .. } => {
                Some(payload)
            }
            Request::Receive { mut room, .. } | Request::ReceiveFrom { mut room, .. } => {
                let len = room.len() + received as usize;
                assert!(
                    len <= room.capacity(),
                    "owned: more was received than there was room for"
                );
                // SAFETY: the engine has stored so many bytes at the start of the spare capacity: no
                // flag is passed on with which the result says something else (`Ring::recv`).
                unsafe { room.set_len(len) };
                Some(Payload::BytesMut(room))
            }
            _ => None,
        }
    }
}

impl Area {
    /// Keeps an address; returns where it is, and its length.
    fn address(&mut self, address: SocketAddr) -> (*const libc::sockaddr, libc::socklen_t) {
        (self.name, self.name_len) = address::encode(address);
        ((&raw const self.name).cast(), self.name_len)
    }

    /// The address that the engine has written.
    fn name(&self, len: libc::socklen_t) -> Option<SocketAddr> {
        address::decode(self.name.get(..len as usize)?)
    }

    /// A message to receive: into `room`, or into a buffer that is selected.
    fn message(&mut self, room: Option<&mut BytesMut>) -> *mut libc::msghdr {
        *self = Area::default();
        self.header.msg_namelen = MAX_BYTES as u32;
        if let Some(room) = room {
            let room = room.spare_capacity_mut();
            self.iovec.iov_base = room.as_mut_ptr().cast();
            self.iovec.iov_len = room.len();
            self.header.msg_name = (&raw mut self.name).cast();
            self.header.msg_iov = &raw mut self.iovec;
            self.header.msg_iovlen = 1;
        }
        &raw mut self.header
    }
}

/// Reads `struct io_uring_recvmsg_out` and the address behind it; returns the address, and whether the message
/// was longer than the buffer.
fn read_message(buffer: &[u8]) -> (Option<SocketAddr>, bool) {
    let word = |at: usize| -> Option<u32> {
        let bytes = buffer.get(at..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let (name_len, flags) = (word(0), word(12));
    let name_len = name_len.unwrap_or(0).min(MAX_BYTES as u32) as usize;
    let name = buffer.get(OUT_BYTES..OUT_BYTES + name_len);
    let from = name.and_then(address::decode);
    (from, flags.unwrap_or(0) & libc::MSG_TRUNC as u32 != 0)
}

fn fixed(socket: Socket) -> Fixed {
    Fixed(socket.0)
}
