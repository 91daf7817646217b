//! Where the library may be.

use std::path::{Path, PathBuf};

use super::RuntimeError;

/// Where the set-up puts it, from the root of the project.
const SET_UP: &str = ".runtime/onnxruntime";

/// The library: where configuration says, else where the environment says, else beside the executable, else where the set-up puts it.
///
/// What somebody said is taken at their word: if it is not there, nothing else is tried.
pub(super) fn find(configured: Option<&Path>, environment: Option<PathBuf>) -> Result<PathBuf, RuntimeError> {
    if let Some(path) = configured {
        return said("the configuration", path);
    }
    if let Some(path) = environment.filter(|path| !path.as_os_str().is_empty()) {
        return said(super::LIBRARY_VARIABLE, &path);
    }
    let folders = folders(&executable(), &std::env::current_dir().unwrap_or_default());
    folders.iter().find_map(|folder| library_in(folder)).ok_or(RuntimeError::Missing { looked_for: folders })
}

fn said(by: &'static str, path: &Path) -> Result<PathBuf, RuntimeError> {
    let not_there = || RuntimeError::NotThere { by, path: path.to_path_buf() };
    let found = if path.is_dir() { library_in(path) } else { path.is_file().then(|| path.to_path_buf()) };
    // The loader would take a relative path from the executable; everybody else takes it from the working directory.
    std::path::absolute(found.ok_or_else(not_there)?).map_err(|_| not_there())
}

fn executable() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// The folders to look in, in order.
pub(super) fn folders(executable: &Path, working: &Path) -> Vec<PathBuf> {
    let beside = executable.parent().map(|folder| folder.join("lib"));
    let above = executable.ancestors().skip(1).map(|folder| folder.join(SET_UP));
    let mut folders: Vec<PathBuf> = Vec::new();
    for folder in beside.into_iter().chain([working.join(SET_UP)]).chain(above) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// `libonnxruntime.so`, `libonnxruntime.so.1.31.1` or `libonnxruntime.dylib`: the plain name first, then the greatest.
pub(super) fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut libraries: Vec<PathBuf> = files.filter(|path| path.is_file() && is_library(path)).collect();
    libraries.sort();
    let plain = libraries.iter().position(|path| path.extension().is_some_and(|e| e == "so" || e == "dylib"));
    match plain {
        Some(at) => Some(libraries.swap_remove(at)),
        None => libraries.pop(),
    }
}

fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "libonnxruntime.dylib" || name == "libonnxruntime.so" || name.starts_with("libonnxruntime.so.")
}
