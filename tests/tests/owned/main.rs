//! The safe layer on a real ring over veth: what operations are given comes back, and nothing is freed before.

mod buffers;
mod lending;
mod memory;
mod operations;

use std::time::Duration;

use libtest_mimic::Arguments;
use ringwire::owned::{Completed, Ring, Socket};
use ringwire::{Builder, IoUring};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::privileged;

/// The port that the ring's sockets have.
const PORT: u16 = 7000;
/// The `user_data` of what a test waits for at once.
const STEP: u64 = u64::MAX;

/// A pair of namespaces, and a ring at its end.
struct Bed {
    // Dropped before its interface.
    ring: Ring,
    veth: Veth,
}

impl Bed {
    fn new() -> Bed {
        Bed::with_entries(64)
    }

    fn with_entries(entries: u32) -> Bed {
        let veth = Veth::new(1, 1500, false);
        veth.peer_offloads_off();
        let ring = veth.in_ring(|| Ring::new(&builder(), entries, 8));
        Bed {
            ring: ring.expect("a ring"),
            veth,
        }
    }

    /// The next completion, which must come soon.
    fn next(&mut self) -> Completed {
        let start = std::time::Instant::now();
        loop {
            if let Some(completed) = self.ring.completion() {
                return completed;
            }
            assert!(start.elapsed() < PATIENCE, "no completion");
            let submitted = self
                .ring
                .submit_and_wait(1, Some(Duration::from_millis(100)));
            submitted.expect("a turn");
        }
    }

    /// The result of the one operation that was queued.
    fn step(&mut self) -> u32 {
        let completed = self.next();
        assert_eq!(completed.user_data, STEP);
        completed.result.expect("the operation succeeds")
    }

    /// A socket that is bound to the port, for both families.
    fn socket(&mut self, kind: i32) -> Socket {
        let queued = self.ring.socket(STEP, libc::AF_INET6, kind);
        queued.expect("room");
        let socket = self.next().socket().expect("a socket");
        let any = format!("[::]:{PORT}").parse().expect("an address");
        self.ring.bind(STEP, socket, any).expect("room");
        self.step();
        socket
    }

    /// A listener, and a connection of the peer's to it: ours, and the peer's.
    fn connection(&mut self) -> (Socket, std::net::TcpStream) {
        let listener = self.socket(libc::SOCK_STREAM);
        self.ring.listen(STEP, listener, 1).expect("room");
        self.step();
        self.ring.accept(STEP, listener).expect("room");
        let peer = self.veth.peer_thread(|| {
            let stream = std::net::TcpStream::connect((RING_V4, PORT)).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            stream
        });
        let accepted = self.next();
        let from = accepted.address.expect("who connected");
        let stream = peer.join().expect("the peer's thread");
        let peer = stream.local_addr().expect("an address");
        assert_eq!(
            (from.ip().to_canonical(), from.port()),
            (peer.ip(), peer.port())
        );
        (accepted.socket().expect("a connection"), stream)
    }
}

fn builder() -> Builder {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .detect_duplicates(false);
    builder
}

fn errno(completed: &Completed) -> Option<i32> {
    completed.result.as_ref().err()?.raw_os_error()
}

fn main() {
    let cases = operations::CASES
        .iter()
        .chain(buffers::CASES)
        .chain(memory::CASES)
        .chain(lending::CASES);
    let trials = cases.map(|&(name, case)| privileged(name, case)).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
