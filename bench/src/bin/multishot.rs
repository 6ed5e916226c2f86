//! What a multishot receive saves: messages of so many bytes, received by one RECV that goes on, by a RECV for each
//! from the same buffer ring, and by a RECV for each into memory of its own; and from a lent group in both ways. A
//! completion is one message; but what is lent of a stream ends with its frame. 64 arrive at a time, and as many
//! RECVs are submitted at once. ringwire in memory, without checksums; the kernel's io_uring over loopback, in the same rounds. CPU time of one thread, what
//! the receiver does alone: not the sender, and not the wire.
//!
//!     multishot [ROUNDS]
//!     multishot PROTOCOL WAY BYTES COUNT    one way, so many times, without a clock: for an instruction counter

use std::os::fd::AsRawFd;

use io_uring::IoUring;
use ringwire::{cqueue, opcode, squeue, types};
use ringwire_abi::flags::IORING_CQE_F_BUF_MORE;
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::Engines;
use ringwire_bench::groups::Group;
use ringwire_bench::loopback;

/// Messages in a measurement.
const MESSAGES: usize = 8192;
/// Messages that arrive at a time, buffers to receive them, and RECVs that wait.
const BURST: usize = 64;
const SIZES: [usize; 2] = [64, 1200];
const GROUP: u16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
}

const PROTOCOLS: [(&str, Protocol); 2] = [("udp", Protocol::Udp), ("tcp", Protocol::Tcp)];

/// How messages are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    name: &'static str,
    /// One RECV for all of them.
    multishot: bool,
    into: Into,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    /// Memory that each RECV names.
    Own,
    Ring,
    Lent,
}

const fn way(name: &'static str, multishot: bool, into: Into) -> Way {
    Way {
        name,
        multishot,
        into,
    }
}

const WAYS: [Way; 5] = [
    way("multishot", true, Into::Ring),
    way("single", false, Into::Ring),
    way("own", false, Into::Own),
    way("lent-multishot", true, Into::Lent),
    way("lent-single", false, Into::Lent),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [protocol, way, bytes, count] = &words[..] {
        let protocol = PROTOCOLS.iter().find(|it| it.0 == protocol);
        let way = WAYS.iter().find(|it| it.name == way);
        let bytes = bytes.parse().expect("a number of bytes");
        let &(_, protocol) = protocol.expect("udp or tcp");
        let mut bed = Bed::new(protocol, *way.expect("a way"), bytes);
        bed.run(count.parse().expect("a number of messages"), || 0);
        return;
    }
    let rounds = words.first().and_then(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(7);
    println!(
        "CPU ns to receive a message; in brackets, a single RECV's by a multishot's of the same kind"
    );
    for protocol in PROTOCOLS {
        for bytes in SIZES {
            table(protocol, bytes, rounds);
        }
    }
}

/// A way of one ring's, and what it takes for a message.
struct Measured {
    name: String,
    run: Box<dyn FnMut() -> f64>,
    /// The way, by its place in the list, that it is compared with.
    against: usize,
    costs: Vec<f64>,
}

fn table((name, protocol): (&str, Protocol), bytes: usize, rounds: usize) {
    let mut all = Vec::new();
    for way in WAYS {
        let mut bed = Bed::new(protocol, way, bytes);
        all.push(Measured {
            name: format!("ringwire {}", way.name),
            run: Box::new(move || bed.run(MESSAGES, cpu_nanos)),
            against: if way.into == Into::Lent { 3 } else { 0 },
            costs: vec![],
        });
    }
    for way in WAYS.into_iter().filter(|way| way.into != Into::Lent) {
        let mut kernel = Kernel::new(protocol, way, bytes);
        all.push(Measured {
            name: format!("io_uring {}", way.name),
            run: Box::new(move || kernel.run(MESSAGES)),
            against: WAYS.len(),
            costs: vec![],
        });
    }
    for round in 0..rounds + 1 {
        for measured in &mut all {
            let cost = (measured.run)();
            // The first one warms up.
            if round > 0 {
                measured.costs.push(cost);
            }
        }
    }
    println!("{name}, {bytes} bytes");
    for measured in &all {
        let base = all[measured.against].costs.iter();
        let times = measured.costs.iter().zip(base);
        println!(
            "  {:24} {:5.0} ({:.2})",
            measured.name,
            median(measured.costs.clone()),
            median(times.map(|(own, base)| own / base).collect())
        );
    }
}

/// Requests that receive in one way, on one socket: the same for both rings.
struct Receiver {
    way: Way,
    socket: types::Fixed,
    bytes: usize,
    memory: Box<[u8]>,
    group: Option<Group>,
    /// Submissions to be made.
    next: Vec<squeue::Entry>,
}

impl Receiver {
    fn new(way: Way, socket: types::Fixed, bytes: usize, group: Option<Group>) -> Receiver {
        let memory = vec![0; BURST * bytes].into();
        let mut receiver = Receiver {
            way,
            socket,
            bytes,
            memory,
            group,
            next: Vec::with_capacity(BURST),
        };
        let requests = if way.multishot { 1 } else { BURST };
        (0..requests).for_each(|index| receiver.again(index));
        receiver
    }

    fn entry(&mut self, index: usize) -> squeue::Entry {
        let len = self.bytes as u32;
        let own = &mut self.memory[index * self.bytes..];
        let entry = match (self.way.into, self.way.multishot) {
            (Into::Own, _) => opcode::Recv::new(self.socket, own.as_mut_ptr(), len).build(),
            // Else a part were as long as what is left of its frame.
            (Into::Lent, true) => capped(opcode::RecvMulti::new(self.socket, GROUP).build(), len),
            (Into::Ring, true) => opcode::RecvMulti::new(self.socket, GROUP).build(),
            (_, false) => opcode::Recv::new(self.socket, std::ptr::null_mut(), len)
                .buf_group(GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        entry.user_data(index as u64)
    }

    fn again(&mut self, index: usize) {
        let entry = self.entry(index);
        self.next.push(entry);
    }

    /// Gives the buffer of a completion back, and receives again if this was the request's last. Returns the bytes.
    fn complete(&mut self, cqe: &cqueue::Entry) -> usize {
        assert!(cqe.result() > 0, "{cqe:?}");
        if let Some(group) = &mut self.group
            && cqe.flags() & IORING_CQE_F_BUF_MORE == 0
        {
            group.give(cqueue::buffer_select(cqe.flags()).expect("a buffer"));
        }
        if !cqueue::more(cqe.flags()) {
            self.again(cqe.user_data() as usize);
        }
        cqe.result() as usize
    }
}

/// A multishot receive of at most so many bytes in a completion.
fn capped(entry: squeue::Entry, bytes: u32) -> squeue::Entry {
    const LEN_AT: usize = 24;
    let mut entry = entry;
    // SAFETY: an entry is a `struct io_uring_sqe`, in which `len` is a u32 at this place.
    unsafe {
        (&raw mut entry)
            .cast::<u8>()
            .add(LEN_AT)
            .cast::<u32>()
            .write(bytes);
    }
    entry
}

/// Two engines, of which the second receives.
struct Bed {
    engines: Engines,
    receiver: Receiver,
    payload: Box<[u8]>,
}

impl Bed {
    fn new(protocol: Protocol, way: Way, bytes: usize) -> Bed {
        let mut engines = Engines::new();
        let socket = match protocol {
            Protocol::Tcp => {
                engines.connect_streams();
                types::Fixed(0)
            }
            Protocol::Udp => {
                engines.connect_datagrams();
                types::Fixed(2)
            }
        };
        let engine = &mut engines.b.engine;
        let buffers = 2 * BURST as u16;
        let group = match way.into {
            Into::Own => None,
            Into::Ring => Some(Group::own(engine, GROUP, buffers, bytes)),
            Into::Lent => Some(Group::lent(engine, GROUP, buffers)),
        };
        Bed {
            receiver: Receiver::new(way, socket, bytes, group),
            engines,
            payload: vec![7; bytes].into(),
        }
    }

    /// Receives so many messages; what one takes.
    fn run(&mut self, messages: usize, clock: fn() -> u64) -> f64 {
        let own = (0..16).map(|_| {
            let start = clock();
            clock() - start
        });
        let own = own.min().unwrap_or(0);
        let (mut sent, mut received, mut nanos) = (0, 0, 0);
        while received < messages * self.payload.len() {
            let under_way = sent - received / self.payload.len();
            let burst = (messages - sent).min(BURST - under_way);
            self.send(burst);
            sent += burst;
            let start = clock();
            received += self.receive();
            nanos += (clock() - start).saturating_sub(own);
            self.engines.carry_from_second();
        }
        nanos as f64 / messages as f64
    }

    fn send(&mut self, burst: usize) {
        let (from, len) = (self.payload.as_ptr(), self.payload.len() as u32);
        for _ in 0..burst {
            let send = opcode::Send::new(self.receiver.socket, from, len);
            let send = send.flags(libc::MSG_WAITALL).build();
            // SAFETY: the payload lives as long as the engines; nobody writes to it.
            unsafe { self.engines.a.push(&send) };
        }
        self.engines.turn_first();
        for cqe in self.engines.a.engine.completion() {
            assert!(cqe.result() > 0, "{cqe:?}");
        }
        self.engines.carry_from_first();
    }

    /// The receiver's part, which is measured: submissions, a turn, completions. Returns the bytes.
    #[inline(never)]
    fn receive(&mut self) -> usize {
        for entry in self.receiver.next.drain(..) {
            // SAFETY: what is received into lives as long as the engines.
            unsafe { self.engines.b.push(&entry) };
        }
        self.engines.turn_second();
        let completions = self.engines.b.engine.completion();
        completions.map(|cqe| self.receiver.complete(&cqe)).sum()
    }
}

/// The kernel's ring over loopback sockets. What has arrived is there when the ring is entered, so that no RECV has
/// to wait: the best case of single ones.
struct Kernel {
    ring: IoUring,
    receiver: Receiver,
    sockets: [loopback::Socket; 2],
    payload: Box<[u8]>,
}

impl Kernel {
    fn new(protocol: Protocol, way: Way, bytes: usize) -> Kernel {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(2 * BURST as u32)
            .expect("a ring of the kernel's");
        let sockets = match protocol {
            Protocol::Udp => loopback::datagrams(),
            Protocol::Tcp => loopback::streams(),
        };
        let files = [sockets[1].as_raw_fd()];
        ring.submitter().register_files(&files).expect("a file");
        let group = (way.into == Into::Ring)
            .then(|| Group::of_kernel(&ring, GROUP, 2 * BURST as u16, bytes));
        Kernel {
            receiver: Receiver::new(way, types::Fixed(0), bytes, group),
            ring,
            sockets,
            payload: vec![7; bytes].into(),
        }
    }

    fn run(&mut self, messages: usize) -> f64 {
        let bytes = self.payload.len();
        let mut nanos = 0;
        for _ in 0..messages / BURST {
            (0..BURST).for_each(|_| loopback::send(&self.sockets[0], &self.payload));
            let start = cpu_nanos();
            let mut received = 0;
            while received < BURST * bytes {
                received += self.receive((BURST * bytes - received).div_ceil(bytes));
            }
            nanos += cpu_nanos() - start;
        }
        nanos as f64 / messages as f64
    }

    /// Waits for so many completions; returns their bytes.
    fn receive(&mut self, want: usize) -> usize {
        // SAFETY: what is received into lives as long as the ring.
        unsafe { self.ring.submission().push_multiple(&self.receiver.next) }.expect("room");
        self.receiver.next.clear();
        self.ring.submit_and_wait(want).expect("io_uring_enter");
        let completions = self.ring.completion();
        completions.map(|cqe| self.receiver.complete(&cqe)).sum()
    }
}
