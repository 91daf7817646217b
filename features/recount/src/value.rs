//! What a function gives over the events of a window.

use floodmark_features::aggregate::Function;
use floodmark_features::definition::{Feature, Output, View};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value, ValueRef};

use crate::Event;
use crate::sum::exact_sum;
use crate::window::ticks;

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// This, to the bit.
    Exactly(Value),
    /// Within so much of one of these: a rounded root, or a quantile of a sketch.
    Near(Vec<f64>, f64),
    /// A count within so much of this: a sketch of different values.
    About(i64, i64),
}

impl Expected {
    /// Whether the value is what it may be.
    pub fn admits(&self, found: &Value) -> bool {
        match (self, found) {
            (Expected::Exactly(Value::Float(a)), Value::Float(b)) => a.to_bits() == b.to_bits(),
            (Expected::Exactly(a), b) => a == b,
            (Expected::Near(all, within), Value::Float(x)) => all.iter().any(|y| (x - y).abs() <= *within),
            (Expected::About(n, within), Value::Int(m)) => (n - m).abs() <= *within,
            _ => false,
        }
    }

    /// The value itself, or one that it may be.
    pub fn value(&self) -> Value {
        match self {
            Expected::Exactly(value) => value.clone(),
            Expected::Near(all, _) => all.first().map_or(Value::Null, |x| Value::Float(*x)),
            Expected::About(n, _) => Value::Int(*n),
        }
    }
}

/// DDSketch is within 1 % of a value of that rank; a little for the rounding.
const QUANTILE_WITHIN: f64 = 0.01 + 1e-9;
/// Roots and quotients may be rounded in another order.
const ROUNDING: f64 = 1e-12;

/// The value of an output over the events of its window, oldest first.
pub(crate) fn value(view: &View, output: &Output, inside: &[&Event], as_of: Time) -> Expected {
    let feature = &view.features[output.feature];
    let slot = &view.slots[feature.slot];
    let accepts = |event: &&&Event| {
        let values: Vec<ValueRef<'_>> = event.values.iter().map(Value::as_ref).collect();
        slot.filter.as_ref().is_none_or(|filter| filter.accepts(values.as_slice()))
    };
    let counted = inside.iter().filter(accepts).filter(|event| slot.column.is_none_or(|column| event.values[column] != Value::Null));
    let counted: Vec<&Event> = counted.copied().collect();
    let values: Vec<&Value> = counted.iter().filter_map(|event| Some(&event.values[slot.column?])).collect();
    let n = counted.len();
    // T17: a count or a sum of nothing is 0; what else there is of nothing is the default.
    match feature.function {
        Function::Count => return exactly(Value::Int(n as i64)),
        Function::Sum if slot.kind == Some(Type::Float64) => return exactly(Value::Float(exact_sum(floats(&values)))),
        Function::Sum => return exactly(Value::Int(whole_sum(&values).clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
        Function::Distinct { exact_up_to } => return different(&values, exact_up_to as usize),
        Function::Rate => {
            let size = output.frame.window.size().map_or(1.0, |size| size.as_secs_f64());
            return exactly(Value::Float(n as f64 / size));
        }
        _ => {}
    }
    match (feature.function, counted.last()) {
        (Function::TimeSinceLast, Some(last)) => {
            let end = ticks(as_of) - i128::from(output.frame.delay.micros());
            exactly(Value::Float((end - ticks(last.time)) as f64 / 1e6))
        }
        (_, Some(_)) => of_values(feature, &values, slot.kind == Some(Type::Float64)),
        (_, None) => exactly(feature.default.clone()),
    }
}

/// Of at least one value.
fn of_values(feature: &Feature, values: &[&Value], are_floats: bool) -> Expected {
    let n = values.len();
    let list = |some: Vec<&Value>| exactly(Value::List(some.into_iter().cloned().collect()));
    let newest_first = || values.iter().rev().copied();
    match feature.function {
        Function::Mean if are_floats => exactly(Value::Float(exact_sum(floats(values)) / n as f64)),
        Function::Mean => exactly(Value::Float(whole_sum(values) as f64 / n as f64)),
        Function::Min => values.iter().min_by(|a, b| a.total_cmp(b)).map_or(exactly(Value::Null), |best| exactly((*best).clone())),
        Function::Max => values.iter().max_by(|a, b| a.total_cmp(b)).map_or(exactly(Value::Null), |best| exactly((*best).clone())),
        Function::First => exactly(values[0].clone()),
        Function::Last => exactly(values[n - 1].clone()),
        Function::FirstK { k } => list(values.iter().copied().take(k as usize).collect()),
        Function::LastK { k } => list(newest_first().take(k as usize).collect()),
        Function::TopK { k } => list(most_frequent(values).into_iter().take(k as usize).collect()),
        Function::Quantile { q } => quantile(values, q),
        Function::VarPop | Function::VarSamp | Function::StddevPop | Function::StddevSamp => spread(feature, values),
        // The others are of no values too, and were told before.
        Function::Count | Function::Sum | Function::Distinct { .. } | Function::Rate | Function::TimeSinceLast => {
            exactly(feature.default.clone())
        }
    }
}

fn exactly(value: Value) -> Expected {
    Expected::Exactly(value)
}

fn floats<'v>(values: &'v [&Value]) -> impl Iterator<Item = f64> + 'v {
    values.iter().map(|value| match value {
        Value::Float(x) => *x,
        Value::Int(i) => *i as f64,
        _ => 0.0,
    })
}

fn whole_sum(values: &[&Value]) -> i128 {
    let whole = |value: &&Value| match value {
        Value::Int(i) => i128::from(*i),
        Value::Bool(b) => i128::from(*b),
        _ => 0,
    };
    values.iter().map(whole).sum()
}

fn different(values: &[&Value], exact_up_to: usize) -> Expected {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.total_cmp(b));
    sorted.dedup();
    let n = sorted.len() as i64;
    if sorted.len() <= exact_up_to { exactly(Value::Int(n)) } else { Expected::About(n, 2 + n / 10) }
}

/// The most frequent first; of as frequent ones the lesser value.
fn most_frequent<'v>(values: &[&'v Value]) -> Vec<&'v Value> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.total_cmp(b));
    let mut counted: Vec<(usize, &Value)> = Vec::new();
    for value in sorted {
        match counted.last_mut() {
            Some((n, last)) if *last == value => *n += 1,
            _ => counted.push((1, value)),
        }
    }
    counted.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    counted.into_iter().map(|(_, value)| value).collect()
}

fn quantile(values: &[&Value], q: f64) -> Expected {
    let mut sorted: Vec<f64> = floats(values).collect();
    sorted.sort_by(f64::total_cmp);
    let rank = q * (sorted.len() - 1) as f64;
    let of_rank = vec![sorted[rank.floor() as usize], sorted[rank.ceil() as usize]];
    let within = of_rank.iter().map(|x| x.abs() * QUANTILE_WITHIN).fold(f64::MIN_POSITIVE, f64::max);
    Expected::Near(of_rank, within)
}

/// In two passes: the mean, then the squares of what is off it.
fn spread(feature: &Feature, values: &[&Value]) -> Expected {
    let samp = matches!(feature.function, Function::VarSamp | Function::StddevSamp);
    let root = matches!(feature.function, Function::StddevPop | Function::StddevSamp);
    let (n, freedom) = (values.len() as f64, values.len() - usize::from(samp));
    if freedom == 0 {
        return exactly(feature.default.clone());
    }
    let mean = exact_sum(floats(values)) / n;
    let variance = exact_sum(floats(values).map(|x| (x - mean) * (x - mean))) / freedom as f64;
    // The mean is rounded, so what is off it is known no better than the mean is.
    let largest = floats(values).map(f64::abs).fold(0.0, f64::max);
    let unsure = ROUNDING * (variance + largest * variance.sqrt()) + (largest * f64::EPSILON).powi(2);
    match root {
        true => Expected::Near(vec![variance.sqrt()], (variance + unsure).sqrt() - (variance - unsure).max(0.0).sqrt()),
        false => Expected::Near(vec![variance], unsure),
    }
}
