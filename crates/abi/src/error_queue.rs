//! Notifications of MSG_ZEROCOPY (Linux 4.14): the socket's error queue, and ranges that come back with a send.
//!
//! The second is the inline form that was proposed for Linux in 2024 and was not merged. The layout is that; the
//! control message's number is ringwire's own, since Linux has given the proposed one to another.

use crate::errno::Errno;

/// A control message of SENDMSG, at level SOL_SOCKET: an array of [`ZeroCopyRange`]s to be filled.
pub const RINGWIRE_SCM_ZC_NOTIFICATION: i32 = 0x5257;
/// Most elements of the array (`SOCK_ZC_INFO_MAX`).
pub const MAX_ZERO_COPY_RANGES: usize = 16;

/// Where a socket's extended error comes from: it is a notification (`SO_EE_ORIGIN_ZEROCOPY`).
pub const ORIGIN_ZEROCOPY: u8 = 5;
/// Some of what it tells of was copied (`SO_EE_CODE_ZEROCOPY_COPIED`).
pub const CODE_ZEROCOPY_COPIED: u8 = 1;

/// Zero-copy sends of one socket, by their numbers (`struct zc_info_elem`): nothing needs their memory any more.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct ZeroCopyRange {
    /// The first.
    pub lo: u32,
    /// The last. Numbers wrap: it may be less than `lo`.
    pub hi: u32,
    /// 1: all of it was sent from where it lay; 0: some was copied.
    pub zerocopy: u8,
    /// Not used.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<ZeroCopyRange>() == 12);

impl ZeroCopyRange {
    /// Elements that an array of so many bytes has.
    ///
    /// # Errors
    /// `EINVAL`: it is no array of these, is empty, or has more than [`MAX_ZERO_COPY_RANGES`].
    pub fn count(bytes: usize) -> Result<usize, Errno> {
        let count = bytes / size_of::<ZeroCopyRange>();
        match bytes % size_of::<ZeroCopyRange>() {
            0 if (1..=MAX_ZERO_COPY_RANGES).contains(&count) => Ok(count),
            _ => Err(Errno::EINVAL),
        }
    }
}
