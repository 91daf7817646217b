//! Writes requests as a load generator wants them: protobuf messages, each after its length as a varint.
//!
//! `cargo bench --bench requests -- WHAT FILE [DAYS [COUNT]]`, WHAT being `get`, `score` (by keys and request fields) or `score-event` (by the
//! whole event, which counts itself): one customer and one terminal of the real transactions' ranges each, as of moments spread over the last
//! days of the stream (1, as in serving; 183 for all of history), without names in the answer.

use std::io::{Error, Write};

use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;
use prost::Message;

const START: i64 = 1_522_540_800_000_000;
const DAYS: u64 = 183;
const DAY_SECONDS: u64 = 86_400;
/// Ids of events that no store has.
const NEW_IDS: i64 = 1_000_000_000;

/// A transaction to ask about.
struct Asked {
    id: i64,
    at_micros: i64,
    customer: i64,
    terminal: i64,
    amount: f64,
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let (Some(what), Some(file)) = (arguments.next(), arguments.next()) else { return Ok(()) };
    let mut number = |or: u64| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(or);
    let (days, count) = (number(1).min(DAYS), number(20_000));
    let from = (DAYS - days) * DAY_SECONDS;
    let request: fn(&Asked) -> Vec<u8> = match what.as_str() {
        "get" => get,
        "score" => score,
        "score-event" => score_event,
        _ => return Err(Error::other(format!("no such request: {what}; there are get, score and score-event"))),
    };
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound) as i64
    };
    for n in 0..count {
        let (customer, terminal) = (below(4_990), below(10_000));
        let at_micros = START + (from as i64 + below(days * DAY_SECONDS)) * 1_000_000;
        let amount = below(20_000) as f64 / 100.0;
        out.write_all(&request(&Asked { id: NEW_IDS + n as i64, at_micros, customer, terminal, amount }))?;
    }
    out.flush()
}

fn value(kind: Kind) -> v1::Value {
    v1::Value { kind: Some(kind) }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn keys(asked: &Asked) -> Vec<v1::Value> {
    vec![value(Kind::Int64Value(asked.customer)), value(Kind::Int64Value(asked.terminal))]
}

fn get(asked: &Asked) -> Vec<u8> {
    let request = v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service("fraud".to_owned())),
        key_names: names(&["customer_id", "terminal_id"]),
        rows: vec![v1::EntityRow { keys: keys(asked), ..Default::default() }],
        as_of_micros: Some(asked.at_micros),
        omit_names: true,
        ..Default::default()
    };
    request.encode_length_delimited_to_vec()
}

fn score(asked: &Asked) -> Vec<u8> {
    let request = vec![value(Kind::DoubleValue(asked.amount)), value(Kind::TimestampMicros(asked.at_micros))];
    let request = v1::ScoreRequest {
        model: "fraud".to_owned(),
        key_names: names(&["customer_id", "terminal_id"]),
        request_names: names(&["amount", "tx_datetime"]),
        rows: vec![v1::EntityRow { keys: keys(asked), request, ..Default::default() }],
        as_of_micros: Some(asked.at_micros),
        ..Default::default()
    };
    request.encode_length_delimited_to_vec()
}

fn score_event(asked: &Asked) -> Vec<u8> {
    let [customer, terminal] = [asked.customer, asked.terminal].map(|id| value(Kind::Int64Value(id)));
    let (id, time) = (value(Kind::Int64Value(asked.id)), value(Kind::TimestampMicros(asked.at_micros)));
    let values = vec![id, time, customer, terminal, value(Kind::DoubleValue(asked.amount))];
    let columns = names(&["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount"]);
    let event = v1::OwnEvent { values, ..Default::default() };
    let request = v1::ScoreRequest {
        model: "fraud".to_owned(),
        event_shape: Some(v1::EventShape { source: "transactions".to_owned(), columns }),
        rows: vec![v1::EntityRow { event: Some(event), ..Default::default() }],
        ..Default::default()
    };
    request.encode_length_delimited_to_vec()
}
