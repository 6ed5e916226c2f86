//! The memory that hostile requests name: all of it valid, some of it filled with nonsense.

use std::net::{IpAddr, SocketAddr};

use memmap2::MmapMut;

use crate::config::{CLIENT, SERVER};
use crate::random::Random;
use crate::traffic::STREAM_PORT;

const DATA: usize = 256 << 10;
const LONGEST: u64 = 60_000;
/// The payload is registered in so many parts.
const REGISTERED: usize = 4;
const NAME: usize = 128;
const PORTS: [u16; 5] = [0, 9, 9000, 9001, 9002];

pub(crate) struct Memory {
    /// Sent from, received into, provided as buffers; never read as anything but payload.
    data: MmapMut,
    /// Socket addresses with their lengths: to bind to, and to send and connect to.
    locals: Vec<(Box<[u8; NAME]>, u64)>,
    remotes: Vec<(Box<[u8; NAME]>, u64)>,
    /// Where ACCEPT writes addresses and their lengths.
    names: Vec<(Box<[u8; NAME]>, Box<i32>)>,
    timespecs: Box<[[i64; 2]]>,
    messages: Box<[libc::msghdr]>,
    parts: Vec<Box<[libc::iovec]>>,
    files: Box<[i32]>,
    _control: Box<[u64; 16]>,
    _message_names: Vec<[u8; NAME]>,
}

impl Memory {
    /// Buffers provided at once, at most.
    pub(crate) const PROVIDED: u64 = 32;
    const PROVIDED_BYTES: u64 = 2048;

    pub(crate) fn new(may_crowd: bool) -> Memory {
        let mut data = MmapMut::map_anon(DATA).expect("memory for payload");
        let base = data.as_mut_ptr();
        let (parts, mut control) = (parts(base), Box::new([0u64; 16]));
        let mut message_names = vec![[0; NAME]; parts.len()];
        let mut messages = Vec::new();
        for (index, (iovecs, name)) in parts.iter().zip(&mut message_names).enumerate() {
            let remote = (index % 2 == 0).then_some((SERVER.v6, 9000));
            let len = remote.map_or(NAME as u64, |(ip, port)| fill(name, (ip, port).into()));
            // SAFETY: all zeroes is a valid msghdr.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = name.as_mut_ptr().cast();
            message.msg_namelen = len as u32;
            message.msg_iov = iovecs.as_ptr().cast_mut();
            message.msg_iovlen = iovecs.len();
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = [0, 0, 16, 64][index % 4];
            messages.push(message);
        }
        Memory {
            data,
            locals: locals(),
            remotes: remotes(may_crowd),
            names: [128, 28, 3, 0, -1]
                .map(|room| (Box::new([0; NAME]), Box::new(room)))
                .into(),
            timespecs: timespecs(),
            messages: messages.into(),
            parts,
            files: files(),
            _control: control,
            _message_names: message_names,
        }
    }

    /// Payload: address and length.
    pub(crate) fn data(&mut self, random: &mut Random) -> (u64, u32) {
        let len = match random.below(4) {
            0 => random.below(10),
            1 => random.below(1500),
            _ => random.below(LONGEST),
        };
        let start = random.below(DATA as u64 - LONGEST);
        (self.data.as_mut_ptr() as u64 + start, len as u32)
    }

    /// The payload, to be registered.
    pub(crate) fn registered(&mut self) -> [libc::iovec; REGISTERED] {
        let len = DATA / REGISTERED;
        std::array::from_fn(|index| libc::iovec {
            iov_base: self.data[index * len..].as_mut_ptr().cast(),
            iov_len: len,
        })
    }

    /// Payload in a registered buffer: address and length.
    pub(crate) fn fixed(&mut self, index: u16, random: &mut Random) -> (u64, u32) {
        let len = (DATA / REGISTERED) as u64;
        let start = random.below(len);
        let base = self.data.as_mut_ptr() as u64 + u64::from(index) * len;
        (base + start, random.below(len - start + 1) as u32)
    }

    /// A list of iovecs, and how many.
    pub(crate) fn vector(&self, random: &mut Random) -> (u64, u32) {
        let parts = &self.parts[random.below(self.parts.len() as u64) as usize];
        (parts.as_ptr() as u64, parts.len() as u32)
    }

    /// File descriptors to put into slots, and how many: none of them is one.
    pub(crate) fn files(&self, random: &mut Random) -> (u64, u32) {
        let start = random.below(self.files.len() as u64) as usize;
        let files = &self.files[start..];
        (
            files.as_ptr() as u64,
            1 + random.below(files.len() as u64) as u32,
        )
    }

    /// Memory for [`Memory::PROVIDED`] buffers, and the length of each.
    pub(crate) fn provided(&mut self, random: &mut Random) -> (u64, u32) {
        let start = random.below(DATA as u64 - Memory::PROVIDED * Memory::PROVIDED_BYTES);
        let len = 1 + random.below(Memory::PROVIDED_BYTES);
        (self.data.as_mut_ptr() as u64 + start, len as u32)
    }

    /// An address to bind to, and its length.
    pub(crate) fn local(&self, random: &mut Random) -> (u64, u64) {
        let (address, len) = &self.locals[random.below(self.locals.len() as u64) as usize];
        (address.as_ptr() as u64, *len)
    }

    /// An address to send or connect to, and its length.
    pub(crate) fn remote(&self, random: &mut Random) -> (u64, u64) {
        let (address, len) = &self.remotes[random.below(self.remotes.len() as u64) as usize];
        (address.as_ptr() as u64, *len)
    }

    /// Where an address may be written, and where its length stands.
    pub(crate) fn name(&mut self, random: &mut Random) -> (u64, u64) {
        let index = random.below(self.names.len() as u64) as usize;
        let (name, len) = &mut self.names[index];
        (name.as_mut_ptr() as u64, &raw mut **len as u64)
    }

    pub(crate) fn timespec(&self, random: &mut Random) -> u64 {
        let timespec = &self.timespecs[random.below(self.timespecs.len() as u64) as usize];
        timespec.as_ptr() as u64
    }

    /// A `msghdr`, to send or to receive with.
    pub(crate) fn message(&mut self, random: &mut Random) -> u64 {
        let index = random.below(self.messages.len() as u64) as usize;
        &raw mut self.messages[index] as u64
    }
}

/// Lists of iovecs over the payload: none, one, several, overlapping ones, and such that no memory is.
fn parts(base: *mut u8) -> Vec<Box<[libc::iovec]>> {
    let part = |start: usize, len: usize| libc::iovec {
        iov_base: base.wrapping_add(start).cast(),
        iov_len: len,
    };
    let nowhere = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 10,
    };
    vec![
        Box::new([part(0, 100)]),
        Box::new([part(1000, 3000)]),
        Box::new([part(0, 1), part(7, 2), part(0, 0), part(100, 4000)]),
        Box::new([part(5000, 60_000)]),
        Box::new([]),
        Box::new([part(0, 10), part(5, 10)]),
        Box::new([part(0, 100), nowhere]),
        Box::new([part(0, 1 << 60)]),
    ]
}

/// -1 empties a slot, -2 leaves it as it is.
fn files() -> Box<[i32]> {
    Box::new([-1, -2, -2, -1, i32::MAX, -1, -3, -2])
}

fn timespecs() -> Box<[[i64; 2]]> {
    Box::new([
        [0, 1_000_000],
        [0, 30_000_000],
        [0, 0],
        [3, 0],
        [-1, 0],
        [0, -1],
        [0, 2_000_000_000],
        [i64::MAX, 0],
    ])
}

/// Writes a `sockaddr_in` or `sockaddr_in6`; returns its length.
fn fill(name: &mut [u8; NAME], address: SocketAddr) -> u64 {
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(v4) => {
            name[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            name[4..8].copy_from_slice(&v4.octets());
            16
        }
        IpAddr::V6(v6) => {
            name[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            name[8..24].copy_from_slice(&v6.octets());
            28
        }
    }
}

fn named(address: SocketAddr) -> (Box<[u8; NAME]>, u64) {
    let mut name = Box::new([0; NAME]);
    let len = fill(&mut name, address);
    (name, len)
}

/// Such as are no address: of an unknown family, too short, too long.
fn nonsense() -> Vec<(Box<[u8; NAME]>, u64)> {
    let (valid, _) = named((SERVER.v4, 9000).into());
    let unspecified = Box::new([0; NAME]);
    vec![
        (Box::new([99; NAME]), 28),
        (unspecified, 16),
        (valid.clone(), 3),
        (valid.clone(), 0),
        (valid, 129),
    ]
}

fn locals() -> Vec<(Box<[u8; NAME]>, u64)> {
    let any: [IpAddr; 2] = [[0; 4].into(), [0; 16].into()];
    let hosts = [SERVER.v4, SERVER.v6, CLIENT.v4, CLIENT.v6];
    let addresses = any.into_iter().chain(hosts);
    let valid = addresses.flat_map(|ip| PORTS.map(|port| named((ip, port).into())));
    valid.chain(nonsense()).collect()
}

fn remotes(may_crowd: bool) -> Vec<(Box<[u8; NAME]>, u64)> {
    let hosts = [SERVER.v4, SERVER.v6, CLIENT.v4, CLIENT.v6];
    let valid = hosts
        .into_iter()
        .flat_map(|ip| PORTS.map(|port| named((ip, port).into())));
    let nobody: [IpAddr; 5] = [
        [10, 0, 0, 77].into(),
        [10, 0, 0, 255].into(),
        [224, 0, 0, 1].into(),
        [192, 168, 1, 1].into(),
        [0; 4].into(),
    ];
    let crowding = [SERVER.v4, SERVER.v6].map(|ip| named((ip, STREAM_PORT).into()));
    valid
        .chain(nobody.map(|ip| named((ip, 9000).into())))
        .chain(nonsense())
        .chain(crowding.into_iter().filter(|_| may_crowd))
        .collect()
}
