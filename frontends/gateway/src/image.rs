//! The image of a flavor: compiled for what the daemon can do, solved, described.

use std::collections::BTreeMap;

use kcompose_compile::{Wiring, config, definition};
use kcompose_core::image::ImageConfig;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::CacheOptionsEntry;
use kcompose_core::llb::{Definition, FileAction, Folders, Graph, MakeFile, Meta};
use kcompose_core::resolve::lock::{self, Lock};
use kcompose_core::source::SourceMap;
use kcompose_engine::Capabilities;
use kcompose_engine::buildkit::{Seen, explain};
use miette::Diagnostic;
use serde_json::json;
use thiserror::Error;

use crate::asked::{Asked, Target};
use crate::bridge::{Answer, Bridge, Solving};
use crate::failure::{Explained, Failure};
use crate::ready::{Ready, ready};
use crate::{texts, warn};

/// Daemons since BuildKit 0.17 take messages of 16 MiB, those before it of 4 MiB; they tell it by this capability only.
const TAKES_LARGE_MESSAGES: &str = "exec.validexitcode";
const SMALL_MESSAGE: usize = 4 << 20;
const LARGE_MESSAGE: usize = 16 << 20;
/// What a message holds beside the definition.
const SLACK: usize = 16 << 10;

/// Graph drivers stack at most 128 layers, and need some for a container.
const LAYER_LIMIT: usize = 120;

#[derive(Debug, Error, Diagnostic)]
#[error("this BuildKit lacks what the build needs: {}", .missing.join(", "))]
#[diagnostic(
    code(kcompose::engine::capability),
    help("use a newer Docker or BuildKit, or another builder: `docker buildx create --use`")
)]
struct Lacking {
    missing: Vec<String>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the build is described by {size} bytes, and this BuildKit takes {limit}")]
#[diagnostic(
    code(kcompose::engine::message_size),
    help("move long texts of the flavor into files that it copies, or use a newer Docker or BuildKit")
)]
struct TooLarge {
    size: usize,
    limit: usize,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image would have {layers} layers, and this engine stacks at most {LAYER_LIMIT}")]
#[diagnostic(
    code(kcompose::engine::layers),
    help("join `run` steps, or turn on the containerd image store of Docker")
)]
struct TooManyLayers {
    layers: usize,
}

/// Builds the image.
pub(crate) async fn build(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Answer, Failure> {
    let ready = ready(bridge, asked, sources).await?;
    warn::all(bridge, asked, &ready.places, &ready.warnings, sources).await;
    if asked.target == Target::Lock {
        return only_lock(bridge, asked, &ready.lock).await;
    }
    let merge = bridge.capabilities().merge();
    let definition = wired(&ready, asked, sources, (merge, &ready.places.folders));
    let layers = ready.compiled.plan.layers(merge);
    guard(bridge.capabilities(), &definition, layers)?;
    let reference = bridge.solve(&definition, &caches(asked), Solving::Now).await;
    let reference = reference.map_err(|status| {
        let seen = Seen {
            place: "the other end",
            definition: &definition,
            failed: None,
            log: &|_| Vec::new(),
        };
        Failure::Explained(Explained {
            error: explain(&status, &seen),
            status,
        })
    })?;
    Ok(described(&config(&ready.compiled, merge), asked, reference))
}

/// The definition for a daemon with or without MergeOp.
pub(crate) fn wired(
    ready: &Ready,
    asked: &Asked,
    sources: &SourceMap,
    (merge, folders): (bool, &Folders),
) -> Definition {
    let wiring = Wiring {
        url: &|fetch| ready.urls.of(fetch),
        merge,
        no_cache: asked.no_cache,
        pulls_upstream: true,
        sources,
        folders,
        owner: &asked.owner,
        ignored: &ready.places.ignored,
    };
    definition(&ready.compiled, &ready.flavor, &wiring).definition
}

/// The lock as a file, for `--target lock --output .`.
async fn only_lock(bridge: &mut Bridge, asked: &Asked, lock: &Lock) -> Result<Answer, Failure> {
    let name = texts::lock_file(asked);
    let name = name.rsplit('/').next().unwrap_or(lock::FILE);
    let file = MakeFile::new(format!("/{name}"), 0o644, lock::render(lock));
    let mut graph = Graph::new();
    let output = graph.file(None, [FileAction::MakeFile(file)], Meta::named("write the lock"));
    let definition = graph.definition(Some(output), &SourceMap::new());
    let reference = bridge.solve(&definition, &[], Solving::Now).await?;
    Ok(Answer {
        reference: Some(reference),
        ..Answer::default()
    })
}

/// What can be known to fail before anything is built.
fn guard(capabilities: &Capabilities, definition: &Definition, layers: usize) -> Result<(), Failure> {
    let missing = capabilities.missing(definition.capabilities());
    if !missing.is_empty() {
        let missing = missing.into_iter().map(str::to_owned).collect();
        return Err(Failure::of(Lacking { missing }));
    }
    let limit = if capabilities.has(TAKES_LARGE_MESSAGES) {
        LARGE_MESSAGE
    } else {
        SMALL_MESSAGE
    };
    let size = definition.bytes().len();
    if size + SLACK > limit {
        return Err(Failure::of(TooLarge { size, limit }));
    }
    if layers > LAYER_LIMIT && !capabilities.merge() {
        return Err(Failure::of(TooManyLayers { layers }));
    }
    Ok(())
}

fn caches(asked: &Asked) -> Vec<CacheOptionsEntry> {
    let caches = asked.caches.iter().map(|cache| CacheOptionsEntry {
        r#type: cache.kind.clone(),
        attrs: cache.attributes.clone().into_iter().collect(),
    });
    caches.collect()
}

/// The file system with what the exporter is to write about it.
fn described(config: &ImageConfig, asked: &Asked, reference: crate::bridge::Reference) -> Answer {
    let architecture = &config.architecture;
    let platform = format!("linux/{architecture}");
    let platforms = json!({ "Platforms": [{
        "ID": &platform,
        "Platform": { "architecture": architecture, "os": "linux" },
    }]});
    let of_platform = |key: &str| {
        if asked.multi_platform {
            format!("{key}/{platform}")
        } else {
            key.to_owned()
        }
    };
    let metadata = BTreeMap::from([
        (of_platform("containerimage.config"), config.request()),
        (
            of_platform("source.date.epoch"),
            config.created.to_string().into_bytes(),
        ),
        ("refs.platforms".to_owned(), platforms.to_string().into_bytes()),
    ]);
    Answer {
        reference: Some(reference),
        platform: asked.multi_platform.then_some(platform),
        metadata,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(size: usize) -> Definition {
        use kcompose_core::llb::{FileAction, Graph, MakeFile, Meta};
        let mut graph = Graph::new();
        let file = FileAction::MakeFile(MakeFile::new("/f", 0o644, vec![b'x'; size]));
        let output = graph.file(None, [file], Meta::named("f"));
        graph.definition(Some(output), &SourceMap::new())
    }

    fn refused(names: &[&str], definition: &Definition, layers: usize) -> Option<String> {
        let mut names: Vec<&str> = names.to_vec();
        names.extend(definition.capabilities());
        match guard(&Capabilities::new(names), definition, layers) {
            Err(Failure::Problems(problems)) => problems.iter().next().map(ToString::to_string),
            Err(Failure::Daemon(_) | Failure::Explained(_)) | Ok(()) => None,
        }
    }

    #[test]
    fn limits_of_engines_are_kept() {
        assert_eq!(refused(&[], &definition(1000), 10), None);
        assert!(refused(&[], &definition(5 << 20), 10).is_some());
        assert_eq!(refused(&[TAKES_LARGE_MESSAGES], &definition(5 << 20), 10), None);
        assert!(refused(&[], &definition(10), 121).is_some());
        assert_eq!(refused(&["mergeop"], &definition(10), 121), None);
    }

    #[test]
    fn a_missing_capability_is_named() {
        let Err(Failure::Problems(problems)) = guard(&Capabilities::new(["file.base"; 0]), &definition(1), 1)
        else {
            panic!("nothing is missing");
        };
        assert!(problems.iter().next().unwrap().to_string().contains("file.base"));
    }
}
