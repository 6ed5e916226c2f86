//! One transfer through one impairment, in namespaces of its own.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringwire::RxChecksum;
use ringwire_tests::impair::Impairment;
use ringwire_tests::middlebox::Report;
use ringwire_tests::net::{Middle, PEER_V4, RING_V4, Veth, name_of};
use ringwire_tests::stream::{connect, outlive, ring};

use crate::ends::{kernel_receives, kernel_sends, ring_receives, ring_sends};

/// What stands at the end that is measured; the other is always the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stack {
    Ringwire,
    Linux,
}

/// What that end does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Sends,
    Receives,
}

/// A transfer's goodput at its receiver, in bits a second, and what the line did.
pub struct Outcome {
    pub goodput: f64,
    pub line: Report,
}

/// Transfers in one direction for so long. `capture` names the files that tcpdump writes at both sides
/// of the line, less their ends.
pub fn run(
    stack: Stack,
    role: Role,
    line: Impairment,
    time: Duration,
    capture: Option<&Path>,
) -> Outcome {
    let (veth, middle) = Veth::impaired(stack == Stack::Linux, line);
    let captures = capture.map(|path| [record(&middle, "m0", path), record(&middle, "m1", path)]);
    let stop = Arc::new(AtomicBool::new(false));
    let bytes = match stack {
        Stack::Ringwire => with_ring(&veth, role, time, &stop),
        Stack::Linux => with_kernel(&veth, role, time, &stop),
    };
    for mut tcpdump in captures.into_iter().flatten() {
        // SAFETY: no memory is concerned; the child has not been waited for.
        unsafe { libc::kill(tcpdump.id() as libc::pid_t, libc::SIGINT) };
        tcpdump.wait().expect("tcpdump ends");
    }
    Outcome {
        goodput: bytes as f64 * 8.0 / time.as_secs_f64(),
        line: middle.middlebox.finish(),
    }
}

fn with_ring(veth: &Veth, role: Role, time: Duration, stop: &Arc<AtomicBool>) -> u64 {
    let mut ring = ring(veth, RxChecksum::Verify);
    let listener = veth.peer_listener(PEER_V4);
    use_cubic(&listener);
    let to = listener.local_addr().expect("an address");
    let accepted = std::thread::spawn(move || listener.accept().expect("a connection").0);
    connect(&mut ring, to);
    let mut peer: TcpStream = outlive(&mut ring, accepted, time);
    let told = stop.clone();
    match role {
        Role::Sends => {
            let receiver = std::thread::spawn(move || {
                let bytes = kernel_receives(&mut peer, time);
                told.store(true, Ordering::Relaxed);
                // The sender may be sending: its peer is closed when it is not.
                (bytes, peer)
            });
            ring_sends(&mut ring, stop);
            receiver.join().expect("the receiver").0
        }
        Role::Receives => {
            let sender = std::thread::spawn(move || kernel_sends(peer, &told));
            let bytes = ring_receives(&mut ring, time);
            stop.store(true, Ordering::Relaxed);
            sender.join().expect("the sender");
            bytes
        }
    }
}

fn with_kernel(veth: &Veth, role: Role, time: Duration, stop: &Arc<AtomicBool>) -> u64 {
    // The sender listens: its connection begins with the listener's CUBIC.
    let listen = |address| TcpListener::bind((address, 0)).expect("a listener");
    let listener = match role {
        Role::Sends => veth.in_ring(|| listen(RING_V4)),
        Role::Receives => veth.in_peer(|| listen(PEER_V4)),
    };
    use_cubic(&listener);
    let address = listener.local_addr().expect("an address");
    let connect = || TcpStream::connect(address).expect("a connection");
    let mut to = match role {
        Role::Sends => veth.in_peer(connect),
        Role::Receives => veth.in_ring(connect),
    };
    let (from, _) = listener.accept().expect("a connection");
    let told = stop.clone();
    let sender = std::thread::spawn(move || kernel_sends(from, &told));
    let bytes = kernel_receives(&mut to, time);
    stop.store(true, Ordering::Relaxed);
    sender.join().expect("the sender");
    bytes
}

/// Gives a listener's connections CUBIC, whatever the machine's default is. They must not begin with another:
/// a socket that BBR has begun goes on pacing under CUBIC.
fn use_cubic(listener: &TcpListener) {
    let cubic = b"cubic";
    // SAFETY: the name is readable for its length.
    let result = unsafe {
        let (fd, name) = (listener.as_raw_fd(), cubic.as_ptr().cast());
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name,
            cubic.len() as u32,
        )
    };
    assert_eq!(result, 0, "the kernel has no CUBIC");
}

/// tcpdump on one of the bridge's interfaces, headers only.
fn record(middle: &Middle, interface: &str, path: &Path) -> Child {
    let child = Command::new("nsenter")
        .arg(format!("--net={}", name_of(&middle.namespace)))
        .args([
            "tcpdump",
            "-i",
            interface,
            "-s",
            "100",
            "--immediate-mode",
            "-w",
        ])
        .arg(format!("{}.{interface}.pcap", path.display()))
        .stderr(Stdio::null())
        .spawn()
        .expect("nsenter and tcpdump");
    // It says nothing that can be waited for; the transfer's beginning is the first to be missed.
    std::thread::sleep(Duration::from_millis(500));
    child
}
