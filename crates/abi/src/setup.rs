//! Ring sizes and set-up flags (`io_uring_setup`; Linux `io_uring/io_uring.c`,
//! `io_uring_sanitise_params`, `io_uring_fill_params` and `rings_size`).

use crate::errno::Errno;
use crate::flags::*;

/// Largest submission queue, in entries (`IORING_MAX_ENTRIES`).
pub const MAX_SQ_ENTRIES: u32 = 32768;
/// Largest completion queue, in entries (`IORING_MAX_CQ_ENTRIES`).
pub const MAX_CQ_ENTRIES: u32 = 2 * MAX_SQ_ENTRIES;

/// The set-up flags that ringwire takes. Every other one is refused, as an older kernel refuses it.
pub const SUPPORTED_FLAGS: u32 = IORING_SETUP_SQPOLL
    | IORING_SETUP_SQ_AFF
    | IORING_SETUP_CQSIZE
    | IORING_SETUP_CLAMP
    | IORING_SETUP_R_DISABLED
    | IORING_SETUP_SUBMIT_ALL
    | IORING_SETUP_COOP_TASKRUN
    | IORING_SETUP_TASKRUN_FLAG
    | IORING_SETUP_SINGLE_ISSUER
    | IORING_SETUP_DEFER_TASKRUN
    | IORING_SETUP_NO_SQARRAY
    | IORING_SETUP_SQE128
    | IORING_SETUP_CQE32
    | IORING_SETUP_CQE_MIXED
    | IORING_SETUP_SQE_MIXED;

/// Numbers of entries of the submission and the completion queue, `(sq, cq)`: powers of two. In a
/// mixed queue they are slots.
///
/// `entries` is the size asked for the submission queue; `cq_entries` is read only with
/// `IORING_SETUP_CQSIZE`, otherwise the completion queue is twice the submission queue.
///
/// # Errors
///
/// `EINVAL`: a flag outside [`SUPPORTED_FLAGS`], or flags that exclude one another: see
/// [`check_flags`]; a size of zero; a size above [`MAX_SQ_ENTRIES`] or [`MAX_CQ_ENTRIES`] without
/// `CLAMP`; `SQ_AFF` without `SQPOLL`; with `CQSIZE`, fewer (after rounding) than the submission queue has. `EOVERFLOW`: a mixed
/// queue that no large entry fits into.
pub fn ring_sizes(entries: u32, cq_entries: u32, flags: u32) -> Result<(u32, u32), Errno> {
    check_flags(flags)?;
    let has = |bits: u32| flags & bits != 0;
    let clamp = has(IORING_SETUP_CLAMP);
    let sq = round_size(entries, MAX_SQ_ENTRIES, clamp)?;
    let cq = if has(IORING_SETUP_CQSIZE) {
        round_size(cq_entries, MAX_CQ_ENTRIES, clamp)?
    } else {
        2 * sq
    };
    if cq < sq {
        return Err(Errno::EINVAL);
    }
    if has(IORING_SETUP_CQE_MIXED) && cq < 2 || has(IORING_SETUP_SQE_MIXED) && sq < 2 {
        return Err(Errno::EOVERFLOW);
    }
    // Looked at when the rings are there (`io_sq_offload_create`).
    if has(IORING_SETUP_SQ_AFF) && !has(IORING_SETUP_SQPOLL) {
        return Err(Errno::EINVAL);
    }
    Ok((sq, cq))
}

/// Whether these set-up flags can go together (Linux `io_uring_sanitise_params`).
///
/// # Errors
///
/// `EINVAL`: a flag outside [`SUPPORTED_FLAGS`]; `TASKRUN_FLAG` without `COOP_TASKRUN` or
/// `DEFER_TASKRUN`, or any of these with `SQPOLL`; `DEFER_TASKRUN` without `SINGLE_ISSUER`; `CQE32` with `CQE_MIXED`, or `SQE128`
/// with `SQE_MIXED`.
pub fn check_flags(flags: u32) -> Result<(), Errno> {
    let has = |bits: u32| flags & bits != 0;
    if has(!SUPPORTED_FLAGS) {
        return Err(Errno::EINVAL);
    }
    let taskrun =
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_DEFER_TASKRUN;
    if has(IORING_SETUP_SQPOLL) && has(taskrun) {
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
    for both in [
        IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED,
        IORING_SETUP_SQE128 | IORING_SETUP_SQE_MIXED,
    ] {
        if flags & both == both {
            return Err(Errno::EINVAL);
        }
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
