//! Sequence numbers (RFC 9293, section 3.4): 32 bits that wrap around.

use std::ops::{Add, AddAssign, Sub};

/// A sequence number. Numbers are compared by the shorter way around: one is before another if it is
/// less than 2^31 behind it. Nothing that a peer can send makes the arithmetic overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Whether it comes before `other`.
    pub fn before(self, other: SeqNumber) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether it comes after `other`.
    pub fn after(self, other: SeqNumber) -> bool {
        other.before(self)
    }

    /// How far it lies behind `earlier`, modulo 2^32.
    pub fn since(self, earlier: SeqNumber) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// How far it lies behind `earlier`, 0 if it comes before it.
    pub fn since_or_zero(self, earlier: SeqNumber) -> u32 {
        if self.before(earlier) {
            0
        } else {
            self.since(earlier)
        }
    }

    /// The later of two.
    pub fn max(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { other } else { self }
    }

    /// The earlier of two.
    pub fn min(self, other: SeqNumber) -> SeqNumber {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for SeqNumber {
    type Output = SeqNumber;

    fn add(self, count: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_add(count))
    }
}

impl AddAssign<u32> for SeqNumber {
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = SeqNumber;

    fn sub(self, count: u32) -> SeqNumber {
        SeqNumber(self.0.wrapping_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let (old, new) = (SeqNumber(u32::MAX - 5), SeqNumber(10));
        assert!(old.before(new) && new.after(old) && !new.before(old));
        assert_eq!(new.since(old), 16);
        assert_eq!(old.since_or_zero(new), 0);
        assert_eq!((old.max(new), old.min(new)), (new, old));
    }

    #[test]
    fn a_number_is_neither_before_nor_after_itself() {
        let seq = SeqNumber(7);
        assert!(!seq.before(seq) && !seq.after(seq));
    }

    #[test]
    fn addition_wraps() {
        assert_eq!(SeqNumber(u32::MAX) + 2, SeqNumber(1));
        assert_eq!(SeqNumber(1) - 2, SeqNumber(u32::MAX));
    }
}
