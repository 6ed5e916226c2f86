//! What the kernel's own TCP keeps of its rate while a ring is on the same address: two connections of the kernel's
//! between two namespaces, one to the ring's end and one from it, that live through it all: alone, beside a ring that
//! has nothing to do, beside one that echoes 10,000 datagrams a second, and after that was killed (SIGKILL). Native
//! XDP has veth's other end send no segments beyond the MTU, which alone costs more than half of what comes in.
//!
//!     kernel_tcp [ROUNDS]
//!
//! It needs root, and `echo` beside it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringwire_bench::clock::median;
use ringwire_bench::measure::Pace;
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4, Veth};

const KERNEL_PORT: u16 = 5001;
const RING_PORT: u16 = 5002;
/// How long a connection is measured, and how long what was under way is waited for.
const SPAN: Duration = Duration::from_millis(250);
const SILENCE: Duration = Duration::from_millis(20);
const DATAGRAMS_PER_SECOND: u64 = 10_000;
const PHASES: [&str; 4] = ["alone", "idle ring", "serving ring", "killed"];

/// A connection: who writes, and who reads.
type Way = (TcpStream, TcpStream);

fn main() {
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(5);
    println!(
        "the kernel's TCP on a ring's address: Gbit/s alone, and its part of that beside a ring"
    );
    print!("{:28}", "");
    PHASES.iter().for_each(|phase| print!("{phase:>14}"));
    println!();
    for mode in ["generic", "native"] {
        let veth = Veth::new(1, 1500, true);
        let ways = connect(&veth);
        let measured: Vec<_> = (0..rounds).map(|_| round(&veth, &ways, mode)).collect();
        for (index, way) in ["to the host", "from the host"].iter().enumerate() {
            let of = |phase: usize| measured.iter().map(move |round| round[phase][index]);
            print!("{:28}", format!("{mode}, {way}"));
            print!("{:14.2}", median(of(0).collect()));
            for phase in 1..PHASES.len() {
                let parts = of(phase).zip(of(0)).map(|(beside, alone)| beside / alone);
                print!("{:14.2}", median(parts.collect()));
            }
            println!();
        }
    }
}

/// A connection to the ring's end, and one from it.
fn connect(veth: &Veth) -> [Way; 2] {
    let listener = veth.in_ring(|| TcpListener::bind((RING_V4, KERNEL_PORT)));
    let listener = listener.expect("a listener of the kernel's");
    let connection = || {
        let peer = veth.in_peer(|| TcpStream::connect((RING_V4, KERNEL_PORT)));
        let (ring, _) = listener.accept().expect("a connection");
        (peer.expect("a connection"), ring)
    };
    let ((peer, ring), (other_peer, other_ring)) = (connection(), connection());
    [(peer, ring), (other_ring, other_peer)]
}

/// The rates of both ways in each phase.
fn round(veth: &Veth, ways: &[Way; 2], mode: &str) -> [[f64; 2]; 4] {
    let rates = || ways.each_ref().map(|(from, to)| rate(from, to));
    let alone = rates();
    let ring = Ring::start(veth, mode);
    let idle = rates();
    let serving = while_serving(veth, rates);
    drop(ring);
    [alone, idle, serving, rates()]
}

/// The echo server, which is killed with this.
struct Ring(Child);

impl Ring {
    /// Starts it, and waits until it listens.
    fn start(veth: &Veth, mode: &str) -> Ring {
        let echo = std::env::current_exe().expect("this program's path");
        let mut command = Command::new(echo.with_file_name("echo"));
        command.args(["--interface", RING_INTERFACE, "--xdp-mode", mode, "--port"]);
        command.arg(RING_PORT.to_string()).stdout(Stdio::piped());
        let child = veth.in_ring(|| command.spawn());
        let mut ring = Ring(child.expect("the echo server"));
        let output = ring.0.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(output).lines();
        let listens = lines.any(|line| line.is_ok_and(|line| line.starts_with("listening")));
        assert!(listens, "the echo server ended");
        ring
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Does something while datagrams are echoed.
fn while_serving<T>(veth: &Veth, work: impl FnOnce() -> T) -> T {
    let socket = veth
        .in_peer(|| UdpSocket::bind((PEER_V4, 0)))
        .expect("a socket");
    socket.connect((RING_V4, RING_PORT)).expect("a way");
    socket.set_nonblocking(true).expect("a socket's flag");
    without_checksums(&socket);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let (mut pace, mut echoed) = (Pace::new(DATAGRAMS_PER_SECOND), 0);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..pace.tick() {
                    // A full queue takes nothing, and an echo may be late.
                    let _ = socket.send(b"datagram");
                    echoed += u32::from(socket.recv(&mut [0; 16]).is_ok());
                }
            }
            echoed
        });
        let result = work();
        stop.store(true, Ordering::Relaxed);
        let echoed = load.join().expect("it does not panic");
        assert!(echoed > 0, "the ring echoes");
        result
    })
}

/// On veth a checksum is left to a device that does not write it, and the ring would drop what it is to be of. The
/// connections are to have that offload.
fn without_checksums(socket: &UdpSocket) {
    let on = 1i32;
    let (level, option) = (libc::SOL_SOCKET, libc::SO_NO_CHECK);
    let len = size_of_val(&on) as u32;
    // SAFETY: the value lives across the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            len,
        )
    };
    assert_eq!(set, 0, "SO_NO_CHECK");
}

/// Gbit/s of a connection.
fn rate(mut from: &TcpStream, mut to: &TcpStream) -> f64 {
    to.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let stop = AtomicBool::new(false);
    let mut room = vec![0; 1 << 16];
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let payload = vec![7; 1 << 16];
            while !stop.load(Ordering::Relaxed) {
                from.write_all(&payload).expect("the connection lives");
            }
        });
        let (begun, mut bytes) = (Instant::now(), 0);
        while begun.elapsed() < SPAN {
            bytes += read(&mut to, &mut room);
        }
        let gbit = bytes as f64 * 8.0 / begun.elapsed().as_nanos() as f64;
        stop.store(true, Ordering::Relaxed);
        // What is under way is not the next one's.
        while read(&mut to, &mut room) > 0 || !writer.is_finished() {}
        gbit
    })
}

fn read(from: &mut &TcpStream, room: &mut [u8]) -> usize {
    match from.read(room) {
        Ok(0) => panic!("the connection has ended"),
        Ok(count) => count,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            0
        }
    }
}
