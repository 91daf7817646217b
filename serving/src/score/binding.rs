//! Where a model's inputs stand in an answer: found once for each version of a model.

use std::sync::{Arc, Weak};

use floodmark_features::definition::OutputType;
use floodmark_features::lookup::Answer;
use floodmark_features::value::{Type, Value, ValueRef};
use floodmark_models::matrix::Input;
use floodmark_models::model::Model;
use floodmark_models::signature::{ColumnType, ServiceColumns, Services};

use crate::plan::{Plan, Plans};

/// For each input of a model, where it stands.
#[derive(Debug)]
pub(super) struct Binding(Vec<Place>);

#[derive(Clone, Copy, Debug)]
enum Place {
    /// A feature or a derived feature.
    Cell(usize),
    /// A field of the request.
    Field(usize),
    /// Nowhere: the service has changed since the model was loaded.
    Nowhere,
}

/// The bindings of the models in use. Models that are no more are forgotten.
#[derive(Debug, Default)]
pub(super) struct Bindings(Vec<(Weak<Model>, Arc<Binding>)>);

impl Bindings {
    pub(super) fn of(&mut self, model: &Arc<Model>, plan: &Plan) -> Arc<Binding> {
        if let Some((_, binding)) = self.0.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(model))) {
            return binding.clone();
        }
        let binding = Arc::new(Binding::new(model, plan));
        self.0.retain(|(known, _)| known.strong_count() > 0);
        self.0.push((Arc::downgrade(model), binding.clone()));
        binding
    }
}

impl Binding {
    fn new(model: &Model, plan: &Plan) -> Binding {
        let place = |column: &str| {
            let cell = plan.names.iter().position(|name| name == column).map(Place::Cell);
            cell.or_else(|| plan.lookup.request.position(column).map(Place::Field)).unwrap_or(Place::Nowhere)
        };
        Binding(model.signature().inputs.iter().map(|input| place(&input.column)).collect())
    }

    /// The value of an input.
    pub(super) fn input<'a>(&self, at: usize, answer: &'a Answer, fields: &[ValueRef<'a>]) -> Input<'a> {
        match self.0[at] {
            Place::Cell(cell) => of_value(&answer.cells[cell].value),
            Place::Field(field) => of_ref(fields[field]),
            Place::Nowhere => Input::Missing,
        }
    }
}

fn of_value(value: &Value) -> Input<'_> {
    match value {
        Value::List(_) => Input::Missing, // a list is refused as an input when the model is loaded
        scalar => of_ref(scalar.as_ref()),
    }
}

fn of_ref(value: ValueRef<'_>) -> Input<'_> {
    match value {
        ValueRef::Null => Input::Missing,
        ValueRef::Bool(b) => Input::Bool(b),
        ValueRef::Int(i) => Input::Int(i),
        ValueRef::Float(x) => Input::Float(x),
        ValueRef::Str(text) => Input::Text(text),
        ValueRef::Time(time) => Input::Int(time.micros()),
    }
}

impl Services for Plans {
    fn columns(&self, service: &str) -> Option<ServiceColumns> {
        let plan = self.service(service).ok()?;
        let of_kind = |kind: &Option<OutputType>| match kind {
            Some(OutputType::Scalar(kind)) => Some(column_type(*kind)),
            Some(OutputType::List(_)) => None,
            None => Some(ColumnType::Unknown),
        };
        let features = plan.names.iter().zip(&plan.lookup.kinds).filter_map(|(name, kind)| Some((name.clone(), of_kind(kind)?)));
        let fields = plan.lookup.request.columns.iter().map(|field| (field.name.clone(), column_type(field.kind)));
        Some(ServiceColumns { id: plan.columns_id, columns: features.chain(fields).collect() })
    }
}

fn column_type(kind: Type) -> ColumnType {
    match kind {
        Type::Bool => ColumnType::Bool,
        Type::Int64 => ColumnType::Int64,
        Type::Float64 => ColumnType::Float64,
        Type::String => ColumnType::String,
        Type::Timestamp => ColumnType::Timestamp,
    }
}
