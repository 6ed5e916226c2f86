//! The timestamps option: echoing, round trips, and protection against wrapped sequence numbers
//! (RFC 7323).

use std::time::Duration;

use crate::segment::Timestamps;
use crate::time::Instant;

/// After this long TS.Recent says nothing any more (RFC 7323, section 5.5).
const RECENT_IS_VALID: Duration = Duration::from_secs(24 * 24 * 3600);

/// The option's state on a connection that negotiated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// Added to our clock, so that it tells nothing about the machine (RFC 7323, section 5.4).
    offset: u32,
    /// TS.Recent, and when it was set.
    recent: u32,
    recent_at: Instant,
}

impl Clock {
    pub(crate) fn new(offset: u32) -> Clock {
        Clock {
            offset,
            recent: 0,
            recent_at: Instant::ZERO,
        }
    }

    /// Our clock, which ticks every millisecond.
    pub(crate) fn value(&self, now: Instant) -> u32 {
        ((now.as_nanos() / 1_000_000) as u32).wrapping_add(self.offset)
    }

    /// The option of a segment that is sent now.
    pub(crate) fn option(&self, now: Instant) -> Timestamps {
        Timestamps {
            value: self.value(now),
            echo: self.recent,
        }
    }

    /// Whether a segment with this timestamp is from before the wrap (PAWS, section 5.3).
    pub(crate) fn is_old(&self, now: Instant, value: u32) -> bool {
        (value.wrapping_sub(self.recent) as i32) < 0 && now - self.recent_at < RECENT_IS_VALID
    }

    /// Takes TSval of a segment that is acceptable and spans the last acknowledgement sent
    /// (section 4.3): not of any segment, or a forged one could shut out all that follow.
    pub(crate) fn update(&mut self, now: Instant, value: u32) {
        if (value.wrapping_sub(self.recent) as i32) >= 0 || now - self.recent_at >= RECENT_IS_VALID
        {
            self.recent = value;
            self.recent_at = now;
        }
    }

    /// Takes the first timestamp of the peer, on its SYN.
    pub(crate) fn begin(&mut self, now: Instant, value: u32) {
        self.recent = value;
        self.recent_at = now;
    }

    pub(crate) fn recent(&self) -> u32 {
        self.recent
    }

    /// The round trip that an echo of our clock shows; `None` where it makes no sense.
    pub(crate) fn round_trip(&self, now: Instant, echo: u32) -> Option<Duration> {
        const SENSIBLE_MS: u32 = 10 * 60 * 1000;
        let millis = self.value(now).wrapping_sub(echo);
        // A tick has no length: what came back within one took half of it, say.
        (millis < SENSIBLE_MS).then(|| Duration::from_micros(u64::from(millis) * 1000 + 500))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn our_clock_ticks_in_milliseconds_from_an_offset() {
        let clock = Clock::new(u32::MAX);
        assert_eq!(clock.value(at_ms(1)), 0);
        assert_eq!(clock.value(at_ms(11)), 10);
    }

    #[test]
    fn an_earlier_timestamp_is_old_across_the_wrap() {
        let mut clock = Clock::new(0);
        clock.begin(at_ms(0), 5);
        assert!(clock.is_old(at_ms(1), u32::MAX));
        assert!(!clock.is_old(at_ms(1), 5) && !clock.is_old(at_ms(1), 6));
    }

    #[test]
    fn after_24_days_no_timestamp_is_old() {
        let mut clock = Clock::new(0);
        clock.begin(at_ms(0), 5);
        let later = at_ms(0) + RECENT_IS_VALID;
        assert!(!clock.is_old(later, 4));
        clock.update(later, 4);
        assert_eq!(clock.recent(), 4);
    }

    #[test]
    fn a_round_trip_is_the_age_of_the_echo() {
        let clock = Clock::new(100);
        let trip = clock.round_trip(at_ms(30), clock.value(at_ms(10)));
        assert_eq!(trip, Some(Duration::from_micros(20_500)));
        assert_eq!(clock.round_trip(at_ms(30), clock.value(at_ms(31))), None);
    }
}
