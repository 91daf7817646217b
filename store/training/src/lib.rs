//! Training sets: a spine of labels in, the same rows in the same order out, with the features of a look-up beside each (T15).
//!
//! Read the spine; send its rows to the partition of their key; there, key by key, sweep the timeline with the same evaluation
//! that serves; turn what was found into columns; write them beside the spine's own. One block of row groups after the other,
//! so that memory is bounded by the block and not by the spine.

mod columns;
mod derive;
mod error;
mod events;
mod file;
mod keys;
mod matrix;
mod parts;
mod spine;
mod spine_file;
mod statistics;
mod stream;
mod sweep;
mod tasks;
#[cfg(test)]
mod tests;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use floodmark_features::definition::OutputType;
use floodmark_features::lookup::{Lookup, Mode};
use floodmark_store::Store;

use columns::{RowInputs, arrow_type, arrow_type_of, derived_column, feature_column, status_column, status_type};
pub use derive::add_derived;
pub use error::TrainingError;
use file::TrainingFile;
use matrix::SEGMENT_ROWS;
pub use parts::{Past, Take, fits, write_training_set_in_parts};
use spine::{Block, Spine};
use spine_file::SpineFile;
pub use statistics::Profile;
pub use stream::TrainingStream;
use sweep::{Sweeper, Swept};
use tasks::in_parallel;

/// Rows that are worked on together: the memory that a training set takes.
const BLOCK_ROWS: usize = 1 << 22;

/// With `statuses`, the column `NAME.status` says how the value of the column `NAME` came to be.
pub const STATUS_SUFFIX: &str = ".status";

/// What to build, whatever the rows come in.
#[derive(Clone, Debug)]
pub struct TrainingSpec {
    /// The features.
    pub lookup: Arc<Lookup>,
    /// The spine's column with the time that each row is as of. It has a column for each key, too.
    pub time: String,
    /// Its column with the id of the event that each row stands for (T5), if they do.
    pub event_id: Option<String>,
    /// As served or as corrected.
    pub mode: Mode,
    /// Only commits up to this version are seen; `None` for the newest.
    pub version: Option<u64>,
    /// Threads to work on.
    pub threads: usize,
    /// Whether a status column follows for each feature (T17).
    pub statuses: bool,
}

/// A training set from file to file.
#[derive(Clone, Debug)]
pub struct TrainingRequest {
    /// What to build.
    pub spec: TrainingSpec,
    /// A Parquet file with the rows to build for.
    pub spine: PathBuf,
    /// The Parquet file to write.
    pub out: PathBuf,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows that have all their features.
    pub done: u64,
    /// Rows of the spine.
    pub rows: u64,
}

/// What was built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingSummary {
    /// Rows, as many as the spine has.
    pub rows: u64,
    /// Rows without a key or a time, for which some or all features are null.
    pub rows_without_key: u64,
    /// Columns that were added.
    pub features: usize,
    /// Size of the file.
    pub bytes: u64,
    /// The version that was read.
    pub version: u64,
    /// Request fields that the spine does not have: null for derived features.
    pub missing_request_fields: Vec<String>,
    /// Where the time went.
    pub times: Times,
}

/// Where the time of a training set went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// Decoding the spine.
    pub read: Duration,
    /// Sending rows to their partition.
    pub route: Duration,
    /// Evaluating.
    pub sweep: Duration,
    /// Making columns and encoding them.
    pub encode: Duration,
    /// Writing the file.
    pub write: Duration,
}

/// Builds a training set. `watch` is told from time to time, from any thread, how far it has come.
pub fn write_training_set(
    store: &Store,
    request: &TrainingRequest,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<TrainingSummary, TrainingError> {
    if is_same(&request.spine, &request.out) {
        return Err(TrainingError::OutIsSpine { path: request.out.clone() });
    }
    let (spine, spec) = (SpineFile::open(request)?, &request.spec);
    let sweeper = Sweeper::new(store, spec, &spine.spine, spine.rows(), watch)?;
    let mut file = TrainingFile::create(&spine, &request.out, schema_of(spec), notes(spec, sweeper.version))?;
    let mut summary = TrainingSummary { features: schema_of(spec).fields().len(), version: sweeper.version, ..TrainingSummary::default() };
    for groups in spine.blocks(BLOCK_ROWS) {
        let mut clock = Clock(Instant::now());
        let block = spine.read(groups.clone(), spec.threads)?;
        summary.times.read += clock.lap();
        let routed = sweeper.route(&block)?;
        summary.times.route += clock.lap();
        let swept = sweeper.sweep(&block, routed)?;
        summary.times.sweep += clock.lap();
        let pieces = columns_of(spec, &spine.spine, &block, &swept)?;
        let mut ends = groups.clone().scan(0, |end, group| {
            let start = *end;
            *end += spine.rows_in(group);
            Some(start..*end)
        });
        let rows_of: Vec<_> = ends.by_ref().collect();
        let width = summary.features;
        let encoded = in_parallel(spec.threads, rows_of.len() * width, |at| {
            file.encode(at % width, &cut(&pieces, at % width, rows_of[at / width].clone()))
        })?;
        summary.times.encode += clock.lap();
        let mut encoded = encoded.into_iter();
        for group in groups {
            file.append(group, encoded.by_ref().take(width).flatten().collect())?;
        }
        summary.times.write += clock.lap();
        summary.rows += block.rows as u64;
        summary.rows_without_key += swept.rows_without_key;
    }
    let clock = Instant::now();
    summary.bytes = file.finish()?;
    summary.times.write += clock.elapsed();
    summary.missing_request_fields = missing_request_fields(spec, &spine.spine);
    Ok(summary)
}

fn missing_request_fields(spec: &TrainingSpec, spine: &Spine) -> Vec<String> {
    let fields = spec.lookup.request.columns.iter().zip(&spine.request);
    fields.filter(|(_, place)| place.is_none()).map(|(field, _)| field.name.clone()).collect()
}

struct Clock(Instant);

impl Clock {
    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut self.0, now))
    }
}

fn is_same(a: &std::path::Path, b: &std::path::Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The columns that are added.
pub fn schema_of(spec: &TrainingSpec) -> Schema {
    let lookup = &spec.lookup;
    let derived = lookup.service.map(|service| lookup.definitions.services[service].derived.as_slice()).unwrap_or_default();
    let kinds =
        lookup.kinds.iter().flatten().map(|kind| arrow_type_of(*kind)).chain(derived.iter().map(|d| arrow_type(d.expression.kind())));
    let mut fields: Vec<Field> = lookup.columns.iter().zip(kinds).map(|(name, kind)| Field::new(&**name, kind, true)).collect();
    if spec.statuses {
        let features = &lookup.columns[..lookup.features.len()];
        fields.extend(features.iter().map(|name| Field::new(format!("{name}{STATUS_SUFFIX}"), status_type(), true)));
    }
    Schema::new(fields)
}

/// The columns of a spine that matter to a look-up, beside its time and its event id; those that it does not have are not missed, but for keys.
pub fn spine_columns(lookup: &Lookup) -> Vec<String> {
    let mut names: Vec<String> = lookup.keys.columns.iter().chain(&lookup.request.columns).map(|column| column.name.clone()).collect();
    for view in lookup.reads.iter().map(|read| &lookup.definitions.views[read.view]) {
        let schema = &lookup.definitions.sources[view.source].schema;
        names.extend(view.columns.iter().map(|at| schema.columns[*at].name.clone()));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// What the training set was built with, for its file to tell.
fn notes(spec: &TrainingSpec, version: u64) -> Vec<(&'static str, String)> {
    let lookup = &spec.lookup;
    let definitions = &lookup.definitions;
    let views = lookup.reads.iter().map(|read| &definitions.views[read.view]);
    let fingerprints: Vec<String> = views.map(|view| format!("{}={:016x}", view.name, view.fingerprint)).collect();
    let mode = match spec.mode {
        Mode::AsServed => "as-served",
        Mode::AsCorrected => "as-corrected",
    };
    let mut notes = vec![
        ("floodmark.views", fingerprints.join(",")),
        ("floodmark.columns_id", format!("{:016x}", lookup.columns_id())),
        ("floodmark.mode", mode.to_owned()),
        ("floodmark.version", version.to_string()),
        ("floodmark.time", spec.time.clone()),
    ];
    notes.extend(lookup.service.map(|service| ("floodmark.service", definitions.services[service].name.clone())));
    notes.extend(spec.event_id.clone().map(|column| ("floodmark.event_id", column)));
    notes
}

/// For each segment, all columns that are added.
fn columns_of(spec: &TrainingSpec, spine: &Spine, block: &Block, swept: &Swept) -> Result<Vec<Vec<ArrayRef>>, TrainingError> {
    let lookup = &spec.lookup;
    let derived = lookup.service.map(|service| lookup.definitions.services[service].derived.as_slice()).unwrap_or_default();
    let places = swept.places(lookup.features.len());
    let kinds = lookup.kinds.iter().flatten();
    let features: Vec<(_, usize, OutputType)> = places.iter().zip(kinds).map(|((matrix, at), kind)| (*matrix, *at, *kind)).collect();
    in_parallel(spec.threads, block.rows.div_ceil(SEGMENT_ROWS), |segment| {
        let rows = segment * SEGMENT_ROWS..block.rows.min((segment + 1) * SEGMENT_ROWS);
        let column =
            |(matrix, at, kind): &(&matrix::Matrix, usize, OutputType)| feature_column(matrix, *at, rows.clone(), *kind, &swept.heaps);
        let mut all: Vec<ArrayRef> = features.iter().map(column).collect();
        for derived in derived {
            let inputs = |row| RowInputs { spine, block, features: &features, heaps: &swept.heaps, row };
            all.push(derived_column(&derived.expression, inputs, rows.clone()));
        }
        if spec.statuses {
            all.extend(features.iter().map(|(matrix, at, _)| status_column(matrix, *at, rows.clone())));
        }
        Ok(all)
    })
}

/// The pieces of a column that make up some rows.
fn cut(pieces: &[Vec<ArrayRef>], column: usize, rows: std::ops::Range<usize>) -> Vec<ArrayRef> {
    let touched = rows.start / SEGMENT_ROWS..rows.end.div_ceil(SEGMENT_ROWS);
    let part = |segment: usize| {
        let (start, piece) = (segment * SEGMENT_ROWS, &pieces[segment][column]);
        let from = rows.start.max(start) - start;
        let to = rows.end.min(start + piece.len()) - start;
        piece.slice(from, to - from)
    };
    if rows.is_empty() { Vec::new() } else { touched.map(part).collect() }
}
