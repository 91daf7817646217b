//! A request in JSON, with the bytes that may follow it, as the message that gRPC would have brought.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use floodmark_proto::inference::infer_parameter::ParameterChoice;
use floodmark_proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use floodmark_proto::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use http::HeaderMap;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use tonic::Status;

use super::super::datatype::Datatype;
use super::super::error::TensorError;
use super::super::is_set;
use super::{JSON_LENGTH, misread, wrong_body};
use crate::refusal::{Refusal, shown};

/// The bytes of a tensor that follow the JSON.
const BINARY_SIZE: &str = "binary_data_size";

/// Whether an output is to be bytes: said of it, or of all.
const BINARY: &str = "binary_data";
const ALL_BINARY: &str = "binary_data_output";

/// A request, and what a message has no place for.
pub(super) struct Asked {
    pub(super) request: ModelInferRequest,
    /// By input: its bytes, if they followed the JSON.
    pub(super) raw: Vec<Option<Bytes>>,
    /// Whether the output is to be bytes.
    pub(super) binary: bool,
}

#[derive(Deserialize)]
struct Body {
    id: Option<String>,
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Option<Vec<Output>>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    data: Option<Flat>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
}

/// Reads the body of an inference.
pub(super) fn request(model: &str, version: &str, headers: &HeaderMap, body: &Bytes) -> Result<Asked, Status> {
    let length = json_length(headers, body.len())?;
    let Body { id, parameters, inputs, outputs } = serde_json::from_slice(&body[..length]).map_err(|error| misread(&error))?;
    let mut following = body.slice(length..);
    let (mut tensors, mut raw) = (Vec::with_capacity(inputs.len()), Vec::with_capacity(inputs.len()));
    for (at, input) in inputs.into_iter().enumerate() {
        let (tensor, bytes) = tensor(at, input, &mut following)?;
        tensors.push(tensor);
        raw.push(bytes);
    }
    if !following.is_empty() {
        return Err(wrong_body(format!("{} bytes after the last tensor that has {BINARY_SIZE}", following.len())));
    }
    let outputs = outputs.unwrap_or_default().into_iter();
    let outputs = outputs.map(|Output { name, parameters }| InferRequestedOutputTensor { name, parameters: of_json(parameters) });
    let request = ModelInferRequest {
        model_name: model.to_owned(),
        model_version: version.to_owned(),
        id: id.unwrap_or_default(),
        parameters: of_json(parameters),
        inputs: tensors,
        outputs: outputs.collect(),
        raw_input_contents: Vec::new(),
    };
    let all = is_set(&request.parameters, ALL_BINARY);
    let said = request.outputs.iter().find(|output| output.parameters.contains_key(BINARY));
    let binary = said.map_or(all, |output| is_set(&output.parameters, BINARY));
    Ok(Asked { request, raw, binary })
}

fn json_length(headers: &HeaderMap, whole: usize) -> Result<usize, Status> {
    let Some(header) = headers.get(JSON_LENGTH) else { return Ok(whole) };
    let length = header.to_str().ok().and_then(|text| text.parse::<usize>().ok()).filter(|length| *length <= whole);
    length.ok_or_else(|| wrong_body(format!("{JSON_LENGTH} is no length within the body's. body={whole}")))
}

fn tensor(at: usize, input: Input, following: &mut Bytes) -> Result<(InferInputTensor, Option<Bytes>), Status> {
    let Input { name, shape, datatype, parameters, data } = input;
    let size = parameters.as_ref().and_then(|parameters| parameters.get(BINARY_SIZE));
    let raw = match size {
        None => None,
        Some(size) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|size| *size <= following.len());
            let lacking = || wrong_body(format!("{BINARY_SIZE} is no length within what follows the JSON. tensor={}", shown(&name)));
            Some(following.split_to(size.ok_or_else(lacking)?))
        }
    };
    let contents = match (&raw, data) {
        (_, None) => None,
        (Some(_), Some(_)) => return Err(Refusal::from(TensorError::BothContents { at, tensor: shown(&name) }).into()),
        // What datatype it is not, is said later.
        (None, Some(Flat(values))) => match Datatype::named(&datatype) {
            Some(datatype) => Some(contents(at, &name, datatype, values)?),
            None => None,
        },
    };
    let tensor = InferInputTensor { name, datatype, shape, parameters: of_json(parameters), contents };
    Ok((tensor, raw))
}

/// Parameters that can be one of the message's; others mean nothing.
fn of_json(parameters: Option<BTreeMap<String, Value>>) -> BTreeMap<String, InferParameter> {
    let parameter = |(name, value): (String, Value)| {
        let choice = match value {
            Value::Bool(b) => ParameterChoice::BoolParam(b),
            Value::String(text) => ParameterChoice::StringParam(text),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(int), ..) => ParameterChoice::Int64Param(int),
                (None, Some(int), _) => ParameterChoice::Uint64Param(int),
                (None, None, float) => ParameterChoice::DoubleParam(float?),
            },
            _ => return None,
        };
        Some((name, InferParameter { parameter_choice: Some(choice) }))
    };
    parameters.unwrap_or_default().into_iter().filter_map(parameter).collect()
}

/// Values in the field of their datatype.
fn contents(at: usize, name: &str, datatype: Datatype, values: Vec<Scalar>) -> Result<InferTensorContents, Status> {
    let mut contents = InferTensorContents::default();
    for (position, value) in values.into_iter().enumerate() {
        let found = value.kind();
        let fits = match datatype {
            Datatype::Fp16 | Datatype::Bf16 => {
                let error = TensorError::RawOnly { at, tensor: shown(name), datatype: datatype.name() };
                return Err(Refusal::from(error).into());
            }
            Datatype::Bool => value.bool().map(|v| contents.bool_contents.push(v)),
            Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
                value.int().and_then(|v| i32::try_from(v).ok()).map(|v| contents.int_contents.push(v))
            }
            Datatype::Int64 => value.int().map(|v| contents.int64_contents.push(v)),
            Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
                value.uint().and_then(|v| u32::try_from(v).ok()).map(|v| contents.uint_contents.push(v))
            }
            Datatype::Uint64 => value.uint().map(|v| contents.uint64_contents.push(v)),
            Datatype::Fp32 => value.float().map(|v| contents.fp32_contents.push(v as f32)),
            Datatype::Fp64 => value.float().map(|v| contents.fp64_contents.push(v)),
            Datatype::Bytes => value.text().map(|v| contents.bytes_contents.push(v.into())),
        };
        if fits.is_none() {
            let tensor = shown(name);
            return Err(wrong_body(format!(
                "a value does not fit its datatype. tensor={tensor} value={position} datatype={datatype} found={found}"
            )));
        }
    }
    Ok(contents)
}

/// A value of `data`.
enum Scalar {
    /// `null`, which is how JSON writes NaN.
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Scalar {
    fn kind(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Bool(_) => "a boolean",
            Scalar::Int(_) | Scalar::Uint(_) => "an integer",
            Scalar::Float(_) => "a number with a point",
            Scalar::Text(_) => "a text",
        }
    }

    fn bool(&self) -> Option<bool> {
        match self {
            Scalar::Bool(b) => Some(*b),
            _ => None,
        }
    }

    fn int(&self) -> Option<i64> {
        match self {
            Scalar::Int(i) => Some(*i),
            _ => None,
        }
    }

    fn uint(&self) -> Option<u64> {
        match self {
            Scalar::Int(i) => u64::try_from(*i).ok(),
            Scalar::Uint(u) => Some(*u),
            _ => None,
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Scalar::Null => Some(f64::NAN),
            Scalar::Int(i) => Some(*i as f64),
            Scalar::Uint(u) => Some(*u as f64),
            Scalar::Float(x) => Some(*x),
            _ => None,
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// `data`: flat, or as nested as the shape; row by row either way.
struct Flat(Vec<Scalar>);

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flat, D::Error> {
        let mut values = Vec::new();
        deserializer.deserialize_any(Into(&mut values))?;
        Ok(Flat(values))
    }
}

/// Appends what it reads, lists within lists too.
struct Into<'v>(&'v mut Vec<Scalar>);

impl<'de> de::DeserializeSeed<'de> for Into<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Into<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, booleans or texts, or lists of them")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Into(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(Scalar::Bool(value));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(Scalar::Int(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(i64::try_from(value).map_or(Scalar::Uint(value), Scalar::Int));
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(Scalar::Float(value));
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.0.push(Scalar::Text(value.to_owned()));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.push(Scalar::Null);
        Ok(())
    }
}
