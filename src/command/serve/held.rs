//! What is served, and from where: Redis, or a store in memory.

use std::sync::Arc;

use floodmark_models::registry::Registry;
use floodmark_serving::flight::Flight;
use floodmark_serving::score::Scores;
use floodmark_serving::server::Calls;
use floodmark_serving::service::Features;
use floodmark_store::Store;
use floodmark_store::redis::Reader;

use crate::history::OfStore;

/// Where features are.
#[derive(Clone)]
pub(super) enum Held {
    /// In Redis, which others fill.
    Redis(Arc<Reader>),
    /// Here, of what is kept at a place.
    Memory(Arc<Store>, String),
}

impl Held {
    pub(super) fn features(&self) -> Features {
        match self {
            Held::Redis(reader) => Features::over_redis(reader.another()),
            Held::Memory(store, _) => Features::new(store.clone()),
        }
    }

    pub(super) fn scores(&self, models: Arc<Registry>) -> Scores {
        match self {
            Held::Redis(reader) => Scores::over_redis(reader.another(), models),
            Held::Memory(store, _) => Scores::new(store.clone(), models),
        }
    }

    /// Training sets are made of whole timelines, which are only here.
    pub(super) fn add_flight(&self, calls: Calls) -> Calls {
        match self {
            Held::Redis(_) => calls,
            Held::Memory(store, place) => {
                let history = OfStore { store: store.clone(), place: place.clone() };
                Flight::new(store.clone()).with_history(Some(Arc::new(history))).add_to(calls)
            }
        }
    }

    pub(super) fn store(&self) -> Option<Arc<Store>> {
        match self {
            Held::Redis(_) => None,
            Held::Memory(store, _) => Some(store.clone()),
        }
    }

    /// As a sentence ends.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Held::Redis(_) => "from Redis",
            Held::Memory(..) => "from an offline store",
        }
    }
}
