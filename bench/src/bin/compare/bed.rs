//! Two network namespaces and a veth pair between them, for one contestant.

use std::fs;
use std::process::Command;

use ringwire_bench::sink::Sink;
use ringwire_tests::net::{PEER_V4, RING_INTERFACE, RING_V4, Veth, ip};
use ringwire_xsk::Interface;

/// What the two ends of a pair are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BedKind {
    pub mtu: u32,
    /// The contestant's end has a kernel address: the contestant runs on the kernel's stack.
    pub kernel: bool,
    /// The kernels' ends compute their checksums and send no packet longer than the MTU (`ethtool -K ... tx off gso
    /// off gro off`). They do where the other end is no kernel, which otherwise would have to make up for it.
    pub offloads_off: bool,
    /// The load's end drops what it receives, by XDP.
    pub drops: bool,
}

impl BedKind {
    /// In words, for the report.
    pub fn describe(&self) -> String {
        let offloads = match (self.offloads_off, self.kernel) {
            (false, _) => "default offloads at both ends (partial checksums, TSO, GSO)",
            (true, false) => "the load's end without offloads (ethtool -K tx off gso off gro off)",
            (true, true) => "both ends without offloads (ethtool -K tx off gso off gro off)",
        };
        let drops = if self.drops { ", XDP_DROP there" } else { "" };
        format!("MTU {}, {offloads}{drops}", self.mtu)
    }
}

/// The pair.
pub struct Bed {
    pub veth: Veth,
    _sink: Option<Sink>,
}

/// Where connections of short life come from, beside the load's own address.
const SOURCES: std::ops::Range<u8> = 100..108;

/// Those addresses, as the load takes them.
pub fn sources() -> String {
    let address = |last| format!("10.7.0.{last}");
    SOURCES.map(address).collect::<Vec<_>>().join(",")
}

impl Bed {
    /// Makes it.
    ///
    /// # Panics
    /// Without the privilege to, or without `ip`.
    pub fn new(kind: BedKind) -> Bed {
        let veth = Veth::new(1, kind.mtu, kind.kernel);
        if kind.offloads_off {
            veth.peer_offloads_off();
        }
        if kind.offloads_off && kind.kernel {
            veth.ring_offloads_off();
        }
        let mac = |name| {
            let interface = Interface::by_name(name).expect("an end of the pair");
            interface.mac.map(|byte| format!("{byte:02x}")).join(":")
        };
        let ring_mac = veth.in_ring(|| mac(RING_INTERFACE));
        let peer_mac = veth.in_peer(|| mac("rw1"));
        if kind.kernel {
            // An end that drops all answers no ARP.
            let command = format!("neigh replace {PEER_V4} lladdr {peer_mac} dev rw0");
            veth.in_ring(|| ip(&command));
        }
        veth.in_peer(|| {
            // A raw loop answers no ARP.
            let mut commands = format!("neigh replace {RING_V4} lladdr {ring_mac} dev rw1\n");
            for last in SOURCES {
                commands += &format!("addr add 10.7.0.{last}/24 dev rw1\n");
            }
            ip(&commands);
            for (name, value) in [
                ("ip_local_port_range", "1024 65535"),
                ("tcp_max_syn_backlog", "4096"),
                ("tcp_tw_reuse", "1"),
            ] {
                set(name, value);
            }
        });
        veth.in_ring(|| set("tcp_max_syn_backlog", "4096"));
        let sink = kind.drops.then(|| {
            veth.in_peer(|| {
                let peer = Interface::by_name("rw1").expect("the peer's interface");
                Sink::attach(peer.index).expect("an XDP program that drops")
            })
        });
        Bed { veth, _sink: sink }
    }

    /// Packets that have arrived at the load's end.
    pub fn arrived(&self) -> u64 {
        self.veth.in_peer(|| {
            let output = Command::new("ip")
                .args(["-s", "-j", "link", "show", "rw1"])
                .output();
            let output = output.expect("the ip command").stdout;
            let value: serde_json::Value = serde_json::from_slice(&output).expect("its JSON");
            value[0]["stats64"]["rx"]["packets"].as_u64().unwrap_or(0)
        })
    }
}

/// Sets something of this thread's namespace; what a kernel does not have is left.
fn set(name: &str, value: &str) {
    let _ = fs::write(format!("/proc/sys/net/ipv4/{name}"), value);
}
