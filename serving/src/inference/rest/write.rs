//! An answer as JSON, and the bytes of its tensor after it where they were asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use floodmark_proto::inference::InferParameter;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::Value;
use tonic::Status;

use super::super::answer::{Answer, SCORE};
use super::super::datatype::Datatype;
use super::JSON_LENGTH;
use crate::http::json;

#[derive(Serialize)]
struct Body<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<&'a str, Value>,
    outputs: [Output; 1],
}

#[derive(Serialize)]
struct Output {
    name: &'static str,
    datatype: &'static str,
    shape: [usize; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Binary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
struct Binary {
    binary_data_size: usize,
}

/// Each of as many digits as its bits need.
#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Narrow(Vec<f32>),
    Wide(Vec<f64>),
}

/// With the output as bytes, if that is wanted.
pub(super) fn response(answer: &Answer, binary: bool) -> Result<Response<Bytes>, Status> {
    let raw = if binary { answer.raw() } else { Bytes::new() };
    let output = Output {
        name: SCORE,
        datatype: answer.datatype().name(),
        shape: [answer.scores().len()],
        parameters: binary.then_some(Binary { binary_data_size: raw.len() }),
        data: (!binary).then(|| data(answer)),
    };
    let body = Body {
        model_name: answer.model(),
        model_version: answer.version().to_string(),
        id: answer.id(),
        parameters: answer.parameters().iter().filter_map(|(name, value)| Some((name.as_str(), of_parameter(value)?))).collect(),
        outputs: [output],
    };
    let mut bytes = serde_json::to_vec(&body).map_err(|error| Status::internal(format!("the answer cannot be written: {error}")))?;
    let length = bytes.len();
    if !binary {
        return Ok(json(StatusCode::OK, bytes));
    }
    bytes.extend_from_slice(&raw);
    let mut response = Response::new(Bytes::from(bytes));
    response.headers_mut().insert(JSON_LENGTH, HeaderValue::from(length));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

fn data(answer: &Answer) -> Data {
    match answer.datatype() {
        Datatype::Fp32 => Data::Narrow(answer.scores().iter().map(|score| *score as f32).collect()),
        _ => Data::Wide(answer.scores().to_vec()),
    }
}

fn of_parameter(parameter: &InferParameter) -> Option<Value> {
    Some(match parameter.parameter_choice.as_ref()? {
        ParameterChoice::BoolParam(b) => (*b).into(),
        ParameterChoice::Int64Param(i) => (*i).into(),
        ParameterChoice::StringParam(text) => text.as_str().into(),
        ParameterChoice::DoubleParam(x) => (*x).into(),
        ParameterChoice::Uint64Param(u) => (*u).into(),
    })
}
