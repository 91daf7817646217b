//! The rows of a commit for whoever scores them, written down as the request that they will be.

use floodmark_features::definition::Source;
use floodmark_features::value::ValueRef;
use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;
use floodmark_store::CommitEvents;
use prost::Message;

/// The rows of a commit, as a request for scores.
pub(crate) struct Rows {
    first: u64,
    request: v1::ScoreRequest,
}

impl Rows {
    /// No rows of a source yet; the first one will have this sequence number.
    pub(crate) fn new(source: &Source, first: u64) -> Rows {
        let columns = source.schema.columns.iter().map(|column| column.name.clone()).collect();
        let event_shape = Some(v1::EventShape { source: source.name.clone(), columns });
        Rows { first, request: v1::ScoreRequest { event_shape, ..v1::ScoreRequest::default() } }
    }

    /// Adds a row. An id that is made of partition and offset is said beside the columns.
    pub(crate) fn push<'a>(&mut self, values: impl Iterator<Item = ValueRef<'a>>, made_id: Option<u64>) {
        let id = made_id.map(|id| v1::Value { kind: Some(Kind::Int64Value(id as i64)) });
        let event = v1::OwnEvent { id, values: values.map(value).collect(), ..v1::OwnEvent::default() };
        self.request.rows.push(v1::EntityRow { event: Some(event), ..v1::EntityRow::default() });
    }

    /// For the commit; nothing if there are no rows.
    pub(crate) fn finish(self) -> Option<CommitEvents> {
        let rows = self.request.rows.len() as u64;
        (rows > 0).then(|| CommitEvents { sequences: self.first..self.first + rows, bytes: self.request.encode_to_vec() })
    }
}

fn value(value: ValueRef<'_>) -> v1::Value {
    let kind = match value {
        ValueRef::Null => None,
        ValueRef::Bool(b) => Some(Kind::BoolValue(b)),
        ValueRef::Int(i) => Some(Kind::Int64Value(i)),
        ValueRef::Float(x) => Some(Kind::DoubleValue(x)),
        ValueRef::Str(text) => Some(Kind::StringValue(text.to_owned())),
        ValueRef::Time(time) => Some(Kind::TimestampMicros(time.micros())),
    };
    v1::Value { kind }
}
