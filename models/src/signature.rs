//! A signature: which columns a model is fed, as which types, in which order.

use std::fmt;

use ort::value::TensorElementType;

use crate::manifest::{Missing, Scalar};

/// What a model is fed.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The feature service whose columns these are.
    pub service: String,
    /// Fingerprint of the service's columns.
    pub columns_id: u64,
    /// By position.
    pub inputs: Vec<SignatureInput>,
    /// Where the model's file takes them.
    pub tensors: Tensors,
    pub(crate) feeding: Feeding,
}

/// The tensors that hold the inputs, as the model's file names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tensors {
    /// One float tensor `[rows, inputs]`.
    Matrix(String),
    /// One for each input, by position.
    Columns(Vec<ColumnTensor>),
}

/// A tensor that holds one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnTensor {
    /// Its name.
    pub name: String,
    /// Whether its shape is `[rows, 1]`; else it is `[rows]`.
    pub upright: bool,
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct SignatureInput {
    /// The service's column.
    pub column: String,
    /// The type that it becomes.
    pub element: Element,
    /// What a missing value becomes; `None` where a missing value is refused.
    pub(crate) fill: Option<Cell>,
}

/// How the inputs reach the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Feeding {
    /// One float tensor, a row after the other.
    Matrix,
    /// A tensor for each input: in the session's order, the position of the input and whether its shape is `[rows, 1]`.
    Columns(Vec<(usize, bool)>),
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32 bits
    Float,
    /// 64 bits
    Double,
    /// 64 bits
    Int64,
    /// `true` or `false`
    Bool,
    /// Text
    String,
}

/// A value of an input's type.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    Float(f32),
    Double(f64),
    Int(i64),
    Bool(bool),
    Text(String),
}

/// By bits: NaN is the same as NaN.
impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
            (Cell::Double(a), Cell::Double(b)) => a.to_bits() == b.to_bits(),
            (Cell::Int(a), Cell::Int(b)) => a == b,
            (Cell::Bool(a), Cell::Bool(b)) => a == b,
            (Cell::Text(a), Cell::Text(b)) => a == b,
            _ => false,
        }
    }
}

/// The type of a service's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `bool`
    Bool,
    /// `int64`
    Int64,
    /// `float64`
    Float64,
    /// `string`
    String,
    /// `timestamp`
    Timestamp,
    /// Of a derived feature, whose type follows its inputs.
    Unknown,
}

/// The columns that a service gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceColumns {
    /// Their fingerprint.
    pub id: u64,
    /// Names and types, in order.
    pub columns: Vec<(String, ColumnType)>,
}

/// What feature services there are.
pub trait Services {
    /// The columns of a service; `None` if there is none of that name.
    fn columns(&self, service: &str) -> Option<ServiceColumns>;
}

impl Element {
    /// The element of a tensor, if it is one that can be fed.
    pub(crate) fn of(tensor: TensorElementType) -> Option<Element> {
        match tensor {
            TensorElementType::Float32 => Some(Element::Float),
            TensorElementType::Float64 => Some(Element::Double),
            TensorElementType::Int64 => Some(Element::Int64),
            TensorElementType::Bool => Some(Element::Bool),
            TensorElementType::String => Some(Element::String),
            _ => None,
        }
    }

    /// Whether every value of such a column can become one of this type.
    pub(crate) fn takes(self, column: ColumnType) -> bool {
        match column {
            ColumnType::Unknown => true,
            // Neither type of float holds an instant as people mean it, and an epoch is no feature.
            ColumnType::Timestamp => false,
            ColumnType::String => self == Element::String,
            ColumnType::Bool => self != Element::String,
            ColumnType::Int64 => matches!(self, Element::Float | Element::Double | Element::Int64),
            ColumnType::Float64 => matches!(self, Element::Float | Element::Double),
        }
    }

    /// What a missing value becomes; the error is what the type would take.
    pub(crate) fn fill(self, missing: &Missing) -> Result<Option<Cell>, &'static str> {
        match (self, missing) {
            (_, Missing::Reject) => Ok(None),
            (Element::Float, Missing::Nan) => Ok(Some(Cell::Float(f32::NAN))),
            (Element::Double, Missing::Nan) => Ok(Some(Cell::Double(f64::NAN))),
            (_, Missing::Nan) => Err("a default or reject, for a type that has no NaN"),
            (_, Missing::Default(value)) => self.default(value).map(Some),
        }
    }

    fn default(self, value: &Scalar) -> Result<Cell, &'static str> {
        match (self, value) {
            (Element::Float, Scalar::Float(v)) => Ok(Cell::Float(*v as f32)),
            (Element::Float, Scalar::Int(v)) => Ok(Cell::Float(*v as f32)),
            (Element::Double, Scalar::Float(v)) => Ok(Cell::Double(*v)),
            (Element::Double, Scalar::Int(v)) => Ok(Cell::Double(*v as f64)),
            (Element::Int64, Scalar::Int(v)) => Ok(Cell::Int(*v)),
            (Element::Bool, Scalar::Bool(v)) => Ok(Cell::Bool(*v)),
            (Element::String, Scalar::Text(v)) => Ok(Cell::Text(v.clone())),
            (Element::Float | Element::Double, _) => Err("a number as default"),
            (Element::Int64, _) => Err("a whole number as default"),
            (Element::Bool, _) => Err("true or false as default"),
            (Element::String, _) => Err("a text as default"),
        }
    }
}

impl Signature {
    /// Whether a missing value may reach the model as NaN.
    pub(crate) fn feeds_nan(&self) -> bool {
        let is_nan = |fill: &Option<Cell>| match fill {
            Some(Cell::Float(v)) => v.is_nan(),
            Some(Cell::Double(v)) => v.is_nan(),
            _ => false,
        };
        self.inputs.iter().any(|input| is_nan(&input.fill))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Element::Float => "float",
            Element::Double => "double",
            Element::Int64 => "int64",
            Element::Bool => "bool",
            Element::String => "string",
        })
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ColumnType::Bool => "bool",
            ColumnType::Int64 => "int64",
            ColumnType::Float64 => "float64",
            ColumnType::String => "string",
            ColumnType::Timestamp => "timestamp",
            ColumnType::Unknown => "of a derived feature",
        })
    }
}
