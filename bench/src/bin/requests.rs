//! What a request costs in memory, on one core, checksums off. A NOP: submission, a turn, completion. A
//! SEND with the RECV that takes it: the same at both ends, with both stacks, TCP or UDP, and the wire's
//! copy. CPU time of one thread, beside the kernel's io_uring over loopback in the same run.
//!
//!     requests [ROUNDS]
//!     requests KIND COUNT    one kind, so many times, without a clock: for an instruction counter

use std::os::fd::AsRawFd;

use io_uring::IoUring;
use ringwire::{opcode, squeue};
use ringwire_bench::clock::{cpu_nanos, median};
use ringwire_bench::loopback;
use ringwire_bench::requests::{Bed, Measured, recv, send};

/// Operations in a measurement.
const OPERATIONS: usize = 20_000;
const LARGE: usize = 1024;

type Kind = (&'static str, Measured);

const KINDS: [Kind; 5] = [
    ("nop", Measured::Nop),
    ("stream-64", Measured::Stream(64)),
    ("stream-1024", Measured::Stream(LARGE)),
    ("datagram-64", Measured::Datagram(64)),
    ("datagram-1024", Measured::Datagram(LARGE)),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, count] = &words[..] {
        let kind = KINDS.iter().find(|(name, _)| name == kind);
        let &(_, measured) = kind.expect("a kind that is measured");
        let count = count.parse().expect("a number of operations");
        let mut ours = Bed::new(measured);
        return (0..count).for_each(|_| ours.operation());
    }
    let rounds = words.first().and_then(|word| word.parse().ok());
    table(rounds.unwrap_or(7));
}

fn table(rounds: usize) {
    println!(
        "CPU ns for a request's round trip (a SEND with its RECV): ringwire in memory, both ends;"
    );
    println!("the kernel's io_uring over loopback, both ends");
    for (name, measured) in KINDS {
        let (mut ours, mut kernel) = (Bed::new(measured), Kernel::new(measured));
        let mut figures = Vec::new();
        for round in 0..rounds + 1 {
            let mine = per_operation(|| ours.operation());
            let other = per_operation(|| kernel.operation());
            // The first one warms up.
            if round > 0 {
                figures.push((mine, other));
            }
        }
        let of = |each: fn(&(f64, f64)) -> f64| median(figures.iter().map(each).collect());
        println!(
            "  {name:14} ringwire {:5.0}  io_uring {:5.0}  ratio {:.2}",
            of(|figure| figure.0),
            of(|figure| figure.1),
            of(|figure| figure.0 / figure.1)
        );
    }
}

fn per_operation(mut operation: impl FnMut()) -> f64 {
    let start = cpu_nanos();
    (0..OPERATIONS).for_each(|_| operation());
    (cpu_nanos() - start) as f64 / OPERATIONS as f64
}

/// The kernel's ring over a pair of loopback sockets, which it has as registered files.
struct Kernel {
    ring: IoUring,
    entries: Vec<squeue::Entry>,
    _memory: [Box<[u8]>; 2],
    _sockets: Vec<loopback::Socket>,
}

impl Kernel {
    fn new(measured: Measured) -> Kernel {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(8)
            .expect("a ring of the kernel's");
        let (sockets, bytes) = match measured {
            Measured::Nop => (Vec::new(), 0),
            Measured::Stream(bytes) => (loopback::streams().into(), bytes),
            Measured::Datagram(bytes) => (loopback::datagrams().into(), bytes),
        };
        let fds: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        if !fds.is_empty() {
            ring.submitter().register_files(&fds).expect("files");
        }
        let from = vec![1; bytes].into_boxed_slice();
        let mut to = vec![0; bytes].into_boxed_slice();
        let entries = match bytes {
            0 => vec![opcode::Nop::new().build()],
            _ => vec![recv(1, &mut to), send(0, &from)],
        };
        Kernel {
            ring,
            entries,
            _memory: [from, to],
            _sockets: sockets,
        }
    }

    fn operation(&mut self) {
        // SAFETY: the buffers live as long as the ring, and each request is waited for.
        unsafe { self.ring.submission().push_multiple(&self.entries) }.expect("room");
        self.ring
            .submit_and_wait(self.entries.len())
            .expect("io_uring_enter");
        self.ring
            .completion()
            .for_each(|cqe| assert!(cqe.result() >= 0, "{cqe:?}"));
    }
}
