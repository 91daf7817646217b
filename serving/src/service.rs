//! `floodmark.v1.FeatureService`: what is asked is checked once for a request, then its rows are read one by one.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use floodmark_features::key::EventId;
use floodmark_features::lookup::{Answer, Ask, Mode, OwnEvent};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Time;
use floodmark_features::value::{Type, Value, ValueRef};
use floodmark_proto::v1;
use floodmark_proto::v1::feature_service_server::{FeatureService, FeatureServiceServer};
use floodmark_proto::v1::get_features_request::What;
use floodmark_store::Store;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use crate::places::{Places, key_places, places};
use crate::plan::{Plan, Planned, Plans};
use crate::refusal::{Hint, Refusal, shown};
use crate::wire::{Misfit, feature_row, read_value, service_info};

/// A request with more rows is refused: one caller must not keep a thread from the others.
pub const MAX_ROWS: usize = 10_000;

/// After so many rows, other calls on the thread have their turn, and a deadline is noticed.
const ROWS_IN_A_TURN: usize = 64;

/// The service over a store. Make one for each server thread: what it remembers is then shared with nobody.
#[derive(Debug)]
pub struct Features {
    store: Arc<Store>,
    plans: Plans,
}

impl Features {
    /// What health and reflection call the service.
    pub const NAME: &'static str = <FeatureServiceServer<Features> as NamedService>::NAME;

    /// Resolves every service of the store's definitions.
    pub fn new(store: Arc<Store>) -> Features {
        let plans = Plans::new(store.definitions().clone());
        Features { store, plans }
    }

    /// As a service to be routed, which refuses requests of more bytes.
    pub fn into_service(self, max_request_bytes: usize) -> FeatureServiceServer<Features> {
        FeatureServiceServer::new(self).max_decoding_message_size(max_request_bytes)
    }

    async fn look_up(&self, request: &v1::GetFeaturesRequest) -> Result<v1::GetFeaturesResponse, Status> {
        let plan = planned(&self.plans, request)?;
        let asked = Asked::of(&plan, request)?;
        let now = now();
        let mut values = Vec::with_capacity(asked.values_in_a_row());
        let mut rows = Vec::with_capacity(request.rows.len());
        for (at, row) in request.rows.iter().enumerate() {
            if at > 0 && at % ROWS_IN_A_TURN == 0 {
                tokio::task::yield_now().await;
            }
            values.clear();
            rows.push(self.read_row(&asked, at, row, now, &mut values)?);
        }
        let names = if request.omit_names { Vec::new() } else { plan.names.clone() };
        Ok(v1::GetFeaturesResponse { names, columns_id: plan.columns_id, rows })
    }

    /// Reads one row; `values` is empty, and there so that its memory is used again.
    fn read_row<'r>(
        &self,
        asked: &Asked<'r>,
        at: usize,
        row: &'r v1::EntityRow,
        now: Time,
        values: &mut Vec<ValueRef<'r>>,
    ) -> Result<v1::FeatureRow, Refusal> {
        asked.read_values(at, row, values)?;
        let (keys, request) = values.split_at(asked.keys.len());
        let own_event = asked.own_event(at, row)?;
        let as_of = asked.as_of(at, row, own_event.as_ref(), now)?;
        let (version, mode) = (asked.request.version, asked.mode);
        let ask = Ask { keys, request, as_of, version, own_event: own_event.as_ref(), mode };
        let mut answer = ANSWER.take();
        let read = self.store.read(&asked.plan.lookup, &ask, &mut answer);
        let row = match read {
            Ok(()) => Ok(feature_row(&mut answer, as_of)),
            Err(error) => Err(Refusal::Read { error, field: format!("rows[{at}]") }),
        };
        ANSWER.set(answer);
        row
    }
}

thread_local! {
    /// Used again from row to row, so that cells need no new memory.
    static ANSWER: Cell<Answer> = Cell::default();
}

#[tonic::async_trait]
impl FeatureService for Features {
    async fn get_features(&self, request: Request<v1::GetFeaturesRequest>) -> Result<Response<v1::GetFeaturesResponse>, Status> {
        self.look_up(request.get_ref()).await.map(Response::new)
    }

    async fn list_services(&self, _: Request<v1::ListServicesRequest>) -> Result<Response<v1::ListServicesResponse>, Status> {
        let named = self.plans.definitions().services.iter().zip(self.plans.services());
        let services = named.map(|(service, plan)| service_info(&service.name, plan)).collect();
        Ok(Response::new(v1::ListServicesResponse { services }))
    }

    async fn get_service(&self, request: Request<v1::GetServiceRequest>) -> Result<Response<v1::ServiceInfo>, Status> {
        let name = &request.get_ref().service;
        let plan = self.plans.service(name)?;
        Ok(Response::new(service_info(name, plan)))
    }
}

/// The plan that a request asks for.
fn planned<'a>(plans: &'a Plans, request: &v1::GetFeaturesRequest) -> Result<Planned<'a>, Refusal> {
    match &request.what {
        Some(What::Service(name)) => plans.service(name).map(Planned::Service),
        Some(What::Features(features)) => plans.list(&features.names).map(Planned::List),
        None => Err(Refusal::NothingAsked),
    }
}

/// A request whose names are checked and matched: what remains is to read its rows.
#[derive(Debug)]
struct Asked<'r> {
    plan: &'r Plan,
    request: &'r v1::GetFeaturesRequest,
    mode: Mode,
    keys: Vec<usize>,
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
    fn of(plan: &'r Plan, request: &'r v1::GetFeaturesRequest) -> Result<Asked<'r>, Refusal> {
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

    fn values_in_a_row(&self) -> usize {
        self.keys.len() + self.fields.len()
    }

    /// Appends the row's keys and then its request fields, in the order of the look-up.
    fn read_values(&self, at: usize, row: &'r v1::EntityRow, values: &mut Vec<ValueRef<'r>>) -> Result<(), Refusal> {
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

    fn own_event(&self, at: usize, row: &v1::EntityRow) -> Result<Option<OwnEvent>, Refusal> {
        let field = || format!("rows[{at}].event");
        match (&row.event, &self.event, &self.request.event_shape) {
            (None, ..) => Ok(None),
            (Some(event), Some(shape), Some(named)) => shape.read(event, &named.columns, field).map(Some),
            (Some(_), ..) => Err(Refusal::NoEventShape { field: field() }),
        }
    }

    /// What the row says, else the request, else the time of the row's own event, else now.
    fn as_of(&self, at: usize, row: &v1::EntityRow, own_event: Option<&OwnEvent>, now: Time) -> Result<Time, Refusal> {
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

/// The wall clock, which is read here and nowhere below.
fn now() -> Time {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(_) => Time::from_micros(0),
    }
}

#[cfg(test)]
mod tests;
