//! A program without any capability, whose privileged pieces another process issues: `ringwire run`, and the library's own
//! two halves.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;
use std::{io, thread};

use libtest_mimic::Trial;
use ringwire::{IoUring, Privileges};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::{echo, example};
use ringwire_xsk::{Issuer, Protocol, ReserveConfig};

use crate::program::{BPF, Echo, NET_ADMIN, NET_RAW, PORT, Program, arguments};
use crate::{are_without, echoes, field, has_program, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("a_program_without_any_capability_is_issued_its_own", || {
            serves(&[], libc::SIGINT)
        }),
        trial("and_without_copies_and_ended_by_another_signal", || {
            serves(&["--zero-copy"], libc::SIGTERM)
        }),
        trial("beside_the_kernel_it_is_issued_a_port_below_1024", || {
            beside_the_kernel(&["--bind", "7"], 7)
        }),
        trial("beside_the_kernel_other_ports_need_no_issuer", || {
            beside_the_kernel(&[], PORT)
        }),
        trial("a_port_below_1024_that_was_not_named_is_refused", || {
            let program = Program::plain();
            let veth = Veth::new(1, 1500, true);
            let command = shared(&["--bind", "8"], 7, &program);
            let says = Echo::spawn(&veth, command).failure();
            assert!(says.contains("os error 13"), "{says}");
        }),
        trial("what_was_issued_is_issued_again", again),
        trial("a_port_below_1024_is_reserved_if_it_was_named", low_port),
        trial("icmp_errors_are_issued", icmp_errors),
        trial("with_its_parent_killed_it_is_killed_and_detached", || {
            let (veth, echo, child) = served();
            kill(echo.child.id());
            child.ended();
            detached(&veth);
        }),
        trial("with_it_killed_its_parent_ends_and_it_is_detached", || {
            let (veth, mut echo, child) = served();
            kill(child.pid);
            let status = echo.child.wait().expect("the parent's end");
            assert_eq!(status.code(), Some(128 + libc::SIGKILL));
            detached(&veth);
        }),
        trial("another_interface_is_not_issued", || {
            let program = Program::plain();
            let veth = Veth::new(1, 1500, false);
            let command = issued("lo", ordinary_user(), &program);
            let says = Echo::spawn(&veth, command).failure();
            assert!(says.contains("`--interface rw0`"), "{says}");
        }),
        trial("a_command_that_breaks_the_protocol_goes_on_alone", || {
            // Its end of the socket says when nothing is issued any more.
            let script = "printf x >&$RINGWIRE_ISSUER; read x <&$RINGWIRE_ISSUER; exit 7";
            let says = ended_with(7, &["--user", "65534", "--", "sh", "-c", script]);
            assert!(says.contains("nothing is issued any more"), "{says}");
        }),
        trial("a_command_that_is_not_there_is_named", || {
            let says = ended_with(125, &["--user", "65534", "--", "/no/such/command"]);
            assert!(says.contains("/no/such/command: starting"), "{says}");
        }),
        trial("root_has_to_name_another_user", || {
            let says = ended_with(125, &["--", "true"]);
            assert!(says.contains("--user nobody"), "{says}");
        }),
    ]
}

/// One for each test: what is locked counts for the user, over all its processes.
fn ordinary_user() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(60_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The echo example, as an ordinary user whom a parent issues its privileges. Its UMEM is one of 7 MiB, as a parent
/// without CAP_SYS_RESOURCE cannot raise the limit, which is 8 MiB by default.
fn issued(interface: &str, user: u32, program: &Program) -> Command {
    let mut command = Command::new(example("ringwire"));
    command
        .args(["run", "--interface", interface, "--user"])
        .arg(user.to_string())
        .arg("--")
        .arg(&program.path);
    let mut command = arguments(command);
    command.args(["--rx-chunks", "1024", "--send-chunks", "256"]);
    command
}

/// The same on the kernel's own addresses, with other options of the parent's.
fn shared(options: &[&str], port: u16, program: &Program) -> Command {
    let mut command = Command::new(example("ringwire"));
    command
        .args(["run", "--interface", RING_INTERFACE, "--user"])
        .arg(ordinary_user().to_string())
        .args(options)
        .arg("--")
        .arg(&program.path)
        .args(["--interface", RING_INTERFACE, "--port"])
        .arg(port.to_string())
        .args(["--rx-chunks", "1024", "--send-chunks", "256"]);
    command
}

/// What a parent says that ends with a status.
fn ended_with(status: i32, arguments: &[&str]) -> String {
    let veth = Veth::new(1, 1500, false);
    let mut command = Command::new(example("ringwire"));
    command.args(["run", "--interface", RING_INTERFACE]);
    command.args(arguments);
    let output = veth.in_ring(|| command.output()).expect("the parent");
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{says}");
    says
}

/// The one process that another has started.
struct Child {
    pid: u32,
    process: OwnedFd,
}

impl Child {
    fn of(parent: u32) -> Child {
        let is_it = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            field(&status, "PPid:") == parent.to_string()
        };
        let processes = fs::read_dir("/proc").expect("the processes");
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let pid = numbers.into_iter().find(is_it).expect("a child");
        // SAFETY: numbers are passed; the new descriptor has no other owner.
        let process = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            OwnedFd::from_raw_fd(fd as i32)
        };
        Child { pid, process }
    }

    /// Waits for its end.
    fn ended(&self) {
        let mut poll = libc::pollfd {
            fd: self.process.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one entry, which lives across the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as i32) };
        assert_eq!(ready, 1, "process {} is still there", self.pid);
    }
}

fn kill(pid: u32) {
    // SAFETY: a signal to a process that has not been waited for.
    let sent = unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

/// The kernel frees what a process had while it ends, and shortly after.
fn detached(veth: &Veth) {
    let deadline = Instant::now() + PATIENCE;
    while has_program(veth) {
        assert!(Instant::now() < deadline, "the program is still attached");
        thread::yield_now();
    }
}

/// A server that a parent has started, and that serves.
fn served() -> (Veth, Echo, Child) {
    let program = Program::plain();
    let veth = Veth::new(1, 1500, false);
    let command = issued(RING_INTERFACE, ordinary_user(), &program);
    let mut echo = Echo::spawn(&veth, command);
    echo.listening();
    assert!(has_program(&veth));
    let child = Child::of(echo.child.id());
    (veth, echo, child)
}

fn serves(options: &[&str], signal: i32) {
    let program = Program::plain();
    let veth = Veth::new(2, 1500, false);
    veth.peer_offloads_off();
    let user = ordinary_user();
    let mut command = issued(RING_INTERFACE, user, &program);
    command.args(options);
    let mut echo = Echo::spawn(&veth, command);
    echo.listening();
    let child = Child::of(echo.child.id());
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid));
    are_without(&[status.expect("its status")], user);
    let kept = [NET_RAW, NET_ADMIN, BPF].map(|(bit, _)| 1u64 << bit);
    let kept = format!("{:016x}", kept.iter().sum::<u64>());
    for status in echo.threads() {
        for set in ["CapPrm:", "CapEff:"] {
            assert_eq!(field(&status, set), kept, "{set} {status}");
        }
        assert_eq!(field(&status, "Uid:"), user.to_string());
    }
    echoes(&veth);
    let (status, said) = echo.stop(signal);
    assert!(status.success(), "{said}");
    child.ended();
    assert!(!has_program(&veth), "it is detached");
}

fn beside_the_kernel(options: &[&str], port: u16) {
    let program = Program::plain();
    let veth = Veth::new(1, 1500, true);
    veth.peer_offloads_off();
    let mut echo = Echo::spawn(&veth, shared(options, port, &program));
    echo.listening();
    for (ring, peer) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        let ring: IpAddr = ring.parse().expect("an address");
        let mut back = [0; 16];
        let socket = veth.peer_socket(peer);
        socket.send_to(b"datagram", (ring, port)).expect("it goes");
        assert_eq!(socket.recv(&mut back).expect("an echo"), 8);
        let mut stream = veth
            .in_peer(|| TcpStream::connect((ring, port)))
            .expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(b"stream").expect("it goes");
        stream.read_exact(&mut back[..6]).expect("an echo");
        assert_eq!(&back[..6], b"stream");
    }
    let (status, said) = echo.stop(libc::SIGTERM);
    assert!(status.success(), "{said}");
}

/// Runs something with a thread that has no capability, in the ring's namespace, beside the issuer of its privileges.
fn unprivileged(veth: &Veth, ports: &[u16], run: impl FnOnce(Privileges) + Send) {
    let (issuer, socket) = Issuer::new(RING_INTERFACE, ports).expect("an issuer");
    let privileges = Privileges::from_socket(socket).expect("its other end");
    // Threads begin in this one's namespace.
    veth.in_ring(|| {
        thread::scope(|scope| {
            let served = scope.spawn(move || issuer.serve());
            let asked = scope.spawn(move || {
                give_up_capabilities();
                run(privileges);
            });
            asked.join().expect("what was issued does");
            served.join().expect("the issuer").expect("no error");
        });
    });
}

/// A ring is made, ended and made again, from the same issuer.
fn again() {
    let veth = Veth::new(2, 1500, false);
    let mut ping = veth.in_peer(|| echo::Echo::new(RING_V4));
    unprivileged(&veth, &[], move |privileges| {
        for _ in 0..3 {
            let ring = ring(&privileges);
            ping.ask();
            let deadline = Instant::now() + PATIENCE;
            while !ping.is_answered() {
                assert!(Instant::now() < deadline, "no answer");
                ring.submit().expect("a turn");
            }
        }
    });
}

fn low_port() {
    let veth = Veth::new(1, 1500, true);
    unprivileged(&veth, &[80], |privileges| {
        let reserve = |port| {
            let local: IpAddr = RING_V4.parse().expect("an address");
            privileges.reserve(&ReserveConfig {
                interface: RING_INTERFACE,
                protocol: Protocol::Udp,
                local: (local, port).into(),
                v6_only: false,
                reuse_address: false,
                reuse_port: false,
            })
        };
        let errno = |port| reserve(port).expect_err("no port").raw_os_error();
        let reserved = reserve(80).expect("the port that was named");
        assert_eq!(reserved.port(), 80);
        assert_eq!(errno(80), Some(libc::EADDRINUSE));
        assert_eq!(errno(81), Some(libc::EACCES));
        // Others take no privilege, and nobody is asked.
        assert_eq!(reserve(8080).expect("any port").port(), 8080);
    });
}

fn icmp_errors() {
    let veth = Veth::new(1, 1500, true);
    unprivileged(&veth, &[], |privileges| {
        let errors = privileges.icmp_errors(RING_INTERFACE);
        let mut errors = errors.expect("sockets for ICMP errors");
        // Nobody has the discard port at the peer's, whose kernel says so.
        let socket = UdpSocket::bind((RING_V4, 0)).expect("a socket");
        socket.send_to(b"x", (PEER_V4, 9)).expect("a datagram");
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 1280];
        let error = loop {
            if let Some(error) = errors.next(&mut buffer).expect("no failure") {
                break error;
            }
            assert!(Instant::now() < deadline, "no ICMP error");
            thread::yield_now();
        };
        const PORT_UNREACHABLE: [u8; 2] = [3, 3];
        assert_eq!(error.message[..2], PORT_UNREACHABLE);
    });
}

fn ring(privileges: &Privileges) -> IoUring {
    let mut builder = IoUring::builder();
    builder
        .interface(RING_INTERFACE)
        .address(format!("{RING_V4}/24").parse().expect("an address"))
        .address(format!("{RING_V6}/64").parse().expect("an address"))
        .detect_duplicates(false)
        .privileges(privileges.clone());
    builder.build(8).expect("a ring")
}

/// Of this thread, but CAP_IPC_LOCK, which stands here for a limit that is high enough.
fn give_up_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let kept = 1 << crate::program::IPC_LOCK.0;
    let sets = [[kept, kept, 0u32], [0, 0, 0]];
    // SAFETY: a header and two sets, as capset(2) has them for version 3.
    let status = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}
