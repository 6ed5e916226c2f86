//! Round trip time and retransmission timeout (RFC 6298).

use std::time::Duration;

use crate::config::Config;

/// The estimate of one connection, in nanoseconds: it is asked for with every segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rtt {
    /// SRTT and RTTVAR; `None` before the first sample.
    smoothed: Option<(u64, u64)>,
    /// Times that the timer has doubled.
    backoff: u32,
}

impl Rtt {
    pub(crate) fn new() -> Rtt {
        Rtt {
            smoothed: None,
            backoff: 0,
        }
    }

    /// Takes a measurement, of a segment that was sent once (Karn's rule) or by timestamps. Only
    /// this ends the backing off (RFC 6298, section 5.7 and Linux).
    pub(crate) fn sample(&mut self, rtt: Duration) {
        self.backoff = 0;
        // Above a century it is no measurement.
        let rtt = u64::try_from(rtt.as_nanos()).map_or(u64::MAX >> 2, |rtt| rtt.min(u64::MAX >> 2));
        self.smoothed = Some(match self.smoothed {
            None => (rtt, rtt / 2),
            Some((srtt, var)) => {
                let var = var - var / 4 + srtt.abs_diff(rtt) / 4;
                (srtt - srtt / 8 + rtt / 8, var)
            }
        });
    }

    /// The timer has fired.
    pub(crate) fn back_off(&mut self) {
        // 2^16 times the least timeout is beyond any maximum.
        self.backoff = (self.backoff + 1).min(16);
    }

    /// The retransmission timeout. As in Linux the floor is under the variance, so that a peer's
    /// delayed acknowledgement never makes the timer fire.
    pub(crate) fn rto(&self, config: &Config) -> Duration {
        let base = match self.smoothed {
            None => config.initial_rto.as_nanos(),
            Some((srtt, var)) => {
                srtt.saturating_add(var.saturating_mul(4).max(config.min_rto.as_nanos()))
            }
        };
        let most = config.max_rto.as_nanos();
        // Beyond the maximum nothing is to be doubled, or it would overflow.
        Duration::from_nanos((base.min(most) << self.backoff).min(most))
    }

    pub(crate) fn srtt(&self) -> Option<Duration> {
        self.smoothed.map(|(srtt, _)| Duration::from_nanos(srtt))
    }

    /// SRTT and RTTVAR.
    pub(crate) fn estimate(&self) -> Option<(Duration, Duration)> {
        let (srtt, var) = self.smoothed?;
        Some((Duration::from_nanos(srtt), Duration::from_nanos(var)))
    }

    /// Times that the timer has doubled.
    pub(crate) fn backoff(&self) -> u32 {
        self.backoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_timeout_is_one_second() {
        assert_eq!(Rtt::new().rto(&Config::default()), 1000 * MS);
    }

    #[test]
    fn the_first_sample_sets_mean_and_half_of_it_as_variance() {
        let mut rtt = Rtt::new();
        rtt.sample(400 * MS);
        assert_eq!(rtt.rto(&Config::default()), 1200 * MS);
        assert_eq!(rtt.srtt(), Some(400 * MS));
    }

    #[test]
    fn later_samples_weigh_an_eighth() {
        let mut rtt = Rtt::new();
        rtt.sample(400 * MS);
        rtt.sample(800 * MS);
        // SRTT = 7/8 * 400 + 1/8 * 800; RTTVAR = 3/4 * 200 + 1/4 * |400 - 800|.
        assert_eq!(rtt.srtt(), Some(450 * MS));
        assert_eq!(rtt.rto(&Config::default()), 450 * MS + 4 * 250 * MS);
    }

    #[test]
    fn a_round_trip_that_has_become_shorter_varies_too() {
        let mut rtt = Rtt::new();
        rtt.sample(800 * MS);
        rtt.sample(400 * MS);
        // RTTVAR = 3/4 * 400 + 1/4 * |800 - 400|.
        assert_eq!(rtt.estimate(), Some((750 * MS, 400 * MS)));
    }

    #[test]
    fn a_steady_path_keeps_the_floor_above_a_delayed_acknowledgement() {
        let mut rtt = Rtt::new();
        (0..100).for_each(|_| rtt.sample(MS));
        assert_eq!(rtt.rto(&Config::default()), 201 * MS);
    }

    #[test]
    fn backing_off_doubles_up_to_the_maximum_and_ends_with_a_sample() {
        let mut rtt = Rtt::new();
        let config = Config::default();
        rtt.back_off();
        assert_eq!(rtt.rto(&config), 2000 * MS);
        (0..100).for_each(|_| rtt.back_off());
        assert_eq!(rtt.rto(&config), Duration::from(config.max_rto));
        rtt.sample(10 * MS);
        assert_eq!(rtt.rto(&config), 210 * MS);
    }
}
