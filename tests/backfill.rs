//! Views that are added to a store (`--backfill`): computed from the offline store they are those that had always been there, while the
//! others go on, and whatever comes, repeats itself or is killed meanwhile.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::crash::{Chance, DEFINITIONS, kill_until_it_ends, write_payments};
use crate::follow::{ASKED, Answering, HOUR, START, are, ask, client, kept, new_definitions, payments, push, until};
use crate::harness::real::{batches, floodmark, printed, text};
use crate::pipeline::world::metrics;
use crate::push::start_telling;

/// Views of each kind behind those that there were: on the same rows, on other columns of them, on an entity of their own, by sessions and
/// for a lifetime.
fn grown() -> String {
    let views = "  more:
    entity: card
    source: payments
    features:
      n: { count: \"*\", windows: [3h, 5d, { session: 20m }, lifetime] }
      mean: { mean: amount, windows: [5d] }
      few: { first_k: shop, k: 3, windows: [2d] }
  pairs:
    entity: pair
    source: payments
    features:
      n: { count: \"*\", windows: [4d, { tumbling: 1d }] }
      last: { time_since_last: \"*\", windows: [4d] }
services:
  old: { features: [spend.*, sessions.*, shop_load.*] }
  new: { features: [more.*, pairs.*] }
  both: { features: [spend.*, more.*] }
";
    let services = DEFINITIONS.find("services:\n").expect("services");
    let before = &DEFINITIONS[..services];
    format!("{}{views}", before.replace("  shop: { keys: [shop] }\n", "  shop: { keys: [shop] }\n  pair: { keys: [card, shop] }\n"))
}

/// A folder with payments in two parts and both definitions.
struct Home(tempfile::TempDir);

impl Home {
    fn new(first: usize) -> Home {
        let home = Home(tempfile::tempdir().expect("a directory"));
        write_payments(&home.path("all.jsonl"));
        let all = std::fs::read_to_string(home.path("all.jsonl")).expect("lines");
        let lines: Vec<&str> = all.lines().collect();
        // The second part repeats some of the first.
        let write = |name: &str, lines: &[&str]| std::fs::write(home.path(name), lines.join("\n") + "\n").expect("lines");
        write("first.jsonl", &lines[..first]);
        write("second.jsonl", &lines[first - 500..]);
        std::fs::write(home.path("old.yaml"), DEFINITIONS).expect("definitions");
        std::fs::write(home.path("grown.yaml"), grown()).expect("definitions");
        home
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        text(&self.path(name))
    }

    fn replay(&self, definitions: &str, store: &str, part: &str, more: &[&str]) -> Value {
        let (definitions, store, input) = (self.at(definitions), self.at(store), format!("payments={}", self.at(part)));
        floodmark(&[&["replay", "--json", "--definitions", &definitions, "--store", &store], more, &[&input]].concat())
    }

    /// A training set of a service from a store: cards and shops at random, as of random times.
    fn answers(&self, store: &str, service: &str, mode: &str) -> Vec<arrow::array::RecordBatch> {
        let out = self.at(&format!("{store}-{service}-{mode}.parquet"));
        let (definitions, store, spine) = (self.at("grown.yaml"), self.at(store), self.at("spine.parquet"));
        let of = ["--definitions", &definitions, "--store", &store, "--service", service, "--mode", mode, "--statuses"];
        printed(&[&["training-set"], &of[..], &["--time", "at", "--spine", &spine, "--out", &out]].concat());
        batches(Path::new(&out))
    }

    fn write_spine(&self, chance: &mut Chance) {
        use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
        let rows = 0..20_000;
        let cards: Int64Array = rows.clone().map(|_| Some(chance.below(900) as i64)).collect();
        let shops: StringArray = rows.clone().map(|_| Some(format!("s{}", chance.below(41)))).collect();
        let times: TimestampMicrosecondArray = rows.map(|_| Some(START + chance.below(160 * HOUR as u64) as i64 - 10 * HOUR)).collect();
        let columns: [(&str, ArrayRef); 3] =
            [("card", std::sync::Arc::new(cards)), ("shop", std::sync::Arc::new(shops)), ("at", std::sync::Arc::new(times))];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(std::fs::File::create(self.path("spine.parquet")).expect("a file"), batch.schema(), None)
                .expect("a writer");
        writer.write(&batch).expect("rows");
        writer.close().expect("a footer");
    }

    /// Both stores say the same of everything, versions aside.
    fn assert_same(&self, store: &str, always: &str, seed: u64) {
        for service in ["old", "new", "both"] {
            for mode in ["as-served", "as-corrected"] {
                let [found, wanted] = [store, always].map(|store| self.answers(store, service, mode));
                assert_eq!(found, wanted, "{service} {mode}, seed {seed}");
            }
        }
    }
}

fn refused(arguments: &[&str]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command");
    assert_eq!(run.status.code(), Some(2), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stderr).expect("text")
}

#[test]
fn views_that_are_added_are_those_that_had_always_been_there() {
    let seed = 0xbac_f111;
    let home = Home::new(150_000);
    home.write_spine(&mut Chance(seed));
    let offline = home.at("offline");
    let elsewhere = home.at("elsewhere");
    // One has the views from the start, the other from the middle on. Little memory: timelines go to disk and come back.
    home.replay("grown.yaml", "always", "first.jsonl", &["--offline", &elsewhere]);
    let always = home.replay("grown.yaml", "always", "second.jsonl", &[]);
    home.replay("old.yaml", "store", "first.jsonl", &["--offline", &offline]);
    let grown = home.replay("grown.yaml", "store", "second.jsonl", &["--backfill", "--memory", "16"]);
    for outcome in ["read", "accepted", "partially_late", "late", "rejected", "duplicates"] {
        assert_eq!(grown[outcome], always[outcome], "{outcome}: each event is counted as if the views had been there");
    }
    assert!(grown["duplicates"].as_u64().is_some_and(|duplicates| duplicates > 400), "{grown}");
    home.assert_same("store", "always", seed);
    // The flag need not be said again, and says nothing new.
    home.replay("grown.yaml", "store", "second.jsonl", &[]);
    home.replay("grown.yaml", "store", "second.jsonl", &["--backfill"]);
    home.assert_same("store", "always", seed);
}

#[test]
fn a_backfill_that_is_killed_begins_anew() {
    let mut chance = Chance(0x51_11ed);
    let home = Home::new(150_000);
    home.write_spine(&mut chance);
    let (offline, elsewhere) = (home.at("offline"), home.at("elsewhere"));
    for part in ["first.jsonl", "second.jsonl"] {
        home.replay("grown.yaml", "always", part, &["--offline", &elsewhere]);
    }
    home.replay("old.yaml", "store", "first.jsonl", &["--offline", &offline]);
    let replay = || -> Child {
        Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(["replay", "--backfill", "--memory", "64", "--json", "--definitions"])
            .arg(home.path("grown.yaml"))
            .arg("--store")
            .arg(home.path("store"))
            .arg(format!("payments={}", home.at("second.jsonl")))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the floodmark command")
    };
    let kills = kill_until_it_ends(&mut chance, 5_000, replay);
    eprintln!("killed {kills} times");
    home.replay("grown.yaml", "store", "second.jsonl", &[]);
    home.assert_same("store", "always", 0x51_11ed);
}

#[test]
fn what_cannot_be_added_is_refused_with_the_way_out() {
    let home = Home::new(2_000);
    let (old, grown, store, input) =
        (home.at("old.yaml"), home.at("grown.yaml"), home.at("store"), format!("payments={}", home.at("first.jsonl")));
    floodmark(&["replay", "--definitions", &old, "--store", &store, &input]);
    let replay = |definitions: &str, more: &[&str]| {
        refused(&[&["replay", "--definitions", definitions, "--store", &store], more, &[&input]].concat())
    };
    let said = replay(&grown, &[]);
    assert!(said.contains("without `more`, `pairs`") && said.contains("--backfill"), "{said}");
    let said = replay(&grown, &["--backfill"]);
    assert!(said.contains("no offline store has them"), "{said}");
    // A read does not add anything.
    let said = refused(&["get", "--definitions", &grown, "--store", &store, "--service", "old", "card=1", "shop=s1"]);
    assert!(said.contains("--backfill"), "{said}");

    let kept = home.at("kept");
    floodmark(&["replay", "--definitions", &old, "--store", &kept, "--offline", &home.at("offline"), &input]);
    let change = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(&grown).expect("definitions");
        assert!(text.contains(from));
        std::fs::write(home.path(name), text.replacen(from, to, 1)).expect("definitions");
        refused(&["replay", "--backfill", "--definitions", &home.at(name), "--store", &kept, &input])
    };
    let said = change("emits.yaml", "  pairs:\n", "  pairs:\n    emit_closed_windows: true\n");
    assert!(said.contains("`pairs` emits closed windows"), "{said}");
    let said = change("changed.yaml", "[1h, 1d, lifetime]", "[1h, 2d, lifetime]");
    assert!(said.contains("`spend` has changed"), "{said}");
    let said = change(
        "moved.yaml",
        "  card: { keys: [card] }\n  shop: { keys: [shop] }\n",
        "  shop: { keys: [shop] }\n  card: { keys: [card] }\n",
    );
    assert!(said.contains("the entities were card, shop"), "{said}");
    // Whatever was tried, it is the store that it was.
    floodmark(&["replay", "--definitions", &old, "--store", &kept, &input]);
}

/// Takes lines into a store and is killed once they are acknowledged, with the log as it is.
async fn push_and_kill(definitions: &Path, store: &Path, lines: &[&str]) {
    let mut running = start_telling(definitions, store, &[], Stdio::inherit());
    push(&running.address, lines).await;
    running.child.kill().expect("a kill");
    running.child.wait().expect("an end");
}

#[tokio::test]
async fn a_log_that_was_left_behind_is_read_by_the_definitions_that_wrote_it() {
    let home = Home::new(20_000);
    let all = std::fs::read_to_string(home.path("first.jsonl")).expect("lines");
    let lines: Vec<&str> = all.lines().collect();
    // At first values are kept for half a day; then for ever, which is how the log is written; then the columns stand in another order.
    // Two views on the same rows with a column each, so that the order of the columns is in no view's fingerprint.
    let of_shops = "  shops:\n    entity: card\n    source: payments\n    features:\n      shops: { distinct: shop, windows: [1d] }\n";
    let apart = |text: &str| {
        text.replace("      shops: { distinct: shop, windows: [1d] }\n", of_shops).replace("[spend.*, ", "[spend.*, shops.*, ")
    };
    let (old, grown) = (apart(DEFINITIONS), apart(&grown()).replace("      few: { first_k: shop, k: 3, windows: [2d] }\n", ""));
    std::fs::write(home.path("old.yaml"), &old).expect("definitions");
    std::fs::write(home.path("grown.yaml"), &grown).expect("definitions");
    let with_retention = old.replace("    allowed_lateness: 10m\n", "    allowed_lateness: 10m\n    retention: 12h\n");
    std::fs::write(home.path("halfday.yaml"), with_retention).expect("definitions");
    let turned = grown.replace("shop: string, amount: float64", "amount: float64, shop: string");
    std::fs::write(home.path("turned.yaml"), turned).expect("definitions");
    let (halfday, store, offline) = (home.at("halfday.yaml"), home.at("store"), home.at("offline"));
    let one = lines[0];
    std::fs::write(home.path("one.jsonl"), format!("{one}\n")).expect("a line");
    let input = format!("payments={}", home.at("one.jsonl"));
    floodmark(&["replay", "--definitions", &halfday, "--store", &store, "--offline", &offline, &input]);
    push_and_kill(&home.path("old.yaml"), &home.path("store"), &lines[1..]).await;
    floodmark(&["replay", "--backfill", "--definitions", &home.at("turned.yaml"), "--store", &store, &input]);

    std::fs::write(home.path("rest.jsonl"), lines[1..].join("\n") + "\n").expect("lines");
    for part in ["one.jsonl", "rest.jsonl"] {
        home.replay("grown.yaml", "always", part, &[]);
    }
    home.write_spine(&mut Chance(0x10_9001));
    home.assert_same("store", "always", 0x10_9001);
}

/// Another source, with a view of its own that emits closed windows.
fn wider(definitions: &str) -> String {
    let devices = "  devices:\n    schema: { id: int64, at: timestamp, card: int64 }\n    event_time: at\n    event_id: id\nentities:\n";
    let view = "  seen:\n    entity: card\n    source: devices\n    emit_closed_windows: true\n    features:\n      n: { count: \"*\", windows: [{ tumbling: 1h }] }\nservices:\n";
    definitions.replacen("entities:\n", devices, 1).replacen("services:\n", view, 1)
}

fn run(arguments: &[&str]) -> (bool, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command");
    (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
}

#[tokio::test]
async fn whoever_is_refused_or_only_reads_changes_nothing() {
    let home = Home::new(5_000);
    let all = std::fs::read_to_string(home.path("first.jsonl")).expect("lines");
    let lines: Vec<&str> = all.lines().collect();
    push_and_kill(&home.path("old.yaml"), &home.path("left"), &lines).await;
    let write = |name: &str, text: &str| std::fs::write(home.path(name), text).expect("definitions");
    let short = "    allowed_lateness: 10m\n    retention: 1h\n";
    write("short.yaml", &DEFINITIONS.replace("    allowed_lateness: 10m\n", short));
    write("other.yaml", &DEFINITIONS.replace("    allowed_lateness: 10m\n", short).replace("payments", "logins"));
    write("wider.yaml", &wider(DEFINITIONS));
    write("both.yaml", &wider(&grown()));
    let get = ["get", "--service", "all", "card=1", "shop=s1"];
    let replay = ["replay"];
    let input = format!("payments={}", home.at("first.jsonl"));
    let cases = [
        ("short.yaml", &get[..], None, ""),
        ("other.yaml", &get[..], None, "the sources were payments"),
        ("wider.yaml", &get[..], None, ""),
        ("both.yaml", &get[..], None, "without `more`, `pairs`"),
        ("both.yaml", &replay[..], Some(input.as_str()), "without `more`, `pairs`"),
    ];
    home.write_spine(&mut Chance(0x5e771e));
    let answers = |store: &str| {
        let (out, store, spine) = (home.at("answers.parquet"), home.at(store), home.at("spine.parquet"));
        let (definitions, of) = (home.at("old.yaml"), ["--service", "all", "--time", "at", "--spine", &spine, "--out", &out]);
        printed(&[&["training-set", "--definitions", &definitions, "--store", &store], &of[..]].concat());
        batches(Path::new(&out))
    };
    let copy = |store: &str| {
        std::fs::create_dir(home.path(store)).expect("a folder");
        std::fs::copy(home.path("left/floodmark.redb"), home.path(store).join("floodmark.redb")).expect("a copy");
    };
    copy("untouched");
    let wanted = answers("untouched");
    for (at, (definitions, command, input, refusal)) in cases.into_iter().enumerate() {
        let store = format!("copy-{at}");
        copy(&store);
        let (definitions, directory) = (home.at(definitions), home.at(&store));
        let (done, said) = self::run(&[command, &["--definitions", &definitions, "--store", &directory], input.as_slice()].concat());
        assert!(done == refusal.is_empty() && said.contains(refusal), "{definitions}: {said}");
        assert_eq!(answers(&store), wanted, "{definitions}");
    }
}

#[test]
fn a_view_to_which_something_has_come_is_not_taken_back() {
    let home = Home::new(5_000);
    let (old, store, offline) = (home.at("old.yaml"), home.at("store"), home.at("offline"));
    let input = format!("payments={}", home.at("first.jsonl"));
    floodmark(&["replay", "--definitions", &old, "--store", &store, "--offline", &offline, &input]);
    // Its neighbour waits for an offline store that is away, and then it has late events and closed windows.
    std::fs::write(home.path("both.yaml"), wider(&grown())).expect("definitions");
    let event = |id: i64, minutes: i64| format!("{{\"id\":{id},\"at\":{},\"card\":1}}\n", START + minutes * 60_000_000);
    std::fs::write(home.path("devices.jsonl"), [event(1, 0), event(2, 300), event(3, 1)].concat()).expect("events");
    std::fs::rename(&offline, home.path("away")).expect("moved");
    let (both, devices) = (home.at("both.yaml"), format!("devices={}", home.at("devices.jsonl")));
    let up = |definitions: &str, more: &[&str]| {
        let flags = ["up", "--listen", "127.0.0.1:0", "--definitions", definitions, "--store", &store];
        let mut child = Command::new(env!("CARGO_BIN_EXE_floodmark"))
            .args(flags)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the floodmark command");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().expect("stdout")), &mut line).expect("a line");
        child.kill().expect("a kill");
        child.wait().expect("an end");
        line.contains("answers gRPC")
    };
    assert!(up(&both, &["--backfill", &devices]), "it serves, and tries again and again");
    std::fs::write(home.path("less.yaml"), wider(DEFINITIONS)).expect("definitions");
    let (done, said) = run(&["replay", "--definitions", &home.at("less.yaml"), "--store", &store, &input]);
    assert!(!done && said.contains("view `more` is missing"), "{said}");
    let lines = printed(&["late", "--json", "--store", &store]);
    assert_eq!(lines.lines().filter(|line| line.contains("devices")).count(), 1, "{lines}");
    std::fs::rename(home.path("away"), &offline).expect("moved back");
    floodmark(&["replay", "--definitions", &both, "--store", &store, &input]);
    floodmark(&["replay", "--definitions", &both, "--store", &home.at("always"), &input]);
    std::fs::rename(&both, home.path("grown.yaml")).expect("moved");
    home.write_spine(&mut Chance(0x7a4e));
    home.assert_same("store", "always", 0x7a4e);
}

#[test]
fn a_view_that_is_not_there_yet_may_be_corrected_or_taken_back() {
    let home = Home::new(5_000);
    let (old, grown_file, store, offline) = (home.at("old.yaml"), home.at("grown.yaml"), home.at("store"), home.at("offline"));
    let input = format!("payments={}", home.at("first.jsonl"));
    floodmark(&["replay", "--definitions", &old, "--store", &store, "--offline", &offline, &input]);
    // The offline store is away: nothing can be computed, and nobody makes another in its place.
    std::fs::rename(&offline, home.path("away")).expect("moved");
    let run = |definitions: &str, more: &[&str]| {
        let arguments = [&["replay", "--definitions", definitions, "--store", &store], more, &[&input]].concat();
        let run = Command::new(env!("CARGO_BIN_EXE_floodmark")).args(arguments).output().expect("the floodmark command");
        (run.status.success(), String::from_utf8_lossy(&run.stderr).into_owned())
    };
    let (done, said) = run(&grown_file, &["--backfill"]);
    assert!(!done && said.contains("nothing is kept there"), "{said}");
    std::fs::create_dir(&offline).expect("a folder");
    let (done, said) = run(&grown_file, &[]);
    assert!(!done && said.contains("nothing is kept there"), "{said}");
    assert_eq!(std::fs::read_dir(&offline).expect("a folder").count(), 0, "no tables were made");
    // Taken back: the store is what it was.
    let (_, said) = run(&old, &[]);
    assert!(!said.contains("other definitions") && !said.contains("without"), "{said}");
    std::fs::remove_dir(&offline).expect("an empty folder");
    std::fs::rename(home.path("away"), &offline).expect("moved back");
    assert!(run(&old, &[]).0);
    // Another is added, found wrong before it was there, and corrected.
    let wrong = grown().replacen("mean: amount", "mean: card", 1);
    std::fs::write(home.path("wrong.yaml"), wrong).expect("definitions");
    std::fs::rename(&offline, home.path("away")).expect("moved");
    assert!(!run(&home.at("wrong.yaml"), &["--backfill"]).0);
    std::fs::rename(home.path("away"), &offline).expect("moved back");
    let (done, said) = run(&grown_file, &[]);
    assert!(!done && said.contains("--backfill"), "{said}");
    let (done, said) = run(&grown_file, &["--backfill"]);
    assert!(done, "{said}");
    home.replay("grown.yaml", "always", "first.jsonl", &[]);
    home.write_spine(&mut Chance(0xc0_44ec7));
    home.assert_same("store", "always", 0xc0_44ec7);
    let (done, said) = run(&old, &[]);
    assert!(!done && said.contains("`more` is missing"), "it is there now: {said}");
}

#[test]
fn a_source_that_comes_with_its_views_has_nothing_to_be_computed() {
    let home = Home::new(5_000);
    std::fs::write(home.path("wider.yaml"), wider(DEFINITIONS)).expect("definitions");
    let event = |id: i64, minutes: i64| format!("{{\"id\":{id},\"at\":{},\"card\":1}}\n", START + minutes * 60_000_000);
    let events = [event(1, 0), event(2, 300), event(2, 300), event(3, 1)];
    std::fs::write(home.path("devices.jsonl"), events.concat()).expect("events");
    // No offline store is needed for it, and the views that emit closed windows may be among them.
    home.replay("old.yaml", "store", "first.jsonl", &[]);
    let (definitions, store, input) = (home.at("wider.yaml"), home.at("store"), format!("devices={}", home.at("devices.jsonl")));
    let report = floodmark(&["replay", "--json", "--backfill", "--definitions", &definitions, "--store", &store, &input]);
    assert_eq!(["accepted", "late", "duplicates"].map(|outcome| report[outcome].as_u64()), [2, 1, 1].map(Some), "{report}");
}

#[tokio::test]
async fn the_old_views_answer_while_a_new_one_is_computed_and_events_come() {
    let home = tempfile::tempdir().expect("a directory");
    let at = |name: &str| home.path().join(name);
    write_payments(&at("payments.jsonl"));
    let all = std::fs::read_to_string(at("payments.jsonl")).expect("lines");
    let lines: Vec<&str> = all.lines().take(140_000).collect();
    let first = &lines[..110_000];
    std::fs::write(at("old.yaml"), DEFINITIONS).expect("definitions");
    let pairs = "  pairs:\n    entity: pair\n    source: payments\n    features:\n      n: { count: \"*\", windows: [2d] }\nservices:\n";
    let new = new_definitions().replacen("services:\n", pairs, 1);
    let new = new.replacen("  shop: { keys: [shop] }\n", "  shop: { keys: [shop] }\n  pair: { keys: [card, shop] }\n", 1);
    std::fs::write(at("new.yaml"), new).expect("definitions");
    let place = text(&at("offline"));
    let old = start_telling(&at("old.yaml"), &at("store"), &["--offline", &place], Stdio::inherit());
    push(&old.address, first).await;
    old.stop().await;

    let mut chance = Chance(0xadded);
    let asked: Vec<(i64, i64)> = (0..ASKED).map(|_| (chance.below(800) as i64, START + chance.below(80 * HOUR as u64) as i64)).collect();
    let new = start_telling(&at("new.yaml"), &at("store"), &["--backfill", "--memory", "16", "--http", "127.0.0.1:0"], Stdio::inherit());
    let answering = Answering::start(new.address.clone(), asked[0]);
    let mut clients = client(&new).await;
    let refused = crate::follow::try_ask(&mut clients, "new", &asked[..1]).await.expect_err("it is being computed");
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(refused.message().contains("`newer` is being computed"), "{refused}");
    let page = metrics(&new.http).expect("a page");
    assert_eq!(page["floodmark_view_backfilling{view=\"newer\"}"], 1.0);
    assert_eq!(page["floodmark_backfill_failures_total"], 0.0);
    // What comes meanwhile, and what comes again: by now it is late, and would count from now on if it counted.
    push(&new.address, &lines[..4_000]).await;
    push(&new.address, &lines[109_000..]).await;
    crate::follow::try_ask(&mut clients, "new", &asked[..1]).await.expect_err("all of it has come before the view is there");
    let began = Instant::now();
    let rows = loop {
        match crate::follow::try_ask(&mut clients, "new", &asked).await {
            Ok(rows) => break rows,
            Err(refused) => assert!(began.elapsed() < Duration::from_secs(120), "{refused}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    are(&rows, &asked, &payments(&lines)).expect("all events are in it, those of before and those that came meanwhile");
    let page = metrics(&new.http).expect("a page");
    assert!(!page.contains_key("floodmark_view_backfilling{view=\"newer\"}"));
    let [taken, all] = ["taken", "all"].map(|state| page[&format!("floodmark_backfill_events{{state=\"{state}\"}}")]);
    assert_eq!((taken, all), (payments(&lines).len() as f64, payments(&lines).len() as f64));
    let count = |outcome: &str| page[&format!("floodmark_events_total{{source=\"payments\",outcome=\"{outcome}\"}}")] as usize;
    // It is the views that there were that say what becomes of an event.
    let events = payments(&lines).len();
    assert_eq!((count("accepted"), count("late")), (events, 0));
    assert_eq!(count("duplicate"), payments(&lines[..4_000]).len() + payments(&lines[109_000..110_000]).len());
    until("the last events are kept", || kept(&at("offline")) == events).await;
    eprintln!("the new view was there {:?} after the last event", began.elapsed());
    answering.end();
    new.stop().await;
    // It is there for good.
    let again = start_telling(&at("new.yaml"), &at("store"), &[], Stdio::inherit());
    are(&ask(&mut client(&again).await, "new", &asked).await, &asked, &payments(&lines)).expect("after another start");
    again.stop().await;
}
