//! Keepalive: a connection on which nothing is heard for long is asked whether it is still there (RFC
//! 1122, section 4.2.3.6; Linux's `tcp_keepalive_timer`).

use crate::connection::Connection;
use crate::disposition::{Disposition, Failure};
use crate::state::State;
use crate::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeepAliveTimer {
    /// When to look; the peer may have been heard since that was set.
    pub(crate) deadline: Option<Instant>,
    /// Probes that were not answered.
    probes: u32,
    /// A probe is to be sent.
    pub(crate) due: bool,
}

impl KeepAliveTimer {
    /// The peer was heard.
    pub(crate) fn heard(&mut self) {
        self.probes = 0;
    }
}

impl Connection {
    /// Begins, or ends, to watch for silence.
    pub(crate) fn arm_keep_alive(&mut self, now: Instant) {
        let settings = &self.config.options.keep_alive;
        let stands = !matches!(
            self.state,
            State::Closed | State::Listen | State::SynSent | State::SynReceived
        );
        let from = self.timers.heard_at + settings.idle;
        let timer = &mut self.timers.keep_alive;
        timer.deadline = (settings.enabled && stands).then(|| now.max(from));
        timer.due &= timer.deadline.is_some();
    }

    /// The deadline is reached.
    pub(crate) fn check_silence(&mut self, now: Instant, disposition: &mut Disposition) {
        let settings = self.config.options.keep_alive;
        // What is outstanding has timers of its own.
        let busy = self.send.una != self.send.next || self.send.end.after(self.send.next);
        let silence = now - self.timers.heard_at;
        let timer = &mut self.timers.keep_alive;
        if busy || silence < settings.idle {
            let from = if busy { now } else { self.timers.heard_at };
            timer.deadline = Some(from + settings.idle);
            return;
        }
        let over = match self.config.options.user_timeout {
            Some(most) => timer.probes > 0 && silence >= most,
            None => timer.probes >= u32::from(settings.count),
        };
        if over {
            disposition.reply = Some(Box::new(self.reset_segment()));
            return self.fail(Failure::TimedOut, disposition);
        }
        timer.probes += 1;
        timer.due = true;
        timer.deadline = Some(now + settings.interval);
    }
}
