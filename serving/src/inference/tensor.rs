//! A tensor of a request: its contents, raw or typed, proven to be what name, datatype and shape say, and read by position.

use bytes::Bytes;
use floodmark_models::matrix::Input;
use floodmark_proto::inference::InferTensorContents;
use floodmark_proto::inference::model_infer_request::InferInputTensor;
use half::{bf16, f16};

use super::datatype::{ALL, Datatype};
use super::error::TensorError;
use crate::refusal::shown;

/// A tensor whose contents are whole.
#[derive(Debug)]
pub(crate) struct Tensor<'r> {
    /// Its position in the request.
    pub(crate) at: usize,
    pub(crate) name: &'r str,
    pub(crate) datatype: Datatype,
    pub(crate) shape: &'r [i64],
    values: Values<'r>,
}

/// Values, row by row.
#[derive(Debug)]
enum Values<'r> {
    /// Little-endian, one after the other.
    Raw(&'r [u8]),
    Bools(&'r [bool]),
    Ints(&'r [i32]),
    Longs(&'r [i64]),
    Uints(&'r [u32]),
    Ulongs(&'r [u64]),
    Floats(&'r [f32]),
    Doubles(&'r [f64]),
    Texts(Vec<&'r str>),
}

impl<'r> Tensor<'r> {
    /// Reads the tensor at a position; `raw` are its contents if they came raw.
    pub(crate) fn read(at: usize, input: &'r InferInputTensor, raw: Option<&'r [u8]>) -> Result<Tensor<'r>, TensorError> {
        let tensor = || shown(&input.name);
        let Some(datatype) = Datatype::named(&input.datatype) else {
            let expected = ALL.map(|(name, _)| name).join(",");
            return Err(TensorError::UnknownDatatype { at, tensor: tensor(), datatype: shown(&input.datatype), expected });
        };
        let Some(count) = count(&input.shape) else {
            let expected = "sizes that are not negative".to_owned();
            return Err(TensorError::Shape { at, tensor: tensor(), expected, found: input.shape.clone() });
        };
        let reader = Reader { at, name: &input.name, datatype, count };
        let values = match (raw, &input.contents) {
            (Some(_), Some(contents)) if !is_empty(contents) => return Err(TensorError::BothContents { at, tensor: tensor() }),
            (Some(raw), _) => reader.raw(raw)?,
            (None, Some(contents)) => reader.typed(contents)?,
            (None, None) => reader.raw(&[])?,
        };
        Ok(Tensor { at, name: &input.name, datatype, shape: &input.shape, values })
    }

    /// The value at a position, which must be within the shape.
    #[inline]
    pub(crate) fn value(&self, at: usize) -> Input<'r> {
        let of = |value: Option<Input<'r>>| value.unwrap_or(Input::Missing);
        match &self.values {
            Values::Raw(bytes) => raw_value(bytes, self.datatype, at),
            Values::Bools(values) => of(values.get(at).map(|v| Input::Bool(*v))),
            Values::Ints(values) => of(values.get(at).map(|v| Input::Int(i64::from(*v)))),
            Values::Longs(values) => of(values.get(at).map(|v| Input::Int(*v))),
            Values::Uints(values) => of(values.get(at).map(|v| Input::Int(i64::from(*v)))),
            Values::Ulongs(values) => of(values.get(at).map(|v| Input::Int(*v as i64))), // proven to fit
            Values::Floats(values) => of(values.get(at).map(|v| Input::Float(f64::from(*v)))),
            Values::Doubles(values) => of(values.get(at).map(|v| Input::Float(*v))),
            Values::Texts(values) => of(values.get(at).map(|v| Input::Text(v))),
        }
    }

    /// The number of rows of a tensor with one value for each: `[N]` or `[N,1]`.
    pub(crate) fn column_rows(&self) -> Result<usize, TensorError> {
        match *self.shape {
            [rows] | [rows, 1] => Ok(rows as usize),
            _ => Err(self.shape_error("[N] or [N,1]".to_owned())),
        }
    }

    pub(crate) fn shape_error(&self, expected: String) -> TensorError {
        TensorError::Shape { at: self.at, tensor: shown(self.name), expected, found: self.shape.to_vec() }
    }

    pub(crate) fn datatype_error(&self, expected: impl Into<String>) -> TensorError {
        TensorError::Datatype { at: self.at, tensor: shown(self.name), expected: expected.into(), found: self.datatype.name() }
    }
}

/// How many values a shape has; `None` if it is none.
fn count(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, size| count.checked_mul(usize::try_from(*size).ok()?))
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at * N..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn raw_value<'r>(bytes: &[u8], datatype: Datatype, at: usize) -> Input<'r> {
    match datatype {
        Datatype::Fp32 => Input::Float(f64::from(f32::from_le_bytes(word(bytes, at)))),
        Datatype::Fp64 => Input::Float(f64::from_le_bytes(word(bytes, at))),
        Datatype::Fp16 => Input::Float(f16::from_le_bytes(word(bytes, at)).to_f64()),
        Datatype::Bf16 => Input::Float(bf16::from_le_bytes(word(bytes, at)).to_f64()),
        Datatype::Int64 => Input::Int(i64::from_le_bytes(word(bytes, at))),
        Datatype::Int32 => Input::Int(i64::from(i32::from_le_bytes(word(bytes, at)))),
        Datatype::Int16 => Input::Int(i64::from(i16::from_le_bytes(word(bytes, at)))),
        Datatype::Int8 => Input::Int(i64::from(i8::from_le_bytes(word(bytes, at)))),
        Datatype::Uint64 => Input::Int(u64::from_le_bytes(word(bytes, at)) as i64), // proven to fit
        Datatype::Uint32 => Input::Int(i64::from(u32::from_le_bytes(word(bytes, at)))),
        Datatype::Uint16 => Input::Int(i64::from(u16::from_le_bytes(word(bytes, at)))),
        Datatype::Uint8 => Input::Int(i64::from(u8::from_le_bytes(word(bytes, at)))),
        Datatype::Bool => Input::Bool(word::<1>(bytes, at) != [0]),
        Datatype::Bytes => Input::Missing, // these are texts
    }
}

fn is_empty(contents: &InferTensorContents) -> bool {
    lengths(contents).iter().all(|(length, _)| *length == 0)
}

/// How much is in each field, and what it is called.
fn lengths(contents: &InferTensorContents) -> [(usize, &'static str); 8] {
    [
        (contents.bool_contents.len(), "bool_contents"),
        (contents.int_contents.len(), "int_contents"),
        (contents.int64_contents.len(), "int64_contents"),
        (contents.uint_contents.len(), "uint_contents"),
        (contents.uint64_contents.len(), "uint64_contents"),
        (contents.fp32_contents.len(), "fp32_contents"),
        (contents.fp64_contents.len(), "fp64_contents"),
        (contents.bytes_contents.len(), "bytes_contents"),
    ]
}

/// Proves the contents of one tensor.
struct Reader<'r> {
    at: usize,
    name: &'r str,
    datatype: Datatype,
    /// How many values the shape asks for.
    count: usize,
}

impl<'r> Reader<'r> {
    fn raw(&self, raw: &'r [u8]) -> Result<Values<'r>, TensorError> {
        let Some(size) = self.datatype.size() else {
            return self.texts(self.split(raw)?).map(Values::Texts);
        };
        let expected = self.count.saturating_mul(size);
        if raw.len() != expected {
            return Err(self.length(expected, raw.len(), "bytes"));
        }
        match self.datatype {
            Datatype::Bool => self.in_range(raw.iter().position(|byte| *byte > 1))?,
            Datatype::Uint64 => self.in_range((0..self.count).position(|at| u64::from_le_bytes(word(raw, at)) > i64::MAX as u64))?,
            _ => {}
        }
        Ok(Values::Raw(raw))
    }

    fn typed(&self, contents: &'r InferTensorContents) -> Result<Values<'r>, TensorError> {
        let out_of = |low: i32, high: i32| contents.int_contents.iter().position(move |value| !(low..=high).contains(value));
        let above = |high: u32| contents.uint_contents.iter().position(move |value| *value > high);
        let (field, values) = match self.datatype {
            Datatype::Fp16 | Datatype::Bf16 => return self.raw_only(),
            Datatype::Bool => ("bool_contents", Values::Bools(&contents.bool_contents)),
            Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => ("int_contents", Values::Ints(&contents.int_contents)),
            Datatype::Int64 => ("int64_contents", Values::Longs(&contents.int64_contents)),
            Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => ("uint_contents", Values::Uints(&contents.uint_contents)),
            Datatype::Uint64 => ("uint64_contents", Values::Ulongs(&contents.uint64_contents)),
            Datatype::Fp32 => ("fp32_contents", Values::Floats(&contents.fp32_contents)),
            Datatype::Fp64 => ("fp64_contents", Values::Doubles(&contents.fp64_contents)),
            Datatype::Bytes => ("bytes_contents", Values::Texts(Vec::new())),
        };
        let mut found = 0;
        for (length, name) in lengths(contents) {
            match name == field {
                true => found = length,
                false if length > 0 => {
                    let (tensor, datatype) = (shown(self.name), self.datatype.name());
                    return Err(TensorError::WrongField { at: self.at, tensor, datatype, expected: field });
                }
                false => {}
            }
        }
        if found != self.count {
            return Err(self.length(self.count, found, "values"));
        }
        match self.datatype {
            Datatype::Bytes => return self.texts(contents.bytes_contents.iter().map(Bytes::as_ref).collect()).map(Values::Texts),
            Datatype::Int8 => self.in_range(out_of(i8::MIN.into(), i8::MAX.into()))?,
            Datatype::Int16 => self.in_range(out_of(i16::MIN.into(), i16::MAX.into()))?,
            Datatype::Uint8 => self.in_range(above(u8::MAX.into()))?,
            Datatype::Uint16 => self.in_range(above(u16::MAX.into()))?,
            Datatype::Uint64 => self.in_range(contents.uint64_contents.iter().position(|value| *value > i64::MAX as u64))?,
            _ => {}
        }
        Ok(values)
    }

    /// The values of BYTES: a length before each.
    fn split(&self, mut raw: &'r [u8]) -> Result<Vec<&'r [u8]>, TensorError> {
        let mut values = Vec::with_capacity(self.count.min(raw.len() / 4));
        while values.len() < self.count {
            let value = raw.split_first_chunk::<4>().and_then(|(length, rest)| rest.split_at_checked(u32::from_le_bytes(*length) as usize));
            match value {
                Some((value, rest)) => {
                    values.push(value);
                    raw = rest;
                }
                None => return Err(TensorError::Truncated { at: self.at, tensor: shown(self.name), value: values.len() }),
            }
        }
        match raw.len() {
            0 => Ok(values),
            left => Err(TensorError::Leftover { at: self.at, tensor: shown(self.name), values: values.len(), left }),
        }
    }

    fn texts(&self, values: Vec<&'r [u8]>) -> Result<Vec<&'r str>, TensorError> {
        let not_text = |value| TensorError::NotText { at: self.at, tensor: shown(self.name), value };
        values.iter().enumerate().map(|(value, bytes)| std::str::from_utf8(bytes).map_err(|_| not_text(value))).collect()
    }

    fn raw_only(&self) -> Result<Values<'r>, TensorError> {
        Err(TensorError::RawOnly { at: self.at, tensor: shown(self.name), datatype: self.datatype.name() })
    }

    /// `stray` is the position of a value that is not.
    fn in_range(&self, stray: Option<usize>) -> Result<(), TensorError> {
        match stray {
            None => Ok(()),
            Some(value) => Err(TensorError::Range { at: self.at, tensor: shown(self.name), datatype: self.datatype.name(), value }),
        }
    }

    fn length(&self, expected: usize, found: usize, unit: &'static str) -> TensorError {
        TensorError::Length { at: self.at, tensor: shown(self.name), expected, found, unit }
    }
}

#[cfg(test)]
mod tests;
