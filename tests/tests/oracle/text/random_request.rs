//! The entries of a random program's requests.

use super::random::{BUFFER_BYTES, InFlight, Runner};
use super::*;
use crate::program::{self, Operation, Receive, Request, Target};

/// A message header with what it points at.
struct Message {
    header: libc::msghdr,
    parts: [libc::iovec; 2],
    name: libc::sockaddr_in,
}

static LONG: types::Timespec = types::Timespec::new().sec(3600);

impl Runner<'_> {
    /// Keeps something where it is until the end.
    fn keep<T: 'static>(&mut self, value: T) -> *mut T {
        let mut value = Box::new(value);
        let address = &raw mut *value;
        self.kept.push(value);
        address
    }

    /// Memory that is filled so that it is known again.
    fn memory(&mut self, len: usize, fill: u64) -> *mut u8 {
        let mut memory = vec![fill as u8; len.max(1)];
        let address = memory.as_mut_ptr();
        self.keep(memory);
        address
    }

    fn message(
        &mut self,
        buffer: *mut u8,
        len: usize,
        name: Option<libc::sockaddr_in>,
    ) -> *mut libc::msghdr {
        let part = |from: usize, len: usize| libc::iovec {
            iov_base: buffer.wrapping_add(from).cast(),
            iov_len: len,
        };
        // SAFETY: all zeroes is a valid msghdr.
        let header: libc::msghdr = unsafe { std::mem::zeroed() };
        let message = self.keep(Message {
            header,
            parts: [part(0, len / 2), part(len / 2, len - len / 2)],
            name: name.unwrap_or(any_v4(0)),
        });
        // SAFETY: it has just been made, and stays.
        let message = unsafe { &mut *message };
        message.header.msg_iov = message.parts.as_mut_ptr();
        message.header.msg_iovlen = 2;
        if name.is_some() {
            message.header.msg_name = (&raw mut message.name).cast();
            message.header.msg_namelen = 16;
        }
        &raw mut message.header
    }

    /// The entry of a request, which is in flight from now on.
    pub fn entry(&mut self, request: &Request) -> squeue::Entry {
        let len = match request.operation {
            Operation::Receive {
                how: Receive::Plain { len } | Receive::Message { len },
                ..
            }
            | Operation::Send { len, .. }
            | Operation::SendTo { len, .. }
            | Operation::SendMessage { len, .. } => len as usize,
            _ => 0,
        };
        let fill = match request.operation {
            Operation::Receive { .. } => 0,
            _ => request.user_data,
        };
        let buffer = self.memory(len, fill);
        let in_flight = InFlight {
            chain: self.chains,
            operation: request.operation,
            buffer,
            len,
        };
        self.in_flight.insert(request.user_data, in_flight);
        self.entry_of(&request.operation, buffer, len as u32)
    }

    fn entry_of(&mut self, operation: &Operation, buffer: *mut u8, len: u32) -> squeue::Entry {
        let datagram = v4(PEER_V4, self.port + 1);
        match *operation {
            Operation::Nop { result } => raw(opcode::Nop::new().build(), |bytes| {
                if let Some(result) = result {
                    bytes[28] = 1;
                    bytes[24..28].copy_from_slice(&result.to_ne_bytes());
                }
            }),
            Operation::Receive {
                slot,
                how,
                flags,
                poll_first,
            } => {
                let entry = self.receive(slot, how, flags, buffer, len);
                raw(entry, |bytes| bytes[2] |= u8::from(poll_first))
            }
            Operation::Send { slot, flags, .. } => {
                opcode::Send::new(types::Fixed(slot), buffer, len)
                    .flags(flags)
                    .build()
            }
            Operation::SendTo { slot, .. } => {
                let name = self.keep(datagram);
                opcode::Send::new(types::Fixed(slot), buffer, len)
                    .dest_addr(name.cast())
                    .dest_addr_len(16)
                    .build()
            }
            Operation::SendMessage { slot, to, .. } => {
                let message = self.message(buffer, len as usize, to.then_some(datagram));
                opcode::SendMsg::new(types::Fixed(slot), message).build()
            }
            Operation::SendGroup {
                slot,
                group,
                len,
                bundle,
            } => {
                let entry = opcode::SendBundle::new(types::Fixed(slot), group).build();
                raw(entry, |bytes| {
                    bytes[2] = if bundle { BUNDLE as u8 } else { 0 };
                    bytes[24..28].copy_from_slice(&len.to_ne_bytes());
                })
                .flags(squeue::Flags::BUFFER_SELECT)
            }
            Operation::Poll {
                slot,
                events,
                multishot,
            } => opcode::PollAdd::new(types::Fixed(slot), events as u32)
                .multi(multishot)
                .build(),
            Operation::Accept { slot, into, flags } => {
                raw(accept_entry(slot, into), |bytes| bytes[2] = flags as u8)
            }
            Operation::AcceptMultishot { slot } => opcode::AcceptMulti::new(types::Fixed(slot))
                .allocate_file_index(true)
                .build(),
            Operation::Socket { slot, kind } => {
                let target = match slot {
                    Some(slot) => types::DestinationSlot::try_from_slot_target(slot).unwrap(),
                    None => types::DestinationSlot::auto_target(),
                };
                opcode::Socket::new(libc::AF_INET, kind, 0)
                    .file_index(Some(target))
                    .build()
            }
            Operation::Bind { slot, port } => {
                let port = if port == 0 { 0 } else { self.port + port };
                let name = self.keep(any_v4(port));
                opcode::Bind::new(types::Fixed(slot), name.cast(), 16).build()
            }
            Operation::Listen { slot } => opcode::Listen::new(types::Fixed(slot), 8).build(),
            Operation::Connect { slot, to } => {
                let port = match to {
                    Target::Listener => self.listener.local_addr().expect("its address").port(),
                    Target::Datagram => self.port + 1,
                    Target::Nobody => 9,
                };
                let name = self.keep(v4(PEER_V4, port));
                opcode::Connect::new(types::Fixed(slot), name.cast(), 16).build()
            }
            Operation::Shutdown { slot, how } => shutdown_entry(slot, how),
            Operation::Close { slot } => close_entry(slot),
            Operation::Queued { slot } => command_entry(slot, QUEUED_IN),
            Operation::Timeout => opcode::Timeout::new(&raw const LONG).build(),
            Operation::Cancel { user_data } => opcode::AsyncCancel::new(user_data).build(),
            Operation::CancelFile { slot } => {
                cancel_by(CANCEL_FILE | CANCEL_FIXED | CANCEL_ALL, slot, 0, 0)
            }
            Operation::CancelOpcode { opcode } => {
                cancel_by(CANCEL_OPCODE | CANCEL_ALL, 0, 0, opcode)
            }
            Operation::CancelAll => cancel_by(CANCEL_ANY, 0, 0, 0),
            Operation::Provide { count } => {
                let memory = self
                    .groups
                    .get_mut(&program::LIST)
                    .expect("the list")
                    .memory
                    .as_mut_ptr();
                opcode::ProvideBuffers::new(memory, BUFFER_BYTES as i32, count, program::LIST, 0)
                    .build()
            }
            Operation::Remove { count } => opcode::RemoveBuffers::new(count, program::LIST).build(),
        }
    }

    fn receive(
        &mut self,
        slot: u32,
        how: Receive,
        flags: i32,
        buffer: *mut u8,
        len: u32,
    ) -> squeue::Entry {
        let grouped = |group: u16, len: u32, ioprio: u16| {
            let entry = recv_group(slot, len, ioprio, flags);
            raw(entry, |bytes| {
                bytes[40..42].copy_from_slice(&group.to_ne_bytes())
            })
        };
        match how {
            Receive::Plain { .. } => opcode::Recv::new(types::Fixed(slot), buffer, len)
                .flags(flags)
                .build(),
            Receive::Group { group, len } => grouped(group, len, 0),
            Receive::Multishot { group, cap, limit } => {
                with_total(grouped(group, cap, MULTISHOT), limit)
            }
            Receive::Message { .. } => {
                let message = self.message(buffer, len as usize, Some(any_v4(0)));
                opcode::RecvMsg::new(types::Fixed(slot), message)
                    .flags(flags as u32)
                    .build()
            }
            Receive::MultishotMessage => {
                let message = self.message(buffer, 0, Some(any_v4(0)));
                opcode::RecvMsgMulti::new(types::Fixed(slot), message, program::RING).build()
            }
        }
    }
}

/// The slot that an operation is about.
pub fn slot_of(operation: &Operation) -> Option<u32> {
    match *operation {
        Operation::Receive { slot, .. }
        | Operation::Send { slot, .. }
        | Operation::SendTo { slot, .. }
        | Operation::SendMessage { slot, .. }
        | Operation::SendGroup { slot, .. }
        | Operation::Poll { slot, .. }
        | Operation::Accept { slot, .. }
        | Operation::AcceptMultishot { slot }
        | Operation::Bind { slot, .. }
        | Operation::Listen { slot }
        | Operation::Connect { slot, .. }
        | Operation::Shutdown { slot, .. }
        | Operation::Close { slot }
        | Operation::Queued { slot } => Some(slot),
        _ => None,
    }
}

/// The slot whose readiness an operation may wait for.
pub fn waits_for(operation: &Operation) -> Option<u32> {
    match *operation {
        Operation::Receive { slot, .. }
        | Operation::Poll { slot, .. }
        | Operation::Accept { slot, .. }
        | Operation::AcceptMultishot { slot } => Some(slot),
        _ => None,
    }
}

pub fn stream_entry(slot: u32) -> squeue::Entry {
    let target = types::DestinationSlot::try_from_slot_target(slot).unwrap();
    opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0)
        .file_index(Some(target))
        .build()
}
