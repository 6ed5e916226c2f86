//! Sockets, one request or one call at a time: a ring's, and the kernel's beside them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use ringwire::{Builder, IoUring, opcode, types};
use ringwire_abi::flags::{IORING_OP_URING_CMD, IOSQE_FIXED_FILE, SOCKET_URING_OP_GETSOCKNAME};
use ringwire_abi::sqe::Sqe;
use ringwire_tests::net::{PATIENCE, RING_INTERFACE};
use ringwire_tests::stream::{raw, run, wait};

/// Direct descriptors of a ring.
pub const SLOTS: u32 = 256;

/// What a socket call returns: the errno where it fails.
pub type Outcome = Result<(), i32>;

/// What a ring on the shared addresses is made with.
pub fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder.interface(RING_INTERFACE);
    builder
}

/// A ring whose sockets are made in slots.
pub struct Ring {
    pub ring: IoUring,
}

impl Ring {
    /// One on the shared addresses of this thread's namespace.
    pub fn new() -> Ring {
        Ring::of(&builder())
    }

    pub fn of(builder: &Builder) -> Ring {
        let ring = builder.build(64).expect("a ring");
        let table = ring.submitter().register_files_sparse(SLOTS);
        table.expect("a table");
        Ring { ring }
    }

    pub fn open(&mut self, slot: u32, domain: i32, kind: i32) {
        let target = types::DestinationSlot::try_from_slot_target(slot).expect("a small slot");
        let socket = opcode::Socket::new(domain, kind, 0).file_index(Some(target));
        assert_eq!(run(&mut self.ring, socket.build()), 0);
    }

    pub fn set(&mut self, slot: u32, level: i32, name: i32, value: i32) {
        let address = (&raw const value).cast();
        let socket = types::Fixed(slot);
        let entry = opcode::SetSockOpt::new(socket, level as u32, name as u32, address, 4);
        assert_eq!(run(&mut self.ring, entry.build()), 0, "({level}, {name})");
    }

    pub fn bind(&mut self, slot: u32, to: SocketAddr) -> Outcome {
        let (address, len) = raw(to);
        let bind = opcode::Bind::new(types::Fixed(slot), address.as_ptr().cast(), len);
        outcome(run(&mut self.ring, bind.build()))
    }

    pub fn listen(&mut self, slot: u32) -> Outcome {
        let listen = opcode::Listen::new(types::Fixed(slot), 16);
        outcome(run(&mut self.ring, listen.build()))
    }

    pub fn connect(&mut self, slot: u32, to: SocketAddr) -> Outcome {
        let (address, len) = raw(to);
        let connect = opcode::Connect::new(types::Fixed(slot), address.as_ptr().cast(), len);
        outcome(run(&mut self.ring, connect.build()))
    }

    /// Into that slot.
    pub fn accept(&mut self, listener: u32, slot: u32) {
        let (none, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        let target = types::DestinationSlot::try_from_slot_target(slot).expect("a small slot");
        let accept = opcode::Accept::new(types::Fixed(listener), none, no_len);
        let accept = accept.file_index(Some(target));
        assert_eq!(run(&mut self.ring, accept.build()), 0);
    }

    pub fn send(&mut self, slot: u32, bytes: &[u8]) -> Result<u32, i32> {
        let send = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32);
        let sent = run(&mut self.ring, send.build());
        u32::try_from(sent).map_err(|_| -sent)
    }

    pub fn send_to(&mut self, slot: u32, bytes: &[u8], to: SocketAddr) -> Result<u32, i32> {
        let (address, len) = raw(to);
        let send = opcode::Send::new(types::Fixed(slot), bytes.as_ptr(), bytes.len() as u32);
        let send = send.dest_addr(address.as_ptr().cast());
        let sent = run(&mut self.ring, send.dest_addr_len(len).build());
        u32::try_from(sent).map_err(|_| -sent)
    }

    /// The next datagram, or the next bytes of a stream.
    pub fn receive(&mut self, slot: u32) -> Result<Vec<u8>, i32> {
        let mut buffer = vec![0; 1 << 16];
        let (start, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
        let receive = opcode::Recv::new(types::Fixed(slot), start, len);
        let received = run(&mut self.ring, receive.build());
        buffer.truncate(usize::try_from(received).map_err(|_| -received)?);
        Ok(buffer)
    }

    pub fn close(&mut self, slot: u32) {
        let close = opcode::Close::new(types::Fixed(slot)).build();
        assert_eq!(run(&mut self.ring, close), 0);
    }

    /// The address that a socket is bound to.
    pub fn local(&mut self, slot: u32) -> SocketAddr {
        let (mut name, mut len) = ([0u8; 28], 28u32);
        let entry = Sqe {
            opcode: IORING_OP_URING_CMD,
            flags: IOSQE_FIXED_FILE,
            fd: slot as i32,
            off: u64::from(SOCKET_URING_OP_GETSOCKNAME),
            addr: name.as_mut_ptr() as u64,
            addr3: (&raw mut len) as u64,
            ..Sqe::default()
        };
        assert_eq!(run(&mut self.ring, entry.to_entry()), 0);
        let port = u16::from_be_bytes([name[2], name[3]]);
        let family = u16::from_ne_bytes([name[0], name[1]]);
        let ip = match i32::from(family) {
            libc::AF_INET => IpAddr::from(*name[4..].first_chunk::<4>().expect("four bytes")),
            _ => IpAddr::from(*name[8..].first_chunk::<16>().expect("sixteen bytes")),
        };
        (ip, port).into()
    }

    /// Takes turns until something is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            wait(&mut self.ring, Duration::from_millis(1));
        }
    }

    /// Tries until it can be done.
    pub fn until_ok(&mut self, what: &str, mut attempt: impl FnMut(&mut Ring) -> Outcome) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(errno) = attempt(self) {
            assert!(Instant::now() < deadline, "not in time: {what}: {errno}");
        }
    }
}

fn outcome(result: i32) -> Outcome {
    match result {
        0 => Ok(()),
        error => Err(-error),
    }
}

/// A kernel socket of this thread's namespace.
#[derive(Debug)]
pub struct KernelSocket {
    fd: OwnedFd,
}

impl KernelSocket {
    pub fn new(domain: i32, kind: i32) -> KernelSocket {
        // SAFETY: a call without pointers; the new descriptor has no other owner.
        let fd = unsafe {
            let fd = libc::socket(domain, kind | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "a kernel socket");
            OwnedFd::from_raw_fd(fd)
        };
        KernelSocket { fd }
    }

    pub fn set(&self, level: i32, name: i32, value: i32) {
        let fd = self.fd.as_raw_fd();
        // SAFETY: the value lives through the call, and has that length.
        let set = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), 4) };
        assert_eq!(set, 0, "({level}, {name})");
    }

    pub fn bind(&self, to: SocketAddr) -> Outcome {
        let (address, len) = raw(to);
        // SAFETY: the address is readable for its length.
        call(unsafe { libc::bind(self.fd.as_raw_fd(), address.as_ptr().cast(), len) })
    }

    pub fn connect(&self, to: SocketAddr) -> Outcome {
        let (address, len) = raw(to);
        // SAFETY: the address is readable for its length.
        call(unsafe { libc::connect(self.fd.as_raw_fd(), address.as_ptr().cast(), len) })
    }

    pub fn listen(&self) -> Outcome {
        // SAFETY: numbers alone are passed.
        call(unsafe { libc::listen(self.fd.as_raw_fd(), 16) })
    }
}

impl AsRawFd for KernelSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

fn call(result: i32) -> Outcome {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)),
    }
}

/// Whether the kernel gives a port to another socket.
pub fn is_free(kind: i32, at: SocketAddr) -> bool {
    let socket = KernelSocket::new(domain(at), kind);
    match socket.bind(at) {
        Ok(()) => true,
        Err(libc::EADDRINUSE) => false,
        Err(errno) => panic!("binding to {at}: errno {errno}"),
    }
}

pub fn domain(of: SocketAddr) -> i32 {
    if of.is_ipv6() {
        libc::AF_INET6
    } else {
        libc::AF_INET
    }
}

/// Waits for something that others bring about.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::yield_now();
    }
}

/// Takes capabilities, by their bits, from this thread.
pub fn give_up(capabilities: u64) {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    // The lower word of each set, then the upper one.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: a header and two sets, as capget(2) and capset(2) have them for version 3.
    let done = unsafe {
        let got = libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr());
        for (words, lost) in sets.iter_mut().zip([capabilities, capabilities >> 32]) {
            words.iter_mut().for_each(|set| *set &= !(lost as u32));
        }
        got | libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr())
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Whether a descriptor has one of these events (poll(2)), or gets it in time.
pub fn polled(fd: &impl AsRawFd, events: i16, at_most: Duration) -> bool {
    let fd = fd.as_raw_fd();
    let mut polled = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry, which lives across the call.
    let ready = unsafe { libc::poll(&raw mut polled, 1, at_most.as_millis() as i32) };
    ready == 1
}
