//! `ModelInferResponse` as bytes, written from scores: no message is made in between.
//!
//! The tags are those of `inference/open_inference.proto`; the tests read the bytes with the generated types.

use floodmark_features::codec::put_varint;
use prost::Message;

use super::answer::{Answer, SCORE};
use super::datatype::Datatype;
use crate::server::Framed;

/// Field number and wire type of each field, as a byte in front of it.
mod tag {
    pub(super) const MODEL_NAME: u8 = 1 << 3 | 2;
    pub(super) const MODEL_VERSION: u8 = 2 << 3 | 2;
    pub(super) const ID: u8 = 3 << 3 | 2;
    pub(super) const PARAMETERS: u8 = 4 << 3 | 2;
    pub(super) const OUTPUTS: u8 = 5 << 3 | 2;
    pub(super) const RAW: u8 = 6 << 3 | 2;

    pub(super) const KEY: u8 = 1 << 3 | 2;
    pub(super) const VALUE: u8 = 2 << 3 | 2;

    pub(super) const NAME: u8 = 1 << 3 | 2;
    pub(super) const DATATYPE: u8 = 2 << 3 | 2;
    pub(super) const SHAPE: u8 = 3 << 3 | 2;
}

/// Bytes beside the scores and the request's id, as a rule.
const BYTES: usize = 64;
/// And for each parameter.
const PARAMETER_BYTES: usize = 40;

/// The response as it goes over the wire.
pub(super) fn framed(answer: Answer) -> Framed {
    if answer.is_typed() {
        let response = answer.into_response();
        let mut framed = Framed::with_capacity(response.encoded_len());
        response.encode_raw(framed.message());
        return framed;
    }
    let size = answer.datatype().size().unwrap_or(0);
    let raw = answer.scores().len() * size;
    let mut framed = Framed::with_capacity(BYTES + answer.id().len() + answer.parameters().len() * PARAMETER_BYTES + raw);
    let out = framed.message();
    put(tag::MODEL_NAME, answer.model().as_bytes(), out);
    put(tag::MODEL_VERSION, answer.version().to_string().as_bytes(), out);
    if !answer.id().is_empty() {
        put(tag::ID, answer.id().as_bytes(), out);
    }
    let mut part = Vec::with_capacity(PARAMETER_BYTES);
    for (name, value) in answer.parameters() {
        part.clear();
        put(tag::KEY, name.as_bytes(), &mut part);
        put(tag::VALUE, &value.encode_to_vec(), &mut part);
        put(tag::PARAMETERS, &part, out);
    }
    part.clear();
    put(tag::NAME, SCORE.as_bytes(), &mut part);
    put(tag::DATATYPE, answer.datatype().name().as_bytes(), &mut part);
    let mut shape = Vec::with_capacity(4);
    put_varint(answer.scores().len() as u64, &mut shape);
    put(tag::SHAPE, &shape, &mut part);
    put(tag::OUTPUTS, &part, out);
    out.push(tag::RAW);
    put_varint(raw as u64, out);
    match answer.datatype() {
        Datatype::Fp32 => out.extend(answer.scores().iter().flat_map(|score| (*score as f32).to_le_bytes())),
        _ => out.extend(answer.scores().iter().flat_map(|score| score.to_le_bytes())),
    }
    framed
}

fn put(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
