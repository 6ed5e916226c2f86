//! A limit on how often something is done.

use ringwire_tcp::Instant;

/// What one token costs, in the bucket's unit of a billionth of a token.
const TOKEN: u64 = 1_000_000_000;

/// A token bucket, for what a host must send no faster than some rate: ICMP errors (RFC 1812,
/// section 4.3.2.8; RFC 4443, section 2.4(f)).
///
/// Exact: with one nanosecond adding `rate` billionths of a token, nothing is ever rounded away.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate_per_s: u64,
    capacity: u64,
    credit: u64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket of `burst` tokens that gains `rate_per_s` tokens each second.
    ///
    /// Without a rate the burst is all there ever is; without a burst nothing is ever granted.
    pub fn new(rate_per_s: u32, burst: u32) -> TokenBucket {
        let capacity = u64::from(burst) * TOKEN;
        TokenBucket {
            rate_per_s: rate_per_s.into(),
            capacity,
            credit: capacity,
            filled_at: Instant::ZERO,
        }
    }

    /// Takes a token, if there is one at `now`.
    pub fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let taken = self.credit >= TOKEN;
        if taken {
            self.credit -= TOKEN;
        }
        taken
    }

    fn fill(&mut self, now: Instant) {
        let elapsed_ns = now.as_nanos().saturating_sub(self.filled_at.as_nanos());
        let gained = elapsed_ns.saturating_mul(self.rate_per_s);
        self.credit = self.credit.saturating_add(gained).min(self.capacity);
        // A clock that stepped back must not be paid twice for the same time.
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn the_burst_is_granted_and_then_the_rate() {
        let mut bucket = TokenBucket::new(1000, 3);
        let start = 5_000_000_000;
        assert_eq!((0..10).filter(|_| bucket.take(at(start))).count(), 3);
        assert!(
            !bucket.take(at(start + 999_999)),
            "1 ns before the next token"
        );
        assert!(bucket.take(at(start + 1_000_000)));
        assert!(!bucket.take(at(start + 1_000_000)));
    }

    #[test]
    fn small_steps_lose_nothing() {
        // A burst of two, so that the bucket is never full again and nothing overflows.
        let mut bucket = TokenBucket::new(3, 2);
        let step_ns = 7_777_777;
        let granted = (0..9000)
            .filter(|step| bucket.take(at(step * step_ns)))
            .count() as u64;
        let elapsed_tokens = 8999 * step_ns * 3 / TOKEN;
        assert_eq!(granted, 2 + elapsed_tokens);
    }

    #[test]
    fn a_long_idle_time_saves_up_no_more_than_the_burst() {
        let mut bucket = TokenBucket::new(u32::MAX, 2);
        assert!(bucket.take(at(0)));
        let later = at(u64::MAX - 1);
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 2);
    }

    #[test]
    fn a_clock_that_steps_back_grants_nothing() {
        let mut bucket = TokenBucket::new(1, 1);
        assert!(bucket.take(at(10 * TOKEN)));
        assert!(!bucket.take(at(9 * TOKEN)));
        assert!(!bucket.take(at(10 * TOKEN)));
        assert!(bucket.take(at(11 * TOKEN)));
    }

    #[test]
    fn without_a_rate_the_burst_is_all_there_is() {
        let mut bucket = TokenBucket::new(0, 1);
        assert!(bucket.take(at(0)));
        assert!(!bucket.take(at(u64::MAX)));
        assert!(!TokenBucket::new(5, 0).take(at(u64::MAX)));
    }
}
