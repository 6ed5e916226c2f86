//! What a ring is told of its surroundings: the clock of its waits; and, taken and given back but
//! without an effect here, NAPI polling, workers and credentials.

use std::collections::BTreeSet;

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::*;
use ringwire_abi::register::*;
use ringwire_abi::request;
use ringwire_abi::sqe::Sqe;

use super::Engine;
use crate::usermem::{Span, read, read_plain, write_element, write_plain};

/// Longest time to poll, in microseconds (Linux `io_napi_register_napi`).
const MAX_POLL_MICROS: u32 = 10_000;
/// Most bytes of a set of processors that are looked at: the kernel's for 8192.
const MAX_CPU_SET: usize = 1024;

/// Settings without an effect.
#[derive(Debug)]
pub(super) struct Settings {
    napi: NapiReg,
    /// In static tracking.
    napi_ids: BTreeSet<u32>,
    max_workers: [u32; 2],
    personalities: BTreeSet<u16>,
    last_personality: u16,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            napi: NapiReg {
                op_param: IO_URING_NAPI_TRACKING_INACTIVE,
                ..NapiReg::default()
            },
            napi_ids: BTreeSet::new(),
            max_workers: [0; 2],
            personalities: BTreeSet::new(),
            last_personality: 0,
        }
    }
}

impl Settings {
    /// Whether requests may name these credentials. All have the same: nothing here asks for any.
    pub(super) fn has_personality(&self, id: u16) -> bool {
        self.personalities.contains(&id)
    }

    /// `IORING_REGISTER_PERSONALITY`: ids from 1 on, each new one behind the last.
    fn add_personality(&mut self) -> Result<i32, Errno> {
        let behind = (self.last_personality..=u16::MAX).skip(1);
        let around = 1..=self.last_personality;
        let mut ids = behind.chain(around);
        let id = ids.find(|id| !self.personalities.contains(id));
        let id = id.ok_or(Errno::EBUSY)?;
        self.personalities.insert(id);
        self.last_personality = id;
        Ok(id.into())
    }

    fn remove_personality(&mut self, id: u32) -> Result<i32, Errno> {
        match u16::try_from(id) {
            Ok(id) if self.personalities.remove(&id) => Ok(0),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Linux `io_register_napi`, once the argument is read and the settings are written back.
    fn set_napi(&mut self, new: NapiReg) -> Result<(), Errno> {
        let tracks = self.napi.op_param == IO_URING_NAPI_TRACKING_STATIC;
        let id = new.op_param;
        match new.opcode {
            IO_URING_NAPI_REGISTER_OP => {
                if new.op_param > IO_URING_NAPI_TRACKING_STATIC {
                    return Err(Errno::EINVAL);
                }
                self.napi_ids.clear();
                self.napi = NapiReg {
                    busy_poll_to: new.busy_poll_to.min(MAX_POLL_MICROS),
                    prefer_busy_poll: u8::from(new.prefer_busy_poll != 0),
                    op_param: new.op_param,
                    ..NapiReg::default()
                };
                Ok(())
            }
            IO_URING_NAPI_STATIC_ADD_ID if tracks && id != 0 => {
                let is_new = self.napi_ids.insert(id);
                is_new.then_some(()).ok_or(Errno::EEXIST)
            }
            IO_URING_NAPI_STATIC_DEL_ID if tracks && id != 0 => {
                let was_there = self.napi_ids.remove(&id);
                was_there.then_some(()).ok_or(Errno::ENOENT)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}

impl Engine {
    pub(super) fn register_personality(&mut self) -> Result<i32, Errno> {
        self.settings.add_personality()
    }

    pub(super) fn unregister_personality(&mut self, id: u32) -> Result<i32, Errno> {
        self.settings.remove_personality(id)
    }

    /// `IORING_REGISTER_NAPI`. The interface is polled in any case, by whoever waits.
    pub(super) fn register_napi(&mut self, arg: u64) -> Result<i32, Errno> {
        let new: NapiReg = read_plain(arg)?;
        if new.pad != [0; 2] || new.resv != 0 {
            return Err(Errno::EINVAL);
        }
        write_plain(arg, self.settings.napi)?;
        self.settings.set_napi(new)?;
        Ok(0)
    }

    pub(super) fn unregister_napi(&mut self, arg: u64) -> Result<i32, Errno> {
        if arg != 0 {
            let old = NapiReg {
                op_param: 0,
                ..self.settings.napi
            };
            write_plain(arg, old)?;
        }
        let none = Settings::default();
        (self.settings.napi, self.settings.napi_ids) = (none.napi, none.napi_ids);
        Ok(0)
    }

    /// `IORING_REGISTER_CLOCK`: what absolute times of waits are on.
    pub(super) fn register_clock(&mut self, arg: u64) -> Result<i32, Errno> {
        let ClockRegister { clockid, resv } = read_plain(arg)?;
        if resv != [0; 3] {
            return Err(Errno::EINVAL);
        }
        self.clock = match clockid as libc::clockid_t {
            clock @ (libc::CLOCK_MONOTONIC | libc::CLOCK_BOOTTIME) => clock,
            _ => return Err(Errno::EINVAL),
        };
        Ok(0)
    }

    /// `IORING_REGISTER_IOWQ_AFF`: there are no workers to be kept to processors.
    pub(super) fn register_iowq_aff(&mut self, arg: u64, bytes: u32) -> Result<i32, Errno> {
        let len = (bytes as usize).min(MAX_CPU_SET);
        read(Span { addr: arg, len }, &mut [0; MAX_CPU_SET])?;
        Ok(0)
    }

    /// `IORING_REGISTER_IOWQ_MAX_WORKERS`: what was set before is written back, 0 at first.
    pub(super) fn register_iowq_max_workers(&mut self, arg: u64) -> Result<i32, Errno> {
        let new: [u32; 2] = read_plain(arg)?;
        if new.iter().any(|&workers| workers > i32::MAX as u32) {
            return Err(Errno::EINVAL);
        }
        write_plain(arg, self.settings.max_workers)?;
        for (limit, new) in self.settings.max_workers.iter_mut().zip(new) {
            if new != 0 {
                *limit = new;
            }
        }
        Ok(0)
    }

    /// `IORING_REGISTER_PROBE`: what operations there are (Linux `io_probe`).
    pub(super) fn probe(&mut self, arg: u64, nr: u32) -> Result<i32, Errno> {
        let nr = nr.min(IORING_OP_LAST.into());
        let len = size_of::<ProbeHeader>() + nr as usize * size_of::<ProbeOp>();
        let mut old = vec![0; len];
        read(Span { addr: arg, len }, &mut old)?;
        if old.iter().any(|&byte| byte != 0) {
            return Err(Errno::EINVAL);
        }
        let header = ProbeHeader {
            last_op: IORING_OP_LAST - 1,
            ops_len: nr as u8,
            ..ProbeHeader::default()
        };
        write_plain(arg, header)?;
        for op in 0..nr as u8 {
            let flags = if self.has_operation(op) {
                IO_URING_OP_SUPPORTED
            } else {
                0
            };
            let probed = ProbeOp {
                op,
                flags,
                ..ProbeOp::default()
            };
            let ops = arg + size_of::<ProbeHeader>() as u64;
            write_element(ops, op.into(), probed)?;
        }
        Ok(0)
    }

    /// Whether there is an operation, on this ring.
    fn has_operation(&self, opcode: u8) -> bool {
        let wide = self.setup_flags & (IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED) != 0;
        let opcode = match opcode {
            IORING_OP_NOP128 if wide => IORING_OP_NOP,
            IORING_OP_URING_CMD128 if wide => IORING_OP_URING_CMD,
            opcode => opcode,
        };
        // Empty entries: of no length, or of one where an operation wants that.
        let parsed = [0, 1].map(|len| {
            request::parse(&Sqe {
                opcode,
                len,
                ..Sqe::default()
            })
        });
        parsed[0] != Err(Errno::EOPNOTSUPP) || parsed.iter().any(Result::is_ok)
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
