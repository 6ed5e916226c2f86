//! CUBIC (RFC 9438): the window grows by the time since the last reduction, towards the window at
//! which that happened and beyond it. Bytes, seconds.

use std::time::Duration;

use crate::congestion::{Avoidance, CongestionControl};
use crate::time::Instant;

/// Segments per second cubed (section 4.1).
const C: f64 = 0.4;
/// What is left of the window after a reduction (section 4.6).
const BETA: f64 = 0.7;
/// Segments that Reno with this factor would add in a round trip (section 4.3).
const RENO_INCREASE: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// A stretch of congestion avoidance.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    start: Instant,
    /// Seconds until the curve is back at `origin`.
    k: f64,
    /// The window around which the curve is flat.
    origin: f64,
    /// What Reno would have made of the window (W_est), and the window from which it adds a whole segment.
    reno: f64,
    prior: f64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cubic {
    /// The window before the last reduction (W_max).
    max: f64,
    /// The same, not lowered for fast convergence.
    prior: f64,
    epoch: Option<Epoch>,
    /// Parts of bytes.
    credit: f64,
}

impl Cubic {
    fn begin(&self, ack: &Avoidance) -> Epoch {
        let window = f64::from(ack.window);
        let origin = self.max.max(window);
        Epoch {
            start: ack.now,
            k: ((origin - window) / (C * f64::from(ack.mss))).cbrt(),
            origin,
            reno: window,
            prior: self.prior,
        }
    }
}

impl Epoch {
    /// W_cubic(t).
    fn curve(&self, time: f64, mss: f64) -> f64 {
        C * mss * (time - self.k).powi(3) + self.origin
    }
}

impl CongestionControl for Cubic {
    fn avoid(&mut self, ack: &Avoidance) -> u32 {
        let fresh = self.begin(ack);
        let epoch = self.epoch.get_or_insert(fresh);
        let (window, mss) = (f64::from(ack.window), f64::from(ack.mss));
        let acked = f64::from(ack.acked);
        let time = (ack.now - epoch.start).as_secs_f64();
        // Section 4.3: never slower than Reno.
        let increase = if epoch.reno >= epoch.prior {
            1.0
        } else {
            RENO_INCREASE
        };
        epoch.reno += increase * mss * acked / window;
        let increment = if epoch.curve(time, mss) < epoch.reno {
            (epoch.reno - window).max(0.0)
        } else {
            // Section 4.4 and 4.5: a round trip ahead, and by half of the window at most.
            let target = epoch.curve(time + ack.rtt.as_secs_f64(), mss);
            let target = target.clamp(window, 1.5 * window);
            (target - window) * acked / window
        };
        self.credit += increment;
        let whole = self.credit.floor();
        self.credit -= whole;
        whole as u32
    }

    fn threshold(&mut self, window: u32, _flight: u32, mss: u32) -> u32 {
        let window = f64::from(window);
        self.prior = window;
        // Section 4.7, fast convergence: who had to reduce before it was back gives way to others.
        self.max = if window < self.max {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.epoch = None;
        self.credit = 0.0;
        ((window * BETA) as u32).max(2 * mss)
    }

    fn timed_out(&mut self) {
        // Section 4.8: the curve begins at the window then (K = 0).
        self.max = 0.0;
        self.epoch = None;
    }

    fn idled(&mut self, idle: Duration) {
        // Section 5.8: time in which nothing was sent does not count.
        if let Some(epoch) = &mut self.epoch {
            epoch.start = epoch.start + idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;
    const RTT: Duration = Duration::from_millis(100);

    /// Lets a whole window be acknowledged in each round trip.
    fn grow(cubic: &mut Cubic, window: &mut u32, now: &mut Instant, rtt: Duration, rounds: u32) {
        for _ in 0..rounds {
            *now = *now + rtt;
            let segments = *window / MSS;
            for _ in 0..segments {
                *window += cubic.avoid(&Avoidance {
                    now: *now,
                    acked: MSS,
                    window: *window,
                    mss: MSS,
                    rtt,
                });
            }
        }
    }

    #[test]
    fn the_window_falls_to_seven_tenths() {
        assert_eq!(Cubic::default().threshold(100 * MSS, 0, MSS), 70 * MSS);
        assert_eq!(Cubic::default().threshold(MSS, 0, MSS), 2 * MSS);
    }

    #[test]
    fn it_is_back_after_k_and_flat_around_there() {
        let mut cubic = Cubic::default();
        let mut window = cubic.threshold(1000 * MSS, 0, MSS);
        let mut now = Instant::from_nanos(5);
        // K = cbrt(300 / 0.4) = 9.09 s.
        grow(&mut cubic, &mut window, &mut now, RTT, 85);
        let before = window;
        grow(&mut cubic, &mut window, &mut now, RTT, 10);
        let around = window - before;
        assert!((985 * MSS..1005 * MSS).contains(&window), "{window}");
        assert!(around < 2 * MSS, "{around} in the second around K");
        grow(&mut cubic, &mut window, &mut now, RTT, 60);
        assert!(window > 1050 * MSS, "it probes beyond: {window}");
    }

    #[test]
    fn on_a_short_path_it_is_as_fast_as_reno() {
        let mut cubic = Cubic::default();
        let mut window = cubic.threshold(20 * MSS, 0, MSS);
        let mut now = Instant::ZERO;
        let rtt = Duration::from_millis(1);
        grow(&mut cubic, &mut window, &mut now, rtt, 10);
        // 0.53 segments in a round trip until it is back, from 14.
        assert!((18 * MSS..=20 * MSS).contains(&window), "{window}");
        grow(&mut cubic, &mut window, &mut now, rtt, 10);
        // And one after that.
        assert!((26 * MSS..=31 * MSS).contains(&window), "{window}");
    }

    #[test]
    fn a_second_reduction_before_it_was_back_gives_way() {
        let mut cubic = Cubic::default();
        cubic.threshold(100 * MSS, 0, MSS);
        cubic.threshold(80 * MSS, 0, MSS);
        assert_eq!(cubic.max, f64::from(80 * MSS) * 0.85);
    }

    #[test]
    fn a_round_trip_adds_half_of_the_window_at_most() {
        let mut cubic = Cubic::default();
        let mut window = cubic.threshold(100 * MSS, 0, MSS);
        let mut now = Instant::ZERO;
        grow(&mut cubic, &mut window, &mut now, RTT, 1);
        now = now + Duration::from_secs(1000);
        let ack = Avoidance {
            now,
            acked: window,
            window,
            mss: MSS,
            rtt: RTT,
        };
        let more = cubic.avoid(&ack);
        // Parts of a byte are left from before.
        assert!((window / 2..=window / 2 + 1).contains(&more), "{more}");
    }

    #[test]
    fn idle_time_does_not_make_it_grow() {
        let grown = |idle: Duration| {
            let mut cubic = Cubic::default();
            let mut window = cubic.threshold(1000 * MSS, 0, MSS);
            let mut now = Instant::ZERO;
            grow(&mut cubic, &mut window, &mut now, RTT, 10);
            now = now + idle;
            cubic.idled(idle);
            grow(&mut cubic, &mut window, &mut now, RTT, 10);
            window
        };
        assert_eq!(grown(Duration::ZERO), grown(Duration::from_secs(60)));
    }

    #[test]
    fn after_a_timeout_it_begins_where_it_is() {
        let mut cubic = Cubic::default();
        cubic.threshold(1000 * MSS, 0, MSS);
        cubic.timed_out();
        let (mut window, mut now) = (500 * MSS, Instant::ZERO);
        grow(&mut cubic, &mut window, &mut now, RTT, 10);
        assert!(window < 520 * MSS, "{window}");
    }
}
