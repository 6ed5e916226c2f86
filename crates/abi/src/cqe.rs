//! The completion queue entry, of 16 or 32 bytes.

use crate::flags::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUFFER};
use io_uring::cqueue;

const _: () = assert!(size_of::<cqueue::Entry>() == 16 && align_of::<cqueue::Entry>() == 8);
const _: () = assert!(size_of::<cqueue::Entry32>() == 32 && align_of::<cqueue::Entry32>() == 8);

/// The first 16 bytes of a completion entry, as two words. `res` is a result or a negated error
/// ([`Errno::res`](crate::Errno::res)), `flags` are `IORING_CQE_F_*`.
pub const fn words(user_data: u64, res: i32, flags: u32) -> [u64; 2] {
    [user_data, res as u32 as u64 | (flags as u64) << 32]
}

/// `IORING_CQE_F_*` of an entry, from its first 16 bytes.
pub const fn flags(words: [u64; 2]) -> u32 {
    (words[1] >> 32) as u32
}

/// The crate's entry of these words: of the first two, or of all with `cqueue::Entry32`.
pub fn entry<E: cqueue::EntryMarker>(words: [u64; 4]) -> E {
    const { assert!(size_of::<E>() <= 32 && align_of::<E>() <= 8) };
    // SAFETY: the trait is sealed; its implementors, `Entry` and `Entry32`, are `repr(C)` newtypes of
    // integers alone, for which every bit pattern is valid, and no larger or more aligned than `words`
    // (asserted above).
    unsafe { std::mem::transmute_copy(&words) }
}

/// Completion flags that name the provided buffer `bid`: `IORING_CQE_F_BUFFER` and the id above it.
pub const fn pack_buffer(bid: u16) -> u32 {
    IORING_CQE_F_BUFFER | (bid as u32) << IORING_CQE_BUFFER_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::*;

    fn whole(user_data: u64, res: i32, flags: u32, extra: [u64; 2]) -> [u64; 4] {
        let [first, second] = words(user_data, res, flags);
        [first, second, extra[0], extra[1]]
    }

    #[test]
    fn the_crates_accessors_read_back_every_field() {
        let words = whole(0x0123_4567_89ab_cdef, -22, 0xfedc_ba98, [7, 8]);
        let small: cqueue::Entry = entry(words);
        assert_eq!(small.user_data(), 0x0123_4567_89ab_cdef);
        assert_eq!(small.result(), -22);
        assert_eq!(small.flags(), 0xfedc_ba98);
        assert_eq!(flags([words[0], words[1]]), 0xfedc_ba98);
        let big: cqueue::Entry32 = entry(words);
        assert_eq!(big.user_data(), 0x0123_4567_89ab_cdef);
        assert_eq!((big.result(), big.flags()), (-22, 0xfedc_ba98));
        assert_eq!(big.big_cqe(), &[7, 8]);
    }

    #[test]
    fn the_bytes_are_where_the_kernel_has_them() {
        let words = words(0x0807_0605_0403_0201, 0x0c0b_0a09, 0x100f_0e0d);
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
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
