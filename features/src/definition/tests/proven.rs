//! What a file proves.

use super::*;
use crate::lookup::Lookup;

const FRAUD: &str = include_str!("../../../../examples/fraud/floodmark.yaml");

#[test]
fn the_fraud_example() {
    let definitions = Arc::new(proven(FRAUD));
    let names = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(names(definitions.views.iter().map(|view| &view.name).collect()), "customer_spend customer_burst terminal_risk");
    assert_eq!(names(definitions.services.iter().map(|service| &service.name).collect()), "fraud fraud_live");
    let lookup = Lookup::of_service(definitions.clone(), 0);
    assert_eq!(
        lookup.columns.join("\n"),
        "customer_spend.nb_tx_1d
customer_spend.nb_tx_7d
customer_spend.nb_tx_30d
customer_spend.avg_amount_1d
customer_spend.avg_amount_7d
customer_spend.avg_amount_30d
terminal_risk.nb_tx_1d
terminal_risk.nb_tx_7d
terminal_risk.nb_tx_30d
terminal_risk.risk_1d
terminal_risk.risk_7d
terminal_risk.risk_30d
amount_ratio"
    );
    let burst: Vec<&str> = definitions.views[1].outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(burst, ["nb_tx_session_30m", "nb_tx_sliding_1h_5m", "nb_tx_tumbling_1d"]);

    let source = &definitions.sources[0];
    assert_eq!((source.event_time, source.event_id), (1, Some(0)));
    assert_eq!(source.max_out_of_orderness, Span::from_secs(60));
    assert_eq!((source.max_future_skew, source.idle_timeout), (Span::from_secs(600), Span::from_secs(60)));
    let risk = &definitions.views[2];
    assert_eq!((&risk.key_columns, &risk.columns, &risk.column_types), (&vec![3], &vec![5], &vec![Type::Bool]));
    assert_eq!(risk.features[1].default, Value::Float(0.0));
    assert_eq!(risk.outputs[4].frame.delay, Span::from_secs(7 * 86_400));
    assert_eq!(definitions.entities[1].keys.columns[0].kind, Type::Int64);
    assert_eq!(definitions.services[0].derived[0].expression.inputs(), [4, 12], "the mean over 7d, and the first request field");
}

#[test]
fn every_function_has_its_type_and_equal_partials_share_a_slot() {
    let definitions = proven(&with_features(
        "a: { count: '*', windows: [1h] }
         b: { count: items, windows: [1h] }
         c: { sum: items, windows: [1h] }
         d: { sum: amount, windows: [1h] }
         e: { mean: items, windows: [1h] }
         f: { sum: fraud, windows: [1h] }
         g: { min: card, windows: [1h], default: none }
         h: { max: at, windows: [1h], default: 2018-04-01 00:00:00 }
         i: { var_pop: amount, windows: [1h] }
         j: { stddev_samp: amount, windows: [1h], default: null }
         k: { first: fraud, windows: [1h], default: true }
         l: { last_k: amount, k: 3, windows: [1h], default: [1, 2.5] }
         m: { distinct: card, windows: [1h] }
         n: { quantile: amount, q: 0.5, windows: [1h] }
         o: { quantile: amount, q: 0.99, windows: [1h] }
         p: { top_k: card, k: 2, windows: [1h] }
         q: { rate: '*', windows: [1h] }
         r: { rate: '*', windows: [1h], where: amount > 100 }
         s: { count: '*', windows: [2h], where: 100 < amount }
         t: { time_since_last: '*', windows: [lifetime] }",
    ));
    let view = &definitions.views[0];
    let rows = view.outputs.iter().map(|output| {
        let feature = &view.features[output.feature];
        let kind = match output.kind {
            OutputType::Scalar(kind) => kind.to_string(),
            OutputType::List(kind) => format!("[{kind}]"),
        };
        format!("{} {kind} {} {}", output.name, feature.slot, feature.default)
    });
    assert_eq!(
        rows.collect::<Vec<_>>().join("\n"),
        "a_1h int64 0 null
b_1h int64 1 null
c_1h int64 2 null
d_1h float64 3 null
e_1h float64 2 null
f_1h int64 4 null
g_1h string 5 none
h_1h timestamp 6 2018-04-01T00:00:00.000000Z
i_1h float64 7 null
j_1h float64 7 null
k_1h bool 8 true
l_1h [float64] 9 [1, 2.5]
m_1h int64 10 null
n_1h float64 11 null
o_1h float64 11 null
p_1h [string] 12 null
q_1h float64 0 null
r_1h float64 13 null
s_2h int64 13 null
t_lifetime float64 14 null"
    );
    assert_eq!(view.columns, [1, 2, 3, 4, 5]);
    assert_eq!(view.slots[10].function, Function::Distinct { exact_up_to: 1024 });
    assert_eq!(view.features[14].function, Function::Quantile { q: 0.99 });
    let filter = view.slots[13].filter.as_ref().expect("a filter");
    assert_eq!(filter.inputs(), [2], "by the view's columns");
}

#[test]
fn every_kind_of_window() {
    let definitions = proven(
        &with_features(
            "n:
           count: '*'
           windows:
             - 90m
             - { rolling: 1d }
             - { tumbling: 1d, offset: 8h }
             - { sliding: 1h, every: 2h, offset: -100ms }
             - { session: 30m }
             - lifetime",
        )
        .replace("      count", "        count")
        .replace("      windows", "        windows")
        .replace("      - ", "          - "),
    );
    let names: Vec<&str> = definitions.views[0].outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["n_1h30m", "n_1d", "n_tumbling_1d_offset_8h", "n_sliding_1h_2h_offset_-100ms", "n_session_30m", "n_lifetime"]);
}

#[test]
fn everything_a_source_and_a_view_may_set() {
    let definitions = proven(
        "sources:
  tx:
    schema: { id: string, at: timestamp, who: bool }
    event_time: at
    event_id: id
    allowed_lateness: 1h30m
    idle_timeout: 5s
    when_all_idle: advance
    retention: 30d
entities:
  person: { keys: [person] }
views:
  visits:
    entity: person
    source: tx
    keys: { person: who }
    bounds: '[)'
    ttl: 7d
    emit_closed_windows: discarding
    features: { n: { count: '*', windows: [{ tumbling: 1h }] } }
",
    );
    let (source, view) = (&definitions.sources[0], &definitions.views[0]);
    assert_eq!(source.allowed_lateness, Span::from_secs(5400));
    assert_eq!((source.when_all_idle, source.retention), (WhenAllIdle::Advance, Some(Span::from_secs(30 * 86_400))));
    assert_eq!((source.max_out_of_orderness, source.idle_timeout), (Span::ZERO, Span::from_secs(5)));
    assert_eq!((view.bounds, view.closed_windows), (Bounds::ClosedOpen, ClosedWindows::Discarding));
    assert_eq!(view.ttl, Some(Span::from_secs(7 * 86_400)));
    assert_eq!(view.key_columns, [2]);
    assert_eq!(definitions.entities[0].keys.columns[0].name, "person");
    assert_eq!(definitions.entities[0].keys.columns[0].kind, Type::Bool);
}

#[test]
fn the_fingerprint_changes_with_what_a_value_is_worth_only() {
    let text = with_features("n: { count: '*', windows: [1h], where: amount > 1 }");
    let of = |text: &str| proven(text).views[0].fingerprint;
    let same = |from: &str, to: &str| assert_eq!(of(&text), of(&text.replace(from, to)), "{from} -> {to}");
    let differs = |from: &str, to: &str| assert_ne!(of(&text), of(&text.replace(from, to)), "{from} -> {to}");
    same("amount > 1", "1.0 < (amount)");
    same("items: int64", "items: float64");
    same("{ id: int64,", "{ note: string, id: int64,");
    same("event_time: at", "retention: 7d\n    idle_timeout: 9s\n    event_time: at");
    same("source: tx", "emit_closed_windows: true\n    source: tx");
    differs("amount > 1", "amount > 2");
    differs("1h", "2h");
    differs("amount: float64", "amount: int64");
    differs("card: string", "card: int64");
    differs("event_time: at", "allowed_lateness: 7d\n    event_time: at");
    differs("source: tx", "ttl: 1d\n    source: tx");
    differs("source: tx", "bounds: '[]'\n    source: tx");
    differs("windows: [1h]", "windows: [1h], delay: 1h");
    // Stored fingerprints outlive the program: this number may only change together with the first line of the text.
    assert_eq!(format!("{:016x}", proven(FRAUD).views[0].fingerprint), "3667681455c99fdf");
}
