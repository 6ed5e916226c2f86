//! `struct tcp_info` (Linux 6.18, `include/uapi/linux/tcp.h`; `tcp_get_info`).

use std::time::Duration;

use ringwire_stack::{State, TcpInfo};

/// Bytes of the whole.
const BYTES: usize = 280;
/// `tcpi_snd_ssthresh` where there is none yet (`TCP_INFINITE_SSTHRESH`).
const NO_THRESHOLD: u32 = 0x7fff_ffff;
/// `tcpi_reordering`: segments that may overtake others before that counts as loss.
const REORDERING: u32 = 3;

/// The fields one after the other.
struct Fields(Vec<u8>);

impl Fields {
    fn u8s(&mut self, values: &[u8]) {
        self.0.extend(values);
    }

    fn u32s(&mut self, values: &[u32]) {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_ne_bytes()));
    }

    fn u64s(&mut self, values: &[u64]) {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_ne_bytes()));
    }
}

/// The struct, zero where ringwire has no such figure. `backlog`: of a listener, connections that wait
/// to be accepted, and how many may.
pub(super) fn encode(state: State, backlog: Option<(u32, u32)>, info: Option<&TcpInfo>) -> Vec<u8> {
    let mut fields = Fields(Vec::with_capacity(BYTES));
    let state = number(state);
    match info {
        Some(info) => encode_connection(&mut fields, state, info),
        None => {
            let (waiting, most) = backlog.unwrap_or_default();
            fields.u8s(&[state, 0, 0, 0, 0, 0, 0, 0]);
            // `tcpi_unacked` and `tcpi_sacked` of a listener.
            fields.u32s(&[0, 0, 0, 0, waiting, most]);
        }
    }
    fields.0.resize(BYTES, 0);
    fields.0
}

fn encode_connection(fields: &mut Fields, state: u8, info: &TcpInfo) {
    let (send_scale, receive_scale) = info.window_scales.unwrap_or_default();
    let (rtt, variance) = info.rtt.unwrap_or_default();
    let totals = &info.totals;
    let segments = |bytes: u32| bytes / info.send_mss.max(1);
    let threshold = match info.threshold {
        u32::MAX => NO_THRESHOLD,
        bytes => segments(bytes),
    };
    fields.u8s(&[
        state,
        info.congestion as u8,
        info.retransmits as u8,
        info.probes as u8,
        info.backoff as u8,
        agreed(info),
        send_scale | receive_scale << 4,
        0,
    ]);
    // Times in microseconds, sizes of segments in bytes, numbers of segments.
    fields.u32s(&[
        micros(info.rto),
        micros(info.delayed_ack),
        info.send_mss,
        info.receive_mss,
        info.outstanding,
        info.sacked,
        info.lost,
        info.again,
        0, // fackets
    ]);
    // Times in milliseconds.
    fields.u32s(&[
        info.since_data_sent.map_or(0, millis),
        0, // last_ack_sent: Linux has none either
        info.since_data_received.map_or(0, millis),
        millis(info.since_heard),
    ]);
    fields.u32s(&[
        0, // pmtu
        0, // rcv_ssthresh
        micros(rtt),
        micros(variance),
        threshold,
        segments(info.window),
        info.advertised_mss,
        REORDERING,
        0, // rcv_rtt
        0, // rcv_space
        totals.segments_again as u32,
    ]);
    // pacing_rate, max_pacing_rate: nothing is paced.
    fields.u64s(&[
        u64::MAX,
        u64::MAX,
        totals.bytes_acked,
        totals.bytes_received,
    ]);
    fields.u32s(&[
        totals.segments_out as u32,
        totals.segments_in as u32,
        info.unsent,
        info.min_rtt.map_or(u32::MAX, micros),
        totals.data_segments_in as u32,
        totals.data_segments_out as u32,
    ]);
    // delivery_rate, busy_time, rwnd_limited, sndbuf_limited
    fields.u64s(&[0; 4]);
    // delivered, delivered_ce
    fields.u32s(&[0; 2]);
    fields.u64s(&[totals.bytes_sent, totals.bytes_again]);
    fields.u32s(&[
        totals.duplicates as u32,
        info.reordering.into(),
        0, // rcv_ooopack
        info.send_window,
        info.receive_window,
    ]);
}

/// `TCPI_OPT_*`.
fn agreed(info: &TcpInfo) -> u8 {
    let bits = [
        (info.timestamps, 1),
        (info.sack, 2),
        (info.window_scales.is_some(), 4),
        (info.ecn, 8),
    ];
    bits.iter()
        .filter(|(agreed, _)| *agreed)
        .map(|(_, bit)| bit)
        .sum()
}

/// The states as `include/net/tcp_states.h` numbers them.
fn number(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

fn micros(time: Duration) -> u32 {
    time.as_micros().try_into().unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u32 {
    time.as_millis().try_into().unwrap_or(u32::MAX)
}
