//! Entries of the queue, and values that they are made of.

use super::*;

pub fn socket(domain: i32, slot: u32) -> squeue::Entry {
    let slot = types::DestinationSlot::try_from_slot_target(slot).unwrap();
    opcode::Socket::new(domain, libc::SOCK_DGRAM, 0)
        .file_index(Some(slot))
        .build()
}

pub fn v4(ip: &str, port: u16) -> libc::sockaddr_in {
    let ip: std::net::Ipv4Addr = ip.parse().unwrap();
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(ip.octets()),
        },
        sin_zero: [0; 8],
    }
}

pub fn v6(ip: &str, port: u16) -> libc::sockaddr_in6 {
    let ip: std::net::Ipv6Addr = ip.parse().unwrap();
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut address: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    address.sin6_family = libc::AF_INET6 as u16;
    address.sin6_port = port.to_be();
    address.sin6_addr.s6_addr = ip.octets();
    address
}

pub fn any_v4(port: u16) -> libc::sockaddr_in {
    v4("0.0.0.0", port)
}

pub fn bind_entry(slot: u32, address: &libc::sockaddr_in) -> squeue::Entry {
    opcode::Bind::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 16).build()
}

pub fn connect_entry(slot: u32, address: &libc::sockaddr_in) -> squeue::Entry {
    opcode::Connect::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 16).build()
}

pub fn recv(buffer: &mut [u8]) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), buffer.len() as u32).build()
}

pub fn recv_flags(buffer: &mut [u8], flags: i32) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), buffer.len() as u32)
        .flags(flags)
        .build()
}

pub fn send(payload: &[u8]) -> squeue::Entry {
    opcode::Send::new(types::Fixed(0), payload.as_ptr(), payload.len() as u32).build()
}

/// An entry with fields that the crate's builders do not set.
pub fn raw(entry: squeue::Entry, change: impl FnOnce(&mut [u8; 64])) -> squeue::Entry {
    // SAFETY: an entry is 64 bytes of integers without padding.
    unsafe {
        let mut bytes: [u8; 64] = std::mem::transmute(entry);
        change(&mut bytes);
        std::mem::transmute(bytes)
    }
}

pub fn bad() -> squeue::Entry {
    raw(opcode::Nop::new().build(), |bytes| bytes[1] = 0x80)
}

pub fn link() -> squeue::Flags {
    squeue::Flags::IO_LINK
}

pub fn accept_entry(slot: u32, into: Option<u32>) -> squeue::Entry {
    let target = match into {
        Some(into) => types::DestinationSlot::try_from_slot_target(into).unwrap(),
        None => types::DestinationSlot::auto_target(),
    };
    opcode::Accept::new(
        types::Fixed(slot),
        std::ptr::null_mut(),
        std::ptr::null_mut(),
    )
    .file_index(Some(target))
    .build()
}

pub fn recv_on(slot: u32, buffer: &mut [u8], flags: i32) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(slot), buffer.as_mut_ptr(), buffer.len() as u32)
        .flags(flags)
        .build()
}

pub fn send_on(slot: u32, bytes: &[u8], flags: i32) -> squeue::Entry {
    opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32)
        .flags(flags)
        .build()
}

pub fn close_entry(slot: u32) -> squeue::Entry {
    opcode::Close::new(types::Fixed(slot)).build()
}

pub fn shutdown_entry(slot: u32, how: i32) -> squeue::Entry {
    opcode::Shutdown::new(types::Fixed(slot), how).build()
}

pub fn poll_entry(slot: u32, events: i16) -> squeue::Entry {
    opcode::PollAdd::new(types::Fixed(slot), events as u32).build()
}

/// A receive that takes its buffer from the group.
pub fn recv_group(slot: u32, len: u32, ioprio: u16, flags: i32) -> squeue::Entry {
    let entry = opcode::Recv::new(types::Fixed(slot), std::ptr::null_mut(), len)
        .flags(flags)
        .buf_group(GROUP);
    raw(entry.build(), |bytes| {
        bytes[2..4].copy_from_slice(&ioprio.to_ne_bytes())
    })
    .flags(squeue::Flags::BUFFER_SELECT)
}

pub const MULTISHOT: u16 = 2;

pub const BUNDLE: u16 = 16;

/// A multishot receive that ends after so many bytes.
pub fn with_total(entry: squeue::Entry, total: u32) -> squeue::Entry {
    raw(entry, |bytes| {
        bytes[44..48].copy_from_slice(&total.to_ne_bytes())
    })
}

pub fn send_group(len: u32, ioprio: u16) -> squeue::Entry {
    raw(
        opcode::Send::new(types::Fixed(1), std::ptr::null(), len).build(),
        |bytes| {
            bytes[2..4].copy_from_slice(&ioprio.to_ne_bytes());
            bytes[40..42].copy_from_slice(&GROUP.to_ne_bytes());
        },
    )
    .flags(squeue::Flags::BUFFER_SELECT)
}

pub const QUEUED_IN: u8 = 0;

pub const QUEUED_OUT: u8 = 1;

pub const GET: u8 = 2;

pub const SET: u8 = 3;

pub fn command_entry(slot: u32, command: u8) -> squeue::Entry {
    option_entry(slot, command, (0, 0), 0, 0)
}

/// A command with the arguments of getsockopt(2) and setsockopt(2).
pub fn option_entry(
    slot: u32,
    command: u8,
    (level, name): (i32, i32),
    value: usize,
    len: i32,
) -> squeue::Entry {
    let value = std::ptr::without_provenance(value);
    let entry = opcode::SetSockOpt::new(
        types::Fixed(slot),
        level as u32,
        name as u32,
        value,
        len as u32,
    )
    .build();
    raw(entry, |bytes| bytes[8] = command)
}

pub fn socket_level(name: i32) -> (i32, i32) {
    (libc::SOL_SOCKET, name)
}

pub fn tcp_level(name: i32) -> (i32, i32) {
    (libc::SOL_TCP, name)
}

pub fn counted(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index % 251) as u8).collect()
}

pub const CANCEL_ALL: u32 = 1;
pub const CANCEL_FILE: u32 = 2;
pub const CANCEL_ANY: u32 = 4;
pub const CANCEL_FIXED: u32 = 8;
pub const CANCEL_USER_DATA: u32 = 16;
pub const CANCEL_OPCODE: u32 = 32;

/// A cancellation with these flags, the file in `slot`, a user_data and an opcode.
pub fn cancel_by(flags: u32, slot: u32, user_data: u64, opcode: u8) -> squeue::Entry {
    raw(opcode::AsyncCancel::new(user_data).build(), |bytes| {
        bytes[4..8].copy_from_slice(&slot.to_ne_bytes());
        bytes[24..28].copy_from_slice(&u32::from(opcode).to_ne_bytes());
        bytes[28..32].copy_from_slice(&flags.to_ne_bytes());
    })
}
