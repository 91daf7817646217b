//! Plans: look-ups resolved once, and kept. One for each service, and a bounded number for lists of names.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use floodmark_features::definition::{Definitions, FeatureRef};
use floodmark_features::lookup::Lookup;
use floodmark_features::suggest::Hint;
use parking_lot::RwLock;

use crate::refusal::{Refusal, shown};

/// Lists of names that are remembered; at one more, all are forgotten.
const LISTS_KEPT: usize = 256;

/// A look-up, and what every answer to it says again.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) lookup: Lookup,
    /// The columns, as a response lists them.
    pub(crate) names: Vec<String>,
    /// Changes with names, types, order and definitions of the columns.
    pub(crate) columns_id: u64,
}

/// All plans of a server.
#[derive(Debug)]
pub(crate) struct Plans {
    definitions: Arc<Definitions>,
    /// By the order of [`Definitions::services`].
    services: Vec<Plan>,
    positions: HashMap<String, usize>,
    lists: RwLock<HashMap<Vec<String>, Arc<Plan>>>,
}

/// A plan on loan: that of a service lives as long as the server.
pub(crate) enum Planned<'a> {
    Service(&'a Plan),
    List(Arc<Plan>),
}

impl Deref for Planned<'_> {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        match self {
            Planned::Service(plan) => plan,
            Planned::List(plan) => plan,
        }
    }
}

impl Plan {
    fn new(lookup: Lookup) -> Plan {
        let names: Vec<String> = lookup.columns.iter().map(|c| c.to_string()).collect();
        let columns_id = lookup.columns_id();
        Plan { lookup, names, columns_id }
    }

    /// The views that are read, as positions in the definitions, each once, in the order of first need.
    pub(crate) fn views(&self) -> Vec<usize> {
        let mut views = Vec::new();
        for feature in &self.lookup.features {
            if !views.contains(&feature.view) {
                views.push(feature.view);
            }
        }
        views
    }
}

impl Plans {
    pub(crate) fn new(definitions: Arc<Definitions>) -> Plans {
        let of_service = |service| Plan::new(Lookup::of_service(definitions.clone(), service));
        let services = (0..definitions.services.len()).map(of_service).collect();
        let positions = definitions.services.iter().enumerate().map(|(at, s)| (s.name.clone(), at)).collect();
        Plans { services, positions, lists: RwLock::default(), definitions }
    }

    pub(crate) fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }

    /// One for each service, in the order of the definition.
    pub(crate) fn services(&self) -> &[Plan] {
        &self.services
    }

    /// The plan of a service.
    pub(crate) fn service(&self, name: &str) -> Result<&Plan, Refusal> {
        match self.positions.get(name) {
            Some(at) => Ok(&self.services[*at]),
            None => {
                let hint = Hint::nearest(name, self.positions.keys().map(String::as_str));
                Err(Refusal::Unknown { what: "service", name: shown(name), hint, field: "service".to_owned() })
            }
        }
    }

    /// The plan of a list of names, `view.feature` or `view.*`.
    pub(crate) fn list(&self, names: &[String]) -> Result<Arc<Plan>, Refusal> {
        if let Some(plan) = self.lists.read().get(names) {
            return Ok(plan.clone());
        }
        let features = self.resolve(names)?;
        let plan = Arc::new(Plan::new(Lookup::of_features(self.definitions.clone(), features)));
        let mut lists = self.lists.write();
        if lists.len() >= LISTS_KEPT {
            lists.clear();
        }
        lists.insert(names.to_vec(), plan.clone());
        Ok(plan)
    }

    fn resolve(&self, names: &[String]) -> Result<Vec<FeatureRef>, Refusal> {
        if names.is_empty() {
            return Err(Refusal::NothingAsked);
        }
        let mut features = Vec::new();
        let mut seen = HashSet::new();
        for (at, name) in names.iter().enumerate() {
            let field = || format!("features.names[{at}]");
            let found: Vec<FeatureRef> = match name.strip_suffix(".*").map(|view| self.definitions.view(view)) {
                Some(Some((view, v))) => (0..v.outputs.len()).map(|output| FeatureRef { view, output }).collect(),
                Some(None) => Vec::new(),
                None => self.definitions.output(name).into_iter().collect(),
            };
            if found.is_empty() {
                return Err(Refusal::Unknown { what: "feature", name: shown(name), hint: self.near_feature(name), field: field() });
            }
            if let Some(twice) = found.iter().find(|f| !seen.insert(**f)) {
                let name = self.definitions.output_at(*twice).full_name.to_string();
                return Err(Refusal::FeatureTwice { name, field: field() });
            }
            features.extend(found);
        }
        Ok(features)
    }

    fn near_feature(&self, name: &str) -> Hint {
        let views = &self.definitions.views;
        if name.ends_with(".*") {
            let all: Vec<String> = views.iter().map(|v| format!("{}.*", v.name)).collect();
            return Hint::nearest(name, all.iter().map(String::as_str));
        }
        Hint::nearest(name, views.iter().flat_map(|v| v.outputs.iter().map(|o| &*o.full_name)))
    }
}
