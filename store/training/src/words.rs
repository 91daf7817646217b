//! Columns of a spine as words, the way rows of a timeline hold values; types are widened, never narrowed.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use floodmark_features::row::{push_text, value_of_word};
use floodmark_features::value::{Type, ValueRef};

/// The values of one column.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) kind: Type,
    /// 0 where null; text points into the heap.
    words: Vec<u64>,
    heap: Vec<u8>,
    /// For each row, whether it is null; empty if none is.
    nulls: Vec<bool>,
}

/// Text is addressed by 32 bits.
const MOST_TEXT: usize = u32::MAX as usize;

impl Words {
    pub(crate) fn new(kind: Type) -> Words {
        Words { kind, words: Vec::new(), heap: Vec::new(), nulls: Vec::new() }
    }

    #[inline]
    pub(crate) fn is_null(&self, row: usize) -> bool {
        !self.nulls.is_empty() && self.nulls[row]
    }

    #[inline]
    pub(crate) fn word(&self, row: usize) -> u64 {
        self.words[row]
    }

    /// Brings words into the cache, many at a time.
    pub(crate) fn fetch(&self, rows: &[u32]) {
        std::hint::black_box(rows.iter().fold(0, |all, row| all ^ self.words[*row as usize]));
    }

    #[inline]
    pub(crate) fn value(&self, row: usize) -> ValueRef<'_> {
        if self.is_null(row) { ValueRef::Null } else { value_of_word(self.kind, self.words[row], &self.heap) }
    }

    /// Appends a column of a batch; false if its text does not fit any more.
    pub(crate) fn append(&mut self, given: &ArrayRef) -> Result<bool, ArrowError> {
        let array = widen(given, self.kind)?;
        let before = self.words.len();
        match self.kind {
            Type::Int64 => self.words.extend(array.as_primitive::<Int64Type>().values().iter().map(|i| *i as u64)),
            Type::Float64 => self.words.extend(array.as_primitive::<Float64Type>().values().iter().map(|x| x.to_bits())),
            Type::Timestamp => self.words.extend(array.as_primitive::<TimestampMicrosecondType>().values().iter().map(|t| *t as u64)),
            Type::Bool => self.words.extend(array.as_boolean().values().iter().map(u64::from)),
            Type::String => {
                let texts = array.as_string::<i32>();
                if self.heap.len() + texts.value_data().len() > MOST_TEXT {
                    return Ok(false);
                }
                self.words.extend(texts.iter().map(|text| text.map_or(0, |text| push_text(&mut self.heap, text.as_bytes()))));
            }
        }
        if array.null_count() > 0 {
            self.nulls.resize(before, false);
            self.nulls.extend((0..array.len()).map(|row| array.is_null(row)));
            for (word, null) in self.words[before..].iter_mut().zip(&self.nulls[before..]) {
                *word = if *null { 0 } else { *word };
            }
        } else if !self.nulls.is_empty() {
            self.nulls.resize(self.words.len(), false);
        }
        Ok(true)
    }

    /// Appends what follows; false if its text does not fit any more.
    pub(crate) fn extend(&mut self, next: Words) -> bool {
        if self.words.is_empty() {
            *self = next;
            return true;
        }
        if self.heap.len() + next.heap.len() > MOST_TEXT {
            return false;
        }
        if !next.nulls.is_empty() || !self.nulls.is_empty() {
            self.nulls.resize(self.words.len(), false);
            self.nulls.extend_from_slice(&next.nulls);
            self.nulls.resize(self.words.len() + next.words.len(), false);
        }
        let shift = if self.kind == Type::String { (self.heap.len() as u64) << 32 } else { 0 };
        self.words.extend(next.words.iter().map(|word| word.wrapping_add(shift)));
        self.heap.extend_from_slice(&next.heap);
        true
    }
}

/// Whether a column of that type can be read as one of ours.
pub(crate) fn widens(found: &DataType, kind: Type) -> bool {
    match found {
        DataType::Null => true,
        DataType::Dictionary(_, values) => widens(values, kind),
        DataType::Boolean => kind == Type::Bool,
        found if found.is_integer() => matches!(kind, Type::Bool | Type::Int64 | Type::Float64),
        found if found.is_floating() || found.is_decimal() => kind == Type::Float64,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => kind == Type::String,
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => kind == Type::Timestamp,
        _ => false,
    }
}

/// The Arrow type that a column of ours is read as.
fn wanted(found: &DataType, kind: Type) -> DataType {
    match (kind, found) {
        (Type::Bool, _) => DataType::Boolean,
        (Type::Int64, _) => DataType::Int64,
        (Type::Float64, _) => DataType::Float64,
        (Type::String, _) => DataType::Utf8,
        // An instant is the same in every zone: keep the zone, so that a cast does not move the clock.
        (Type::Timestamp, DataType::Timestamp(_, zone)) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        (Type::Timestamp, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// What cannot be said in our type becomes null.
fn widen(given: &ArrayRef, kind: Type) -> Result<ArrayRef, ArrowError> {
    if let DataType::Dictionary(_, values) = given.data_type() {
        return widen(&cast(given, values)?, kind);
    }
    if kind == Type::Bool && given.data_type().is_integer() {
        let numbers = cast(given, &DataType::Int64)?;
        let zero_or_one = |n: Option<i64>| n.filter(|n| *n == 0 || *n == 1).map(|n| n == 1);
        return Ok(std::sync::Arc::new(BooleanArray::from_iter(numbers.as_primitive::<Int64Type>().iter().map(zero_or_one))));
    }
    let wanted = wanted(given.data_type(), kind);
    if *given.data_type() == wanted { Ok(given.clone()) } else { cast(given, &wanted) }
}

fn cast(given: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(given, wanted, &CastOptions { safe: true, ..CastOptions::default() })
}
