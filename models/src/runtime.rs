//! ONNX Runtime: found in one of a few places, loaded once, and set to run on the thread that calls it.
//!
//! The library is no part of the binary. Until a model is loaded nobody misses it, and when it is missing that is an
//! answer with the way out in it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::Session;
use parking_lot::Mutex;

mod places;

/// The environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// ONNX Runtime, loaded. There is one for the whole life of a process.
#[derive(Debug)]
pub struct Runtime {
    environment: Environment,
    library: PathBuf,
}

/// Why there is no ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Nothing is where it may be.
    #[error("ONNX Runtime is in none of the places where it may be; run `make setup`, or set ORT_DYLIB_PATH. looked_for={}", listed(.looked_for))]
    Missing {
        /// Files and folders, in the order of looking.
        looked_for: Vec<PathBuf>,
    },
    /// Somebody said where it is, and it is not there.
    #[error("ONNX Runtime is not where {by} says; put it right, or take it out and run `make setup`. path={}", path.display())]
    NotThere {
        /// Who said so.
        by: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It is there and cannot be used: too old, another architecture, no library at all.
    #[error("ONNX Runtime does not load; run `make setup` for one that does. path={} reason={reason}", path.display())]
    Unusable {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

static LOADED: OnceLock<Runtime> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

impl Runtime {
    /// The runtime of this process, loaded by the first call that finds it. Later calls get that one, whatever they name.
    pub fn get(configured: Option<&Path>) -> Result<&'static Runtime, RuntimeError> {
        if let Some(runtime) = LOADED.get() {
            return Ok(runtime);
        }
        let _one_at_a_time = LOADING.lock();
        if let Some(runtime) = LOADED.get() {
            return Ok(runtime);
        }
        let library = places::find(configured, std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from))?;
        let runtime = Runtime::load(library)?;
        Ok(LOADED.get_or_init(|| runtime))
    }

    /// The library in use.
    pub fn library(&self) -> &Path {
        &self.library
    }

    fn load(library: PathBuf) -> Result<Runtime, RuntimeError> {
        let unusable = |reason: String| RuntimeError::Unusable { path: library.clone(), reason };
        // Nothing of the runtime may be touched before this line has found a library: it would panic.
        let builder = ort::init_from(&library).map_err(|e| unusable(e.to_string()))?;
        let environment = builder.with_name("floodmark").with_telemetry(false).build().map_err(|e| unusable(e.to_string()))?;
        environment.set_log_level(LogLevel::Fatal);
        Ok(Runtime { environment, library })
    }

    /// A session that runs on the thread that calls it and starts none of its own. The error is what ONNX Runtime said.
    pub fn session(&self, model: &[u8]) -> Result<Session, String> {
        let builder = Session::builder(&self.environment).map_err(|e| e.to_string())?;
        let builder = builder.with_intra_threads(1).map_err(|e| e.to_string())?;
        let builder = builder.with_inter_threads(1).map_err(|e| e.to_string())?;
        let builder = builder.with_parallel_execution(false).map_err(|e| e.to_string())?;
        let builder = builder.with_intra_op_spinning(false).map_err(|e| e.to_string())?;
        let builder = builder.with_inter_op_spinning(false).map_err(|e| e.to_string())?;
        // Batches differ in size: a pattern of one would be wrong for the next.
        let builder = builder.with_memory_pattern(false).map_err(|e| e.to_string())?;
        // What goes wrong comes back as an error; the runtime need not print it as well.
        let mut builder = builder.with_log_level(LogLevel::Fatal).map_err(|e| e.to_string())?;
        builder.commit_from_memory(model).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests;
