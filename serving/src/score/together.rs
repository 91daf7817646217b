//! Scoring outside of a server: any number of requests at once, with the models that are loaded.

use floodmark_proto::v1;
use tonic::Status;

use super::Scores;
use super::job::run_together;

impl Scores {
    /// Scores requests in one run for each model; an answer for each, in their order.
    pub(crate) fn score_together(&self, requests: &[v1::ScoreRequest]) -> Vec<Result<v1::ScoreResponse, Status>> {
        let (mut jobs, mut refused) = (Vec::new(), Vec::new());
        for request in requests {
            let prepared = self.job(request, None).map(|job| jobs.push(job));
            refused.push(prepared.err());
        }
        let mut answers = run_together(jobs).into_iter();
        let broken = || Err(Status::internal("the model's run broke off"));
        let answer = |refusal: Option<_>| match refusal {
            Some(refusal) => Err(Status::from(refusal)),
            None => answers.next().unwrap_or_else(broken),
        };
        refused.into_iter().map(answer).collect()
    }
}
