//! What a run has met with: that a sweep has seen every fault is itself to be seen.

use std::fmt;
use std::ops::AddAssign;

macro_rules! coverage {
    ($($(#[$doc:meta])* $name:ident: $label:literal,)*) => {
        /// How often each kind of fault happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Coverage {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Coverage {
            /// Every kind of fault, by the name that people know it by, with its count.
            pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$name),)*].into_iter()
            }
        }

        impl AddAssign for Coverage {
            fn add_assign(&mut self, other: Coverage) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

coverage! {
    /// Packets lost on the wire.
    lost: "lost",
    /// Packets doubled.
    duplicated: "duplicated",
    /// Packets delayed past others.
    reordered: "reordered",
    /// Packets with a flipped bit.
    corrupted: "corrupted",
    /// Packets that found the bottleneck's queue full.
    overflowed: "queue overflows",
    /// Times that the wire was cut.
    partitions: "partitions",
    /// Packets lost to that.
    cut_off: "cut off",
    /// Times that the path's MTU changed.
    mtu_changes: "MTU changes",
    /// Packets that exceeded it.
    too_big: "too big",
    /// Of those, the ones that the path reported by ICMP.
    too_big_reported: "too big, reported",
    /// Kicks that the kernel did not hear.
    unheard_kicks: "unheard kicks",
    /// Steps in which the kernel kept to itself what it had sent.
    late_completions: "late completions",
    /// Packets whose return the kernel reported behind that of the next.
    disordered: "out of order",
    /// Returns that the kernel reported of what it had not been given.
    wrong_completions: "wrong completions",
    /// Descriptors that never came back.
    lost_descriptors: "lost descriptors",
    /// Descriptors for registered areas: what was sent from where it lay.
    described: "described",
    /// Those that were handed over when their ring was gone.
    described_at_exit: "of which at exit",
    /// Zero-copy sends from the UMEM that said so.
    uncopied: "uncopied",
    /// Those that said that they were copied, or did not say.
    maybe_copied: "maybe copied",
    /// Zero-copy sends that were bound to slots, of the sets that were notified of.
    bound: "bound to slots",
    /// Of them, those that completed in silence.
    bound_silently: "of which silent",
    /// Those that were to flush their slot.
    bound_flushing: "of which flushing",
    /// Notifications of slots.
    slots_told: "slot notifications",
    /// Of them, those that were for several sends.
    slots_told_of_several: "of several sends",
    /// The same of hostile requests.
    hostile_slots_told: "slot notifications of hostile sends",
    /// Times that all slots were registered anew.
    slots_renewed: "slots registered anew",
    /// Sends with MSG_ZEROCOPY whose numbers came out of error queues.
    queued_numbers: "numbers in error queues",
    /// Those whose numbers came back with sends.
    inline_numbers: "numbers with sends",
    /// Of both, those of streams.
    stream_numbers: "of which of streams",
    /// Those of sends that sent a part only.
    short_numbers: "of short sends",
    /// Those that were never told: their sockets were closed before.
    forgone_numbers: "forgone by closing",
    /// Ranges of several numbers.
    ranges: "ranges of several",
    /// Zero-copy sends that took several provided registered buffers.
    bundles: "bundles",
    /// Provided registered buffers that were taken.
    pieces: "provided registered buffers",
    /// Of them, those that named nothing.
    wrong_pieces: "of which wrong",
    /// Times that the application wrote over what it was sending.
    spoiled: "spoiled",
    /// Parts that the application was lent where the NIC wrote them.
    lent: "lent",
    /// Datagrams and parts of streams that it echoed from there.
    forwarded: "forwarded",
    /// What it gave back though it was not lent.
    bad_returns: "bad returns",
    /// Packets that found no chunk or no room in the RX ring.
    ring_full: "RX ring full",
    /// Neighbours that the kernel beside a ring did not know when it was asked.
    neighbours_unknown: "unknown neighbours",
    /// Neighbours that were not confirmed any more.
    neighbours_stale: "stale neighbours",
    /// Neighbours that it forgot.
    neighbours_forgotten: "forgotten neighbours",
    /// Neighbours that did not answer, or were said not to.
    neighbours_failed: "failed neighbours",
    /// Neighbours that were found at another Ethernet address.
    neighbours_moved: "moved neighbours",
    /// News of the kernel's that took a while.
    late_news: "late news",
    /// Bursts of news of nothing new.
    bursts: "bursts of news",
    /// Addresses that were removed.
    addresses_lost: "addresses removed",
    /// Times that some came back.
    addresses_back: "of which back",
    /// Times that an interface's MTU changed.
    interface_mtu_changes: "interface MTU changes",
    /// Times that its Ethernet address changed.
    own_moves: "Ethernet address changes",
    /// Times that routes changed.
    route_changes: "route changes",
    /// Frames to an Ethernet address that the host had before.
    not_ours: "frames to elsewhere",
    /// Ports that the kernel held for a ring.
    ports_held: "ports held",
    /// Of them, those that were given back.
    ports_released: "of which released",
    /// Ports that it refused: `EADDRINUSE`.
    ports_in_use: "ports refused",
    /// Ports that it refused: `EMFILE`.
    too_many_files: "too many files",
    /// Datagrams that it put together of fragments.
    drained: "drained datagrams",
    /// ICMP errors that it told a ring of.
    errors_told: "ICMP errors told",
    /// Segments that it answered with a RST.
    refused_by_kernel: "segments refused",
    /// Frames that no honest host sends.
    garbage: "garbage frames",
    /// Requests of the application that are wrong, or meant to be in the way.
    hostile_requests: "hostile requests",
    /// Of those, the ones that succeeded: valid, and at the right time.
    hostile_successes: "of which succeeded",
}

impl Coverage {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.kinds().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.kinds() {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}
