//! TIMEOUT and LINK_TIMEOUT: after a time, or after a number of completions (Linux
//! `io_uring/timeout.c`).

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::request::{Op, TimeoutUpdate};
use ringwire_stack::Instant;

use super::Engine;
use super::chain::Work;
use super::request::{Prepared, RequestId};

impl Engine {
    pub(super) fn issue_timeout(&mut self, id: RequestId, count: u32, flags: u32) {
        let at = self.expiry(self.time(id), flags);
        self.timers.arm(&mut self.requests, id, at);
        if flags & IORING_TIMEOUT_MULTISHOT != 0 {
            self.requests.get_mut(id).repeats = count;
        } else if count > 0 {
            self.requests.get_mut(id).counted = true;
            let target = self.events().wrapping_add(count);
            // In the order of what is left to come; behind those that wait for as many.
            let now = self.events();
            let left = |&(target, _): &(u32, RequestId)| target.wrapping_sub(now) <= count;
            let position = self.counted.partition_point(left);
            self.counted.insert(position, (target, id));
        }
    }

    /// Arms the LINK_TIMEOUT of a request that waits.
    pub(super) fn arm_link_timeout(&mut self, id: RequestId, timed: RequestId) {
        let Op::LinkTimeout { flags, .. } = self.requests.get(id).op else {
            unreachable!("timeout: only a LINK_TIMEOUT times another request")
        };
        let at = self.expiry(self.time(id), flags);
        self.requests.get_mut(id).timed = Some(timed);
        self.timers.arm(&mut self.requests, id, at);
    }

    fn time(&self, id: RequestId) -> Duration {
        match self.requests.get(id).prepared {
            Prepared::Time(time) => time,
            _ => unreachable!("timeout: the time was read at submission"),
        }
    }

    /// When a time comes, on the engine's clock, which is the monotonic one.
    fn expiry(&self, time: Duration, flags: u32) -> Instant {
        if flags & IORING_TIMEOUT_ABS == 0 {
            return self.now + time;
        }
        let clock = if flags & IORING_TIMEOUT_REALTIME != 0 {
            libc::CLOCK_REALTIME
        } else if flags & IORING_TIMEOUT_BOOTTIME != 0 {
            libc::CLOCK_BOOTTIME
        } else {
            return Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        };
        self.now + time.saturating_sub(self.nic.clock(clock))
    }

    /// Takes the times off a request, if it has any; `false` if it has none.
    pub(super) fn disarm(&mut self, id: RequestId) -> bool {
        if std::mem::take(&mut self.requests.get_mut(id).counted) {
            self.counted.retain(|&(_, other)| other != id);
        }
        self.timers.disarm(&mut self.requests, id)
    }

    /// Completes the timeouts whose time has come.
    pub(super) fn fire_timers(&mut self) {
        while let Some((at, id)) = self.timers.first(&self.requests) {
            if at > self.now {
                return;
            }
            self.disarm(id);
            match self.requests.get_mut(id).timed.take() {
                Some(timed) => self.fire_link_timeout(id, timed),
                None => self.fire(id, at),
            }
            self.run_work();
        }
    }

    /// The timeout completes first, then the request that it cancels, then what is behind it in the
    /// chain.
    fn fire_link_timeout(&mut self, id: RequestId, timed: RequestId) {
        self.take_link_timeout(timed);
        self.cancel_later(timed);
        self.complete_as(id, Errno::ETIME.res(), 0, false);
    }

    fn fire(&mut self, id: RequestId, at: Instant) {
        self.queues.count_timeout();
        let period = self.time(id);
        let request = self.requests.get_mut(id);
        let Op::Timeout { flags, .. } = request.op else {
            unreachable!("timeout: a request without a time")
        };
        let failed = flags & IORING_TIMEOUT_ETIME_SUCCESS == 0;
        let again = flags & IORING_TIMEOUT_MULTISHOT != 0 && request.repeats != 1;
        request.repeats = request.repeats.saturating_sub(1);
        if again && self.post_more(id, Errno::ETIME.res(), 0) {
            // At least a nanosecond on, so that a period of zero cannot hold the turn up.
            let next = (at + period).max(self.now + Duration::from_nanos(1));
            return self.timers.arm(&mut self.requests, id, next);
        }
        self.complete_as(id, Errno::ETIME.res(), 0, failed);
    }

    /// Completions in the queue so far that a timeout counts: its like are none
    /// (`cached_cq_tail` less `cq_timeouts`).
    fn events(&self) -> u32 {
        self.queues.cq_tail().wrapping_sub(self.queues.timed_out())
    }

    /// Sets the timeouts to complete whose number of completions has been posted. They come after the
    /// completion that they waited for, and are not counted themselves.
    pub(super) fn finish_counted(&mut self) {
        let now = self.events();
        while let Some(&(target, id)) = self.counted.front() {
            // The counters wrap around.
            if (now.wrapping_sub(target) as i32) < 0 {
                return;
            }
            self.queues.count_timeout();
            self.disarm(id);
            self.work.push_back(Work::Complete(id, 0));
        }
    }

    /// TIMEOUT_REMOVE: ends a timeout, or gives it another time.
    pub(super) fn remove_timeout(
        &mut self,
        id: RequestId,
        user_data: u64,
        update: Option<TimeoutUpdate>,
    ) -> Result<i32, Errno> {
        let update = update.filter(|update| update.flags & IORING_TIMEOUT_UPDATE != 0);
        let found = self.requests.iter().filter(|(_, request)| {
            let kind = match request.op {
                Op::Timeout { .. } => !update.is_some_and(|update| update.link),
                Op::LinkTimeout { .. } => update.is_some_and(|update| update.link),
                _ => false,
            };
            kind && request.timer.is_some() && request.user_data == user_data
        });
        let first = found.min_by_key(|&(id, _)| self.timeout_order(id));
        let (target, _) = first.ok_or(Errno::ENOENT)?;
        match update {
            None => self.cancel_later(target),
            Some(update) => self.update_timeout(target, self.time(id), update.flags),
        }
        Ok(0)
    }

    /// The place of a timeout in the order in which they are looked at (`timeout_list`): those that count
    /// completions by what is left to come, and then the others as they were armed.
    pub(super) fn timeout_order(&self, id: RequestId) -> (usize, u64) {
        let counted = self.counted.iter().position(|&(_, other)| other == id);
        let armed = self.requests.get(id).timer.map_or(0, |(_, serial)| serial);
        (counted.unwrap_or(usize::MAX), armed)
    }

    /// The clock stays the one that the timeout was made with, and a count is forgotten
    /// (`io_timeout_update`).
    fn update_timeout(&mut self, id: RequestId, time: Duration, how: u32) {
        self.disarm(id);
        let request = self.requests.get_mut(id);
        let flags = match request.op {
            Op::Timeout { flags, .. } => {
                // The period of one that repeats, too, and it repeats without end.
                request.prepared = Prepared::Time(time);
                request.repeats = 0;
                flags
            }
            Op::LinkTimeout { flags, .. } => flags,
            _ => unreachable!("timeout: a request without a time"),
        };
        let clock = flags & (IORING_TIMEOUT_BOOTTIME | IORING_TIMEOUT_REALTIME);
        let at = self.expiry(time, clock | how & IORING_TIMEOUT_ABS);
        self.timers.arm(&mut self.requests, id, at);
    }
}

#[cfg(test)]
#[path = "timeout_tests.rs"]
mod tests;
