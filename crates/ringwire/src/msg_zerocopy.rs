//! MSG_ZEROCOPY: sends that their socket numbers, and the ranges of numbers whose memory nothing needs any more. They
//! come out of the socket's error queue, as on Linux, or back with a later SENDMSG, which is ringwire's own
//! (`docs/INLINE_NOTIFICATION.md`).
//!
//! ```no_run
//! # use ringwire::{IoUring, msg_zerocopy::RangeArray, opcode::SendMsg, types::Fixed};
//! # fn f(ring: &mut IoUring, header: &mut libc::msghdr) -> std::io::Result<()> {
//! let mut array = RangeArray::<8>::new();
//! array.attach(header);
//! let send = SendMsg::new(Fixed(0), header).flags(libc::MSG_ZEROCOPY as u32);
//! // SAFETY: what the message points at, `header` and `array` stay where they are until the completion; the payload
//! // stays as it is until its number comes back.
//! unsafe { ring.submission().push(&send.build()) }.expect("room in the queue");
//! ring.submit_and_wait(1)?;
//! for range in array.taken(header) {
//!     println!("{}..={}: {}", range.lo, range.hi, range.zerocopy);
//! }
//! # Ok(())
//! # }
//! ```

use ringwire_abi::error_queue::{CODE_ZEROCOPY_COPIED, ORIGIN_ZEROCOPY};

pub use ringwire_abi::error_queue::{
    MAX_ZERO_COPY_RANGES, RINGWIRE_SCM_ZC_NOTIFICATION, ZeroCopyRange,
};

/// Bytes of `struct cmsghdr`.
const HEADER: usize = 16;

/// A control message for SENDMSG with an array of `N` elements, 1 to 16. When the send has completed, it has the ranges
/// that were over then.
///
/// A C program has a `cmsghdr` with `SOL_SOCKET` and [`RINGWIRE_SCM_ZC_NOTIFICATION`] and the array behind it.
#[repr(C, align(8))]
#[derive(Clone, Debug)]
pub struct RangeArray<const N: usize> {
    len: usize,
    level: i32,
    kind: i32,
    ranges: [ZeroCopyRange; N],
}

impl<const N: usize> RangeArray<N> {
    const LEN: usize = {
        assert!(
            N > 0 && N <= MAX_ZERO_COPY_RANGES,
            "an array has 1 to 16 elements"
        );
        HEADER + N * size_of::<ZeroCopyRange>()
    };

    /// An array without ranges.
    pub fn new() -> RangeArray<N> {
        RangeArray {
            len: Self::LEN,
            level: libc::SOL_SOCKET,
            kind: RINGWIRE_SCM_ZC_NOTIFICATION,
            ranges: [ZeroCopyRange::default(); N],
        }
    }

    /// Makes it the control messages of a message, for one send. It must not move from there on.
    pub fn attach(&mut self, header: &mut libc::msghdr) {
        self.len = Self::LEN;
        header.msg_control = std::ptr::from_mut(self).cast();
        header.msg_controllen = size_of::<Self>();
    }

    /// The ranges that came back with the send, which has completed.
    pub fn taken(&self, header: &libc::msghdr) -> &[ZeroCopyRange] {
        let bytes = match header.msg_controllen {
            0 => 0,
            _ => self.len.saturating_sub(HEADER),
        };
        &self.ranges[..(bytes / size_of::<ZeroCopyRange>()).min(N)]
    }
}

impl<const N: usize> Default for RangeArray<N> {
    fn default() -> Self {
        RangeArray::new()
    }
}

/// Room for the control message of a RECVMSG with `MSG_ERRQUEUE`: one entry of the error queue.
#[repr(C, align(8))]
#[derive(Clone, Debug)]
pub struct ErrorMessage([u8; 64]);

impl ErrorMessage {
    /// An empty one.
    pub fn new() -> ErrorMessage {
        ErrorMessage([0; 64])
    }

    /// Makes it the control messages of a message, for one receive. It must not move from there on.
    pub fn attach(&mut self, header: &mut libc::msghdr) {
        header.msg_control = std::ptr::from_mut(self).cast();
        header.msg_controllen = size_of::<Self>();
    }

    /// The range that was received, which has completed with 0. `None`: it is another kind of error.
    pub fn range(&self, header: &libc::msghdr) -> Option<ZeroCopyRange> {
        let bytes = self.0.get(..header.msg_controllen)?;
        let int = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let kind = (int(8)? as i32, int(12)? as i32);
        let known = [
            (libc::SOL_IP, libc::IP_RECVERR),
            (libc::SOL_IPV6, libc::IPV6_RECVERR),
        ];
        // `struct sock_extended_err` is behind the header: errno, origin, type, code, pad, info, data.
        let (origin, code) = (*bytes.get(HEADER + 4)?, *bytes.get(HEADER + 6)?);
        let zero_copy = known.contains(&kind) && int(HEADER)? == 0 && origin == ORIGIN_ZEROCOPY;
        let (lo, hi) = (int(HEADER + 8)?, int(HEADER + 12)?);
        zero_copy.then_some(ZeroCopyRange {
            lo,
            hi,
            zerocopy: u8::from(code & CODE_ZEROCOPY_COPIED == 0),
            pad: [0; 3],
        })
    }
}

impl Default for ErrorMessage {
    fn default() -> Self {
        ErrorMessage::new()
    }
}
