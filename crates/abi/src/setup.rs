//! Ring sizes and set-up flags (`io_uring_setup`; Linux `io_uring/io_uring.c`,
//! `io_uring_sanitise_params` and `io_uring_fill_params`).

use crate::errno::Errno;
use crate::flags::*;

/// Largest submission queue, in entries (`IORING_MAX_ENTRIES`).
pub const MAX_SQ_ENTRIES: u32 = 32768;
/// Largest completion queue, in entries (`IORING_MAX_CQ_ENTRIES`).
pub const MAX_CQ_ENTRIES: u32 = 2 * MAX_SQ_ENTRIES;

/// The set-up flags that ringwire takes. Every other one is refused, as an older kernel refuses it.
pub const SUPPORTED_FLAGS: u32 = IORING_SETUP_CQSIZE
    | IORING_SETUP_CLAMP
    | IORING_SETUP_SUBMIT_ALL
    | IORING_SETUP_COOP_TASKRUN
    | IORING_SETUP_TASKRUN_FLAG
    | IORING_SETUP_SINGLE_ISSUER
    | IORING_SETUP_DEFER_TASKRUN
    | IORING_SETUP_NO_SQARRAY;

/// Numbers of entries of the submission and the completion queue, `(sq, cq)`: powers of two.
///
/// `entries` is the size asked for the submission queue; `cq_entries` is read only with
/// `IORING_SETUP_CQSIZE`, otherwise the completion queue is twice the submission queue.
///
/// # Errors
///
/// `EINVAL`: a flag outside [`SUPPORTED_FLAGS`]; `TASKRUN_FLAG` without `COOP_TASKRUN` or
/// `DEFER_TASKRUN`; `DEFER_TASKRUN` without `SINGLE_ISSUER`; a size of zero; a size above
/// [`MAX_SQ_ENTRIES`] or [`MAX_CQ_ENTRIES`] without `CLAMP`; `CQSIZE` without `cq_entries`, or with
/// fewer (after rounding) than the submission queue has.
pub fn ring_sizes(entries: u32, cq_entries: Option<u32>, flags: u32) -> Result<(u32, u32), Errno> {
    check_flags(flags)?;
    let clamp = flags & IORING_SETUP_CLAMP != 0;
    let sq = round_size(entries, MAX_SQ_ENTRIES, clamp)?;
    if flags & IORING_SETUP_CQSIZE == 0 {
        return Ok((sq, 2 * sq));
    }
    let cq = round_size(cq_entries.unwrap_or(0), MAX_CQ_ENTRIES, clamp)?;
    if cq < sq {
        return Err(Errno::EINVAL);
    }
    Ok((sq, cq))
}

fn check_flags(flags: u32) -> Result<(), Errno> {
    let has = |bits: u32| flags & bits != 0;
    if has(!SUPPORTED_FLAGS) {
        return Err(Errno::EINVAL);
    }
    if has(IORING_SETUP_TASKRUN_FLAG)
        && !has(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_DEFER_TASKRUN)
    {
        return Err(Errno::EINVAL);
    }
    if has(IORING_SETUP_DEFER_TASKRUN) && !has(IORING_SETUP_SINGLE_ISSUER) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn round_size(entries: u32, max: u32, clamp: bool) -> Result<u32, Errno> {
    if entries == 0 || (entries > max && !clamp) {
        return Err(Errno::EINVAL);
    }
    Ok(entries.min(max).next_power_of_two())
}

#[cfg(test)]
#[path = "setup_tests.rs"]
mod tests;
