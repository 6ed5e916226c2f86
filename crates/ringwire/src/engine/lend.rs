//! RECV_ZC: the bytes of streams, lent where the NIC wrote them, and the refill ring by which the application
//! gives them back (Linux `io_uring/zcrx.c`).

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_SETUP_CLAMP, IORING_SETUP_DEFER_TASKRUN};
use ringwire_abi::request::{Op, ZeroCopyReceive};
use ringwire_abi::zcrx::{
    IORING_ZCRX_AREA_SHIFT, REFILL_OFFSETS, RegionDesc, ZcrxAreaReg, ZcrxReg,
};
use ringwire_stack::{LendError, Protocol, SocketId};
use ringwire_umem::Pool;

use super::receive::Attempt;
use super::request::RequestId;
use super::{Engine, errno};
use crate::usermem::{RefillRing, Span, read_plain, write_plain};

/// What RECV_ZC names (`zcrx_id`): there is one, since there is one memory.
const ZCRX_ID: u32 = 0;
/// The upper bits of offsets in the UMEM, its area's token.
const AREA: u64 = 0;

/// What was registered to receive with.
#[derive(Debug)]
pub(super) struct RefillQueue {
    ring: RefillRing,
    /// The next entry to take, a free-running counter.
    head: u32,
}

impl Engine {
    /// `IORING_REGISTER_ZCRX_IFQ`. The interface is the ring's, and so is the area: it is told where.
    ///
    /// # Safety
    /// The refill ring's memory must stay valid until the engine is dropped. What is put into it are places
    /// that RECV_ZC has named, each once, and nobody reads there afterwards.
    pub(super) unsafe fn register_zcrx(&mut self, arg: u64) -> Result<i32, Errno> {
        let deferred = self.setup_flags & IORING_SETUP_DEFER_TASKRUN != 0;
        if !deferred || !self.has_big_completions() {
            return Err(Errno::EINVAL);
        }
        let mut reg: ZcrxReg = read_plain(arg)?;
        let region: RegionDesc = read_plain(reg.region_ptr)?;
        reg.rq_entries = reg.check(self.setup_flags & IORING_SETUP_CLAMP != 0)?;
        let mut area: ZcrxAreaReg = read_plain(reg.area_ptr)?;
        region.check(reg.rq_entries)?;
        let (addr, len) = (region.user_addr, region.size as usize);
        Span { addr, len }.check()?;
        area.check()?;
        if self.refills.is_some() {
            return Err(Errno::EEXIST);
        }
        let umem = self.ledger.umem();
        area.addr = umem.as_ptr() as u64;
        area.len = umem.len_bytes() as u64;
        area.rq_area_token = AREA << IORING_ZCRX_AREA_SHIFT;
        reg.offsets = REFILL_OFFSETS;
        reg.zcrx_id = ZCRX_ID;
        write_plain(reg.area_ptr, area)?;
        write_plain(arg, reg)?;
        self.refills = Some(RefillQueue {
            // SAFETY: the caller's promise; the checks saw its size and alignment.
            ring: unsafe { RefillRing::new(addr, reg.rq_entries) },
            head: 0,
        });
        Ok(0)
    }

    /// Takes back what the application has put into the refill ring. What names nothing that is lent is
    /// dropped, and counted.
    pub(super) fn take_refills(&mut self) {
        let Some(RefillQueue { ring, head }) = &mut self.refills else {
            return;
        };
        let available = ring.available(*head);
        if available == 0 {
            return;
        }
        for _ in 0..available {
            let refill = ring.entry(*head);
            *head = head.wrapping_add(1);
            let area = refill.off >> IORING_ZCRX_AREA_SHIFT;
            let known = refill.pad == 0 && area == AREA;
            if !known || self.ledger.give_back(refill.off).is_err() {
                self.counters.bad_refills += 1;
            }
        }
        ring.set_head(*head);
    }

    /// Whether the engine may sleep: it is not short of frames, or will be woken when another thread gives
    /// one back.
    pub(crate) fn may_sleep(&self) -> bool {
        let short = !self.ledger.may_lend() || self.ledger.free_chunks(Pool::Rx) == 0;
        !short || self.ledger.want_returns()
    }

    /// Whether something to receive with is registered (`io_recvzc_prep`).
    pub(super) fn check_zcrx(&self, receive: &ZeroCopyReceive) -> Result<(), Errno> {
        if self.refills.is_none() || receive.queue != ZCRX_ID {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Lends the next part of a stream (`io_zcrx_recv`).
    pub(super) fn attempt_lend(
        &mut self,
        id: RequestId,
        socket: SocketId,
        receive: &ZeroCopyReceive,
        first: bool,
    ) -> Attempt {
        let readiness = self.stack.readiness(&self.ledger, socket);
        let ready =
            readiness.readable || readiness.error || readiness.receive_shut || readiness.hung_up;
        if first && receive.poll_first && !ready {
            return Attempt::Wait;
        }
        if socket.protocol() != Protocol::Tcp {
            return Attempt::failed(Errno::EPROTONOSUPPORT);
        }
        match self.stack.tcp_available(socket).map_err(errno) {
            Err(Errno::EAGAIN) => return Attempt::Wait,
            Err(error) => return Attempt::failed(error),
            // The end of the stream breaks the link behind it.
            Ok(0) => return finished(true),
            Ok(_) => {}
        }
        // What is lent without anybody being told were lost.
        if !self.may_post_more_big() {
            return Attempt::failed(Errno::ENOSPC);
        }
        let limit = match receive.limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let mut lent = self.stack.tcp_lend(&mut self.ledger, socket, limit);
        if lent == Err(LendError::NoFrames) {
            // The application may have given some back since the turn before.
            self.take_refills();
            self.ledger.collect_returns();
            lent = self.stack.tcp_lend(&mut self.ledger, socket, limit);
        }
        let part = match lent {
            Ok(part) => part,
            Err(LendError::NoFrames) => return Attempt::failed(Errno::ENOMEM),
            Err(LendError::Nothing | LendError::HeaderRoom(_)) => return Attempt::Wait,
        };
        let at = AREA << IORING_ZCRX_AREA_SHIFT | part.addr;
        let posted = self.post_more_big(id, part.len as i32, [at, 0]);
        assert!(posted, "lend: a queue that has room takes a completion");
        match &mut self.requests.get_mut(id).op {
            Op::RecvZc(receive) if receive.limit > 0 => {
                receive.limit -= part.len;
                if receive.limit == 0 {
                    return finished(false);
                }
                Attempt::More
            }
            _ => Attempt::More,
        }
    }
}

/// The last completion of a request that has named all its bytes.
fn finished(failed: bool) -> Attempt {
    Attempt::Done {
        res: 0,
        flags: 0,
        failed,
    }
}

#[cfg(test)]
#[path = "lend_tests.rs"]
mod tests;
