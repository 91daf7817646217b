//! The house's rules about itself: dependencies point one way, the core is pure, files are short and say what they are for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which of our own packages each may name (DESIGN, rooms). The command wires them all.
const ROOMS: [(&str, &[&str]); 12] = [
    ("floodmark-proto", &[]),
    ("floodmark-features", &[]),
    ("floodmark-recount", &["floodmark-features"]),
    ("floodmark-models", &[]),
    ("floodmark-store", &["floodmark-features"]),
    ("floodmark-offline", &["floodmark-features", "floodmark-store"]),
    ("floodmark-training", &["floodmark-features", "floodmark-store"]),
    ("floodmark-intake", &["floodmark-features", "floodmark-store", "floodmark-proto"]),
    ("floodmark-ingest", &["floodmark-features", "floodmark-store", "floodmark-proto", "floodmark-intake"]),
    ("floodmark-history", &["floodmark-features", "floodmark-store", "floodmark-offline", "floodmark-training", "floodmark-intake"]),
    (
        "floodmark-python",
        &["floodmark-features", "floodmark-store", "floodmark-offline", "floodmark-training", "floodmark-history", "floodmark-intake"],
    ),
    ("floodmark-serving", &["floodmark-features", "floodmark-store", "floodmark-models", "floodmark-proto", "floodmark-training"]),
];

/// All that the core may use: nothing that waits, reads a clock or knows an outside system.
const CORE_USES: [&str; 12] = [
    "hashbrown",
    "jiff",
    "num-bigint",
    "postcard",
    "prefetch-index",
    "saphyr-parser",
    "serde",
    "serde_json",
    "sqlparser",
    "strsim",
    "thiserror",
    "xxhash-rust",
];

/// What the core must not name.
const IMPURE: [&str; 6] = ["std::fs", "std::net", "std::thread", "std::env", "SystemTime", "Instant"];

/// A file that is longer has a second idea in it.
const MOST_LINES: usize = 600;
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of the house, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![root().to_path_buf()];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// The files that break a rule, or nothing.
fn offenders(breaks: impl Fn(&str, &str) -> bool) -> Vec<String> {
    sources().into_iter().filter(|(name, text)| breaks(name, text)).map(|(name, _)| name).collect()
}

fn none(offenders: Vec<String>, rule: &str) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

/// Code without comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// For each of our packages, what its manifest names outside of tests and builds.
fn dependencies() -> Vec<(String, BTreeSet<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let package = |package: &Value| {
        let used = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        (text(&package["name"]), used.map(|d| text(&d["name"])).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn dependencies_point_one_way() {
    for (name, used) in dependencies() {
        let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
            assert_eq!(name, "floodmark", "a new room: say in ROOMS whom it may know");
            continue;
        };
        let ours = used.iter().filter(|d| d.starts_with("floodmark"));
        none(ours.filter(|d| !allowed.contains(&d.as_str())).cloned().collect(), &format!("{name} must not know"));
    }
}

#[test]
fn the_core_is_pure() {
    let (_, used) = dependencies().into_iter().find(|(name, _)| name == "floodmark-features").unwrap();
    none(used.into_iter().filter(|d| !CORE_USES.contains(&d.as_str())).collect(), "the core must not use");
    let impure = |name: &str, text: &str| {
        name.starts_with("features/src/") && !name.contains("tests") && IMPURE.iter().any(|word| code(text).contains(word))
    };
    none(offenders(impure), "the core reads no clock, no file, no socket and starts no thread");
}

#[test]
fn nothing_is_unsafe() {
    let keyword = |word: &str| word == concat!("un", "safe");
    let is_unsafe = |_: &str, text: &str| code(text).split(|c: char| !c.is_alphanumeric() && c != '_').any(keyword);
    none(offenders(is_unsafe), "the compiler proves what we cannot");
}

#[test]
fn a_file_says_what_it_is_for() {
    none(offenders(|_, text| !text.starts_with("//!")), "a file opens with what it is for");
}

#[test]
fn a_file_has_one_idea() {
    none(offenders(|_, text| text.lines().count() > MOST_LINES), "too long for one idea");
}

#[test]
fn no_machine_is_special() {
    let folders = ["home", "Users", "root", "work"].map(|folder| format!("\"/{folder}/"));
    none(offenders(|_, text| folders.iter().any(|f| text.contains(f))), "a path of one machine");
}
