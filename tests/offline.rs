//! The offline store, read by deltalake, Polars and DuckDB: each accepted event is one row there, whatever is killed when.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::clients::python;
use crate::crash::{Chance, DEFINITIONS, state, write_payments};
use crate::harness::real::{floodmark, text};

/// Kills, unless FLOODMARK_KILLS says another number.
const KILLS: usize = 12;

#[test]
fn after_kills_of_ingest_and_flush_each_accepted_event_is_one_row() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    std::fs::write(home.join("definitions.yaml"), DEFINITIONS).expect("definitions");
    write_payments(&home.join("payments.jsonl"));
    let began = std::time::Instant::now();
    let quiet = replay(home, "quiet").wait_with_output().expect("an end");
    assert!(quiet.status.success(), "{}", String::from_utf8_lossy(&quiet.stderr));
    let whole = began.elapsed().as_millis() as u64;

    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos() as u64 | 1;
    let mut chance = Chance(seed);
    let mut names = vec!["quiet".to_owned()];
    let most = std::env::var("FLOODMARK_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut kills = 0;
    while kills < most {
        let name = format!("killed-{}", names.len());
        loop {
            let mut child = replay(home, &name);
            std::thread::sleep(Duration::from_millis(chance.below(whole + whole / 4)));
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            child.kill().expect("a kill");
            child.wait().expect("an end");
            kills += 1;
        }
        let end = replay(home, &name).wait_with_output().expect("an end");
        assert!(end.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&end.stderr));
        names.push(name);
    }
    let Some(found) = read(&names.iter().map(|name| home.join(name).join("offline")).collect::<Vec<_>>()) else { return };
    let (expected, quiet) = (state(&home.join("quiet/store")), &found[0]);
    for (name, found) in names.iter().zip(&found) {
        eprintln!("{name}: {found}");
        let counted = &found["events"]["deltalake"];
        assert_eq!(
            (counted[0].as_u64(), counted[1].as_u64()),
            (Some(expected.tally.accepted), Some(expected.tally.accepted)),
            "seed {seed}"
        );
        assert!(["polars", "duckdb"].iter().all(|reader| found["events"][reader] == *counted), "seed {seed}");
        assert_eq!(found["digest"], quiet["digest"], "seed {seed}");
        let side = ["late", "rejects", "windows"].map(|table| found[table].as_u64());
        assert_eq!(
            side,
            [expected.late.len(), expected.rejected.len(), expected.closed.len()].map(|rows| Some(rows as u64)),
            "seed {seed}"
        );
    }
    eprintln!("{kills} kills over {} stores, seed {seed}", names.len() - 1);
}

#[test]
fn a_store_has_its_offline_store_from_the_beginning_or_not_at_all() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    std::fs::write(home.join("definitions.yaml"), DEFINITIONS).expect("definitions");
    let line = r#"{"id":1,"at":1700000000000000,"card":1,"shop":"a","amount":1.5}"#;
    std::fs::write(home.join("payments.jsonl"), format!("{line}\n")).expect("a payment");
    let input = format!("payments={}", text(&home.join("payments.jsonl")));
    let (definitions, store) = (text(&home.join("definitions.yaml")), text(&home.join("store")));
    let command = ["replay", "--json", "--definitions", &definitions, "--store", &store];
    floodmark(&[&command[..], &[&input]].concat());
    let refused = |place: &Path, store: &str| {
        let command = ["replay", "--json", "--definitions", &definitions, "--store", store, "--offline", &text(place), &input];
        let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(command).output().expect("the floodmark command");
        assert!(!run.status.success());
        String::from_utf8(run.stderr).expect("text")
    };
    let said = refused(&home.join("offline"), &store);
    assert!(said.contains("the store has events that no offline store holds: replay the input into a new directory"), "{said}");
    // Another has it from the beginning, and needs not be told again.
    let other = text(&home.join("other"));
    let command = ["replay", "--json", "--definitions", &definitions, "--store", &other];
    floodmark(&[&command[..], &["--offline", &text(&home.join("offline")), &input]].concat());
    let said = refused(&home.join("elsewhere"), &other);
    assert!(said.contains("the store's events are kept at"), "{said}");
    let second = r#"{"id":2,"at":1700000001000000,"card":1,"shop":"a","amount":2.5}"#;
    std::fs::write(home.join("payments.jsonl"), format!("{line}\n{second}\n")).expect("payments");
    assert_eq!(floodmark(&[&command[..], &[&input]].concat())["read"], 1);
    let Some(found) = read(&[home.join("offline")]) else { return };
    assert_eq!(found[0]["events"]["deltalake"], serde_json::json!([2, 2, 3]));
}

/// Takes the payments into `NAME/store`, kept in `NAME/offline`, with a flush as often as it can.
fn replay(home: &Path, name: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_floodmark"))
        .args(["replay", "--json", "--offline-interval", "1", "--definitions"])
        .arg(home.join("definitions.yaml"))
        .arg("--store")
        .arg(home.join(name).join("store"))
        .arg("--offline")
        .arg(home.join(name).join("offline"))
        .arg(format!("payments={}", home.join("payments.jsonl").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the floodmark command")
}

/// What readers find in each folder; `None` if there is no Python for them.
fn read(folders: &[PathBuf]) -> Option<Vec<Value>> {
    let python = python("offline", "tests/offline/requirements.txt")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/offline/readers.py");
    let output = Command::new(python).arg(script).args(folders).output().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}
