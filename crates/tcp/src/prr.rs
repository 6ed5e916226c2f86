//! How much may be sent while the window is reduced (Proportional Rate Reduction, RFC 6937): as much
//! as arrives, in the proportion by which the window falls. Bytes throughout.

/// One reduction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prr {
    /// What was outstanding when it began (RecoverFS).
    flight: u32,
    delivered: u64,
    pub(crate) out: u64,
}

impl Prr {
    pub(crate) fn begin(flight: u32) -> Prr {
        Prr {
            flight: flight.max(1),
            delivered: 0,
            out: 0,
        }
    }

    /// The congestion window after an acknowledgement that says that `delivered` bytes more have
    /// arrived, and `pipe` are in the network. `safe`: it shows progress and no further loss.
    pub(crate) fn window(
        &mut self,
        delivered: u32,
        pipe: u32,
        threshold: u32,
        mss: u32,
        safe: bool,
    ) -> u32 {
        self.delivered += u64::from(delivered);
        let credit = if pipe > threshold {
            let share = (self.delivered * u64::from(threshold)).div_ceil(self.flight.into());
            share.saturating_sub(self.out)
        } else {
            // The slow start reduction bound, or without progress the conservative one.
            let mut limit = self.delivered.saturating_sub(self.out);
            if safe {
                limit = limit.max(delivered.into()) + u64::from(mss);
            }
            limit.min(u64::from(threshold - pipe))
        };
        // The first retransmission goes in any case.
        let least = if self.out == 0 { mss } else { 0 };
        pipe.saturating_add(u32::try_from(credit).unwrap_or(u32::MAX).max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// Runs a recovery in which each acknowledgement says that one segment has arrived; returns how
    /// many segments went for each.
    fn run(flight: u32, lost: u32, threshold: u32) -> Vec<u32> {
        let mut prr = Prr::begin(flight * MSS);
        let mut pipe = (flight - lost) * MSS;
        let mut sent = Vec::new();
        for _ in 0..flight - lost {
            pipe -= MSS;
            let window = prr.window(MSS, pipe, threshold * MSS, MSS, true);
            let count = (window - pipe) / MSS;
            prr.out += u64::from(count * MSS);
            pipe += count * MSS;
            sent.push(count);
        }
        sent
    }

    #[test]
    fn half_of_what_arrives_goes_while_the_window_is_halved() {
        // RFC 6937, appendix A: 20 outstanding, one lost, to 10.
        let sent = run(20, 1, 10);
        assert_eq!(sent.iter().sum::<u32>(), 10);
        assert!(sent.iter().all(|&count| count <= 1), "{sent:?}");
    }

    #[test]
    fn many_losses_are_made_up_for_in_slow_start() {
        // 15 of 20 are lost: what is in the network is soon below the threshold.
        let sent = run(20, 15, 10);
        assert!(sent.iter().all(|&count| count == 2), "{sent:?}");
    }

    #[test]
    fn without_progress_no_more_goes_than_has_arrived() {
        let mut prr = Prr::begin(20 * MSS);
        prr.out = u64::from(MSS);
        assert_eq!(prr.window(MSS, MSS, 10 * MSS, MSS, false), MSS);
        assert_eq!(prr.window(MSS, MSS, 10 * MSS, MSS, false), 2 * MSS);
    }

    #[test]
    fn the_first_retransmission_goes_whatever_has_arrived() {
        let mut prr = Prr::begin(20 * MSS);
        assert_eq!(prr.window(0, 19 * MSS, 10 * MSS, MSS, false), 20 * MSS);
    }
}
