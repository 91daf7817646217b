//! What serves at one moment. Never changed, only replaced.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{CANARY, RegistryError, SHADOW, STABLE};
use crate::model::Model;
use crate::repository::Labels;

/// Every model.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) entries: BTreeMap<String, Arc<Entry>>,
}

/// One model.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    name: String,
    pub(super) slots: BTreeMap<u64, Slot>,
    pub(super) labels: Labels,
    /// Who scores what names no version.
    pub(super) primary: Option<Arc<Model>>,
    pub(super) canary: Option<Arc<Model>>,
    /// Who scores beside `primary`, and beside `canary`.
    pub(super) shadows: Vec<Arc<Model>>,
    pub(super) beside_canary: Vec<Arc<Model>>,
    /// So that two models do not try their canaries on the same entities.
    salt: u64,
}

/// One version.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    pub(super) serving: Option<Arc<Model>>,
    pub(super) loading: bool,
    /// Why it was refused when it was last loaded.
    pub(super) refused: Option<String>,
    /// Those that served before and may still be in use.
    pub(super) retired: Vec<Weak<Model>>,
}

impl Live {
    pub(super) fn entry(&self, model: &str) -> Result<&Arc<Entry>, RegistryError> {
        let unknown = || {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            RegistryError::UnknownModel { model: model.to_owned(), known: known.join(",") }
        };
        self.entries.get(model).ok_or_else(unknown)
    }
}

impl Entry {
    pub(super) fn new(model: &str) -> Entry {
        Entry {
            name: model.to_owned(),
            slots: BTreeMap::new(),
            labels: Labels::default(),
            primary: None,
            canary: None,
            shadows: Vec::new(),
            beside_canary: Vec::new(),
            salt: xxh3_64(model.as_bytes()),
        }
    }

    pub(super) fn slot(&mut self, version: u64) -> &mut Slot {
        self.slots.entry(version).or_default()
    }

    pub(super) fn model(&self, version: u64) -> Option<&Arc<Model>> {
        self.slots.get(&version)?.serving.as_ref()
    }

    pub(super) fn labelled(&self, label: &str) -> Option<&Arc<Model>> {
        self.model(*self.labels.labels.get(label)?)
    }

    pub(super) fn labels_of(&self, version: u64) -> Vec<String> {
        self.labels.labels.iter().filter(|(_, on)| **on == version).map(|(label, _)| label.clone()).collect()
    }

    pub(super) fn ready(&self) -> Vec<u64> {
        self.slots.iter().filter(|(_, slot)| slot.serving.is_some()).map(|(version, _)| *version).collect()
    }

    pub(super) fn not_ready(&self, wanted: String) -> RegistryError {
        let ready = self.ready().iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        RegistryError::NotReady { model: self.name.clone(), wanted, ready }
    }

    /// The canary, if the entity is one of its share.
    pub(super) fn canary_for(&self, key: &[u8]) -> Option<&Arc<Model>> {
        let canary = self.canary.as_ref()?;
        let place = xxh3_64_with_seed(key, self.salt) % 10_000;
        ((place as f64) < self.labels.canary_share * 100.0).then_some(canary)
    }

    /// Works out who scores, after a change.
    pub(super) fn settle(&mut self) {
        let greatest = || self.slots.values().rev().find_map(|slot| slot.serving.as_ref());
        let stable = self.labels.labels.contains_key(STABLE);
        self.primary = if stable { self.labelled(STABLE) } else { greatest() }.cloned();
        self.canary = self.labelled(CANARY).cloned();
        let is_shadow = |label: &str| label.strip_prefix(SHADOW).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
        let labels = self.labels.labels.keys().filter(|label| is_shadow(label));
        let shadows: Vec<Arc<Model>> = labels.filter_map(|label| self.labelled(label)).cloned().collect();
        let beside = |answering: &Option<Arc<Model>>, more: &Option<Arc<Model>>| {
            let others = shadows.iter().chain(more).filter(|shadow| answering.as_ref().is_none_or(|a| !Arc::ptr_eq(a, shadow)));
            others.cloned().collect()
        };
        (self.shadows, self.beside_canary) = (beside(&self.primary, &None), beside(&self.canary, &self.primary));
    }
}

impl Slot {
    pub(super) fn start(&mut self) {
        self.loading = true;
    }

    pub(super) fn finish(&mut self, loaded: Result<Arc<Model>, String>) {
        self.loading = false;
        match loaded {
            Ok(model) => {
                self.retire();
                (self.serving, self.refused) = (Some(model), None);
            }
            Err(reason) => self.refused = Some(reason),
        }
    }

    pub(super) fn retire(&mut self) {
        self.retired.retain(|model| model.strong_count() > 0);
        self.retired.extend(self.serving.take().map(|model| Arc::downgrade(&model)));
        self.refused = None;
    }
}
