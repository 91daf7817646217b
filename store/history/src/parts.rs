//! History for training sets that are made part by part.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use floodmark_features::definition::Definitions;
use floodmark_features::time::Time;
use floodmark_intake::history::take_history_on_one_core;
use floodmark_offline::{EventFile, OfflineError, OfflineStore, as_kept, in_order};
use floodmark_store::kept::column;
use floodmark_store::{Settings, Store};
use floodmark_training::{Past, Take, TrainingError};

use crate::HistoryError;

/// Events of a commit: a commit costs something for each partition of a store, however few events it has.
const COMMIT_ROWS: usize = 1 << 16;

/// The events at a place.
#[derive(Debug)]
pub struct History {
    offline: OfflineStore,
    definitions: Arc<Definitions>,
}

impl History {
    /// For views of these definitions.
    pub fn at(place: &str, definitions: &Arc<Definitions>) -> Result<History, HistoryError> {
        Ok(History { offline: OfflineStore::existing(place, definitions)?, definitions: definitions.clone() })
    }
}

fn failed(error: impl Into<HistoryError>) -> TrainingError {
    TrainingError::History { detail: error.into().to_string() }
}

/// The same events as if they had come many at a time.
fn in_large_commits(events: &RecordBatch) -> Result<RecordBatch, TrainingError> {
    let versions: Int64Array = (0..events.num_rows()).map(|row| 1 + (row / COMMIT_ROWS) as i64).collect::<Vec<i64>>().into();
    let at = events.schema().index_of(column::VERSION).map_err(|error| failed(OfflineError::from(error)))?;
    let mut columns = events.columns().to_vec();
    columns[at] = Arc::new(versions);
    RecordBatch::try_new(events.schema(), columns).map_err(|error| failed(OfflineError::from(error)))
}

impl Past for History {
    type Piece = EventFile;

    fn events(&self, source: usize) -> Result<u64, TrainingError> {
        let files = self.pieces(source, (Time::NONE, Time::MAX))?;
        Ok(files.iter().map(|file| file.events).fold(0, u64::saturating_add))
    }

    fn version(&self) -> Result<u64, TrainingError> {
        self.offline.version().map_err(failed)
    }

    fn pieces(&self, source: usize, within: (Time, Time)) -> Result<Vec<EventFile>, TrainingError> {
        self.offline.event_files(source, within).map_err(failed)
    }

    fn read(&self, source: usize, file: &EventFile, columns: &[usize], take: Take<'_>) -> Result<(), TrainingError> {
        for batch in self.offline.read_events(source, file, columns).map_err(failed)? {
            take(batch.map_err(failed)?)?;
        }
        Ok(())
    }

    fn store(&self, events: Vec<(usize, RecordBatch)>) -> Result<Arc<Store>, TrainingError> {
        let store = Store::in_memory(self.definitions.clone(), Settings::default()).map_err(failed)?;
        let as_kept = |(source, events): (usize, RecordBatch)| {
            let events = as_kept(&self.definitions.sources[source], &events).and_then(in_order).map_err(failed)?;
            Ok((source, in_large_commits(&events)?))
        };
        let events = events.into_iter().map(as_kept).collect::<Result<Vec<_>, TrainingError>>()?;
        take_history_on_one_core(&store, &events).map_err(failed)?;
        Ok(Arc::new(store))
    }
}
