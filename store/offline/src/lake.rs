//! Where the tables lie: a folder, or a prefix of a bucket, with the engine that reads and writes there.

use std::sync::Arc;

use bytes::Bytes;
use delta_kernel_default_engine::DefaultEngine;
use delta_kernel_default_engine::DefaultEngineBuilder;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{DynObjectStore, ObjectMeta, ObjectStoreExt, PutMode, PutOptions};
use tokio::runtime::Runtime;
use url::Url;

use crate::error::OfflineError;
use crate::table::path_of;

type Engine = DefaultEngine<TokioMultiThreadExecutor>;

/// The object that says whose tables these are.
const OWNER: &str = "_floodmark_store";
/// Threads that wait for the object store.
const THREADS: usize = 2;

/// A place for tables. Its calls wait, so they belong on threads that may.
#[derive(Debug)]
pub(crate) struct Lake {
    root: Url,
    objects: Arc<DynObjectStore>,
    engine: Arc<Engine>,
    runtime: Runtime,
}

impl Lake {
    /// Opens a folder (a path or `file://`), or a bucket (`s3://BUCKET/PREFIX`, with credentials and endpoint from the variables `AWS_...`).
    pub(crate) fn open(place: &str) -> Result<Lake, OfflineError> {
        let root = url_of(place)?;
        let objects: Arc<DynObjectStore> = match root.scheme() {
            // What is said to be written has to be on the disk: readers trust a version for ever.
            "file" => Arc::new(LocalFileSystem::new().with_fsync(true)),
            _ => {
                let (objects, _) = object_store::parse_url_opts(&root, variables())
                    .map_err(|error| OfflineError::Url { url: place.to_owned(), detail: error.to_string() })?;
                objects.into()
            }
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).thread_name("offline").enable_all().build()?;
        let executor = Arc::new(TokioMultiThreadExecutor::new(runtime.handle().clone()));
        let engine = Arc::new(DefaultEngineBuilder::new(objects.clone()).with_task_executor(executor).build());
        Ok(Lake { root, objects, engine, runtime })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Where it lies.
    pub(crate) fn root(&self) -> &Url {
        &self.root
    }

    /// Where the table of that name lies.
    pub(crate) fn url_of(&self, table: &str) -> Result<Url, OfflineError> {
        self.root.join(&format!("{table}/")).map_err(|error| OfflineError::Url { url: table.to_owned(), detail: error.to_string() })
    }

    /// Writes an object; one that is there already is nothing new where `mode` says create.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>, mode: PutMode) -> Result<(), OfflineError> {
        let creates = matches!(mode, PutMode::Create);
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.runtime.block_on(self.objects.put_opts(path, bytes.into(), options)) {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) if creates => Ok(()),
            Err(error) => Err(OfflineError::Object { path: path.to_string(), error }),
        }
    }

    /// The store that the place belongs to: this one, if it belonged to nobody.
    pub(crate) fn owner(&self, store: u64) -> Result<String, OfflineError> {
        let path = path_of(&self.root)?.join(OWNER);
        self.put(&path, format!("{store:016x}").into_bytes(), PutMode::Create)?;
        Ok(String::from_utf8_lossy(&self.get(&path)?).trim().to_owned())
    }

    /// The same, where there is one already.
    pub(crate) fn known_owner(&self) -> Result<Option<String>, OfflineError> {
        let path = path_of(&self.root)?.join(OWNER);
        let found = self.runtime.block_on(async { self.objects.get(&path).await?.bytes().await });
        match found {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(OfflineError::Object { path: path.to_string(), error }),
        }
    }

    /// All of an object.
    pub(crate) fn get(&self, path: &Path) -> Result<Bytes, OfflineError> {
        let found = self.runtime.block_on(async { self.objects.get(path).await?.bytes().await });
        found.map_err(|error| OfflineError::Object { path: path.to_string(), error })
    }

    /// The objects right under a path.
    pub(crate) fn list(&self, path: &Path) -> Result<Vec<ObjectMeta>, OfflineError> {
        let found = self.runtime.block_on(self.objects.list_with_delimiter(Some(path)));
        Ok(found.map_err(|error| OfflineError::Object { path: path.to_string(), error })?.objects)
    }

    /// Removes an object.
    pub(crate) fn delete(&self, path: &Path) -> Result<(), OfflineError> {
        self.runtime.block_on(self.objects.delete(path)).map_err(|error| OfflineError::Object { path: path.to_string(), error })
    }

    /// When an object was written, in milliseconds since the epoch.
    pub(crate) fn modified(&self, path: &Path) -> Result<i64, OfflineError> {
        let found = self.runtime.block_on(self.objects.head(path));
        Ok(found.map_err(|error| OfflineError::Object { path: path.to_string(), error })?.last_modified.timestamp_millis())
    }

    /// Whether there is nothing under a path.
    pub(crate) fn is_empty(&self, path: &Path) -> Result<bool, OfflineError> {
        Ok(self.list(path)?.is_empty())
    }
}

/// What the environment says of the object store.
fn variables() -> impl Iterator<Item = (String, String)> {
    let text = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    text.filter(|(name, _)| name.starts_with("AWS_")).map(|(name, value)| (name.to_lowercase(), value))
}

/// The URL of a place, with a slash at its end.
fn url_of(place: &str) -> Result<Url, OfflineError> {
    let failed = |detail: String| OfflineError::Url { url: place.to_owned(), detail };
    let url = match Url::parse(place) {
        Ok(url) if place.contains("://") => url,
        _ => {
            let path = std::path::absolute(place)?;
            Url::from_directory_path(&path).map_err(|()| failed("it is no path of a folder".to_owned()))?
        }
    };
    match url.path().ends_with('/') {
        true => Ok(url),
        false => Url::parse(&format!("{url}/")).map_err(|error| failed(error.to_string())),
    }
}
