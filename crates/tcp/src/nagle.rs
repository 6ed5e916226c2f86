//! Small segments: Nagle's algorithm as Minshall modified it (RFC 896; RFC 1122, section 4.2.3.4;
//! draft-minshall-nagle), corking, and the silly window avoidance of the sender.

use crate::options::TcpOptions;
use crate::seq::SeqNumber;

/// What the sender weighs for one new segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Bytes that would go.
    pub(crate) len: u32,
    /// A full segment: the MSS, or the rest of a piece that others follow.
    pub(crate) full: bool,
    /// All queued bytes would have gone.
    pub(crate) last: bool,
    /// Nothing is outstanding.
    pub(crate) idle: bool,
    /// Half of the largest window that the peer ever offered.
    pub(crate) half_window: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nagle {
    /// `TCP_NODELAY`.
    pub(crate) no_delay: bool,
    /// `TCP_CORK`.
    pub(crate) cork: bool,
    /// The last bytes were queued with `MSG_MORE`.
    pub(crate) more: bool,
    /// The end of the last small segment that was sent.
    small_end: Option<SeqNumber>,
}

impl Nagle {
    pub(crate) fn new(options: &TcpOptions) -> Nagle {
        Nagle {
            no_delay: options.no_delay,
            cork: options.cork,
            ..Nagle::default()
        }
    }

    /// Whether the segment may go now.
    pub(crate) fn permits(&self, una: SeqNumber, candidate: &Candidate) -> bool {
        if candidate.len == 0 {
            return false;
        }
        if candidate.full {
            return true;
        }
        if candidate.last {
            return !self.is_corked() && (self.no_delay || !self.small_outstanding(una));
        }
        // The window cuts it short: only what is worth it (RFC 1122's third rule); the persist timer
        // comes to the rest.
        candidate.len >= candidate.half_window.max(1) && (candidate.idle || self.no_delay)
    }

    pub(crate) fn is_corked(&self) -> bool {
        self.cork || self.more
    }

    /// Only one small segment may be outstanding at a time.
    fn small_outstanding(&self, una: SeqNumber) -> bool {
        self.small_end.is_some_and(|end| una.before(end))
    }

    /// A segment less than full was sent, up to `end`.
    pub(crate) fn sent_small(&mut self, end: SeqNumber) {
        self.small_end = Some(end);
    }

    /// All before `una` is acknowledged: numbers that old must not be compared with later ones.
    pub(crate) fn acknowledged(&mut self, una: SeqNumber) {
        self.small_end = self.small_end.filter(|&end| una.before(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNA: SeqNumber = SeqNumber(100);

    fn small() -> Candidate {
        Candidate {
            len: 10,
            full: false,
            last: true,
            idle: false,
            half_window: 1000,
        }
    }

    #[test]
    fn one_small_segment_is_outstanding_at_a_time() {
        let mut nagle = Nagle::default();
        assert!(nagle.permits(UNA, &small()));
        nagle.sent_small(UNA + 10);
        assert!(!nagle.permits(UNA, &small()));
        assert!(nagle.permits(UNA + 10, &small()), "it was acknowledged");
    }

    #[test]
    fn full_segments_outstanding_do_not_hold_a_small_one_back() {
        assert!(Nagle::default().permits(UNA, &small()));
    }

    #[test]
    fn no_delay_sends_at_once() {
        let mut nagle = Nagle {
            no_delay: true,
            ..Nagle::default()
        };
        nagle.sent_small(UNA + 10);
        assert!(nagle.permits(UNA, &small()));
    }

    #[test]
    fn a_cork_holds_small_segments_and_not_full_ones() {
        for nagle in [
            Nagle {
                cork: true,
                no_delay: true,
                ..Nagle::default()
            },
            Nagle {
                more: true,
                no_delay: true,
                ..Nagle::default()
            },
        ] {
            assert!(!nagle.permits(UNA, &small()));
            assert!(nagle.permits(
                UNA,
                &Candidate {
                    full: true,
                    ..small()
                }
            ));
        }
    }

    #[test]
    fn a_segment_cut_by_the_window_needs_half_of_it_and_silence() {
        let nagle = Nagle::default();
        let cut = Candidate {
            last: false,
            idle: true,
            len: 999,
            ..small()
        };
        assert!(!nagle.permits(UNA, &cut));
        assert!(nagle.permits(UNA, &Candidate { len: 1000, ..cut }));
        assert!(!nagle.permits(
            UNA,
            &Candidate {
                len: 1000,
                idle: false,
                ..cut
            }
        ));
        let no_delay = Nagle {
            no_delay: true,
            ..nagle
        };
        let busy = Candidate { idle: false, ..cut };
        assert!(no_delay.permits(UNA, &Candidate { len: 1000, ..busy }));
        assert!(!no_delay.permits(UNA, &busy));
    }

    #[test]
    fn an_old_small_segment_is_forgotten() {
        let mut nagle = Nagle::default();
        nagle.sent_small(UNA);
        nagle.acknowledged(UNA);
        assert!(nagle.permits(UNA - 10, &small()));
    }
}
