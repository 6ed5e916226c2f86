//! Sends messages as a program does that was written for MSG_ZEROCOPY (the kernel's selftest of that name): it numbers
//! what it sends, and takes ranges of numbers from the error queue or, with `--inline`, with the sends themselves.
//!
//!     msg_zerocopy --interface eth1 --to 10.0.0.9:8000 [--udp] [--inline]

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use ringwire::msg_zerocopy::{ErrorMessage, RangeArray, ZeroCopyRange};
use ringwire::{Area, IoUring, opcode, squeue, types};

const USAGE: &str = "usage: msg_zerocopy --interface NAME [--address IP/BITS]... --to IP:PORT \
    [--udp] [--inline] [--messages N] [--bytes N] [--limit N] [--no-dad]";

const SOCKET: types::Fixed = types::Fixed(0);
/// Messages that may be on their way.
const SLOTS: usize = 64;
/// Most bytes of a message: with its headers it is one packet.
const MOST_BYTES: u32 = 1400;

struct Options {
    builder: ringwire::Builder,
    to: SocketAddr,
    udp: bool,
    inline: bool,
    messages: u32,
    bytes: u32,
    /// Sends between two looks for ranges.
    limit: u32,
}

struct Sender {
    ring: IoUring,
    slots: Vec<Area>,
    free: Vec<usize>,
    /// What the sends have that are not told of, from number `first` on.
    sent: VecDeque<Option<usize>>,
    first: u32,
    copied: u64,
    uncopied: u64,
    inline: u64,
}

impl Sender {
    fn new(options: &Options) -> Result<Sender, Box<dyn Error>> {
        let mut builder = options.builder.clone();
        let ring = builder
            .registered_slots(SLOTS as u32, options.bytes)
            .build(8)?;
        println!("{}", ring.report()?);
        ring.submitter().register_files_sparse(1)?;
        let slots = ring.take_slots(0).expect("the first area");
        let mut sender = Sender {
            ring,
            slots,
            free: (0..SLOTS).collect(),
            sent: VecDeque::new(),
            first: 0,
            copied: 0,
            uncopied: 0,
            inline: 0,
        };
        sender.connect(options)?;
        Ok(sender)
    }

    /// Carries one request out.
    fn run(&mut self, entry: &squeue::Entry) -> io::Result<u32> {
        // SAFETY: the callers keep what the entry names until this returns, when the request has completed; a payload
        // is written to again only when its number has come back (`take`).
        unsafe { self.ring.submission().push(entry) }.expect("one request at a time");
        self.ring.submit_and_wait(1)?;
        let done = self.ring.completion().next();
        match done.map_or(0, |done| done.result()) {
            error @ ..0 => Err(io::Error::from_raw_os_error(-error)),
            res => Ok(res as u32),
        }
    }

    fn connect(&mut self, options: &Options) -> io::Result<()> {
        let domain = match options.to {
            SocketAddr::V4(_) => libc::AF_INET,
            SocketAddr::V6(_) => libc::AF_INET6,
        };
        let kind = match options.udp {
            true => libc::SOCK_DGRAM,
            false => libc::SOCK_STREAM,
        };
        let slot = types::DestinationSlot::try_from_slot_target(SOCKET.0).expect("a small number");
        let socket = opcode::Socket::new(domain, kind, 0).file_index(Some(slot));
        self.run(&socket.build())?;
        let (address, len) = raw(options.to);
        let connect = opcode::Connect::new(SOCKET, (&raw const address).cast(), len);
        self.run(&connect.build())?;
        let on = 1i32;
        let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_ZEROCOPY as u32);
        let number = opcode::SetSockOpt::new(SOCKET, level, name, (&raw const on).cast(), 4);
        self.run(&number.build()).map(drop)
    }

    /// Sends a message, and takes the ranges that come back with it.
    fn send(&mut self, slot: usize, bytes: u32, inline: bool) -> io::Result<()> {
        let mut part = libc::iovec {
            iov_base: self.slots[slot].as_mut_ptr().cast(),
            iov_len: bytes as usize,
        };
        let mut header = no_message();
        (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
        let mut array = RangeArray::<16>::new();
        if inline {
            array.attach(&mut header);
        }
        let flags = (libc::MSG_ZEROCOPY | libc::MSG_WAITALL) as u32;
        let entry = opcode::SendMsg::new(SOCKET, &raw const header).flags(flags);
        let sent = self.run(&entry.build())?;
        if sent != bytes {
            return Err(io::Error::other("the connection ended in a message"));
        }
        self.sent.push_back(Some(slot));
        if inline {
            for range in array.taken(&header) {
                self.inline += self.take(range);
            }
        }
        Ok(())
    }

    /// Takes one entry of the error queue, or waits for it; `false` if there is none.
    fn take_error(&mut self, wait: bool) -> io::Result<bool> {
        let mut header = no_message();
        let mut error = ErrorMessage::new();
        error.attach(&mut header);
        let flags = libc::MSG_ERRQUEUE | if wait { 0 } else { libc::MSG_DONTWAIT };
        let entry = opcode::RecvMsg::new(SOCKET, &raw mut header).flags(flags as u32);
        match self.run(&entry.build()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            result => result?,
        };
        let range = error.range(&header).ok_or(io::ErrorKind::InvalidData)?;
        self.take(&range);
        Ok(true)
    }

    /// The memory of these sends is free; says how many there were.
    fn take(&mut self, range: &ZeroCopyRange) -> u64 {
        let count = u64::from(range.hi.wrapping_sub(range.lo)) + 1;
        for number in 0..count as u32 {
            let index = range.lo.wrapping_add(number).wrapping_sub(self.first) as usize;
            self.free.extend(self.sent[index].take());
        }
        while let Some(None) = self.sent.front() {
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        match range.zerocopy {
            0 => self.copied += count,
            _ => self.uncopied += count,
        }
        count
    }

    fn run_all(&mut self, options: &Options) -> io::Result<()> {
        let bytes = options.bytes as usize;
        for message in 0..options.messages {
            let slot = loop {
                match self.free.pop() {
                    Some(slot) => break slot,
                    None => self.take_error(true)?,
                };
            };
            self.slots[slot][..bytes].fill(b'a' + (message % 26) as u8);
            let looks = message % options.limit == options.limit - 1;
            self.send(slot, options.bytes, looks && options.inline)?;
            while looks && !options.inline && self.take_error(false)? {}
        }
        while self.free.len() < SLOTS {
            self.take_error(true)?;
        }
        self.run(&opcode::Close::new(SOCKET).build()).map(drop)
    }
}

fn no_message() -> libc::msghdr {
    // SAFETY: all zeroes is a message of nothing.
    unsafe { mem::zeroed() }
}

/// An address in the kernel's layout: of IPv6, or the beginning of that.
fn raw(address: SocketAddr) -> (libc::sockaddr_in6, u32) {
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut raw: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    raw.sin6_port = address.port().to_be();
    let len = match address.ip() {
        IpAddr::V4(ip) => {
            raw.sin6_family = libc::AF_INET as u16;
            // Where a sockaddr_in has its address.
            raw.sin6_flowinfo = u32::from_ne_bytes(ip.octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(ip) => {
            raw.sin6_family = libc::AF_INET6 as u16;
            raw.sin6_addr.s6_addr = ip.octets();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (raw, len as u32)
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut builder = IoUring::builder();
    let (mut to, mut udp, mut inline) = (None, false, false);
    let (mut messages, mut bytes, mut limit) = (1000, MOST_BYTES, 32);
    while let Some(name) = args.next() {
        match name.as_str() {
            "--no-dad" => drop(builder.detect_duplicates(false).clone()),
            "--udp" => udp = true,
            "--inline" => inline = true,
            _ => {
                let value = args.next().ok_or(format!("{name} takes a value"))?;
                match name.as_str() {
                    "--interface" => drop(builder.interface(&value).clone()),
                    "--address" => drop(builder.address(value.parse()?).clone()),
                    "--to" => to = Some(value.parse()?),
                    "--messages" => messages = value.parse()?,
                    "--bytes" => bytes = value.parse()?,
                    "--limit" => limit = value.parse()?,
                    _ => return Err(format!("{name} is not known").into()),
                }
            }
        }
    }
    if !(1..=MOST_BYTES).contains(&bytes) || limit == 0 {
        return Err(format!("--bytes is 1 to {MOST_BYTES}, --limit at least 1").into());
    }
    Ok(Options {
        builder,
        to: to.ok_or("--to is missing")?,
        udp,
        inline,
        messages,
        bytes,
        limit,
    })
}

fn send_all(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut sender = Sender::new(options)?;
    sender.run_all(options)?;
    println!(
        "messages: {} not copied: {} copied: {} told inline: {}",
        options.messages, sender.uncopied, sender.copied, sender.inline
    );
    Ok(())
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("msg_zerocopy: {message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match send_all(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("msg_zerocopy: {error}");
            ExitCode::FAILURE
        }
    }
}
