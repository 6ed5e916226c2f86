//! Explicit congestion notification (RFC 3168, section 6.1): what a router has marked is told to the
//! sender, and what the sender is told it answers.

use crate::segment::{Ecn, Segment};

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EcnState {
    /// Both ends know of it.
    pub(crate) agreed: bool,
    /// Our SYN asked for it.
    pub(crate) asked: bool,
    /// The peer is to be told of a mark (ECE), until it says that it knows.
    pub(crate) echo: bool,
    /// The peer is to be told that the window was reduced (CWR).
    answer: bool,
}

impl EcnState {
    /// `asks`: our SYN asks for it.
    pub(crate) fn new(asks: bool) -> EcnState {
        EcnState {
            asked: asks,
            ..EcnState::default()
        }
    }

    /// A segment with data has arrived. Returns whether the peer is to hear of it at once.
    pub(crate) fn arrived(&mut self, segment: &Segment) -> bool {
        if !self.agreed {
            return false;
        }
        let before = self.echo;
        if segment.cwr {
            self.echo = false;
        }
        if segment.ecn == Ecn::Congested {
            self.echo = true;
        }
        self.echo && !before
    }

    /// The window was reduced, if `reduced`.
    pub(crate) fn reduced(&mut self, reduced: bool) {
        self.answer |= reduced && self.agreed;
    }

    /// Marks a segment that is sent; `fresh`: it carries data for the first time.
    pub(crate) fn mark(&mut self, segment: &mut Segment, fresh: bool) {
        segment.ece = self.echo;
        if self.agreed && fresh {
            // Section 6.1.5: what is sent again must not be marked by routers.
            segment.ecn = Ecn::Capable;
            segment.cwr = std::mem::take(&mut self.answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed() -> EcnState {
        EcnState {
            agreed: true,
            ..EcnState::default()
        }
    }

    fn marked(cwr: bool) -> Segment {
        Segment {
            ecn: Ecn::Congested,
            cwr,
            len: 1,
            ..Segment::default()
        }
    }

    #[test]
    fn a_mark_is_echoed_until_the_sender_knows() {
        let mut ecn = agreed();
        assert!(ecn.arrived(&marked(false)));
        assert!(!ecn.arrived(&marked(false)), "it was told");
        assert!(ecn.echo);
        ecn.arrived(&Segment {
            cwr: true,
            ..Segment::default()
        });
        assert!(!ecn.echo);
        ecn.arrived(&marked(true));
        assert!(ecn.echo, "marked again");
    }

    #[test]
    fn only_new_data_is_capable_and_says_once_that_the_window_was_reduced() {
        let mut ecn = agreed();
        ecn.reduced(true);
        let mut segment = Segment::default();
        ecn.mark(&mut segment, false);
        assert_eq!((segment.ecn, segment.cwr), (Ecn::Incapable, false));
        ecn.mark(&mut segment, true);
        assert_eq!((segment.ecn, segment.cwr), (Ecn::Capable, true));
        let mut segment = Segment::default();
        ecn.mark(&mut segment, true);
        assert!(!segment.cwr);
    }

    #[test]
    fn without_an_agreement_marks_mean_nothing() {
        let mut ecn = EcnState::default();
        assert!(!ecn.arrived(&marked(false)));
        ecn.reduced(true);
        let mut segment = Segment::default();
        ecn.mark(&mut segment, true);
        assert_eq!(segment, Segment::default());
    }
}
