//! Replay: bounded files through the pipeline, each a partition of its source, in row order, to their end.
//!
//! Files of one source are read in turns, always the one whose watermark is furthest behind, so that the same files give the
//! same store. A file that was taken before goes on where it stopped; one that was taken whole is passed over.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use floodmark_features::engine::ViewCounts;
use floodmark_intake::batch::SourceBatch;
use floodmark_intake::router::Router;
use floodmark_store::{Store, StoreError, Tally};

use crate::scoring::{Scored, Scoring};
use crate::source::{self, SourceError};
use crate::stages::{Routed, Stages};

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Name of the source in the definitions.
    pub source: String,
    /// The file.
    pub path: PathBuf,
}

/// How far a replay has come, over all files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Records read.
    pub rows: u64,
    /// Records in all, where the files say so.
    pub rows_total: Option<u64>,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
}

/// What a replay did.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// What became of the records.
    pub tally: Tally,
    /// The same for each view.
    pub views: Vec<(String, ViewCounts)>,
    /// From the first record to the last checkpoint, in seconds.
    pub seconds: f64,
    /// Files of which there was nothing left to take.
    pub already_taken: Vec<PathBuf>,
}

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No such source.
    #[error("no source has this name. source={name} known={known}")]
    UnknownSource {
        /// What was asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// A file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file could not be found.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Batches that a file's decoder may be ahead.
const DECODED_AHEAD: usize = 2;

/// A file that is being read.
struct Open {
    router: usize,
    partition: usize,
    batches: Receiver<Result<SourceBatch, SourceError>>,
    bytes_total: u64,
    rows_total: Option<u64>,
    rows: u64,
}

/// Takes files into a store, to their end, and writes a checkpoint. `watch` is told how far it has come.
pub fn replay(store: &Arc<Store>, inputs: &[Input], watch: &mut dyn FnMut(&Progress)) -> Result<Summary, ReplayError> {
    replay_scored(store, inputs, None, watch)
}

/// The same, with whoever scores the events of some sources; it ends when the last one is scored.
pub fn replay_scored(
    store: &Arc<Store>,
    inputs: &[Input],
    scoring: Option<Scoring>,
    watch: &mut dyn FnMut(&Progress),
) -> Result<Summary, ReplayError> {
    let began = Instant::now();
    let before = store.view_counts();
    let mut summary = Summary::default();
    let mut routers: Vec<(usize, Router)> = Vec::new();
    let mut open = open_all(store, inputs, &mut routers, &mut summary.already_taken)?;
    if let Some(scoring) = &scoring {
        routers = routers.into_iter().map(|(source, router)| (source, router.scored(scoring.sources.contains(&source)))).collect();
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    // Nobody asks a replay to stop.
    let (_, stopping) = tokio::sync::watch::channel(false);
    let stages = Stages::start(store, crate::clock::now, Scored::new(scoring, stopping));
    let mut progress = Progress {
        rows_total: open.iter().map(|o| o.rows_total).sum(),
        bytes_total: open.iter().map(|o| o.bytes_total).sum(),
        ..Progress::default()
    };
    let failed = feed(&mut open, &mut routers, &stages, &tally, &mut progress, watch).err();
    stages.finish()?;
    if let Some(error) = failed {
        return Err(error);
    }
    if store.has_log() {
        let _turn = store.turn();
        store.checkpoint()?;
    }
    summary.tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
    summary.views = counts_since(store, &before);
    summary.seconds = began.elapsed().as_secs_f64();
    Ok(summary)
}

/// Batch after batch, of the file that is furthest behind, until all have ended.
fn feed(
    open: &mut Vec<Open>,
    routers: &mut [(usize, Router)],
    stages: &Stages,
    tally: &Arc<Mutex<Tally>>,
    progress: &mut Progress,
    watch: &mut dyn FnMut(&Progress),
) -> Result<(), ReplayError> {
    while let Some(at) = furthest_behind(open, routers) {
        let file = &mut open[at];
        let router = &mut routers[file.router].1;
        let commit = match file.batches.recv() {
            Ok(batch) => {
                let batch = batch?;
                let rows = batch.columns.num_rows() as u64;
                file.rows += rows;
                progress.rows += rows + batch.rejects.len() as u64;
                router.route(&batch, file.partition, crate::clock::now())
            }
            Err(_) => {
                let ended = open.remove(at);
                progress.bytes += ended.bytes_total;
                routers[ended.router].1.end(ended.partition)
            }
        };
        watch(progress);
        let sum = tally.clone();
        let done =
            Box::new(move |report: &floodmark_store::BatchReport| sum.lock().unwrap_or_else(PoisonError::into_inner).add(&report.tally));
        if !stages.send(Routed { commit, done }) {
            // A stage has failed: its error is what the caller hears.
            return Ok(());
        }
    }
    Ok(())
}

fn furthest_behind(open: &[Open], routers: &[(usize, Router)]) -> Option<usize> {
    (0..open.len()).min_by_key(|at| routers[open[*at].router].1.progress().watermark_of(open[*at].partition))
}

fn open_all(
    store: &Arc<Store>,
    inputs: &[Input],
    routers: &mut Vec<(usize, Router)>,
    already_taken: &mut Vec<PathBuf>,
) -> Result<Vec<Open>, ReplayError> {
    let mut open = Vec::new();
    for input in inputs {
        let (source, definition) = store.definitions().source(&input.source).ok_or_else(|| unknown(store, &input.source))?;
        let router = routers.iter().position(|(s, _)| *s == source).unwrap_or_else(|| {
            let router = Router::new(store.plan().clone(), source, store.partitions(), store.progress(source));
            routers.push((source, router.kept(store.offline().is_some())));
            routers.len() - 1
        });
        let file_error = |error| ReplayError::File { path: input.path.clone(), error };
        let path = input.path.canonicalize().map_err(file_error)?;
        let fingerprint = source::fingerprint(&path).map_err(file_error)?;
        let name = partition_name(&routers[router].1, &path, fingerprint).map_err(file_error)?;
        let taken = routers[router].1.progress().partitions().iter().find(|p| p.name == name);
        let (from, ended) = taken.map_or((0, false), |p| (p.next_offset, p.ended));
        let mut reader = source::open(&path, definition, from, &routers[router].1.required())?;
        let (bytes_total, rows_total) = (reader.total_bytes(), reader.total_rows().map(|rows| rows.saturating_sub(from)));
        let first = reader.next_batch()?;
        if first.is_none() && ended {
            already_taken.push(input.path.clone());
            continue;
        }
        let progress = routers[router].1.progress_mut();
        let partition = progress.open(&name);
        progress.partition_mut(partition).fingerprint = fingerprint;
        open.push(Open { router, partition, batches: decode_ahead(reader, first), bytes_total, rows_total, rows: 0 });
    }
    Ok(open)
}

/// The file's path, unless another file of that name was taken before: then its contents are part of the name.
fn partition_name(router: &Router, path: &Path, fingerprint: u64) -> std::io::Result<String> {
    let name = path.display().to_string();
    match router.progress().partitions().iter().find(|p| p.name == name) {
        Some(taken) if !source::same_file(path, taken.fingerprint)? => Ok(format!("{name}#{fingerprint:016x}")),
        _ => Ok(name),
    }
}

/// Decodes on a thread of its own.
fn decode_ahead(mut reader: Box<dyn source::Source + Send>, first: Option<SourceBatch>) -> Receiver<Result<SourceBatch, SourceError>> {
    let (sender, batches) = sync_channel(DECODED_AHEAD);
    std::thread::spawn(move || {
        let mut next = Ok(first);
        while let Some(batch) = next.transpose() {
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
            next = reader.next_batch();
        }
    });
    batches
}

fn unknown(store: &Store, name: &str) -> ReplayError {
    let known: Vec<&str> = store.definitions().sources.iter().map(|s| s.name.as_str()).collect();
    ReplayError::UnknownSource { name: name.to_owned(), known: known.join(",") }
}

fn counts_since(store: &Store, before: &[ViewCounts]) -> Vec<(String, ViewCounts)> {
    let now = store.view_counts();
    let since = |now: &ViewCounts, before: &ViewCounts| ViewCounts {
        accepted: now.accepted - before.accepted,
        partially_late: now.partially_late - before.partially_late,
        late: now.late - before.late,
        duplicates: now.duplicates - before.duplicates,
        unassigned: now.unassigned - before.unassigned,
    };
    let counts = now.iter().zip(before).map(|(now, before)| since(now, before));
    store.definitions().views.iter().map(|v| v.name.clone()).zip(counts).collect()
}
