//! Sums of floats without rounding: every double is an integer multiple of a fixed power of two, so integers add them exactly,
//! in any order, and one rounding at the end gives the same bits for every chunking and merge order (T18).
//!
//! The fast path is a machine integer in units of 2^-64 (2^-128 for squares), which holds amounts of money and most
//! measurements; whatever does not fit there goes to a big integer in units of the smallest double.

use num_bigint::{BigInt, Sign};

/// A sum of doubles or integers, exact until [`ExactSum::value`].
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ExactSum {
    /// In units of 2^-64.
    small: i128,
    /// In units of 2^-1074, what did not fit above.
    large: Option<Box<BigInt>>,
}

/// A sum of squares of doubles or integers, exact until it is lowered.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ExactSquares {
    /// The lower and upper half of an integer in units of 2^-128.
    low: u128,
    high: u128,
    /// In units of 2^-2148, what did not fit above.
    large: Option<Box<BigInt>>,
}

/// `mantissa * 2^exponent`, of a number's absolute value.
#[derive(Clone, Copy)]
struct Parts {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

const SMALL_UNIT: i32 = -64;
const LARGE_UNIT: i32 = -1074;

impl ExactSum {
    /// Adds a finite double.
    #[inline]
    pub fn add(&mut self, x: f64) {
        self.add_parts(parts_of(x));
    }

    /// Adds finite doubles, given as their bits.
    pub fn add_column(&mut self, words: &[u64]) {
        for words in words.chunks(COMMON_TERMS) {
            // A few are added sooner than the others have begun.
            let common = if words.len() < FEW_TERMS { None } else { sum_of_common(words) };
            match common.and_then(|sum| self.small.checked_add(sum)) {
                Some(sum) => self.small = sum,
                None => words.iter().for_each(|word| self.add(f64::from_bits(*word))),
            }
        }
    }

    /// Adds an integer.
    #[inline]
    pub fn add_int(&mut self, i: i64) {
        self.add_parts(parts_of_int(i));
    }

    #[inline]
    fn add_parts(&mut self, parts: Parts) {
        if let Some(term) = parts.in_small_units()
            && let Some(sum) = self.small.checked_add(term)
        {
            self.small = sum;
            return;
        }
        self.add_large(parts);
    }

    #[cold]
    fn add_large(&mut self, parts: Parts) {
        let magnitude = BigInt::from(parts.mantissa) << u32::try_from(parts.exponent - LARGE_UNIT).unwrap_or(0);
        **self.large.get_or_insert_default() += if parts.negative { -magnitude } else { magnitude };
    }

    /// Adds another sum.
    #[inline]
    pub fn merge(&mut self, other: &ExactSum) {
        match self.small.checked_add(other.small) {
            Some(sum) => self.small = sum,
            None => **self.large.get_or_insert_default() += BigInt::from(other.small) << (SMALL_UNIT - LARGE_UNIT),
        }
        if let Some(large) = &other.large {
            **self.large.get_or_insert_default() += large.as_ref();
        }
    }

    /// The sum, rounded once to the nearest double, ties to even.
    #[inline]
    pub fn value(&self) -> f64 {
        match &self.large {
            None => self.small as f64 * TWO_TO_MINUS_64,
            Some(_) => round(&self.in_large_units(), LARGE_UNIT),
        }
    }

    /// The sum in units of 2^-64, if all of it is in the machine integer.
    #[inline]
    pub(crate) fn as_small(&self) -> Option<i128> {
        self.large.is_none().then_some(self.small)
    }

    /// A sum of that many units of 2^-64.
    #[inline]
    pub(crate) fn of_small(small: i128) -> ExactSum {
        ExactSum { small, large: None }
    }

    fn in_large_units(&self) -> BigInt {
        let small = BigInt::from(self.small) << (SMALL_UNIT - LARGE_UNIT);
        match &self.large {
            Some(large) => small + large.as_ref(),
            None => small,
        }
    }
}

impl ExactSquares {
    /// Adds the square of a finite double.
    pub fn add(&mut self, x: f64) {
        self.add_parts(parts_of(x));
    }

    /// Adds the square of an integer.
    pub fn add_int(&mut self, i: i64) {
        self.add_parts(parts_of_int(i));
    }

    fn add_parts(&mut self, parts: Parts) {
        let square = u128::from(parts.mantissa) * u128::from(parts.mantissa);
        let shift = 2 * (parts.exponent - SMALL_UNIT);
        if square == 0 {
            return;
        }
        if (0..=128).contains(&shift) && self.add_halves(shl(square, shift), shr(square, 128 - shift)) {
            return;
        }
        let unit = u32::try_from(2 * (parts.exponent - LARGE_UNIT)).unwrap_or(0);
        **self.large.get_or_insert_default() += BigInt::from(square) << unit;
    }

    /// False, and nothing added, if it would not fit.
    fn add_halves(&mut self, low: u128, high: u128) -> bool {
        let (sum, carry) = self.low.overflowing_add(low);
        let Some(upper) = self.high.checked_add(high).and_then(|h| h.checked_add(u128::from(carry))) else {
            return false;
        };
        (self.low, self.high) = (sum, upper);
        true
    }

    /// Adds another sum of squares.
    pub fn merge(&mut self, other: &ExactSquares) {
        if !self.add_halves(other.low, other.high) {
            **self.large.get_or_insert_default() += other.small() << (2 * (SMALL_UNIT - LARGE_UNIT));
        }
        if let Some(large) = &other.large {
            **self.large.get_or_insert_default() += large.as_ref();
        }
    }

    fn small(&self) -> BigInt {
        (BigInt::from(self.high) << 128) + BigInt::from(self.low)
    }
}

/// `n * sum(x^2) - sum(x)^2`, computed without rounding and rounded once: n^2 times the population variance.
pub fn scatter(n: u64, sum: &ExactSum, squares: &ExactSquares) -> f64 {
    if sum.large.is_none() && squares.large.is_none() {
        let small = BigInt::from(sum.small);
        return round(&(squares.small() * n - &small * &small), 2 * SMALL_UNIT);
    }
    let mut all = squares.small() << (2 * (SMALL_UNIT - LARGE_UNIT));
    if let Some(large) = &squares.large {
        all += large.as_ref();
    }
    let sum = sum.in_large_units();
    round(&(all * n - &sum * &sum), 2 * LARGE_UNIT)
}

impl Parts {
    #[inline]
    fn in_small_units(self) -> Option<i128> {
        let shift = self.exponent - SMALL_UNIT;
        let magnitude = if (0..=62).contains(&shift) {
            i128::from(self.mantissa) << shift
        } else if self.mantissa == 0 {
            0
        } else if shift < 0 && shift > -64 && self.mantissa.trailing_zeros() as i32 >= -shift {
            i128::from(self.mantissa >> -shift)
        } else {
            return None;
        };
        Some(if self.negative { -magnitude } else { magnitude })
    }
}

/// Doubles below this are common.
const COMMON_LIMIT: f64 = (1_u64 << 38) as f64;
/// Added to a common double, it leaves in the last bits how many units of 2^-12 the double has, rounded to a whole number.
const COARSE: f64 = 1.5 * (1_u64 << 40) as f64;
/// The same with units of 2^-64, of what is less than a coarse unit.
const FINE: f64 = 1.5 / (1_u64 << 12) as f64;
/// As many common doubles have less than 2^63 coarse or fine units together.
const COMMON_TERMS: usize = 1 << 10;

/// Fewer than these are added one by one.
const FEW_TERMS: usize = 8;

/// The sum of doubles in units of 2^-64, if all of them are common and whole numbers of units. No step waits for another, so the
/// processor takes several at once.
fn sum_of_common(words: &[u64]) -> Option<i128> {
    let (mut coarse, mut fine, mut common) = (0_u64, 0_u64, true);
    for word in words {
        let x = f64::from_bits(*word);
        let rounded = x + COARSE;
        let rest = x - (rounded - COARSE);
        let rounded_rest = rest + FINE;
        common &= (x.abs() < COMMON_LIMIT) & (rounded_rest - FINE == rest);
        coarse = coarse.wrapping_add(rounded.to_bits());
        fine = fine.wrapping_add(rounded_rest.to_bits());
    }
    let units = |bits: u64, magic: f64| i128::from(bits.wrapping_sub(magic.to_bits().wrapping_mul(words.len() as u64)) as i64);
    common.then(|| (units(coarse, COARSE) << 52) + units(fine, FINE))
}

#[inline]
fn parts_of(x: f64) -> Parts {
    let bits = x.to_bits();
    let biased = (bits >> 52 & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    let (mantissa, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    Parts { negative: bits >> 63 != 0, mantissa, exponent }
}

fn parts_of_int(i: i64) -> Parts {
    Parts { negative: i < 0, mantissa: i.unsigned_abs(), exponent: 0 }
}

fn shl(x: u128, by: i32) -> u128 {
    if by >= 128 { 0 } else { x << by }
}

fn shr(x: u128, by: i32) -> u128 {
    if by >= 128 { 0 } else { x >> by }
}

const TWO_TO_MINUS_64: f64 = 1.0 / 18_446_744_073_709_551_616.0;

/// `integer * 2^unit`, rounded to the nearest double, ties to even.
fn round(integer: &BigInt, unit: i32) -> f64 {
    let bits = integer.bits();
    if bits == 0 {
        return 0.0;
    }
    // Keep 64 bits and one that remembers whether anything below them was set: enough to round as if all were there.
    let drop = bits.saturating_sub(64);
    let magnitude = integer.magnitude();
    let mut head = (magnitude >> drop).iter_u64_digits().next().unwrap_or(0);
    if drop > 0 && magnitude.trailing_zeros().is_some_and(|zeros| zeros < drop) {
        head |= 1;
    }
    let exponent = unit + drop as i32;
    let rounded = scale(head, exponent);
    if integer.sign() == Sign::Minus { -rounded } else { rounded }
}

/// `head * 2^exponent`, rounded once, also where the result is subnormal.
fn scale(head: u64, exponent: i32) -> f64 {
    let width = 64 - head.leading_zeros() as i32;
    // A subnormal result has fewer bits: cut to them first, remembering what was cut, so that only one rounding happens.
    let spare = (LARGE_UNIT - exponent).max(0);
    if spare > 0 && width + exponent < -1021 {
        if spare >= 64 {
            return 0.0;
        }
        let (kept, cut) = (head >> spare, head & ((1 << spare) - 1));
        let half = 1_u64 << (spare - 1);
        let up = cut > half || (cut == half && kept & 1 == 1);
        return f64::from_bits(kept + u64::from(up));
    }
    let first = exponent / 2;
    head as f64 * power_of_two(first) * power_of_two(exponent - first)
}

/// Infinite above the range of doubles.
fn power_of_two(exponent: i32) -> f64 {
    2.0_f64.powi(exponent)
}

#[cfg(test)]
mod tests;
