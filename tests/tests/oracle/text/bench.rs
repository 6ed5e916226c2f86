//! What a case works with: a ring, its memory, and the peer's sockets.

use super::*;

pub const SLOTS: u32 = 4;
pub const PORT: u16 = 7000;
pub const GROUP: u16 = 3;
pub const BUFFERS: u16 = 8;
pub const BUFFER_BYTES: usize = 256;

/// Entries of the queues: few, so that they can be filled.
pub const SQ_ENTRIES: u32 = 16;
pub const CQ_ENTRIES: u32 = 16;

/// A ring with its memory, and the peer's sockets.
pub struct Bench {
    pub ring: IoUring,
    pub peer: UdpSocket,
    pub peer_v6: UdpSocket,
    pub peer_listener: TcpListener,
    pub peer_listener_v6: TcpListener,
    /// Sockets of the peer's that are not connected yet.
    pub peer_streams: Vec<TcpStream>,
    pub buffers: Box<[u8]>,
    pub buffer_ring: *mut types::BufRingEntry,
    pub tail: u16,
    pub transcript: Vec<String>,
}

impl Bench {
    pub fn new(ring: IoUring, veth: &Veth) -> Bench {
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

    pub fn say(&mut self, what: impl std::fmt::Debug) {
        self.transcript.push(format!("{what:?}"));
    }

    pub fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        // SAFETY: what the cases point at lives until they end, and they wait for what they push.
        unsafe { self.ring.submission().push(&entry.user_data(user_data)) }
            .expect("room in the queue");
    }

    /// Submits, and writes down what submit returned.
    pub fn submit(&mut self) {
        let submitted = self.ring.submit().map_err(|error| error.raw_os_error());
        self.say(("submit", submitted));
    }

    /// Waits for so many completions and writes them down in the order of their user_data: where
    /// neither ring promises another.
    pub fn wait_unordered(&mut self, want: usize) {
        let from = self.transcript.len();
        self.wait(want);
        self.transcript[from..].sort();
    }

    /// Waits for so many completions and writes them down.
    pub fn wait(&mut self, want: usize) {
        let time = types::Timespec::from(PATIENCE);
        let args = types::SubmitArgs::new().timespec(&time);
        let mut seen = 0;
        while seen < want {
            let waited = self.ring.submitter().submit_with_args(want - seen, &args);
            let completions: Vec<_> = self
                .ring
                .completion()
                .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
                .collect();
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

    /// Waits for so many completions, and writes down those of each request in their order: requests
    /// may complete in any.
    pub fn wait_for_each(&mut self, want: usize) {
        let from = self.transcript.len();
        self.wait(want);
        self.transcript[from..].sort_by_key(|line| {
            let user_data = line.trim_start_matches('(').split(',').next();
            user_data.and_then(|number| number.parse::<u64>().ok())
        });
    }

    /// One request, from submission to completion.
    pub fn run(&mut self, entry: squeue::Entry, user_data: u64) {
        self.push(entry, user_data);
        self.wait(1);
    }

    /// A request's result and flags, not written down. Nothing else may be in flight.
    pub fn result(&mut self, entry: squeue::Entry) -> (i32, u32) {
        self.push(entry, 990);
        let time = types::Timespec::from(PATIENCE);
        let args = types::SubmitArgs::new().timespec(&time);
        let waited = self.ring.submitter().submit_with_args(1, &args);
        let cqe = self.ring.completion().next();
        let cqe = cqe.unwrap_or_else(|| panic!("a request completes: {waited:?}"));
        (cqe.result(), cqe.flags())
    }

    pub fn files(&mut self) {
        self.ring
            .submitter()
            .register_files_sparse(SLOTS)
            .expect("a table of direct descriptors");
    }

    /// A bound socket in slot 0.
    pub fn bound(&mut self) {
        self.files();
        self.run(socket(libc::AF_INET, 0), 900);
        let address = any_v4(PORT);
        self.run(bind_entry(0, &address), 901);
    }

    pub fn buffer_ring(&mut self, flags: u16) {
        let memory = buffer_ring_memory(BUFFERS);
        self.buffer_ring = memory;
        // SAFETY: the mapping is never unmapped.
        unsafe {
            self.ring
                .submitter()
                .register_buf_ring_with_flags(memory as u64, BUFFERS, GROUP, flags)
        }
        .expect("a buffer ring");
    }

    pub fn provide(&mut self, bid: u16, len: usize) {
        let addr = self.buffers[usize::from(bid) * BUFFER_BYTES..].as_mut_ptr() as u64;
        provide_in(self.buffer_ring, BUFFERS, self.tail, addr, len as u32, bid);
        self.tail += 1;
    }

    pub fn buffer(&self, bid: u16, len: usize) -> Vec<u8> {
        self.buffers[usize::from(bid) * BUFFER_BYTES..][..len].to_vec()
    }

    /// Sends from the peer, and makes sure that it has arrived: the next look at the socket finds it.
    pub fn peer_sends(&mut self, payload: &[u8]) {
        let to = format!("{}:{PORT}", RING_V4);
        self.peer.send_to(payload, to).expect("the peer sends");
    }

    /// What arrives at the peer: its length and first bytes.
    pub fn at_peer(&mut self) {
        let peer = self.peer.try_clone().expect("the peer's socket");
        let received = self.received_by(&peer);
        self.say(("peer", received));
    }

    /// Waits for a datagram at a peer's socket. The ring takes turns meanwhile: inline, it answers
    /// and asks for neighbours only in those.
    pub fn received_by(
        &mut self,
        peer: &UdpSocket,
    ) -> Result<(usize, Vec<u8>), std::io::ErrorKind> {
        let mut buffer = [0; 65_536];
        let deadline = std::time::Instant::now() + PATIENCE;
        peer.set_read_timeout(Some(Duration::from_millis(10)))
            .expect("a timeout");
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
    pub fn until_readable(&mut self) {
        self.run(
            opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build(),
            902,
        );
    }
}

impl Bench {
    pub fn stream_socket(&mut self, domain: i32, slot: u32, user_data: u64) {
        let target = types::DestinationSlot::try_from_slot_target(slot).unwrap();
        let entry = opcode::Socket::new(domain, libc::SOCK_STREAM, 0).file_index(Some(target));
        self.run(entry.build(), user_data);
    }

    /// A listener in slot 0.
    pub fn listener(&mut self, backlog: i32) {
        self.files();
        self.stream_socket(libc::AF_INET, 0, 910);
        let address = any_v4(PORT);
        self.run(bind_entry(0, &address), 911);
        self.run(opcode::Listen::new(types::Fixed(0), backlog).build(), 912);
    }

    /// Takes turns until something is so at the peer.
    pub fn pump(&mut self, what: &str, mut until: impl FnMut() -> bool) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !until() {
            assert!(std::time::Instant::now() < deadline, "{what}");
            let time = types::Timespec::new().nsec(1_000_000);
            let args = types::SubmitArgs::new().timespec(&time);
            // Completions that are there already would make this return at once: that is no harm.
            let _ = self.ring.submitter().submit_with_args(1, &args);
        }
    }

    /// A connection from the peer, made as far as the peer can tell.
    pub fn peer_connects(&mut self) -> TcpStream {
        let stream = self.peer_streams.pop().expect("a socket of the peer's");
        let address = v4(RING_V4, PORT);
        // SAFETY: a valid address of that length.
        unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16) };
        self.pump("the peer connects", || stream.peer_addr().is_ok());
        stream
    }

    /// A listener in slot 0, and a connection in slot 1.
    pub fn connected(&mut self) -> TcpStream {
        self.listener(4);
        let stream = self.peer_connects();
        self.run(accept_entry(0, Some(1)), 913);
        stream
    }

    /// Reads so many bytes at the peer.
    pub fn peer_reads(&mut self, stream: &mut TcpStream, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 65_536];
        self.pump("the peer reads", || {
            while bytes.len() < len {
                let want = chunk.len().min(len - bytes.len());
                match stream.read(&mut chunk[..want]) {
                    Ok(0) | Err(_) => return false,
                    Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                }
            }
            true
        });
        bytes
    }

    /// What the peer sees when nothing more comes: the end, or an error.
    pub fn peer_sees_end(&mut self, stream: &mut TcpStream) {
        let mut seen = None;
        self.pump("the peer sees the end", || {
            match stream.read(&mut [0; 16]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                other => seen = Some(other.map_err(|error| error.raw_os_error())),
            }
            true
        });
        self.say(("peer", seen));
    }

    /// Waits until a socket has something to read.
    pub fn readable(&mut self, slot: u32) {
        self.run(
            opcode::PollAdd::new(types::Fixed(slot), libc::POLLIN as u32).build(),
            914,
        );
    }

    pub fn cancel(&mut self, user_data: u64) {
        self.push(opcode::AsyncCancel::new(user_data).build(), 915);
    }
}

impl Bench {
    /// A listener in a slot, on another port.
    pub fn listener_in(&mut self, slot: u32) {
        self.stream_socket(libc::AF_INET, slot, 920);
        self.run(bind_entry(slot, &any_v4(PORT + 10)), 921);
        self.run(opcode::Listen::new(types::Fixed(slot), 4).build(), 922);
    }
}

/// Closes with a RST.
pub fn reset(stream: TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let len = size_of_val(&linger) as u32;
    let value = std::ptr::from_ref(&linger).cast();
    // SAFETY: the option's value lives, and has that length.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            value,
            len,
        )
    };
}

/// Bytes that the other end has not acknowledged.
pub fn unacknowledged(stream: &TcpStream) -> i32 {
    let mut count = 0;
    // SAFETY: SIOCOUTQ writes an int.
    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    count
}

/// Memory for a buffer ring, never unmapped.
pub fn buffer_ring_memory(entries: u16) -> *mut types::BufRingEntry {
    let bytes = usize::from(entries) * size_of::<types::BufRingEntry>();
    // SAFETY: a fresh anonymous mapping.
    let memory = unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0)
    };
    memory.cast()
}

/// Puts a buffer into a ring whose tail is `tail`.
pub fn provide_in(
    ring: *mut types::BufRingEntry,
    entries: u16,
    tail: u16,
    addr: u64,
    len: u32,
    bid: u16,
) {
    // SAFETY: the masked index is in the ring, which is never unmapped.
    unsafe {
        let entry = &mut *ring.add(usize::from(tail % entries));
        entry.set_addr(addr);
        entry.set_len(len);
        entry.set_bid(bid);
        let published = types::BufRingEntry::tail(ring).cast::<std::sync::atomic::AtomicU16>();
        (*published).store(tail.wrapping_add(1), std::sync::atomic::Ordering::Release);
    }
}
