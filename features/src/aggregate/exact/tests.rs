//! Exact sums against big integers from the start.

use num_bigint::BigInt;
use proptest::prelude::*;

use super::*;

fn sum_of(xs: &[f64]) -> ExactSum {
    let mut sum = ExactSum::default();
    xs.iter().for_each(|x| sum.add(*x));
    sum
}

#[test]
fn a_sum_rounds_once() {
    assert_eq!(sum_of(&[0.1; 10]).value(), 1.0, "naive addition gives 0.9999999999999999");
    assert_eq!(sum_of(&[1e16, 1.0, -1e16]).value(), 1.0);
    assert_eq!(sum_of(&[1e300, 1e-300, -1e300]).value(), 1e-300, "beyond the fast path");
    assert_eq!(sum_of(&[f64::MAX, f64::MAX, -f64::MAX]).value(), f64::MAX, "no overflow on the way");
    assert_eq!(sum_of(&[5e-324, 5e-324]).value(), 1e-323, "subnormals");
    assert_eq!(sum_of(&[-0.0]).value(), 0.0);
    assert_eq!(sum_of(&[]).value(), 0.0);
}

#[test]
fn a_variance_survives_a_large_offset() {
    let xs = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
    let mut squares = ExactSquares::default();
    xs.iter().for_each(|x| squares.add(*x));
    assert_eq!(scatter(4, &sum_of(&xs), &squares) / 16.0, 22.5);
}

/// Doubles of every size, those of money the most often.
fn any_double() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1_000_000_i64..1_000_000).prop_map(|cents| cents as f64 / 100.0),
        1 => any::<f64>().prop_filter("finite", |x| x.is_finite()),
        1 => -1e-310_f64..1e-310,
    ]
}

/// The same by big integers from the start.
fn exact(xs: &[f64], power: u32) -> BigInt {
    xs.iter()
        .map(|x| {
            let parts = parts_of(*x);
            let m = BigInt::from(parts.mantissa) << (parts.exponent - LARGE_UNIT);
            if parts.negative { (-m).pow(power) } else { m.pow(power) }
        })
        .sum()
}

/// Doubles that are common, or fail to be by very little.
fn any_common_double() -> impl Strategy<Value = f64> {
    let edge = COMMON_LIMIT as i64;
    prop_oneof![
        8 => (-1_000_000_i64..1_000_000).prop_map(|cents| cents as f64 / 100.0),
        2 => (-edge..=edge, 0..64).prop_map(|(i, halvings)| i as f64 / 2.0_f64.powi(halvings)),
        2 => (-9_i64..9, 60..65).prop_map(|(i, halvings)| i as f64 / 2.0_f64.powi(halvings)),
        1 => (-9_i64..9, 24..27).prop_map(|(i, halvings)| i as f64 / 2.0_f64.powi(halvings)),
        1 => (edge - 9..edge).prop_map(|i| -(i as f64) - 0.999_999_9),
        1 => Just(-0.0),
    ]
}

proptest! {
    #[test]
    fn a_column_gives_what_its_doubles_give_one_by_one(
        xs in prop_oneof![
            prop::collection::vec(any_common_double(), 0..40),
            prop::collection::vec(any_double(), 0..40),
            any_common_double().prop_map(|x| vec![x; 3 * COMMON_TERMS - 1]),
        ],
    ) {
        let mut sum = ExactSum::default();
        sum.add_column(&xs.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        prop_assert_eq!(sum, sum_of(&xs));
    }

    #[test]
    fn any_split_and_order_gives_the_same_bits(xs in prop::collection::vec(any_double(), 0..40), at in 0..40_usize) {
        let (head, tail) = xs.split_at(at.min(xs.len()));
        let mut merged = sum_of(tail);
        merged.merge(&sum_of(head));
        let mut backwards = xs.clone();
        backwards.reverse();
        let expected = round(&exact(&xs, 1), LARGE_UNIT);
        prop_assert_eq!(merged.value().to_bits(), expected.to_bits());
        prop_assert_eq!(sum_of(&backwards).value().to_bits(), expected.to_bits());
    }

    #[test]
    fn scatter_is_that_of_big_integers(xs in prop::collection::vec(any_double(), 1..20)) {
        let mut squares = ExactSquares::default();
        for x in &xs {
            let mut one = ExactSquares::default();
            one.add(*x);
            squares.merge(&one);
        }
        let n = xs.len() as u64;
        let sum = exact(&xs, 1);
        let expected = round(&(exact(&xs, 2) * n - &sum * &sum), 2 * LARGE_UNIT);
        prop_assert_eq!(scatter(n, &sum_of(&xs), &squares).to_bits(), expected.to_bits());
    }

    #[test]
    fn rounding_is_that_of_the_machine(high in any::<i64>(), low in any::<u64>()) {
        let integer = (i128::from(high) << 64) + i128::from(low);
        prop_assert_eq!(round(&BigInt::from(integer), 0), integer as f64);
    }

    #[test]
    fn one_double_comes_back(x in any_double()) {
        prop_assert_eq!(sum_of(&[x]).value(), x);
    }
}
