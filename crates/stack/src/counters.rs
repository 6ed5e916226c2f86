//! What the stack counts. A peer's fault never ends in an error: it ends in one of these.

/// Packets and events since the stack was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Packets handed to the stack.
    pub rx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub rx_bytes: u64,
    /// Packets queued for sending.
    pub tx_packets: u64,
    /// Their bytes, Ethernet headers included.
    pub tx_bytes: u64,
    /// Packets whose lengths do not fit their headers.
    pub rx_malformed: u64,
    /// Packets for an Ethernet or IP address that is not ours.
    pub rx_not_ours: u64,
    /// Packets whose source address no honest host uses (RFC 1122, section 3.2.1.3).
    pub rx_bad_source: u64,
    /// IPv4 packets with a source route option, which are not accepted (RFC 7126, section 4.3).
    pub rx_source_routed: u64,
    /// Packets with a wrong IP, UDP or ICMP checksum.
    pub rx_bad_checksum: u64,
    /// UDP datagrams dropped because only the pseudo-header was summed: a kernel peer on the same
    /// machine that leaves checksums to its device. The cure is `ethtool -K PEER tx off`, or
    /// `RxChecksum::AcceptPartial`.
    pub rx_partial_checksum: u64,
    /// UDP datagrams accepted with such a partial sum.
    pub rx_partial_accepted: u64,
    /// UDP datagrams for a port that nobody has.
    pub rx_no_port: u64,
    /// UDP datagrams dropped because the socket's receive buffer was full.
    pub rx_queue_full: u64,
    /// UDP datagrams delivered to a socket.
    pub rx_datagrams: u64,
    /// UDP datagrams moved out of their frames because RX chunks ran short.
    pub rx_compacted: u64,
    /// Datagrams put together from fragments.
    pub rx_reassembled: u64,
    /// ICMP errors that belonged to none of our sockets, or were malformed.
    pub rx_icmp_ignored: u64,
    /// ICMP errors delivered to a connected socket.
    pub rx_icmp_errors: u64,
    /// Packets not answered because the limit of control traffic was reached.
    pub control_limited: u64,
    /// Packets answered or consumed by the control plane (ICMP, IGMP, MLD, closed ports).
    pub control_packets: u64,
    /// Control packets not sent because no send chunk was free.
    pub control_no_frames: u64,
    /// UDP datagrams sent.
    pub tx_datagrams: u64,
    /// IP fragments sent.
    pub tx_fragments: u64,
    /// Packets dropped because their neighbour did not answer, or too many waited for it.
    pub tx_unresolved: u64,
    /// Somebody else uses one of our addresses.
    pub address_conflicts: u64,
}
