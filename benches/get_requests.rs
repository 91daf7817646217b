//! Writes requests for `GetFeatures` as a load generator wants them: protobuf messages, each after its length as a varint.
//!
//! `cargo bench --bench get_requests -- FILE [DAYS [COUNT]]`: one customer and one terminal of the real transactions' ranges each, as of
//! moments spread over the last days of the stream (1, as in serving; 183 for all of history), without names in the answer.

use std::io::Write;

use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;
use prost::Message;

const START: i64 = 1_522_540_800_000_000;
const DAYS: u64 = 183;
const DAY_SECONDS: u64 = 86_400;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let Some(file) = arguments.next() else { return Ok(()) };
    let mut number = |or: u64| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (days, count) = (number(1).min(DAYS), number(20_000));
    let from = (DAYS - days) * DAY_SECONDS;
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound) as i64
    };
    for _ in 0..count {
        let key = |id| v1::Value { kind: Some(Kind::Int64Value(id)) };
        let request = v1::GetFeaturesRequest {
            what: Some(v1::get_features_request::What::Service("fraud".to_owned())),
            key_names: vec!["customer_id".to_owned(), "terminal_id".to_owned()],
            rows: vec![v1::EntityRow { keys: vec![key(below(4_990)), key(below(10_000))], ..Default::default() }],
            as_of_micros: Some(START + (from as i64 + below(days * DAY_SECONDS)) * 1_000_000),
            omit_names: true,
            ..Default::default()
        };
        out.write_all(&request.encode_length_delimited_to_vec())?;
    }
    out.flush()
}
