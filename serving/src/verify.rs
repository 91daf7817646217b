//! Verifying: what was scored is scored again and compared bit for bit, and what was served is compared with what is known now.
//!
//! A read at a version is the same for ever, so a feature that differs is a fault. What differs from what is known now is the skew that
//! late data made; only a value that was final when it was served must be the same (T9).

mod local;
mod report;

use floodmark_features::key::hash_key;
use floodmark_features::value::Value;
use floodmark_proto::v1;
use floodmark_proto::v1::prediction::Outcome;
use floodmark_proto::v1::value::Kind;
use prost::Message;
use tonic::Status;
use tonic_types::StatusExt;

pub use self::local::Local;
pub use self::report::{Difference, FeatureSkew, Found, Moved, Report, Skew, What};
use crate::predictions::{Entry, service_of};
use crate::wire::to_value;

/// Records that are scored again together.
pub const ROWS_AT_ONCE: usize = 64;

/// Scores and looks up again, an answer for each request. Behind it: a store with its models, and a server.
pub trait Again {
    /// What there is to ask for.
    fn services(&self) -> &[v1::ServiceInfo];
    /// Scores rows.
    fn score(&mut self, requests: &[v1::ScoreRequest]) -> Vec<Result<v1::ScoreResponse, Status>>;
    /// Looks features up.
    fn look_up(&mut self, requests: &[v1::GetFeaturesRequest]) -> Vec<Result<v1::GetFeaturesResponse, Status>>;
}

/// What a sample chooses records by: the same each time.
pub fn hash(record: &v1::Prediction) -> u64 {
    hash_key(&record.encode_to_vec())
}

/// Why verifying had to stop.
#[derive(Debug, thiserror::Error)]
#[error("a row could not be scored again: {message} status={code:?}")]
pub struct CannotVerify {
    code: tonic::Code,
    message: String,
}

/// Verifies records, a few at a time.
#[derive(Debug)]
pub struct Verifier<A> {
    again: A,
    services: Vec<v1::ServiceInfo>,
    report: Report,
}

impl<A: Again> Verifier<A> {
    /// Nothing is verified yet.
    pub fn new(again: A) -> Verifier<A> {
        Verifier { services: again.services().to_vec(), again, report: Report::default() }
    }

    /// What scores again.
    pub fn again(&self) -> &A {
        &self.again
    }

    /// What was found.
    pub fn finish(self) -> Report {
        self.report
    }

    /// Verifies some records; best in runs of [`ROWS_AT_ONCE`].
    pub fn take(&mut self, records: &[v1::Prediction]) -> Result<(), CannotVerify> {
        let Verifier { again, services, report } = self;
        report.records += records.len() as u64;
        let mut known: Vec<Known<'_>> = Vec::with_capacity(records.len());
        for record in records {
            match (service_of(record, services), &record.request) {
                (Some(info), Some(request)) => known.push(Known { record, request, info }),
                _ => report.not_comparable("the features of its service have changed (columns_id)".to_owned()),
            }
        }
        let asked: Vec<v1::ScoreRequest> = known.iter().map(|known| known.request.clone()).collect();
        let mut judge = Judge { services, report };
        let mut scored = Vec::with_capacity(known.len());
        for (known, answer) in known.into_iter().zip(again.score(&asked)) {
            if let Some(served) = judge.compare(&known, answer)? {
                scored.push((known, served));
            }
        }
        let ask = |mode| scored.iter().map(|(known, _)| look_up(known, mode)).collect::<Vec<_>>();
        let now = again.look_up(&ask(v1::Mode::AsServed));
        let corrected = again.look_up(&ask(v1::Mode::AsCorrected));
        for (((known, served), now), corrected) in scored.iter().zip(now).zip(corrected) {
            judge.since(known, served, now, corrected)?;
        }
        Ok(())
    }
}

/// A record whose columns are known.
struct Known<'r> {
    record: &'r v1::Prediction,
    request: &'r v1::ScoreRequest,
    info: &'r v1::ServiceInfo,
}

/// Compares, and keeps what it finds.
struct Judge<'r> {
    services: &'r [v1::ServiceInfo],
    report: &'r mut Report,
}

impl Judge<'_> {
    /// Compares what was served with the same again. What was served is returned if its features can be compared with what is known now.
    fn compare<'r>(
        &mut self,
        known: &Known<'r>,
        answer: Result<v1::ScoreResponse, Status>,
    ) -> Result<Option<&'r v1::ScoreRow>, CannotVerify> {
        let again = match answer {
            Ok(mut response) if response.rows.len() == 1 => Ok(response.rows.remove(0)),
            Ok(_) => return Err(CannotVerify { code: tonic::Code::Internal, message: "the answer has not one row".to_owned() }),
            Err(status) => Err(status),
        };
        if let Err(status) = &again {
            if let Some(why) = why_not(known.request, status) {
                self.report.not_comparable(why);
                return Ok(None);
            }
            if reason(status).is_empty() {
                return Err(status.into());
            }
        }
        let text = |text: &str| Value::Str(text.into());
        let mut differences = Vec::new();
        let served = match (&known.record.outcome, again) {
            (Some(Outcome::Row(served)), Ok(again)) => {
                compare_rows(served, &again, known.info, &mut differences);
                Some(served)
            }
            (Some(Outcome::Row(served)), Err(status)) => {
                differences.push((What::Outcome, Value::Float(served.score), text(&reason(&status))));
                Some(served)
            }
            (Some(Outcome::Error(error)), again) => {
                let again = again.map_or_else(|status| text(&reason(&status)), |row| Value::Float(row.score));
                let served = text(&error.reason);
                if served != again {
                    differences.push((What::Outcome, served, again));
                }
                None
            }
            (None, _) => {
                self.report.not_comparable("the record has no outcome".to_owned());
                return Ok(None);
            }
        };
        self.report.compared(differences.iter().map(|(what, ..)| what));
        for (what, served, again) in differences {
            self.differs(known, Found::Again, what, served, again);
        }
        Ok(served)
    }

    /// Compares what was served with what is known now, as served and as corrected.
    fn since(
        &mut self,
        known: &Known<'_>,
        served: &v1::ScoreRow,
        now: Result<v1::GetFeaturesResponse, Status>,
        corrected: Result<v1::GetFeaturesResponse, Status>,
    ) -> Result<(), CannotVerify> {
        let (now, corrected) = match (now, corrected) {
            (Ok(now), Ok(corrected)) => (now, corrected),
            (Err(status), _) | (_, Err(status)) if why_not(known.request, &status).is_some() => {
                self.report.skew.not_comparable += 1;
                return Ok(());
            }
            (Err(status), _) | (_, Err(status)) => return Err((&status).into()),
        };
        let ([now], [corrected]) = (&*now.rows, &*corrected.rows) else {
            return Err(CannotVerify { code: tonic::Code::Internal, message: "the answer has not one row".to_owned() });
        };
        let mut any = false;
        for (at, column) in known.info.columns.iter().enumerate() {
            if let (Some(was), Some(is), Some(should)) = (served.features.get(at), now.values.get(at), corrected.values.get(at)) {
                any |= self.moved(known, &column.name, was_final(known.record, served, at), [was, is, should]);
            }
        }
        self.report.skew.compared += 1;
        self.report.skew.changed += u64::from(any);
        Ok(())
    }

    /// One feature as it was served, as it would be served now, and as it should have been. Whether it would be served otherwise now.
    fn moved(&mut self, known: &Known<'_>, name: &str, was_final: bool, [was, is, should]: [&v1::Value; 3]) -> bool {
        let changed = !same(was, is);
        let skew = self.report.skew.feature(name);
        skew.compared += 1;
        skew.now.add(changed, distance(was, is));
        skew.corrected.add(!same(was, should), distance(was, should));
        if changed && was_final {
            // T5: once the row's own event has come, it counts as it came, and not as the request had it. That of a stream had come.
            if counts_itself(known.request) && known.record.origin() != v1::PredictionOrigin::Stream {
                skew.by_own_event += 1;
            } else {
                skew.final_changed += 1;
                self.differs(known, Found::Final, What::Feature(name.to_owned()), to_value(was.clone()), to_value(is.clone()));
            }
        }
        changed
    }

    fn differs(&mut self, known: &Known<'_>, found: Found, what: What, served: Value, again: Value) {
        let size = match (&served, &again) {
            (Value::Float(a), Value::Float(b)) => (a - b).abs(),
            (Value::Int(a), Value::Int(b)) => a.abs_diff(*b) as f64,
            _ => f64::INFINITY,
        };
        let row = || Box::new(Entry::of(known.record.clone(), self.services));
        self.report.keep_worst(size, || Difference { found, what, served, again, size, row: row() });
    }
}

impl From<&Status> for CannotVerify {
    fn from(status: &Status) -> CannotVerify {
        CannotVerify { code: status.code(), message: status.message().to_owned() }
    }
}

fn compare_rows(served: &v1::ScoreRow, again: &v1::ScoreRow, info: &v1::ServiceInfo, into: &mut Vec<(What, Value, Value)>) {
    for at in 0..served.features.len().max(again.features.len()) {
        let (was, is) = (served.features.get(at).cloned().unwrap_or_default(), again.features.get(at).cloned().unwrap_or_default());
        if !same(&was, &is) {
            let name = info.columns.get(at).map_or_else(|| format!("#{at}"), |column| column.name.clone());
            into.push((What::Feature(name), to_value(was), to_value(is)));
        }
    }
    if served.score.to_bits() != again.score.to_bits() {
        into.push((What::Score, Value::Float(served.score), Value::Float(again.score)));
    }
    if served.missing != again.missing {
        into.push((What::Missing, Value::Int(served.missing.into()), Value::Int(again.missing.into())));
    }
}

/// Bit for bit.
fn same(a: &v1::Value, b: &v1::Value) -> bool {
    match (&a.kind, &b.kind) {
        (Some(Kind::DoubleValue(a)), Some(Kind::DoubleValue(b))) => a.to_bits() == b.to_bits(),
        (Some(Kind::ListValue(a)), Some(Kind::ListValue(b))) => {
            a.values.len() == b.values.len() && a.values.iter().zip(&b.values).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}

/// How far two numbers are apart.
fn distance(a: &v1::Value, b: &v1::Value) -> Option<f64> {
    let number = |value: &v1::Value| match value.kind {
        Some(Kind::DoubleValue(x)) => Some(x),
        Some(Kind::Int64Value(i)) => Some(i as f64),
        _ => None,
    };
    Some((number(a)? - number(b)?).abs())
}

/// Whether a value was final when it was served.
fn was_final(record: &v1::Prediction, served: &v1::ScoreRow, at: usize) -> bool {
    served.provisional == 0 || record.provisional_features.get(at) == Some(&false)
}

fn counts_itself(request: &v1::ScoreRequest) -> bool {
    request.rows.iter().any(|row| row.event.as_ref().is_some_and(|event| !event.exclude_self))
}

/// The features of a record's row as known now.
fn look_up(known: &Known<'_>, mode: v1::Mode) -> v1::GetFeaturesRequest {
    let request = known.request.clone();
    v1::GetFeaturesRequest {
        what: Some(v1::get_features_request::What::Service(known.info.name.clone())),
        key_names: request.key_names,
        request_names: request.request_names,
        event_shape: request.event_shape,
        rows: request.rows,
        as_of_micros: request.as_of_micros,
        version: None,
        mode: mode.into(),
        omit_names: true,
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Why a row cannot be compared, where that is no fault.
fn why_not(request: &v1::ScoreRequest, status: &Status) -> Option<String> {
    match reason(status).as_str() {
        "UNKNOWN_MODEL" | "MODEL_NOT_READY" | "MODEL_REFUSED" => {
            Some(format!("the model's version is no longer there. model={} version={}", request.model, request.model_version))
        }
        "BEFORE_RETENTION" => Some("its time is before what is retained".to_owned()),
        "VERSION_IN_FUTURE" => Some("the store has no such version: it is not the store that served".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
