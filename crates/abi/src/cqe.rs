//! The completion queue entry.

use crate::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER};
use io_uring::cqueue;

/// A completion entry field by field, as Linux declares `io_uring_cqe`.
#[repr(C)]
struct Cqe {
    user_data: u64,
    res: i32,
    flags: u32,
}

const _: () = assert!(size_of::<Cqe>() == 16 && align_of::<Cqe>() == 8);
const _: () = assert!(size_of::<cqueue::Entry>() == 16 && align_of::<cqueue::Entry>() == 8);

/// Makes a 16-byte completion entry. `res` is a result or a negated error
/// ([`Errno::res`](crate::Errno::res)), `flags` are `IORING_CQE_F_*`.
pub fn cqe(user_data: u64, res: i32, flags: u32) -> cqueue::Entry {
    // SAFETY: `cqueue::Entry` is a `repr(C)` newtype of `io_uring_cqe`: same size and alignment as
    // `Cqe` (asserted above), and made of integers, for which every bit pattern is valid. `Cqe` has no
    // padding, so all 16 bytes are initialised.
    unsafe {
        std::mem::transmute(Cqe {
            user_data,
            res,
            flags,
        })
    }
}

/// Completion flags that name the provided buffer `bid`: `IORING_CQE_F_BUFFER` and the id above it.
pub const fn pack_buffer(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | (bid as u32) << IORING_CQE_BUFFER_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::*;

    #[test]
    fn the_crates_accessors_read_back_every_field() {
        let entry = cqe(0x0123_4567_89ab_cdef, -22, 0xfedc_ba98);
        assert_eq!(entry.user_data(), 0x0123_4567_89ab_cdef);
        assert_eq!(entry.result(), -22);
        assert_eq!(entry.flags(), 0xfedc_ba98);
    }

    #[test]
    fn the_bytes_are_where_the_kernel_has_them() {
        let entry = cqe(0x0807_0605_0403_0201, 0x0c0b_0a09, 0x100f_0e0d);
        // SAFETY: 16 bytes, all initialised by `cqe`, and any byte is a valid `u8`.
        let bytes: [u8; 16] = unsafe { std::mem::transmute_copy(&entry) };
        assert_eq!(
            bytes,
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
        );
    }

    #[test]
    fn the_crate_decodes_our_flags() {
        for bid in [0, 1, 0x8000, u16::MAX] {
            assert_eq!(io_uring::cqueue::buffer_select(pack_buffer(bid)), Some(bid));
        }
        assert_eq!(io_uring::cqueue::buffer_select(0), None);
        assert!(io_uring::cqueue::more(IORING_CQE_F_MORE));
        assert!(io_uring::cqueue::notif(IORING_CQE_F_NOTIF));
        assert!(io_uring::cqueue::sock_nonempty(IORING_CQE_F_SOCK_NONEMPTY));
        assert!(io_uring::cqueue::buffer_more(IORING_CQE_F_BUF_MORE));
        let buffer = pack_buffer(u16::MAX);
        assert!(!io_uring::cqueue::more(buffer) && !io_uring::cqueue::notif(buffer));
    }
}
