//! Runs `tests/models/make_models.py`, once for what the script and its packages are: its models stay in `.runtime/made-models`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What the models depend on, from the root of the project.
const SCRIPT: &str = "tests/models/make_models.py";
const REQUIREMENTS: &str = "tests/models/requirements.txt";

/// The models on disk.
pub(super) struct Made {
    pub(super) folder: PathBuf,
    pub(super) models: Vec<MadeModel>,
}

/// One of them.
#[derive(Deserialize)]
pub(super) struct MadeModel {
    pub(super) name: String,
    /// From the folder.
    pub(super) path: String,
    /// The step at which it must be refused.
    pub(super) refused: Option<String>,
}

#[derive(Deserialize)]
struct List {
    models: Vec<MadeModel>,
}

/// The models; made first if they are not there. An error says what there is to be done.
pub(super) fn made() -> Result<Made, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = root.join(".runtime/made-models");
    let folder = home.join(identity(root));
    if !folder.join("list.json").exists() {
        make(root, &home, &folder)?;
    }
    let list: List = serde_json::from_slice(&fs::read(folder.join("list.json")).unwrap()).unwrap();
    Ok(Made { folder, models: list.models })
}

/// Makes them beside, and puts them in their place when they are whole. Those of before are nobody's any more.
fn make(root: &Path, home: &Path, folder: &Path) -> Result<(), String> {
    let python = python_with("models", root)?;
    fs::create_dir_all(home).unwrap();
    let work = tempfile::Builder::new().prefix(".making-").tempdir_in(home).unwrap();
    let said = run(root.join(&python), &[root.join(SCRIPT).as_os_str(), "--out".as_ref(), work.path().as_os_str()], root)?;
    let list = said.lines().next_back().unwrap_or_default();
    fs::write(work.path().join("list.json"), list).unwrap();
    for old in fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()) {
        if old != work.path() {
            let _ = fs::remove_dir_all(old);
        }
    }
    fs::rename(work.path(), folder).map_err(|error| format!("the models cannot be put in their place: {error}"))
}

/// A Python with the packages that the script needs.
fn python_with(name: &str, root: &Path) -> Result<String, String> {
    let said = run(root.join(".ci/python"), &[name.as_ref(), root.join(REQUIREMENTS).as_os_str()], root)?;
    Ok(said.trim().to_owned())
}

fn run(program: PathBuf, arguments: &[&OsStr], root: &Path) -> Result<String, String> {
    let output = Command::new(&program).args(arguments).current_dir(root).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{} does not start: {error}", program.display()))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(said(&output.stdout)),
        false => Err(format!("{} failed: {}", program.display(), said(&output.stderr))),
    }
}

/// Of all that decides what the models are.
fn identity(root: &Path) -> String {
    let mut sum = Sha256::new();
    for file in [SCRIPT, REQUIREMENTS] {
        sum.update(fs::read(root.join(file)).unwrap());
    }
    sum.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
