//! The embedded engine: executes definitions in this process, with nothing installed.
//!
//! A definition becomes a [graph](graph); each vertex has a [key](cachekey) under which its result is [kept](store). What
//! the result needs and nobody has kept is [scheduled](schedule) and run: a step in the [sandbox](kcompose_sandbox) on
//! trees that lie over each other, a file operation on such a tree. The layers are those that `BuildKit` would make, and so
//! are the events and the errors.

mod accounts;
mod alike;
mod attributes;
mod cachekey;
pub mod contenthash;
mod exec;
mod file;
pub mod fileop;
mod graph;
mod layers;
mod limits;
mod make;
mod monitor;
mod next_launcher;
mod plan;
mod problem;
mod run;
mod schedule;
mod snapshot;
mod source;
mod store;
mod unmounting;

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::background::processors;
use crate::bridge::{Bridge, Job, Solving};
use crate::capabilities::Capabilities;
use crate::event::Events;
use crate::store::Store;

pub use limits::StepLimits;
pub use store::{Pruned, Summary, TreeId, Trees};

/// Whether sources may come from outside of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// What the stores lack is fetched.
    #[default]
    Online,
    /// What the stores lack is an error.
    Offline,
}

/// What an embedded engine is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder for trees and records.
    pub folder: PathBuf,
    /// Packages that are here already, and those that it fetches.
    pub store: Store,
    /// Whether it may fetch.
    pub reach: Reach,
    /// How many steps run at a time; one more than there are processors if not said.
    pub parallelism: Option<usize>,
    /// The most bytes of trees that are kept after a build.
    pub limit: u64,
    /// What each step may use up.
    pub steps: StepLimits,
    /// The network for steps that want one.
    pub network: StepNetwork,
}

/// The network of the steps that ask for one. The embedded engine has none of its own for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepNetwork {
    /// A graph with such a step is refused.
    #[default]
    Refused,
    /// Such a step is in this machine's network namespace: it reaches services on loopback, abstract sockets, and the metadata
    /// service of a cloud. `BuildKit`'s entitlement `network.host` is the same.
    Host,
}

/// The bytes of trees that are kept if nobody says how many.
const LIMIT: u64 = 20 << 30;

impl Settings {
    /// An engine that keeps its trees beside a store.
    pub fn beside(store: Store, reach: Reach) -> Self {
        Settings {
            folder: Trees::beside(&store).root().to_owned(),
            store,
            reach,
            parallelism: None,
            limit: LIMIT,
            steps: StepLimits::default(),
            network: StepNetwork::default(),
        }
    }
}

/// An engine inside of this process.
#[derive(Clone, Debug)]
pub struct Embedded {
    settings: Settings,
    capabilities: Capabilities,
}

impl Embedded {
    /// An engine. Nothing happens before the first build.
    pub fn new(settings: Settings) -> Self {
        Embedded {
            settings,
            capabilities: Capabilities::new(CAPABILITIES),
        }
    }

    /// Its trees and records.
    pub fn trees(&self) -> Trees {
        Trees::new(&self.settings.folder)
    }

    /// How many steps run at a time: one that waits for a disk leaves its processor to another.
    fn steps(&self) -> usize {
        self.settings
            .parallelism
            .unwrap_or_else(|| processors() + 1)
            .max(1)
    }
}

impl Bridge for Embedded {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn place(&self) -> String {
        "this process".to_owned()
    }

    fn reaches_loopback(&self) -> bool {
        true
    }

    fn reads_store(&self) -> bool {
        true
    }

    fn solve<'a>(&'a self, job: &'a Job, events: &'a Events, cancel: &'a CancellationToken) -> Solving<'a> {
        Box::pin(schedule::solve(self, job, events, cancel))
    }
}

/// What it does, in `BuildKit`'s words (`solver/pb/caps.go`).
const CAPABILITIES: [&str; 30] = [
    "diffop",
    "exec.meta.base",
    "exec.meta.network",
    "exec.mount.bind",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.secret",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "file.base",
    "file.copy.alwaysreplaceexistingdestpaths",
    "file.copy.includeexcludepatterns",
    "file.rm.wildcard",
    "file.symlink.create",
    "mergeop",
    "meta.description",
    "meta.ignorecache",
    "platform",
    "source.http",
    "source.http.checksum",
    "source.http.perm",
    "source.image",
    "source.local",
    "source.local.differ",
    "source.local.excludepatterns",
    "source.local.followpaths",
    "source.local.includepatterns",
    "source.local.sharedkeyhint",
    "source.local.unique",
];
