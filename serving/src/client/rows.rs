//! Looking up many rows whose values are there already, each as of its own time, for callers that wait.

use floodmark_features::lookup::{Cell, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_proto::v1;
use floodmark_proto::v1::get_features_request::What;
use tonic::Status;

use super::Remote;
use crate::verify::Again;
use crate::wire::{from_value, to_answer};

/// Rows in a call.
const ROWS_IN_CALL: usize = 256;

/// A row to look up.
#[derive(Clone, Copy, Debug)]
pub struct RowAsk<'a> {
    /// By [`Lookup::keys`].
    pub keys: &'a [Value],
    /// By [`Lookup::request`].
    pub request: &'a [Value],
    /// What the values are as of.
    pub as_of: Time,
}

impl Remote {
    /// The cells of each row, or why it is refused.
    pub fn look_up_rows(
        &mut self,
        service: &str,
        lookup: &Lookup,
        rows: &[RowAsk<'_>],
        version: u64,
        mode: Mode,
    ) -> Vec<Result<Vec<Cell>, String>> {
        let call = |rows: &[RowAsk<'_>]| request(service, lookup, rows, version, mode);
        let mut answers = Vec::with_capacity(rows.len());
        let calls: Vec<&[RowAsk<'_>]> = rows.chunks(ROWS_IN_CALL).collect();
        let requests: Vec<v1::GetFeaturesRequest> = calls.iter().map(|rows| call(rows)).collect();
        for (rows, answer) in calls.iter().zip(self.look_up(&requests)) {
            match answer {
                Ok(response) => answers.extend(response.rows.into_iter().map(|row| Ok(to_answer(row).1.cells))),
                // One row that is refused refuses its call.
                Err(_) => {
                    let alone: Vec<v1::GetFeaturesRequest> = rows.iter().map(|row| call(std::slice::from_ref(row))).collect();
                    answers.extend(self.look_up(&alone).into_iter().map(one_row));
                }
            }
        }
        answers
    }
}

fn one_row(answer: Result<v1::GetFeaturesResponse, Status>) -> Result<Vec<Cell>, String> {
    let row = answer.map_err(|status| status.message().to_owned())?.rows.into_iter().next();
    row.map(|row| to_answer(row).1.cells).ok_or_else(|| "the answer has no row".to_owned())
}

fn request(service: &str, lookup: &Lookup, rows: &[RowAsk<'_>], version: u64, mode: Mode) -> v1::GetFeaturesRequest {
    let names = |columns: &[floodmark_features::schema::Column]| columns.iter().map(|column| column.name.clone()).collect();
    let values = |values: &[Value]| values.iter().cloned().map(from_value).collect();
    let row = |row: &RowAsk<'_>| v1::EntityRow {
        keys: values(row.keys),
        request: values(row.request),
        as_of_micros: Some(row.as_of.micros()),
        ..v1::EntityRow::default()
    };
    let mode = match mode {
        Mode::AsServed => v1::Mode::AsServed,
        Mode::AsCorrected => v1::Mode::AsCorrected,
    };
    v1::GetFeaturesRequest {
        what: Some(What::Service(service.to_owned())),
        key_names: names(&lookup.keys.columns),
        request_names: names(&lookup.request.columns),
        rows: rows.iter().map(row).collect(),
        version: Some(version),
        mode: mode.into(),
        ..v1::GetFeaturesRequest::default()
    }
}
