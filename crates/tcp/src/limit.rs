//! A limit on answers that a peer (or somebody who only pretends to be it) can provoke at no cost: RFC
//! 5961, section 7, for challenge ACKs; Linux's `tcp_invalid_ratelimit` for the rest.

use std::time::Duration;

use crate::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AnswerLimit {
    last: Option<Instant>,
}

impl AnswerLimit {
    /// Whether an answer may be given now; it counts as given then.
    pub(crate) fn permits(&mut self, now: Instant, interval: Duration) -> bool {
        let permitted = self.last.is_none_or(|last| now - last >= interval);
        if permitted {
            self.last = Some(now);
        }
        permitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_in_an_interval() {
        let mut limit = AnswerLimit::default();
        let (start, interval) = (Instant::from_nanos(5), Duration::from_millis(500));
        assert!(limit.permits(start, interval));
        assert!(!limit.permits(start + interval / 2, interval));
        assert!(limit.permits(start + interval, interval));
    }
}
