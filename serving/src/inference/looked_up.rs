//! Keys and request fields as a request for scores.

use std::collections::BTreeMap;

use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Time;
use floodmark_features::value::Type;
use floodmark_models::matrix::Input;
use floodmark_proto::inference::InferParameter;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;

use super::brought;
use super::datatype::Datatype;
use super::error::TensorError;
use super::tensor::Tensor;
use crate::plan::Plan;
use crate::refusal::Refusal;

/// The parameter with the event time that features are as of.
const AS_OF: &str = "as_of";

/// The parameter with the version of the store that is read.
const VERSION: &str = "version";

/// The same question in `floodmark.v1`, so that it has the same answer.
pub(super) fn request(
    tensors: &[Tensor<'_>],
    plan: &Plan,
    model: &str,
    version: &str,
    parameters: &BTreeMap<String, InferParameter>,
) -> Result<v1::ScoreRequest, Refusal> {
    let rows = brought::rows(tensors)?;
    let (keys, fields) = (given(tensors, &plan.lookup.keys)?, given(tensors, &plan.lookup.request)?);
    let values = |given: &[(&Tensor<'_>, &Column)], row| given.iter().map(|(tensor, column)| value(tensor, column, row)).collect();
    let row = |row| v1::EntityRow { keys: values(&keys, row), request: values(&fields, row), ..v1::EntityRow::default() };
    let names = |given: &[(&Tensor<'_>, &Column)]| given.iter().map(|(_, column)| column.name.clone()).collect();
    Ok(v1::ScoreRequest {
        model: model.to_owned(),
        model_version: version.to_owned(),
        key_names: names(&keys),
        request_names: names(&fields),
        rows: (0..rows).map(row).collect(),
        as_of_micros: as_of(parameters)?,
        version: store_version(parameters)?,
        ..v1::ScoreRequest::default()
    })
}

/// The tensors that are columns of a schema, of datatypes that can become theirs.
fn given<'t, 'r>(tensors: &'t [Tensor<'r>], schema: &'t Schema) -> Result<Vec<(&'t Tensor<'r>, &'t Column)>, TensorError> {
    let mut given = Vec::new();
    for tensor in tensors {
        let Some(column) = schema.columns.iter().find(|column| column.name == tensor.name) else { continue };
        let expected = expected(column.kind);
        if !takes(column.kind, tensor.datatype) {
            return Err(tensor.datatype_error(expected));
        }
        given.push((tensor, column));
    }
    Ok(given)
}

fn takes(kind: Type, datatype: Datatype) -> bool {
    let is_float = matches!(datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64);
    let is_int = !is_float && !matches!(datatype, Datatype::Bool | Datatype::Bytes);
    match kind {
        Type::Bool => datatype == Datatype::Bool,
        Type::Int64 => is_int,
        Type::Float64 => is_int || is_float,
        Type::String => datatype == Datatype::Bytes,
        Type::Timestamp => matches!(datatype, Datatype::Bytes | Datatype::Int64),
    }
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Bool => "BOOL",
        Type::Int64 => "INT64, or another integer",
        Type::Float64 => "FP64, or another number",
        Type::String => "BYTES",
        Type::Timestamp => "BYTES (RFC 3339) or INT64 (microseconds)",
    }
}

fn value(tensor: &Tensor<'_>, column: &Column, row: usize) -> v1::Value {
    let kind = match (tensor.value(row), column.kind) {
        (Input::Missing, _) => None,
        (Input::Float(x), _) if x.is_nan() => None,
        (Input::Float(x), _) => Some(Kind::DoubleValue(x)),
        (Input::Int(i), Type::Timestamp) => Some(Kind::TimestampMicros(i)),
        (Input::Int(i), _) => Some(Kind::Int64Value(i)),
        (Input::Bool(b), _) => Some(Kind::BoolValue(b)),
        (Input::Text(text), _) => Some(Kind::StringValue(text.to_owned())),
    };
    v1::Value { kind }
}

fn as_of(parameters: &BTreeMap<String, InferParameter>) -> Result<Option<i64>, TensorError> {
    let wrong = TensorError::Parameter { parameter: AS_OF, expected: "RFC 3339 text, or microseconds as int64" };
    match parameters.get(AS_OF).map(|parameter| &parameter.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::Int64Param(micros))) => Ok(Some(*micros)),
        Some(Some(ParameterChoice::StringParam(text))) => Time::parse(text).map(|time| Some(time.micros())).ok_or(wrong),
        Some(_) => Err(wrong),
    }
}

fn store_version(parameters: &BTreeMap<String, InferParameter>) -> Result<Option<u64>, TensorError> {
    let wrong = TensorError::Parameter { parameter: VERSION, expected: "a version of the store, as int64" };
    match parameters.get(VERSION).map(|parameter| &parameter.parameter_choice) {
        None => Ok(None),
        Some(Some(ParameterChoice::Int64Param(version))) => u64::try_from(*version).map(Some).map_err(|_| wrong),
        Some(Some(ParameterChoice::Uint64Param(version))) => Ok(Some(*version)),
        Some(_) => Err(wrong),
    }
}
