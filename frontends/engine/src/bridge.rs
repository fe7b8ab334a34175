//! The seam between a build and what carries it out.
//!
//! A build knows a [`Bridge`] only: what it can do, and a way to have a definition solved. BuildKit's client is one; an
//! engine inside this process can be another, with the same events, the same errors and the same layers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;

use kcompose_core::image::ImageConfig;
use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::pb;
use tokio_util::sync::CancellationToken;

use crate::background::Background;
use crate::capabilities::Capabilities;
use crate::credentials::Credentials;
use crate::error::EngineError;
use crate::event::Events;
use crate::layers::{Layer, LayerFeed, LayerStore};
use crate::policy::SourceRule;
use crate::secret::Secret;

/// What an engine is given.
#[derive(Clone, Debug)]
pub struct Job {
    /// What to build.
    pub definition: Definition,
    /// Results in it whose layers are the image's lower ones, the lowest first, each made from the one before. An engine may
    /// hand these layers out while it still works at the others; what it makes is the same without.
    pub lower: Vec<pb::Input>,
    /// The image's config, without layers.
    pub config: ImageConfig,
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
    /// Where layers go. The engine sends only those that are not there yet.
    pub layers: LayerStore,
    /// Where layers go besides, while the engine still works at those above them, if it can.
    pub feed: LayerFeed,
    /// The owner of what the engine does beside the steps, and of what it still does when it has answered.
    pub background: Background,
    /// Whether anybody wants the layers; otherwise the engine only builds.
    pub wants_layers: bool,
    /// Where the engine writes the tree of the image as one archive, if somebody wants that.
    pub tree: Option<PathBuf>,
    /// Names under which the engine keeps the image itself.
    pub engine_images: Vec<String>,
}

/// What an engine has made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Solved {
    /// The layers of the image from the lowest, all of them in the layer store; empty if nobody wanted them.
    pub layers: Vec<Layer>,
    /// What the engine says of what it wrote itself, by its keys.
    pub exported: BTreeMap<String, String>,
}

/// A future that a bridge returns.
pub type Solving<'a> = Pin<Box<dyn Future<Output = Result<Solved, EngineError>> + Send + 'a>>;

/// Something that solves definitions.
pub trait Bridge: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Where it is, for messages.
    fn place(&self) -> String;

    /// Whether it reaches servers on this machine's loopback.
    fn reaches_loopback(&self) -> bool;

    /// Tells an engine that takes files by checksum from kcompose's store, so that nothing has to be served to it.
    fn reads_store(&self) -> bool {
        false
    }

    /// Whether it gives the layers of what it builds away. One that does not keeps the image itself, or writes its tree.
    fn hands_out_layers(&self) -> bool {
        true
    }

    /// Whether it is Docker's engine: images that it keeps are those that `docker` shows.
    fn is_docker(&self) -> bool {
        false
    }

    /// Builds, and puts the layers where the job says.
    fn solve<'a>(&'a self, job: &'a Job, events: &'a Events, cancel: &'a CancellationToken) -> Solving<'a>;
}
