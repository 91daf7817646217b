//! Requests that are refused, and by what name.

use floodmark_proto::v1::get_features_request::What;
use floodmark_store::ReadError;
use tonic::Code;
use tonic_types::StatusExt;

use floodmark_features::value::ValueRef;

use super::*;
use crate::asked::MAX_ROWS;
use crate::testing::definitions;

fn text(text: &str) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::StringValue(text.to_owned())) }
}

fn int(i: i64) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::Int64Value(i)) }
}

fn float(x: f64) -> v1::Value {
    v1::Value { kind: Some(v1::value::Kind::DoubleValue(x)) }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// A request that is right: the tests spoil it.
fn fraud() -> v1::GetFeaturesRequest {
    v1::GetFeaturesRequest {
        what: Some(What::Service("fraud".to_owned())),
        key_names: names(&["terminal_id", "customer_id"]),
        rows: vec![v1::EntityRow { keys: vec![text("t-7"), int(596)], ..v1::EntityRow::default() }],
        ..v1::GetFeaturesRequest::default()
    }
}

fn features(of: &[&str]) -> v1::GetFeaturesRequest {
    let features = v1::FeatureNames { names: names(of) };
    v1::GetFeaturesRequest { what: Some(What::Features(features)), ..fraud() }
}

/// The scored event of every row, with these columns.
fn with_event(columns: &[&str], event: v1::OwnEvent) -> v1::GetFeaturesRequest {
    let mut request = fraud();
    request.event_shape = Some(v1::EventShape { source: "transactions".to_owned(), columns: names(columns) });
    request.rows[0].event = Some(event);
    request
}

/// What the store would be asked, in short.
fn ask(request: &v1::GetFeaturesRequest) -> Result<String, Refusal> {
    let plans = Plans::new(definitions());
    let plan = planned(&plans, request)?;
    let asked = Asked::of(&plan, Spine::from(request))?;
    let mut lines = Vec::new();
    for at in 0..request.rows.len() {
        let mut values = Vec::new();
        asked.read_values(at, &mut values)?;
        let own = asked.own_event(at)?;
        let as_of = asked.as_of(at, own.as_ref(), Time::from_micros(1_000))?;
        let own = own.map(|o| format!(" own={}@{} {:?}", o.id, o.time.micros(), o.fields)).unwrap_or_default();
        let values: Vec<String> = values.into_iter().map(|v| ValueRef::to_value(v).to_string()).collect();
        lines.push(format!("{} @{}{own}", values.join(" "), as_of.micros()));
    }
    Ok(lines.join("; "))
}

/// Code, reason, field and message of a refusal.
fn refused(request: &v1::GetFeaturesRequest) -> (Code, String, String, String) {
    let status = Status::from(ask(request).expect_err("a refusal"));
    let details = status.get_error_details();
    let reason = details.error_info().map(|i| i.reason.clone()).unwrap_or_default();
    let field = details.bad_request().map(|b| b.field_violations[0].field.clone()).unwrap_or_default();
    (status.code(), reason, field, status.message().to_owned())
}

fn check_refused(request: &v1::GetFeaturesRequest, code: Code, reason: &str, field: &str, message: &str) {
    assert_eq!(refused(request), (code, reason.to_owned(), field.to_owned(), message.to_owned()));
}

#[test]
fn keys_come_in_the_order_of_the_look_up_and_missing_fields_are_null() {
    assert_eq!(ask(&fraud()).expect("right"), "596 t-7 null null @1000");
    let mut request = fraud();
    request.request_names = names(&["tx_datetime"]);
    request.rows[0].request = vec![text("1970-01-01T00:00:00Z")];
    assert_eq!(ask(&request).expect("right"), "596 t-7 null 1970-01-01T00:00:00.000000Z @1000");
}

#[test]
fn lists_of_names_need_the_keys_of_their_views_only() {
    let mut request = features(&["customer_spend.*"]);
    request.key_names = names(&["customer_id"]);
    request.rows[0].keys = vec![int(596)];
    assert_eq!(ask(&request).expect("right"), "596 @1000");
    check_refused(
        &features(&["customer_spend.*"]),
        Code::InvalidArgument,
        "UNKNOWN_NAME",
        "key_names[0]",
        "name is not one of the keys. name=terminal_id expected=customer_id",
    );
}

#[test]
fn a_misspelt_name_is_answered_with_the_nearest() {
    let service = v1::GetFeaturesRequest { what: Some(What::Service("fruad".to_owned())), ..fraud() };
    check_refused(&service, Code::NotFound, "UNKNOWN_SERVICE", "service", "no such service, did you mean fraud? service=fruad");
    check_refused(
        &features(&["customer_spend.nb_tx_1d", "customer_spend.nb_tx_7"]),
        Code::NotFound,
        "UNKNOWN_FEATURE",
        "features.names[1]",
        "no such feature, did you mean customer_spend.nb_tx_7d? feature=customer_spend.nb_tx_7",
    );
    let (_, _, _, message) = refused(&features(&["customer_sped.*"]));
    assert_eq!(message, "no such feature, did you mean customer_spend.*? feature=customer_sped.*");
    let mut request = fraud();
    request.key_names[1] = "custmer_id".to_owned();
    check_refused(
        &request,
        Code::InvalidArgument,
        "UNKNOWN_NAME",
        "key_names[1]",
        "name is not one of the keys, did you mean customer_id? name=custmer_id expected=customer_id,terminal_id",
    );
}

#[test]
fn a_name_too_long_for_a_header_is_cut() {
    let (_, _, _, message) = refused(&features(&["ü".repeat(100_000).as_str()]));
    assert!(message.chars().count() < 200, "{message}");
}

#[test]
fn keys_that_are_missing_null_or_of_the_wrong_type_are_named() {
    let mut request = fraud();
    request.key_names.pop();
    check_refused(
        &request,
        Code::InvalidArgument,
        "MISSING_KEY",
        "key_names",
        "a key is missing. key=customer_id expected=customer_id,terminal_id",
    );
    request = fraud();
    request.rows.push(v1::EntityRow { keys: vec![text("t-8"), text("596")], ..v1::EntityRow::default() });
    check_refused(
        &request,
        Code::InvalidArgument,
        "WRONG_TYPE",
        "rows[1].keys[1]",
        "key has the wrong type. key=customer_id expected=int64 found=string field=rows[1].keys[1]",
    );
    request.rows[1].keys[1] = v1::Value::default();
    check_refused(
        &request,
        Code::InvalidArgument,
        "NULL_VALUE",
        "rows[1].keys[1]",
        "key is null, but needs a value. key=customer_id field=rows[1].keys[1]",
    );
    request.rows[1].keys.pop();
    assert_eq!(refused(&request).1, "ROW_LENGTH");
    request = fraud();
    request.key_names = names(&["customer_id", "customer_id"]);
    assert_eq!(refused(&request).1, "NAME_TWICE");
}

#[test]
fn a_request_has_bounds() {
    let mut request = fraud();
    request.rows = vec![request.rows[0].clone(); MAX_ROWS + 1];
    check_refused(
        &request,
        Code::InvalidArgument,
        "TOO_MANY_ROWS",
        "rows",
        "too many rows in one request; send several. rows=10001 most=10000",
    );
    assert_eq!(refused(&v1::GetFeaturesRequest::default()).1, "NOTHING_ASKED");
    assert_eq!(refused(&features(&[])).1, "NOTHING_ASKED");
    assert_eq!(refused(&features(&["terminal_risk.*", "terminal_risk.nb_tx_1d"])).1, "FEATURE_TWICE");
    assert_eq!(refused(&v1::GetFeaturesRequest { mode: 7, ..fraud() }).1, "UNKNOWN_MODE");
}

#[test]
fn the_as_of_time_is_the_rows_then_the_requests_then_the_events_then_now() {
    let event = v1::OwnEvent { id: Some(int(1)), time_micros: Some(500), ..v1::OwnEvent::default() };
    let mut request = with_event(&[], event);
    let time_of = |request: &v1::GetFeaturesRequest| {
        let asked = ask(request).expect("right");
        asked.split(['@', ' ']).nth(5).expect("a time").to_owned()
    };
    assert_eq!(time_of(&request), "500");
    request.as_of_micros = Some(600);
    assert_eq!(time_of(&request), "600");
    request.rows[0].as_of_micros = Some(700);
    assert_eq!(time_of(&request), "700");
    request.rows[0].as_of_micros = Some(i64::MIN);
    assert_eq!(refused(&request).2, "rows[0].as_of_micros");
}

#[test]
fn what_a_request_leaves_out_is_taken_from_the_event() {
    let columns = ["transaction_id", "tx_datetime", "customer_id", "terminal_id", "amount"];
    let values = vec![int(9), text("1970-01-01T00:00:00.000005Z"), int(596), text("t-7"), float(2.5)];
    let mut whole = with_event(&columns, v1::OwnEvent { values, ..v1::OwnEvent::default() });
    (whole.key_names, whole.rows[0].keys) = (Vec::new(), Vec::new());
    let all = ask(&whole).expect("right");
    assert!(all.starts_with("596 t-7 2.5 1970-01-01T00:00:00.000005Z @5 own=9@5 "), "{all}");
    let mut said = whole.clone();
    (said.request_names, said.rows[0].request) = (names(&["amount"]), vec![float(7.0)]);
    assert!(ask(&said).expect("right").starts_with("596 t-7 7 "), "what is said by itself goes first");
    let mut nameless = whole.clone();
    nameless.event_shape.as_mut().expect("a shape").columns[2] = "fraud".to_owned();
    assert_eq!(refused(&nameless).1, "UNKNOWN_NAME");
    let mut keyless = whole.clone();
    keyless.event_shape.as_mut().expect("a shape").columns.truncate(2);
    keyless.rows[0].event.as_mut().expect("an event").values.truncate(2);
    assert_eq!(refused(&keyless).1, "MISSING_KEY");
    whole.rows[0].event.as_mut().expect("an event").values[3] = v1::Value::default();
    assert_eq!(refused(&whole).2, "rows[0].event");
}

#[test]
fn an_event_says_its_id_and_time_once() {
    let bare = v1::OwnEvent { id: Some(int(9)), time_micros: Some(5), ..v1::OwnEvent::default() };
    assert_eq!(ask(&with_event(&[], bare.clone())).expect("right"), "596 t-7 null 1970-01-01T00:00:00.000005Z @5 own=9@5 None");
    let columns = ["amount", "transaction_id", "tx_datetime"];
    let fields = "Some([Int(9), Time(1970-01-01T00:00:00.000005Z), Null, Null, Float(2.5)])";
    let among = vec![float(2.5), int(9), text("1970-01-01T00:00:00.000005Z")];
    let all = v1::OwnEvent { values: among.clone(), ..v1::OwnEvent::default() };
    assert_eq!(ask(&with_event(&columns, all)).expect("right"), format!("596 t-7 2.5 1970-01-01T00:00:00.000005Z @5 own=9@5 {fields}"));
    let twice = v1::OwnEvent { values: among, ..bare.clone() };
    assert_eq!(
        ask(&with_event(&columns, twice.clone())).expect("right"),
        format!("596 t-7 2.5 1970-01-01T00:00:00.000005Z @5 own=9@5 {fields}")
    );
    let beside = v1::OwnEvent { values: vec![float(2.5)], ..bare.clone() };
    assert_eq!(
        ask(&with_event(&["amount"], beside)).expect("right"),
        format!("596 t-7 2.5 1970-01-01T00:00:00.000005Z @5 own=9@5 {fields}")
    );

    let differs = v1::OwnEvent { id: Some(int(8)), ..twice };
    assert_eq!(refused(&with_event(&columns, differs)).1, "EVENT_DISAGREES");
    assert_eq!(refused(&with_event(&[], v1::OwnEvent { id: None, ..bare.clone() })).1, "EVENT_INCOMPLETE");
    assert_eq!(refused(&with_event(&[], v1::OwnEvent { time_micros: None, ..bare.clone() })).1, "EVENT_INCOMPLETE");
    assert_eq!(refused(&with_event(&[], v1::OwnEvent { id: Some(text("9")), ..bare.clone() })).2, "rows[0].event.id");
    let mut shapeless = with_event(&[], bare.clone());
    shapeless.event_shape = None;
    assert_eq!(refused(&shapeless).1, "NO_EVENT_SHAPE");
    let mut unknown = with_event(&[], bare);
    unknown.event_shape.as_mut().expect("a shape").source = "transaction".to_owned();
    assert_eq!(refused(&unknown).3, "no such source, did you mean transactions? source=transaction");
}

#[test]
fn what_the_store_refuses_has_a_code_of_its_own() {
    let status = |error| Status::from(Refusal::Read { error, field: "rows[0]".to_owned() });
    let oldest = Time::from_micros(0);
    let early = ReadError::BeforeRetention { as_of: Time::from_micros(-1), oldest, source_name: "transactions".to_owned() };
    let early = status(early);
    assert_eq!(early.code(), Code::OutOfRange);
    assert_eq!(early.get_details_error_info().expect("info").metadata["oldest"], "1970-01-01T00:00:00.000000Z");
    assert_eq!(status(ReadError::VersionInFuture { version: 9, newest: 8 }).code(), Code::FailedPrecondition);
    assert_eq!(status(ReadError::Storage(floodmark_features::codec::Damaged { what: "disk" }.into())).code(), Code::Internal);
}

#[test]
fn lists_are_remembered_up_to_a_bound() {
    let plans = Plans::new(definitions());
    let first = plans.list(&names(&["terminal_risk.*"])).expect("a view");
    let again = plans.list(&names(&["terminal_risk.*"])).expect("a view");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(first.columns_id, plans.list(&names(&["terminal_risk.nb_tx_1d"])).expect("the same").columns_id);
    assert_ne!(first.columns_id, plans.service("fraud").expect("a service").columns_id);
}
