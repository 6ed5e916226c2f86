//! RECV_ZC from a peer of the kernel's over a veth pair: bytes are read where the NIC's driver wrote them.

mod receiver;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use receiver::{FIRST, Receiver, SECOND};
use ringwire::{opcode, types};
use ringwire_tests::net::{PATIENCE, Veth};
use ringwire_tests::privileged;
use ringwire_tests::stream::pattern;

const BYTES: usize = 8 << 20;
const CHUNKS: u32 = 1024;

/// A peer that connects, sends this, and closes its side.
fn sender(veth: &Veth, v6: bool, bytes: Vec<u8>) -> JoinHandle<()> {
    veth.peer_thread(move || {
        let mut stream = TcpStream::connect(Receiver::address(v6)).expect("a connection");
        stream
            .set_write_timeout(Some(4 * PATIENCE))
            .expect("a timeout");
        stream.write_all(&bytes).expect("the peer writes");
        stream
            .shutdown(Shutdown::Write)
            .expect("it closes its side");
        // Until the ring closes too.
        let _ = stream.read(&mut [0]);
    })
}

/// Receives all that comes, and gives each part back when it was read; returns the bytes.
fn drain(receiver: &mut Receiver, expected: usize) -> Vec<u8> {
    let (mut bytes, mut lent) = (Vec::with_capacity(expected), Vec::new());
    loop {
        let (parts, end) = receiver.parts();
        assert!(
            !parts.is_empty() || end.is_some(),
            "{} bytes came",
            bytes.len()
        );
        receiver.read(&parts, &mut bytes);
        lent.extend(parts);
        receiver.give_back(&mut lent);
        match end {
            None => {}
            Some(0) => return bytes,
            // More came in one turn than may be lent, or than the queue has room for: all was read by now.
            Some(res) => {
                assert!([-libc::ENOMEM, -libc::ENOSPC].contains(&res), "{res}");
                receiver.receive(FIRST, 0);
            }
        }
    }
}

fn streams_are_read_where_they_lie(v6: bool, mtu: u32) {
    let veth = Veth::new(1, mtu, false);
    let mut receiver = Receiver::new(&veth, CHUNKS, v6);
    let peer = sender(&veth, v6, pattern(1, BYTES));
    receiver.accept(FIRST);
    receiver.receive(FIRST, 0);
    let bytes = drain(&mut receiver, BYTES);
    assert!(bytes == pattern(1, BYTES), "what came is not what was sent");
    let counters = receiver.ring.counters().expect("counters");
    assert_eq!(counters.engine.bad_refills, 0);
    // The window holds fewer frames than may be lent, so that none is ever short.
    assert_eq!(counters.stack.lend_copied_bytes, 0);
    finish(receiver, peer);
}

fn finish(mut receiver: Receiver, peer: JoinHandle<()>) {
    let close = opcode::Close::new(types::Fixed(FIRST)).build();
    assert_eq!(receiver.run(close), 0);
    while !peer.is_finished() {
        receiver.wait(Duration::from_millis(1));
    }
    peer.join().expect("the peer");
}

fn a_limit_ends_a_receive() {
    let veth = Veth::new(1, 1500, false);
    let mut receiver = Receiver::new(&veth, CHUNKS, false);
    let sent = pattern(2, 100_000);
    let peer = sender(&veth, false, sent.clone());
    receiver.accept(FIRST);
    let mut bytes = Vec::new();
    for limit in [1, 999, 10_000] {
        receiver.receive(FIRST, limit);
        let before = bytes.len();
        loop {
            let (mut parts, end) = receiver.parts();
            receiver.read(&parts, &mut bytes);
            receiver.give_back(&mut parts);
            if let Some(res) = end {
                assert_eq!(res, 0);
                break;
            }
        }
        assert_eq!(bytes.len() - before, limit as usize);
    }
    receiver.receive(FIRST, 0);
    bytes.extend(drain(&mut receiver, sent.len()));
    assert!(bytes == sent, "what came is not what was sent");
    finish(receiver, peer);
}

/// An application that keeps all that it is given: its stream stands still, and others go on.
fn a_slow_application_stops_only_itself() {
    let veth = Veth::new(1, 1500, false);
    let mut receiver = Receiver::new(&veth, CHUNKS, false);
    let peer = sender(&veth, false, pattern(3, BYTES));
    receiver.accept(FIRST);
    receiver.receive(FIRST, 0);
    let (mut kept, mut bytes) = (Vec::new(), Vec::new());
    loop {
        let (parts, end) = receiver.parts();
        assert!(
            !parts.is_empty() || end.is_some(),
            "{} parts came",
            kept.len()
        );
        kept.extend(parts);
        match end {
            None => {}
            Some(res) if res == -libc::ENOMEM => break,
            Some(res) => {
                assert_eq!(res, -libc::ENOSPC);
                receiver.receive(FIRST, 0);
            }
        }
    }
    assert!(kept.len() < CHUNKS as usize, "more than there is");
    // Another connection comes, and is served.
    let other = veth.peer_thread(|| {
        let mut stream = TcpStream::connect(Receiver::address(false)).expect("a connection");
        stream
            .set_read_timeout(Some(4 * PATIENCE))
            .expect("a timeout");
        stream.write_all(b"ping").expect("the peer writes");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        answer
    });
    receiver.accept(SECOND);
    let mut ping = [0; 4];
    let slot = types::Fixed(SECOND);
    let recv = opcode::Recv::new(slot, ping.as_mut_ptr(), 4).flags(libc::MSG_WAITALL);
    assert_eq!(receiver.run(recv.build()), 4);
    assert_eq!(
        receiver.run(opcode::Send::new(slot, ping.as_ptr(), 4).build()),
        4
    );
    while !other.is_finished() {
        receiver.wait(Duration::from_millis(1));
    }
    assert_eq!(&other.join().expect("the other peer"), b"ping");
    // What was kept has not changed meanwhile, and the window opens again.
    receiver.read(&kept, &mut bytes);
    receiver.give_back(&mut kept);
    assert!(kept.is_empty());
    receiver.receive(FIRST, 0);
    bytes.extend(drain(&mut receiver, BYTES));
    assert!(bytes == pattern(3, BYTES), "what came is not what was sent");
    finish(receiver, peer);
}

/// It keeps everything, and its ring ends all the same, with a reset for the peer.
fn a_ring_ends_while_its_frames_are_kept() {
    let veth = Veth::new(1, 1500, false);
    let mut receiver = Receiver::new(&veth, CHUNKS, false);
    let peer = veth.peer_thread(|| {
        let mut stream = TcpStream::connect(Receiver::address(false)).expect("a connection");
        stream
            .set_write_timeout(Some(4 * PATIENCE))
            .expect("a timeout");
        let bytes = pattern(4, BYTES);
        stream
            .write_all(&bytes)
            .expect_err("nobody reads it all")
            .kind()
    });
    receiver.accept(FIRST);
    receiver.receive(FIRST, 0);
    while receiver.parts().1 != Some(-libc::ENOMEM) {}
    drop(receiver);
    let kind = peer.join().expect("the peer");
    let gone = [
        std::io::ErrorKind::ConnectionReset,
        std::io::ErrorKind::BrokenPipe,
    ];
    assert!(gone.contains(&kind), "{kind:?}");
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = Vec::new();
    for (v6, family) in [(false, "ipv4"), (true, "ipv6")] {
        for mtu in [1500, 9000] {
            trials.push(privileged(
                &format!("streams_are_read_where_they_lie_{family}_mtu_{mtu}"),
                move || streams_are_read_where_they_lie(v6, mtu),
            ));
        }
    }
    trials.push(privileged("a_limit_ends_a_receive", a_limit_ends_a_receive));
    trials.push(privileged(
        "a_slow_application_stops_only_itself",
        a_slow_application_stops_only_itself,
    ));
    trials.push(privileged(
        "a_ring_ends_while_its_frames_are_kept",
        a_ring_ends_while_its_frames_are_kept,
    ));
    libtest_mimic::run(&arguments, trials).exit();
}
