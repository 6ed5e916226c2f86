//! TIMEOUT: after a time, or after a number of completions.

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::request::Op;
use ringwire_stack::Instant;

use super::Engine;
use super::request::{Prepared, RequestId};

impl Engine {
    pub(super) fn issue_timeout(&mut self, id: RequestId, count: u32, flags: u32) {
        let Prepared::Time(time) = self.requests.get(id).prepared else {
            unreachable!("timeout: the time was read at submission")
        };
        let at = if flags & IORING_TIMEOUT_ABS != 0 {
            self.absolute(time, flags)
        } else {
            self.now + time
        };
        self.arm(id, at);
        let multishot = flags & IORING_TIMEOUT_MULTISHOT != 0;
        if multishot {
            self.requests.get_mut(id).repeats = count.into();
        } else if count > 0 {
            let key = (self.posted + u64::from(count), self.timer_serial);
            self.requests.get_mut(id).counted = Some(key);
            self.counted.insert(key, id);
        }
    }

    /// A time on one of the kernel's clocks, on the engine's, which is the monotonic one.
    fn absolute(&self, time: Duration, flags: u32) -> Instant {
        let clock = if flags & IORING_TIMEOUT_REALTIME != 0 {
            libc::CLOCK_REALTIME
        } else if flags & IORING_TIMEOUT_BOOTTIME != 0 {
            libc::CLOCK_BOOTTIME
        } else {
            return Instant::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        };
        self.now + time.saturating_sub(self.nic.clock(clock))
    }

    fn arm(&mut self, id: RequestId, at: Instant) {
        self.timer_serial += 1;
        let key = (at, self.timer_serial);
        self.requests.get_mut(id).timer = Some(key);
        self.timers.insert(key, id);
    }

    pub(super) fn disarm(&mut self, id: RequestId) {
        let request = self.requests.get_mut(id);
        if let Some(key) = request.timer.take() {
            self.timers.remove(&key);
        }
        if let Some(key) = request.counted.take() {
            self.counted.remove(&key);
        }
    }

    /// Completes the timeouts whose time has come.
    pub(super) fn fire_timers(&mut self) {
        while let Some((&(at, _), &id)) = self.timers.first_key_value() {
            if at > self.now {
                return;
            }
            self.fire(id, at);
        }
    }

    fn fire(&mut self, id: RequestId, at: Instant) {
        self.queues.count_timeout();
        self.disarm(id);
        let request = self.requests.get_mut(id);
        let Op::Timeout { flags, .. } = request.op else {
            unreachable!("timeout: a request without a time")
        };
        let Prepared::Time(period) = request.prepared else {
            unreachable!("timeout: a request without a time")
        };
        let again = flags & IORING_TIMEOUT_MULTISHOT != 0 && request.repeats != 1;
        request.repeats = request.repeats.saturating_sub(1);
        if again && self.post_more(id, Errno::ETIME.res(), 0) {
            // At least a nanosecond on, so that a period of zero cannot hold the turn up.
            let next = (at + period).max(self.now + Duration::from_nanos(1));
            return self.arm(id, next);
        }
        let failed = flags & IORING_TIMEOUT_ETIME_SUCCESS == 0;
        self.complete_as(id, Errno::ETIME.res(), 0, failed);
    }

    /// Completes the timeouts whose number of completions has been posted. They come after the
    /// completion that they waited for, and are not counted themselves.
    pub(super) fn finish_counted(&mut self) {
        while let Some((&(target, _), &id)) = self.counted.first_key_value() {
            if target > self.posted {
                return;
            }
            self.queues.count_timeout();
            self.disarm(id);
            self.complete(id, 0, 0);
        }
    }
}
