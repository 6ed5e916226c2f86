//! What a ring got, and what it counted.

use std::fmt;
use std::io;

use ringwire_stack::{Counters as StackCounters, PlanLimits, RxChecksum};
use ringwire_xsk::{
    Attached, Features, Interface, Mode, Program, Socket, Statistics, SteerCounters,
};

use crate::builder::ip_mtu;
use crate::engine::{Engine, EngineCounters, LinkState, NicCounters};
use crate::offload::TxChecksum;

/// Where the kernel copies what it is given: bytes from which on a payload goes out beside its headers. It
/// allocates a page for each descriptor behind a packet's first (`xsk_build_skb`); over veth a packet of two takes 1.10
/// to 1.24 times the CPU time of one that was copied into a chunk, and from 4800 bytes on, when the copy is in
/// two chunks as well, 0.90 to 0.99 (`bench/src/bin/scatter.rs`).
const COPY_MODE_SCATTER_FROM: u32 = 4096;

/// [`Report::scatter_from`] where nothing else was asked for.
pub(crate) fn scatter_from(mode: Mode) -> u32 {
    match mode {
        Mode::ZeroCopy => 0,
        Mode::Copy => COPY_MODE_SCATTER_FROM,
    }
}

/// Whose the ring's addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMode {
    /// The ring's alone: it has all ports, and answers ARP, neighbour discovery and ICMP.
    Owned,
    /// The kernel's: the ring has the ports that its sockets use.
    Shared,
}

/// Which mode a ring got, and why not a better one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The interface.
    pub interface: String,
    /// Its driver.
    pub driver: String,
    /// The NIC queues served.
    pub queues: Vec<u32>,
    /// Bytes of the largest IP packet, when the ring was made.
    pub mtu: u16,
    /// Whose the addresses are.
    pub addresses: AddressMode,
    /// Where the steering program runs.
    pub attached: Attached,
    /// Why it does not run in the driver.
    pub native_refused: Option<String>,
    /// How packets get into UMEM.
    pub mode: Mode,
    /// Why the driver does not write there itself.
    pub zero_copy_refused: Option<String>,
    /// Whether packets may span several chunks.
    pub scatter: bool,
    /// Why they may not.
    pub scatter_refused: Option<String>,
    /// Bytes from which on a payload goes out beside its headers rather than copied behind them.
    pub scatter_from: u32,
    /// What the driver says that it can do, whatever was asked for.
    pub features: Features,
    /// Bytes of UMEM.
    pub umem_bytes: usize,
    /// Whether they lie on huge pages.
    pub huge_pages: bool,
    /// What is done about checksums on receive.
    pub rx_checksum: RxChecksum,
    /// Who writes checksums on send.
    pub tx_checksum: TxChecksum,
    /// Why it is not the NIC or the kernel, if that was asked for.
    pub tx_checksum_refused: Option<String>,
    /// What the interface is like now.
    pub link: LinkState,
    /// Whether there are sockets now: not between the end of some and the opening of others.
    pub serving: bool,
    /// Why others could not be opened when they were needed, and what cures it.
    pub lost: Option<String>,
}

impl Report {
    /// Says what an interface and the sockets on it are like.
    pub(crate) fn describe(
        &mut self,
        interface: &Interface,
        sockets: &[Socket],
        scatter_from_bytes: Option<u32>,
    ) {
        // One that copies makes a ring that does.
        let copies = sockets.iter().find(|socket| socket.mode() == Mode::Copy);
        let worst = copies.unwrap_or(&sockets[0]);
        self.driver = interface.driver.clone();
        self.mtu = ip_mtu(interface);
        self.mode = worst.mode();
        self.zero_copy_refused = worst.zero_copy_refused().map(ToString::to_string);
        self.scatter = worst.scatter();
        self.scatter_refused = worst.scatter_refused().map(ToString::to_string);
        self.scatter_from = scatter_from_bytes.unwrap_or(scatter_from(worst.mode()));
        self.features = interface.features();
        self.tx_checksum = match worst.tx_checksum() {
            true => TxChecksum::Offload,
            false => TxChecksum::Software,
        };
        self.tx_checksum_refused = worst.tx_checksum_refused().map(|why| why.to_string());
    }

    /// What packets of several descriptors may be.
    pub(crate) fn plan_limits(&self) -> PlanLimits {
        let most = match self.mode {
            _ if !self.scatter => 1,
            // The driver's limit counts descriptors; without one it is the kernel's of copied packets.
            Mode::ZeroCopy => self.features.zero_copy_segments.unwrap_or(1),
            Mode::Copy => PlanLimits::SCATTER.descriptors,
        };
        PlanLimits {
            descriptors: most.clamp(1, PlanLimits::SCATTER.descriptors),
            scatter_from_bytes: self.scatter_from,
            headroom: self.tx_checksum.headroom(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let because = |reason: &Option<String>| {
            reason
                .as_ref()
                .map_or(String::new(), |reason| format!(" ({reason})"))
        };
        let mode = match self.mode {
            Mode::ZeroCopy => "zero copy".to_owned(),
            Mode::Copy => format!("copy{}", because(&self.zero_copy_refused)),
        };
        let attached = match self.attached {
            Attached::Native => "native".to_owned(),
            Attached::Generic => format!("generic{}", because(&self.native_refused)),
        };
        writeln!(
            f,
            "interface {} (driver {}), queues {:?}, MTU {}",
            self.interface, self.driver, self.queues, self.mtu
        )?;
        writeln!(f, "AF_XDP {mode}; XDP program {attached}")?;
        match self.addresses {
            AddressMode::Owned => writeln!(f, "addresses: the ring's own")?,
            AddressMode::Shared => writeln!(f, "addresses: shared with the kernel")?,
        }
        writeln!(f, "driver: {}", Offers(&self.features))?;
        let pages = if self.huge_pages {
            "huge pages"
        } else {
            "ordinary pages: no huge ones are free"
        };
        let scatter = match self.scatter {
            true => "yes".to_owned(),
            false => format!("no{}", because(&self.scatter_refused)),
        };
        writeln!(f, "packets over several chunks: {scatter}")?;
        match self.plan_limits().descriptors {
            1 => writeln!(f, "sends without a copy: from slots")?,
            most => {
                let least = match self.scatter_from {
                    0 => String::new(),
                    bytes => format!(" from {bytes} bytes on"),
                };
                writeln!(
                    f,
                    "sends without a copy: from slots, and in up to {most} descriptors{least}"
                )?;
            }
        }
        writeln!(f, "UMEM {} KiB on {pages}", self.umem_bytes / 1024)?;
        writeln!(f, "checksums on receive: {:?}", self.rx_checksum)?;
        let written = match (self.tx_checksum, self.mode) {
            (TxChecksum::Software, _) => "software",
            (TxChecksum::Offload, Mode::ZeroCopy) => "by the NIC",
            (TxChecksum::Offload, Mode::Copy) => "by the kernel or the NIC",
        };
        let refused = because(&self.tx_checksum_refused);
        write!(f, "checksums on send: {written}{refused}")?;
        if self.tx_checksum == TxChecksum::Offload && self.driver == "veth" {
            let cure = format!("ethtool -K {} tx off", self.interface);
            write!(f, "; on veth by neither, unless `{cure}`")?;
        }
        let link = match self.link {
            LinkState::Up => None,
            LinkState::NoCarrier => Some("it has no carrier"),
            LinkState::Down => Some("it is down"),
            LinkState::Removed => Some("it is gone"),
        };
        if let Some(link) = link {
            write!(f, "\nthe interface does not serve now: {link}")?;
        }
        match &self.lost {
            Some(why) => write!(f, "\nnew sockets are needed and cannot be had: {why}"),
            None if !self.serving => write!(f, "\nnew sockets are being opened"),
            None => Ok(()),
        }
    }
}

/// What the driver offers, in words.
struct Offers<'a>(&'a Features);

impl fmt::Display for Offers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features = self.0;
        if let Some(reason) = &features.unknown {
            return write!(f, "the kernel does not say what it offers ({reason})");
        }
        let offered = |offer| match offer {
            Some(true) => "offered",
            Some(false) => "not offered",
            None => "not known",
        };
        write!(f, "zero copy {}", offered(features.zero_copy))?;
        if let Some(segments) = features.zero_copy_segments {
            let plural = if segments == 1 { "" } else { "s" };
            write!(f, ", {segments} chunk{plural} a packet")?;
        }
        write!(f, "; TX checksums {}", offered(features.tx_checksum))
    }
}

/// What was counted since a ring was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Requests, completions, turns.
    pub engine: EngineCounters,
    /// AF_XDP rings.
    pub nic: NicCounters,
    /// Packets and datagrams.
    pub stack: StackCounters,
    /// The XDP program.
    pub steering: SteerCounters,
    /// The kernel's side of each queue's socket.
    pub sockets: Vec<Statistics>,
}

impl Counters {
    pub(crate) fn read(
        engine: &Engine,
        program: &Program,
        sockets: &[Socket],
    ) -> io::Result<Counters> {
        Ok(Counters {
            engine: engine.counters(),
            nic: engine.nic_counters(),
            stack: engine.stack().counters(),
            steering: program.counters().map_err(io::Error::other)?,
            sockets: sockets
                .iter()
                .map(Socket::statistics)
                .collect::<io::Result<_>>()?,
        })
    }
}

impl fmt::Display for Counters {
    /// The figures that say how it went; `Debug` has them all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (engine, stack) = (&self.engine, &self.stack);
        writeln!(
            f,
            "packets: {} received, {} sent",
            stack.rx_packets, stack.tx_packets
        )?;
        writeln!(
            f,
            "datagrams: {} received, {} sent",
            stack.rx_datagrams, stack.tx_datagrams
        )?;
        writeln!(
            f,
            "TCP: {} connections, {} failed; segments: {} received, {} sent, {} refused",
            stack.tcp_established,
            stack.tcp_failed,
            stack.tcp_rx_segments,
            stack.tcp_tx_segments,
            stack.tcp_refused
        )?;
        writeln!(
            f,
            "requests: {} submitted, {} completions",
            engine.submitted, engine.completed
        )?;
        let dropped: u64 = self
            .sockets
            .iter()
            .map(|queue| queue.rx_dropped + queue.rx_ring_full)
            .sum();
        write!(
            f,
            "turns: {} ({} late); dropped before the stack: {dropped}",
            engine.turns, engine.late_turns
        )?;
        let lost = stack.hand_over_dropped;
        if stack.handed_over + stack.taken_over + lost > 0 {
            write!(
                f,
                "\nbetween engines: {} packets handed over, {} taken over, {lost} lost",
                stack.handed_over, stack.taken_over
            )?;
        }
        if stack.rx_partial_checksum > 0 {
            write!(
                f,
                "\n{} packets dropped with a partial checksum: the sender is a kernel on this machine; cure: \
                 `ethtool -K PEER tx off`, or RxChecksum::AcceptPartial",
                stack.rx_partial_checksum
            )?;
        }
        if stack.rx_unsegmented > 0 {
            write!(
                f,
                "\n{} packets dropped that are several datagrams: the sender is a kernel on this machine; cure: \
                 `ethtool -K PEER tx-udp-segmentation off`",
                stack.rx_unsegmented
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
