//! Between the messages of `floodmark.v1` and the types of the core. Beside the service and the client, nothing else
//! here knows generated types.

mod response;

use floodmark_features::definition::OutputType;
use floodmark_features::lookup::{Answer, Cell, Status};
use floodmark_features::schema::Schema;
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value, ValueRef};
use floodmark_proto::v1;
use floodmark_proto::v1::value::Kind;

use crate::plan::Plan;
pub(crate) use response::Response;

/// Why a value cannot be one of the type that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is of another type, called so.
    Type(&'static str),
    /// It is NaN or infinite.
    NotFinite,
    /// It is text, but not RFC 3339.
    NotATimestamp,
}

/// Reads a value as one of that type. An integer does where a float is expected, RFC 3339 text where a timestamp is.
pub(crate) fn read_value(value: &v1::Value, kind: Type) -> Result<ValueRef<'_>, Misfit> {
    let Some(found) = &value.kind else {
        return Ok(ValueRef::Null);
    };
    match (kind, found) {
        (Type::Int64, Kind::Int64Value(i)) => Ok(ValueRef::Int(*i)),
        (Type::String, Kind::StringValue(s)) => Ok(ValueRef::Str(s)),
        (Type::Float64, Kind::DoubleValue(x)) if !x.is_finite() => Err(Misfit::NotFinite),
        (Type::Float64, Kind::DoubleValue(x)) => Ok(ValueRef::Float(*x)),
        (Type::Float64, Kind::Int64Value(i)) => Ok(ValueRef::Float(*i as f64)),
        (Type::Bool, Kind::BoolValue(b)) => Ok(ValueRef::Bool(*b)),
        (Type::Timestamp, Kind::TimestampMicros(t)) => Ok(ValueRef::Time(Time::from_micros(*t))),
        (Type::Timestamp, Kind::StringValue(s)) => Time::parse(s).map(ValueRef::Time).ok_or(Misfit::NotATimestamp),
        (_, found) => Err(Misfit::Type(kind_name(found))),
    }
}

fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::BoolValue(_) => "bool",
        Kind::Int64Value(_) => "int64",
        Kind::DoubleValue(_) => "float64",
        Kind::StringValue(_) => "string",
        Kind::TimestampMicros(_) => "timestamp",
        Kind::ListValue(_) => "list",
    }
}

/// A value of the core as a message.
pub(crate) fn from_value(value: Value) -> v1::Value {
    let kind = match value {
        Value::Null => None,
        Value::Bool(b) => Some(Kind::BoolValue(b)),
        Value::Int(i) => Some(Kind::Int64Value(i)),
        Value::Float(x) => Some(Kind::DoubleValue(x)),
        Value::Str(s) => Some(Kind::StringValue(String::from(&*s))),
        Value::Time(t) => Some(Kind::TimestampMicros(t.micros())),
        Value::List(items) => {
            let values = items.iter().cloned().map(from_value).collect();
            Some(Kind::ListValue(v1::ValueList { values }))
        }
    };
    v1::Value { kind }
}

/// A message as a value of the core.
pub(crate) fn to_value(value: v1::Value) -> Value {
    match value.kind {
        None => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::Int64Value(i)) => Value::Int(i),
        Some(Kind::DoubleValue(x)) => Value::Float(x),
        Some(Kind::StringValue(s)) => Value::Str(s.into()),
        Some(Kind::TimestampMicros(t)) => Value::Time(Time::from_micros(t)),
        Some(Kind::ListValue(list)) => Value::List(list.values.into_iter().map(to_value).collect()),
    }
}

/// A row of a response as an answer, with its as-of time. A server that knows more statuses than this build: null.
pub(crate) fn to_answer(row: v1::FeatureRow) -> (Time, Answer) {
    let mut cells = Vec::with_capacity(row.values.len());
    for (at, value) in row.values.into_iter().enumerate() {
        cells.push(Cell {
            value: to_value(value),
            status: row.statuses.get(at).map_or(Status::Null, |s| to_status(*s)),
            provisional: row.provisional_values.get(at).copied().unwrap_or(row.provisional),
            approximate: row.approximate_values.get(at).copied().unwrap_or(false),
        });
    }
    let watermark = row.watermark_micros.map_or(Time::NONE, Time::from_micros);
    (Time::from_micros(row.as_of_micros), Answer { cells, watermark, version: row.version })
}

fn from_status(status: Status) -> v1::Status {
    match status {
        Status::Present => v1::Status::Present,
        Status::Null => v1::Status::Null,
        Status::NotFound => v1::Status::NotFound,
        Status::Expired => v1::Status::Expired,
    }
}

fn to_status(status: i32) -> Status {
    match v1::Status::try_from(status) {
        Ok(v1::Status::Present) => Status::Present,
        Ok(v1::Status::NotFound) => Status::NotFound,
        Ok(v1::Status::Expired) => Status::Expired,
        Ok(v1::Status::Null) | Err(_) => Status::Null,
    }
}

/// The type of that name in a message.
pub(crate) fn from_type(kind: Type) -> v1::Type {
    match kind {
        Type::Bool => v1::Type::Bool,
        Type::Int64 => v1::Type::Int64,
        Type::Float64 => v1::Type::Float64,
        Type::String => v1::Type::String,
        Type::Timestamp => v1::Type::Timestamp,
    }
}

/// `None` for an unspecified type, or one that this build does not know.
pub(crate) fn to_type(kind: i32) -> Option<Type> {
    match v1::Type::try_from(kind).ok()? {
        v1::Type::Unspecified => None,
        v1::Type::Bool => Some(Type::Bool),
        v1::Type::Int64 => Some(Type::Int64),
        v1::Type::Float64 => Some(Type::Float64),
        v1::Type::String => Some(Type::String),
        v1::Type::Timestamp => Some(Type::Timestamp),
    }
}

/// What a service asks for and what it answers.
pub(crate) fn service_info(name: &str, plan: &Plan) -> v1::ServiceInfo {
    let lookup = &plan.lookup;
    let column = |(name, kind): (&String, &Option<OutputType>)| {
        let (kind, list) = match *kind {
            Some(OutputType::Scalar(kind)) => (Some(kind), false),
            Some(OutputType::List(kind)) => (Some(kind), true),
            None => (None, false),
        };
        let wire = kind.map_or(v1::Type::Unspecified, from_type);
        v1::FeatureInfo { name: name.clone(), r#type: wire.into(), list, derived: kind.is_none() }
    };
    let definitions = &lookup.definitions;
    let view = |at: usize| {
        let view = &definitions.views[at];
        v1::ViewInfo {
            name: view.name.clone(),
            entity: definitions.entities[view.entity].name.clone(),
            source: definitions.sources[view.source].name.clone(),
            fingerprint: view.fingerprint,
        }
    };
    v1::ServiceInfo {
        name: name.to_owned(),
        keys: columns(&lookup.keys),
        request: columns(&lookup.request),
        columns: plan.names.iter().zip(&lookup.kinds).map(column).collect(),
        views: plan.views().into_iter().map(view).collect(),
        columns_id: plan.columns_id,
    }
}

fn columns(schema: &Schema) -> Vec<v1::Column> {
    let column = |(name, kind): (&str, Type)| v1::Column { name: name.to_owned(), r#type: from_type(kind).into() };
    schema.columns.iter().map(|c| column((&c.name, c.kind))).collect()
}

#[cfg(test)]
mod tests;
