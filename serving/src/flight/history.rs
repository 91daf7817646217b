//! What was, over `DoGet`: events of a source as rows to build a training set for, and statistics of features. A ticket is a command; who
//! has the events is somebody else, behind a trait.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use floodmark_features::time::Time;
use floodmark_training::Profile;
use serde::Deserialize;
use tokio::sync::SemaphorePermit;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

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
    /// So many of them, the same ones each time; all if not said.
    pub sample: Option<usize>,
}

/// Whoever has events and features.
pub trait History: Send + Sync + std::fmt::Debug {
    /// The table of [`Profile::table`].
    fn statistics(&self, ask: &StatisticsAsk) -> Result<RecordBatch, Status>;

    /// Events, in the columns of [`History::columns`].
    fn events(&self, ask: &EventsAsk) -> Result<RecordBatch, Status>;

    /// The columns of a source's events.
    fn columns(&self, source: &str) -> Result<SchemaRef, Status>;
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Statistics(Asked),
    Events(EventsAsked),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsAsked {
    source: String,
    from: String,
    to: String,
    sample: Option<usize>,
}

/// A command, understood.
enum Wanted {
    Statistics(StatisticsAsk),
    Events(EventsAsk),
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
        Command::Events(asked) => {
            Wanted::Events(EventsAsk { range: range(&asked.from, &asked.to)?, source: asked.source, sample: asked.sample })
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
        Wanted::Statistics(ask) => history.statistics(&ask),
        Wanted::Events(ask) => history.events(&ask),
    });
    let rows = made.await.map_err(|panic| Status::internal(panic.to_string()))??;
    let pieces: Vec<Result<RecordBatch, FlightError>> =
        (0..rows.num_rows()).step_by(PIECE_ROWS).map(|from| Ok(rows.slice(from, PIECE_ROWS.min(rows.num_rows() - from)))).collect();
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(tokio_stream::iter(pieces));
    Ok(encoder.map(move |data| {
        let _held = &permit;
        data.map_err(Status::from)
    }))
}
