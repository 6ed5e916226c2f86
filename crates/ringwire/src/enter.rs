//! io_uring_enter(2): what it checks, in the kernel's order, and how it waits (Linux
//! `io_uring/io_uring.c`, `io_uring_enter` and `io_cqring_wait`).

use std::time::Duration;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::register::GetEventsArg;
use ringwire_stack::Instant;
use ringwire_xsk::clock;

use crate::poller::{Poller, errno_of};
use crate::ring::{Core, Shared, now};
use crate::usermem::{read_plain, read_sigmask, read_timespec};

/// The flags that the kernel knows.
const ENTER_FLAGS: u32 = IORING_ENTER_GETEVENTS
    | IORING_ENTER_SQ_WAKEUP
    | IORING_ENTER_SQ_WAIT
    | IORING_ENTER_EXT_ARG
    | IORING_ENTER_REGISTERED_RING
    | IORING_ENTER_ABS_TIMER
    | IORING_ENTER_EXT_ARG_REG
    | IORING_ENTER_NO_IOWAIT;
/// Bytes of `struct io_uring_reg_wait`.
const REG_WAIT_BYTES: usize = 64;
/// While a wait spins, between two turns that may have nothing to do: for what nobody shows in the rings.
const IDLE_TURN: Duration = Duration::from_micros(5);
/// Bytes of the kernel's `sigset_t`. libc's is larger.
const SIGSET_BYTES: usize = 8;

/// The arguments of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enter {
    pub(crate) to_submit: u32,
    pub(crate) min_complete: u32,
    pub(crate) flags: u32,
    pub(crate) arg: u64,
    pub(crate) arg_bytes: usize,
}

/// When a wait ends.
#[derive(Debug)]
pub(crate) struct Until {
    pub(crate) want: u32,
    /// With fewer completions than wanted, one is enough from here on.
    min_wait: Option<Instant>,
    deadline: Option<Instant>,
    /// Where the signal mask is, and its size in bytes.
    sigmask: (u64, usize),
}

impl Until {
    /// Whether the wait is over at this time, with so many completions: with `ETIME` for none.
    fn is_over(&self, time: Instant, ready: u32) -> Option<Result<(), Errno>> {
        let enough = self.min_wait.is_some_and(|min_wait| time >= min_wait) && ready > 0;
        if enough || ready >= self.want {
            return Some(Ok(()));
        }
        // A minimum wait is not cut short by a timeout, and ends a wait that has none.
        let end = self.deadline.max(self.min_wait)?;
        (time >= end).then_some(if ready > 0 { Ok(()) } else { Err(Errno::ETIME) })
    }

    /// When to look again, unless something happens before.
    fn next_look(&self, time: Instant) -> Option<Instant> {
        [self.min_wait, self.deadline]
            .into_iter()
            .flatten()
            .filter(|&at| at > time)
            .min()
    }
}

impl Shared {
    /// io_uring_enter(2) on this ring.
    pub(crate) fn io_uring_enter(&self, call: &Enter) -> Result<u32, Errno> {
        if call.flags & !ENTER_FLAGS != 0 {
            return Err(Errno::EINVAL);
        }
        if call.flags & IORING_ENTER_REGISTERED_RING != 0 {
            return Err(Errno::EBADF);
        }
        if !self.queues().is_enabled() {
            return Err(Errno::EBADFD);
        }
        if let Some(poller) = &self.poller {
            return self.enter_polled(poller, call);
        }
        // Who only waits need not be the one who submits, unless completions are made for that one.
        let waits = call.flags & IORING_ENTER_GETEVENTS != 0;
        if call.to_submit > 0 || waits && self.defers() {
            self.check_owner()?;
        }
        let mut core = self.engine()?;
        let core = &mut *core;
        // What it was rung for is seen by the turn.
        core.waiter.waker().clear();
        let now = now();
        core.tend(now);
        let taken = core.engine.submit(now, call.to_submit);
        let result = if waits && taken == call.to_submit {
            core.engine.turn(now);
            self.until(call, || Ok(core.engine.wait_clock()))
                .and_then(|until| self.wait(core, &until))
        } else {
            self.turn_without_waiting(core, now);
            Ok(())
        };
        self.set_exported_timer(core);
        match result {
            // What was taken was taken, whatever came of the wait.
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// The same where a thread takes the entries and the turns: all were taken, whatever came of the
    /// wait.
    fn enter_polled(&self, poller: &Poller, call: &Enter) -> Result<u32, Errno> {
        poller.check()?;
        if call.flags & IORING_ENTER_SQ_WAKEUP != 0 {
            poller.wake();
        }
        if call.flags & IORING_ENTER_SQ_WAIT != 0 {
            self.wait_for_room(poller)?;
        }
        let mut result = Ok(());
        if call.flags & IORING_ENTER_GETEVENTS != 0 {
            result = self
                .until(call, || Ok(self.engine()?.engine.wait_clock()))
                .and_then(|until| self.wait_polled(poller, &until));
        }
        self.show_completions(poller);
        match result {
            Err(error) if call.to_submit == 0 => Err(error),
            _ => Ok(call.to_submit),
        }
    }

    /// Keeps the pollable fd up to date, if somebody has that.
    pub(crate) fn show_completions(&self, poller: &Poller) {
        if self.is_exported() {
            poller.shown.clear();
            if self.queues().cq_ready() > 0 {
                poller.shown.wake();
            }
        }
    }

    /// Until the submission queue has room, or a signal comes (Linux `io_sqpoll_wait_sq`).
    fn wait_for_room(&self, poller: &Poller) -> Result<(), Errno> {
        let bell = poller.bell()?;
        while self.queues().sq_ready() == self.queues().sq_entries() {
            poller.check()?;
            if bell.sleep(None, None).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn wait_polled(&self, poller: &Poller, until: &Until) -> Result<(), Errno> {
        if self.queues().overflowed() {
            self.engine()?.engine.flush_overflow();
        }
        if self.queues().cq_ready() >= until.want {
            return Ok(());
        }
        let sigmask = until.sigmask()?;
        let timed_out = self.queues().timed_out();
        let bell = poller.bell()?;
        loop {
            let (time, ready) = (now(), self.queues().cq_ready());
            if let Some(result) = until.is_over(time, ready) {
                return result;
            }
            if self.queues().timed_out() != timed_out {
                return Ok(());
            }
            poller.check()?;
            let timeout = until.next_look(time).map(|next| next - time);
            match bell.sleep(timeout, sigmask.as_ref()) {
                Err(_) if self.queues().cq_ready() > 0 => return Ok(()),
                slept => slept?,
            }
        }
    }

    fn turn_without_waiting(&self, core: &mut Core, now: Instant) {
        if self.defers() {
            core.engine.turn_deferred(now);
        } else {
            core.engine.turn(now);
        }
    }

    /// Keeps the timer of the pollable fd up to date, if somebody has that.
    fn set_exported_timer(&self, core: &mut Core) {
        if !self.is_exported() {
            return;
        }
        let deadline = if self.queues().cq_ready() > 0 || !core.engine.may_sleep() {
            Some(Instant::ZERO)
        } else {
            core.engine.next_deadline()
        };
        core.waiter
            .show(deadline.map(|deadline| Duration::from_nanos(deadline.as_nanos())));
    }

    /// Reads the argument of a wait (Linux `io_get_ext_arg`). `clock_of` is asked for the ring's clock.
    fn until(
        &self,
        call: &Enter,
        clock_of: impl FnOnce() -> Result<libc::clockid_t, Errno>,
    ) -> Result<Until, Errno> {
        let mut until = Until {
            want: call.min_complete.min(self.queues().cq_entries()),
            min_wait: None,
            deadline: None,
            sigmask: (call.arg, call.arg_bytes),
        };
        if call.flags & IORING_ENTER_EXT_ARG == 0 {
            return Ok(until);
        }
        if call.flags & IORING_ENTER_EXT_ARG_REG != 0 {
            // There is no region to find it in.
            let fits = call.arg_bytes == REG_WAIT_BYTES;
            return Err(if fits { Errno::EFAULT } else { Errno::EINVAL });
        }
        if call.arg_bytes != size_of::<GetEventsArg>() {
            return Err(Errno::EINVAL);
        }
        let arg: GetEventsArg = read_plain(call.arg)?;
        let start = now();
        until.sigmask = (arg.sigmask, arg.sigmask_bytes as usize);
        until.min_wait =
            (arg.min_wait_us > 0).then(|| start + Duration::from_micros(arg.min_wait_us.into()));
        if arg.timespec != 0 {
            let time = read_timespec(arg.timespec)?;
            let absolute = call.flags & IORING_ENTER_ABS_TIMER != 0;
            let clock_id = absolute.then(clock_of).transpose()?;
            until.deadline = deadline(start, time, clock_id.map(clock));
        }
        Ok(until)
    }

    /// Waits in inline mode: this thread takes the turns.
    fn wait(&self, core: &mut Core, until: &Until) -> Result<(), Errno> {
        core.engine.flush_overflow();
        if self.queues().cq_ready() >= until.want {
            return Ok(());
        }
        let sigmask = until.sigmask()?;
        let timed_out = self.queues().timed_out();
        let mut spin_until = now() + core.spin;
        let mut idle_until = Instant::ZERO;
        loop {
            let (time, ready) = (now(), self.queues().cq_ready());
            if let Some(result) = until.is_over(time, ready) {
                return result;
            }
            if self.queues().timed_out() != timed_out {
                return Ok(());
            }
            let mut time = time;
            if !core.engine.has_work() {
                if time >= spin_until {
                    match sleep(core, until, sigmask.as_ref(), time) {
                        Err(_) if ready > 0 => return Ok(()),
                        slept => slept?,
                    }
                    time = now();
                    spin_until = time + core.spin;
                } else if time < idle_until {
                    std::hint::spin_loop();
                    continue;
                }
            }
            core.tend(time);
            core.engine.turn(time);
            core.engine.flush_overflow();
            if core.spin > Duration::ZERO {
                let due = core.engine.next_deadline();
                idle_until = due.map_or(time + IDLE_TURN, |due| due.min(time + IDLE_TURN));
            }
        }
    }
}

impl Until {
    /// Copies the signal mask (Linux `set_user_sigmask`).
    fn sigmask(&self) -> Result<Option<libc::sigset_t>, Errno> {
        match self.sigmask {
            (0, _) => Ok(None),
            (_, bytes) if bytes != SIGSET_BYTES => Err(Errno::EINVAL),
            (addr, _) => read_sigmask(addr).map(Some),
        }
    }
}

fn sleep(
    core: &mut Core,
    until: &Until,
    sigmask: Option<&libc::sigset_t>,
    now: Instant,
) -> Result<(), Errno> {
    if !core.engine.may_sleep() {
        return Ok(());
    }
    let next = [core.engine.next_deadline(), until.next_look(now)]
        .into_iter()
        .flatten()
        .min();
    let slept = core.waiter.sleep(next.map(|next| next - now), sigmask);
    // ppoll fails for signals and for want of memory.
    core.engine.woken(slept.map_err(errno_of)?);
    Ok(())
}

/// When a timeout of so many seconds and nanoseconds comes; an absolute one counts on a clock, which
/// stands at `clock`. As in the kernel, a time that has passed is one, and the nanoseconds may be any
/// number. `None`: never, since it is beyond what a timer can count (`KTIME_MAX`).
fn deadline(start: Instant, time: (i64, i64), clock: Option<Duration>) -> Option<Instant> {
    let (seconds, nanos) = time;
    let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    if time >= i128::from(i64::MAX) {
        return None;
    }
    let from_now = time - clock.map_or(0, |clock| clock.as_nanos() as i128);
    let from_now = u64::try_from(from_now.max(0)).unwrap_or(u64::MAX);
    Some(start + Duration::from_nanos(from_now))
}

#[cfg(test)]
#[path = "enter_tests.rs"]
mod tests;
