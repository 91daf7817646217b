//! A request whose names are checked and matched with the look-up once, so that its rows are read by position.

use floodmark_features::key::EventId;
use floodmark_features::lookup::{Mode, OwnEvent};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value, ValueRef};
use floodmark_proto::v1;
use floodmark_proto::v1::get_features_request::What;

use super::MAX_ROWS;
use crate::places::{Places, key_places, places};
use crate::plan::{Plan, Planned, Plans};
use crate::refusal::{Hint, Refusal, shown};
use crate::wire::{Misfit, read_value};

/// The plan that a request asks for.
pub(super) fn planned<'a>(plans: &'a Plans, request: &v1::GetFeaturesRequest) -> Result<Planned<'a>, Refusal> {
    match &request.what {
        Some(What::Service(name)) => plans.service(name).map(Planned::Service),
        Some(What::Features(features)) => plans.list(&features.names).map(Planned::List),
        None => Err(Refusal::NothingAsked),
    }
}

/// A request whose names are checked and matched: what remains is to read its rows.
#[derive(Debug)]
pub(super) struct Asked<'r> {
    pub(super) plan: &'r Plan,
    pub(super) request: &'r v1::GetFeaturesRequest,
    pub(super) mode: Mode,
    pub(super) keys: Vec<usize>,
    fields: Places,
    event: Option<Shape<'r>>,
}

/// The source and columns of the events that rows carry.
#[derive(Debug)]
struct Shape<'r> {
    source: usize,
    schema: &'r Schema,
    columns: Places,
    event_time: usize,
    event_id: Option<usize>,
}

impl<'r> Asked<'r> {
    pub(super) fn of(plan: &'r Plan, request: &'r v1::GetFeaturesRequest) -> Result<Asked<'r>, Refusal> {
        let lookup = &plan.lookup;
        if request.rows.len() > MAX_ROWS {
            return Err(Refusal::TooManyRows { rows: request.rows.len(), most: MAX_ROWS });
        }
        let mode = match v1::Mode::try_from(request.mode) {
            Ok(v1::Mode::AsServed) => Mode::AsServed,
            Ok(v1::Mode::AsCorrected) => Mode::AsCorrected,
            Err(_) => return Err(Refusal::UnknownMode { mode: request.mode }),
        };
        Ok(Asked {
            mode,
            keys: key_places(&lookup.keys, &request.key_names)?,
            fields: places(&lookup.request, &request.request_names, "request fields", "request_names")?,
            event: request.event_shape.as_ref().map(|shape| Shape::of(plan, shape)).transpose()?,
            plan,
            request,
        })
    }

    pub(super) fn values_in_a_row(&self) -> usize {
        self.keys.len() + self.fields.len()
    }

    /// Appends the row's keys and then its request fields, in the order of the look-up.
    pub(super) fn read_values(&self, at: usize, row: &'r v1::EntityRow, values: &mut Vec<ValueRef<'r>>) -> Result<(), Refusal> {
        let lookup = &self.plan.lookup;
        check_length(&row.keys, &self.request.key_names, || format!("rows[{at}].keys"))?;
        check_length(&row.request, &self.request.request_names, || format!("rows[{at}].request"))?;
        for (column, place) in lookup.keys.columns.iter().zip(&self.keys) {
            let field = || format!("rows[{at}].keys[{place}]");
            match read(&row.keys[*place], column, "key", field)? {
                ValueRef::Null => return Err(Refusal::Null { what: "key", name: column.name.clone(), field: field() }),
                key => values.push(key),
            }
        }
        for (column, place) in lookup.request.columns.iter().zip(&self.fields) {
            values.push(match place {
                Some(place) => read(&row.request[*place], column, "field", || format!("rows[{at}].request[{place}]"))?,
                None => ValueRef::Null,
            });
        }
        Ok(())
    }

    pub(super) fn own_event(&self, at: usize, row: &v1::EntityRow) -> Result<Option<OwnEvent>, Refusal> {
        let field = || format!("rows[{at}].event");
        match (&row.event, &self.event, &self.request.event_shape) {
            (None, ..) => Ok(None),
            (Some(event), Some(shape), Some(named)) => shape.read(event, &named.columns, field).map(Some),
            (Some(_), ..) => Err(Refusal::NoEventShape { field: field() }),
        }
    }

    /// What the row says, else the request, else the time of the row's own event, else now.
    pub(super) fn as_of(&self, at: usize, row: &v1::EntityRow, own_event: Option<&OwnEvent>, now: Time) -> Result<Time, Refusal> {
        let (as_of, field) = match (row.as_of_micros, self.request.as_of_micros) {
            (Some(micros), _) => (Time::from_micros(micros), "rows[].as_of_micros"),
            (None, Some(micros)) => (Time::from_micros(micros), "as_of_micros"),
            (None, None) => return Ok(own_event.map_or(now, |e| e.time)),
        };
        match as_of {
            Time::NONE => Err(Refusal::NoTime { field: field.replace("[]", &format!("[{at}]")) }),
            _ => Ok(as_of),
        }
    }
}

impl<'r> Shape<'r> {
    fn of(plan: &'r Plan, shape: &v1::EventShape) -> Result<Shape<'r>, Refusal> {
        let definitions = &plan.lookup.definitions;
        let Some((source, found)) = definitions.source(&shape.source) else {
            let hint = Hint::nearest(&shape.source, definitions.sources.iter().map(|s| s.name.as_str()));
            return Err(Refusal::Unknown { what: "source", name: shown(&shape.source), hint, field: "event_shape.source".to_owned() });
        };
        let columns = places(&found.schema, &shape.columns, "columns of the source", "event_shape.columns")?;
        Ok(Shape { source, schema: &found.schema, columns, event_time: found.event_time, event_id: found.event_id })
    }

    fn read(&self, event: &v1::OwnEvent, names: &[String], field: impl Fn() -> String) -> Result<OwnEvent, Refusal> {
        let mut values = Vec::new();
        if !event.values.is_empty() {
            check_length(&event.values, names, || format!("{}.values", field()))?;
            for (column, place) in self.schema.columns.iter().zip(&self.columns) {
                values.push(match place {
                    Some(place) => read(&event.values[*place], column, "column", || format!("{}.values[{place}]", field()))?,
                    None => ValueRef::Null,
                });
            }
        }
        let given_time = event.time_micros.map_or(ValueRef::Null, |t| ValueRef::Time(Time::from_micros(t)));
        let time = match self.one_of(given_time, Some(self.event_time), &mut values, "event time", &field)? {
            ValueRef::Time(Time::NONE) => return Err(Refusal::NoTime { field: format!("{}.time_micros", field()) }),
            ValueRef::Time(time) => time,
            _ => return Err(Refusal::EventWithout { what: "a time", field: field() }),
        };
        let given_id = match &event.id {
            Some(id) => self.read_id(id, || format!("{}.id", field()))?,
            None => ValueRef::Null,
        };
        let id = match self.one_of(given_id, self.event_id, &mut values, "event id", &field)? {
            ValueRef::Int(id) => EventId::Int(id),
            ValueRef::Str(id) => EventId::Str(id.into()),
            _ => return Err(Refusal::EventWithout { what: "an id", field: field() }),
        };
        let fields: Option<Vec<Value>> = (!values.is_empty()).then(|| values.into_iter().map(ValueRef::to_value).collect());
        Ok(OwnEvent { source: self.source, id, time, fields, exclude: event.exclude_self })
    }

    /// An id as the source declares it; one made from partition and offset is an integer.
    fn read_id<'e>(&self, id: &'e v1::Value, field: impl Fn() -> String) -> Result<ValueRef<'e>, Refusal> {
        match self.event_id {
            Some(at) => read(id, &self.schema.columns[at], "id", field),
            None => read(id, &Column { name: "event_id".to_owned(), kind: Type::Int64 }, "id", field),
        }
    }

    /// What is said by itself and among the values; said once, it holds for both, said twice, it must be the same.
    fn one_of<'e>(
        &self,
        given: ValueRef<'e>,
        column: Option<usize>,
        values: &mut [ValueRef<'e>],
        what: &'static str,
        field: impl Fn() -> String,
    ) -> Result<ValueRef<'e>, Refusal> {
        let Some((at, among)) = column.and_then(|at| Some((at, values.get_mut(at)?))) else {
            return Ok(given);
        };
        match (given, *among) {
            (ValueRef::Null, value) => Ok(value),
            (given, ValueRef::Null) => {
                *among = given;
                Ok(given)
            }
            (given, value) if given == value => Ok(given),
            _ => Err(Refusal::EventDisagrees { what, column: self.schema.columns[at].name.clone(), field: field() }),
        }
    }
}

fn check_length(values: &[v1::Value], names: &[String], field: impl Fn() -> String) -> Result<(), Refusal> {
    match values.len() == names.len() {
        true => Ok(()),
        false => Err(Refusal::RowLength { field: field(), expected: names.len(), found: values.len() }),
    }
}

fn read<'v>(value: &'v v1::Value, column: &Column, what: &'static str, field: impl Fn() -> String) -> Result<ValueRef<'v>, Refusal> {
    read_value(value, column.kind).map_err(|misfit| {
        let (name, field) = (column.name.clone(), field());
        match misfit {
            Misfit::Type(found) => Refusal::WrongType { what, name, expected: column.kind, found, field },
            Misfit::NotFinite => Refusal::NotFinite { what, name, field },
            Misfit::NotATimestamp => Refusal::NotATimestamp { what, name, field },
        }
    })
}
