//! What the stack counts. A peer's fault never ends in an error: it ends in one of these.

use crate::plan::Copied;

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
    /// Packets with a wrong IP, UDP, TCP or ICMP checksum.
    pub rx_bad_checksum: u64,
    /// UDP datagrams and TCP segments dropped because only the pseudo-header was summed: a kernel peer on the same
    /// machine that leaves checksums to its device. The cure is `ethtool -K PEER tx off`, or
    /// `RxChecksum::AcceptPartial`.
    pub rx_partial_checksum: u64,
    /// Those accepted with such a partial sum.
    pub rx_partial_accepted: u64,
    /// UDP datagrams beyond the MTU, dropped because they are several that the sender, a kernel on the same machine, has
    /// left to its device to cut. The cure is `ethtool -K PEER tx-udp-segmentation off`.
    pub rx_unsegmented: u64,
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
    /// Packets with the application's memory that went out with their headers in front of it, in one
    /// descriptor.
    pub tx_in_place: u64,
    /// Those whose headers were a descriptor of their own.
    pub tx_scattered: u64,
    /// Packets with the application's memory that were copied: they would have had more descriptors than the
    /// port takes (`Report::scatter`).
    pub tx_copied_pieces: u64,
    /// The same because they were short: the copy costs less than another descriptor.
    pub tx_copied_small: u64,
    /// The same because they went to an address of our own.
    pub tx_copied_local: u64,
    /// TCP segments that were copied because their neighbour had to be found first.
    pub tx_copied_neighbour: u64,
    /// Packets with the application's memory that were copied because it lies at the beginning of a chunk,
    /// where the port needs room in front to write checksums.
    pub tx_copied_headroom: u64,
    /// Packets whose checksum is written behind us.
    pub tx_offloaded: u64,
    /// IP fragments sent.
    pub tx_fragments: u64,
    /// Packets dropped because their neighbour did not answer, or too many waited for it.
    pub tx_unresolved: u64,
    /// TCP segments with a right checksum.
    pub tcp_rx_segments: u64,
    /// TCP segments sent, retransmissions included.
    pub tcp_tx_segments: u64,
    /// Those of them with a RST.
    pub tcp_tx_resets: u64,
    /// TCP segments whose payload was copied to be sent: parts of what was queued, and retransmissions
    /// of what the NIC had not let go.
    pub tcp_tx_copied: u64,
    /// TCP segments for which there was no connection and no listener.
    pub tcp_no_connection: u64,
    /// TCP segments that a connection did not accept, or not in full (RFC 9293, section 3.10.7.4;
    /// RFC 5961).
    pub tcp_refused: u64,
    /// Connections that stood.
    pub tcp_established: u64,
    /// Connections that failed: refused, reset, timed out, or given up.
    pub tcp_failed: u64,
    /// SYNs, and last segments of handshakes, dropped because a listener's queue was full (of SYNs the
    /// accept queue: see `tcp_cookies_sent` for the other).
    pub tcp_listen_overflows: u64,
    /// SYNs answered with a SYN cookie because a listener's queue of half-open connections was full.
    pub tcp_cookies_sent: u64,
    /// SYN cookies that came back and were good.
    pub tcp_cookies_received: u64,
    /// Acknowledgements to a listener that had sent cookies, and brought back none that was good.
    pub tcp_cookies_failed: u64,
    /// TCP payloads moved out of their frames, because they were small or RX chunks ran short.
    pub tcp_compacted: u64,
    /// TCP payloads that had come out of order and were dropped because RX chunks ran short.
    pub tcp_pruned: u64,
    /// TCP payloads dropped on arrival for the same reason.
    pub tcp_no_memory: u64,
    /// Connections whose TIME-WAIT was cut short because the table was full.
    pub tcp_time_wait_evicted: u64,
    /// Parts of received payloads that were copied into a chunk to be lent, because they were in no frame
    /// any more: small and put together, moved out under pressure, reassembled, or looped back.
    pub lend_copied_from_heap: u64,
    /// Those copied because their frame had not enough room for what is written in front of them.
    pub lend_copied_for_room: u64,
    /// Bytes of payload copied to be lent, for either reason.
    pub lend_copied_bytes: u64,
    /// Datagrams that the kernel has put together of fragments, or was given in another way, for our ports: with shared
    /// addresses.
    pub rx_from_kernel: u64,
    /// Packets for sockets of the interface's other engines, which were handed over to those.
    pub handed_over: u64,
    /// Those, and what neighbours have said, that were lost because the other engine had too much waiting or had
    /// gone.
    pub hand_over_dropped: u64,
    /// Packets that other engines have handed over to this one.
    pub taken_over: u64,
    /// Somebody else uses one of our addresses.
    pub address_conflicts: u64,
}

impl Counters {
    /// Counts a packet with the application's memory that is copied.
    pub(crate) fn count_copied(&mut self, why: Copied) {
        self.add_copied(why, 1);
    }

    pub(crate) fn add_copied(&mut self, why: Copied, packets: u64) {
        *match why {
            Copied::Pieces => &mut self.tx_copied_pieces,
            Copied::Small => &mut self.tx_copied_small,
            Copied::Local => &mut self.tx_copied_local,
            Copied::Neighbour => &mut self.tx_copied_neighbour,
            Copied::Headroom => &mut self.tx_copied_headroom,
        } += packets;
    }
}
