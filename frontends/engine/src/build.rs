//! A build from a definition to its outputs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kcompose_core::image::ImageConfig;
use kcompose_core::llb::Definition;
use tokio_util::sync::CancellationToken;

use crate::bridge::{Bridge, Job};
use crate::credentials::Credentials;
use crate::error::EngineError;
use crate::event::Events;
use crate::export::{self, Image, Output, OutputKind};
use crate::layers::LayerStore;
use crate::policy::SourceRule;
use crate::secret::Secret;

/// Everything that a build is made from. [`BuildRequest::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// What to build, for the engine's capabilities.
    pub definition: Definition,
    /// The image's config, without layers.
    pub config: ImageConfig,
    /// What comes out; all of them from one solve.
    pub outputs: Vec<Output>,
    /// Names with tags for outputs that say none.
    pub tags: Vec<String>,
    /// Directories for local sources, by the names that the definition uses.
    pub locals: BTreeMap<String, PathBuf>,
    /// Secrets, by the names that the definition uses.
    pub secrets: BTreeMap<String, Secret>,
    /// Logins of registries.
    pub credentials: Credentials,
    /// What happens to sources on their way to the engine.
    pub policy: Vec<SourceRule>,
    /// Whether steps run although their results are cached.
    pub no_cache: bool,
    /// The directory for compressed layers, kept between builds.
    pub layer_directory: PathBuf,
}

impl BuildRequest {
    /// A request with no outputs, locals, secrets and rules yet.
    pub fn new(definition: Definition, config: ImageConfig, layer_directory: impl Into<PathBuf>) -> Self {
        BuildRequest {
            definition,
            config,
            outputs: Vec::new(),
            tags: Vec::new(),
            locals: BTreeMap::new(),
            secrets: BTreeMap::new(),
            credentials: Credentials::default(),
            policy: Vec::new(),
            no_cache: false,
            layer_directory: layer_directory.into(),
        }
    }
}

/// What a build has made.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildResult {
    /// The image; of several compressions that of the first output.
    pub image: Image,
}

impl BuildResult {
    /// The content of `--metadata-file`, with buildx's keys.
    pub fn metadata(&self) -> serde_json::Value {
        serde_json::json!({
            "containerimage.config.digest": self.image.config_digest,
            "containerimage.descriptor": self.image.descriptor(),
            "containerimage.digest": self.image.digest,
        })
    }
}

/// Solves the definition on an engine and writes all outputs.
pub async fn build(
    bridge: &dyn Bridge,
    request: &BuildRequest,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BuildResult, EngineError> {
    let compression = request
        .outputs
        .first()
        .map(|output| output.compression)
        .unwrap_or_default();
    let layers = LayerStore::new(&request.layer_directory, compression);
    let job = job(request, layers.clone());
    let solved = bridge.solve(&job, events, cancel).await?;
    let image = Image::new(&request.config, solved.layers, compression);
    for output in &request.outputs {
        write(&image, &layers, output, request, cancel).await?;
    }
    Ok(BuildResult { image })
}

fn job(request: &BuildRequest, layers: LayerStore) -> Job {
    Job {
        definition: request.definition.clone(),
        config: request.config.clone(),
        locals: request.locals.clone(),
        secrets: request.secrets.clone(),
        credentials: request.credentials.clone(),
        policy: request.policy.clone(),
        no_cache: request.no_cache,
        layers,
        wants_layers: true,
        engine_images: Vec::new(),
    }
}

async fn write(
    image: &Image,
    layers: &LayerStore,
    output: &Output,
    request: &BuildRequest,
    cancel: &CancellationToken,
) -> Result<(), EngineError> {
    let kind: OutputKind = output.kind;
    let Some(destination) = output.destination.clone() else {
        return Ok(());
    };
    let (image, layers, cancel) = (image.clone(), layers.clone(), cancel.clone());
    let names = output
        .name
        .clone()
        .map_or_else(|| request.tags.clone(), |name| vec![name]);
    let written = tokio::task::spawn_blocking(move || {
        export::write(&image, &layers, kind, &destination, &names, &cancel)
    });
    written.await.map_err(|error| EngineError::Failed {
        reason: error.to_string(),
        log: Vec::new(),
        place: None,
    })?
}
