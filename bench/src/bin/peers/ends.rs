//! The two ends of a bulk transfer: a ring's and the kernel's, as sender and as receiver.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringwire::{IoUring, opcode};
use ringwire_tests::stream::{CONNECTION, wait};

const BUFFER_BYTES: usize = 256 << 10;
/// How often an end that waits looks whether the time is over.
const TICK: Duration = Duration::from_millis(20);

/// Sends until `stop` is set.
pub fn ring_sends(ring: &mut IoUring, stop: &AtomicBool) {
    let buffer = vec![0x5a; BUFFER_BYTES];
    let send = opcode::Send::new(CONNECTION, buffer.as_ptr(), BUFFER_BYTES as u32)
        .flags(libc::MSG_WAITALL)
        .build();
    // One is queued while the other is being sent.
    let mut missing = 2;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..missing {
            // SAFETY: the buffer outlives the ring's use of it: SEND copies when it is submitted, and
            // what still waits is never looked at again once no call on the ring is made.
            unsafe { ring.submission().push(&send) }.expect("room in the queue");
        }
        missing = 0;
        wait(ring, TICK);
        for cqe in ring.completion() {
            assert!(cqe.result() > 0, "SEND: {}", cqe.result());
            missing += 1;
        }
    }
}

/// Receives for so long; how many bytes.
pub fn ring_receives(ring: &mut IoUring, run: Duration) -> u64 {
    let mut buffer = vec![0; BUFFER_BYTES];
    let receive = opcode::Recv::new(CONNECTION, buffer.as_mut_ptr(), BUFFER_BYTES as u32).build();
    let (start, mut bytes, mut waiting) = (Instant::now(), 0, false);
    while start.elapsed() < run {
        if !waiting {
            // SAFETY: the buffer outlives the last call on the ring.
            unsafe { ring.submission().push(&receive) }.expect("room in the queue");
            waiting = true;
        }
        wait(ring, TICK);
        for cqe in ring.completion() {
            assert!(cqe.result() > 0, "RECV: {}", cqe.result());
            bytes += cqe.result() as u64;
            waiting = false;
        }
    }
    bytes
}

/// Sends until `stop` is set.
pub fn kernel_sends(mut stream: TcpStream, stop: &AtomicBool) {
    stream.set_write_timeout(Some(TICK)).expect("a timeout");
    let buffer = vec![0x5a; BUFFER_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&buffer) {
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("the kernel's sender: {error}"),
        }
    }
}

/// Receives for so long; how many bytes. The stream stays open: a sender that is not told yet goes on.
pub fn kernel_receives(stream: &mut TcpStream, run: Duration) -> u64 {
    stream.set_read_timeout(Some(TICK)).expect("a timeout");
    let mut buffer = vec![0; BUFFER_BYTES];
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < run {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the stream has ended"),
            Ok(count) => bytes += count as u64,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => panic!("the kernel's receiver: {error}"),
        }
    }
    bytes
}
