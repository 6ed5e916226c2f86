//! Loss detection by time (RACK, RFC 8985, section 6): a segment is lost if one that was sent well
//! after it has arrived.

use std::time::Duration;

use crate::flight::{Flight, Sent};
use crate::seq::SeqNumber;
use crate::time::Instant;

/// How long a minimum of the round trip holds (RFC 8985, section 6.2, step 1; Linux's `tcp_min_rtt_wlen`).
const MIN_RTT_HOLDS: Duration = Duration::from_secs(300);
/// Segments sacked that mean a loss even if the path is known to reorder nothing (RFC 5681).
const DUPLICATES: usize = 3;
/// Recoveries for which a wider window is kept (RFC 8985, section 6.2, step 4).
const WINDOW_PERSISTS: u8 = 16;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rack {
    /// Of the segment sent last among those that have arrived: when, its end, and its round trip.
    newest: Option<(Instant, SeqNumber)>,
    rtt: Duration,
    /// The least round trip, and when it was seen.
    min_rtt: Option<(Duration, Instant)>,
    /// A segment has arrived after a later one.
    pub(crate) reordering: bool,
    /// By how much the reordering window is widened, and for how many recoveries more.
    widened: u8,
    persists: u8,
    /// It is not widened again before this is acknowledged.
    widened_at: Option<SeqNumber>,
    /// When the next segment would be lost.
    pub(crate) deadline: Option<Instant>,
}

/// What the reordering window depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) srtt: Option<Duration>,
    pub(crate) recovering: bool,
}

impl Rack {
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.min_rtt.map(|(rtt, _)| rtt)
    }

    /// A segment has arrived (section 6.2, steps 1 to 3). `spurious`: what has arrived was sent before
    /// the record says, so its time says nothing.
    pub(crate) fn delivered(&mut self, now: Instant, sent: &Sent, spurious: bool) {
        let rtt = now - sent.at;
        let too_soon = self.min_rtt.is_some_and(|(min, _)| rtt < min);
        if sent.again && (spurious || too_soon) {
            return;
        }
        if !sent.again
            && self
                .min_rtt
                .is_none_or(|(min, at)| rtt <= min || now - at > MIN_RTT_HOLDS)
        {
            self.min_rtt = Some((rtt, now));
        }
        if self.is_newer(sent.at, sent.end) {
            self.newest = Some((sent.at, sent.end));
            self.rtt = rtt;
        }
    }

    /// Whether a segment was sent after all that have arrived.
    fn is_newer(&self, at: Instant, end: SeqNumber) -> bool {
        self.newest
            .is_none_or(|(newest, last)| at > newest || at == newest && end.after(last))
    }

    /// A duplicate has arrived at the peer: the window was too narrow (step 4). Once in a round trip.
    pub(crate) fn widen(&mut self, una: SeqNumber, next: SeqNumber) {
        if self.widened_at.is_some_and(|end| una.before(end)) {
            return;
        }
        self.widened_at = Some(next);
        self.widened = self.widened.saturating_add(1);
        self.persists = WINDOW_PERSISTS;
    }

    /// A recovery is over.
    pub(crate) fn recovered(&mut self) {
        self.persists = self.persists.saturating_sub(1);
        if self.persists == 0 {
            self.widened = 0;
        }
    }

    /// Numbers that are acknowledged must not be compared with later ones.
    pub(crate) fn acknowledged(&mut self, una: SeqNumber) {
        self.widened_at = self.widened_at.filter(|end| una.before(*end));
    }

    /// Marks what is lost (step 5), and notes when to look again. Returns whether anything is.
    pub(crate) fn detect(&mut self, now: Instant, flight: &mut Flight, context: &Context) -> bool {
        self.deadline = None;
        let Some((newest, end)) = self.newest else {
            return false;
        };
        let wait = self.rtt + self.window(flight, context);
        let mut next: Option<Instant> = None;
        let lost = flight.mark_lost(|sent| {
            if sent.at > newest || sent.at == newest && !end.after(sent.end) {
                return false;
            }
            let due = sent.at + wait;
            if due <= now {
                return true;
            }
            next = Some(next.map_or(due, |at| at.min(due)));
            false
        });
        self.deadline = next;
        lost
    }

    /// The reordering window (step 4).
    fn window(&self, flight: &Flight, context: &Context) -> Duration {
        if !self.reordering && (context.recovering || flight.has_sacked(DUPLICATES)) {
            return Duration::ZERO;
        }
        let quarter = self.min_rtt().unwrap_or_default() / 4;
        let window = quarter * (u32::from(self.widened) + 1);
        context.srtt.map_or(window, |srtt| window.min(srtt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CONTEXT: Context = Context {
        srtt: Some(Duration::from_millis(40)),
        recovering: false,
    };

    fn at_ms(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    fn seq(offset: u32) -> SeqNumber {
        SeqNumber(u32::MAX - 150) + offset
    }

    /// Four segments, a millisecond apart.
    fn flight() -> Flight {
        let mut flight = Flight::default();
        for index in 0..4 {
            let start = seq(100 * index);
            flight.push(at_ms(u64::from(index)), start, start + 100);
        }
        flight
    }

    fn sack(rack: &mut Rack, flight: &mut Flight, now: Instant, index: u32) {
        let start = seq(100 * index);
        flight.sack(start, start + 100, |sent| rack.delivered(now, sent, false));
    }

    #[test]
    fn what_was_sent_before_what_has_arrived_is_lost_a_quarter_of_a_round_trip_later() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        sack(&mut rack, &mut flight, at_ms(41), 1);
        assert_eq!(rack.min_rtt(), Some(40 * MS));
        assert!(!rack.detect(at_ms(41), &mut flight, &CONTEXT));
        assert_eq!(rack.deadline, Some(at_ms(50)));
        assert!(rack.detect(at_ms(50), &mut flight, &CONTEXT));
        assert_eq!(flight.lost_bytes(), 100);
        assert_eq!(rack.deadline, None, "later ones are not suspected");
    }

    #[test]
    fn three_that_overtook_it_leave_no_doubt() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        for index in 1..4 {
            sack(&mut rack, &mut flight, at_ms(40 + u64::from(index)), index);
        }
        assert!(rack.detect(at_ms(43), &mut flight, &CONTEXT));
    }

    #[test]
    fn a_path_that_reorders_is_given_the_window_all_the_same() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        rack.reordering = true;
        for index in 1..4 {
            sack(&mut rack, &mut flight, at_ms(40 + u64::from(index)), index);
        }
        assert!(!rack.detect(at_ms(43), &mut flight, &CONTEXT));
        assert!(rack.detect(at_ms(53), &mut flight, &CONTEXT));
    }

    #[test]
    fn a_retransmission_is_lost_if_what_was_sent_after_it_arrives() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        flight.mark_first_lost();
        flight.resend(at_ms(10), seq(0), seq(100));
        flight.push(at_ms(20), seq(400), seq(500));
        sack(&mut rack, &mut flight, at_ms(60), 4);
        let context = Context {
            recovering: true,
            ..CONTEXT
        };
        assert!(rack.detect(at_ms(60), &mut flight, &context));
        assert_eq!(flight.first_lost().map(|sent| sent.start), Some(seq(0)));
    }

    #[test]
    fn an_acknowledgement_of_the_first_transmission_says_nothing_of_the_second() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        sack(&mut rack, &mut flight, at_ms(41), 1);
        flight.mark_first_lost();
        flight.resend(at_ms(50), seq(0), seq(100));
        let newest = rack.newest;
        flight.acknowledge(seq(100), |sent| rack.delivered(at_ms(52), sent, false));
        assert_eq!(rack.newest, newest, "sooner than any round trip");
    }

    #[test]
    fn an_echo_of_the_first_transmission_says_nothing_of_the_second() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        sack(&mut rack, &mut flight, at_ms(41), 1);
        flight.mark_first_lost();
        flight.resend(at_ms(50), seq(0), seq(100));
        let newest = rack.newest;
        flight.acknowledge(seq(100), |sent| rack.delivered(at_ms(95), sent, true));
        assert_eq!(rack.newest, newest, "though a round trip has passed");
    }

    #[test]
    fn the_least_round_trip_is_forgotten_after_five_minutes() {
        let (mut rack, mut flight) = (Rack::default(), Flight::default());
        let mut arrive = |rtt: u64, at: u64, offset: u32| {
            flight.push(at_ms(at - rtt), seq(offset), seq(offset + 100));
            flight.acknowledge(seq(offset + 100), |sent| {
                rack.delivered(at_ms(at), sent, false);
            });
            rack.min_rtt()
        };
        assert_eq!(arrive(40, 100, 0), Some(40 * MS));
        assert_eq!(arrive(60, 300_100, 100), Some(40 * MS));
        assert_eq!(arrive(60, 300_101, 200), Some(60 * MS));
    }

    #[test]
    fn duplicates_widen_the_window_once_a_round_trip_up_to_the_round_trip() {
        let (mut rack, mut flight) = (Rack::default(), flight());
        rack.reordering = true;
        sack(&mut rack, &mut flight, at_ms(41), 1);
        rack.widen(seq(0), seq(400));
        rack.widen(seq(0), seq(400));
        assert_eq!(rack.window(&flight, &CONTEXT), 20 * MS);
        for round in 1..10 {
            rack.widen(seq(400 * round), seq(400 * round + 400));
        }
        assert_eq!(rack.window(&flight, &CONTEXT), 40 * MS);
        (0..WINDOW_PERSISTS).for_each(|_| rack.recovered());
        assert_eq!(rack.window(&flight, &CONTEXT), 10 * MS);
    }
}
