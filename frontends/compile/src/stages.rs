//! From a flavor and its pinned packages to a definition: the stages of core in a row.

use std::collections::BTreeMap;

use kcompose_core::diagnostic::{Diagnostics, Warned};
use kcompose_core::image::{ImageConfig, Runtime};
use kcompose_core::layout::{self, CompiledLayout};
use kcompose_core::llb::{Folders, Whose};
use kcompose_core::model::Flavor;
use kcompose_core::plan::{EmitOptions, Emitted, Fetch, Input, Plan, emit, plan};
use kcompose_core::resolve::Resolved;
use kcompose_core::source::SourceMap;
use kcompose_core::step::Files;

/// A flavor, compiled as far as it goes without an engine.
#[derive(Debug)]
pub struct Compiled {
    /// The graph.
    pub plan: Plan,
    /// The image's config, without layers.
    pub config: ImageConfig,
}

/// What the text of the runtime is: the library's.
pub fn runtime_text(path: &str) -> Option<&'static str> {
    kcompose_library::file(&format!("runtime/systemd/{path}"))
}

/// The layout of a flavor, with what a person should hear about it.
pub fn layout(flavor: &Flavor) -> Result<Warned<CompiledLayout>, Diagnostics> {
    layout::compile(flavor)
}

/// The plan and the config of a flavor.
pub fn compile(flavor: &Flavor, resolved: &Resolved, layout: &CompiledLayout, epoch: i64) -> Compiled {
    let mut entries = layout::image_files(flavor, layout, &runtime_text)
        .expect("the lists of the runtime are checked by the tests of the library");
    entries.extend(layout::secret_files(flavor, &|name| {
        resolved.packages.contains_key(name)
    }));
    let plan = plan(&Input {
        flavor,
        resolved,
        image_files: &Files { entries },
        kept: &layout.seed_paths(),
        epoch,
    });
    Compiled {
        plan,
        config: described(flavor, epoch),
    }
}

/// The image's config for an engine with or without MergeOp.
///
/// Without a history of its own an exporter tells one by what happens to be cached, and the digest changes with it.
pub fn config(compiled: &Compiled, merge: bool) -> ImageConfig {
    ImageConfig {
        history: vec!["kcompose".to_owned(); compiled.plan.layers(merge)],
        ..compiled.config.clone()
    }
}

/// What an engine and its user add to a plan.
pub struct Wiring<'a> {
    /// The URL of an archive for the engine.
    pub url: &'a dyn Fn(&Fetch) -> String,
    /// Whether the engine has MergeOp.
    pub merge: bool,
    /// Whether every step runs again.
    pub no_cache: bool,
    /// Whether the engine pulls kairos-init from its registry, and not the client.
    pub pulls_upstream: bool,
    /// The texts, for the places of operations.
    pub sources: &'a SourceMap,
    /// Where the build context is, and the folders that stand for some of its own.
    pub folders: &'a Folders,
    /// Whose the folders that the client adds by itself are.
    pub owner: &'a Whose,
    /// The patterns of the context's `.dockerignore`.
    pub ignored: &'a [String],
}

impl std::fmt::Debug for Wiring<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wiring")
            .field("merge", &self.merge)
            .field("no_cache", &self.no_cache)
            .finish_non_exhaustive()
    }
}

/// The definition of a plan for an engine.
pub fn definition(compiled: &Compiled, flavor: &Flavor, wiring: &Wiring<'_>) -> Emitted {
    emit(
        &compiled.plan,
        &EmitOptions {
            helper: kcompose_engine::helper::STEP,
            url: wiring.url,
            merge: wiring.merge,
            no_cache: wiring.no_cache,
            pulls_upstream: wiring.pulls_upstream,
            sources: wiring.sources,
            folders: wiring.folders,
            owner: wiring.owner,
            ignored: wiring.ignored,
            architecture: flavor.architecture.as_str(),
        },
    )
}

/// The OCI config: the annotations of the image spec as labels, then those of the flavor.
fn described(flavor: &Flavor, epoch: i64) -> ImageConfig {
    let identity = &flavor.identity;
    let title = identity
        .title
        .as_ref()
        .map_or(&identity.name.value, |title| &title.value);
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title".to_owned(), title.clone()),
        (
            "org.opencontainers.image.version".to_owned(),
            identity.version.value.to_string(),
        ),
    ]);
    if let Some(vendor) = &identity.vendor {
        labels.insert("org.opencontainers.image.vendor".to_owned(), vendor.value.clone());
    }
    for label in &flavor.image.labels {
        labels.insert(label.key.value.clone(), label.value.value.clone());
    }
    ImageConfig {
        architecture: flavor.architecture.as_str().to_owned(),
        variant: String::new(),
        created: epoch,
        history: Vec::new(),
        runtime: Runtime {
            labels,
            ..Runtime::default()
        },
    }
}
