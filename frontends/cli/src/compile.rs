//! From a flavor and its pinned packages to a definition: the stages of core in a row.

use std::collections::BTreeMap;

use kcompose_core::image::{ImageConfig, Runtime};
use kcompose_core::layout::{self, CompiledLayout};
use kcompose_core::model::Flavor;
use kcompose_core::plan::{EmitOptions, Emitted, Fetch, Input, Plan, emit, plan};
use kcompose_core::resolve::Resolved;
use kcompose_core::source::SourceMap;
use kcompose_core::step::Files;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// A flavor, compiled as far as it goes without an engine.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The graph.
    pub(crate) plan: Plan,
    /// The image's config, without layers.
    pub(crate) config: ImageConfig,
}

/// What the text of the runtime is: the library's.
pub(crate) fn runtime_text(path: &str) -> Option<&'static str> {
    kcompose_library::file(&format!("runtime/systemd/{path}"))
}

/// The layout of a flavor; its warnings are said.
pub(crate) fn layout(
    flavor: &Flavor,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<CompiledLayout, Failure> {
    let compiled = layout::compile(flavor)?;
    terminal.report(&compiled.warnings, sources);
    Ok(compiled.value)
}

/// The plan and the config of a flavor.
pub(crate) fn compile(flavor: &Flavor, resolved: &Resolved, layout: &CompiledLayout, epoch: i64) -> Compiled {
    let entries = layout::image_files(flavor, layout, &runtime_text)
        .expect("the lists of the runtime are checked by the tests of the library");
    let plan = plan(&Input {
        flavor,
        resolved,
        image_files: &Files { entries },
        kept: &layout.seed_paths(),
        epoch,
    });
    Compiled {
        plan,
        config: config(flavor, epoch),
    }
}

/// The definition of a plan for an engine.
pub(crate) fn definition(
    compiled: &Compiled,
    flavor: &Flavor,
    urls: &dyn Fn(&Fetch) -> String,
    merge: bool,
    no_cache: bool,
    sources: &SourceMap,
) -> Emitted {
    emit(
        &compiled.plan,
        &EmitOptions {
            helper: kcompose_engine::helper::STEP,
            url: urls,
            merge,
            no_cache,
            sources,
            architecture: flavor.architecture.as_str(),
        },
    )
}

/// The OCI config: the annotations of the image spec as labels, then those of the flavor.
fn config(flavor: &Flavor, epoch: i64) -> ImageConfig {
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
