//! What is wrong with a file, and the whole message.

use super::*;

/// One feature, one error, in its line.
fn check_feature(feature: &str, expected: &str) {
    let yaml = with_features(&format!("f: {{ {feature} }}"));
    assert_eq!(errors(&yaml), [format!("13: views.spend.features.f{expected}")], "{feature}");
}

/// The plain file with one replacement, and its only error.
fn check_with(from: &str, to: &str, expected: &str) {
    let yaml = with_features("f: { count: '*', windows: [1d] }");
    assert!(yaml.contains(from), "{from}");
    check(&yaml.replacen(from, to, 1), &[expected]);
}

#[test]
fn what_is_not_a_definition_file_at_all() {
    check("", &["1: the file is empty, expected sources, entities, views and services"]);
    check("# nothing\n", &["1: the file is empty, expected sources, entities, views and services"]);
    check("- a\n- b\n", &["1: expected a mapping with keys such as sources, found a list"]);
    check("hello", &["1: expected a mapping with keys such as sources, found \"hello\""]);
    check("sources:\n\ttx: 1\n", &["2: not YAML: tabs disallowed within this context (block indentation)"]);
    check("sources: [a\nviews: b", &["2: not YAML: illegal placement of ':' indicator"]);
    check("a: &x 1\nb: *x\n", &["1: anchors (&) and aliases (*) are not offered, expected the value itself"]);
    check("a: *x\n", &["1: not YAML: while parsing node, found unknown anchor"]);
    check(
        "a: { count: *, windows: [1d] }\n",
        &[
            "1: not YAML: while scanning an anchor or alias, did not find expected alphabetic or numeric character; did you mean \"*\" in quotes?",
        ],
    );
    check("a: !!str 1\n", &["1: tags (!) are not offered, expected the value itself"]);
    check("a: 1\n---\nb: 2\n", &["2: a second document, expected one in a file"]);
    check(&"[".repeat(10_000), &["1: not YAML: recursion limit exceeded"]);
    check(&format!("a: {}", "- ".repeat(10_000)), &["1: not YAML: block sequence entries are not allowed in this context"]);
    check(
        "sources: {}\nentities:\nviews: x\n",
        &[
            "1: sources: expected a mapping of names to sources, found an empty one",
            "2: entities: expected a mapping of names to entities, found nothing",
            "3: views: expected a mapping of names to views, found \"x\"",
        ],
    );
}

#[test]
fn keys() {
    check_with(
        "    event_id: id",
        "    evnt_id: id",
        "5: sources.tx: unknown key \"evnt_id\", expected one of schema, event_time, event_id, max_out_of_orderness, allowed_lateness, max_future_skew, idle_timeout, when_all_idle, retention; did you mean \"event_id\"?",
    );
    check_with("    event_id: id", "    event_id: id\n    event_id: at", "6: sources.tx: key \"event_id\" is set twice, first in line 5");
    check_with(
        "    event_time: at\n",
        "",
        "2: sources.tx: key \"event_time\" is missing: The timestamp column that says when an event happened.",
    );
    check_with("    event_id: id", "    ? [a]\n    : b", "5: sources.tx: expected a name as key, found a list");
    check_with(
        "    event_id: id",
        "    <<: { a: b }",
        "5: sources.tx: unknown key \"<<\", expected one of schema, event_time, event_id, max_out_of_orderness, allowed_lateness, max_future_skew, idle_timeout, when_all_idle, retention",
    );
    check_with(
        "  spend:",
        "  card-spend:",
        "9: views.card-spend: \"card-spend\" is not a name, expected letters, digits and _, and no digit first",
    );
    check_with("views:", "veiws:", "8: unknown key \"veiws\", expected one of sources, entities, views, services; did you mean \"views\"?");
}

#[test]
fn sources() {
    check_with(
        "items: int64",
        "items: int32",
        "3: sources.tx.schema.items: unknown type \"int32\", expected one of bool, int64, float64, string, timestamp; did you mean \"int64\"?",
    );
    check_with(
        "items: int64",
        "items: [int64]",
        "3: sources.tx.schema.items: expected a type, one of bool, int64, float64, string, timestamp, found a list",
    );
    check_with(
        "event_time: at",
        "event_time: att",
        "4: sources.tx.event_time: unknown column \"att\", expected one of id, at, card, amount, items, fraud; did you mean \"at\"?",
    );
    check_with("event_time: at", "event_time: amount", "4: sources.tx.event_time: column \"amount\" is float64, expected timestamp");
    check_with("event_id: id", "event_id: fraud", "5: sources.tx.event_id: column \"fraud\" is bool, expected int64 or string");
    check_with(
        "event_id: id",
        "allowed_lateness: 5 minutes",
        "5: sources.tx.allowed_lateness: expected a duration such as 30s, 5m, 1h or 7d, found \"5 minutes\"",
    );
    check_with(
        "event_id: id",
        "allowed_lateness: 0",
        "5: sources.tx.allowed_lateness: expected a duration such as 30s, 5m, 1h or 7d, found \"0\"",
    );
    check_with("event_id: id", "retention: 0s", "5: sources.tx.retention: expected a duration above zero, found \"0s\"");
    check_with(
        "event_id: id",
        "when_all_idle: holt",
        "5: sources.tx.when_all_idle: unknown word \"holt\", expected one of hold, advance; did you mean \"hold\"?",
    );
}

#[test]
fn entities_and_views() {
    check_with("keys: [card]", "keys: []", "7: entities.card.keys: expected a list of key columns, found an empty list");
    check_with("keys: [card]", "keys: [card, card]", "7: entities.card.keys[1]: repeats \"card\", expected each key once");
    check_with("keys: [card]", "keys: card", "7: entities.card.keys: expected a list of key columns, found \"card\"");
    check_with(
        "keys: [card]",
        "keys: [customer]",
        "9: views.spend: source \"tx\" has no column \"customer\", a key of entity \"card\"; expected keys: { customer: COLUMN } to say which",
    );
    check_with(
        "keys: [card]",
        "keys: [amount]",
        "9: views.spend: column \"amount\" is float64, expected a key of type bool, int64, string or timestamp",
    );
    check_with(
        "  card: {",
        "  lonely: { keys: [a] }\n  card: {",
        "7: entities.lonely: no view uses it, so the types of its keys are unknown; expected a view of it",
    );
    check_with("entity: card", "entity: crad", "10: views.spend.entity: unknown entity \"crad\", expected card; did you mean \"card\"?");
    check_with("source: tx", "source: tz", "11: views.spend.source: unknown source \"tz\", expected tx; did you mean \"tx\"?");
    check_with(
        "source: tx",
        "source: tx\n    keys: { crd: card }",
        "12: views.spend.keys.crd: unknown key of entity \"card\" \"crd\", expected card; did you mean \"card\"?",
    );
    check_with(
        "source: tx",
        "source: tx\n    keys: { card: crd }",
        "12: views.spend.keys.card: unknown column \"crd\", expected one of id, at, card, amount, items, fraud; did you mean \"card\"?",
    );
    check_with(
        "source: tx",
        "source: tx\n    bounds: (",
        "12: views.spend.bounds: unknown word \"(\", expected one of (], [), [], (); did you mean \"(]\"?",
    );
    check_with("source: tx", "source: tx\n    ttl: 0s", "12: views.spend.ttl: expected a duration above zero, found \"0s\"");
    check_with(
        "source: tx",
        "source: tx\n    emit_closed_windows: yes",
        "12: views.spend.emit_closed_windows: unknown word \"yes\", expected one of false, true, discarding",
    );
    let two = with_features("f: { count: '*', windows: [1d] }")
        + "  other: { entity: card, source: tx, keys: { card: items }, features: { n: { count: '*', windows: [1d] } } }\n";
    check(&two, &["7: entities.card: views disagree on its keys: card string in \"spend\", card int64 in \"other\""]);
}

#[test]
fn functions() {
    check_feature(
        "windows: [1d]",
        ": no function, expected one of count, sum, mean, min, max, var_pop, var_samp, stddev_pop, stddev_samp, first, last, first_k, last_k, distinct, quantile, top_k, rate, time_since_last",
    );
    check_feature("sum: items, mean: items, windows: [1d]", ": both sum and mean, expected one function");
    check_feature(
        "median: items, windows: [1d]",
        ": unknown key \"median\", expected one of count, sum, mean, min, max, var_pop, var_samp, stddev_pop, stddev_samp, first, last, first_k, last_k, distinct, quantile, top_k, rate, time_since_last, windows, where, delay, default, k, q, exact_up_to; did you mean \"mean\"?",
    );
    check_feature("count: '*'", ": key \"windows\" is missing: What the function is over; one output each.");
    check_feature("sum: '*', windows: [1d]", ".sum: sum needs a column, expected \"*\" with count, rate or time_since_last only");
    check_feature(
        "sum: amout, windows: [1d]",
        ".sum: unknown column \"amout\", expected one of id, at, card, amount, items, fraud; did you mean \"amount\"?",
    );
    check_feature("sum: card, windows: [1d]", ".sum: sum needs a bool, int64 or float64 column, \"card\" is string");
    check_feature("stddev_pop: fraud, windows: [1d]", ".stddev_pop: stddev_pop needs an int64 or float64 column, \"fraud\" is bool");
    check_feature("quantile: amount, windows: [1d]", ": quantile needs the key \"q\", a number in 0..=1");
    check_feature("quantile: amount, q: 99, windows: [1d]", ".q: expected a number in 0..=1, found \"99\"");
    check_feature("last_k: amount, k: 0, windows: [1d]", ".k: expected a whole number in 1..=1000, found \"0\"");
    check_feature("last_k: amount, k: 1.5, windows: [1d]", ".k: expected a whole number in 1..=1000, found \"1.5\"");
    check_feature("top_k: amount, windows: [1d]", ": top_k needs the key \"k\", a whole number in 1..=1000");
    check_feature("mean: amount, k: 3, windows: [1d]", ".k: mean has no k, expected it with first_k, last_k, top_k");
    check_feature("distinct: card, exact_up_to: 0, windows: [1d]", ".exact_up_to: expected a whole number in 1..=100000, found \"0\"");
    check_feature(
        "rate: '*', windows: [lifetime]",
        ": a rate needs a window of fixed length, found lifetime; expected rolling, tumbling or sliding",
    );
    check_feature(
        "rate: '*', windows: [1h, { session: 1h }]",
        ": a rate needs a window of fixed length, found session_1h; expected rolling, tumbling or sliding",
    );
    check_feature(
        "mean: amount, windows: [1d], default: none",
        ".default: expected a value of type float64, which the feature gives, found \"none\"",
    );
    check_feature(
        "count: '*', windows: [1d], default: 0.5",
        ".default: expected a value of type int64, which the feature gives, found \"0.5\"",
    );
    check_feature("last_k: amount, k: 2, windows: [1d], default: 0", ".default: expected a list of float64, found \"0\"");
    check_feature("count: '*', windows: [1d], delay: -1d", ".delay: expected a duration such as 30s, 5m, 1h or 7d, found \"-1d\"");
    check_feature(
        "count: '*', windows: [1d], where: amount",
        ".where: expected an expression that is true or false, found one of type float64",
    );
    check_feature(
        "count: '*', windows: [1d], where: amuont > 3",
        ".where: unknown name \"amuont\", expected one of id, at, card, amount, items, fraud; did you mean \"amount\"?",
    );
    check_feature("count: '*', windows: [1d], where: amount >", ".where: cannot be read as SQL: expected an expression, found its end");
    check(
        &with_features("a: { sum: items, windows: [{ tumbling: 1d }] }\na_tumbling: { sum: items, windows: [1d] }"),
        &["14: views.spend.features.a_tumbling: gives \"a_tumbling_1d\", as feature \"a\" does; expected another name"],
    );
}

#[test]
fn windows() {
    let windows = |text: &str, expected: &str| check_feature(&format!("count: '*', windows: {text}"), expected);
    windows("[]", ".windows: expected a list of windows, found an empty list");
    windows("1d", ".windows: expected a list of windows, found \"1d\"");
    windows("[1 day]", ".windows[0]: expected a window such as 1d, { sliding: 1h, every: 5m } or lifetime, found \"1 day\"");
    windows("[0s]", ".windows[0]: expected a duration above zero, found \"0s\"");
    windows("[1d, 24h]", ".windows[1]: repeats the window 1d, expected each once");
    windows("[{ tumbling: 1h, every: 5m }]", ".windows[0].every: a tumbling window has no every, expected it with sliding");
    windows("[{ session: 1h, offset: 5m }]", ".windows[0].offset: a session window has no offset, expected it with tumbling or sliding");
    windows("[{ sliding: 1h }]", ".windows[0]: a sliding window needs the key \"every\": the distance of two starts");
    windows("[{ sliding: 1h, every: 0s }]", ".windows[0].every: expected a duration above zero, found \"0s\"");
    windows(
        "[{ sliding: 7d, every: 1s }]",
        ".windows[0].every: an event would be in more than 10000 windows of 7d, expected a longer distance",
    );
    windows(
        "[{ tumbling: 1h, offset: 1h }]",
        ".windows[0].offset: expected an offset shorter than 1h, the distance of two windows, found 1h",
    );
    windows(
        "[{ tumbling: 1h, offset: -61m }]",
        ".windows[0].offset: expected an offset shorter than 1h, the distance of two windows, found -1h1m",
    );
    windows(
        "[{ hopping: 1h, every: 1m }]",
        ".windows[0]: unknown key \"hopping\", expected one of rolling, tumbling, sliding, session, every, offset",
    );
    windows("[{ tumbling: 1h, session: 1h }]", ".windows[0]: both tumbling and session, expected one kind of window");
    windows("[[1d]]", ".windows[0]: expected a window such as 1d, { sliding: 1h, every: 5m } or lifetime, found a list");
}

#[test]
fn services() {
    let service = |text: &str, expected: &[&str]| {
        let features = "n: { count: '*', windows: [1d, 7d] }\nlast: { last_k: amount, k: 2, windows: [1d] }";
        let yaml = format!("{}services:\n  s:\n    {text}\n", with_features(features));
        check(&yaml, expected);
    };
    service("features: []", &["17: services.s.features: expected a list of features, view.output or view.*, found an empty list"]);
    service("features: [spend]", &["17: services.s.features[0]: expected view.output or view.*, found \"spend\""]);
    service("features: [spnd.*]", &["17: services.s.features[0]: unknown view \"spnd\", expected spend; did you mean \"spend\"?"]);
    service(
        "features: [spend.n_1h]",
        &[
            "17: services.s.features[0]: unknown output of view \"spend\" \"n_1h\", expected one of n_1d, n_7d, last_1d; did you mean \"n_1d\"?",
        ],
    );
    service("features: [spend.n_1d, spend.*]", &["17: services.s.features[1]: repeats spend.n_1d, expected each feature once"]);
    service(
        "features: [spend.n_1d]\n    request: { a: flaot64 }",
        &[
            "18: services.s.request.a: unknown type \"flaot64\", expected one of bool, int64, float64, string, timestamp; did you mean \"float64\"?",
        ],
    );
    service(
        "features: [spend.n_1d]\n    request: { a: float64 }\n    derived: { a: spend.n_1d }",
        &["19: services.s.derived.a: a request field is called \"a\" too, expected another name"],
    );
    service(
        "features: [spend.n_1d]\n    derived: { r: a / spend.n_1d }",
        &["18: services.s.derived.r: unknown name \"a\", expected spend.n_1d"],
    );
    service(
        "features: [spend.n_1d]\n    derived: { r: spend.n_7d }",
        &["18: services.s.derived.r: spend.n_7d is not in this service, expected it under features"],
    );
    service(
        "features: [spend.*]\n    derived: { r: spend.last_1d }",
        &["18: services.s.derived.r: spend.last_1d is a list, expected a feature with one value"],
    );
    service(
        "features: [spend.*]\n    derived: { r: spend.n_1d, q: r + 1 }",
        &["18: services.s.derived.q: r is a derived feature, expected features of views and request fields only"],
    );
    service(
        "features: [spend.*]\n    derived:",
        &["18: services.s.derived: expected a mapping of names to derived features, found nothing"],
    );
    let two_types = "sources:
  a: { schema: { at: timestamp, id: int64 }, event_time: at }
  b: { schema: { at: timestamp, id: string }, event_time: at }
entities:
  x: { keys: [id] }
  y: { keys: [id] }
views:
  p: { entity: x, source: a, features: { n: { count: '*', windows: [1d] } } }
  q: { entity: y, source: b, features: { n: { count: '*', windows: [1d] } } }
services:
  s: { features: [p.*, q.*] }
";
    check(two_types, &["11: services.s: key \"id\" is int64 in entity \"x\" and string in entity \"y\", expected one type"]);
}

#[test]
fn everything_is_told_at_once_and_nothing_twice() {
    check(
        "sources:
  tx:
    schema: { at: timestamp, card: strng }
    event_time: at
entities:
  card: { keys: [card] }
views:
  spend:
    entity: card
    source: tx
    features:
      a: { sum: amount, windows: [1d] }
      b: { colum: amount, windows: [1x] }
services:
  s:
    features: [spend.*, other.*]
",
        &[
            "3: sources.tx.schema.card: unknown type \"strng\", expected one of bool, int64, float64, string, timestamp; did you mean \"string\"?",
            "13: views.spend.features.b: unknown key \"colum\", expected one of count, sum, mean, min, max, var_pop, var_samp, stddev_pop, stddev_samp, first, last, first_k, last_k, distinct, quantile, top_k, rate, time_since_last, windows, where, delay, default, k, q, exact_up_to",
            "13: views.spend.features.b.windows[0]: expected a window such as 1d, { sliding: 1h, every: 5m } or lifetime, found \"1x\"",
            "16: services.s.features[1]: unknown view \"other\", expected spend",
        ],
    );
}

proptest::proptest! {
    /// A file with a piece cut out or put elsewhere is read or refused with an error that has a line, never a panic.
    #[test]
    fn no_file_is_fatal(from in 0_usize..1_600, length in 0_usize..40, to in 0_usize..1_600) {
        let mut text: Vec<char> = include_str!("../../../../examples/fraud/floodmark.yaml").chars().skip(330).collect();
        let end = (from + length).min(text.len());
        let piece: Vec<char> = text.drain(from.min(end)..end).collect();
        let at = to.min(text.len());
        text.splice(at..at, piece);
        let text: String = text.into_iter().collect();
        if let Err(found) = Definitions::parse("f.yaml", &text) {
            proptest::prop_assert!(!found.errors.is_empty(), "{}", text);
            proptest::prop_assert!(found.errors.iter().all(|error| error.line >= 1 && !error.message.is_empty()), "{}", found);
        }
    }
}
