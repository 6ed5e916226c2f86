// The oracle's text. It is compiled twice, with `IoUring` of the kernel's crate and of ringwire; the
// entries are the same type in both.

use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6};

const SLOTS: u32 = 4;
const PORT: u16 = 7000;
const GROUP: u16 = 3;
const BUFFERS: u16 = 8;
const BUFFER_BYTES: usize = 256;

type Case = fn(&mut Bench);

pub const CASES: &[(&str, Case)] = &[
    ("nop", nop),
    ("entries_that_are_refused", refused_entries),
    ("the_submission_stop_rule", stop_rule),
    ("sockets_and_slots", sockets),
    ("bind_and_its_errors", bind),
    ("connect_and_its_errors", connect),
    ("send_and_receive", send_and_receive),
    ("receive_flags", receive_flags),
    ("send_errors", send_errors),
    ("messages", messages),
    ("multishot_receive", multishot),
    ("multishot_messages", multishot_messages),
    ("legacy_provided_buffers", legacy_buffers),
    ("incremental_buffers", incremental_buffers),
    ("buffer_ring_registration", buffer_ring_registration),
    ("links", links),
    ("skipped_completions", skips),
    ("drain", drain),
    ("timeouts", timeouts),
    ("cancellation", cancellation),
    ("poll", poll),
    ("shutdown", shutdown),
    ("close_with_a_receive_in_flight", close_in_flight),
    ("overflowing_completions_keep_their_order", overflow),
    ("multishot_on_a_full_queue", multishot_overflow),
    ("a_refused_port", refused_port),
    ("send_from_provided_buffers", provided_sends),
    ("control_messages_of_a_send", control_messages),
    ("an_ipv6_socket_takes_both_families", both_families),
];

/// A ring with its memory, and the peer's sockets.
pub struct Bench {
    ring: IoUring,
    peer: UdpSocket,
    peer_v6: UdpSocket,
    peer_listener: TcpListener,
    peer_listener_v6: TcpListener,
    /// Sockets of the peer's that are not connected yet.
    peer_streams: Vec<TcpStream>,
    buffers: Box<[u8]>,
    buffer_ring: *mut types::BufRingEntry,
    tail: u16,
    pub transcript: Vec<String>,
}

impl Bench {
    pub fn new(ring: IoUring, veth: &ringwire_tests::net::Veth) -> Bench {
        Bench {
            ring,
            peer: veth.peer_socket(PEER_V4),
            peer_v6: veth.peer_socket(PEER_V6),
            peer_listener: veth.peer_listener(PEER_V4),
            peer_listener_v6: veth.peer_listener(PEER_V6),
            peer_streams: (0..8).map(|_| veth.peer_stream()).collect(),
            buffers: vec![0; usize::from(BUFFERS) * BUFFER_BYTES].into(),
            buffer_ring: std::ptr::null_mut(),
            tail: 0,
            transcript: Vec::new(),
        }
    }

    fn say(&mut self, what: impl std::fmt::Debug) {
        self.transcript.push(format!("{what:?}"));
    }

    fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        // SAFETY: what the cases point at lives until they end, and they wait for what they push.
        unsafe { self.ring.submission().push(&entry.user_data(user_data)) }.expect("room in the queue");
    }

    /// Submits, and writes down what submit returned.
    fn submit(&mut self) {
        let submitted = self.ring.submit().map_err(|error| error.raw_os_error());
        self.say(("submit", submitted));
    }

    /// Waits for so many completions and writes them down.
    fn wait(&mut self, want: usize) {
        let time = types::Timespec::from(PATIENCE);
        let args = types::SubmitArgs::new().timespec(&time);
        let mut seen = 0;
        while seen < want {
            let waited = self.ring.submitter().submit_with_args(want - seen, &args);
            let completions: Vec<_> =
                self.ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags())).collect();
            seen += completions.len();
            for completion in completions {
                self.say(completion);
            }
            match waited {
                // A machine that is suspended and resumed interrupts a wait: that says nothing.
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => {
                    self.say(("wait", error.raw_os_error()));
                    return;
                }
                Ok(_) => {}
            }
        }
    }

    /// One request, from submission to completion.
    fn run(&mut self, entry: squeue::Entry, user_data: u64) {
        self.push(entry, user_data);
        self.wait(1);
    }

    fn files(&mut self) {
        self.ring.submitter().register_files_sparse(SLOTS).expect("a table of direct descriptors");
    }

    /// A bound socket in slot 0.
    fn bound(&mut self) {
        self.files();
        self.run(socket(libc::AF_INET, 0), 900);
        let address = any_v4(PORT);
        self.run(bind_entry(0, &address), 901);
    }

    fn buffer_ring(&mut self, flags: u16) {
        let bytes = usize::from(BUFFERS) * size_of::<types::BufRingEntry>();
        // SAFETY: a fresh anonymous mapping, never unmapped.
        let memory = unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
        };
        self.buffer_ring = memory.cast();
        // SAFETY: the mapping is never unmapped.
        unsafe { self.ring.submitter().register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, flags) }
            .expect("a buffer ring");
    }

    fn provide(&mut self, bid: u16, len: usize) {
        let addr = self.buffers[usize::from(bid) * BUFFER_BYTES..].as_mut_ptr() as u64;
        // SAFETY: the masked index is in the ring, which is never unmapped.
        unsafe {
            let entry = &mut *self.buffer_ring.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(addr);
            entry.set_len(len as u32);
            entry.set_bid(bid);
            self.tail += 1;
            let tail = types::BufRingEntry::tail(self.buffer_ring).cast::<std::sync::atomic::AtomicU16>();
            (*tail).store(self.tail, std::sync::atomic::Ordering::Release);
        }
    }

    fn buffer(&self, bid: u16, len: usize) -> Vec<u8> {
        self.buffers[usize::from(bid) * BUFFER_BYTES..][..len].to_vec()
    }

    /// Sends from the peer, and makes sure that it has arrived: the next look at the socket finds it.
    fn peer_sends(&mut self, payload: &[u8]) {
        let to = format!("{}:{PORT}", ringwire_tests::net::RING_V4);
        self.peer.send_to(payload, to).expect("the peer sends");
    }

    /// What arrives at the peer: its length and first bytes.
    fn at_peer(&mut self) {
        let peer = self.peer.try_clone().expect("the peer's socket");
        let received = self.received_by(&peer);
        self.say(("peer", received));
    }

    /// Waits for a datagram at a peer's socket. The ring takes turns meanwhile: inline, it answers
    /// and asks for neighbours only in those.
    fn received_by(&mut self, peer: &UdpSocket) -> Result<(usize, Vec<u8>), std::io::ErrorKind> {
        let mut buffer = [0; 65_536];
        let deadline = std::time::Instant::now() + PATIENCE;
        peer.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        loop {
            match peer.recv(&mut buffer) {
                Ok(len) => return Ok((len, buffer[..len.min(16)].to_vec())),
                Err(error) if std::time::Instant::now() > deadline => return Err(error.kind()),
                Err(_) => {
                    self.ring.submit().expect("a turn");
                }
            }
        }
    }

    /// Lets a packet that was sent reach the socket: polls for it.
    fn until_readable(&mut self) {
        self.run(opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(), 902);
    }
}

fn socket(domain: i32, slot: u32) -> squeue::Entry {
    let slot = types::DestinationSlot::try_from_slot_target(slot).unwrap();
    opcode::Socket::new(domain, libc::SOCK_DGRAM, 0).file_index(Some(slot)).build()
}

fn v4(ip: &str, port: u16) -> libc::sockaddr_in {
    let ip: std::net::Ipv4Addr = ip.parse().unwrap();
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
        sin_zero: [0; 8],
    }
}

fn any_v4(port: u16) -> libc::sockaddr_in {
    v4("0.0.0.0", port)
}

fn bind_entry(slot: u32, address: &libc::sockaddr_in) -> squeue::Entry {
    opcode::Bind::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 16).build()
}

fn connect_entry(slot: u32, address: &libc::sockaddr_in) -> squeue::Entry {
    opcode::Connect::new(types::Fixed(slot), std::ptr::from_ref(address).cast(), 16).build()
}

fn recv(buffer: &mut [u8]) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), buffer.len() as u32).build()
}

fn recv_flags(buffer: &mut [u8], flags: i32) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(0), buffer.as_mut_ptr(), buffer.len() as u32).flags(flags).build()
}

fn send(payload: &[u8]) -> squeue::Entry {
    opcode::Send::new(types::Fixed(0), payload.as_ptr(), payload.len() as u32).build()
}

/// An entry with fields that the crate's builders do not set.
fn raw(entry: squeue::Entry, change: impl FnOnce(&mut [u8; 64])) -> squeue::Entry {
    // SAFETY: an entry is 64 bytes of integers without padding.
    unsafe {
        let mut bytes: [u8; 64] = std::mem::transmute(entry);
        change(&mut bytes);
        std::mem::transmute(bytes)
    }
}

fn bad() -> squeue::Entry {
    raw(opcode::Nop::new().build(), |bytes| bytes[1] = 0x80)
}

fn link() -> squeue::Flags {
    squeue::Flags::IO_LINK
}

fn nop(bench: &mut Bench) {
    bench.run(opcode::Nop::new().build(), 1);
    let inject = |res: i32| {
        raw(opcode::Nop::new().build(), |bytes| {
            bytes[28] = 1;
            bytes[24..28].copy_from_slice(&res.to_ne_bytes());
        })
    };
    bench.run(inject(42), 2);
    bench.run(inject(-5), 3);
}

fn refused_entries(bench: &mut Bench) {
    let address = any_v4(1);
    let changes: [(usize, u8); 6] = [(0, 200), (1, 0x80), (1, 0x21), (2, 1), (42, 1), (24, 1)];
    for (index, (at, value)) in changes.into_iter().enumerate() {
        bench.run(raw(connect_entry(0, &address), |bytes| bytes[at] = value), index as u64);
    }
    bench.run(opcode::Recv::new(types::Fixed(99), std::ptr::null_mut(), 0).build(), 10);
    bench.run(opcode::Recv::new(types::Fd(-1), std::ptr::null_mut(), 0).build(), 11);
    bench.run(opcode::Connect::new(types::Fixed(0), std::ptr::null(), 16).build(), 12);
    bench.run(opcode::RecvMsg::new(types::Fixed(0), std::ptr::null_mut()).build(), 13);
    bench.run(opcode::SendMsg::new(types::Fixed(0), std::ptr::null()).build(), 14);
    bench.run(opcode::RecvMulti::new(types::Fixed(0), 77).build(), 15);
}

fn stop_rule(bench: &mut Bench) {
    for (entry, user_data) in [(opcode::Nop::new().build(), 1), (bad(), 2), (opcode::Nop::new().build(), 3)] {
        bench.push(entry, user_data);
    }
    bench.submit();
    let left = bench.ring.submission().len();
    bench.say(("left", left));
    bench.wait(3);
}

fn sockets(bench: &mut Bench) {
    bench.run(socket(libc::AF_INET, 0), 1);
    let auto = || opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(types::DestinationSlot::auto_target())).build();
    bench.run(auto(), 2);
    bench.files();
    let table = bench.ring.submitter().register_files_sparse(SLOTS).map_err(|error| error.raw_os_error());
    bench.say(("again", table));
    bench.run(socket(libc::AF_INET, SLOTS), 3);
    for user_data in 4..9 {
        bench.run(auto(), user_data);
    }
    bench.run(socket(libc::AF_INET6, 2), 10);
    bench.run(opcode::Close::new(types::Fixed(1)).build(), 11);
    bench.run(opcode::Close::new(types::Fixed(1)).build(), 12);
    bench.run(opcode::Close::new(types::Fixed(SLOTS)).build(), 13);
    bench.run(auto(), 14);
    let direct = |domain, kind, protocol| {
        let slot = types::DestinationSlot::try_from_slot_target(0).unwrap();
        opcode::Socket::new(domain, kind, protocol).file_index(Some(slot)).build()
    };
    bench.run(direct(999, libc::SOCK_DGRAM, 0), 20);
    bench.run(direct(libc::AF_INET, 15, 0), 21);
    bench.run(direct(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_TCP), 22);
    bench.run(direct(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0), 23);
    bench.run(direct(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, libc::IPPROTO_UDP), 24);
}

fn bind(bench: &mut Bench) {
    bench.files();
    for slot in 0..3 {
        bench.run(socket(libc::AF_INET, slot), 1);
    }
    let (any, other, foreign) = (any_v4(PORT), any_v4(PORT + 1), v4("192.0.2.1", PORT + 2));
    bench.run(bind_entry(0, &any), 2);
    bench.run(bind_entry(0, &other), 3);
    bench.run(bind_entry(1, &any), 4);
    bench.run(bind_entry(1, &foreign), 5);
    let short = opcode::Bind::new(types::Fixed(1), std::ptr::from_ref(&other).cast(), 7).build();
    bench.run(short, 6);
    let long = opcode::Bind::new(types::Fixed(1), std::ptr::from_ref(&other).cast(), 129).build();
    bench.run(long, 7);
    let mut family = other;
    family.sin_family = libc::AF_UNIX as u16;
    bench.run(bind_entry(1, &family), 8);
    bench.run(bind_entry(1, &other), 9);
    bench.run(bind_entry(2, &any_v4(0)), 10);
}

fn connect(bench: &mut Bench) {
    bench.bound();
    let peer = v4(PEER_V4, 9);
    bench.run(connect_entry(0, &peer), 1);
    bench.run(connect_entry(0, &v4(PEER_V4, 10)), 2);
    let short = opcode::Connect::new(types::Fixed(0), std::ptr::from_ref(&peer).cast(), 8).build();
    bench.run(short, 3);
    bench.run(connect_entry(0, &v4("192.0.2.1", 9)), 4);
    let mut unspecified = peer;
    unspecified.sin_family = libc::AF_UNSPEC as u16;
    bench.run(connect_entry(0, &unspecified), 5);
    bench.run(send(b"nobody"), 6);
}

fn send_and_receive(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 64];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.peer_sends(b"hello");
    bench.wait(1);
    bench.say(&buffer[..5]);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let to = opcode::Send::new(types::Fixed(0), b"answer".as_ptr(), 6)
        .dest_addr(std::ptr::from_ref(&peer).cast())
        .dest_addr_len(16)
        .build();
    bench.run(to, 2);
    bench.at_peer();
    bench.run(connect_entry(0, &peer), 3);
    bench.run(send(b"connected"), 4);
    bench.at_peer();
    bench.run(send(b""), 5);
    bench.at_peer();
    let large = vec![7u8; 20_000];
    bench.run(send(&large), 6);
    bench.at_peer();
}

fn receive_flags(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 5];
    bench.run(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 1);
    bench.peer_sends(b"0123456789");
    bench.until_readable();
    bench.run(recv_flags(&mut buffer, libc::MSG_PEEK), 2);
    bench.run(recv_flags(&mut buffer, libc::MSG_PEEK | libc::MSG_TRUNC), 3);
    bench.run(recv(&mut buffer), 4);
    bench.say(buffer);
    bench.peer_sends(b"");
    bench.until_readable();
    bench.run(recv(&mut buffer), 5);
    bench.peer_sends(b"abc");
    bench.until_readable();
    // A short receive with MSG_WAITALL breaks its link.
    bench.push(recv_flags(&mut buffer, libc::MSG_WAITALL).flags(link()), 6);
    bench.push(opcode::Nop::new().build(), 7);
    bench.wait(2);
    bench.peer_sends(b"abc");
    bench.until_readable();
    bench.push(recv(&mut buffer).flags(link()), 8);
    bench.push(opcode::Nop::new().build(), 9);
    bench.wait(2);
    bench.peer_sends(b"xyz");
    bench.until_readable();
    // UDP loses a datagram that could not be copied.
    bench.run(opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 5).build(), 10);
    bench.run(recv_flags(&mut buffer, libc::MSG_DONTWAIT), 11);
}

fn send_errors(bench: &mut Bench) {
    bench.bound();
    bench.run(send(b"to nobody"), 1);
    let peer = v4(PEER_V4, 9);
    let entry = |address: &libc::sockaddr_in, payload: &[u8], len: u16| {
        opcode::Send::new(types::Fixed(0), payload.as_ptr(), payload.len() as u32)
            .dest_addr(std::ptr::from_ref(address).cast())
            .dest_addr_len(len.into())
            .build()
    };
    let too_large = vec![0u8; 65_508];
    bench.run(entry(&peer, &too_large, 16), 2);
    bench.run(entry(&peer, b"x", 7), 3);
    bench.run(entry(&v4(PEER_V4, 0), b"x", 16), 4);
    bench.run(entry(&v4("192.0.2.1", 9), b"x", 16), 5);
    bench.run(entry(&v4("10.7.0.255", 9), b"x", 16), 6);
    let mut family = peer;
    family.sin_family = libc::AF_INET6 as u16;
    bench.run(entry(&family, b"x", 16), 7);
    let null = opcode::Send::new(types::Fixed(0), std::ptr::null(), 5)
        .dest_addr(std::ptr::from_ref(&peer).cast())
        .dest_addr_len(16)
        .build();
    bench.run(null, 8);
}

fn messages(bench: &mut Bench) {
    bench.bound();
    let mut name = any_v4(0);
    let (mut first, mut second) = ([0u8; 4], [0u8; 4]);
    let mut parts = [
        libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: 4 },
        libc::iovec { iov_base: second.as_mut_ptr().cast(), iov_len: 4 },
    ];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = 16;
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = 2;
    bench.push(opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(), 1);
    bench.submit();
    bench.peer_sends(b"0123456789");
    bench.wait(1);
    let port_is_right = u16::from_be(name.sin_port) == bench.peer.local_addr().unwrap().port();
    bench.say((first, second, header.msg_namelen, header.msg_flags, header.msg_controllen, port_is_right));
    bench.run(opcode::SendMsg::new(types::Fixed(0), &raw const header).build(), 2);
    bench.at_peer();
    header.msg_iovlen = 1025;
    bench.run(opcode::SendMsg::new(types::Fixed(0), &raw const header).build(), 3);
    header.msg_iovlen = 0;
    bench.run(opcode::SendMsg::new(types::Fixed(0), &raw const header).build(), 4);
    bench.at_peer();
    header.msg_namelen = u32::MAX;
    bench.run(opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(), 5);
}

fn multishot(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    let multi = || opcode::RecvMulti::new(types::Fixed(0), GROUP).build();
    bench.run(multi(), 1);
    bench.provide(0, 100);
    bench.provide(1, 100);
    bench.push(multi(), 2);
    bench.submit();
    bench.peer_sends(b"one");
    bench.wait(1);
    bench.peer_sends(b"two");
    bench.wait(2);
    bench.say((bench.buffer(0, 3), bench.buffer(1, 3)));
    bench.provide(2, 4);
    bench.provide(3, 100);
    bench.push(multi(), 3);
    bench.submit();
    bench.peer_sends(b"truncated");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
    bench.peer_sends(b"after");
    bench.until_readable();
    let one = opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 2).buf_group(GROUP).build();
    bench.run(one.flags(squeue::Flags::BUFFER_SELECT), 4);
    bench.push(multi(), 5);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(5).build(), 6);
}

fn multishot_messages(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = 16;
    header.msg_controllen = 8;
    bench.provide(0, 60);
    bench.provide(1, 100);
    bench.provide(2, 100);
    bench.provide(3, 30);
    bench.push(opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(), 1);
    bench.submit();
    bench.peer_sends(&[9; 40]);
    bench.wait(1);
    let mut seen = bench.buffer(0, 60);
    // The peer's port differs from run to run.
    seen[18..20].fill(0);
    bench.say(seen);
    bench.peer_sends(b"fits");
    bench.wait(1);
    bench.peer_sends(b"");
    bench.wait(1);
    bench.push(opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(), 2);
    bench.wait(1);
    bench.provide(4, 20);
    bench.peer_sends(b"no room for the header");
    bench.until_readable();
    bench.run(opcode::RecvMsgMulti::new(types::Fixed(0), &raw const header, GROUP).build(), 3);
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 4);
    bench.say(&buffer[..8]);
}

fn legacy_buffers(bench: &mut Bench) {
    bench.bound();
    let memory = bench.buffers.as_mut_ptr();
    let select = squeue::Flags::BUFFER_SELECT;
    let one = || opcode::Recv::new(types::Fixed(0), std::ptr::null_mut(), 0).buf_group(GROUP).build().flags(select);
    bench.run(one(), 1);
    bench.run(opcode::ProvideBuffers::new(memory, 64, 2, GROUP, 5).build(), 2);
    bench.peer_sends(b"legacy");
    bench.until_readable();
    bench.run(one(), 3);
    bench.push(one(), 4);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(4).build(), 5);
    bench.wait(1);
    bench.run(opcode::RemoveBuffers::new(9, GROUP).build(), 6);
    bench.run(opcode::RemoveBuffers::new(1, 99).build(), 7);
    bench.run(one(), 8);
}

fn incremental_buffers(bench: &mut Bench) {
    const INCREMENTAL: u16 = 2;
    bench.bound();
    bench.buffer_ring(INCREMENTAL);
    bench.provide(0, 100);
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    for payload in [[1u8; 40], [2; 40], [3; 40]] {
        bench.peer_sends(&payload);
        bench.wait(1);
    }
    bench.wait(1);
    bench.say(bench.buffer(0, 100));
}

fn buffer_ring_registration(bench: &mut Bench) {
    bench.buffer_ring(0);
    let address = bench.buffer_ring as u64;
    let register = |bench: &mut Bench, address, entries, group, flags| {
        // SAFETY: the mapping is never unmapped.
        let result = unsafe { bench.ring.submitter().register_buf_ring_with_flags(address, entries, group, flags) };
        bench.say(result.map_err(|error| error.raw_os_error()));
    };
    register(bench, address, BUFFERS, GROUP, 0);
    register(bench, address, 3, 9, 0);
    register(bench, address, 0, 9, 0);
    register(bench, address + 16, BUFFERS, 9, 0);
    register(bench, address, BUFFERS, 9, 0x80);
    for group in [GROUP, GROUP, 50] {
        let result = bench.ring.submitter().unregister_buf_ring(group).map_err(|error| error.raw_os_error());
        bench.say(result);
    }
}

fn links(bench: &mut Bench) {
    let nop = || opcode::Nop::new().build();
    let closed = || opcode::Close::new(types::Fixed(0)).build();
    let hard = squeue::Flags::IO_HARDLINK;
    let chains: [Vec<squeue::Entry>; 7] = [
        vec![nop().flags(link()), nop().flags(link()), nop()],
        vec![closed().flags(link()), nop().flags(link()), nop()],
        vec![closed().flags(hard), nop().flags(link()), nop()],
        vec![nop().flags(link()), bad().flags(link()), nop()],
        vec![bad().flags(hard), nop()],
        vec![nop().flags(link()), nop().flags(link()), bad()],
        vec![nop().flags(link()), nop().flags(link())],
    ];
    for (index, chain) in chains.into_iter().enumerate() {
        let len = chain.len();
        for (position, entry) in chain.into_iter().enumerate() {
            bench.push(entry, (index * 10 + position) as u64);
        }
        bench.submit();
        bench.wait(len);
    }
}

fn skips(bench: &mut Bench) {
    let nop = || opcode::Nop::new().build();
    let closed = || opcode::Close::new(types::Fixed(0)).build();
    let skip = squeue::Flags::SKIP_SUCCESS;
    bench.push(nop().flags(skip), 1);
    bench.push(nop(), 2);
    bench.wait(1);
    bench.run(closed().flags(skip), 3);
    bench.push(closed().flags(link() | skip), 4);
    bench.push(nop().flags(link()), 5);
    bench.push(nop(), 6);
    bench.push(nop(), 7);
    bench.wait(2);
    bench.push(closed().flags(link()), 8);
    bench.push(nop().flags(link() | skip), 9);
    bench.push(nop().flags(skip), 10);
    bench.wait(3);
    bench.run(nop().flags(squeue::Flags::IO_DRAIN), 11);
}

fn drain(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 1);
    bench.push(opcode::Nop::new().build().flags(squeue::Flags::IO_DRAIN), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.submit();
    bench.peer_sends(b"go");
    bench.wait(3);
    bench.run(opcode::Nop::new().build().flags(squeue::Flags::IO_DRAIN), 4);
    bench.run(opcode::Nop::new().build(), 5);
}

fn timeouts(bench: &mut Bench) {
    let short = types::Timespec::from(Duration::from_millis(5));
    let long = types::Timespec::from(Duration::from_secs(60));
    bench.run(opcode::Timeout::new(&short).build(), 1);
    bench.push(opcode::Timeout::new(&long).count(2).build(), 2);
    bench.push(opcode::Nop::new().build(), 3);
    bench.push(opcode::Nop::new().build(), 4);
    bench.wait(3);
    bench.push(opcode::Timeout::new(&short).build().flags(link()), 5);
    bench.push(opcode::Nop::new().build(), 6);
    bench.wait(2);
    let success = types::TimeoutFlags::ETIME_SUCCESS;
    bench.push(opcode::Timeout::new(&short).flags(success).build().flags(link()), 7);
    bench.push(opcode::Nop::new().build(), 8);
    bench.wait(2);
    bench.push(opcode::Timeout::new(&short).count(3).flags(types::TimeoutFlags::MULTISHOT).build(), 9);
    bench.wait(3);
    bench.push(opcode::Timeout::new(&long).build(), 10);
    bench.submit();
    bench.run(opcode::AsyncCancel::new(10).build(), 11);
    bench.wait(1);
    bench.run(opcode::Timeout::new(std::ptr::null()).build(), 12);
    let absolute = opcode::Timeout::new(&short).flags(types::TimeoutFlags::ABS).build();
    bench.run(absolute, 13);
}

fn cancellation(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.run(opcode::AsyncCancel::new(77).build(), 1);
    bench.push(recv(&mut buffer), 2);
    bench.submit();
    bench.push(opcode::AsyncCancel::new(2).build(), 3);
    bench.wait(2);
    let all = || opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(0)).all()).build();
    bench.run(all(), 4);
    bench.push(recv(&mut buffer), 5);
    bench.push(opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(), 5);
    bench.submit();
    bench.push(all(), 6);
    bench.wait(3);
    bench.run(opcode::AsyncCancel2::new(types::CancelBuilder::any()).build(), 7);
    bench.run(opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fixed(3))).build(), 8);
}

fn poll(bench: &mut Bench) {
    bench.bound();
    let entry = |events: i16| opcode::PollAdd::new(types::Fixed(0), events as u32);
    bench.run(entry(libc::POLLOUT).build(), 1);
    bench.push(entry(libc::POLLIN).build(), 2);
    bench.submit();
    bench.peer_sends(b"x");
    bench.wait(1);
    bench.run(entry(libc::POLLIN | libc::POLLOUT).build(), 3);
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 4);
    bench.push(entry(libc::POLLIN).multi(true).build(), 5);
    bench.submit();
    for _ in 0..2 {
        bench.peer_sends(b"y");
        bench.wait(1);
        bench.run(recv(&mut buffer), 6);
    }
    bench.push(opcode::AsyncCancel::new(5).build(), 7);
    bench.wait(2);
}

fn shutdown(bench: &mut Bench) {
    bench.bound();
    let down = |how| opcode::Shutdown::new(types::Fixed(0), how).build();
    bench.run(down(7), 1);
    bench.run(down(libc::SHUT_WR), 2);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 3);
    bench.run(send(b"x"), 4);
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 5);
    bench.submit();
    bench.push(down(libc::SHUT_RD), 6);
    bench.wait(2);
    bench.run(recv(&mut buffer), 7);
    bench.run(opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(), 8);
}

fn close_in_flight(bench: &mut Bench) {
    bench.bound();
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 1);
    bench.submit();
    bench.run(opcode::Close::new(types::Fixed(0)).build(), 2);
    bench.peer_sends(b"still here");
    bench.wait(1);
    bench.say(&buffer[..10]);
    bench.run(recv(&mut buffer), 3);
}

fn overflow(bench: &mut Bench) {
    for round in 0..3 {
        for entry in 0..10 {
            bench.push(opcode::Nop::new().build(), round * 10 + entry);
        }
        bench.submit();
    }
    let flagged = bench.ring.submission().cq_overflow();
    let ready = bench.ring.completion().len();
    bench.say((flagged, ready));
    bench.wait(30);
    let flagged = bench.ring.submission().cq_overflow();
    let lost = bench.ring.completion().overflow();
    bench.say((flagged, lost));
}

fn multishot_overflow(bench: &mut Bench) {
    bench.bound();
    bench.buffer_ring(0);
    for bid in 0..BUFFERS {
        bench.provide(bid, 100);
    }
    bench.push(opcode::RecvMulti::new(types::Fixed(0), GROUP).build(), 1);
    bench.submit();
    for entry in 0..15 {
        bench.push(opcode::Nop::new().build(), 100 + entry);
    }
    bench.submit();
    for payload in [b"first", b"secnd", b"third"] {
        bench.peer_sends(payload);
    }
    // Room for one: the second datagram ends the multishot receive, the third stays.
    bench.run_until_overflow();
    bench.wait(17);
    bench.until_readable();
    let mut buffer = [0u8; 16];
    bench.run(recv(&mut buffer), 2);
    bench.say(&buffer[..5]);
}

impl Bench {
    /// Enters, taking nothing out of the queue, until a completion has overflowed.
    fn run_until_overflow(&mut self) {
        let pause = types::Timespec::from(Duration::from_millis(10));
        let args = types::SubmitArgs::new().timespec(&pause);
        for _ in 0..500 {
            if self.ring.submission().cq_overflow() {
                return;
            }
            let _ = self.ring.submitter().submit_with_args(17, &args);
        }
        self.say("no overflow");
    }
}

fn refused_port(bench: &mut Bench) {
    bench.bound();
    let closed = v4(PEER_V4, 9);
    bench.run(connect_entry(0, &closed), 1);
    let mut buffer = [0u8; 16];
    bench.push(recv(&mut buffer), 2);
    bench.submit();
    bench.push(send(b"anybody?"), 3);
    bench.wait(2);
    bench.run(send(b"anybody?"), 4);
    bench.run(opcode::PollAdd::new(types::Fixed(0), 0).build(), 5);
    bench.run(send(b"anybody?"), 6);
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 7);
}

fn provided_sends(bench: &mut Bench) {
    bench.bound();
    let peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    bench.run(connect_entry(0, &peer), 1);
    let entry = |len: u32, group: u16| {
        let send = opcode::Send::new(types::Fixed(0), std::ptr::null(), len).build();
        raw(send, |bytes| bytes[40..42].copy_from_slice(&group.to_ne_bytes())).flags(squeue::Flags::BUFFER_SELECT)
    };
    bench.run(entry(0, 99), 2);
    bench.buffer_ring(0);
    bench.run(entry(0, GROUP), 3);
    bench.buffers[..4].copy_from_slice(b"bid0");
    bench.buffers[BUFFER_BYTES..BUFFER_BYTES + 4].copy_from_slice(b"bid1");
    bench.provide(0, 4);
    bench.provide(1, 4);
    bench.run(entry(0, GROUP), 4);
    bench.at_peer();
    bench.run(entry(2, GROUP), 5);
    bench.at_peer();
    bench.run(entry(0, GROUP), 6);
}

fn control_messages(bench: &mut Bench) {
    bench.bound();
    let mut peer = v4(PEER_V4, bench.peer.local_addr().unwrap().port());
    let payload = [5u8; 4000];
    let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut send = |bench: &mut Bench, level: i32, kind: i32, data: &[u8], len: usize, user_data: u64| {
        part.iov_len = len;
        let mut control = [0u64; 8];
        // SAFETY: all zeroes is a valid msghdr; the control buffer is aligned and long enough.
        let header = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_name = (&raw mut peer).cast();
            header.msg_namelen = 16;
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = libc::CMSG_SPACE(data.len() as u32) as usize;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = level;
            (*message).cmsg_type = kind;
            (*message).cmsg_len = libc::CMSG_LEN(data.len() as u32) as usize;
            std::ptr::copy_nonoverlapping(data.as_ptr(), libc::CMSG_DATA(message), data.len());
            header
        };
        bench.run(opcode::SendMsg::new(types::Fixed(0), &raw const header).build(), user_data);
    };
    let lengths = |bench: &mut Bench, count: usize| {
        let peer = bench.peer.try_clone().expect("the peer's socket");
        let lengths: Vec<_> = (0..count).map(|_| bench.received_by(&peer).map(|(len, _)| len)).collect();
        bench.say(lengths);
    };
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &300u16.to_ne_bytes(), 1000, 1);
    lengths(bench, 4);
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &1000u16.to_ne_bytes(), 1000, 2);
    lengths(bench, 1);
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &1u16.to_ne_bytes(), 1000, 3);
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &[1], 1000, 4);
    send(bench, libc::SOL_IP, libc::IP_TTL, &0i32.to_ne_bytes(), 1000, 5);
    send(bench, libc::SOL_IP, libc::IP_TTL, &7i32.to_ne_bytes(), 1000, 6);
    lengths(bench, 1);
    send(bench, libc::SOL_IP, libc::IP_TOS, &8i32.to_ne_bytes(), 1000, 7);
    lengths(bench, 1);
    send(bench, libc::SOL_IP, 250, &8i32.to_ne_bytes(), 1000, 8);
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &1800u16.to_ne_bytes(), 4000, 9);
    send(bench, libc::SOL_UDP, libc::UDP_SEGMENT, &1472u16.to_ne_bytes(), 4000, 10);
    lengths(bench, 3);
}

fn both_families(bench: &mut Bench) {
    bench.files();
    bench.run(socket(libc::AF_INET6, 0), 1);
    // SAFETY: all zeroes is a valid sockaddr_in6: the wildcard address.
    let mut any: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    any.sin6_family = libc::AF_INET6 as u16;
    any.sin6_port = PORT.to_be();
    let bind = |slot, len| opcode::Bind::new(types::Fixed(slot), (&raw const any).cast(), len).build();
    bench.run(bind(0, 20), 2);
    bench.run(bind(0, 28), 3);
    bench.run(socket(libc::AF_INET, 1), 4);
    bench.run(bind_entry(1, &any_v4(PORT)), 5);
    bench.run(bind(1, 28), 6);
    bench.run(bind_entry(0, &any_v4(PORT)), 7);
    // SAFETY: as above.
    let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    let mut bytes = [0u8; 64];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iovlen = 1;
    for (user_data, v6) in [(10, false), (20, true)] {
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = 28;
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 64 };
        header.msg_iov = &raw mut part;
        bench.push(opcode::RecvMsg::new(types::Fixed(0), &raw mut header).build(), user_data);
        bench.submit();
        let peer = if v6 { &bench.peer_v6 } else { &bench.peer };
        let to = if v6 { ringwire_tests::net::RING_V6 } else { ringwire_tests::net::RING_V4 };
        let to: std::net::IpAddr = to.parse().unwrap();
        peer.send_to(b"family", (to, PORT)).expect("the peer sends");
        bench.wait(1);
        bench.say((header.msg_namelen, name.sin6_family, name.sin6_addr.s6_addr));
        let mut answer = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 6 };
        header.msg_iov = &raw mut answer;
        bench.run(opcode::SendMsg::new(types::Fixed(0), &raw const header).build(), user_data + 1);
        let peer = if v6 { &bench.peer_v6 } else { &bench.peer };
        let peer = peer.try_clone().expect("the peer's socket");
        let received = bench.received_by(&peer);
        bench.say(received);
    }
}
