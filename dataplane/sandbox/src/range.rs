//! What is known of a number before the program runs: that it lies between two others.
//!
//! Every operation here answers a range that holds every result which the operation can have on
//! members of its operands: that is what the verifier stands on, and what the tests try.

use crate::instruction::{Alu, Test};

/// The numbers from `low` to `high`, both included, unsigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// The least.
    pub low: u64,
    /// The greatest; not less than `low`.
    pub high: u64,
}

impl Range {
    /// Any number.
    pub const ANY: Range = Range { low: 0, high: u64::MAX };

    /// One number.
    #[must_use]
    pub const fn exactly(number: u64) -> Range {
        Range { low: number, high: number }
    }

    /// What fits into so many bits, 1 to 64.
    #[must_use]
    pub const fn of_bits(bits: u32) -> Range {
        Range { low: 0, high: u64::MAX >> (64 - bits) }
    }

    /// The number, if only one is possible.
    #[must_use]
    pub fn known(self) -> Option<u64> {
        (self.low == self.high).then_some(self.low)
    }

    /// Whether a number is among them.
    #[must_use]
    pub fn contains(self, number: u64) -> bool {
        (self.low..=self.high).contains(&number)
    }

    /// The least range that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// What of it is in the other too; itself when nothing is.
    fn narrowed(self, low: u64, high: u64) -> Range {
        let (low, high) = (self.low.max(low), self.high.min(high));
        if low <= high { Range { low, high } } else { self }
    }

    /// The low 32 bits.
    #[must_use]
    pub fn low_word(self) -> Range {
        const WORD: u64 = u32::MAX as u64;
        if self.low >> 32 == self.high >> 32 {
            return Range { low: self.low & WORD, high: self.high & WORD };
        }
        Range::of_bits(32)
    }

    /// The result of an operation of 64 bits, or of 32 bits when it is not `wide`.
    #[must_use]
    pub fn after(self, op: Alu, other: Range, wide: bool) -> Range {
        if wide {
            return self.after_64(op, other);
        }
        let (a, b) = (self.low_word(), other.low_word());
        let beyond = match op {
            Alu::Left | Alu::Right => b.high >= 32,
            Alu::ArithmeticRight => b.high >= 32 || a.high > i32::MAX as u64,
            _ => false,
        };
        if beyond { Range::of_bits(32) } else { a.after_64(op, b).low_word() }
    }

    fn after_64(self, op: Alu, other: Range) -> Range {
        let (a, b) = (self, other);
        match op {
            Alu::Move => b,
            Alu::Add => both(a.low.overflowing_add(b.low), a.high.overflowing_add(b.high)),
            Alu::Subtract => both(a.low.overflowing_sub(b.high), a.high.overflowing_sub(b.low)),
            Alu::Multiply => match a.high.checked_mul(b.high) {
                Some(high) => Range { low: a.low * b.low, high },
                None => Range::ANY,
            },
            Alu::Divide if b.low > 0 => Range { low: a.low / b.high, high: a.high / b.low },
            Alu::Modulo if b.low > 0 && a.high < b.low => a,
            Alu::Modulo if b.low > 0 => Range { low: 0, high: a.high.min(b.high - 1) },
            Alu::Divide | Alu::Modulo => Range::ANY,
            Alu::And => match (a.known(), b.known()) {
                (Some(a), Some(b)) => Range::exactly(a & b),
                _ => Range { low: 0, high: a.high.min(b.high) },
            },
            Alu::Or => Range { low: a.low.max(b.low), high: filled(a.high | b.high) },
            Alu::Xor => match (a.known(), b.known()) {
                (Some(a), Some(b)) => Range::exactly(a ^ b),
                _ => Range { low: 0, high: filled(a.high | b.high) },
            },
            Alu::Left => match b.known() {
                Some(by) if by < 64 && a.high <= u64::MAX >> by => {
                    Range { low: a.low << by, high: a.high << by }
                }
                _ => Range::ANY,
            },
            Alu::Right => right(a, b),
            Alu::ArithmeticRight if a.high <= i64::MAX as u64 => right(a, b),
            Alu::ArithmeticRight => Range::ANY,
        }
    }

    /// What is left of the two sides of a comparison when its answer is `holds`.
    #[must_use]
    pub fn given(self, test: Test, other: Range, holds: bool) -> (Range, Range) {
        const SIGN: u64 = i64::MAX as u64;
        let (a, b) = (self, other);
        let test = if holds { test } else { test.opposite() };
        let test = match test {
            // Of numbers without a sign bit, signed and unsigned order are the same.
            signed if a.high <= SIGN && b.high <= SIGN => signed.unsigned(),
            test => test,
        };
        match test {
            Test::Equal => (a.narrowed(b.low, b.high), b.narrowed(a.low, a.high)),
            Test::NotEqual => (a.without(b), b.without(a)),
            Test::Greater => (
                a.narrowed(b.low.saturating_add(1), u64::MAX),
                b.narrowed(0, a.high.saturating_sub(1)),
            ),
            Test::GreaterOrEqual => (a.narrowed(b.low, u64::MAX), b.narrowed(0, a.high)),
            Test::Less => (
                a.narrowed(0, b.high.saturating_sub(1)),
                b.narrowed(a.low.saturating_add(1), u64::MAX),
            ),
            Test::LessOrEqual => (a.narrowed(0, b.high), b.narrowed(a.low, u64::MAX)),
            Test::SignedGreater
            | Test::SignedGreaterOrEqual
            | Test::SignedLess
            | Test::SignedLessOrEqual => (a, b),
        }
    }

    /// The same without a number that is at one of its ends.
    fn without(self, other: Range) -> Range {
        match other.known() {
            Some(number) if number == self.low && self.low < self.high => {
                Range { low: self.low + 1, ..self }
            }
            Some(number) if number == self.high && self.low < self.high => {
                Range { high: self.high - 1, ..self }
            }
            _ => self,
        }
    }
}

/// A range between two results that have both gone round or both not.
fn both((low, low_round): (u64, bool), (high, high_round): (u64, bool)) -> Range {
    if low_round == high_round { Range { low, high } } else { Range::ANY }
}

fn right(a: Range, b: Range) -> Range {
    match b.high < 64 {
        true => Range { low: a.low >> b.high, high: a.high >> b.low },
        false => Range { low: 0, high: a.high },
    }
}

/// All bits up to the highest that is set.
fn filled(number: u64) -> u64 {
    match number {
        0 => 0,
        some => u64::MAX >> some.leading_zeros(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that show mistakes: near 0, near the ends, near powers of two.
    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..70_u64,
            any::<u64>(),
            (0..64_u32, 0..5_u64)
                .prop_map(|(bit, off)| (1_u64 << bit).wrapping_add(off).wrapping_sub(2)),
            (0..5_u64).prop_map(|off| u64::MAX - off),
        ]
    }

    fn member() -> impl Strategy<Value = (Range, u64)> {
        (number(), number(), number()).prop_map(|(a, b, c)| {
            let mut sorted = [a, b, c];
            sorted.sort_unstable();
            (Range { low: sorted[0], high: sorted[2] }, sorted[1])
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn a_result_is_where_it_is_said_to_be((a, x) in member(), (b, y) in member(), wide: bool) {
            for op in Alu::ALL {
                let divides = matches!(op, Alu::Divide | Alu::Modulo);
                let divisor = if wide { b } else { b.low_word() };
                if divides && divisor.low == 0 {
                    continue;
                }
                let result = op.apply(x, y, wide);
                let said = a.after(op, b, wide);
                prop_assert!(said.low <= said.high);
                prop_assert!(said.contains(result), "{x} {op:?} {y} = {result}, not in {said:?}");
            }
        }

        #[test]
        fn a_comparison_takes_no_member_away((a, x) in member(), (b, y) in member()) {
            for test in Test::ALL {
                let (left, right) = a.given(test, b, test.holds(x, y));
                prop_assert!(left.contains(x), "{x} {test:?} {y}: {left:?}");
                prop_assert!(right.contains(y), "{x} {test:?} {y}: {right:?}");
            }
        }

        #[test]
        fn a_union_holds_both((a, x) in member(), (b, y) in member()) {
            let union = a.union(b);
            prop_assert!(union.contains(x) && union.contains(y));
        }
    }
}
