//! NewReno's congestion avoidance (RFC 5681, section 3.1): a segment in a round trip, and half of the
//! flight after a loss.

use crate::congestion::{Avoidance, CongestionControl};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewReno {
    /// Bytes acknowledged towards the next increase.
    counted: u32,
}

impl CongestionControl for NewReno {
    fn avoid(&mut self, ack: &Avoidance) -> u32 {
        self.counted += ack.acked;
        if self.counted < ack.window {
            return 0;
        }
        self.counted -= ack.window;
        ack.mss
    }

    fn threshold(&mut self, _window: u32, flight: u32, mss: u32) -> u32 {
        self.counted = 0;
        (flight / 2).max(2 * mss)
    }
}
