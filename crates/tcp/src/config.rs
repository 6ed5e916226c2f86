//! What connections are made with.

use crate::options::TcpOptions;
use crate::time::Millis;

/// The parameters of a connection. The defaults are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of payload and options in the largest segment that the link takes: MTU less IP and TCP
    /// headers. It is announced, and no segment sent is larger. At least 64.
    pub mss: u16,
    /// The same for segments that are sent, where the sender can hold no longer ones.
    pub send_mss: u16,
    /// What the peer's MSS is without an option: 536 for IPv4, 1220 for IPv6 (RFC 9293, 3.7.1).
    pub default_mss: u16,
    /// Bytes that the receiver buffers: the largest window that is offered.
    pub receive_buffer: u32,
    /// First retransmission timeout, before the round trip is known (RFC 6298, section 2.1).
    pub initial_rto: Millis,
    /// Least allowance for the variance of the round trip (`TCP_RTO_MIN`).
    pub min_rto: Millis,
    /// Largest retransmission timeout (`TCP_RTO_MAX`).
    pub max_rto: Millis,
    /// Retransmissions of a SYN-ACK before a half-open connection is forgotten (`tcp_synack_retries`).
    pub syn_ack_retries: u32,
    /// Retransmissions of data before a connection fails (`tcp_retries2`).
    pub retries: u32,
    /// The same, and of window probes, once nobody has the socket any more (`tcp_orphan_retries`).
    pub orphan_retries: u32,
    /// How long an acknowledgement may wait for data to go with (RFC 1122, section 4.2.3.2).
    pub delayed_ack: Millis,
    /// How long a corked segment may wait to be filled.
    pub cork: Millis,
    /// How long a connection that nobody has any more waits for the peer's FIN (`tcp_fin_timeout`).
    pub fin_wait_2: Millis,
    /// How long TIME-WAIT lasts: twice the MSL.
    pub time_wait: Millis,
    /// Least time between two answers to segments that are not acceptable and carry no data, challenge
    /// ACKs among them (`tcp_invalid_ratelimit`).
    pub invalid_interval: Millis,
    /// What the user of the socket has chosen.
    pub options: TcpOptions,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mss: 1460,
            send_mss: u16::MAX,
            default_mss: 536,
            receive_buffer: 256 << 10,
            initial_rto: Millis(1_000),
            min_rto: Millis(200),
            max_rto: Millis(120_000),
            syn_ack_retries: 5,
            retries: 15,
            orphan_retries: 8,
            delayed_ack: Millis(40),
            cork: Millis(200),
            fin_wait_2: Millis(60_000),
            time_wait: Millis(60_000),
            invalid_interval: Millis(500),
            options: TcpOptions::default(),
        }
    }
}
