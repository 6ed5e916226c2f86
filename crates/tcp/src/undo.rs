//! Reductions that were a mistake: nothing was lost, and what was sent again arrived twice. Shown by
//! D-SACK (RFC 3708) or by the timestamp of an acknowledgement (Eifel, RFC 3522).

use crate::congestion::Congestion;
use crate::seq::SeqNumber;

/// What the last reduction was, while it can still be undone.
#[derive(Clone, Debug)]
struct Episode {
    before: Congestion,
    /// SND.UNA when it began.
    una: SeqNumber,
    /// Segments sent again, less those that have arrived twice; `None` before the first.
    again: Option<u32>,
    /// The end of the last of them.
    end: SeqNumber,
    /// Our clock at the first of them.
    stamp: Option<u32>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Undo {
    episode: Option<Box<Episode>>,
}

impl Undo {
    /// The window is about to be reduced.
    pub(crate) fn begin(&mut self, before: Congestion, una: SeqNumber) {
        self.episode = Some(Box::new(Episode {
            before,
            una,
            again: None,
            end: una,
            stamp: None,
        }));
    }

    /// There is nothing to undo any more.
    pub(crate) fn forget(&mut self) {
        self.episode = None;
    }

    /// A segment was sent again, up to `end`; `stamp` is our clock, if there are timestamps.
    pub(crate) fn sent_again(&mut self, end: SeqNumber, stamp: Option<u32>) {
        if let Some(episode) = &mut self.episode {
            episode.end = episode.end.max(end);
            episode.again = Some(episode.again.unwrap_or(0) + 1);
            episode.stamp = episode.stamp.or(stamp);
        }
    }

    /// The peer says that it got so many segments, up to `end`, twice. What was not sent again is the
    /// network's doing.
    pub(crate) fn duplicates(&mut self, end: SeqNumber, segments: u32) {
        if let Some(episode) = &mut self.episode
            && end.after(episode.una)
            && !end.after(episode.end)
            && let Some(again) = &mut episode.again
        {
            *again = again.saturating_sub(segments);
        }
    }

    /// The window to go back to, if everything that was sent again arrived twice.
    pub(crate) fn by_duplicates(&mut self) -> Option<Congestion> {
        let all = self.episode.as_ref()?.again == Some(0);
        self.take(all)
    }

    /// The window to go back to, if an acknowledgement of something new echoes a time before anything
    /// was sent again, or nothing was at all.
    pub(crate) fn by_echo(&mut self, echo: Option<u32>) -> Option<Congestion> {
        let episode = self.episode.as_ref()?;
        let before = match (episode.stamp, echo) {
            (Some(stamp), Some(echo)) => (echo.wrapping_sub(stamp) as i32) < 0,
            _ => episode.again.is_none(),
        };
        self.take(before)
    }

    fn take(&mut self, mistaken: bool) -> Option<Congestion> {
        self.episode
            .take_if(|_| mistaken)
            .map(|episode| episode.before)
    }

    /// Numbers so old must not be compared with later ones.
    pub(crate) fn acknowledged(&mut self, una: SeqNumber) {
        self.episode
            .take_if(|episode| una.since(episode.una) > 1 << 30);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::congestion::Algorithm;

    const UNA: SeqNumber = SeqNumber(u32::MAX - 10);

    fn begun() -> Undo {
        let mut undo = Undo::default();
        undo.begin(Congestion::new(1000, Algorithm::Cubic), UNA);
        undo
    }

    #[test]
    fn as_many_duplicates_as_were_sent_again_undo_it() {
        let mut undo = begun();
        assert!(undo.by_duplicates().is_none(), "nothing was sent again");
        undo.sent_again(UNA + 100, None);
        undo.sent_again(UNA + 200, None);
        undo.duplicates(UNA + 100, 1);
        assert!(undo.by_duplicates().is_none());
        undo.duplicates(UNA, 1);
        assert!(undo.by_duplicates().is_none(), "of an earlier time");
        undo.duplicates(UNA + 201, 1);
        assert!(undo.by_duplicates().is_none(), "it was sent once");
        undo.duplicates(UNA + 200, 1);
        assert!(undo.by_duplicates().is_some());
        assert!(undo.by_duplicates().is_none(), "once");
    }

    #[test]
    fn an_echo_from_before_it_was_sent_again_undoes_it() {
        let mut undo = begun();
        undo.sent_again(UNA + 100, Some(5));
        undo.sent_again(UNA + 200, Some(9));
        assert!(undo.by_echo(Some(5)).is_none());
        assert!(undo.by_echo(None).is_none());
        assert!(undo.by_echo(Some(u32::MAX)).is_some(), "across the wrap");
    }

    #[test]
    fn what_needed_nothing_sent_again_is_undone() {
        assert!(begun().by_echo(None).is_some());
    }

    #[test]
    fn a_gigabyte_later_it_is_forgotten() {
        let mut undo = begun();
        undo.acknowledged(UNA + (1 << 30) + 1);
        assert!(undo.by_echo(None).is_none());
    }
}
