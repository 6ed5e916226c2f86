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
use ringwire::types;
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::engines::Protocol;
use ringwire_bench::groups::Group;
use ringwire_bench::loopback;
use ringwire_bench::receiving::{BURST, Bed, GROUP, Into, Receiver, WAYS, Way};

/// Messages in a measurement.
const MESSAGES: usize = 8192;
const SIZES: [usize; 2] = [64, 1200];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [protocol, way, bytes, count] = &words[..] {
        let protocol = Protocol::NAMED.iter().find(|it| it.0 == protocol);
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
    for protocol in Protocol::NAMED {
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
        unsafe { self.ring.submission().push_multiple(self.receiver.next()) }.expect("room");
        self.receiver.submitted();
        self.ring.submit_and_wait(want).expect("io_uring_enter");
        let completions = self.ring.completion();
        completions.map(|cqe| self.receiver.complete(&cqe)).sum()
    }
}
