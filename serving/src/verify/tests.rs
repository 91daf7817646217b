//! What counts as a fault, as skew, and as neither, with answers made up.

use super::*;

/// Answers everything with what it is told.
struct Told {
    services: Vec<v1::ServiceInfo>,
    score: Result<v1::ScoreRow, &'static str>,
    now: f64,
    corrected: f64,
}

impl Again for Told {
    fn services(&self) -> &[v1::ServiceInfo] {
        &self.services
    }

    fn score(&mut self, requests: &[v1::ScoreRequest]) -> Vec<Result<v1::ScoreResponse, Status>> {
        let answer = |_: &v1::ScoreRequest| match &self.score {
            Ok(row) => Ok(v1::ScoreResponse { rows: vec![row.clone()], ..Default::default() }),
            Err("") => Err(Status::unavailable("gone")),
            Err(reason) => {
                let details = tonic_types::ErrorDetails::with_error_info(*reason, "floodmark", std::collections::HashMap::new());
                Err(Status::with_error_details(tonic::Code::NotFound, "no", details))
            }
        };
        requests.iter().map(answer).collect()
    }

    fn look_up(&mut self, requests: &[v1::GetFeaturesRequest]) -> Vec<Result<v1::GetFeaturesResponse, Status>> {
        let answer = |request: &v1::GetFeaturesRequest| {
            assert_eq!(request.version, None);
            let value = if request.mode() == v1::Mode::AsCorrected { self.corrected } else { self.now };
            let row = v1::FeatureRow { values: vec![float(value)], ..Default::default() };
            Ok(v1::GetFeaturesResponse { rows: vec![row], ..Default::default() })
        };
        requests.iter().map(answer).collect()
    }
}

fn float(x: f64) -> v1::Value {
    v1::Value { kind: Some(Kind::DoubleValue(x)) }
}

/// A row with one feature.
fn served(feature: f64, provisional: u32) -> v1::ScoreRow {
    v1::ScoreRow { score: 0.5, features: vec![float(feature)], provisional, ..Default::default() }
}

fn record(row: v1::ScoreRow) -> v1::Prediction {
    let request = v1::ScoreRequest { model: "m".to_owned(), rows: vec![v1::EntityRow::default()], version: Some(3), ..Default::default() };
    v1::Prediction { request: Some(request), outcome: Some(Outcome::Row(row)), columns_id: 7, ..Default::default() }
}

fn told(score: Result<v1::ScoreRow, &'static str>, now: f64, corrected: f64) -> Told {
    let columns = vec![v1::FeatureInfo { name: "spend.n".to_owned(), ..Default::default() }];
    let services = vec![v1::ServiceInfo { name: "all".to_owned(), columns, columns_id: 7, ..Default::default() }];
    Told { services, score, now, corrected }
}

fn verify(record: v1::Prediction, told: Told) -> Report {
    let mut verifier = Verifier::new(told);
    verifier.take(&[record]).expect("a report");
    verifier.finish()
}

#[test]
fn what_is_the_same_bit_for_bit_holds() {
    let report = verify(record(served(2.0, 0)), told(Ok(served(2.0, 0)), 2.0, 5.0));
    assert!(report.holds() && report.equal == 1);
    let skew = report.skew.features["spend.n"];
    assert_eq!((skew.now.changed, skew.corrected.changed, skew.corrected.mean_distance()), (0, 1, Some(3.0)));
}

#[test]
fn a_bit_that_differs_is_a_fault() {
    let again = v1::ScoreRow { score: -0.0, ..served(2.0 + f64::EPSILON * 2.0, 0) };
    let report = verify(record(v1::ScoreRow { score: 0.0, ..served(2.0, 0) }), told(Ok(again), 2.0, 2.0));
    assert!(!report.holds());
    assert_eq!((report.compared, report.equal, report.features_differ, report.scores_differ), (1, 0, 1, 1));
    let worst: Vec<&What> = report.worst.iter().map(|difference| &difference.what).collect();
    assert_eq!(worst, [&What::Feature("spend.n".to_owned()), &What::Score], "the greatest first");
}

#[test]
fn provisional_values_may_move_and_final_ones_must_not() {
    let moved = verify(record(served(2.0, 1)), told(Ok(served(2.0, 1)), 3.0, 4.0));
    assert!(moved.holds());
    assert_eq!((moved.skew.changed, moved.skew.features["spend.n"].now.mean_distance()), (1, Some(1.0)));
    let fault = verify(record(served(2.0, 0)), told(Ok(served(2.0, 0)), 3.0, 4.0));
    assert!(!fault.holds());
    assert_eq!((fault.skew.final_changed(), fault.worst[0].found), (1, Found::Final));
    // Of two features, this one was final.
    let mixed = v1::Prediction { provisional_features: vec![false, true], ..record(served(2.0, 1)) };
    assert!(!verify(mixed, told(Ok(served(2.0, 1)), 3.0, 4.0)).holds());
    // Its own event has come since, as it really was.
    let mut own = record(served(2.0, 0));
    own.request.as_mut().expect("a report").rows[0].event = Some(v1::OwnEvent::default());
    let mut of_stream = own.clone();
    of_stream.set_origin(v1::PredictionOrigin::Stream);
    assert!(!verify(of_stream, told(Ok(served(2.0, 0)), 3.0, 4.0)).holds(), "that of a stream had come already");
    let own = verify(own, told(Ok(served(2.0, 0)), 3.0, 4.0));
    assert!(own.holds() && own.skew.features["spend.n"].by_own_event == 1);
}

#[test]
fn what_cannot_be_compared_is_counted_by_its_reason() {
    let reason = |report: &Report| report.not_comparable.keys().next().cloned().unwrap_or_default();
    let columns = verify(v1::Prediction { columns_id: 8, ..record(served(2.0, 0)) }, told(Ok(served(2.0, 0)), 2.0, 2.0));
    assert!(reason(&columns).contains("columns_id"), "{columns:?}");
    assert!(!columns.holds(), "nothing was compared");
    let model = verify(record(served(2.0, 0)), told(Err("MODEL_NOT_READY"), 2.0, 2.0));
    assert!(reason(&model).contains("model=m"), "{model:?}");
    let old = verify(record(served(2.0, 0)), told(Err("BEFORE_RETENTION"), 2.0, 2.0));
    assert!(reason(&old).contains("retained"), "{old:?}");
    // A row that had a score and has none now differs; so does one that had none.
    let refused = verify(record(served(2.0, 0)), told(Err("SCORE_NOT_FINITE"), 2.0, 2.0));
    assert_eq!((refused.scores_differ, &refused.worst[0].what), (1, &What::Outcome));
    let error = || Some(Outcome::Error(v1::ScoreError { reason: "SCORE_NOT_FINITE".to_owned(), ..Default::default() }));
    let failed = || v1::Prediction { outcome: error(), ..record(served(2.0, 0)) };
    assert!(verify(failed(), told(Err("SCORE_NOT_FINITE"), 2.0, 2.0)).holds());
    assert!(!verify(failed(), told(Ok(served(2.0, 0)), 2.0, 2.0)).holds());
    let gone = Verifier::new(told(Err(""), 2.0, 2.0)).take(&[record(served(2.0, 0))]);
    assert!(gone.expect_err("no server").to_string().contains("gone"), "a server that does not answer is no difference");
}
