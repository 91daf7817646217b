//! Models are swapped again and again while scores are asked for: none fails, none is of two minds, and memory stays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use floodmark_proto::v1;
use floodmark_proto::v1::model_service_client::ModelServiceClient;
use floodmark_proto::v1::score_service_client::ScoreServiceClient;
use tonic::transport::Channel;

use crate::score::{by_keys, copy, score, server};

const SWAPS: u64 = 200;
/// By then everything has been loaded, dropped and loaded again often enough.
const SETTLED: u64 = 40;
/// What resident memory may differ by, later: less than four of the example's model with its sessions.
const MOST_GROWTH: u64 = 24 << 20;

/// Version 2 is version 1 with the other class as its score: where one says s, it says 1 - s.
fn write_opposite(models: &Path) {
    let folder = models.join("fraud/2");
    copy(&models.join("fraud/1"), &folder);
    let edit = |file: &str, change: fn(&mut serde_json::Value)| {
        let path = folder.join(file);
        let mut json = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        change(&mut json);
        std::fs::write(path, json.to_string()).expect("it is written");
    };
    edit("manifest.json", |manifest| manifest["score"]["column"] = 0.into());
    edit("golden.json", |golden| {
        for row in golden["rows"].as_array_mut().expect("rows") {
            row["score"] = (1.0 - row["score"].as_f64().expect("a score")).into();
        }
    });
}

struct Swaps {
    operator: ModelServiceClient<Channel>,
}

impl Swaps {
    async fn to(&mut self, version: u64) {
        let load = v1::LoadModelRequest { model: "fraud".to_owned(), version: Some(version) };
        self.operator.load_model(load).await.expect("a model");
        let label = v1::LabelModelRequest { model: "fraud".to_owned(), label: "stable".to_owned(), version: Some(version) };
        self.operator.label_model(label).await.expect("a label");
    }
}

#[tokio::test]
async fn two_hundred_swaps_are_seen_by_nobody() {
    let home = tempfile::tempdir().expect("a directory");
    let Some((running, models)) = server(home.path()) else { return };
    write_opposite(&models);
    let client = ScoreServiceClient::connect(running.address.clone()).await.expect("a server");
    let mut swaps = Swaps { operator: ModelServiceClient::connect(running.address.clone()).await.expect("a server") };
    swaps.to(1).await;
    let question = by_keys(7, 99.0, 30);
    let expected = score(&client, question.clone()).await.expect("a score").rows[0].score;
    let (over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new([AtomicU64::new(0), AtomicU64::new(0)]));
    let ask = |n: usize| {
        let (client, question, over, answers) = (client.clone(), question.clone(), over.clone(), answers.clone());
        tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let row = score(&client, question.clone()).await.unwrap_or_else(|status| panic!("caller {n}: {status}")).rows.remove(0);
                let right = if row.model_version == 1 { expected } else { 1.0 - expected };
                assert!((row.score - right).abs() < 1e-6, "version {} says {}, not {right}", row.model_version, row.score);
                answers[row.model_version as usize - 1].fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let callers: Vec<_> = (0..4).map(ask).collect();
    let mut settled = 0;
    for swap in 1..=SWAPS {
        swaps.to(1 + swap % 2).await;
        if swap == SETTLED {
            settled = running.resident();
        }
    }
    let resident = running.resident();
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no caller fails");
    }
    let [first, second] = [&answers[0], &answers[1]].map(|count| count.load(Ordering::Relaxed));
    eprintln!("swaps={SWAPS} answers by version: {first}, {second}; resident after {SETTLED} swaps {settled} bytes, at the end {resident}");
    assert!(first > SWAPS && second > SWAPS, "both versions answered");
    assert!(resident < settled + MOST_GROWTH, "resident memory grew from {settled} to {resident} bytes");
}
