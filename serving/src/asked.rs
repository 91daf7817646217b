//! A request whose names are checked and matched with the look-up once, so that its rows are read by position. What look-ups and
//! scores have in common.

use floodmark_features::key::EventId;
use floodmark_features::lookup::{Mode, OwnEvent};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::suggest::Hint;
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value, ValueRef};
use floodmark_proto::v1;
use floodmark_proto::v1::get_features_request::What;

use crate::places::{Places, check_keys, places};
use crate::plan::{Plan, Planned, Plans};
use crate::refusal::{Refusal, shown};
use crate::wire::{Misfit, read_value};

/// The plan that a request asks for.
pub(crate) fn planned<'a>(plans: &'a Plans, request: &v1::GetFeaturesRequest) -> Result<Planned<'a>, Refusal> {
    match &request.what {
        Some(What::Service(name)) => plans.service(name).map(Planned::Service),
        Some(What::Features(features)) => plans.list(&features.names).map(Planned::List),
        None => Err(Refusal::NothingAsked),
    }
}

/// A request with more rows is refused: one caller must not keep a thread from the others.
pub(crate) const MAX_ROWS: usize = 10_000;

/// The part of a request that says which rows are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spine<'r> {
    key_names: &'r [String],
    request_names: &'r [String],
    event_shape: Option<&'r v1::EventShape>,
    pub(crate) rows: &'r [v1::EntityRow],
    as_of_micros: Option<i64>,
    pub(crate) version: Option<u64>,
    mode: i32,
}

impl<'r> From<&'r v1::GetFeaturesRequest> for Spine<'r> {
    fn from(request: &'r v1::GetFeaturesRequest) -> Spine<'r> {
        Spine {
            key_names: &request.key_names,
            request_names: &request.request_names,
            event_shape: request.event_shape.as_ref(),
            rows: &request.rows,
            as_of_micros: request.as_of_micros,
            version: request.version,
            mode: request.mode,
        }
    }
}

impl<'r> From<&'r v1::ScoreRequest> for Spine<'r> {
    fn from(request: &'r v1::ScoreRequest) -> Spine<'r> {
        Spine {
            key_names: &request.key_names,
            request_names: &request.request_names,
            event_shape: request.event_shape.as_ref(),
            rows: &request.rows,
            as_of_micros: request.as_of_micros,
            version: request.version,
            mode: v1::Mode::AsServed.into(),
        }
    }
}

/// A request whose names are checked and matched: what remains is to read its rows.
#[derive(Debug)]
pub(crate) struct Asked<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) spine: Spine<'r>,
    pub(crate) mode: Mode,
    keys: Vec<Place>,
    fields: Vec<Place>,
    event: Option<Shape<'r>>,
}

/// Where a value stands in a row.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Among the values of its kind.
    Given(usize),
    /// In the row's own event, in this column of the source.
    OfEvent(usize),
    /// Nowhere.
    Missing,
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
    pub(crate) fn of(plan: &'r Plan, spine: Spine<'r>) -> Result<Asked<'r>, Refusal> {
        let lookup = &plan.lookup;
        if spine.rows.len() > MAX_ROWS {
            return Err(Refusal::TooManyRows { rows: spine.rows.len(), most: MAX_ROWS });
        }
        let mode = match v1::Mode::try_from(spine.mode) {
            Ok(v1::Mode::AsServed) => Mode::AsServed,
            Ok(v1::Mode::AsCorrected) => Mode::AsCorrected,
            Err(_) => return Err(Refusal::UnknownMode { mode: spine.mode }),
        };
        let event = spine.event_shape.map(|shape| Shape::of(plan, shape)).transpose()?;
        let keys = places(&lookup.keys, spine.key_names, "keys", "key_names")?;
        let fields = places(&lookup.request, spine.request_names, "request fields", "request_names")?;
        // What a request does not say by itself may stand in the rows' own events.
        let place = |given: Option<usize>, column: Option<usize>| match (given, column) {
            (Some(at), _) => Place::Given(at),
            (None, Some(column)) => Place::OfEvent(column),
            (None, None) => Place::Missing,
        };
        let key_of_event = |key| event.as_ref().and_then(|shape| shape.column_of_key(plan, key));
        let keys: Vec<Place> = keys.into_iter().enumerate().map(|(key, given)| place(given, key_of_event(key))).collect();
        check_keys(&lookup.keys, keys.iter().map(|place| !matches!(place, Place::Missing)))?;
        let field_of_event = |field: &Column| event.as_ref().and_then(|shape| shape.column_like(field));
        let fields = lookup.request.columns.iter().zip(fields).map(|(field, given)| place(given, field_of_event(field))).collect();
        Ok(Asked { mode, keys, fields, event, plan, spine })
    }

    pub(crate) fn values_in_a_row(&self) -> usize {
        self.keys.len() + self.fields.len()
    }

    /// How many of a row's values are keys; the request fields follow.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Appends the row's keys and then its request fields, in the order of the look-up.
    pub(crate) fn read_values(&self, at: usize, values: &mut Vec<ValueRef<'r>>) -> Result<(), Refusal> {
        let (lookup, row) = (&self.plan.lookup, &self.spine.rows[at]);
        check_length(&row.keys, self.spine.key_names, || format!("rows[{at}].keys"))?;
        check_length(&row.request, self.spine.request_names, || format!("rows[{at}].request"))?;
        for (column, place) in lookup.keys.columns.iter().zip(&self.keys) {
            match self.read_at(*place, &row.keys, at, column, "key", "keys")? {
                ValueRef::Null => {
                    let field = match place {
                        Place::Given(place) => format!("rows[{at}].keys[{place}]"),
                        Place::OfEvent(_) | Place::Missing => format!("rows[{at}].event"),
                    };
                    return Err(Refusal::Null { what: "key", name: column.name.clone(), field });
                }
                key => values.push(key),
            }
        }
        for (column, place) in lookup.request.columns.iter().zip(&self.fields) {
            values.push(self.read_at(*place, &row.request, at, column, "field", "request")?);
        }
        Ok(())
    }

    fn read_at(
        &self,
        place: Place,
        given: &'r [v1::Value],
        at: usize,
        column: &Column,
        what: &'static str,
        list: &str,
    ) -> Result<ValueRef<'r>, Refusal> {
        match (place, &self.event, &self.spine.rows[at].event) {
            (Place::Given(place), ..) => read(&given[place], column, what, || format!("rows[{at}].{list}[{place}]")),
            (Place::OfEvent(place), Some(shape), Some(event)) => shape.value_of(event, place, || format!("rows[{at}].event")),
            _ => Ok(ValueRef::Null),
        }
    }

    pub(crate) fn own_event(&self, at: usize) -> Result<Option<OwnEvent>, Refusal> {
        let field = || format!("rows[{at}].event");
        match (&self.spine.rows[at].event, &self.event, self.spine.event_shape) {
            (None, ..) => Ok(None),
            (Some(event), Some(shape), Some(named)) => shape.read(event, &named.columns, field).map(Some),
            (Some(_), ..) => Err(Refusal::NoEventShape { field: field() }),
        }
    }

    /// What the row says, else the request, else the time of the row's own event, else now.
    pub(crate) fn as_of(&self, at: usize, own_event: Option<&OwnEvent>, now: Time) -> Result<Time, Refusal> {
        let (as_of, field) = match (self.spine.rows[at].as_of_micros, self.spine.as_of_micros) {
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

    /// The column that a key of the look-up is taken from where a view is computed from these events, if the request names it.
    fn column_of_key(&self, plan: &Plan, key: usize) -> Option<usize> {
        let views = &plan.lookup.definitions.views;
        plan.lookup.reads.iter().filter(|read| views[read.view].source == self.source).find_map(|read| {
            let place = read.keys.iter().position(|k| *k == key)?;
            self.if_named(views[read.view].key_columns[place])
        })
    }

    /// The column of that name and type, if the request names it.
    fn column_like(&self, field: &Column) -> Option<usize> {
        self.if_named(self.schema.columns.iter().position(|column| column == field)?)
    }

    /// Time and id may be given apart from the columns.
    fn if_named(&self, column: usize) -> Option<usize> {
        let apart = column == self.event_time || self.event_id == Some(column);
        (apart || self.columns[column].is_some()).then_some(column)
    }

    /// One column of an event.
    fn value_of<'e>(&self, event: &'e v1::OwnEvent, column: usize, field: impl Fn() -> String) -> Result<ValueRef<'e>, Refusal> {
        if let Some(place) = self.columns[column]
            && let Some(value) = event.values.get(place)
            && value.kind.is_some()
        {
            return read(value, &self.schema.columns[column], "column", || format!("{}.values[{place}]", field()));
        }
        match (event.time_micros, &event.id) {
            (Some(time), _) if column == self.event_time => Ok(ValueRef::Time(Time::from_micros(time))),
            (_, Some(id)) if self.event_id == Some(column) => self.read_id(id, || format!("{}.id", field())),
            _ => Ok(ValueRef::Null),
        }
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
