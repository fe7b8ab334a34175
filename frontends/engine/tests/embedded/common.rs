//! A cache folder, builds with it, and the comparison with a daemon.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fs_err as fs;
use kcompose_core::image::ImageConfig;
use kcompose_core::llb::{Copy, Exec, FileAction, Graph, MakeDirectory, MakeFile, Meta, Output as Tree};
use kcompose_core::source::SourceMap;
use kcompose_engine::embedded::{Reach, Settings};
use kcompose_engine::event::State;
use kcompose_engine::store::Store;
use kcompose_engine::{
    Bridge, BuildRequest, BuildResult, Embedded, EngineError, Event, Secret, build as solve,
};
use tokio_util::sync::CancellationToken;

use crate::daemon::daemon;

/// A cache folder and what is built with it.
pub(crate) struct Test {
    _folder: tempfile::TempDir,
    /// The folder, or another one that does not go with the test.
    pub(crate) place: PathBuf,
    pub(crate) graph: Graph,
    pub(crate) locals: BTreeMap<String, PathBuf>,
    pub(crate) cancel: CancellationToken,
}

impl Test {
    pub(crate) fn new() -> Test {
        // An overlay cannot lie on an overlay, nor in memory without attributes.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        Test {
            place: folder.path().to_owned(),
            _folder: folder,
            graph: Graph::new(),
            locals: BTreeMap::new(),
            cancel: CancellationToken::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub(crate) fn engine(&self) -> Embedded {
        Embedded::new(Settings::beside(Store::new(self.path("cache")), Reach::Offline))
    }

    pub(crate) fn request(&self, output: Tree) -> BuildRequest {
        let config = ImageConfig {
            architecture: "amd64".into(),
            created: 1_700_000_000,
            ..ImageConfig::default()
        };
        let definition = self.graph.definition(Some(output), &SourceMap::new());
        let mut request = BuildRequest::new(definition, config, self.path("layers"));
        request.locals = self.locals.clone();
        request
            .secrets
            .insert("key".into(), Secret::Value(b"secret\n".to_vec()));
        request
    }

    pub(crate) async fn build_with(&self, bridge: &dyn Bridge, request: &BuildRequest) -> Built {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let result = solve(bridge, request, &sender, &self.cancel).await;
        drop(sender);
        let mut events = Vec::new();
        while let Some(event) = receiver.recv().await {
            events.push(event);
        }
        Built { result, events }
    }

    pub(crate) async fn build(&self, output: Tree) -> Built {
        self.build_with(&self.engine(), &self.request(output)).await
    }

    pub(crate) async fn build_on(&self, daemon: &dyn Bridge, output: Tree) -> Built {
        let mut request = self.request(output);
        request.layer_directory = self.path("other layers");
        self.build_with(daemon, &request).await
    }

    /// A root with a static shell, from this machine's own busybox.
    pub(crate) fn shell(&mut self) -> Tree {
        let busybox = kcompose_testing::program("busybox").expect("the test says that it needs busybox");
        let directories = ["/bin", "/proc", "/sys", "/dev", "/run", "/tmp", "/etc"];
        let directories = directories.map(|path| FileAction::MakeDirectory(MakeDirectory::new(path, 0o755)));
        let shell = FileAction::MakeFile(MakeFile::new("/bin/sh", 0o755, fs::read(busybox).unwrap()));
        let actions = directories.into_iter().chain([shell]);
        let made = self.graph.file(None, actions, Meta::named("made"));
        // A directory gets the time of what is put into it; copied as a whole, it has one that both engines give.
        let dated = FileAction::Copy(Copy::contents(made, "/", "/", 0));
        self.graph.file(None, [dated], Meta::named("shell"))
    }

    pub(crate) fn sh(&mut self, root: Tree, script: &str) -> Tree {
        let exec = Exec::new(root, ["/bin/sh", "-c", script]);
        self.graph.exec(&exec, Meta::named(script))[0]
    }

    pub(crate) fn file(&mut self, path: &str, content: &str) -> Tree {
        let file = FileAction::MakeFile(MakeFile::new(path, 0o644, content));
        self.graph.file(None, [file], Meta::named(path))
    }
}

pub(crate) struct Built {
    pub(crate) result: Result<BuildResult, EngineError>,
    pub(crate) events: Vec<Event>,
}

impl Built {
    /// The digest of the manifest: of everything.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        self.result.as_ref().unwrap().image.digest.clone()
    }

    /// The last state of each vertex, by name.
    pub(crate) fn states(&self) -> BTreeMap<String, State> {
        let vertices = self.events.iter().filter_map(|event| match event {
            Event::Vertex(vertex) => Some((vertex.name.clone(), vertex.state.clone())),
            Event::Log(_) | Event::Transfer(_) | Event::Warning(_) => None,
        });
        vertices.collect()
    }

    pub(crate) fn ran(&self) -> Vec<String> {
        let ran = |state: &State| matches!(state, State::Done(..));
        self.states()
            .into_iter()
            .filter(|(_, state)| ran(state))
            .map(|(name, _)| name)
            .collect()
    }

    pub(crate) fn log(&self) -> String {
        let logs = self.events.iter().filter_map(|event| match event {
            Event::Log(log) => Some(String::from_utf8_lossy(&log.data).into_owned()),
            Event::Vertex(_) | Event::Transfer(_) | Event::Warning(_) => None,
        });
        logs.collect()
    }
}

/// Builds with both engines, and compares all that can be compared.
pub(crate) async fn check_equal(test: &Test, output: Tree) {
    let ours = test.build(output).await;
    let theirs = test.build_on(&daemon().await, output).await;
    let diff_ids = |built: &Built| -> Vec<String> {
        let layers = &built.result.as_ref().unwrap().image.layers;
        layers.iter().map(|layer| layer.diff_id.clone()).collect()
    };
    if diff_ids(&ours) != diff_ids(&theirs) {
        assert_eq!(ours.log(), theirs.log());
        assert_eq!(
            listing(test, &ours, "layers"),
            listing(test, &theirs, "other layers")
        );
    }
    assert_eq!(diff_ids(&ours), diff_ids(&theirs));
    assert_eq!(ours.digest(), theirs.digest());
    let names = |built: &Built| built.states().into_keys().collect::<Vec<_>>();
    let known: Vec<String> = names(&theirs)
        .into_iter()
        .filter(|name| names(&ours).contains(name))
        .collect();
    assert_eq!(names(&ours), known, "vertices that the daemon does not show");
}

/// Every member of every layer, with all that its header says.
fn listing(test: &Test, built: &Built, folder: &str) -> Vec<String> {
    let image = &built.result.as_ref().unwrap().image;
    let store = kcompose_engine::LayerStore::new(test.path(folder), image.compression);
    let mut lines = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let mut archive = tar::Archive::new(store.unpacked(layer).unwrap());
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            lines.push(format!(
                "{number} {} {:?} {:o} {}:{} {} {}",
                entry.path().unwrap().display(),
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap(),
                header.size().unwrap(),
                header.mtime().unwrap(),
            ));
        }
    }
    lines
}

/// Dates what a script made, so that two runs of it make the same.
pub(crate) const DATED: &str = "; find / -xdev -newer /bin/sh ! -path '/proc*' ! -path '/sys*' ! -path '/dev*' ! -path '/etc/hosts' \
! -path '/etc/resolv.conf' ! -path '/in*' ! -path '/run*' -exec touch -h -d @1600000000 {} +";

pub(crate) fn dated(script: &str) -> String {
    format!("set -e; umask 022; {}{DATED}", script.trim_end())
}
