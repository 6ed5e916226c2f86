use io_uring::opcode;

use super::*;
use crate::engine::bed::Bed;

/// Enough for the largest tables, with a tag each.
const SCRATCH_BYTES: usize = 16 << 20;

/// A small generator (xorshift), for arguments that are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<const N: usize>(&mut self, from: [u64; N]) -> u64 {
        from[self.next() as usize % N]
    }

    /// Two halves, as of counts, flags and groups.
    fn halves(&mut self) -> u64 {
        let small = self.next() % 70_000;
        let high = self.pick([0, 0, 1, 2, 8, 1 << 16, u32::MAX.into()]);
        let low = self.pick([0, 1, 2, 8, small, u32::MAX.into()]);
        high << 32 | low
    }

    /// An address of zeroes, or of nothing.
    fn address(&mut self, scratch: u64) -> u64 {
        self.pick([0, scratch, scratch, scratch, 8, u64::MAX])
    }
}

/// Which words of an opcode's structure are addresses that are followed.
fn addresses(opcode: u32) -> &'static [usize] {
    match opcode {
        IORING_REGISTER_FILES2 | IORING_REGISTER_BUFFERS2 => &[2, 3],
        IORING_REGISTER_FILES_UPDATE => &[1],
        IORING_REGISTER_FILES_UPDATE2 | IORING_REGISTER_BUFFERS_UPDATE => &[1, 2],
        IORING_REGISTER_PBUF_RING => &[0],
        _ => &[],
    }
}

/// Registers what is random, again and again, with requests in between.
fn registers_anything(seed: u64) {
    let scratch = vec![0u8; SCRATCH_BYTES + 4096].leak().as_mut_ptr() as u64;
    let scratch = scratch.next_multiple_of(4096);
    let mut random = Random(seed);
    let mut bed = Bed::new(0);
    for _ in 0..2000 {
        let opcode = random.next() as u32 % (IORING_REGISTER_LAST + 1);
        // Room for as many of any structure as are passed.
        let mut arg = [0u64; 256];
        arg[..8].fill_with(|| random.halves());
        for &word in addresses(opcode) {
            arg[word] = random.address(scratch);
        }
        let arg = arg.as_mut_ptr() as u64;
        let at = random.pick([0, 8, arg, arg, arg, u64::MAX]);
        let nr = random.pick([0, 1, 1, 1, 2, 16, 32, 64]) as u32;
        let _ = bed.register_at(opcode, at, nr);
        let completions = bed.run(opcode::Nop::new().build().user_data(7));
        assert!(completions.iter().any(|&(user_data, ..)| user_data == 7));
    }
}

#[test]
fn no_argument_breaks_the_engine() {
    (1..=10).for_each(registers_anything);
}

#[test]
fn an_opcode_that_is_not_known_is_refused_before_all() {
    let mut bed = Bed::new(0);
    for opcode in [IORING_REGISTER_LAST, u32::MAX >> 1, u32::MAX] {
        assert_eq!(bed.register_at(opcode, 0, 0), Err(Errno::EINVAL));
    }
}
