//! What models have scored, as Triton's statistics say it.

use std::sync::Arc;
use std::time::Duration;

use floodmark_models::model::Model;
use floodmark_models::registry::State;
use floodmark_proto::inference::{InferStatistics, ModelStatistics, ModelStatisticsResponse, StatisticDuration};

use super::{Inference, Refusal};

impl Inference {
    /// Of one version, of all ready versions of a model, or of all models.
    pub(super) fn statistics(&self, name: &str, version: &str) -> Result<ModelStatisticsResponse, Refusal> {
        let models: Vec<Arc<Model>> = match (name, version, &self.scores) {
            ("", _, None) => Vec::new(),
            ("", _, Some(scores)) => {
                let ready = scores.models().list().into_iter().filter(|status| status.state == State::Ready);
                ready.filter_map(|status| self.pick(&status.model, &status.version.to_string()).ok()).map(|(_, model)| model).collect()
            }
            (name, "", Some(scores)) => {
                self.pick(name, "")?;
                scores.models().versions(name).map_err(Refusal::Model)?
            }
            (name, version, _) => vec![self.pick(name, version)?.1],
        };
        Ok(ModelStatisticsResponse { model_stats: models.iter().map(|model| of(model)).collect() })
    }
}

fn of(model: &Model) -> ModelStatistics {
    let (counts, calls) = (model.counts(), model.counts().calls());
    let all = calls.succeeded + calls.failed;
    ModelStatistics {
        name: model.name().to_owned(),
        version: model.version().to_string(),
        last_inference: u64::try_from(counts.last_call().as_millis()).unwrap_or(u64::MAX),
        inference_count: model.scored().rows,
        execution_count: counts.runs(),
        inference_stats: Some(InferStatistics {
            success: duration(calls.succeeded, calls.succeeded_time),
            fail: duration(calls.failed, calls.failed_time),
            queue: duration(all, calls.queue_time),
            compute_input: duration(all, calls.input_time),
            compute_infer: duration(all, calls.model_time),
            compute_output: duration(all, Duration::ZERO),
        }),
    }
}

fn duration(count: u64, time: Duration) -> Option<StatisticDuration> {
    Some(StatisticDuration { count, ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) })
}
