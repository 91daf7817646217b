//! From words to the columns of the output: one pass over a segment of rows for all columns of a view.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayBuilder, DictionaryArray, Int8Array, StringArray};
use arrow::array::{
    ArrayRef, BooleanArray, BooleanBuilder, Float64Array, Float64Builder, Int64Array, Int64Builder, ListBuilder, StringBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder, make_builder,
};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{DataType, Field, Int8Type, TimeUnit};
use floodmark_features::definition::OutputType;
use floodmark_features::expression::{Expression, Inputs};
use floodmark_features::lookup::Status;
use floodmark_features::value::{Type, Value, ValueRef};

use crate::matrix::{Heap, Matrix};
use crate::spine::{Block, Spine};

/// The Arrow type of a scalar column.
pub(crate) fn arrow_type(kind: Type) -> DataType {
    match kind {
        Type::Bool => DataType::Boolean,
        Type::Int64 => DataType::Int64,
        Type::Float64 => DataType::Float64,
        Type::String => DataType::Utf8,
        Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// The Arrow type of a feature's column.
pub(crate) fn arrow_type_of(kind: OutputType) -> DataType {
    match kind {
        OutputType::Scalar(kind) => arrow_type(kind),
        OutputType::List(kind) => DataType::List(Arc::new(Field::new_list_field(arrow_type(kind), true))),
    }
}

/// The type of a status column: there are four, so they are numbered.
pub(crate) fn status_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))
}

/// One value of each of these rows.
pub(crate) fn feature_column(matrix: &Matrix, at: usize, rows: Range<usize>, kind: OutputType, heaps: &[Heap]) -> ArrayRef {
    let from_heap = |word: u64| &heaps[(word >> 32) as usize][(word & u64::from(u32::MAX)) as usize];
    match kind {
        OutputType::List(kind) => {
            let field = Field::new_list_field(arrow_type(kind), true);
            let mut builder = ListBuilder::new(make_builder(&arrow_type(kind), 0)).with_field(field);
            for row in rows {
                let (null, word) = matrix.get(row, at);
                if let (false, Value::List(items)) = (null, from_heap_or_null(null, word, heaps)) {
                    items.iter().for_each(|item| append(builder.values(), kind, item.as_ref()));
                    builder.append(true);
                } else {
                    builder.append(false);
                }
            }
            Arc::new(builder.finish())
        }
        OutputType::Scalar(Type::String) => {
            let mut builder = StringBuilder::new();
            for row in rows {
                match matrix.get(row, at) {
                    (true, _) => builder.append_null(),
                    (false, word) => match from_heap(word) {
                        Value::Str(text) => builder.append_value(text),
                        _ => builder.append_null(),
                    },
                }
            }
            Arc::new(builder.finish())
        }
        OutputType::Scalar(kind) => {
            let mut words = Vec::with_capacity(rows.len());
            let present = BooleanBuffer::collect_bool(rows.len(), |n| {
                let (null, word) = matrix.get(rows.start + n, at);
                words.push(word);
                !null
            });
            words_column(words, present, kind)
        }
    }
}

fn from_heap_or_null(null: bool, word: u64, heaps: &[Heap]) -> &Value {
    if null { &Value::Null } else { &heaps[(word >> 32) as usize][(word & u64::from(u32::MAX)) as usize] }
}

fn words_column(words: Vec<u64>, present: BooleanBuffer, kind: Type) -> ArrayRef {
    let nulls = Some(NullBuffer::new(present)).filter(|nulls| nulls.null_count() > 0);
    match kind {
        Type::Bool => Arc::new(BooleanArray::new(words.iter().map(|word| *word != 0).collect(), nulls)),
        Type::Float64 => Arc::new(Float64Array::new(words.into_iter().map(f64::from_bits).collect(), nulls)),
        Type::Timestamp => Arc::new(TimestampMicrosecondArray::new(words.into_iter().map(|word| word as i64).collect(), nulls)),
        Type::Int64 | Type::String => Arc::new(Int64Array::new(words.into_iter().map(|word| word as i64).collect(), nulls)),
    }
}

/// How the values of these rows came to be.
pub(crate) fn status_column(matrix: &Matrix, at: usize, rows: Range<usize>) -> ArrayRef {
    let code = |row| match matrix.status(row, at) {
        Status::Present => 0,
        Status::Null => 1,
        Status::NotFound => NOT_FOUND,
        Status::Expired => 3,
    };
    status_of_codes(rows.map(code).collect::<Vec<i8>>().into())
}

/// The code of a row of which nothing is found.
pub(crate) const NOT_FOUND: i8 = 2;

/// The column of such codes.
pub(crate) fn status_of_codes(codes: Int8Array) -> ArrayRef {
    let names = StringArray::from(vec!["PRESENT", "NULL", "NOT_FOUND", "EXPIRED"]);
    // Every code is one of the four names.
    match DictionaryArray::<Int8Type>::try_new(codes, Arc::new(names)) {
        Ok(array) => Arc::new(array),
        Err(_) => arrow::array::new_null_array(&status_type(), 0),
    }
}

/// A derived feature over one row: the service's features, then its request fields.
pub(crate) struct RowInputs<'a> {
    pub(crate) spine: &'a Spine,
    pub(crate) block: &'a Block,
    /// For each feature its matrix, its place there, its type.
    pub(crate) features: &'a [(&'a Matrix, usize, OutputType)],
    pub(crate) heaps: &'a [Heap],
    pub(crate) row: usize,
}

impl Inputs for RowInputs<'_> {
    fn input(&self, position: usize) -> ValueRef<'_> {
        match self.features.get(position) {
            Some((matrix, at, kind)) => match (matrix.get(self.row, *at), kind) {
                ((true, _), _) | (_, OutputType::List(_)) => ValueRef::Null,
                ((false, word), OutputType::Scalar(Type::String)) => from_heap_or_null(false, word, self.heaps).as_ref(),
                ((false, word), OutputType::Scalar(kind)) => floodmark_features::row::value_of_word(*kind, word, &[]),
            },
            None => match self.spine.request.get(position - self.features.len()) {
                Some(Some(column)) => self.block.columns[*column].value(self.row),
                _ => ValueRef::Null,
            },
        }
    }
}

/// A derived feature of these rows, each by what it has.
pub(crate) fn derived_column<I: Inputs>(expression: &Expression, inputs_of: impl Fn(usize) -> I, rows: Range<usize>) -> ArrayRef {
    let kind = expression.kind();
    let mut builder = make_builder(&arrow_type(kind), rows.len());
    for row in rows {
        expression.evaluate_with(&inputs_of(row), |value| append(&mut builder, kind, value));
    }
    builder.finish()
}

/// Appends a value to the builder of its type; a value of another type is null.
fn append(builder: &mut Box<dyn ArrayBuilder>, kind: Type, value: ValueRef<'_>) {
    let builder = builder.as_any_mut();
    match kind {
        Type::Bool => {
            if let Some(b) = builder.downcast_mut::<BooleanBuilder>() {
                b.append_option(if let ValueRef::Bool(x) = value { Some(x) } else { None });
            }
        }
        Type::Int64 => {
            if let Some(b) = builder.downcast_mut::<Int64Builder>() {
                b.append_option(if let ValueRef::Int(x) = value { Some(x) } else { None });
            }
        }
        Type::Float64 => {
            if let Some(b) = builder.downcast_mut::<Float64Builder>() {
                b.append_option(if let ValueRef::Float(x) = value { Some(x) } else { None });
            }
        }
        Type::String => {
            if let Some(b) = builder.downcast_mut::<StringBuilder>() {
                b.append_option(if let ValueRef::Str(x) = value { Some(x) } else { None });
            }
        }
        Type::Timestamp => {
            if let Some(b) = builder.downcast_mut::<TimestampMicrosecondBuilder>() {
                b.append_option(if let ValueRef::Time(x) = value { Some(x.micros()) } else { None });
            }
        }
    }
}
