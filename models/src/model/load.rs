//! Loading: from a folder to a model that serves, in steps, each of which may refuse it.
//!
//! A model that passes has run: on rows whose scores are known, one by one and all at once, and often enough to be warm.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::refused::{Fault, Refused, Step};
use super::{Model, Settings};
use crate::counts::Counts;
use crate::graph::{self, Classes, GraphError, ReduceError, Reduced};
use crate::manifest::{FileError, Golden, Key, MANIFEST_FILE, MODEL_FILE, Manifest, ScoreAt};
use crate::matrix::{Input, Matrix};
use crate::runtime::Runtime;
use crate::sessions::Sessions;
use crate::signature::{Element, Services, Signature};
use crate::stats::Stats;

mod fit;

impl Model {
    /// Loads `repository/name/version` and proves it; blocks for as long as that takes.
    pub fn load(
        runtime: &Runtime,
        repository: &Path,
        name: &str,
        version: &str,
        services: &dyn Services,
        settings: &Settings,
    ) -> Result<Model, Refused> {
        load(runtime, repository, name, version, services, settings).map_err(|fault| fault.of(name, version))
    }
}

fn load(
    runtime: &Runtime,
    repository: &Path,
    name: &str,
    version: &str,
    services: &dyn Services,
    settings: &Settings,
) -> Result<Model, Fault> {
    let (folder, number) = path(repository, name, version)?;
    let (manifest, golden) = manifest(&folder)?;
    let File { sha256, reduced } = file(&folder.join(MODEL_FILE), &manifest, settings.largest_file)?;
    let session = runtime.session(&reduced.bytes).map_err(|said| {
        Step::Session.fault("a model that ONNX Runtime takes", said, "export it again, for an opset that this ONNX Runtime knows")
    })?;
    let fed = fit::inputs(&session, &manifest)?;
    let signature = Arc::new(fit::features(&manifest, &fed, services)?);
    let first = golden_rows(&signature, &golden, 0..1)?;
    let column = score_column(&manifest, reduced.classes.as_ref())?;
    let output = fit::output(&session)?;
    let mut sessions = Sessions::new(session, column, fed.batches);
    outputs(&sessions, &manifest, &first)?;
    sessions
        .grow(runtime, &reduced.bytes, settings.instances, &first)
        .map_err(|said| Step::Session.fault("as many sessions as there are instances", said, "fewer instances need less memory"))?;
    let mut model = Model {
        name: name.into(),
        version: number,
        signature,
        fallback: manifest.fallback,
        sha256,
        sessions,
        score_element: score_element(output, manifest.fallback),
        row_time: Duration::ZERO,
        counts: Counts::default(),
        stats: Stats::default(),
    };
    check_golden(&model, &golden)?;
    model.row_time = warm_up(&model, &first, settings.warm_up_runs)?;
    (model.counts, model.stats) = (Counts::default(), Stats::default());
    Ok(model)
}

fn path(repository: &Path, name: &str, version: &str) -> Result<(PathBuf, u64), Fault> {
    if !crate::repository::is_model_name(name) {
        return Err(Step::Path.fault("a name of letters, digits, '_', '-' and '.'", format!("\"{name}\""), "rename its folder"));
    }
    let Some(number) = crate::repository::version_number(version) else {
        return Err(Step::Path.fault("a version such as 8, with no zero in front", format!("\"{version}\""), "rename its folder"));
    };
    let folder = repository.join(name).join(version);
    if !folder.is_dir() {
        return Err(Step::Path.fault("a folder", format!("none at {}", folder.display()), "put the version there, or load another"));
    }
    Ok((folder, number))
}

fn manifest(folder: &Path) -> Result<(Manifest, Golden), Fault> {
    let fault = |FileError { file, key, expected, got }: FileError| {
        Step::Manifest.fault(format!("{expected} at {key}"), got, format!("put {} right", file.display()))
    };
    let manifest = Manifest::read(&folder.join(MANIFEST_FILE)).map_err(fault)?;
    let golden = Golden::read(&folder.join(&manifest.golden), manifest.features.len()).map_err(fault)?;
    Ok((manifest, golden))
}

struct File {
    sha256: String,
    reduced: Reduced,
}

fn file(path: &Path, manifest: &Manifest, largest: u64) -> Result<File, Fault> {
    let unreadable =
        |e: std::io::Error| Step::File.fault("a file that can be read", format!("{}: {e}", path.display()), "put the model there");
    let size = path.metadata().map_err(unreadable)?.len();
    if size > largest {
        let hint = "a smaller model, or a larger limit in the configuration";
        return Err(Step::File.fault(format!("at most {largest} bytes"), format!("{size} bytes"), hint));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let sha256 = hex(&Sha256::digest(&bytes));
    if let Some(expected) = manifest.sha256.as_ref().filter(|expected| **expected != sha256) {
        let hint = "copy the file again, or write the manifest of this one";
        return Err(Step::File.fault(format!("sha256 {expected}"), sha256, hint));
    }
    let model = graph::read(&bytes).map_err(not_to_be_run)?;
    let reduced = graph::reduced_to(&bytes, &model, &manifest.score.output).map_err(|e| no_score(e, &manifest.score.output))?;
    Ok(File { sha256, reduced })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

fn not_to_be_run(error: GraphError) -> Fault {
    match error {
        GraphError::Malformed(said) => Step::File.fault("an ONNX model", said, "copy the file again, or export it again"),
        GraphError::ExternalData { tensor } => Step::File.fault(
            "all weights in model.onnx",
            format!("tensor \"{tensor}\" in another file"),
            "save it again with save_as_external_data=False",
        ),
        GraphError::CustomOperator { domain, operator } => Step::File.fault(
            "operators that ONNX Runtime brings along",
            format!("{domain}.{operator}"),
            "export it again without operators of its own",
        ),
    }
}

fn no_score(error: ReduceError, output: &str) -> Fault {
    match error {
        ReduceError::NoOutput { outputs } => {
            Step::Outputs.fault(format!("an output \"{output}\""), outputs.join(", "), "name one of these as score.output in the manifest")
        }
        ReduceError::NoTensor => Step::Outputs.fault(
            format!("a tensor or the map of a ZipMap as \"{output}\""),
            "another sequence or map",
            "export it again with the option zipmap=False",
        ),
        ReduceError::Malformed => Step::File.fault("an ONNX model", "fields that do not add up", "copy the file again, or export it again"),
    }
}

/// 32 bits hold every score of a model that gives 32 bits, unless its fallback needs more.
fn score_element(output: Element, fallback: Option<f64>) -> Element {
    match fallback {
        Some(fallback) if f64::from(fallback as f32) != fallback => Element::Double,
        _ => output,
    }
}

fn score_column(manifest: &Manifest, classes: Option<&Classes>) -> Result<Option<usize>, Fault> {
    let key = match &manifest.score.at {
        ScoreAt::Only => return Ok(None),
        ScoreAt::Column(column) => return Ok(Some(*column)),
        ScoreAt::Key(key) => key,
    };
    let (position, labels) = match (classes, key) {
        (None, _) => {
            return Err(Step::Outputs.fault("score.column", "score.key", "a tensor has columns; only the map of a ZipMap has keys"));
        }
        (Some(Classes::Ints(labels)), Key::Int(key)) => (labels.iter().position(|label| label == key), format!("{labels:?}")),
        (Some(Classes::Texts(labels)), Key::Text(key)) => (labels.iter().position(|label| label == key), format!("{labels:?}")),
        (Some(Classes::Ints(labels)), Key::Text(_)) => (None, format!("{labels:?}")),
        (Some(Classes::Texts(labels)), Key::Int(_)) => (None, format!("{labels:?}")),
    };
    let missing = || Step::Outputs.fault(format!("a class {key:?}"), labels, "name one of these as score.key in the manifest");
    position.map(Some).ok_or_else(missing)
}

fn outputs(sessions: &Sessions, manifest: &Manifest, row: &Matrix) -> Result<(), Fault> {
    let expected = match &manifest.score.at {
        ScoreAt::Column(column) => format!("output \"{}\" with a column {column} for each row", manifest.score.output),
        _ => format!("one value of output \"{}\" for each row", manifest.score.output),
    };
    let hint = "score.column in the manifest says which of a row's values is the score";
    sessions.run(row, &mut Vec::new()).map_err(|got| Step::Outputs.fault(expected, got, hint))
}

/// Some of the golden rows, as the model takes them.
fn golden_rows(signature: &Arc<Signature>, golden: &Golden, range: std::ops::Range<usize>) -> Result<Matrix, Fault> {
    let mut rows = Matrix::new(Arc::clone(signature));
    for (at, row) in golden.rows.iter().enumerate().take(range.end).skip(range.start) {
        let wrong = |e: crate::matrix::InputError| {
            Step::Golden.fault("rows that the model can be given", format!("row {at}: {e}"), "write the golden rows again")
        };
        rows.push(|input| Input::from(&row.inputs[input])).map_err(wrong)?;
    }
    Ok(rows)
}

fn check_golden(model: &Model, golden: &Golden) -> Result<(), Fault> {
    for at in 0..golden.rows.len() {
        check_scores(model, golden, at..at + 1, "alone")?;
    }
    check_scores(model, golden, 0..golden.rows.len(), "among all")?;
    if model.signature.feeds_nan() { check_missing(model, golden) } else { Ok(()) }
}

fn check_scores(model: &Model, golden: &Golden, range: std::ops::Range<usize>, how: &str) -> Result<(), Fault> {
    let hint = "train and export from the same columns, and write the golden rows with the exported file";
    let rows = golden_rows(&model.signature, golden, range.clone())?;
    let mut scores = Vec::new();
    model.score(&rows, &mut scores).map_err(|e| Step::Golden.fault("a score for each golden row", e.to_string(), hint))?;
    for (at, score) in range.zip(scores) {
        let expected = golden.rows[at].score;
        // A golden score that is no number is near nothing.
        if (score - expected).abs() > golden.tolerance || expected.is_nan() {
            let expected = format!("score {expected} within {} for row {at} {how}", golden.tolerance);
            return Err(Step::Golden.fault(expected, score.to_string(), hint));
        }
    }
    Ok(())
}

/// With all values missing that may be, the score must be a number.
fn check_missing(model: &Model, golden: &Golden) -> Result<(), Fault> {
    let hint = "give these features a default, or the model a fallback, or train it with missing values";
    let mut rows = model.matrix();
    let input = |at: usize| match model.signature.inputs[at].fill {
        Some(_) => Input::Missing,
        None => Input::from(&golden.rows[0].inputs[at]),
    };
    let fault = |got: String| Step::Golden.fault("a finite score where every feature that may be missing is", got, hint);
    rows.push(input).map_err(|e| fault(e.to_string()))?;
    model.score(&rows, &mut Vec::new()).map_err(|e| fault(e.to_string()))
}

/// Many runs of one row; says what one takes.
fn warm_up(model: &Model, row: &Matrix, runs: usize) -> Result<Duration, Fault> {
    let mut scores = Vec::new();
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs.max(model.instances()) {
        let start = Instant::now();
        model.score(row, &mut scores).map_err(|e| Step::WarmUp.fault("a score", e.to_string(), "a model that runs once runs always"))?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}
