//! The models of a repository, as the commands load them that serve.

use std::path::PathBuf;
use std::sync::Arc;

use floodmark_models::model::Settings;
use floodmark_models::registry::Registry;
use floodmark_models::repository::{Policy, Repository};
use floodmark_serving::score::Scores;

use crate::failure::Failure;

/// Which models serve.
#[derive(Debug, clap::Args)]
pub(crate) struct RepositoryArgs {
    /// A repository of ONNX models, NAME/VERSION/model.onnx.
    #[arg(long, value_name = "DIR")]
    pub(crate) models: Option<PathBuf>,
    /// Which versions of each model to load beside those with labels: latest, latest:N, all, or numbers such as 1,4.
    #[arg(long, value_name = "VERSIONS", default_value = "latest", requires = "models")]
    model_versions: Policy,
    /// The ONNX Runtime library; looked for in the usual places if not said.
    #[arg(long, value_name = "FILE", requires = "models")]
    onnxruntime: Option<PathBuf>,
    /// Lets callers list, load and unload models over the Open Inference Protocol.
    #[arg(long)]
    pub(crate) admin: bool,
}

impl RepositoryArgs {
    /// Loads versions of each model for the features that the scores know. One that is refused is told and does not serve; features are
    /// served all the same. `None` where no repository is named.
    pub(crate) fn load(&self, scores: impl FnOnce(Arc<Registry>) -> Scores) -> Result<Option<Arc<Registry>>, Failure> {
        let Some(directory) = &self.models else { return Ok(None) };
        let registry = Arc::new(Registry::new(Repository::new(directory), self.onnxruntime.clone(), Settings::default()));
        let loaded = scores(registry.clone()).load_all(&self.model_versions).map_err(|error| Failure::failed(error.to_string()))?;
        for (model, (version, loaded)) in loaded.iter().flat_map(|(model, tried)| tried.iter().map(move |tried| (model, tried))) {
            match loaded {
                Ok(_) => eprintln!("model is ready. model={model} version={version}"),
                Err(error) => eprintln!("warning: model is not served. model={model} version={version}: {error}"),
            }
        }
        Ok(Some(registry))
    }
}
