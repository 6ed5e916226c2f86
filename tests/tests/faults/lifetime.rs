//! Threads, sudden deaths, and what is left behind.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ringwire::{opcode, types};
use ringwire_tests::net::{PATIENCE, RING_INTERFACE, RING_V4, Veth};

use crate::rig::{Buffers, ECHO_PORT, Message, Rig, TEST, builder, exchange};

/// The echo example, if it was built beside this test.
pub fn echo_binary() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    let path = this.parent()?.parent()?.join("echo");
    path.is_file().then_some(path)
}

/// A process killed without warning leaves nothing behind: the program is gone, the queue is free.
pub fn killed() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let binary = echo_binary().expect("looked for before");
    let port = ECHO_PORT.to_string();
    let address = format!("{RING_V4}/24");
    let mut command = Command::new(binary);
    command
        .args(["--interface", RING_INTERFACE, "--address", &address])
        .args(["--port", &port, "--rx-csum", "accept_partial", "--no-dad"])
        .stdout(Stdio::piped());
    let mut child = veth.in_ring(|| command.spawn().expect("the echo example"));
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let mut lines = output.lines().map_while(Result::ok);
    let listening = lines.any(|line| line.starts_with("listening"));
    if listening {
        exchange(&peer);
        assert!(attached(&veth), "a program is attached while it serves");
    }
    child.kill().expect("a kill");
    child.wait().expect("its end");
    assert!(listening, "the echo example did not start");
    let end = Instant::now() + PATIENCE;
    while attached(&veth) {
        assert!(Instant::now() < end, "the program outlives its process");
        std::thread::yield_now();
    }
    Rig::new(&veth, &builder(), 16).exchange(&peer);
}

fn attached(veth: &Veth) -> bool {
    let output = veth.in_ring(|| {
        let mut command = Command::new("ip");
        command.args(["-d", "link", "show", RING_INTERFACE]).output().expect("ip link")
    });
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).contains("xdp")
}

/// A ring dropped with requests in flight gives its interface up at once.
pub fn dropped_in_flight() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut message = Message::new(2048);
    for _ in 0..3 {
        let mut rig = Rig::new(&veth, &builder(), 16);
        rig.exchange(&peer);
        let buffers = Buffers::register(&rig, 4);
        let multi = opcode::RecvMulti::new(TEST, Buffers::GROUP).build();
        rig.push(&multi.user_data(1));
        rig.push(&message.receive(TEST).user_data(2));
        let hour = types::Timespec::new().sec(3600);
        rig.push(&opcode::Timeout::new(&raw const hour).build().user_data(3));
        rig.ring.submit().expect("a submit");
        let poll = opcode::PollAdd::new(TEST, libc::POLLIN as u32).build();
        rig.push(&poll.user_data(4)); // never submitted
        drop(rig);
        drop(buffers);
    }
}

/// While one thread waits inside the ring, another gets EEXIST; once it is out, it does not.
pub fn second_thread() {
    let veth = Veth::new(1, 1500, false);
    let peer = veth.peer_socket("10.7.0.1");
    let mut rig = Rig::new(&veth, &builder(), 16);
    rig.exchange(&peer);
    let mut message = Message::new(2048);
    let entry = message.receive(TEST).user_data(1);
    rig.push(&entry);
    rig.ring.submit().expect("a submit");
    let ring = &rig.ring;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || wait_inside(ring));
        let end = Instant::now() + PATIENCE;
        let refused = loop {
            match ring.submit() {
                Err(error) => break error.raw_os_error(),
                Ok(_) if Instant::now() > end => break None,
                Ok(_) => std::thread::yield_now(),
            }
        };
        peer.send_to(b"wake", (RING_V4, crate::rig::TEST_PORT))
            .expect("a datagram");
        waiting.join().expect("the waiting thread");
        assert_eq!(refused, Some(libc::EEXIST));
    });
    ring.submit().expect("nobody is inside now");
}

/// Waits for a completion. The other thread may be inside just now, for a moment.
fn wait_inside(ring: &ringwire::IoUring) {
    let timeout = types::Timespec::from(PATIENCE);
    let args = types::SubmitArgs::new().timespec(&timeout);
    let end = Instant::now() + PATIENCE + Duration::from_secs(1);
    loop {
        match ring.submitter().submit_with_args(1, &args) {
            Ok(_) => return,
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) && Instant::now() < end => {}
            Err(error) => panic!("waiting inside the ring: {error}"),
        }
    }
}

/// With a single issuer every other thread gets EEXIST, also when nobody is inside.
pub fn single_issuer() {
    let veth = Veth::new(1, 1500, false);
    let rig = Rig::new(&veth, builder().setup_single_issuer(), 16);
    let ring = &rig.ring;
    let refused = std::thread::scope(|scope| {
        scope
            .spawn(|| ring.submit().map_err(|error| error.raw_os_error()))
            .join()
            .expect("the other thread")
    });
    assert_eq!(refused, Err(Some(libc::EEXIST)));
    ring.submit().expect("the issuer may");
}
