//! Rows for a model: values are converted, and what is missing is filled in or refused, when a row is pushed.

use std::sync::Arc;

use crate::manifest::Scalar;
use crate::signature::{Cell, Element, Feeding, Signature, SignatureInput};

/// A value for an input, as the caller has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input<'a> {
    /// There is none; NaN counts as this.
    Missing,
    /// `float64`
    Float(f64),
    /// `int64`
    Int(i64),
    /// `bool`
    Bool(bool),
    /// `string`
    Text(&'a str),
}

/// Rows in the form that one model takes. Made by [`Model::matrix`](crate::model::Model::matrix), and used again after [`Matrix::clear`].
#[derive(Debug, Clone)]
pub struct Matrix {
    pub(crate) signature: Arc<Signature>,
    pub(crate) cells: Cells,
    rows: usize,
    missing: usize,
}

/// Values in the order in which the session takes them.
#[derive(Debug, Clone)]
pub(crate) enum Cells {
    /// All rows, one after the other.
    Rows(Vec<f32>),
    /// By input.
    Columns(Vec<Column>),
}

/// The values of one input.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    Float(Vec<f32>),
    Double(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Text(Vec<String>),
}

/// A row that a model cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// A value is missing and the manifest says `reject`.
    #[error("input has no value, and the model's manifest names none for it. column={column}")]
    Missing {
        /// The column.
        column: String,
    },
    /// A value cannot become one of the input's type.
    #[error("input has the wrong type. column={column} expected={expected} found={found}")]
    WrongType {
        /// The column.
        column: String,
        /// The type of the model's input.
        expected: Element,
        /// What was given.
        found: &'static str,
    },
}

impl Matrix {
    pub(crate) fn new(signature: Arc<Signature>) -> Matrix {
        let cells = match signature.feeding {
            Feeding::Matrix => Cells::Rows(Vec::with_capacity(signature.inputs.len())),
            Feeding::Columns(_) => Cells::Columns(signature.inputs.iter().map(|input| Column::empty(input.element)).collect()),
        };
        Matrix { signature, cells, rows: 0, missing: 0 }
    }

    /// Adds a row: `input` is asked for the value at each position of the signature, in order. Says how many were missing.
    ///
    /// After an error the rows are as they were.
    pub fn push<'a>(&mut self, input: impl FnMut(usize) -> Input<'a>) -> Result<usize, InputError> {
        let inputs = &self.signature.inputs;
        let pushed = match &mut self.cells {
            Cells::Rows(values) => push_row(values, inputs, input),
            Cells::Columns(columns) => push_columns(columns, inputs, input),
        };
        match pushed {
            Ok(missing) => {
                self.rows += 1;
                self.missing += missing;
                Ok(missing)
            }
            Err(error) => {
                self.truncate(self.rows);
                Err(error)
            }
        }
    }

    /// Adds the rows of another matrix of the same model. Rows made for another model are left out.
    pub fn append(&mut self, other: &Matrix) {
        if !Arc::ptr_eq(&self.signature, &other.signature) {
            return;
        }
        match (&mut self.cells, &other.cells) {
            (Cells::Rows(values), Cells::Rows(more)) => values.extend_from_slice(more),
            (Cells::Columns(columns), Cells::Columns(more)) => columns.iter_mut().zip(more).for_each(|(column, more)| column.append(more)),
            _ => return,
        }
        self.rows += other.rows;
        self.missing += other.missing;
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many values were missing, in all rows.
    pub fn missing(&self) -> usize {
        self.missing
    }

    /// What the rows are made for.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Takes all rows out and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
        (self.rows, self.missing) = (0, 0);
    }

    fn truncate(&mut self, rows: usize) {
        match &mut self.cells {
            Cells::Rows(values) => values.truncate(rows * self.signature.inputs.len()),
            Cells::Columns(columns) => columns.iter_mut().for_each(|column| column.truncate(rows)),
        }
    }
}

fn push_row<'a>(values: &mut Vec<f32>, inputs: &[SignatureInput], mut input: impl FnMut(usize) -> Input<'a>) -> Result<usize, InputError> {
    let mut missing = 0;
    values.reserve(inputs.len());
    for (at, wanted) in inputs.iter().enumerate() {
        let given = input(at);
        let value = match given {
            Input::Float(v) if !v.is_nan() => v as f32,
            Input::Int(v) => v as f32,
            Input::Bool(v) => f32::from(u8::from(v)),
            Input::Text(_) => return Err(wrong_type(wanted, given)),
            Input::Missing | Input::Float(_) => {
                missing += 1;
                match &wanted.fill {
                    Some(Cell::Float(fill)) => *fill,
                    _ => return Err(no_value(wanted)),
                }
            }
        };
        values.push(value);
    }
    Ok(missing)
}

fn push_columns<'a>(
    columns: &mut [Column],
    inputs: &[SignatureInput],
    mut input: impl FnMut(usize) -> Input<'a>,
) -> Result<usize, InputError> {
    let mut missing = 0;
    for (at, (wanted, column)) in inputs.iter().zip(columns).enumerate() {
        let given = match input(at) {
            Input::Float(v) if v.is_nan() => Input::Missing,
            given => given,
        };
        if given == Input::Missing {
            missing += 1;
            column.push_fill(wanted.fill.as_ref().ok_or_else(|| no_value(wanted))?);
        } else if !column.push(given) {
            return Err(wrong_type(wanted, given));
        }
    }
    Ok(missing)
}

fn no_value(wanted: &SignatureInput) -> InputError {
    InputError::Missing { column: wanted.column.clone() }
}

fn wrong_type(wanted: &SignatureInput, given: Input<'_>) -> InputError {
    InputError::WrongType { column: wanted.column.clone(), expected: wanted.element, found: given.kind() }
}

impl Column {
    fn append(&mut self, more: &Column) {
        match (self, more) {
            (Column::Float(values), Column::Float(more)) => values.extend_from_slice(more),
            (Column::Double(values), Column::Double(more)) => values.extend_from_slice(more),
            (Column::Int(values), Column::Int(more)) => values.extend_from_slice(more),
            (Column::Bool(values), Column::Bool(more)) => values.extend_from_slice(more),
            (Column::Text(values), Column::Text(more)) => values.extend_from_slice(more),
            // The columns of one signature have one type.
            _ => {}
        }
    }

    fn empty(element: Element) -> Column {
        match element {
            Element::Float => Column::Float(Vec::new()),
            Element::Double => Column::Double(Vec::new()),
            Element::Int64 => Column::Int(Vec::new()),
            Element::Bool => Column::Bool(Vec::new()),
            Element::String => Column::Text(Vec::new()),
        }
    }

    /// Whether the value could become one of this column's.
    fn push(&mut self, input: Input<'_>) -> bool {
        match (self, input) {
            (Column::Float(to), Input::Float(v)) => to.push(v as f32),
            (Column::Float(to), Input::Int(v)) => to.push(v as f32),
            (Column::Float(to), Input::Bool(v)) => to.push(f32::from(u8::from(v))),
            (Column::Double(to), Input::Float(v)) => to.push(v),
            (Column::Double(to), Input::Int(v)) => to.push(v as f64),
            (Column::Double(to), Input::Bool(v)) => to.push(f64::from(u8::from(v))),
            (Column::Int(to), Input::Int(v)) => to.push(v),
            (Column::Int(to), Input::Bool(v)) => to.push(i64::from(v)),
            // A derived feature may come as a float that is a whole number.
            (Column::Int(to), Input::Float(v)) if v.fract() == 0.0 && v.abs() < 9e15 => to.push(v as i64),
            (Column::Bool(to), Input::Bool(v)) => to.push(v),
            (Column::Text(to), Input::Text(v)) => to.push(v.to_owned()),
            _ => return false,
        }
        true
    }

    fn push_fill(&mut self, fill: &Cell) {
        match (self, fill) {
            (Column::Float(to), Cell::Float(v)) => to.push(*v),
            (Column::Double(to), Cell::Double(v)) => to.push(*v),
            (Column::Int(to), Cell::Int(v)) => to.push(*v),
            (Column::Bool(to), Cell::Bool(v)) => to.push(*v),
            (Column::Text(to), Cell::Text(v)) => to.push(v.clone()),
            (column, fill) => unreachable!("a fill is made for its column: {fill:?} into {column:?}"),
        }
    }

    fn truncate(&mut self, rows: usize) {
        match self {
            Column::Float(values) => values.truncate(rows),
            Column::Double(values) => values.truncate(rows),
            Column::Int(values) => values.truncate(rows),
            Column::Bool(values) => values.truncate(rows),
            Column::Text(values) => values.truncate(rows),
        }
    }
}

impl Input<'_> {
    fn kind(self) -> &'static str {
        match self {
            Input::Missing => "none",
            Input::Float(_) => "float64",
            Input::Int(_) => "int64",
            Input::Bool(_) => "bool",
            Input::Text(_) => "string",
        }
    }
}

impl<'a> From<&'a Option<Scalar>> for Input<'a> {
    fn from(value: &'a Option<Scalar>) -> Input<'a> {
        match value {
            None => Input::Missing,
            Some(Scalar::Bool(v)) => Input::Bool(*v),
            Some(Scalar::Int(v)) => Input::Int(*v),
            Some(Scalar::Float(v)) => Input::Float(*v),
            Some(Scalar::Text(v)) => Input::Text(v),
        }
    }
}
