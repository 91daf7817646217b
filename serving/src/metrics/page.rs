//! The page that a scraper reads: Prometheus' text format, version 0.0.4. It is a recorder of `metrics`, and writes down what it is told.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use metrics::atomics::AtomicU64;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::catalog::Kind;

/// A page in the making: metrics in the order in which they are described, the lines of each in the order in which they are told.
#[derive(Default)]
pub(super) struct Page {
    described: RefCell<Vec<Described>>,
    /// By name and labels, as they are written.
    lines: RefCell<HashMap<String, Line>>,
}

struct Described {
    name: KeyName,
    kind: Kind,
    help: SharedString,
}

struct Line {
    /// The place of its metric, and its own.
    place: (usize, usize),
    /// What is counted, or the bits of a float; `read` knows which.
    value: Arc<AtomicU64>,
    read: fn(u64) -> f64,
}

impl Page {
    /// The text of what is told meanwhile on this thread.
    pub(super) fn of(told: impl FnOnce()) -> String {
        let page = Page::default();
        metrics::with_local_recorder(&page, told);
        page.text()
    }

    /// All metrics that have a line; what nobody described comes last, without a heading.
    fn text(self) -> String {
        let described = self.described.into_inner();
        let mut lines: Vec<(String, Line)> = self.lines.into_inner().into_iter().collect();
        lines.sort_unstable_by_key(|(_, line)| line.place);
        let mut text = String::new();
        for lines in lines.chunk_by(|(_, one), (_, next)| one.place.0 == next.place.0) {
            if let Some(Described { name, kind, help }) = described.get(lines[0].1.place.0) {
                let (name, kind) = (name.as_str(), format!("{kind:?}").to_lowercase());
                let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}"); // a String takes all
            }
            for (key, Line { value, read, .. }) in lines {
                let _ = writeln!(text, "{key} {}", Number(read(value.load(Ordering::Relaxed))));
            }
        }
        text
    }

    fn describe(&self, name: KeyName, kind: Kind, help: SharedString) {
        self.described.borrow_mut().push(Described { name, kind, help });
    }

    /// The value of a line, which is begun if there is none.
    fn line(&self, key: &Key, read: fn(u64) -> f64) -> Arc<AtomicU64> {
        let described = self.described.borrow();
        let place = described.iter().position(|described| described.has(key.name())).unwrap_or(usize::MAX);
        let mut lines = self.lines.borrow_mut();
        let place = (place, lines.len());
        lines.entry(text_of(key)).or_insert_with(|| Line { place, value: Arc::default(), read }).value.clone()
    }
}

impl Described {
    /// Whether a line of that name is one of its lines.
    fn has(&self, name: &str) -> bool {
        match name.strip_prefix(self.name.as_str()) {
            Some("") => true,
            Some("_bucket" | "_sum" | "_count") => self.kind == Kind::Histogram,
            _ => false,
        }
    }
}

impl Recorder for Page {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, Kind::Counter, help);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, Kind::Gauge, help);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, help: SharedString) {
        self.describe(name, Kind::Histogram, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.line(key, |count| count as f64))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.line(key, f64::from_bits))
    }

    /// Takes nothing: histograms come counted, as lines of their own ([`tell`](super::tell)).
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn text_of(key: &Key) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = key.labels().map(|label| format!("{}=\"{}\"", label.key(), escaped(label.value()))).collect();
    match labels.as_slice() {
        [] => key.name().to_owned(),
        labels => format!("{}{{{}}}", key.name(), labels.join(",")),
    }
}

/// As the format writes numbers.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            x if x == f64::INFINITY => f.write_str("+Inf"),
            x if x == f64::NEG_INFINITY => f.write_str("-Inf"),
            x => write!(f, "{x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::{ALL, CALL_SECONDS, HTTP_IN_FLIGHT, MODEL_LOAD_FAILURES, Metric, WATERMARK};
    use super::*;

    #[test]
    fn the_format_is_kept() {
        let text = Page::of(|| {
            ALL.iter().for_each(|metric| metric.describe());
            WATERMARK.set(&["a\"b\\c\nd"], f64::INFINITY);
            CALL_SECONDS.observed(&["grpc", "m"], &[0.5, 1.0], &[2, 0, 1], 3.25);
            MODEL_LOAD_FAILURES.count(&["file"], 18_014_398_509_481_984);
            MODEL_LOAD_FAILURES.count(&["golden"], 1);
            HTTP_IN_FLIGHT.set(&[], 1.0);
        });
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        assert_eq!(
            lines,
            [
                "# TYPE floodmark_call_duration_seconds histogram",
                r#"floodmark_call_duration_seconds_bucket{transport="grpc",method="m",le="0.5"} 2"#,
                r#"floodmark_call_duration_seconds_bucket{transport="grpc",method="m",le="1"} 2"#,
                r#"floodmark_call_duration_seconds_bucket{transport="grpc",method="m",le="+Inf"} 3"#,
                r#"floodmark_call_duration_seconds_sum{transport="grpc",method="m"} 3.25"#,
                r#"floodmark_call_duration_seconds_count{transport="grpc",method="m"} 3"#,
                "# TYPE floodmark_http_requests_in_flight gauge",
                "floodmark_http_requests_in_flight 1",
                "# TYPE floodmark_source_watermark_seconds gauge",
                r#"floodmark_source_watermark_seconds{source="a\"b\\c\nd"} +Inf"#,
                "# TYPE floodmark_model_load_failures_total counter",
                r#"floodmark_model_load_failures_total{step="file"} 18014398509481984"#,
                r#"floodmark_model_load_failures_total{step="golden"} 1"#,
            ]
        );
    }

    #[test]
    fn a_line_is_there_once_and_none_is_lost() {
        let text = Page::of(|| {
            metrics::gauge!("nobody_described").set(0.5);
            HTTP_IN_FLIGHT.describe();
            HTTP_IN_FLIGHT.set(&[], 1.0);
            HTTP_IN_FLIGHT.set(&[], 2.0);
            metrics::counter!("floodmark_http_requests_in_flight_count").increment(3);
        });
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = ["floodmark_http_requests_in_flight 2", "nobody_described 0.5", "floodmark_http_requests_in_flight_count 3"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn names_say_what_they_are() {
        for metric in ALL {
            let (name, counter) = (metric.name, metric.kind == Kind::Counter);
            assert!(name.starts_with("floodmark_") && name.ends_with("_total") == counter, "{name}");
            assert_eq!(ALL.iter().filter(|other| other.name == name).count(), 1, "{name}");
            assert!(metric.help.ends_with('.') && !metric.help.contains('\n'), "{name}");
        }
    }

    #[test]
    fn the_page_of_documentation_has_the_same() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = std::fs::read_to_string(path).expect("docs/metrics.md");
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with("| `floodmark_")).collect();
        let row = |metric: &&Metric| {
            let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            format!("| `{}` | {} | {labels} | {} |", metric.name, format!("{:?}", metric.kind).to_lowercase(), metric.help)
        };
        let expected: Vec<String> = ALL.iter().map(row).collect();
        assert_eq!(found, expected, "the rows should be:\n{}", expected.join("\n"));
    }
}
