//! What may be wrong with the tensors of a request. All but one are the caller's to put right.

use floodmark_features::suggest::Hint;

/// Why tensors cannot be used. `at` is the tensor's position in the request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TensorError {
    #[error("datatype is none of the protocol's. tensor={tensor} datatype={datatype} expected={expected}")]
    UnknownDatatype { at: usize, tensor: String, datatype: String, expected: String },
    #[error("tensor has the wrong datatype. tensor={tensor} expected={expected} found={found}")]
    Datatype { at: usize, tensor: String, expected: String, found: &'static str },
    #[error("tensor has the wrong shape. tensor={tensor} expected={expected} found={found:?}")]
    Shape { at: usize, tensor: String, expected: String, found: Vec<i64> },
    #[error("tensors have not the same number of rows. tensor={tensor} expected={expected} found={found}")]
    Rows { at: usize, tensor: String, expected: usize, found: usize },
    #[error("contents do not have the length that shape and datatype ask for. tensor={tensor} expected={expected} found={found} {unit}")]
    Length { at: usize, tensor: String, expected: usize, found: usize, unit: &'static str },
    #[error("contents end in the middle of a value; before each of BYTES stands its length in four bytes. tensor={tensor} value={value}")]
    Truncated { at: usize, tensor: String, value: usize },
    #[error("contents have bytes after the last value. tensor={tensor} values={values} bytes_left={left}")]
    Leftover { at: usize, tensor: String, values: usize, left: usize },
    #[error("contents are in the field of another datatype. tensor={tensor} datatype={datatype} expected={expected}")]
    WrongField { at: usize, tensor: String, datatype: &'static str, expected: &'static str },
    #[error("contents of this datatype come raw only. tensor={tensor} datatype={datatype}")]
    RawOnly { at: usize, tensor: String, datatype: &'static str },
    #[error("tensor has both raw and typed contents; send one of them. tensor={tensor}")]
    BothContents { at: usize, tensor: String },
    #[error("raw contents are for all inputs or for none. inputs={inputs} raw_input_contents={raw}")]
    RawCount { inputs: usize, raw: usize },
    #[error("value is out of its datatype's range, or of int64's. tensor={tensor} datatype={datatype} value={value}")]
    Range { at: usize, tensor: String, datatype: &'static str, value: usize },
    #[error("value is no text in UTF-8. tensor={tensor} value={value}")]
    NotText { at: usize, tensor: String, value: usize },
    #[error("request has no inputs. expected={expected}")]
    NoInputs { expected: String },
    #[error("no tensor has this name{hint} tensor={tensor} expected={expected}")]
    Unknown { at: usize, tensor: String, hint: Hint, expected: String },
    #[error(
        "request mixes the model's tensors with keys and request fields of its service; send the ones or the others. \
         model_tensor={brought} service_column={asked}"
    )]
    Mixture { at: usize, brought: String, asked: String },
    #[error("tensor is given twice. tensor={tensor}")]
    Twice { at: usize, tensor: String },
    #[error("a tensor is missing. tensor={tensor} expected={expected}")]
    Missing { tensor: String, expected: String },
    #[error("no output has this name. output={output} expected={expected}")]
    UnknownOutput { at: usize, output: String, expected: &'static str },
    #[error("output is asked for twice. output={output}")]
    OutputTwice { at: usize, output: &'static str },
    #[error("parameter has the wrong type or value. parameter={parameter} expected={expected}")]
    Parameter { parameter: &'static str, expected: &'static str },
    #[error("this server has no {what}; send without. parameter={parameter}")]
    Unsupported { what: &'static str, parameter: String },
    #[error("the body is not as the protocol has it: {reason}")]
    Body { reason: String },
}

impl TensorError {
    /// A word for programs, which stays as it is.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            TensorError::UnknownDatatype { .. } => "UNKNOWN_DATATYPE",
            TensorError::Datatype { .. } => "WRONG_DATATYPE",
            TensorError::Shape { .. } | TensorError::Rows { .. } => "WRONG_SHAPE",
            TensorError::Length { .. } | TensorError::Truncated { .. } | TensorError::Leftover { .. } => "CONTENTS_LENGTH",
            TensorError::WrongField { .. } | TensorError::RawOnly { .. } => "CONTENTS_FIELD",
            TensorError::BothContents { .. } | TensorError::RawCount { .. } => "RAW_AND_TYPED",
            TensorError::Range { .. } => "OUT_OF_RANGE",
            TensorError::NotText { .. } => "NOT_TEXT",
            TensorError::NoInputs { .. } | TensorError::Missing { .. } => "MISSING_TENSOR",
            TensorError::Unknown { .. } => "UNKNOWN_TENSOR",
            TensorError::Mixture { .. } => "MIXED_FORMS",
            TensorError::Twice { .. } => "TENSOR_TWICE",
            TensorError::UnknownOutput { .. } => "UNKNOWN_OUTPUT",
            TensorError::OutputTwice { .. } => "OUTPUT_TWICE",
            TensorError::Parameter { .. } => "WRONG_PARAMETER",
            TensorError::Unsupported { .. } => "UNSUPPORTED",
            TensorError::Body { .. } => "WRONG_BODY",
        }
    }

    /// The field of the request that is to blame.
    pub(crate) fn field(&self) -> Option<String> {
        let input = |at: &usize, field: &str| Some(format!("inputs[{at}]{field}"));
        match self {
            TensorError::UnknownDatatype { at, .. } | TensorError::Datatype { at, .. } => input(at, ".datatype"),
            TensorError::Shape { at, .. } | TensorError::Rows { at, .. } => input(at, ".shape"),
            TensorError::Unknown { at, .. } | TensorError::Mixture { at, .. } | TensorError::Twice { at, .. } => input(at, ".name"),
            TensorError::Length { at, .. }
            | TensorError::Truncated { at, .. }
            | TensorError::Leftover { at, .. }
            | TensorError::WrongField { at, .. }
            | TensorError::RawOnly { at, .. }
            | TensorError::BothContents { at, .. }
            | TensorError::Range { at, .. }
            | TensorError::NotText { at, .. } => input(at, ""),
            TensorError::RawCount { .. } => Some("raw_input_contents".to_owned()),
            TensorError::NoInputs { .. } | TensorError::Missing { .. } => Some("inputs".to_owned()),
            TensorError::UnknownOutput { at, .. } | TensorError::OutputTwice { at, .. } => Some(format!("outputs[{at}].name")),
            TensorError::Parameter { parameter, .. } => Some(format!("parameters.{parameter}")),
            TensorError::Unsupported { parameter, .. } => Some(format!("parameters.{parameter}")),
            TensorError::Body { .. } => None,
        }
    }
}
