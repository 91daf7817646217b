//! Models as libraries export them, and broken ones, made by `tests/models/make_models.py`: each serves, or is refused at the step
//! that its list names. `MADE_MODELS` is the directory, and beside it, with `.json` after its name, lies the list.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Model, Settings};
use crate::manifest::Manifest;
use crate::signature::{ColumnType, ServiceColumns, Services};
use crate::testing;

#[derive(Deserialize)]
struct List {
    models: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    name: String,
    path: String,
    refused: Option<String>,
}

/// The columns that the sound models are fed.
struct Service(u64);

impl Services for Service {
    fn columns(&self, _: &str) -> Option<ServiceColumns> {
        let columns = [
            ("amount", ColumnType::Float64),
            ("customer_spend.nb_tx_1d", ColumnType::Int64),
            ("customer_spend.avg_amount_7d", ColumnType::Float64),
            ("terminal_risk.risk_7d", ColumnType::Float64),
            ("amount_ratio", ColumnType::Unknown),
        ];
        Some(ServiceColumns { id: self.0, columns: columns.map(|(name, kind)| (name.to_owned(), kind)).into() })
    }
}

#[test]
#[ignore = "needs models that Python makes"]
#[allow(clippy::print_stderr)]
fn models_of_libraries_serve_and_broken_ones_do_not() {
    let Some(runtime) = testing::runtime() else { return };
    let folder = PathBuf::from(std::env::var_os("MADE_MODELS").expect("MADE_MODELS names the directory"));
    let list: List = serde_json::from_slice(&fs::read(folder.with_extension("json")).unwrap()).unwrap();
    let sound = list.models.iter().find(|made| made.refused.is_none()).expect("a sound model");
    let service = Service(Manifest::read(&folder.join(&sound.path).join("manifest.json")).unwrap().columns_id);
    let mut wrong = Vec::new();
    for made in &list.models {
        let version = made.path.rsplit('/').next().unwrap_or_default();
        let loaded = Model::load(runtime, &folder, &made.name, version, &service, &Settings::default());
        let step = loaded.as_ref().err().map(|refused| refused.step.to_string());
        match &loaded {
            Ok(model) => eprintln!("{}: {:?} a row", made.name, model.row_time()),
            Err(refused) => eprintln!("{refused}"),
        }
        if step != made.refused {
            wrong.push(&made.name);
        }
    }
    assert!(wrong.is_empty(), "not as listed: {wrong:?}");
}
