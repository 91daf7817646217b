//! Batches of other types become batches of a source: columns are handed through as they are, and cast only where the types differ.

mod checks;
mod widen;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use floodmark_features::schema::Column;
use floodmark_features::suggest::Hint;
use floodmark_features::value::Type;

use super::Layout;
use crate::batch::SourceBatch;
use crate::offsets::Offsets;
use crate::payload::payload_of;
use crate::reject::Reject;
use checks::Faults;
pub use widen::widens;

/// Why columns are not those of a source.
#[derive(Debug, thiserror::Error)]
pub enum ColumnError {
    /// The column is to be added, or renamed.
    #[error("a column of the source is missing{hint} column={column} expected={expected} columns=[{columns}]")]
    Missing {
        /// As the definition calls it.
        column: String,
        /// Its type.
        expected: Type,
        /// What was probably meant.
        hint: Hint,
        /// What there is.
        columns: String,
    },
    /// The column is to be there once.
    #[error("a column of the source is there twice. column={column} columns=[{columns}]")]
    Twice {
        /// Its name.
        column: String,
        /// What there is.
        columns: String,
    },
    /// The column is to be cast, or the definition to be corrected.
    #[error("a column has a type that does not widen to the source's: cast it. column={column} expected={expected} found={found}")]
    WrongType {
        /// Its name.
        column: String,
        /// What the definition says.
        expected: Type,
        /// What it is.
        found: String,
    },
}

/// Which columns of a batch are those of a source.
pub struct Typed {
    layout: Layout,
    /// For each column of the source, its position in a batch.
    order: Vec<usize>,
}

impl Typed {
    /// Each of these columns has a type that [`widens`] to the source's.
    pub fn new(layout: Layout, order: Vec<usize>) -> Typed {
        Typed { layout, order }
    }

    /// Of columns that are called what the source's are, among others.
    pub fn of(layout: Layout, columns: &Schema) -> Result<Typed, ColumnError> {
        let order = layout.columns.iter().map(|column| place_of(column, columns)).collect::<Result<_, _>>()?;
        Ok(Typed { layout, order })
    }

    /// The rows that are events, and the others as rejects; the first one stands at `first`.
    pub fn batch_of(&self, raw: &RecordBatch, first: u64) -> Result<SourceBatch, ArrowError> {
        let mut faults = Faults::default();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.order.len());
        for (position, (column, place)) in self.layout.columns.iter().zip(&self.order).enumerate() {
            let given = raw.column(*place);
            let values = widen::widen(given, column.kind)?;
            faults.check(given, &values, column, self.layout.roles[position]);
            columns.push(values);
        }
        let rows = raw.num_rows();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = RecordBatch::try_new_with_options(self.layout.schema.clone(), columns, &options)?;
        let end = first + rows as u64;
        if faults.rows.is_empty() {
            return Ok(SourceBatch { columns, offsets: Offsets::Range(first..end), appended: Vec::new(), rejects: Vec::new(), end });
        }
        let good = BooleanArray::from_iter((0..rows).map(|row| Some(!faults.rows.contains_key(&row))));
        let mut offsets = Offsets::default();
        (0..rows).filter(|row| good.value(*row)).for_each(|row| offsets.push(first + row as u64));
        let rejects = faults.rows.into_iter().map(|(row, reason)| Reject::new(first + row as u64, reason, payload_of(raw, row)));
        Ok(SourceBatch { columns: filter_record_batch(&columns, &good)?, offsets, appended: Vec::new(), rejects: rejects.collect(), end })
    }
}

fn place_of(column: &Column, columns: &Schema) -> Result<usize, ColumnError> {
    let fields = columns.fields();
    let all = || fields.iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect::<Vec<_>>().join(", ");
    let mut found = fields.iter().enumerate().filter(|(_, field)| *field.name() == column.name);
    let (name, expected) = (column.name.clone(), column.kind);
    match (found.next(), found.next()) {
        (None, _) => {
            let hint = Hint::nearest(&name, fields.iter().map(|field| field.name().as_str()));
            Err(ColumnError::Missing { column: name, expected, hint, columns: all() })
        }
        (Some(_), Some(_)) => Err(ColumnError::Twice { column: name, columns: all() }),
        (Some((place, field)), None) => match widens(field.data_type(), expected) {
            true => Ok(place),
            false => Err(ColumnError::WrongType { column: name, expected, found: field.data_type().to_string() }),
        },
    }
}
