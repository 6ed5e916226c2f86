//! Runs a random program (`program.rs`), and writes down what completes behind each of its steps.
//!
//! Nothing moves any more when two rounds in a row bring no completion: in each the peer's ICMP echo
//! request goes to the ring's address behind all that the peer has sent, and its answer comes back behind
//! all that the ring has; all of it on one CPU. Completions are compared by chain: in a chain they come in its order; of chains
//! the order is free. What the peer gets from a connection is compared as a stream, at the end.

use std::collections::HashMap;
use std::net::Shutdown;

use ringwire_tests::echo::Echo;

use super::random_request::{slot_of, stream_entry, waits_for};
use super::*;
use crate::program::{self, Operation, Peer, Program, Receive, Request, Step};

const BUFFERS: u16 = 8;
pub const BUFFER_BYTES: usize = 128;
const INCREMENTAL_BYTES: usize = 512;
/// Entries of the completion queue: it does not overflow.
const CQ_ENTRIES: u32 = 1024;

/// A group of provided buffers.
pub struct Group {
    pub memory: Box<[u8]>,
    each: usize,
    ring: *mut types::BufRingEntry,
    provided: u16,
    outstanding: u16,
    /// How much of a buffer has been used (incremental use).
    used: HashMap<u16, usize>,
}

/// What is remembered of a request in flight.
pub struct InFlight {
    pub chain: usize,
    pub operation: Operation,
    pub buffer: *mut u8,
    pub len: usize,
}

pub struct Runner<'a> {
    ring: IoUring,
    veth: &'a Veth,
    pub port: u16,
    echo: Echo,
    peer: UdpSocket,
    pub listener: TcpListener,
    streams: Vec<TcpStream>,
    received: Vec<Stream>,
    pub groups: HashMap<u16, Group>,
    pub in_flight: HashMap<u64, InFlight>,
    /// What requests point at, until the end.
    pub kept: Vec<Box<dyn std::any::Any>>,
    pub chains: usize,
    completions: Vec<(usize, u64, i32, u32, u64)>,
    transcript: Vec<String>,
}

/// What the peer has from a connection, and how it ended.
#[derive(Default)]
struct Stream {
    bytes: Vec<u8>,
    end: Option<Result<(), i32>>,
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// What a program does on this ring. `index` differs for each run in a namespace: it chooses ports.
pub fn run(veth: &Veth, program: &Program, index: u16) -> Vec<String> {
    stay_on_this_cpu();
    veth.in_ring(|| {
        let mut builder = super::super::builder();
        builder.setup_cqsize(CQ_ENTRIES);
        // A child of this process that has not come to its exec yet may hold what the last ring has
        // given back.
        let deadline = std::time::Instant::now() + PATIENCE;
        let ring = loop {
            match super::super::build(&builder, 256) {
                Ok(ring) => break ring,
                Err(error) if std::time::Instant::now() > deadline => panic!("a ring: {error}"),
                Err(_) => std::thread::yield_now(),
            }
        };
        let mut runner = Runner::new(ring, veth, 10_000 + 8 * index);
        runner.prepare();
        for (number, step) in program.iter().enumerate() {
            runner.step(number, step);
        }
        runner.finish();
        runner.transcript
    })
}

/// A packet that was sent on one CPU may be overtaken by the next, sent on another.
fn stay_on_this_cpu() {
    // SAFETY: all zeroes is a valid set; the calls write no other memory.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sched_getcpu() as usize, &mut cpus);
        libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus);
    }
}

impl<'a> Runner<'a> {
    fn new(ring: IoUring, veth: &'a Veth, port: u16) -> Runner<'a> {
        let peer = veth.in_peer(|| UdpSocket::bind((PEER_V4, port + 1)).expect("a socket"));
        peer.set_nonblocking(true).expect("a flag");
        let listener = veth.peer_listener(PEER_V4);
        listener.set_nonblocking(true).expect("a flag");
        Runner {
            ring,
            veth,
            port,
            echo: veth.in_peer(|| Echo::new(RING_V4)),
            peer,
            listener,
            streams: Vec::new(),
            received: Vec::new(),
            groups: HashMap::new(),
            in_flight: HashMap::new(),
            kept: Vec::new(),
            chains: 0,
            completions: Vec::new(),
            transcript: Vec::new(),
        }
    }

    /// The sockets that every program begins with.
    fn prepare(&mut self) {
        let submitter = self.ring.submitter();
        submitter
            .register_files_sparse(program::SLOTS)
            .expect("a table");
        self.group(program::RING, 0, BUFFER_BYTES);
        self.group(program::INCREMENTAL, 2, INCREMENTAL_BYTES);
        let each = BUFFER_BYTES;
        let memory = vec![0; usize::from(BUFFERS) * each].into();
        let list = Group {
            memory,
            each,
            ring: std::ptr::null_mut(),
            provided: 0,
            outstanding: 0,
            used: HashMap::new(),
        };
        self.groups.insert(program::LIST, list);
        for group in [program::RING, program::INCREMENTAL] {
            self.provide(group, 4);
        }
        let (port, peer) = (any_v4(self.port), v4(PEER_V4, self.port + 1));
        self.now(socket(libc::AF_INET, program::DATAGRAM));
        self.now(bind_entry(program::DATAGRAM, &port));
        self.now(socket(libc::AF_INET, program::CONNECTED));
        self.now(bind_entry(program::CONNECTED, &any_v4(self.port + 4)));
        self.now(connect_entry(program::CONNECTED, &peer));
        self.now(stream_entry(program::LISTENER));
        self.now(bind_entry(program::LISTENER, &port));
        self.now(opcode::Listen::new(types::Fixed(program::LISTENER), 64).build());
        for slot in program::STREAMS {
            self.peer_connects();
            self.quiesce();
            self.now(accept_entry(program::LISTENER, Some(slot)));
        }
    }

    /// A request of the preparation, which succeeds at once.
    fn now(&mut self, entry: squeue::Entry) {
        self.push(entry, 0);
        self.ring.submit_and_wait(1).expect("a submission");
        let cqe = self.ring.completion().next().expect("a completion");
        assert!(cqe.result() >= 0, "the preparation: {}", cqe.result());
    }

    fn push(&mut self, entry: squeue::Entry, user_data: u64) {
        // SAFETY: what requests point at is kept until the ring is gone (`kept`, `groups`).
        unsafe { self.ring.submission().push(&entry.user_data(user_data)) }.expect("room");
    }

    fn step(&mut self, number: usize, step: &Step) {
        match step {
            Step::Batch(batch) => self.batch(batch),
            Step::Peer(peer) => self.peer_does(*peer),
            Step::Provide { group, count } => self.provide(*group, *count),
        }
        self.quiesce();
        self.completions.sort_by_key(|completion| completion.0);
        for (_, user_data, res, flags, hash) in std::mem::take(&mut self.completions) {
            self.transcript.push(format!(
                "step {number}: {user_data} -> {res} flags {flags:#x} data {hash:x}"
            ));
        }
    }

    /// Submits a batch, without what neither ring promises an order for.
    fn batch(&mut self, batch: &[Request]) {
        // The chains that wait for a slot: those in flight, and the batch's.
        let mut waiting: HashMap<u32, usize> = HashMap::new();
        for request in self.in_flight.values() {
            if let Some(slot) = waits_for(&request.operation) {
                waiting.insert(slot, usize::MAX);
            }
        }
        let mut connecting: HashMap<u32, usize> = HashMap::new();
        let mut in_chain = false;
        let mut entries: Vec<(squeue::Entry, u8, u64)> = Vec::new();
        for request in batch {
            if !in_chain {
                self.chains += 1;
            }
            let was_in_chain = in_chain;
            in_chain = request.flags & (program::LINK | program::HARDLINK) != 0;
            let chain = self.chains;
            if let Some(slot) = slot_of(&request.operation) {
                let connects = matches!(request.operation, Operation::Connect { .. });
                let taken = |by: Option<&usize>| by.is_some_and(|&by| by != chain);
                let second = waits_for(&request.operation).is_some() || connects;
                if taken(connecting.get(&slot)) || (second && taken(waiting.get(&slot))) {
                    // The batch ends with a chain, however short it has become.
                    if was_in_chain {
                        break;
                    }
                    in_chain = false;
                    continue;
                }
                if connects {
                    connecting.insert(slot, chain);
                }
                if second {
                    waiting.insert(slot, chain);
                }
            }
            let entry = self.entry(request);
            entries.push((entry, request.flags, request.user_data));
            let len = entries.len();
            if !in_chain && len > 1 && entries[len - 2].1 & (program::LINK | program::HARDLINK) != 0
            {
                break;
            }
        }
        end_chain(&mut entries);
        for (entry, flags, user_data) in entries {
            self.push(
                entry.flags(squeue::Flags::from_bits_retain(flags)),
                user_data,
            );
        }
        let mut left = self.ring.submission().len();
        while left > 0 {
            self.ring.submit().expect("a submission");
            let now = self.ring.submission().len();
            assert!(now < left, "entries are taken");
            left = now;
        }
    }
}

/// The last one is linked to nothing.
fn end_chain(entries: &mut [(squeue::Entry, u8, u64)]) {
    if let Some((_, flags, _)) = entries.last_mut() {
        *flags &= !(program::LINK | program::HARDLINK);
    }
}

/// Provided buffers.
impl Runner<'_> {
    fn group(&mut self, group: u16, flags: u16, each: usize) {
        let ring = buffer_ring_memory(BUFFERS);
        // SAFETY: the mapping is never unmapped.
        unsafe {
            let submitter = self.ring.submitter();
            submitter.register_buf_ring_with_flags(ring as u64, BUFFERS, group, flags)
        }
        .expect("a buffer ring");
        let memory = vec![0; usize::from(BUFFERS) * each].into();
        let used = HashMap::new();
        self.groups.insert(
            group,
            Group {
                memory,
                each,
                ring,
                provided: 0,
                outstanding: 0,
                used,
            },
        );
    }

    fn provide(&mut self, group: u16, count: u16) {
        let group = self.groups.get_mut(&group).expect("a group");
        for _ in 0..count.min(BUFFERS - group.outstanding) {
            let bid = group.provided % BUFFERS;
            let addr = group.memory[usize::from(bid) * group.each..].as_mut_ptr() as u64;
            provide_in(
                group.ring,
                BUFFERS,
                group.provided,
                addr,
                group.each as u32,
                bid,
            );
            group.provided += 1;
            group.outstanding += 1;
        }
    }

    /// What a completion says about its data: a hash.
    fn data(&mut self, user_data: u64, res: i32, flags: u32) -> u64 {
        let (Some(request), Ok(len)) = (self.in_flight.get(&user_data), usize::try_from(res))
        else {
            return 0;
        };
        let (group, incremental) = match request.operation {
            Operation::Receive {
                how: Receive::Plain { .. } | Receive::Message { .. },
                ..
            } => {
                // SAFETY: the memory is kept; the request has completed.
                let bytes =
                    unsafe { std::slice::from_raw_parts(request.buffer, len.min(request.len)) };
                return hash(bytes);
            }
            Operation::Receive {
                how: Receive::Group { group, .. } | Receive::Multishot { group, .. },
                ..
            }
            | Operation::SendGroup { group, .. } => (group, group == program::INCREMENTAL),
            Operation::Receive { .. } => (program::RING, false),
            _ => return 0,
        };
        let Some(bid) = io_uring::cqueue::buffer_select(flags) else {
            return 0;
        };
        let Some(group) = self.groups.get_mut(&group) else {
            return 0;
        };
        let sent = matches!(request.operation, Operation::SendGroup { .. });
        let mut from = usize::from(bid) * group.each;
        if incremental {
            let used = group.used.remove(&bid).unwrap_or(0);
            from += used;
            if io_uring::cqueue::buffer_more(flags) {
                group.used.insert(bid, used + len);
            } else {
                group.outstanding = group.outstanding.saturating_sub(1);
            }
        } else if !group.ring.is_null() {
            let many = matches!(request.operation, Operation::SendGroup { bundle: true, .. });
            let used = if many {
                len.div_ceil(group.each).max(1)
            } else {
                1
            };
            group.outstanding = group.outstanding.saturating_sub(used as u16);
        }
        if sent {
            return 0;
        }
        // MSG_TRUNC has a length beyond the buffer.
        let end = (usize::from(bid) + 1) * group.each;
        hash(&group.memory[from..(from + len).min(end)])
    }
}

/// The peer, and time.
impl Runner<'_> {
    fn peer_connects(&mut self) {
        let stream = self.veth.peer_stream();
        stream.set_nodelay(true).expect("an option");
        let address = v4(RING_V4, self.port);
        // SAFETY: a valid address of that length.
        unsafe { libc::connect(stream.as_raw_fd(), std::ptr::from_ref(&address).cast(), 16) };
        self.streams.push(stream);
        self.received.push(Stream::default());
    }

    fn peer_does(&mut self, peer: Peer) {
        match peer {
            Peer::Datagram { slot, len } => {
                let port = if slot == program::DATAGRAM {
                    self.port
                } else {
                    self.port + 4
                };
                let bytes: Vec<u8> = (0..len).map(|index| index as u8).collect();
                let _ = self.peer.send_to(&bytes, (RING_V4, port));
            }
            Peer::Write { stream, len } => {
                let Some(stream) = self.streams.get(stream) else {
                    return;
                };
                let stream = stream.try_clone().expect("the stream");
                let bytes: Vec<u8> = (0..len).map(|index| (index * 7) as u8).collect();
                let _ = (&stream).write(&bytes);
                let deadline = std::time::Instant::now() + PATIENCE;
                while unsent(&stream) > 0 && std::time::Instant::now() < deadline {
                    self.ring.submit().expect("a turn");
                }
            }
            Peer::ShutDown { stream } => {
                if let Some(stream) = self.streams.get(stream) {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            Peer::Reset { stream } => {
                if let Some(gone) = self.streams.get_mut(stream) {
                    // An unconnected one takes its place: streams keep their numbers.
                    reset(std::mem::replace(gone, self.veth.peer_stream()));
                    self.received[stream].end = Some(Err(libc::ECONNABORTED));
                }
            }
            Peer::Connect => self.peer_connects(),
        }
    }

    /// Takes what has come to the peer.
    fn peer_takes(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("a flag");
            stream.set_nodelay(true).expect("an option");
            self.streams.push(stream);
            self.received.push(Stream::default());
        }
        let mut chunk = [0; 4096];
        for (stream, received) in self.streams.iter().zip(&mut self.received) {
            while received.end.is_none() {
                match (&*stream).read(&mut chunk) {
                    Ok(0) => received.end = Some(Ok(())),
                    Ok(len) => received.bytes.extend_from_slice(&chunk[..len]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => received.end = Some(Err(error.raw_os_error().unwrap_or(0))),
                }
            }
        }
        while let Ok((len, _)) = self.peer.recv_from(&mut chunk) {
            self.transcript
                .push(format!("peer: {len} {:x}", hash(&chunk[..len])));
        }
    }

    /// Goes on until nothing moves any more.
    fn quiesce(&mut self) {
        let mut quiet = 0;
        while quiet < 2 {
            self.echo.ask();
            let deadline = std::time::Instant::now() + PATIENCE;
            while !self.echo.is_answered() {
                assert!(
                    std::time::Instant::now() < deadline,
                    "the ring answers an echo request"
                );
                self.ring.submit().expect("a turn");
            }
            self.ring.submit().expect("a turn");
            self.peer_takes();
            let came = self.reap() > 0 || self.is_in_a_worker();
            quiet = if came { 0 } else { quiet + 1 };
        }
    }

    /// The kernel leaves SHUTDOWN to a thread of its own.
    fn is_in_a_worker(&self) -> bool {
        let mut in_flight = self.in_flight.values();
        in_flight.any(|request| matches!(request.operation, Operation::Shutdown { .. }))
    }

    fn reap(&mut self) -> usize {
        let completions: Vec<_> = self
            .ring
            .completion()
            .map(|cqe| (cqe.user_data(), cqe.result(), cqe.flags()))
            .collect();
        for &(user_data, res, flags) in &completions {
            let hash = self.data(user_data, res, flags);
            let chain = self
                .in_flight
                .get(&user_data)
                .map_or(0, |request| request.chain);
            self.completions.push((chain, user_data, res, flags, hash));
            if !io_uring::cqueue::more(flags) {
                self.in_flight.remove(&user_data);
            }
        }
        completions.len()
    }

    /// Closes everything, and says what the peer has of each connection.
    fn finish(&mut self) {
        // What waited behind a drain may wait again when it starts.
        for _ in 0..4 {
            let any = types::CancelBuilder::any();
            let _ = self.ring.submitter().register_sync_cancel(None, any);
            self.quiesce();
        }
        for slot in 0..program::SLOTS {
            self.push(close_entry(slot), 0);
        }
        self.quiesce();
        let deadline = std::time::Instant::now() + Duration::from_millis(500);
        let open = |received: &[Stream]| received.iter().any(|stream| stream.end.is_none());
        while open(&self.received) && std::time::Instant::now() < deadline {
            self.ring.submit().expect("a turn");
            self.peer_takes();
        }
        for stream in &self.received {
            // A reset may overtake what was sent before it.
            let line = match stream.end {
                Some(Ok(())) => format!(
                    "stream: {} bytes {:x}",
                    stream.bytes.len(),
                    hash(&stream.bytes)
                ),
                end => format!("stream: {end:?}"),
            };
            self.transcript.push(line);
        }
    }
}

/// Bytes that a socket of the peer's has not sent yet (`SIOCOUTQNSD`).
fn unsent(stream: &TcpStream) -> i32 {
    const SIOCOUTQNSD: libc::c_ulong = 0x894b;
    let mut unsent = 0;
    // SAFETY: the call writes an int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), SIOCOUTQNSD, &raw mut unsent) };
    if result < 0 { 0 } else { unsent }
}
