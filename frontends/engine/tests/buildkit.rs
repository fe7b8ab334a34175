//! Builds on a real BuildKit daemon: `KCOMPOSE_TEST_BUILDKIT=unix:///run/buildkit/buildkitd.sock cargo test -p kcompose-engine`.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use kcompose_core::image::ImageConfig;
use kcompose_core::llb::{FileAction, Graph, MakeDirectory, MakeFile, Meta};
use kcompose_core::source::SourceMap;
use kcompose_engine::{Address, BuildKit, BuildRequest, Event, Output, build};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

/// The daemon to test against; without one the test says loudly that it did not run.
async fn daemon() -> Option<BuildKit> {
    let Ok(address) = std::env::var("KCOMPOSE_TEST_BUILDKIT") else {
        eprintln!("SKIPPED: KCOMPOSE_TEST_BUILDKIT names no BuildKit");
        return None;
    };
    let candidates = Address::candidates(Some(&address), |_| None).unwrap();
    Some(BuildKit::connect(&candidates).await.unwrap())
}

fn config() -> ImageConfig {
    ImageConfig {
        architecture: "amd64".into(),
        created: 1_700_000_000,
        ..ImageConfig::default()
    }
}

fn request(graph: &Graph, output: kcompose_core::llb::Output, directory: &Path) -> BuildRequest {
    let definition = graph.definition(Some(output), &SourceMap::new());
    BuildRequest::new(definition, config(), directory.join("layers"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_scratch_becomes_an_archive() {
    let Some(daemon) = daemon().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut graph = Graph::new();
    let actions = [
        FileAction::MakeDirectory(MakeDirectory::new("/etc", 0o755)),
        FileAction::MakeFile(MakeFile::new("/etc/hello", 0o644, "hello\n")),
    ];
    let output = graph.file(None, actions, Meta::named("hello"));
    let mut request = request(&graph, output, folder.path());
    request.outputs.push(Output::oci(folder.path().join("a.tar")));
    let (events, mut received) = unbounded_channel();
    let result = build(&daemon, &request, &events, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(result.image.layers.len(), 1);
    assert!(folder.path().join("a.tar").exists());
    let mut states = Vec::new();
    while let Ok(event) = received.try_recv() {
        states.push(format!("{event:?}"));
        if let Event::Vertex(vertex) = event {
            states.push(vertex.name);
        }
    }
    eprintln!("{}", states.join("\n"));
}
