//! Which way packets took through the kernel, by probes on its functions
//! (Documentation/trace/kprobetrace.rst): some run only where the driver moves packets between NIC and UMEM itself,
//! others only where the kernel copies them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;

const EVENTS: &str = "/sys/kernel/tracing/kprobe_events";
const ENABLE: &str = "/sys/kernel/tracing/events/zc/enable";
const PROFILE: &str = "/sys/kernel/tracing/kprobe_profile";
const TRACE: &str = "/sys/kernel/tracing/trace";

/// The driver takes its receive buffers from a fill ring (`net/xdp/xsk_buff_pool.c`).
const FILL: &str = "xp_alloc_batch";
/// The driver takes its descriptors from a TX ring (`net/xdp/xsk.c`).
const TRANSMIT: &str = "xsk_tx_peek_release_desc_batch";
/// A received packet is copied into UMEM (`net/xdp/xsk.c`).
const RECEIVE_COPY: &str = "__xsk_rcv";
/// A packet was copied out of UMEM into an skb, which has been freed (`net/xdp/xsk.c`).
const TRANSMIT_COPY: &str = "xsk_destruct_skb";

/// What a driver runs only in zero copy.
fn driver_functions(driver: &str) -> &'static [&'static str] {
    match driver {
        "virtio_net" => &["virtnet_xsk_wakeup"],
        "igb" => &["igb_clean_rx_irq_zc", "igb_xmit_zc"],
        _ => panic!("no function is known of {driver}"),
    }
}

/// A packet is redirected to a socket, its first argument (`net/xdp/xsk.c`).
const REDIRECT: &str = "__xsk_map_redirect";

/// Begins a new trace.
pub fn forget() {
    std::fs::write(TRACE, "").expect("an empty trace");
}

/// To how many sockets packets were redirected since then.
pub fn receiving_sockets() -> usize {
    let trace = std::fs::read_to_string(TRACE).expect("the trace");
    let sockets = trace
        .lines()
        .filter_map(|line| line.split("socket=").nth(1));
    sockets.collect::<BTreeSet<_>>().len()
}

fn set_probe(function: &str, arguments: &str) {
    // A definition is to be written as a whole.
    let definition = format!("p:zc/{function} {function} {arguments}\n");
    let mut events = OpenOptions::new();
    let set = events
        .append(true)
        .open(EVENTS)
        .and_then(|mut events| events.write_all(definition.as_bytes()));
    set.unwrap_or_else(|error| panic!("a probe on {function}: {error}"));
}

/// The probes, set.
pub struct Evidence {
    driver: &'static [&'static str],
}

impl Evidence {
    /// Sets them. The driver is loaded.
    pub fn of(driver: &str) -> Evidence {
        let driver = driver_functions(driver);
        let common = [FILL, TRANSMIT, RECEIVE_COPY, TRANSMIT_COPY];
        for function in driver.iter().chain(&common) {
            set_probe(function, "");
        }
        // By the x86 calling convention.
        set_probe(REDIRECT, "socket=%di");
        std::fs::write(ENABLE, "1").expect("enabled probes");
        Evidence { driver }
    }

    /// How often each function ran so far.
    pub fn read(&self) -> Counts {
        let profile = std::fs::read_to_string(PROFILE).expect("the probes' profile");
        let counts = profile.lines().map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().expect("a name").to_owned();
            let hits = words.next().and_then(|hits| hits.parse().ok());
            (name, hits.expect("a number"))
        });
        Counts {
            driver: self.driver,
            counts: counts.collect(),
        }
    }
}

/// How often each function ran.
pub struct Counts {
    driver: &'static [&'static str],
    counts: BTreeMap<String, u64>,
}

impl Counts {
    fn since(&self, before: &Counts, function: &str) -> u64 {
        self.counts[function] - before.counts[function]
    }

    fn zero_copy(&self) -> impl Iterator<Item = &'static str> {
        self.driver.iter().copied().chain([FILL, TRANSMIT])
    }

    /// Packets went both ways without a copy, and none with one.
    pub fn assert_zero_copy(&self, before: &Counts, check: &str) {
        for function in self.zero_copy() {
            assert!(
                self.since(before, function) > 0,
                "{check}: {function} did not run"
            );
        }
        for function in [RECEIVE_COPY, TRANSMIT_COPY] {
            let ran = self.since(before, function);
            assert_eq!(ran, 0, "{check}: the kernel copied: {function} ran");
        }
    }

    /// The contrary.
    pub fn assert_copy(&self, before: &Counts, check: &str) {
        for function in self.zero_copy() {
            let ran = self.since(before, function);
            assert_eq!(ran, 0, "{check}: {function} ran");
        }
        for function in [RECEIVE_COPY, TRANSMIT_COPY] {
            assert!(
                self.since(before, function) > 0,
                "{check}: {function} did not run"
            );
        }
    }
}

impl fmt::Display for Counts {
    /// The driver's functions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, &function) in self.driver.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{function} {} times", self.counts[function])?;
        }
        Ok(())
    }
}
