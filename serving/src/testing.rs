//! The definitions that the tests of this crate share: payments, by customer and by terminal.

use std::sync::Arc;

use floodmark_features::aggregate::Function;
use floodmark_features::definition::{
    ClosedWindows, Definitions, Entity, Feature, FeatureRef, Output, OutputType, Service, Slot, Source, View, WhenAllIdle,
};
use floodmark_features::schema::{Column, Schema};
use floodmark_features::time::Span;
use floodmark_features::value::{Type, Value};
use floodmark_features::window::{Bounds, Frame, Window};

/// Service `fraud`: `customer_spend.nb_tx_1d`, `customer_spend.nb_tx_7d`, `terminal_risk.nb_tx_1d`; request `amount`, `tx_datetime`.
pub(crate) fn definitions() -> Arc<Definitions> {
    let transactions = Source {
        name: "transactions".to_owned(),
        schema: schema(&[
            ("transaction_id", Type::Int64),
            ("tx_datetime", Type::Timestamp),
            ("customer_id", Type::Int64),
            ("terminal_id", Type::String),
            ("amount", Type::Float64),
        ]),
        event_time: 1,
        event_id: Some(0),
        max_out_of_orderness: Span::ZERO,
        allowed_lateness: Span::ZERO,
        max_future_skew: Span::ZERO,
        idle_timeout: Span::ZERO,
        when_all_idle: WhenAllIdle::Hold,
        retention: None,
    };
    let entity = |name: &str, key: &str, kind| Entity { name: name.to_owned(), keys: schema(&[(key, kind)]) };
    let feature = |view, output| FeatureRef { view, output };
    let fraud = Service {
        name: "fraud".to_owned(),
        features: vec![feature(0, 0), feature(0, 1), feature(1, 0)],
        request: schema(&[("amount", Type::Float64), ("tx_datetime", Type::Timestamp)]),
        derived: Vec::new(),
    };
    Arc::new(Definitions {
        sources: vec![transactions],
        entities: vec![entity("customer", "customer_id", Type::Int64), entity("terminal", "terminal_id", Type::String)],
        views: vec![view("customer_spend", 0, 2, &["1d", "7d"]), view("terminal_risk", 1, 3, &["1d"])],
        services: vec![fraud],
    })
}

fn schema(columns: &[(&str, Type)]) -> Schema {
    Schema { columns: columns.iter().map(|(name, kind)| Column { name: (*name).to_owned(), kind: *kind }).collect() }
}

/// Counts of events over windows.
fn view(name: &str, entity: usize, key_column: usize, windows: &[&str]) -> View {
    let rolling = |size: &str| Window::Rolling { size: Span::parse(size).expect("a duration") };
    let output = |size: &&str| Output {
        name: format!("nb_tx_{size}"),
        full_name: format!("{name}.nb_tx_{size}").into(),
        feature: 0,
        frame: Frame { window: rolling(size), bounds: Bounds::default(), delay: Span::ZERO },
        kind: OutputType::Scalar(Type::Int64),
    };
    View {
        name: name.to_owned(),
        entity,
        source: 0,
        key_columns: vec![key_column],
        columns: Vec::new(),
        column_types: Vec::new(),
        slots: vec![Slot { function: Function::Count, column: None, kind: None, filter: None }],
        features: vec![Feature {
            name: "nb_tx".to_owned(),
            function: Function::Count,
            slot: 0,
            windows: windows.iter().map(|w| rolling(w)).collect(),
            delay: Span::ZERO,
            default: Value::Null,
        }],
        outputs: windows.iter().map(output).collect(),
        bounds: Bounds::default(),
        ttl: None,
        closed_windows: ClosedWindows::Silent,
        fingerprint: entity as u64 + 1,
    }
}
