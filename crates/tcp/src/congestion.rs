//! The congestion window: slow start, which all algorithms share (RFC 5681, section 3.1; the initial
//! window from RFC 6928; restarting after idleness), and the algorithm for the rest. Bytes throughout.

use std::time::Duration;

use crate::cubic::Cubic;
use crate::new_reno::NewReno;
use crate::time::Instant;

/// Beyond any window that a peer can offer.
const MAX_WINDOW: u32 = 1 << 30;

/// A congestion control algorithm (`TCP_CONGESTION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// CUBIC, RFC 9438.
    #[default]
    Cubic,
    /// NewReno, RFC 5681 and RFC 6582.
    NewReno,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Algorithm; 2] = [Algorithm::Cubic, Algorithm::NewReno];

    /// Its name, as Linux has it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Cubic => "cubic",
            Algorithm::NewReno => "reno",
        }
    }
}

/// An acknowledgement in congestion avoidance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avoidance {
    pub(crate) now: Instant,
    /// Bytes that it acknowledges.
    pub(crate) acked: u32,
    pub(crate) window: u32,
    pub(crate) mss: u32,
    pub(crate) rtt: Duration,
}

/// What the algorithms do each in their own way.
pub(crate) trait CongestionControl {
    /// By how much the window grows for an acknowledgement in congestion avoidance.
    fn avoid(&mut self, ack: &Avoidance) -> u32;

    /// The threshold after a sign of congestion, with this window and flight.
    fn threshold(&mut self, window: u32, flight: u32, mss: u32) -> u32;

    /// The retransmission timer fired, after [`threshold`](CongestionControl::threshold).
    fn timed_out(&mut self) {}

    /// Nothing was sent for so long.
    fn idled(&mut self, _idle: Duration) {}
}

#[derive(Clone, Copy, Debug)]
enum Control {
    Cubic(Cubic),
    NewReno(NewReno),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Congestion {
    window: u32,
    threshold: u32,
    mss: u32,
    /// The window was reduced, and the peer was not told (CWR, RFC 3168, section 6.1.2).
    pub(crate) reduced: bool,
    control: Control,
}

impl Congestion {
    pub(crate) fn new(mss: u32, algorithm: Algorithm) -> Congestion {
        Congestion {
            window: initial_window(mss),
            threshold: u32::MAX,
            mss,
            reduced: false,
            control: Congestion::begin(algorithm),
        }
    }

    fn begin(algorithm: Algorithm) -> Control {
        match algorithm {
            Algorithm::Cubic => Control::Cubic(Cubic::default()),
            Algorithm::NewReno => Control::NewReno(NewReno::default()),
        }
    }

    fn control(&mut self) -> &mut dyn CongestionControl {
        match &mut self.control {
            Control::Cubic(cubic) => cubic,
            Control::NewReno(new_reno) => new_reno,
        }
    }

    /// Goes on with another algorithm, from the window as it is.
    pub(crate) fn choose(&mut self, algorithm: Algorithm) {
        self.control = Congestion::begin(algorithm);
    }

    pub(crate) fn window(&self) -> u32 {
        self.window
    }

    pub(crate) fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Bytes of a full segment have changed.
    pub(crate) fn set_mss(&mut self, mss: u32) {
        self.mss = mss;
        self.set_window(self.window);
    }

    /// New data was acknowledged outside of recovery; `flight` bytes were outstanding before. A
    /// window that was not used does not grow (RFC 7661's reason, Linux's `tcp_is_cwnd_limited`).
    pub(crate) fn acknowledged(&mut self, now: Instant, acked: u32, flight: u32, rtt: Duration) {
        let mut acked = acked;
        if self.window < self.threshold {
            if flight < self.window / 2 {
                return;
            }
            let step = acked.min(self.threshold - self.window);
            self.set_window(self.window.saturating_add(step));
            acked -= step;
        }
        if acked == 0 || flight.saturating_add(self.mss) <= self.window {
            return;
        }
        let ack = Avoidance {
            now,
            acked,
            window: self.window,
            mss: self.mss,
            rtt,
        };
        let more = self.control().avoid(&ack);
        self.set_window(self.window.saturating_add(more));
    }

    /// A sign of congestion: the threshold falls; what becomes of the window is the recovery's.
    pub(crate) fn reduce(&mut self, flight: u32) {
        let (window, mss) = (self.window, self.mss);
        self.threshold = self.control().threshold(window, flight, mss);
        self.reduced = true;
    }

    /// The retransmission timer fired; `again` if it was for the same data (RFC 5681, section 3.1).
    pub(crate) fn timed_out(&mut self, flight: u32, again: bool) {
        if !again {
            self.reduce(flight);
            self.control().timed_out();
        }
        self.window = self.mss;
    }

    pub(crate) fn set_window(&mut self, window: u32) {
        self.window = window.clamp(self.mss.min(MAX_WINDOW), MAX_WINDOW);
    }

    /// Nothing was sent for so long, and now something is: the window is halved for every timeout
    /// that has passed, down to the initial one (RFC 5681, section 4.1; RFC 2861; Linux's
    /// `tcp_cwnd_restart`).
    pub(crate) fn restart(&mut self, idle: Duration, rto: Duration) {
        self.control().idled(idle);
        if idle <= rto {
            return;
        }
        let least = initial_window(self.mss).min(self.window);
        // What the path was good for is remembered in part.
        self.threshold = self.threshold.max(self.window / 4 * 3);
        let timeouts = idle.as_nanos() / rto.as_nanos().max(1);
        let halvings = u32::try_from(timeouts).unwrap_or(u32::MAX);
        self.window = self.window.checked_shr(halvings).unwrap_or(0).max(least);
    }

    /// A reduction was a mistake: it is taken back (section 4.9 of RFC 9438, Linux's
    /// `tcp_undo_cwnd_reduction`).
    pub(crate) fn undo(&mut self, before: &Congestion) {
        self.reduced = before.reduced;
        // Another algorithm may have been chosen since.
        if std::mem::discriminant(&self.control) == std::mem::discriminant(&before.control) {
            self.control = before.control;
        }
        self.window = self.window.max(before.window);
        self.threshold = self.threshold.max(before.threshold);
    }
}

/// RFC 6928, section 2.
fn initial_window(mss: u32) -> u32 {
    (10 * mss).min((2 * mss).max(14_600))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;
    const RTT: Duration = Duration::from_millis(100);

    fn reno() -> Congestion {
        Congestion::new(MSS, Algorithm::NewReno)
    }

    fn acknowledge(congestion: &mut Congestion, bytes: u32) {
        let flight = congestion.window();
        congestion.acknowledged(Instant::ZERO, bytes, flight, RTT);
    }

    #[test]
    fn the_initial_window_is_ten_segments_up_to_the_limit() {
        assert_eq!(initial_window(1000), 10_000);
        assert_eq!(initial_window(1460), 14_600);
        assert_eq!(initial_window(8960), 17_920);
    }

    #[test]
    fn slow_start_doubles_in_a_round_trip() {
        let mut congestion = reno();
        (0..10).for_each(|_| acknowledge(&mut congestion, MSS));
        assert_eq!(congestion.window(), 20_000);
    }

    #[test]
    fn slow_start_ends_exactly_at_the_threshold() {
        for algorithm in Algorithm::ALL {
            let mut congestion = Congestion::new(MSS, algorithm);
            congestion.timed_out(20_500, false);
            let threshold = congestion.threshold();
            let rest = threshold - congestion.window();
            acknowledge(&mut congestion, rest);
            assert_eq!(congestion.window(), threshold, "{algorithm:?}");
        }
    }

    #[test]
    fn congestion_avoidance_adds_a_segment_in_a_round_trip() {
        let mut congestion = reno();
        congestion.timed_out(20_000, false);
        (0..9).for_each(|_| acknowledge(&mut congestion, MSS));
        assert_eq!(congestion.window(), 10_000);
        (0..10).for_each(|_| acknowledge(&mut congestion, MSS));
        assert_eq!(congestion.window(), 11_000);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        for algorithm in Algorithm::ALL {
            let mut congestion = Congestion::new(MSS, algorithm);
            congestion.acknowledged(Instant::ZERO, MSS, MSS, RTT);
            assert_eq!(congestion.window(), 10_000, "{algorithm:?}, slow start");
            congestion.reduce(10_000);
            congestion.set_window(congestion.threshold());
            let before = congestion.window();
            congestion.acknowledged(Instant::ZERO, before, 2 * MSS, RTT);
            assert_eq!(congestion.window(), before, "{algorithm:?}");
        }
    }

    #[test]
    fn new_reno_halves_the_flight_and_cubic_takes_three_tenths_of_the_window() {
        let mut congestion = reno();
        congestion.reduce(8000);
        assert_eq!(congestion.threshold(), 4000);
        let mut congestion = Congestion::new(MSS, Algorithm::Cubic);
        congestion.reduce(8000);
        assert_eq!(congestion.threshold(), 7000);
    }

    #[test]
    fn a_timeout_falls_to_one_segment_and_reduces_once_for_the_same_data() {
        let mut congestion = reno();
        congestion.timed_out(10_000, false);
        congestion.timed_out(1000, true);
        assert_eq!((congestion.threshold(), congestion.window()), (5000, MSS));
    }

    #[test]
    fn cubic_does_not_hurry_back_after_a_timeout() {
        let grown = |timeout: bool| {
            let mut congestion = Congestion::new(MSS, Algorithm::Cubic);
            congestion.set_window(1000 * MSS);
            if timeout {
                congestion.timed_out(0, false);
            } else {
                congestion.reduce(0);
            }
            congestion.set_window(congestion.threshold());
            for round in 0..10 {
                let window = congestion.window();
                congestion.acknowledged(Instant::ZERO + RTT * round, window, window, RTT);
            }
            congestion.window() / MSS
        };
        assert!(grown(true) < 720, "{}", grown(true));
        assert!(grown(false) > 750, "{}", grown(false));
    }

    #[test]
    fn idle_time_is_none_in_which_cubic_grows() {
        let mut congestion = Congestion::new(MSS, Algorithm::Cubic);
        congestion.set_window(100 * MSS);
        congestion.reduce(0);
        congestion.set_window(congestion.threshold());
        let acknowledge = |congestion: &mut Congestion, now| {
            let window = congestion.window();
            congestion.acknowledged(now, window, window, RTT);
        };
        acknowledge(&mut congestion, Instant::ZERO);
        let idle = Duration::from_secs(60);
        congestion.restart(idle, Duration::from_secs(120));
        let before = congestion.window();
        acknowledge(&mut congestion, Instant::ZERO + idle + RTT);
        let grown = congestion.window() - before;
        assert!(grown < 10 * MSS, "{grown}");
    }

    #[test]
    fn a_window_of_one_segment_grows_with_the_segment() {
        let mut congestion = reno();
        congestion.timed_out(10_000, false);
        congestion.set_mss(2 * MSS);
        assert_eq!(congestion.window(), 2 * MSS);
    }

    #[test]
    fn a_window_is_halved_for_every_timeout_of_idleness() {
        let mut congestion = reno();
        congestion.set_window(80_000);
        congestion.threshold = 40_000;
        congestion.restart(RTT, RTT);
        assert_eq!(congestion.window(), 80_000, "one timeout is not idle");
        congestion.restart(2 * RTT, RTT);
        assert_eq!(
            (congestion.window(), congestion.threshold()),
            (20_000, 60_000)
        );
        congestion.restart(100 * RTT, RTT);
        assert_eq!(congestion.window(), 10_000, "the initial window is left");
    }

    #[test]
    fn what_was_undone_is_as_before() {
        for algorithm in Algorithm::ALL {
            let mut congestion = Congestion::new(MSS, algorithm);
            let before = congestion;
            congestion.timed_out(10_000, false);
            congestion.undo(&before);
            assert_eq!(congestion.window(), before.window(), "{algorithm:?}");
            assert_eq!(congestion.threshold(), before.threshold());
        }
    }
}
