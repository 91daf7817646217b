//! Looking up many rows whose values are there already, each as of its own time, for callers that wait.

use floodmark_features::lookup::{Cell, Lookup, Mode};
use floodmark_features::time::Time;
use floodmark_features::value::Value;
use floodmark_proto::v1;
use floodmark_proto::v1::get_features_request::What;
use tonic::{Code, Status};

use super::{ClientError, Remote, refused};
use crate::verify::Again;
use crate::wire::{from_value, to_answer};

/// Rows in a call.
const ROWS_IN_CALL: usize = 256;
/// Calls that are under way at the same time: others are served meanwhile.
const CALLS: usize = 8;

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
    /// The cells of each row; `None` for one that lies before what is retained.
    pub fn look_up_rows(
        &mut self,
        service: &str,
        lookup: &Lookup,
        rows: &[RowAsk<'_>],
        version: u64,
        mode: Mode,
    ) -> Result<Vec<Option<Vec<Cell>>>, ClientError> {
        let call = |rows: &[RowAsk<'_>]| request(service, lookup, rows, version, mode);
        let mut answers = Vec::with_capacity(rows.len());
        for some in rows.chunks(ROWS_IN_CALL * CALLS) {
            let calls: Vec<&[RowAsk<'_>]> = some.chunks(ROWS_IN_CALL).collect();
            let requests: Vec<v1::GetFeaturesRequest> = calls.iter().map(|rows| call(rows)).collect();
            for (rows, answer) in calls.iter().zip(self.look_up(&requests)) {
                match answer {
                    Ok(response) if response.rows.len() != rows.len() => {
                        return Err(ClientError::Answer("not a row for each that was asked"));
                    }
                    Ok(response) => answers.extend(response.rows.into_iter().map(|row| Some(to_answer(row).1.cells))),
                    // One row that is refused refuses its call.
                    Err(status) if status.code() == Code::OutOfRange => {
                        for row in *rows {
                            let answer = self.look_up(&[call(std::slice::from_ref(row))]).into_iter().next();
                            answers.push(one_row(answer.ok_or(ClientError::Answer("no row"))?)?);
                        }
                    }
                    Err(status) => return Err(refused(status)),
                }
            }
        }
        Ok(answers)
    }
}

fn one_row(answer: Result<v1::GetFeaturesResponse, Status>) -> Result<Option<Vec<Cell>>, ClientError> {
    match answer {
        Ok(response) => response.rows.into_iter().next().map(|row| Some(to_answer(row).1.cells)).ok_or(ClientError::Answer("no row")),
        Err(status) if status.code() == Code::OutOfRange => Ok(None),
        Err(status) => Err(refused(status)),
    }
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
