//! Statistics of features over `DoGet`: a ticket that is a command. Who reads the events is somebody else, behind a trait.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use floodmark_features::time::Time;
use floodmark_training::Profile;
use serde::Deserialize;
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

const EXAMPLE: &str = r#"{"statistics": {"service": "fraud", "from": "2018-05-01", "to": "2018-06-01"}}"#;
/// Rows that are looked at, if nothing else is said.
pub const SAMPLE: usize = 100_000;

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

/// Whoever has events and features.
pub trait Statistics: Send + Sync + std::fmt::Debug {
    /// The table of [`Profile::table`].
    fn statistics(&self, ask: &StatisticsAsk) -> Result<RecordBatch, Status>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    statistics: Asked,
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

fn ask_of(command: &[u8]) -> Result<StatisticsAsk, Status> {
    let Command { statistics: asked } = serde_json::from_slice(command)
        .map_err(|error| Status::invalid_argument(format!("the command is not understood: {error}; expected, for example, {EXAMPLE}")))?;
    let time = |text: &str| {
        let expected = || Status::invalid_argument(format!("a time is expected, such as 2018-05-01T12:00:00Z. found={text}"));
        Time::parse(text).ok_or_else(expected)
    };
    let range = |from: &str, to: &str| Ok::<_, Status>((time(from)?, time(to)?));
    Ok(StatisticsAsk {
        range: range(&asked.from, &asked.to)?,
        against: asked.against.map(|against| range(&against.from, &against.to)).transpose()?,
        service: asked.service,
        source: asked.source,
        sample: asked.sample.unwrap_or(SAMPLE),
    })
}

/// How statistics are fetched.
pub(super) fn info_of(command: &[u8]) -> Result<FlightInfo, Status> {
    ask_of(command)?;
    let info = FlightInfo::new().try_with_schema(&Profile::schema()).map_err(|error| Status::internal(error.to_string()))?;
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(command.to_vec()));
    let descriptor = FlightDescriptor::new_cmd(command.to_vec());
    Ok(info.with_descriptor(descriptor).with_endpoint(endpoint).with_total_records(-1).with_total_bytes(-1))
}

/// Computes them.
pub(super) async fn get(
    statistics: Arc<dyn Statistics>,
    command: &[u8],
) -> Result<impl Stream<Item = Result<FlightData, Status>> + use<>, Status> {
    let ask = ask_of(command)?;
    let made = tokio::task::spawn_blocking(move || statistics.statistics(&ask)).await;
    let table = made.map_err(|panic| Status::internal(panic.to_string()))??;
    let batches = tokio_stream::once(Ok::<_, FlightError>(table));
    let encoder = FlightDataEncoderBuilder::new().with_schema(Profile::schema()).build(batches);
    Ok(encoder.map(|data| data.map_err(Status::from)))
}
