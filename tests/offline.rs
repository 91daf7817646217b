//! The offline store, read by deltalake, Polars and DuckDB: each accepted event is one row there, whatever is killed when.

mod s3;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::clients::python;
use crate::crash::{Chance, DEFINITIONS, kill_until_it_ends, state, write_payments};
use crate::flight::write_spine;
use crate::harness::real::{batches, floodmark, ints, text};

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
        kills += kill_until_it_ends(&mut chance, whole, || replay(home, &name));
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
    let said = refused(&home.join("offline"), &text(&home.join("third")));
    assert!(said.contains("the tables there are of another store"), "{said}");
    let Some(found) = read(&[home.join("offline")]) else { return };
    assert_eq!(found[0]["events"]["deltalake"], serde_json::json!([2, 2, 3]));
}

#[test]
fn a_duplicate_and_an_event_that_no_view_counts_are_no_rows() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    let hourly = "views:\n  v: { entity: card, source: payments, features: { n: { count: '*', windows: [1h] } } }\n";
    let definitions = DEFINITIONS.split("  shop:").next().expect("sources").to_owned() + hourly;
    std::fs::write(home.join("definitions.yaml"), definitions).expect("definitions");
    let day = 86_400_000_000_i64;
    let payment =
        |id: i64, at: i64| format!("{{\"id\":{id},\"at\":{},\"card\":1,\"shop\":\"a\",\"amount\":1.5}}\n", 1_700_000_000_000_000 + at);
    let payments = [payment(1, 0), payment(1, 0), payment(2, 10 * day), payment(3, day), payment(2, 10 * day), "{\n".to_owned()];
    std::fs::write(home.join("payments.jsonl"), payments.concat()).expect("payments");
    // Once they wait until the store is at rest, once they are taken at once.
    for (name, interval) in [("later", "60000"), ("at-once", "1")] {
        let store = text(&home.join(name).join("store"));
        let offline = text(&home.join(name).join("offline"));
        let definitions = text(&home.join("definitions.yaml"));
        let input = format!("payments={}", text(&home.join("payments.jsonl")));
        let command = ["replay", "--json", "--definitions", &definitions, "--store", &store, "--offline", &offline];
        let report = floodmark(&[&command[..], &["--offline-interval", interval, &input]].concat());
        let outcomes = ["accepted", "late", "duplicates", "rejected"].map(|outcome| report[outcome].as_u64());
        assert_eq!(outcomes, [2, 1, 2, 1].map(Some));
        let Some(found) = read(&[home.join(name).join("offline")]) else { return };
        assert_eq!(found[0]["events"]["polars"], serde_json::json!([2, 2, 3]));
        assert_eq!(["late", "rejects", "windows"].map(|table| found[0][table].as_u64()), [1, 1, 0].map(Some));
    }
}

/// A view that nobody thought of when the events came.
const NEW_VIEW: &str = "
  habits:
    entity: card
    source: payments
    features:
      biggest: { max: amount, windows: [2d] }
      shops: { distinct: shop, windows: [12h, { session: 1h }] }
";

#[test]
fn history_gives_the_training_sets_of_the_store_and_of_views_that_are_new() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    std::fs::write(home.join("definitions.yaml"), DEFINITIONS).expect("definitions");
    let newer = DEFINITIONS.replace("\nservices:", &format!("{NEW_VIEW}services:")).replace("shop_load.*]", "shop_load.*, habits.*]");
    std::fs::write(home.join("new.yaml"), &newer).expect("definitions");
    write_payments(&home.join("payments.jsonl"));
    write_spine(&home.join("spine.parquet"));
    let taken = replay(home, "old").wait_with_output().expect("an end");
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let at = |name: &str| text(&home.join(name));
    let made = |of: &[&str], name: &str, more: &[&str]| {
        let out = at(name);
        let spine = at("spine.parquet");
        let common = ["training-set", "--json", "--service", "all", "--spine", &spine, "--time", "at", "--event-id", "id", "--out", &out];
        floodmark(&[&common, of, more].concat());
        batches(&home.join(name))
    };
    let (definitions, newer) = (at("definitions.yaml"), at("new.yaml"));
    let (store, offline) = (at("old/store"), at("old/offline"));
    let history = ["--offline", &offline, "--definitions", &definitions];
    // A version in the middle of them all.
    let events = std::fs::read_dir(home.join("old/offline/events/payments")).expect("a folder").flatten().map(|entry| entry.path());
    let events = events.filter(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    let mut versions: Vec<i64> = events.flat_map(|path| batches(&path)).flat_map(|batch| ints(&batch, "_version")).collect();
    versions.sort_unstable();
    let middle = versions[versions.len() / 2].to_string();
    for more in [&["--mode", "as-served"][..], &["--mode", "as-corrected"], &["--version", &middle]] {
        let (of_store, of_history) = (made(&["--store", &store], "store.parquet", more), made(&history, "history.parquet", more));
        assert!(of_store == of_history, "{more:?}");
    }
    let replayed = ["replay", "--json", "--definitions", &newer, "--store", &at("anew")];
    floodmark(&[&replayed[..], &[&format!("payments={}", at("payments.jsonl"))]].concat());
    let anew = made(&["--store", &at("anew")], "anew.parquet", &[]);
    let of_history = made(&["--offline", &offline, "--definitions", &newer], "history.parquet", &[]);
    assert_eq!(of_history[0].num_columns(), 34 + 8 + 3);
    assert!(anew == of_history, "a view that is new");
    let elsewhere = ["training-set", "--offline", &at("nowhere"), "--definitions", &definitions, "--service", "all"];
    let spine = ["--spine", &at("spine.parquet"), "--time", "at", "--out", &at("no.parquet")];
    let refused = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(elsewhere).args(spine).output().expect("the floodmark command");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("no events of the source are kept there"), "{said}");
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
