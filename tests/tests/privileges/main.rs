//! Which privileges a ring takes, and until when: the echo example is started by an ordinary user, with file
//! capabilities. docs/PRIVILEGES.md has the table.

mod issued;
mod program;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use libtest_mimic::{Arguments, Trial};
use ringwire_tests::net::{PATIENCE, PEER_V4, PEER_V6, RING_INTERFACE, RING_V4, RING_V6, Veth};
use ringwire_tests::{example, privileged};

use program::{
    ALL, BPF, Capability, Echo, IPC_LOCK, NET_ADMIN, NET_RAW, ORDINARY_USER, PORT, Program,
    arguments, folder,
};

/// Connections that are there at once.
const CONNECTIONS: usize = 64;
/// More than fits all the buffers of a connection, so that both ends wait for each other.
const BULK_BYTES: usize = 8 << 20;

fn main() {
    let mut trials = vec![
        trial("an_ordinary_user_serves_without_capabilities", || {
            serves(&[])
        }),
        trial("and_without_copies", || serves(&["--zero-copy"])),
        trial("without_any_the_first_ones_are_named", none),
    ];
    for (left_out, says) in [
        (NET_RAW, "joining a multicast group needs CAP_NET_RAW:"),
        (
            NET_ADMIN,
            "loading the steering program needs CAP_NET_ADMIN:",
        ),
        (BPF, "loading the steering program needs CAP_BPF:"),
        (IPC_LOCK, "(`ulimit -l` allows 65536 without CAP_IPC_LOCK)"),
    ] {
        let name = format!("without_{}_the_error_names_it", left_out.1);
        trials.push(trial(&name, move || names(left_out, says)));
    }
    let user_namespaces = std::fs::read_to_string("/proc/sys/user/max_user_namespaces");
    let some = user_namespaces.is_ok_and(|most| most.trim() != "0");
    let named = trial("a_user_namespace_is_named", user_namespace);
    trials.push(named.with_ignored_flag(!some || unable().is_some()));
    trials.extend(issued::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A privileged test that starts a program with file capabilities.
fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    let trial = privileged(name, test);
    match unable() {
        Some(reason) if ringwire_tests::privilege::missing().is_none() => trial
            .with_kind(format!("skipped: {reason}"))
            .with_ignored_flag(true),
        _ => trial,
    }
}

/// Why that cannot be done here.
fn unable() -> Option<&'static str> {
    const CAP_SETGID: u32 = 6;
    const CAP_SETUID: u32 = 7;
    const CAP_SETFCAP: u32 = 31;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let may = field(&status, "CapEff:");
    let may = u64::from_str_radix(may, 16).unwrap_or(0);
    // What the bounding set lacks no file can give.
    let bound = u64::from_str_radix(field(&status, "CapBnd:"), 16).unwrap_or(0);
    let has_all = |set: u64, bits: &[u32]| bits.iter().all(|bit| set >> bit & 1 == 1);
    if !has_all(may, &[CAP_SETGID, CAP_SETUID, CAP_SETFCAP]) {
        return Some("needs CAP_SETGID, CAP_SETUID and CAP_SETFCAP");
    }
    if !has_all(bound, &ALL.map(|(bit, _)| bit)) {
        return Some("needs CAP_BPF and CAP_IPC_LOCK in the bounding set");
    }
    match folder() {
        Some(_) => None,
        None => Some("needs a folder for temporary files that is not mounted nosuid or noexec"),
    }
}

/// The first word of a line of `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next())
        .unwrap_or("")
}

/// All that a server does after its start, and its end, take no capability.
fn serves(options: &[&str]) {
    let veth = Veth::new(2, 1500, false);
    veth.peer_offloads_off();
    let program = Program::with(&ALL);
    let mut echo = program.start(&veth, options);
    let said = echo.listening();
    assert!(said.contains("all capabilities are given up"), "{said}");
    has_none(&echo);
    echoes(&veth);
    has_none(&echo);
    let (status, said) = echo.stop(libc::SIGINT);
    assert!(status.success(), "{said}");
    let expected = 2 * (CONNECTIONS + 1);
    assert!(said.contains(&format!("connections: {expected}")), "{said}");
    assert!(!has_program(&veth), "it is detached");
}

/// Whether the ring's interface has an XDP program.
fn has_program(veth: &Veth) -> bool {
    let show = || {
        Command::new("ip")
            .args(["-d", "link", "show", RING_INTERFACE])
            .output()
    };
    let link = veth.in_ring(show).expect("the ip command");
    String::from_utf8_lossy(&link.stdout).contains("prog/xdp")
}

/// UDP and TCP, by IPv4 and IPv6.
fn echoes(veth: &Veth) {
    for (ring, peer) in [(RING_V4, PEER_V4), (RING_V6, PEER_V6)] {
        let ring: IpAddr = ring.parse().expect("an address");
        datagrams(&veth.peer_socket(peer), ring);
        connections(veth, ring);
        bulk(veth, ring);
    }
}

fn has_none(echo: &Echo) {
    are_without(&echo.threads(), ORDINARY_USER);
}

/// Threads of a user, each by its `/proc/PID/status`.
fn are_without(threads: &[String], user: u32) {
    for status in threads {
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(status, set), "0000000000000000", "{set} {status}");
        }
        assert_eq!(field(status, "NoNewPrivs:"), "1", "{status}");
        assert_eq!(field(status, "Uid:"), user.to_string());
    }
}

fn datagrams(peer: &UdpSocket, ring: IpAddr) {
    let mut back = [0; 2048];
    for len in [1, 100, 1400] {
        let sent = vec![len as u8; len];
        peer.send_to(&sent, (ring, PORT)).expect("the peer sends");
        let len = peer.recv(&mut back).expect("an echo");
        assert_eq!(back[..len], sent);
    }
}

fn connect(veth: &Veth, ring: IpAddr) -> TcpStream {
    let stream = veth.in_peer(|| TcpStream::connect((ring, PORT)));
    let stream = stream.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn connections(veth: &Veth, ring: IpAddr) {
    let mut streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(veth, ring)).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        stream
            .write_all(&[number as u8; 100])
            .expect("the peer sends");
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut back = [0; 100];
        stream.read_exact(&mut back).expect("an echo");
        assert_eq!(back, [number as u8; 100]);
    }
}

fn bulk(veth: &Veth, ring: IpAddr) {
    let mut stream = connect(veth, ring);
    let mut writer = stream.try_clone().expect("a second descriptor");
    let sent: Vec<u8> = (0..BULK_BYTES).map(|at| (at / 7) as u8).collect();
    let mut back = Vec::with_capacity(BULK_BYTES);
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).expect("the peer sends");
            let end = std::net::Shutdown::Write;
            writer.shutdown(end).expect("the end of what is sent");
        });
        stream
            .read_to_end(&mut back)
            .expect("all of it, and the end");
    });
    assert!(
        back == sent,
        "{} of {BULK_BYTES} bytes, or others",
        back.len()
    );
}

fn none() {
    let veth = Veth::new(1, 1500, false);
    let says = Program::with(&[]).start(&veth, &[]).failure();
    assert!(says.contains("needs CAP_BPF and CAP_NET_ADMIN:"), "{says}");
}

fn names(left_out: Capability, error: &str) {
    let veth = Veth::new(1, 1500, false);
    let kept: Vec<Capability> = ALL.into_iter().filter(|one| *one != left_out).collect();
    let says = Program::with(&kept).start(&veth, &[]).failure();
    assert!(says.contains(error), "{says}");
    // And the cure.
    assert!(
        says.contains("setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep"),
        "{says}"
    );
}

/// Who is root there has every capability, and none that counts.
fn user_namespace() {
    let veth = Veth::new(1, 1500, false);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user"])
        .arg(example("echo"));
    let says = Echo::spawn(&veth, arguments(command)).failure();
    assert!(says.contains("the initial user namespace"), "{says}");
}
