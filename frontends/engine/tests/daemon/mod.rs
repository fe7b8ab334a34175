//! A daemon to test against, and builds on it.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::image::ImageConfig;
use kcompose_core::llb::{FileAction, Graph, MakeDirectory, MakeFile, Meta, Output as Tree};
use kcompose_core::source::SourceMap;
use kcompose_engine::{Address, BuildKit, BuildRequest, BuildResult, EngineError, Event, build};
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::CancellationToken;

/// The daemon that `BUILDKIT_HOST` names.
pub async fn daemon() -> BuildKit {
    let candidates = Address::candidates(None, |name| std::env::var(name).ok()).unwrap();
    BuildKit::connect(&candidates).await.unwrap()
}

/// A build of a test: a folder for what it writes, and what it is asked for.
pub struct Test {
    pub daemon: BuildKit,
    pub folder: tempfile::TempDir,
    pub graph: Graph,
    pub sources: SourceMap,
    pub cancel: CancellationToken,
}

impl Test {
    pub async fn new() -> Test {
        let daemon = daemon().await;
        let folder = tempfile::tempdir().unwrap();
        let (graph, sources) = (Graph::new(), SourceMap::new());
        Test {
            daemon,
            folder,
            graph,
            sources,
            cancel: CancellationToken::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn request(&self, output: Tree) -> BuildRequest {
        let config = ImageConfig {
            architecture: "amd64".into(),
            created: 1_700_000_000,
            ..ImageConfig::default()
        };
        let definition = self.graph.definition(Some(output), &self.sources);
        BuildRequest::new(definition, config, self.path("layers"))
    }

    pub async fn build(&self, request: &BuildRequest) -> (Result<BuildResult, EngineError>, Vec<Event>) {
        let (sender, mut receiver) = unbounded_channel();
        let result = build(&self.daemon, request, &sender, &self.cancel).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        (result, events)
    }

    /// A root with a static shell, from the host's own busybox.
    pub fn shell(&mut self) -> Tree {
        let busybox = kcompose_testing::program("busybox").expect("the test says that it needs busybox");
        let directories = ["/bin", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc"];
        let directories = directories.map(|path| FileAction::MakeDirectory(MakeDirectory::new(path, 0o755)));
        let shell = FileAction::MakeFile(MakeFile::new("/bin/sh", 0o755, fs::read(busybox).unwrap()));
        let capabilities = host_files(&[
            "/sbin/setcap",
            "/lib/x86_64-linux-gnu/libcap.so.2",
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ]);
        let actions = directories.into_iter().chain([shell]).chain(capabilities);
        self.graph.file(None, actions, Meta::named("shell"))
    }
}

/// Programs of this machine with their libraries; none if one is missing.
fn host_files(paths: &[&str]) -> Vec<FileAction> {
    let contents: Option<Vec<_>> = paths.iter().map(|path| fs::read(path).ok()).collect();
    let Some(contents) = contents else {
        return Vec::new();
    };
    let file = |(path, content): (&&str, Vec<u8>)| {
        let folder = Path::new(path).parent().unwrap().display().to_string();
        let folder = FileAction::MakeDirectory(MakeDirectory::new(folder, 0o755));
        [folder, FileAction::MakeFile(MakeFile::new(*path, 0o755, content))]
    };
    paths.iter().zip(contents).flat_map(file).collect()
}
