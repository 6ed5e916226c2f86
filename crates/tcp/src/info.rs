//! Figures about a connection, for whoever watches it (`TCP_INFO`).

use std::time::Duration;

use crate::connection::Connection;
use crate::recovery::Phase;
use crate::segment::Segment;
use crate::time::Instant;

/// What was counted over the life of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Segments received, and those with payload.
    pub segments_in: u64,
    /// Those with payload.
    pub data_segments_in: u64,
    /// Segments sent, retransmissions included.
    pub segments_out: u64,
    /// Those with payload.
    pub data_segments_out: u64,
    /// Bytes of payload sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes of payload sent again.
    pub bytes_again: u64,
    /// Bytes of payload that the peer has acknowledged.
    pub bytes_acked: u64,
    /// Bytes of payload received in order.
    pub bytes_received: u64,
    /// Segments sent again.
    pub segments_again: u64,
    /// Segments of which acknowledgements told that they came twice.
    pub duplicates: u64,
}

/// How a connection stands with regard to congestion, as Linux numbers it (`enum tcp_ca_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionState {
    /// Nothing unusual.
    Open = 0,
    /// Something came out of order.
    Disorder = 1,
    /// The window is reduced because congestion was signalled.
    Reduced = 2,
    /// Fast recovery.
    Recovery = 3,
    /// After the retransmission timer.
    Loss = 4,
}

/// A snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// With regard to congestion.
    pub congestion: CongestionState,
    /// Timestamps, SACK, window scaling and ECN were agreed on.
    pub timestamps: bool,
    /// SACK.
    pub sack: bool,
    /// The shifts of the peer's window and of ours, if they are scaled.
    pub window_scales: Option<(u8, u8)>,
    /// ECN.
    pub ecn: bool,
    /// Times in a row that the retransmission timer has fired.
    pub retransmits: u32,
    /// Probes of a closed window that were not answered.
    pub probes: u32,
    /// Times that the retransmission timeout has doubled.
    pub backoff: u32,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Most that an acknowledgement waits.
    pub delayed_ack: Duration,
    /// Bytes of payload in a full segment sent, and received (as far as is known).
    pub send_mss: u32,
    /// Received.
    pub receive_mss: u32,
    /// Bytes of payload that our announcement allows.
    pub advertised_mss: u32,
    /// Segments that are outstanding; of them: sacked, lost, sent more than once.
    pub outstanding: u32,
    /// Sacked.
    pub sacked: u32,
    /// Lost.
    pub lost: u32,
    /// Sent more than once.
    pub again: u32,
    /// Smoothed round trip and its variance; `None` before the first sample.
    pub rtt: Option<(Duration, Duration)>,
    /// The least round trip.
    pub min_rtt: Option<Duration>,
    /// Bytes: congestion window and slow start threshold (`u32::MAX`: none yet).
    pub window: u32,
    /// Slow start threshold.
    pub threshold: u32,
    /// The window that the peer offers, and the one that it is offered.
    pub send_window: u32,
    /// Offered.
    pub receive_window: u32,
    /// Bytes queued and not sent.
    pub unsent: u32,
    /// A later segment has arrived before an earlier one.
    pub reordering: bool,
    /// Since the last data was sent and received, and an acknowledgement received.
    pub since_data_sent: Option<Duration>,
    /// Received.
    pub since_data_received: Option<Duration>,
    /// Anything heard.
    pub since_heard: Duration,
    /// Over its life.
    pub totals: Totals,
}

impl Connection {
    /// The figures now.
    pub fn info(&self, now: Instant) -> Info {
        let count =
            |of: fn(&crate::flight::Sent) -> bool| self.flight.iter().filter(of).count() as u32;
        Info {
            congestion: self.congestion_state(),
            timestamps: self.clock.is_some(),
            sack: self.handshake.sack,
            window_scales: self
                .handshake
                .scaled
                .then_some((self.send.window.scale, self.receive.window.scale)),
            ecn: self.ecn.agreed,
            retransmits: self.timers.retries,
            probes: self.timers.unanswered,
            backoff: self.rtt.backoff(),
            rto: self.rtt.rto(&self.config),
            delayed_ack: self.config.delayed_ack.into(),
            send_mss: self.send.mss,
            receive_mss: self.ack.full_segment(),
            advertised_mss: self.receive_mss(),
            outstanding: self.flight.len() as u32,
            sacked: count(|sent| sent.sacked),
            lost: count(|sent| sent.lost),
            again: count(|sent| sent.again),
            rtt: self.rtt.estimate(),
            min_rtt: self.recovery.rack.min_rtt(),
            window: self.congestion.window(),
            threshold: self.congestion.threshold(),
            send_window: self.send.window.size(),
            receive_window: self
                .receive
                .window
                .edge(self.receive.next)
                .since(self.receive.next),
            unsent: self.send.end.since_or_zero(self.send.next),
            reordering: self.recovery.rack.reordering,
            since_data_sent: self.timers.sent_at.map(|at| now - at),
            since_data_received: self.ack.last_data().map(|at| now - at),
            since_heard: now - self.timers.heard_at,
            totals: self.totals,
        }
    }

    fn congestion_state(&self) -> CongestionState {
        match self.recovery.phase() {
            Phase::Open if self.flight.sacked_bytes() > 0 => CongestionState::Disorder,
            Phase::Open => CongestionState::Open,
            Phase::Reduced => CongestionState::Reduced,
            Phase::Fast => CongestionState::Recovery,
            Phase::Loss => CongestionState::Loss,
        }
    }

    pub(crate) fn count_in(&mut self, segment: &Segment) {
        self.totals.segments_in += 1;
        self.totals.data_segments_in += u64::from(segment.len > 0);
    }

    pub(crate) fn count_out(&mut self, segment: &Segment) {
        self.totals.segments_out += 1;
        self.totals.data_segments_out += u64::from(segment.len > 0);
        self.totals.bytes_sent += u64::from(segment.len);
    }
}
