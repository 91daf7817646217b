//! A repository on disk: `<name>/<version>/{model.onnx, manifest.json, golden.json}`, and what serves in `<name>/labels.json`.
//!
//! Files that other processes write appear under their name when they are whole: written beside, then renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The file with labels, in a model's folder.
pub const LABELS_FILE: &str = "labels.json";

/// A directory of models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    root: PathBuf,
}

/// Which versions are to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// So many of the newest.
    Latest(usize),
    /// Every one.
    All,
    /// These.
    Specific(Vec<u64>),
}

impl FromStr for Policy {
    type Err = String;

    /// `latest`, `latest:3`, `all`, or numbers such as `1,4`.
    fn from_str(text: &str) -> Result<Policy, String> {
        let wrong = || format!("versions are latest, latest:N, all, or numbers such as 1,4. versions={text}");
        match (text, text.strip_prefix("latest:")) {
            ("latest", _) => Ok(Policy::Latest(1)),
            ("all", _) => Ok(Policy::All),
            (_, Some(count)) => count.parse().ok().filter(|count| *count > 0).map(Policy::Latest).ok_or_else(wrong),
            (numbers, None) => {
                let numbers: Result<Vec<u64>, _> = numbers.split(',').map(str::parse).collect();
                numbers.map(Policy::Specific).map_err(|_| wrong())
            }
        }
    }
}

/// What `labels.json` says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// The version that each label is on.
    #[serde(default)]
    pub labels: BTreeMap<String, u64>,
    /// How many of a hundred entities the version labelled `canary` scores.
    #[serde(default)]
    pub canary_share: f64,
}

/// A repository that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The file system said no.
    #[error("model repository cannot be used; see that the path is right and may be written. path={} reason={source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A name that no model can have: it would lead elsewhere.
    #[error("no model can have this name: letters, digits, `_`, `-` and `.` only, and no `.` first. model={model}")]
    Name {
        /// As given.
        model: String,
    },
    /// `labels.json` is not what it should be.
    #[error("labels cannot be read; put the file right, or take it away to start without. path={} reason={source}", path.display())]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Repository {
    /// The repository in this directory.
    pub fn new(root: impl Into<PathBuf>) -> Repository {
        Repository { root: root.into() }
    }

    /// Its directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The models in it, by name.
    pub fn models(&self) -> Result<Vec<String>, RepositoryError> {
        let mut names = folders(&self.root)?;
        names.retain(|name| is_model_name(name));
        names.sort();
        Ok(names)
    }

    /// Whether there is a folder for a version.
    pub fn holds(&self, model: &str, version: u64) -> bool {
        self.folder(model).is_ok_and(|folder| folder.join(version.to_string()).is_dir())
    }

    fn folder(&self, model: &str) -> Result<PathBuf, RepositoryError> {
        match is_model_name(model) {
            true => Ok(self.root.join(model)),
            false => Err(RepositoryError::Name { model: model.chars().take(80).collect() }),
        }
    }

    /// The versions of a model, ascending; names that are no number are somebody's work in progress.
    pub fn versions(&self, model: &str) -> Result<Vec<u64>, RepositoryError> {
        let mut versions: Vec<u64> = folders(&self.folder(model)?)?.iter().filter_map(|name| version_number(name)).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The labels of a model; none where there is no file.
    pub fn labels(&self, model: &str) -> Result<Labels, RepositoryError> {
        let path = self.folder(model)?.join(LABELS_FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| RepositoryError::Labels { path, source }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Labels::default()),
            Err(source) => Err(RepositoryError::Io { path, source }),
        }
    }

    /// Writes the labels of a model: a reader sees the old ones or the new ones.
    pub fn write_labels(&self, model: &str, labels: &Labels) -> Result<(), RepositoryError> {
        let path = self.folder(model)?.join(LABELS_FILE);
        let write = || -> io::Result<()> {
            let beside = path.with_extension("json.tmp");
            let mut file = File::create(&beside)?;
            file.write_all(serde_json::to_string_pretty(labels)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(|source| RepositoryError::Io { path: path.clone(), source })
    }
}

fn folders(path: &Path) -> Result<Vec<String>, RepositoryError> {
    let error = |source| RepositoryError::Io { path: path.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Whether a model may be called so: it is a folder's name, and part of messages and metrics.
pub fn is_model_name(name: &str) -> bool {
    !name.starts_with('.') && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
}

/// Whether a label may be called so.
pub fn is_label(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The number of a version's folder: digits, no zero in front.
pub fn version_number(folder: &str) -> Option<u64> {
    let plain = !folder.starts_with('0') && folder.bytes().all(|b| b.is_ascii_digit());
    if plain { folder.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9", "10", "2", "007", "v3", ".tmp-4", "0"] {
            fs::create_dir_all(folder.path().join("fraud").join(name)).unwrap();
        }
        let repository = Repository::new(folder.path());
        let versions = repository.versions("fraud").unwrap();
        assert_eq!((repository.models().unwrap(), &versions), (vec!["fraud".to_owned()], &vec![2, 9, 10]));
        assert_eq!("latest:2".parse(), Ok(Policy::Latest(2)));
        assert_eq!("1,4".parse(), Ok(Policy::Specific(vec![1, 4])));
        for wrong in ["", "latest:0", "newest", "1,", "-1"] {
            assert!(wrong.parse::<Policy>().is_err(), "{wrong:?}");
        }
        let error = repository.versions("froud").unwrap_err().to_string();
        assert!(error.contains("path=") && error.contains("froud"), "{error}");
    }

    #[test]
    fn labels_are_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("fraud")).unwrap();
        let repository = Repository::new(folder.path());
        assert_eq!(repository.labels("fraud").unwrap(), Labels::default());
        let labels = Labels { labels: BTreeMap::from([("stable".to_owned(), 7)]), canary_share: 2.5 };
        repository.write_labels("fraud", &Labels::default()).unwrap();
        repository.write_labels("fraud", &labels).unwrap();
        assert_eq!(repository.labels("fraud").unwrap(), labels);
        fs::write(folder.path().join("fraud").join(LABELS_FILE), r#"{ "label": {} }"#).unwrap();
        assert!(repository.labels("fraud").unwrap_err().to_string().contains("unknown field `label`"));
    }
}
