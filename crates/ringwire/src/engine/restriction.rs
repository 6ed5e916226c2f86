//! What a ring is restricted to before it is enabled (`IORING_REGISTER_RESTRICTIONS`).

use ringwire_abi::errno::Errno;
use ringwire_abi::flags::{IORING_OP_LAST, is_own_opcode};
use ringwire_abi::register::*;
use ringwire_abi::sqe::Sqe;

use super::Engine;
use crate::usermem::read_element;

/// Most restrictions of one call (`IORING_MAX_RESTRICTIONS`).
const MAX_RESTRICTIONS: u32 =
    IORING_RESTRICTION_LAST + IORING_REGISTER_LAST + IORING_OP_LAST as u32;

/// What is allowed and required; nothing that is not named.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restrictions {
    /// By opcode, a bit each: the lower half of them, and the upper.
    operations: [u128; 2],
    registrations: u64,
    flags_allowed: u8,
    flags_required: u8,
}

const _: () = assert!(IORING_REGISTER_LAST <= u64::BITS);

impl Restrictions {
    fn add(&mut self, restriction: Restriction) -> Result<(), Errno> {
        let Restriction { opcode, arg, .. } = restriction;
        match opcode {
            IORING_RESTRICTION_REGISTER_OP if u32::from(arg) < IORING_REGISTER_LAST => {
                self.registrations |= 1 << arg;
            }
            IORING_RESTRICTION_SQE_OP if arg < IORING_OP_LAST || is_own_opcode(arg) => {
                self.operations[usize::from(arg >> 7)] |= 1 << (arg & 127);
            }
            IORING_RESTRICTION_SQE_FLAGS_ALLOWED => self.flags_allowed = arg,
            IORING_RESTRICTION_SQE_FLAGS_REQUIRED => self.flags_required = arg,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    /// Linux `io_check_restriction`.
    fn allow(&self, sqe: &Sqe) -> bool {
        let required = self.flags_required;
        self.operations[usize::from(sqe.opcode >> 7)] >> (sqe.opcode & 127) & 1 == 1
            && sqe.flags & required == required
            && sqe.flags & !(self.flags_allowed | required) == 0
    }

    /// ringwire's own have no number that a restriction can name.
    fn allow_registration(&self, opcode: u32) -> bool {
        let bits = self.registrations.checked_shr(opcode);
        bits.is_some_and(|bits| bits & 1 == 1)
    }
}

impl Engine {
    /// `IORING_REGISTER_RESTRICTIONS`: once, before the ring is enabled.
    pub(super) fn register_restrictions(&mut self, arg: u64, nr: u32) -> Result<i32, Errno> {
        if self.queues.is_enabled() {
            return Err(Errno::EBADFD);
        }
        if self.restrictions.is_some() {
            return Err(Errno::EBUSY);
        }
        if arg == 0 || nr > MAX_RESTRICTIONS {
            return Err(Errno::EINVAL);
        }
        let mut restrictions = Restrictions::default();
        for index in 0..nr {
            restrictions.add(read_element(arg, index)?)?;
        }
        self.restrictions = Some(restrictions);
        Ok(0)
    }

    /// `EACCES` for an entry that the ring is restricted from.
    pub(super) fn check_restrictions(&self, sqe: &Sqe) -> Result<(), Errno> {
        match &self.restrictions {
            Some(restrictions) if !restrictions.allow(sqe) => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    /// `EACCES` for a registration that the ring is restricted from: what comes before the ring is
    /// enabled is not.
    pub(super) fn check_registration(&self, opcode: u32) -> Result<(), Errno> {
        match &self.restrictions {
            Some(restrictions)
                if self.queues.is_enabled() && !restrictions.allow_registration(opcode) =>
            {
                Err(Errno::EACCES)
            }
            _ => Ok(()),
        }
    }
}
