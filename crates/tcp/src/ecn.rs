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
}

impl EcnState {
    /// `asks`: our SYN asks for it.
    pub(crate) fn new(asks: bool) -> EcnState {
        EcnState {
            asked: asks,
            ..EcnState::default()
        }
    }

    /// The peer's SYN has come again. One that does not ask takes back what the first one asked
    /// (section 6.1.1), and the peer ignores what it is granted.
    pub(crate) fn asked_again(&mut self, syn: &Segment) {
        self.agreed &= syn.ece && syn.cwr;
    }

    /// A segment with data has arrived. Returns whether the peer is to hear of it at once: the window
    /// of a sender that reduces it, or is to, may be too small for a second segment.
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
        self.echo && !before || segment.cwr
    }

    /// Marks a segment that is sent; `fresh`: it carries data for the first time. `reduced`: the
    /// window was, and the peer was not told (CWR).
    pub(crate) fn mark(&mut self, segment: &mut Segment, fresh: bool, reduced: &mut bool) {
        segment.ece = self.echo;
        if self.agreed && fresh {
            // Section 6.1.5: what is sent again must not be marked by routers.
            segment.ecn = Ecn::Capable;
            segment.cwr = std::mem::take(reduced);
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
        let (mut ecn, mut reduced) = (agreed(), true);
        let mut segment = Segment::default();
        ecn.mark(&mut segment, false, &mut reduced);
        assert_eq!((segment.ecn, segment.cwr), (Ecn::Incapable, false));
        ecn.mark(&mut segment, true, &mut reduced);
        assert_eq!((segment.ecn, segment.cwr), (Ecn::Capable, true));
        let mut segment = Segment::default();
        ecn.mark(&mut segment, true, &mut reduced);
        assert!(!segment.cwr);
    }

    #[test]
    fn without_an_agreement_marks_mean_nothing() {
        let mut ecn = EcnState::default();
        assert!(!ecn.arrived(&marked(false)));
        let mut segment = Segment::default();
        ecn.mark(&mut segment, true, &mut true);
        assert_eq!(segment, Segment::default());
    }
}
