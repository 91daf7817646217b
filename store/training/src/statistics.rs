//! Statistics of features over some rows, and how far they have moved between two sets of rows: a join that finds nothing and a source that
//! has died are seen here before a model is trained on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int8Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::STATUS_SUFFIX;

/// The quantiles that are told.
const QUANTILES: [(&str, f64); 7] =
    [("p01", 0.01), ("p05", 0.05), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("p95", 0.95), ("p99", 0.99)];
/// Bins of the drift: tenths of the rows that it is measured against.
const BINS: usize = 10;
/// Of text, so many of the most frequent values have a bin each, and the others one together.
const WORDS: usize = 20;
/// A bin is never taken for emptier than this, as the logarithm of nothing is not a number.
const LEAST_SHARE: f64 = 1e-4;

/// What features are like over some rows.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    rows: usize,
    features: Vec<Feature>,
}

#[derive(Clone, Debug)]
struct Feature {
    name: String,
    nulls: usize,
    /// Rows whose entity nobody knows, and whose newest event is too old.
    not_found: usize,
    expired: usize,
    values: Values,
}

/// All values that are there.
#[derive(Clone, Debug)]
enum Values {
    /// Sorted. Of a list its length, of an instant its seconds, of a truth 0 or 1.
    Numbers(Vec<f64>),
    /// How often each is there.
    Words(BTreeMap<String, usize>),
}

impl Profile {
    /// Of the rows of a training set: `first` is the place of its first feature, and those that have a status column are told with it.
    pub fn of(schema: &Schema, batches: &[RecordBatch], first: usize) -> Result<Profile, ArrowError> {
        let added = schema.fields().iter().enumerate().skip(first);
        let features = added.filter(|(_, field)| !field.name().ends_with(STATUS_SUFFIX));
        let features = features.map(|(at, field)| Feature::of(field.name(), at, batches)).collect::<Result<_, _>>()?;
        Ok(Profile { rows: batches.iter().map(RecordBatch::num_rows).sum(), features })
    }

    /// A row for each feature, and with rows to compare with, two: theirs after ours, which has the drift beside it.
    pub fn table(&self, against: Option<&Profile>) -> Result<RecordBatch, ArrowError> {
        let mut lines: Vec<(&Feature, &str, usize, Option<f64>)> = Vec::new();
        for (at, feature) in self.features.iter().enumerate() {
            let other = against.and_then(|against| against.features.get(at));
            lines.push((feature, "range", self.rows, other.map(|other| feature.drift_from(other))));
            lines.extend(against.zip(other).map(|(profile, other)| (other, "against", profile.rows, None)));
        }
        let count = |of: &dyn Fn(&Feature) -> usize| -> ArrayRef {
            Arc::new(lines.iter().map(|(feature, ..)| Some(of(feature) as i64)).collect::<Int64Array>())
        };
        let number = |of: &dyn Fn(&Feature) -> Option<f64>| -> ArrayRef {
            Arc::new(lines.iter().map(|(feature, ..)| of(feature)).collect::<Float64Array>())
        };
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(lines.iter().map(|(feature, ..)| feature.name.as_str()))),
            Arc::new(StringArray::from_iter_values(lines.iter().map(|(_, range, ..)| *range))),
            Arc::new(lines.iter().map(|(_, _, rows, _)| Some(*rows as i64)).collect::<Int64Array>()),
            count(&|feature| feature.nulls),
            count(&|feature| feature.not_found),
            count(&|feature| feature.expired),
            count(&Feature::distinct),
            number(&Feature::mean),
            number(&|feature| feature.numbers().first().copied()),
        ];
        columns.extend(QUANTILES.iter().map(|(_, share)| number(&|feature| quantile(feature.numbers(), *share))));
        columns.push(number(&|feature| feature.numbers().last().copied()));
        columns.push(Arc::new(lines.iter().map(|(feature, ..)| feature.top()).collect::<StringArray>()));
        columns.push(Arc::new(lines.iter().map(|(.., drift)| *drift).collect::<Float64Array>()));
        RecordBatch::try_new(Profile::schema(), columns)
    }

    /// The columns of [`Profile::table`]: `psi` is the population stability index between the two, 0 where nothing has moved; above 0.1 a
    /// feature is worth a look, and above 0.25 it is another one.
    pub fn schema() -> SchemaRef {
        let field = |name: &str, kind: &DataType, nullable| Field::new(name, kind.clone(), nullable);
        let mut fields = ["feature", "range"].map(|name| field(name, &DataType::Utf8, false)).to_vec();
        fields.extend(["rows", "nulls", "not_found", "expired", "distinct"].map(|name| field(name, &DataType::Int64, false)));
        let numbers = ["mean", "min"].into_iter().chain(QUANTILES.iter().map(|(name, _)| *name)).chain(["max"]);
        fields.extend(numbers.map(|name| field(name, &DataType::Float64, true)));
        fields.push(field("top", &DataType::Utf8, true));
        fields.push(field("psi", &DataType::Float64, true));
        Arc::new(Schema::new(fields))
    }
}

impl Feature {
    fn of(name: &str, at: usize, batches: &[RecordBatch]) -> Result<Feature, ArrowError> {
        let values = Values::Numbers(Vec::new());
        let mut feature = Feature { name: name.to_owned(), nulls: 0, not_found: 0, expired: 0, values };
        let status = format!("{name}{STATUS_SUFFIX}");
        for batch in batches {
            feature.nulls += batch.column(at).null_count();
            feature.add(batch.column(at))?;
            let Some(statuses) = batch.column_by_name(&status).and_then(|column| column.as_dictionary_opt::<Int8Type>()) else { continue };
            let names = statuses.values().as_string::<i32>();
            let many = |name: &str| statuses.keys().iter().flatten().filter(|key| names.value(*key as usize) == name).count();
            feature.not_found += many("NOT_FOUND");
            feature.expired += many("EXPIRED");
        }
        if let Values::Numbers(numbers) = &mut feature.values {
            numbers.sort_unstable_by(f64::total_cmp);
        }
        Ok(feature)
    }

    fn add(&mut self, column: &ArrayRef) -> Result<(), ArrowError> {
        if let DataType::Utf8 = column.data_type() {
            if let Values::Numbers(_) = self.values {
                self.values = Values::Words(BTreeMap::new());
            }
            let Values::Words(words) = &mut self.values else { return Ok(()) };
            column.as_string::<i32>().iter().flatten().for_each(|word| *words.entry(word.to_owned()).or_default() += 1);
            return Ok(());
        }
        let Values::Numbers(numbers) = &mut self.values else { return Ok(()) };
        match column.data_type() {
            DataType::List(_) => {
                let lists = column.as_list::<i32>();
                numbers.extend((0..lists.len()).filter(|row| lists.is_valid(*row)).map(|row| f64::from(lists.value_length(row))));
            }
            DataType::Timestamp(..) => {
                let micros = cast(&cast(column, &DataType::Int64)?, &DataType::Float64)?;
                numbers.extend(micros.as_primitive::<Float64Type>().iter().flatten().map(|micros| micros / 1e6));
            }
            _ => numbers.extend(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().iter().flatten()),
        }
        Ok(())
    }

    fn numbers(&self) -> &[f64] {
        match &self.values {
            Values::Numbers(numbers) => numbers,
            Values::Words(_) => &[],
        }
    }

    fn mean(&self) -> Option<f64> {
        let numbers = self.numbers();
        (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
    }

    fn distinct(&self) -> usize {
        match &self.values {
            Values::Numbers(numbers) => numbers.chunk_by(|a, b| a == b).count(),
            Values::Words(words) => words.len(),
        }
    }

    /// The most frequent word.
    fn top(&self) -> Option<&str> {
        match &self.values {
            Values::Numbers(_) => None,
            // Of those that are as frequent the first by name.
            Values::Words(words) => words.iter().rev().max_by_key(|(_, many)| **many).map(|(word, _)| word.as_str()),
        }
    }

    /// The population stability index: over bins of what this is measured against, and one of nulls, `sum of (p - q) ln(p / q)`.
    fn drift_from(&self, against: &Feature) -> f64 {
        let (ours, theirs) = match (&self.values, &against.values) {
            (Values::Numbers(ours), Values::Numbers(theirs)) => {
                let mut edges: Vec<f64> = (1..BINS).filter_map(|bin| quantile(theirs, bin as f64 / BINS as f64)).collect();
                edges.dedup();
                (binned(ours, &edges), binned(theirs, &edges))
            }
            (Values::Words(ours), Values::Words(theirs)) => {
                let mut frequent: Vec<(&String, &usize)> = theirs.iter().collect();
                frequent.sort_by_key(|(_, many)| std::cmp::Reverse(**many));
                let named: Vec<&str> = frequent.iter().take(WORDS).map(|(word, _)| word.as_str()).collect();
                (counted(ours, &named), counted(theirs, &named))
            }
            // Of one of them there is nothing but nulls.
            (ours, theirs) => (vec![ours.len()], vec![theirs.len()]),
        };
        let shares = |bins: Vec<usize>, nulls: usize| {
            let all = (bins.iter().sum::<usize>() + nulls).max(1) as f64;
            bins.into_iter().chain([nulls]).map(move |many| (many as f64 / all).max(LEAST_SHARE))
        };
        shares(ours, self.nulls).zip(shares(theirs, against.nulls)).map(|(p, q)| (p - q) * (p / q).ln()).sum()
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Values::Numbers(numbers) => numbers.len(),
            Values::Words(words) => words.values().sum(),
        }
    }
}

/// The least of sorted numbers that so large a share of them is not greater than.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// How many of sorted numbers are up to each edge, and above the last.
fn binned(sorted: &[f64], edges: &[f64]) -> Vec<usize> {
    let ends: Vec<usize> = edges.iter().map(|edge| sorted.partition_point(|number| number <= edge)).chain([sorted.len()]).collect();
    ends.iter().enumerate().map(|(at, end)| end - if at == 0 { 0 } else { ends[at - 1] }).collect()
}

/// How often each of the words is there, and all others.
fn counted(words: &BTreeMap<String, usize>, named: &[&str]) -> Vec<usize> {
    let of_names: Vec<usize> = named.iter().map(|name| words.get(*name).copied().unwrap_or(0)).collect();
    let others = words.values().sum::<usize>() - of_names.iter().sum::<usize>();
    of_names.into_iter().chain([others]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(values: &[Option<f64>]) -> Profile {
        let column: ArrayRef = Arc::new(values.iter().copied().collect::<Float64Array>());
        let batch = RecordBatch::try_from_iter([("f", column)]).expect("a batch");
        Profile::of(&batch.schema(), &[batch], 0).expect("a profile")
    }

    fn words(words: &[&str]) -> Profile {
        let column: ArrayRef = Arc::new(StringArray::from(words.to_vec()));
        let batch = RecordBatch::try_from_iter([("f", column)]).expect("a batch");
        Profile::of(&batch.schema(), &[batch], 0).expect("a profile")
    }

    fn number(table: &RecordBatch, name: &str) -> f64 {
        let column = table.column_by_name(name).expect("a column");
        cast(column, &DataType::Float64).expect("a number").as_primitive::<Float64Type>().value(0)
    }

    fn psi(profile: &Profile, against: &Profile) -> f64 {
        number(&profile.table(Some(against)).expect("a table"), "psi")
    }

    #[test]
    fn numbers_are_told_by_rank() {
        let values: Vec<Option<f64>> = (1..=100).rev().map(|n| Some(f64::from(n))).chain([None; 25]).collect();
        let table = profile(&values).table(None).expect("a table");
        let told = ["rows", "nulls", "distinct", "mean", "min", "p01", "p25", "p50", "p99", "max"].map(|name| number(&table, name));
        assert_eq!(told, [125.0, 25.0, 100.0, 50.5, 1.0, 1.0, 25.0, 50.0, 99.0, 100.0]);
        let nothing = profile(&[None]).table(None).expect("a table");
        assert!(nothing.column_by_name("p50").expect("a column").is_null(0));
    }

    #[test]
    fn drift_is_the_index_of_the_formula() {
        let whole: Vec<Option<f64>> = (0..1_000).map(|n| Some(f64::from(n))).collect();
        assert_eq!(psi(&profile(&whole), &profile(&whole)), 0.0);
        // The upper half only: five bins of a tenth are empty, and five have a fifth each.
        let upper = psi(&profile(&whole[500..]), &profile(&whole));
        let formula = 5.0 * (0.2 - 0.1) * 2.0_f64.ln() + 5.0 * (LEAST_SHARE - 0.1) * (LEAST_SHARE / 0.1).ln();
        assert!((upper - formula).abs() < 1e-9, "{upper} and not {formula}");
        // Half of it null.
        let half: Vec<Option<f64>> = whole.iter().enumerate().map(|(n, value)| value.filter(|_| n % 2 == 0)).collect();
        assert!(psi(&profile(&half), &profile(&whole)) > 0.25);
        // One value only has one bin, and no edge is there twice.
        assert_eq!(psi(&profile(&[Some(0.0); 9]), &profile(&[Some(0.0); 4])), 0.0);
        assert!(psi(&profile(&[None; 9]), &profile(&[Some(0.0); 4])) > 0.25);
    }

    #[test]
    fn words_have_bins_of_their_own() {
        let (a, b) = (words(&["x", "x", "y", "z"]), words(&["x", "y", "y", "y"]));
        assert_eq!(psi(&a, &a), 0.0);
        // Measured against the second: y has three quarters, x one, and z is among the others.
        let share = |p: f64, q: f64| (p - q) * (p / q).ln();
        let formula = share(0.25, 0.75) + share(0.5, 0.25) + share(0.25, LEAST_SHARE);
        assert!((psi(&a, &b) - formula).abs() < 1e-9, "{}", psi(&a, &b));
        let table = a.table(None).expect("a table");
        assert_eq!(table.column_by_name("top").expect("a column").as_string::<i32>().value(0), "x");
        assert_eq!(number(&table, "distinct"), 3.0);
    }
}
