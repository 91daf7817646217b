//! The registry: which versions of which models serve, and which of them scores a request.
//!
//! Readers see one immutable state and hold the model that they picked until they are done with it. Changes are made one at
//! a time, beside what serves, and published with one swap; so a version that is refused changes nothing but the list.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

mod live;
mod status;

pub use status::{State, VersionStatus};

use crate::compare::{Beside, Comparer, Difference, Pair};
use crate::model::{Model, Refused, Settings};
use crate::repository::{Labels, Policy, Repository, RepositoryError, is_label};
use crate::runtime::{Runtime, RuntimeError};
use crate::signature::Services;
use live::{Entry, Live};

/// The label whose version scores what names no version.
pub const STABLE: &str = "stable";

/// The label whose version scores a share of the entities.
pub const CANARY: &str = "canary";

/// The label whose version scores beside the one that answers; so do labels that start with this and `_`.
pub const SHADOW: &str = "shadow";

/// Models that serve.
#[derive(Debug)]
pub struct Registry {
    repository: Repository,
    /// Where configuration says that ONNX Runtime is.
    library: Option<PathBuf>,
    settings: Settings,
    live: ArcSwap<Live>,
    /// Held while something changes.
    changing: Mutex<()>,
    comparer: Comparer,
    loads: Mutex<Loads>,
}

/// Which version of a model is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Selection<'a> {
    /// The one labelled `stable`; without that label, the greatest that is ready.
    #[default]
    Default,
    /// This one.
    Version(u64),
    /// The one with this label.
    Label(&'a str),
}

impl fmt::Display for Selection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selection::Default => f.write_str(STABLE),
            Selection::Version(version) => write!(f, "{version}"),
            Selection::Label(label) => f.write_str(label),
        }
    }
}

/// Who scores an entity.
#[derive(Debug, Clone, Copy)]
pub struct Picked<'a> {
    /// Whose score is the answer.
    pub primary: &'a Arc<Model>,
    /// Whether that is the version labelled `canary`.
    pub canary: bool,
    /// Who scores beside it, for comparison: the shadows, and beside a canary the version that it may replace.
    pub beside: &'a [Arc<Model>],
}

/// The versions of one model at one moment.
#[derive(Debug, Clone)]
pub struct Choice {
    entry: Arc<Entry>,
}

impl Choice {
    /// The model that is meant.
    pub fn pick(&self, selection: Selection<'_>) -> Result<&Arc<Model>, RegistryError> {
        let found = match selection {
            Selection::Default => self.entry.primary.as_ref(),
            Selection::Version(version) => self.entry.model(version),
            Selection::Label(label) => self.entry.labelled(label),
        };
        found.ok_or_else(|| self.entry.not_ready(selection.to_string()))
    }

    /// Whether all entities have the same model, and none beside it.
    pub fn is_plain(&self) -> bool {
        self.entry.canary.is_none() && self.entry.shadows.is_empty()
    }

    /// Who scores an entity: the same version for the same key, as long as the share stays.
    pub fn pick_for(&self, key: &[u8]) -> Result<Picked<'_>, RegistryError> {
        let canary = self.entry.canary_for(key);
        let primary = canary.or(self.entry.primary.as_ref()).ok_or_else(|| self.entry.not_ready(STABLE.to_owned()))?;
        let beside = if canary.is_some() { &self.entry.beside_canary } else { &self.entry.shadows };
        Ok(Picked { primary, canary: canary.is_some(), beside })
    }
}

/// A version that was loaded, or refused.
pub type Tried = (u64, Result<Arc<Model>, LoadError>);

/// How often versions were loaded, and at which step they were refused.
#[derive(Debug, Clone, Default)]
pub struct Loads {
    /// Those that serve, or did.
    pub loaded: u64,
    /// The others, by [`Step`](crate::model::Step), or `runtime` where there is nothing to run them.
    pub failed: BTreeMap<String, u64>,
}

impl Loads {
    fn count(&mut self, loaded: &Result<Arc<Model>, LoadError>) {
        let step = match loaded {
            Ok(_) => {
                self.loaded += 1;
                return;
            }
            Err(LoadError::Refused(refused)) => refused.step.to_string(),
            Err(LoadError::Runtime(_)) => "runtime".to_owned(),
        };
        *self.failed.entry(step).or_default() += 1;
    }
}

/// Why a version was not loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// There is nothing to run it.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Why a registry does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// No model of that name has ever been loaded.
    #[error("no such model; load it first. model={model} known={known}")]
    UnknownModel {
        /// As asked for.
        model: String,
        /// Those that there are.
        known: String,
    },
    /// There is no such version that could score.
    #[error("no such version is ready. model={model} wanted={wanted} ready={ready}")]
    NotReady {
        /// The model.
        model: String,
        /// As asked for.
        wanted: String,
        /// Those that are.
        ready: String,
    },
    /// A label is letters, digits and underscores.
    #[error("label has characters other than a-z, 0-9 and _. label={label}")]
    BadLabel {
        /// As given.
        label: String,
    },
    /// A version with a label keeps serving.
    #[error("version has labels; move or remove them first. model={model} version={version} labels={labels}")]
    Labelled {
        /// The model.
        model: String,
        /// The version.
        version: u64,
        /// Its labels.
        labels: String,
    },
    /// A share is from 0 to 100.
    #[error("canary share is a number from 0 to 100. share={share}")]
    BadShare {
        /// As given.
        share: f64,
    },
    /// The repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl Registry {
    /// A registry in which nothing serves yet.
    pub fn new(repository: Repository, library: Option<PathBuf>, settings: Settings) -> Registry {
        Registry {
            repository,
            library,
            settings,
            live: ArcSwap::default(),
            changing: Mutex::new(()),
            comparer: Comparer::new(),
            loads: Mutex::default(),
        }
    }

    /// Where the models come from.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Whether there is anything to run models with.
    pub fn runtime(&self) -> Result<(), RuntimeError> {
        Runtime::get(self.library.as_deref()).map(|_| ())
    }

    /// Loads a version, or loads it again, and puts it to work. Blocks for as long as that takes, which may be seconds.
    ///
    /// If it is refused, what served before serves on, and the list says why.
    pub fn load(&self, model: &str, version: u64, services: &dyn Services) -> Result<Arc<Model>, LoadError> {
        let _one_at_a_time = self.changing.lock();
        // What is not there leaves no trace: the list is not for whatever names callers make up.
        if !self.repository.holds(model, version) && self.ready(model).binary_search(&version).is_err() {
            return self.loaded(model, version, services);
        }
        self.publish(model, |entry| entry.slot(version).start());
        let loaded = self.loaded(model, version, services);
        self.loads.lock().count(&loaded);
        // Labels that cannot be read are reported by whoever changes them; here the ones in use stay.
        let labels = self.repository.labels(model).ok();
        self.publish(model, |entry| {
            entry.slot(version).finish(loaded.clone().map_err(|e| e.to_string()));
            if let Some(labels) = labels {
                entry.labels = labels;
            }
        });
        loaded
    }

    fn loaded(&self, model: &str, version: u64, services: &dyn Services) -> Result<Arc<Model>, LoadError> {
        let runtime = Runtime::get(self.library.as_deref())?;
        let model = Model::load(runtime, self.repository.root(), model, &version.to_string(), services, &self.settings)?;
        Ok(Arc::new(model))
    }

    /// Loads what the policy wants and is not ready, then retires what it does not want and no label holds. Says what was tried. Of the
    /// latest, one that is refused gives way to the one before it.
    pub fn follow(&self, model: &str, policy: &Policy, services: &dyn Services) -> Result<Vec<Tried>, RegistryError> {
        let (versions, labelled) = (self.repository.versions(model)?, self.repository.labels(model)?.labels);
        let (mut kept, mut tried) = (Vec::new(), Vec::new());
        let mut want = |version: u64| {
            let known = kept.contains(&version) || tried.iter().any(|(other, _)| *other == version);
            if !known && !self.ready(model).contains(&version) {
                tried.push((version, self.load(model, version, services)));
            }
            let ready = self.ready(model).contains(&version);
            kept.extend(ready.then_some(version));
            ready
        };
        let (at_most, wanted) = match policy {
            Policy::Latest(count) => (*count, versions.into_iter().rev().collect()),
            Policy::All => (usize::MAX, versions),
            Policy::Specific(wanted) => (usize::MAX, wanted.clone()),
        };
        let mut found = 0;
        for version in wanted {
            if found < at_most {
                found += usize::from(want(version));
            }
        }
        for version in labelled.values() {
            want(*version);
        }
        // If none of the wanted is ready, the unwanted are better than nothing.
        if !kept.is_empty() {
            for version in self.ready(model).iter().filter(|version| !kept.contains(version)) {
                self.unload(model, *version)?;
            }
        }
        Ok(tried)
    }

    /// Takes a version out of service. Who is scoring with it finishes; its sessions go with the last of them.
    pub fn unload(&self, model: &str, version: u64) -> Result<(), RegistryError> {
        let _one_at_a_time = self.changing.lock();
        let live = self.live.load();
        let entry = live.entry(model)?;
        entry.model(version).ok_or_else(|| entry.not_ready(version.to_string()))?;
        let labels = entry.labels_of(version);
        if !labels.is_empty() {
            return Err(RegistryError::Labelled { model: model.to_owned(), version, labels: labels.join(",") });
        }
        self.publish(model, |entry| entry.slot(version).retire());
        Ok(())
    }

    /// Puts a label on a version that is ready, and takes it off the one that had it; on disk first, then for all who pick.
    pub fn promote(&self, model: &str, label: &str, version: u64) -> Result<(), RegistryError> {
        if !is_label(label) {
            return Err(RegistryError::BadLabel { label: label.to_owned() });
        }
        let _one_at_a_time = self.changing.lock();
        let live = self.live.load();
        let entry = live.entry(model)?;
        entry.model(version).ok_or_else(|| entry.not_ready(version.to_string()))?;
        self.relabel(model, |labels| {
            labels.labels.insert(label.to_owned(), version);
        })
    }

    /// Takes a label away; one that is nowhere stays nowhere.
    pub fn remove_label(&self, model: &str, label: &str) -> Result<(), RegistryError> {
        let _one_at_a_time = self.changing.lock();
        self.live.load().entry(model)?;
        self.relabel(model, |labels| {
            labels.labels.remove(label);
        })
    }

    /// How many of a hundred entities the version labelled `canary` scores.
    pub fn set_canary_share(&self, model: &str, share: f64) -> Result<(), RegistryError> {
        if !(0.0..=100.0).contains(&share) {
            return Err(RegistryError::BadShare { share });
        }
        let _one_at_a_time = self.changing.lock();
        self.live.load().entry(model)?;
        self.relabel(model, |labels| labels.canary_share = share)
    }

    fn relabel(&self, model: &str, change: impl FnOnce(&mut Labels)) -> Result<(), RegistryError> {
        let mut labels = self.repository.labels(model)?;
        change(&mut labels);
        self.repository.write_labels(model, &labels)?;
        self.publish(model, |entry| entry.labels = labels);
        Ok(())
    }

    /// The versions of a model as they serve now: for a request, which is to see one state of them.
    pub fn choose(&self, model: &str) -> Result<Choice, RegistryError> {
        self.live.load().entry(model).map(|entry| Choice { entry: Arc::clone(entry) })
    }

    /// The model that is meant.
    pub fn pick(&self, model: &str, selection: Selection<'_>) -> Result<Arc<Model>, RegistryError> {
        self.choose(model)?.pick(selection).cloned()
    }

    /// Has another version score rows that were scored, some time, for comparison. Never waits.
    pub fn compare(&self, rows: Beside) {
        self.comparer.offer(rows);
    }

    /// What versions made of the same rows, since the registry was made.
    pub fn differences(&self) -> Vec<(Pair, Difference)> {
        self.comparer.differences()
    }

    /// How loading went, since the registry was made.
    pub fn loads(&self) -> Loads {
        self.loads.lock().clone()
    }

    /// The versions of a model that score, ascending.
    pub fn versions(&self, model: &str) -> Result<Vec<Arc<Model>>, RegistryError> {
        let live = self.live.load();
        Ok(live.entry(model)?.slots.values().filter_map(|slot| slot.serving.clone()).collect())
    }

    /// Every version that was ever asked for, by model and number.
    pub fn list(&self) -> Vec<VersionStatus> {
        let live = self.live.load();
        live.entries.iter().flat_map(|(model, entry)| status::of(model, entry)).collect()
    }

    fn ready(&self, model: &str) -> Vec<u64> {
        self.live.load().entries.get(model).map_or_else(Vec::new, |entry| entry.ready())
    }

    /// Changes one model's entry and swaps. The caller holds `changing`.
    fn publish(&self, model: &str, change: impl FnOnce(&mut Entry)) {
        let mut live = Live::clone(&self.live.load());
        let mut entry = live.entries.get(model).map_or_else(|| Entry::new(model), |entry| Entry::clone(entry));
        change(&mut entry);
        entry.settle();
        live.entries.insert(model.to_owned(), Arc::new(entry));
        self.live.store(Arc::new(live));
    }
}

#[cfg(test)]
mod tests;
