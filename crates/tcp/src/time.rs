//! Time as an argument: nothing in this crate reads a clock.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on a monotonic clock of the caller's choice, in nanoseconds since its arbitrary start.
///
/// It is kept as one more than those, so that an `Option` of it takes no more than 8 bytes: connections
/// have many.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The start of the clock.
    pub const ZERO: Instant = Instant::from_nanos(0);
    /// A point that no clock reaches (584 years): a deadline that never comes.
    pub const FAR_FUTURE: Instant = Instant(NonZeroU64::MAX);

    /// The point `nanos` nanoseconds after the start of the clock.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// Nanoseconds since the start of the clock.
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }
}

impl Default for Instant {
    fn default() -> Instant {
        Instant::ZERO
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instant").field(&self.as_nanos()).finish()
    }
}

/// A length of time in whole milliseconds, in four bytes: 49 days at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u32);

impl Millis {
    /// In nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0 as u64 * 1_000_000
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Duration {
        Duration::from_millis(millis.0.into())
    }
}

impl Add<Millis> for Instant {
    type Output = Instant;

    fn add(self, millis: Millis) -> Instant {
        Instant(self.0.saturating_add(millis.as_nanos()))
    }
}

/// Saturates at [`Instant::FAR_FUTURE`].
impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        const NANOS: u64 = 1_000_000_000;
        let whole = duration.as_secs().saturating_mul(NANOS);
        let nanos = whole.saturating_add(duration.subsec_nanos().into());
        Instant(self.0.saturating_add(nanos))
    }
}

/// The time from `earlier` to `self`, zero if `earlier` is in fact later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_is_exact_to_the_nanosecond() {
        let start = Instant::from_nanos(7);
        let end = start + Duration::from_millis(3);
        assert_eq!(end.as_nanos(), 3_000_007);
        assert_eq!(end - start, Duration::from_millis(3));
    }

    #[test]
    fn a_difference_is_never_negative() {
        assert_eq!(Instant::ZERO - Instant::from_nanos(1), Duration::ZERO);
    }

    #[test]
    fn the_far_future_is_not_overflowed() {
        assert_eq!(
            Instant::FAR_FUTURE + Duration::from_secs(1),
            Instant::FAR_FUTURE
        );
        assert_eq!(Instant::from_nanos(1) + Duration::MAX, Instant::FAR_FUTURE);
    }
}
