//! A ring with an echo server on it, driven by the test's own thread.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use ringwire::{Builder, Counters, IoUring, RxChecksum, cqueue, opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, Veth};

/// The echo server's port, in slot 0; slot 1 is the test's, on the port above.
pub const ECHO_PORT: u16 = 7000;
pub const TEST_PORT: u16 = 7001;
pub const ECHO: types::Fixed = types::Fixed(0);
pub const TEST: types::Fixed = types::Fixed(1);

const RECEIVE: u64 = u64::MAX;
const REPLY: u64 = u64::MAX - 1;
const SETUP: u64 = u64::MAX - 2;

/// What a test's ring is made with, unless the test is about it.
pub fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(cidr())
        .rx_checksum(RxChecksum::AcceptPartial)
        .detect_duplicates(false);
    builder
}

pub fn cidr() -> ringwire::Cidr {
    format!("{RING_V4}/24").parse().expect("an address")
}

/// A completion.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub user_data: u64,
    pub res: i32,
    pub flags: u32,
}

/// The ring, its echo server, and the completions that are not the server's.
pub struct Rig {
    pub ring: IoUring,
    message: Box<Message>,
    idle: bool,
    done: VecDeque<Done>,
}

impl Rig {
    /// A ring with two sockets, the echo server's and the test's.
    pub fn new(veth: &Veth, builder: &Builder, entries: u32) -> Rig {
        let ring = veth.in_ring(|| builder.build(entries).expect("a ring"));
        let mut rig = Rig {
            ring,
            message: Message::new(65_536),
            idle: true,
            done: VecDeque::new(),
        };
        rig.ring
            .submitter()
            .register_files_sparse(2)
            .expect("a file table");
        rig.open(0, ECHO_PORT);
        rig.open(1, TEST_PORT);
        rig
    }

    fn open(&mut self, slot: u32, port: u16) {
        let target = types::DestinationSlot::try_from_slot_target(slot).expect("a slot");
        let socket =
            opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(target));
        self.complete(socket.build());
        let address = sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        let len = size_of_val(&address) as u32;
        let bind = opcode::Bind::new(types::Fixed(slot), (&raw const address).cast(), len);
        self.complete(bind.build());
    }

    /// Submits one entry and waits for it, before the echo server serves.
    fn complete(&mut self, entry: squeue::Entry) {
        self.push(&entry.user_data(SETUP));
        self.ring.submit_and_wait(1).expect("a completion");
        let res = self.ring.completion().next().expect("a completion").result();
        assert!(res >= 0, "setting up a socket: errno {}", -res);
    }

    /// Queues an entry. What it points at must live until it completes, or the ring is dropped.
    pub fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: each test keeps what its entries point at until they have completed or the ring is
        // gone; the echo server's message is boxed and dropped after the ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit().expect("a submit");
        }
    }

    /// One enter, which waits no longer than `wait` for a completion; the echo server answers.
    pub fn serve(&mut self, wait: Duration) {
        if self.idle {
            self.idle = false;
            let entry = self.message.receive(ECHO).user_data(RECEIVE);
            self.push(&entry);
        }
        let timeout = types::Timespec::from(wait);
        let args = types::SubmitArgs::new().timespec(&timeout);
        match self.ring.submitter().submit_with_args(1, &args) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
            Err(error) => panic!("entering the ring: {error}"),
        }
        self.harvest();
    }

    fn harvest(&mut self) {
        let done: Vec<Done> = self.ring.completion().map(Done::from).collect();
        for done in done {
            match done.user_data {
                RECEIVE if done.res >= 0 => {
                    let entry = self.message.reply(ECHO, done.res as usize).user_data(REPLY);
                    self.push(&entry);
                }
                // A receive that was cancelled, and a reply that has been sent or not: serve on.
                RECEIVE | REPLY => self.idle = true,
                _ => self.done.push_back(done),
            }
        }
    }

    /// The next completion that is not the echo server's, if one comes in time.
    pub fn next_within(&mut self, wait: Duration) -> Option<Done> {
        let end = Instant::now() + wait;
        while self.done.is_empty() {
            let left = end.checked_duration_since(Instant::now())?;
            self.serve(left);
        }
        self.done.pop_front()
    }

    /// The next completion that is not the echo server's.
    pub fn next(&mut self) -> Done {
        self.next_within(PATIENCE).expect("a completion in time")
    }

    /// Serves while the peer does something, in a thread of its own.
    pub fn serve_while<T: Send>(&mut self, peer: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let peer = scope.spawn(peer);
            while !peer.is_finished() {
                self.serve(Duration::from_millis(5));
            }
            peer.join().expect("the peer's thread")
        })
    }

    /// A datagram of the peer's is echoed.
    pub fn exchange(&mut self, peer: &UdpSocket) {
        self.serve_while(|| exchange(peer));
    }

    pub fn counters(&self) -> Counters {
        self.ring.counters().expect("the counters")
    }
}

impl From<cqueue::Entry> for Done {
    fn from(entry: cqueue::Entry) -> Done {
        Done {
            user_data: entry.user_data(),
            res: entry.result(),
            flags: entry.flags(),
        }
    }
}

/// Sends a datagram to the echo server and waits for it to come back. A stray answer to something
/// sent before is passed over.
pub fn exchange(peer: &UdpSocket) {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let sent = format!("exchange {number}");
    peer.send_to(sent.as_bytes(), (RING_V4, ECHO_PORT))
        .expect("sending to the echo server");
    let mut buffer = [0; 65_536];
    loop {
        let (len, _) = peer.recv_from(&mut buffer).expect("an echo in time");
        if &buffer[..len] == sent.as_bytes() {
            return;
        }
    }
}

/// What one RECVMSG or SENDMSG points at. It stays where it is: a box.
pub struct Message {
    header: libc::msghdr,
    iovec: libc::iovec,
    name: libc::sockaddr_in,
    bytes: Vec<u8>,
}

impl Message {
    pub fn new(bytes: usize) -> Box<Message> {
        // SAFETY: all zeroes is a valid msghdr.
        let header = unsafe { std::mem::zeroed() };
        let iovec = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Box::new(Message {
            header,
            iovec,
            name: sockaddr(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)),
            bytes: vec![0; bytes],
        })
    }

    /// A message to somebody.
    pub fn to(address: SocketAddrV4, bytes: Vec<u8>) -> Box<Message> {
        let mut message = Message::new(0);
        message.name = sockaddr(address);
        message.bytes = bytes;
        message
    }

    fn fill(&mut self, len: usize) -> *mut libc::msghdr {
        self.iovec = libc::iovec {
            iov_base: self.bytes.as_mut_ptr().cast(),
            iov_len: len,
        };
        self.header.msg_name = (&raw mut self.name).cast();
        self.header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
        self.header.msg_iov = &raw mut self.iovec;
        self.header.msg_iovlen = 1;
        &raw mut self.header
    }

    pub fn receive(&mut self, socket: types::Fixed) -> squeue::Entry {
        let len = self.bytes.len();
        opcode::RecvMsg::new(socket, self.fill(len)).build()
    }

    fn reply(&mut self, socket: types::Fixed, len: usize) -> squeue::Entry {
        opcode::SendMsg::new(socket, self.fill(len)).build()
    }

    pub fn send(&mut self, socket: types::Fixed) -> squeue::Entry {
        let len = self.bytes.len();
        self.reply(socket, len)
    }
}

pub fn sockaddr(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    }
}

/// A provided buffer ring. It must outlive the `Rig` that it is registered with, or be unregistered.
pub struct Buffers {
    page: Box<Page>,
    bytes: Vec<u8>,
    entries: u16,
    tail: u16,
}

#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Buffers {
    pub const GROUP: u16 = 3;
    pub const BYTES: usize = 2048;

    /// Registers a ring of so many buffers and provides them all.
    pub fn register(rig: &Rig, entries: u16) -> Buffers {
        let mut buffers = Buffers {
            page: Box::new(Page([0; 4096])),
            bytes: vec![0; usize::from(entries) * Buffers::BYTES],
            entries,
            tail: 0,
        };
        let address = &raw mut *buffers.page as u64;
        // SAFETY: each test keeps the page until its ring is gone.
        unsafe {
            rig.ring
                .submitter()
                .register_buf_ring_with_flags(address, entries, Buffers::GROUP, 0)
        }
        .expect("a buffer ring");
        for bid in 0..entries {
            buffers.provide(bid);
        }
        buffers
    }

    /// Gives a buffer to the group.
    pub fn provide(&mut self, bid: u16) {
        let address = self.bytes[usize::from(bid) * Buffers::BYTES..].as_mut_ptr() as u64;
        let ring: *mut types::BufRingEntry = (&raw mut *self.page).cast();
        // SAFETY: the masked index is inside the page; the tail is a u16 that the ring reads atomically.
        unsafe {
            let entry = &mut *ring.add(usize::from(self.tail & (self.entries - 1)));
            entry.set_addr(address);
            entry.set_len(Buffers::BYTES as u32);
            entry.set_bid(bid);
            self.tail = self.tail.wrapping_add(1);
            let tail = types::BufRingEntry::tail(ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }

    /// The number that a datagram of [`numbered`] carries, and its buffer's id.
    pub fn number(&self, done: &Done) -> (u32, u16) {
        assert!(done.res >= 4, "a numbered datagram: {done:?}");
        let bid = cqueue::buffer_select(done.flags).expect("a buffer");
        let bytes = &self.bytes[usize::from(bid) * Buffers::BYTES..][..4];
        (u32::from_be_bytes(bytes.try_into().expect("four bytes")), bid)
    }
}

/// A datagram that says which one it is.
pub fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.max(4)];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    bytes
}
