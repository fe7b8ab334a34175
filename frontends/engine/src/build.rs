//! A build from a definition to its outputs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kcompose_core::image::ImageConfig;
use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::pb;
use kcompose_core::source::Span;
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::bridge::{Bridge, Job};
use crate::credentials::Credentials;
use crate::digest::sha256;
use crate::error::EngineError;
use crate::event::{Event, Events, State, Vertex};
use crate::export::{self, Ahead, Export, Image, Output, OutputKind};
use crate::inside;
use crate::layers::{Compression, Layer, LayerFeed, LayerStore};
use crate::policy::SourceRule;
use crate::secret::Secret;

/// Everything that a build is made from. [`BuildRequest::new`] has the defaults.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// What to build, for the engine's capabilities.
    pub definition: Definition,
    /// Results in it whose layers are the image's lower ones: see [`Job::lower`].
    pub lower: Vec<pb::Input>,
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
            lower: Vec::new(),
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
    check(request)?;
    let background = Background::new(cancel);
    owned(&background, async {
        if !bridge.hands_out_layers() {
            return inside::build(bridge, request, &background, events, cancel).await;
        }
        let layers = LayerStore::new(&request.layer_directory, compression(request));
        let ahead = ahead(request, &layers, &background);
        let job = Job {
            feed: ahead.as_ref().map(Ahead::feed).unwrap_or_default(),
            ..job(request, layers, &background)
        };
        let solved = bridge.solve(&job, events, cancel).await?;
        write_all(request, solved.layers, ahead, &background, events).await
    })
    .await
}

/// Waits for a build and its background work; a build that fails, or is dropped, stops the work.
async fn owned<T>(
    background: &Background,
    build: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let _stop = background.token().clone().drop_guard();
    let result = build.await;
    match &result {
        Ok(_) => background.finish().await,
        Err(_) => background.abandon().await,
    }
    result
}

/// Begins with the first output, if that can be.
fn ahead(request: &BuildRequest, layers: &LayerStore, background: &Background) -> Option<Ahead> {
    let first = request.outputs.first()?;
    let destination = first.destination.as_ref()?;
    (first.kind == OutputKind::Oci)
        .then(|| Ahead::begin(destination, layers, request.config.created, background))
        .flatten()
}

/// Writes all outputs of an image whose layers are in the layer store.
pub async fn export(
    request: &BuildRequest,
    solved: Vec<Layer>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BuildResult, EngineError> {
    check(request)?;
    let background = Background::new(cancel);
    owned(&background, write_all(request, solved, None, &background, events)).await
}

async fn write_all(
    request: &BuildRequest,
    solved: Vec<Layer>,
    mut ahead: Option<Ahead>,
    background: &Background,
    events: &Events,
) -> Result<BuildResult, EngineError> {
    let compression = compression(request);
    let layers = LayerStore::new(&request.layer_directory, compression);
    let image = Image::new(&request.config, solved, compression);
    for output in &request.outputs {
        let own = (&image, &layers);
        // The first output's compression is the layers'.
        let ahead = ahead.take();
        if output.compression == compression {
            write(own, output, ahead, request, background, events).await?;
        } else {
            let other = recompressed(own, output.compression, request, background).await?;
            write((&other.0, &other.1), output, None, request, background, events).await?;
        }
    }
    Ok(BuildResult { image })
}

/// Layers are kept in the compression of the first output.
pub(crate) fn compression(request: &BuildRequest) -> Compression {
    let first = request.outputs.first();
    first.map(|output| output.compression).unwrap_or_default()
}

/// What can be known to be wrong before anything is built.
fn check(request: &BuildRequest) -> Result<(), EngineError> {
    for output in &request.outputs {
        let wrong = |reason: String, help: &str| EngineError::Output {
            output: output.kind.word().to_owned(),
            reason,
            help: help.to_owned(),
        };
        if output.kind.is_path() {
            let destination = output.destination.as_ref();
            let destination =
                destination.ok_or_else(|| wrong("it has no destination".into(), "add `dest=PATH`"))?;
            let folder = destination
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                let reason = format!("the folder of `{}` does not exist", destination.display());
                return Err(wrong(reason, "make the folder first"));
            }
        } else if names(output, request).is_empty() {
            return Err(wrong(
                "it has no name".into(),
                "add `name=REGISTRY/IMAGE:TAG`, or `-t`",
            ));
        }
    }
    Ok(())
}

pub(crate) fn names(output: &Output, request: &BuildRequest) -> Vec<String> {
    output
        .name
        .clone()
        .map_or_else(|| request.tags.clone(), |name| vec![name])
}

pub(crate) fn job(request: &BuildRequest, layers: LayerStore, background: &Background) -> Job {
    let kept = request
        .outputs
        .iter()
        .filter(|output| output.kind == OutputKind::Image);
    Job {
        definition: request.definition.clone(),
        lower: request.lower.clone(),
        config: request.config.clone(),
        locals: request.locals.clone(),
        secrets: request.secrets.clone(),
        credentials: request.credentials.clone(),
        policy: request.policy.clone(),
        no_cache: request.no_cache,
        layers,
        feed: LayerFeed::default(),
        background: background.clone(),
        wants_layers: true,
        tree: None,
        engine_images: kept.flat_map(|output| names(output, request)).collect(),
    }
}

/// The image over layers of another compression.
async fn recompressed(
    (image, layers): (&Image, &LayerStore),
    compression: Compression,
    request: &BuildRequest,
    background: &Background,
) -> Result<(Image, LayerStore), EngineError> {
    let store = LayerStore::new(&request.layer_directory, compression);
    let (from, to, list) = (layers.clone(), store.clone(), image.layers.clone());
    let stop = background.token().clone();
    let adopted = blocking(background, move || {
        list.iter()
            .map(|layer| to.adopt(&from, layer, &stop))
            .collect::<Result<Vec<_>, _>>()
    });
    let adopted = adopted
        .await?
        .map_err(|error| EngineError::io("compress into", &request.layer_directory, error))?;
    Ok((Image::new(&request.config, adopted, compression), store))
}

async fn write(
    (image, layers): (&Image, &LayerStore),
    output: &Output,
    ahead: Option<Ahead>,
    request: &BuildRequest,
    background: &Background,
    events: &Events,
) -> Result<(), EngineError> {
    let names = names(output, request);
    let stop = background.token();
    match (&output.destination, output.kind) {
        (Some(destination), _) => {
            let shown = Shown::begin(events, format!("writing {}", destination.display()));
            let begun = match ahead {
                Some(ahead) => ahead.end().await,
                None => None,
            };
            let (image, layers, stop) = (image.clone(), layers.clone(), stop.clone());
            let (kind, destination) = (output.kind, destination.clone());
            let written = blocking(background, move || {
                let export = Export {
                    image: &image,
                    layers: &layers,
                    names: &names,
                    stop: &stop,
                };
                export::write(&export, kind, &destination, begun)
            });
            shown.end(written.await.flatten())
        }
        (None, OutputKind::Registry) => {
            for name in &names {
                let shown = Shown::begin(events, format!("pushing {name}"));
                let export = Export {
                    image,
                    layers,
                    names: &names,
                    stop,
                };
                shown.end(export::push(&export, name, &request.credentials).await)?;
            }
            Ok(())
        }
        // The engine has it already.
        (None, OutputKind::Image) => Ok(()),
        (None, OutputKind::Oci | OutputKind::Docker | OutputKind::Tar | OutputKind::Local) => Ok(()),
    }
}

/// Waits for blocking work that belongs to a build, unless that is cancelled meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    background: &Background,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EngineError> {
    let failed = |error: tokio::sync::oneshot::error::RecvError| EngineError::Failed {
        reason: error.to_string(),
        log: Vec::new(),
        place: None,
    };
    let worked = background.blocking(work);
    match background.token().run_until_cancelled(worked).await {
        Some(worked) => worked.map_err(failed),
        None => Err(EngineError::Cancelled),
    }
}

/// Something that is done here, shown like an operation of the engine.
struct Shown<'a> {
    events: &'a Events,
    name: String,
    started: f64,
}

impl<'a> Shown<'a> {
    fn begin(events: &'a Events, name: String) -> Self {
        let shown = Shown {
            events,
            name,
            started: now(),
        };
        shown.send(State::Running(shown.started));
        shown
    }

    fn end<T>(self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        self.send(match &result {
            Ok(_) => State::Done(self.started, now()),
            Err(error) => State::Failed(error.to_string()),
        });
        result
    }

    fn send(&self, state: State) {
        let (digest, name) = (sha256(self.name.as_bytes()), self.name.clone());
        // Whoever stopped listening does not want to know.
        let _ = self.events.send(Event::Vertex(Vertex {
            digest,
            name,
            group: None,
            span: Span::NONE,
            state,
        }));
    }
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |time| time.as_secs_f64())
}
