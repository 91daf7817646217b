//! What was, over `DoGet`: events of a source, with features beside them or without, and statistics of features. A ticket is a command; who has
//! the events is somebody else, behind a trait.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use floodmark_features::lookup::Mode;
use floodmark_features::time::Time;
use floodmark_training::Profile;
use serde::Deserialize;
use tokio::sync::SemaphorePermit;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::ask::AskedMode;

const EXAMPLE: &str = r#"{"statistics": {"service": "fraud", "from": "2018-05-01", "to": "2018-06-01"}}"#;
/// Rows that are looked at, if nothing else is said.
pub const SAMPLE: usize = 100_000;

/// Rows of a message.
const PIECE_ROWS: usize = 1 << 16;

/// What is asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticsAsk {
    /// Whose features.
    pub service: String,
    /// The source whose events are the rows; that of the service's first view if not said.
    pub source: Option<String>,
    /// The time of the first row, and the time that all are before.
    pub range: (Time, Time),
    /// The same of the rows that they are compared with.
    pub against: Option<(Time, Time)>,
    /// So many rows of each.
    pub sample: usize,
}

/// Which events are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct EventsAsk {
    /// Whose.
    pub source: String,
    /// The time of the first one, and the time that all are before.
    pub range: (Time, Time),
    /// Only those with these values in these columns.
    pub only: Vec<(String, serde_json::Value)>,
    /// So many of them, the same ones each time; all if not said.
    pub sample: Option<usize>,
}

/// Which events are wanted with the features that they were scored with, or would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct ValuesAsk {
    /// Whose features.
    pub service: String,
    /// The events; without a source, those of the service's first view.
    pub events: EventsAsk,
    /// Which events a value counts (T15).
    pub mode: Mode,
    /// Whether a status column follows for each feature (T17).
    pub statuses: bool,
}

/// Whoever has events and features.
pub trait History: Send + Sync + std::fmt::Debug {
    /// The table of [`Profile::table`].
    fn statistics(&self, ask: &StatisticsAsk) -> Result<RecordBatch, Status>;

    /// Events, in the columns of [`History::columns`].
    fn events(&self, ask: &EventsAsk) -> Result<RecordBatch, Status>;

    /// Events with features beside them, in the columns of [`History::value_columns`].
    fn values(&self, ask: &ValuesAsk) -> Result<Vec<RecordBatch>, Status>;

    /// The columns of events with features beside them.
    fn value_columns(&self, ask: &ValuesAsk) -> Result<SchemaRef, Status>;

    /// The columns of a source's events.
    fn columns(&self, source: &str) -> Result<SchemaRef, Status>;
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Statistics(Asked),
    Events(EventsAsked),
    TrainingSet(ValuesAsked),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsAsked {
    source: String,
    from: String,
    to: String,
    #[serde(default, rename = "where")]
    only: BTreeMap<String, serde_json::Value>,
    sample: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValuesAsked {
    service: String,
    #[serde(default)]
    source: String,
    from: String,
    to: String,
    #[serde(default, rename = "where")]
    only: BTreeMap<String, serde_json::Value>,
    sample: Option<usize>,
    #[serde(default)]
    mode: AskedMode,
    #[serde(default)]
    statuses: bool,
}

/// A command, understood.
enum Wanted {
    Statistics(StatisticsAsk),
    Events(EventsAsk),
    Values(ValuesAsk),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    service: String,
    source: Option<String>,
    from: String,
    to: String,
    against: Option<Range>,
    sample: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: String,
    to: String,
}

/// Whether a ticket or a descriptor is a command.
pub(super) fn is_command(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'{')
}

fn wanted_of(command: &[u8]) -> Result<Wanted, Status> {
    let command = serde_json::from_slice(command)
        .map_err(|error| Status::invalid_argument(format!("the command is not understood: {error}; expected, for example, {EXAMPLE}")))?;
    Ok(match command {
        Command::Statistics(asked) => Wanted::Statistics(StatisticsAsk {
            range: range(&asked.from, &asked.to)?,
            against: asked.against.map(|against| range(&against.from, &against.to)).transpose()?,
            service: asked.service,
            source: asked.source,
            sample: asked.sample.unwrap_or(SAMPLE),
        }),
        Command::Events(EventsAsked { source, from, to, only, sample }) => {
            Wanted::Events(EventsAsk { range: range(&from, &to)?, source, only: only.into_iter().collect(), sample })
        }
        Command::TrainingSet(ValuesAsked { service, source, from, to, only, sample, mode, statuses }) => {
            let events = EventsAsk { range: range(&from, &to)?, source, only: only.into_iter().collect(), sample };
            Wanted::Values(ValuesAsk { service, events, mode: mode.into(), statuses })
        }
    })
}

fn range(from: &str, to: &str) -> Result<(Time, Time), Status> {
    let time = |text: &str| {
        let expected = || Status::invalid_argument(format!("a time is expected, such as 2018-05-01T12:00:00Z. found={text}"));
        Time::parse(text).ok_or_else(expected)
    };
    Ok((time(from)?, time(to)?))
}

impl Wanted {
    fn schema(&self, history: &dyn History) -> Result<SchemaRef, Status> {
        match self {
            Wanted::Statistics(_) => Ok(Profile::schema()),
            Wanted::Events(ask) => history.columns(&ask.source),
            Wanted::Values(ask) => history.value_columns(ask),
        }
    }
}

/// How it is fetched.
pub(super) fn info_of(history: &dyn History, command: &[u8]) -> Result<FlightInfo, Status> {
    let schema = wanted_of(command)?.schema(history)?;
    let info = FlightInfo::new().try_with_schema(&schema).map_err(|error| Status::internal(error.to_string()))?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(command.to_vec()));
    let descriptor = FlightDescriptor::new_cmd(command.to_vec());
    Ok(info.with_descriptor(descriptor).with_endpoint(endpoint).with_total_records(-1).with_total_bytes(-1))
}

/// Fetches it. The permit is held as long as rows are in memory.
pub(super) async fn get(
    history: Arc<dyn History>,
    command: &[u8],
    permit: SemaphorePermit<'static>,
) -> Result<impl Stream<Item = Result<FlightData, Status>> + use<>, Status> {
    let wanted = wanted_of(command)?;
    let schema = wanted.schema(&*history)?;
    let made = tokio::task::spawn_blocking(move || match wanted {
        Wanted::Statistics(ask) => history.statistics(&ask).map(|rows| vec![rows]),
        Wanted::Events(ask) => history.events(&ask).map(|rows| vec![rows]),
        Wanted::Values(ask) => history.values(&ask),
    });
    let made = made.await.map_err(|panic| Status::internal(panic.to_string()))??;
    let of_batch = |rows: &RecordBatch| {
        let piece = |from| Ok(rows.slice(from, PIECE_ROWS.min(rows.num_rows() - from)));
        (0..rows.num_rows()).step_by(PIECE_ROWS).map(piece).collect::<Vec<Result<RecordBatch, FlightError>>>()
    };
    let pieces: Vec<_> = made.iter().flat_map(of_batch).collect();
    // What was made says as of which version.
    let schema = made.first().map_or(schema, RecordBatch::schema);
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(tokio_stream::iter(pieces));
    Ok(encoder.map(move |data| {
        let _held = &permit;
        data.map_err(Status::from)
    }))
}
