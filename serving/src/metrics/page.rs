//! The page that a scraper reads: Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use super::catalog::{ALL, Kind, Metric};

/// Metrics in the making, each with its lines.
#[derive(Default)]
pub(super) struct Page {
    lines: Vec<(&'static str, String)>,
}

/// Observations by size.
pub(super) struct Histogram<'a> {
    /// The greatest observation of each class but the last.
    pub(super) bounds: &'a [f64],
    /// The observations of each class.
    pub(super) counts: &'a [u64],
    /// All of them added.
    pub(super) sum: f64,
}

impl Page {
    /// Adds a counter or gauge, with the values of its labels.
    pub(super) fn one(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        let labels = labels_of(metric, labels);
        let lines = self.of(metric);
        line(lines, metric.name, "", &labels, value);
    }

    /// Adds a histogram.
    pub(super) fn histogram(&mut self, metric: &Metric, labels: &[&str], of: &Histogram<'_>) {
        let labels = labels_of(metric, labels);
        let lines = self.of(metric);
        let mut upto = 0;
        for (at, count) in of.counts.iter().enumerate() {
            upto += count;
            let bound = of.bounds.get(at).copied().unwrap_or(f64::INFINITY);
            let separator = if labels.is_empty() { "" } else { "," };
            line(lines, metric.name, "_bucket", &format!("{labels}{separator}le=\"{}\"", Number(bound)), upto as f64);
        }
        line(lines, metric.name, "_sum", &labels, of.sum);
        line(lines, metric.name, "_count", &labels, upto as f64);
    }

    fn of(&mut self, metric: &Metric) -> &mut String {
        let at = self.lines.iter().position(|(name, _)| *name == metric.name).unwrap_or_else(|| {
            let name = ALL.iter().find(|known| known.name == metric.name).map_or("", |known| known.name);
            self.lines.push((name, String::new()));
            self.lines.len() - 1
        });
        &mut self.lines[at].1
    }

    /// All metrics that have a line, in the order of the catalog.
    pub(super) fn text(self) -> String {
        let mut text = String::new();
        for metric in ALL {
            let Some((_, lines)) = self.lines.iter().find(|(name, _)| *name == metric.name) else { continue };
            let kind = match metric.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name); // a String takes all
            text.push_str(lines);
        }
        text
    }
}

fn labels_of(metric: &Metric, values: &[&str]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let one = |(name, value): (&&str, &&str)| format!("{name}=\"{}\"", escaped(value));
    metric.labels.iter().zip(values).map(one).collect::<Vec<_>>().join(",")
}

fn line(into: &mut String, name: &str, suffix: &str, labels: &str, value: f64) {
    let value = Number(value);
    let _ = match labels {
        "" => writeln!(into, "{name}{suffix} {value}"),
        _ => writeln!(into, "{name}{suffix}{{{labels}}} {value}"),
    };
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
    use super::super::catalog::{CALL_SECONDS, HTTP_IN_FLIGHT, MODEL_LOAD_FAILURES, WATERMARK};
    use super::*;

    #[test]
    fn the_format_is_kept() {
        let mut page = Page::default();
        page.one(&WATERMARK, &["a\"b\\c\nd"], f64::INFINITY);
        page.histogram(&CALL_SECONDS, &["grpc", "m"], &Histogram { bounds: &[0.5, 1.0], counts: &[2, 0, 1], sum: 3.25 });
        page.one(&MODEL_LOAD_FAILURES, &["file"], 18_014_398_509_481_984.0);
        page.one(&MODEL_LOAD_FAILURES, &["golden"], 1.0);
        page.one(&HTTP_IN_FLIGHT, &[], 1.0);
        let text = page.text();
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
