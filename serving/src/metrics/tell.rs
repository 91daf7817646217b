//! How a number is told: through the facade `metrics`, by its entry in the catalog, to whatever recorder listens. For a scrape that is
//! the [page](super::page).
//!
//! Two things the facade has no word for. Its counters are whole, so a counter of seconds is told as a gauge is; what it is has been
//! described. Its histograms take observations one by one, and these are counted by class already: they are told as the counters that
//! Prometheus makes of a histogram (`_bucket` up to each bound, `_count`, and `_sum`), so no observation is made up and a sum stays exact.

use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::catalog::{Kind, Metric};

impl Metric {
    /// Tells what it is.
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.help),
            Kind::Histogram => describe_histogram!(self.name, self.help),
        }
    }

    /// Tells how far a counter has come, with the values of its labels.
    pub(super) fn count(&self, labels: &[&str], count: u64) {
        counter!(self.name, self.labelled(labels)).absolute(count);
    }

    /// Tells a gauge, or a counter that has fractions.
    pub(super) fn set(&self, labels: &[&str], value: f64) {
        gauge!(self.name, self.labelled(labels)).set(value);
    }

    /// Tells a histogram: the greatest observation of each class but the last, the observations of each class, all of them added.
    pub(super) fn observed(&self, labels: &[&str], bounds: &[f64], counts: &[u64], sum: f64) {
        let part = |suffix| format!("{}{suffix}", self.name);
        let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let mut upto = 0;
        for (bound, count) in bounds.zip(counts) {
            upto += count;
            let mut labels = self.labelled(labels);
            labels.push(Label::new("le", bound));
            counter!(part("_bucket"), labels).absolute(upto);
        }
        gauge!(part("_sum"), self.labelled(labels)).set(sum);
        counter!(part("_count"), self.labelled(labels)).absolute(upto);
    }

    fn labelled(&self, values: &[&str]) -> Vec<Label> {
        self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
    }
}
