//! What the tests that need privileges share: network namespaces of their own, and packets.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Failed, Trial};
use ringwire_umem::{Layout, Umem};
use ringwire_xsk::{BindMode, Interface, Privileges, QueueConfig, Rings, Socket};

pub const CHUNK: u32 = 4096;
pub const RING: u32 = 64;

pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
#[allow(dead_code)] // Of the two tests that share this file, one needs these.
pub const CAP_IPC_LOCK: u32 = 14;
#[allow(dead_code)]
pub const CAP_BPF: u32 = 39;
/// unshare(2), setns(2), and bpf(2) on kernels that have no CAP_BPF.
pub const CAP_SYS_ADMIN: u32 = 21;

/// A test that runs on a thread in a new network namespace; ignored where that cannot be made.
pub fn trial(name: &'static str, test: fn()) -> Trial {
    let able = [CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN]
        .into_iter()
        .all(has_capability);
    let trial = Trial::test(name, move || in_namespace(test)).with_ignored_flag(!able);
    if able {
        trial
    } else {
        trial.with_kind("needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_SYS_ADMIN")
    }
}

fn has_capability(capability: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits & (1 << capability) != 0)
}

/// Leaves this thread these capabilities of those that it has (capset(2)).
#[allow(dead_code)]
pub fn keep_capabilities(kept: &[u32]) {
    let set: u64 = kept.iter().map(|capability| 1u64 << capability).sum();
    /// `struct __user_cap_header_struct`.
    #[repr(C)]
    struct Header(u32, i32);
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header(VERSION_3, 0);
    let words = [set as u32, (set >> 32) as u32];
    // Effective, permitted, inheritable.
    let data = words.map(|word| [word, word, 0]);
    // SAFETY: the structs are as capset(2) has them for version 3.
    let status = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    assert_eq!(status, 0, "capset: {}", std::io::Error::last_os_error());
}

fn in_namespace(test: fn()) -> Result<(), Failed> {
    let on_its_own_thread = thread::spawn(move || {
        // SAFETY: no memory is passed; only this thread changes its namespace.
        let status = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(status, 0, "unshare: {}", std::io::Error::last_os_error());
        test();
    });
    on_its_own_thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Failed::from(text.unwrap_or("the test panicked"))
    })
}

/// Runs a command in this thread's namespace.
pub fn run(command: &str) -> String {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes the pair `local` and `peer` with two queues each, not up yet. Without IPv6 the kernel sends
/// nothing of its own on them.
pub fn veth() -> Interface {
    run(
        "ip link add local numtxqueues 2 numrxqueues 2 type veth peer name peer numtxqueues 2 numrxqueues 2",
    );
    for end in ["local", "peer"] {
        let switch = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
        if std::fs::exists(&switch).unwrap_or(false) {
            std::fs::write(switch, "1").unwrap();
        }
    }
    Interface::by_name("local").unwrap()
}

/// A UMEM whose first 128 chunks are for receiving, 64 for each of two queues, and the rest for sending.
pub fn umem() -> Arc<Umem> {
    let layout = Layout {
        chunk_bytes: CHUNK,
        rx_chunks: 2 * RING,
        header_chunks: 0,
        send_chunks: 16,
        lend_reserve_chunks: 0,
        areas: Vec::new(),
    };
    Umem::new(layout).unwrap()
}

/// The addresses of the 64 RX chunks of queue 0 or 1.
pub fn fill(queue: u64) -> Vec<u64> {
    (0..u64::from(RING))
        .map(|chunk| (queue * u64::from(RING) + chunk) * u64::from(CHUNK))
        .collect()
}

/// A configuration that asks for the best.
pub fn config<'a>(
    interface: &'a Interface,
    queue: u32,
    umem: &'a Arc<Umem>,
    fill: &'a [u64],
) -> QueueConfig<'a> {
    QueueConfig {
        ifindex: interface.index,
        ifname: &interface.name,
        queue,
        umem,
        shared_with: None,
        rx_entries: RING,
        tx_entries: RING,
        fill_entries: RING,
        completion_entries: RING,
        fill,
        mode: BindMode::Auto,
        scatter: true,
        tx_checksum: false,
        privileges: Privileges::default(),
    }
}

/// The first socket over a UMEM.
pub fn open(interface: &Interface, queue: u32, umem: &Arc<Umem>) -> (Socket, Rings) {
    Socket::open(&config(interface, queue, umem, &fill(0))).unwrap()
}

/// An Ethernet header between made-up stations.
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet with some 4-byte words of options; `fragment` is the flags and offset field.
pub fn ipv4(
    dest: Ipv4Addr,
    protocol: u8,
    fragment: u16,
    options: usize,
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45 + options as u8, 0];
    packet.extend((20 + 4 * options as u16 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 99]);
    packet.extend(dest.octets());
    packet.extend(vec![1; 4 * options]);
    packet.extend(payload);
    packet
}

/// A UDP datagram; its first four bytes serve as a TCP header's ports, too.
pub fn udp(source: u16, dest: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let mut datagram = Vec::new();
    for field in [source, dest, len, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}
