//! The congestion window: slow start, congestion avoidance and what losses do to it (RFC 5681; the
//! recovery's arithmetic from RFC 6582; the initial window from RFC 6928). Bytes throughout.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Reno {
    cwnd: u32,
    ssthresh: u32,
    mss: u32,
    /// Bytes acknowledged towards the next increase in congestion avoidance.
    counted: u32,
}

impl Reno {
    pub(crate) fn new(mss: u32) -> Reno {
        Reno {
            cwnd: (10 * mss).min((2 * mss).max(14_600)),
            ssthresh: u32::MAX,
            mss,
            counted: 0,
        }
    }

    pub(crate) fn window(&self) -> u32 {
        self.cwnd
    }

    #[cfg(test)]
    pub(crate) fn threshold(&self) -> u32 {
        self.ssthresh
    }

    /// New data was acknowledged outside of recovery; `flight` bytes were outstanding before. A
    /// window that was not used does not grow (RFC 7661's reason, Linux's `tcp_is_cwnd_limited`).
    pub(crate) fn acknowledged(&mut self, bytes: u32, flight: u32) {
        if self.cwnd < self.ssthresh {
            if flight >= self.cwnd / 2 {
                // RFC 3465, section 2.2: a stretched acknowledgement counts for two segments.
                self.grow(bytes.min(2 * self.mss));
            }
        } else if flight + self.mss > self.cwnd {
            self.counted += bytes;
            if self.counted >= self.cwnd {
                self.counted -= self.cwnd;
                self.grow(self.mss);
            }
        }
    }

    /// Three duplicate acknowledgements: half of the flight, and three segments that have left.
    pub(crate) fn enter_recovery(&mut self, flight: u32) {
        self.ssthresh = (flight / 2).max(2 * self.mss);
        self.cwnd = self.ssthresh + 3 * self.mss;
        self.counted = 0;
    }

    /// Another duplicate: one more segment has left the network.
    pub(crate) fn inflate(&mut self) {
        self.grow(self.mss);
    }

    /// A partial acknowledgement: what it covers has left; a full segment of it may be replaced.
    pub(crate) fn deflate(&mut self, acked: u32) {
        self.cwnd = self.cwnd.saturating_sub(acked);
        if acked >= self.mss {
            self.cwnd += self.mss;
        }
        self.cwnd = self.cwnd.max(self.mss);
    }

    /// All that was outstanding when recovery began is acknowledged (RFC 6582, section 3.2, (3)(1)).
    pub(crate) fn leave_recovery(&mut self, flight: u32) {
        self.cwnd = self.ssthresh.min(flight.max(self.mss) + self.mss);
    }

    /// The retransmission timer fired; `again` if it was for the same data (RFC 5681, section 3.1).
    pub(crate) fn timed_out(&mut self, flight: u32, again: bool) {
        if !again {
            self.ssthresh = (flight / 2).max(2 * self.mss);
        }
        self.cwnd = self.mss;
        self.counted = 0;
    }

    fn grow(&mut self, bytes: u32) {
        // Beyond any window that a peer can offer.
        self.cwnd = self.cwnd.saturating_add(bytes).min(1 << 30);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    #[test]
    fn the_initial_window_is_ten_segments_up_to_the_limit() {
        assert_eq!(Reno::new(1000).window(), 10_000);
        assert_eq!(Reno::new(1460).window(), 14_600);
        assert_eq!(Reno::new(8960).window(), 17_920);
    }

    #[test]
    fn slow_start_doubles_in_a_round_trip() {
        let mut reno = Reno::new(MSS);
        for _ in 0..10 {
            reno.acknowledged(MSS, reno.window());
        }
        assert_eq!(reno.window(), 20_000);
    }

    #[test]
    fn congestion_avoidance_adds_a_segment_in_a_round_trip() {
        let mut reno = Reno::new(MSS);
        reno.timed_out(20_000, false);
        while reno.window() < 10_000 {
            reno.acknowledged(MSS, reno.window());
        }
        for _ in 0..10 {
            reno.acknowledged(MSS, 10_000);
        }
        assert_eq!(reno.window(), 11_000);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut reno = Reno::new(MSS);
        reno.acknowledged(MSS, MSS);
        assert_eq!(reno.window(), 10_000);
    }

    #[test]
    fn three_duplicates_halve_the_flight() {
        let mut reno = Reno::new(MSS);
        reno.enter_recovery(10_000);
        assert_eq!((reno.threshold(), reno.window()), (5000, 8000));
        reno.inflate();
        assert_eq!(reno.window(), 9000);
        reno.deflate(2000);
        assert_eq!(reno.window(), 8000);
        reno.leave_recovery(3000);
        assert_eq!(reno.window(), 4000);
    }

    #[test]
    fn a_timeout_falls_to_one_segment_and_halves_once_for_the_same_data() {
        let mut reno = Reno::new(MSS);
        reno.timed_out(10_000, false);
        reno.timed_out(1000, true);
        assert_eq!((reno.threshold(), reno.window()), (5000, MSS));
    }

    #[test]
    fn a_partial_acknowledgement_never_empties_the_window() {
        let mut reno = Reno::new(MSS);
        reno.enter_recovery(4000);
        reno.deflate(1_000_000);
        assert!(reno.window() >= MSS);
    }
}
