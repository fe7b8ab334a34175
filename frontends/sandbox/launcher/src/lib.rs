//! What the launcher is told, and what it tells.
//!
//! The library holds the description of a step and its form on the wire, which both sides share. The program beside it
//! (`main.rs`) is single-threaded, so that it may fork, and static, so that it runs wherever the caller runs.

use std::path::PathBuf;
use std::time::Duration;

pub mod attempt;
pub mod attributes;
mod groups;
pub mod identity;
pub mod inside;
pub mod report;
pub mod tree;
pub mod wire;

pub use groups::remove_groups;
use wire::wire_struct;

/// The name that BuildKit gives to the machine of a step.
pub const HOSTNAME: &str = "buildkitsandbox";

/// A step: a program, and the world that it sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The root file system. Without an upper tree, what the step writes is thrown away.
    pub root: Overlay,
    /// Whether the step may not write to its root.
    pub root_read_only: bool,
    /// What is mounted above the root, in this order.
    pub mounts: Vec<Mount>,
    /// The program and its arguments; a program without `/` is looked for on the step's `PATH`.
    pub arguments: Vec<String>,
    /// `NAME=value`, in the order in which the program sees them.
    pub environment: Vec<String>,
    /// Where the program starts; made if it is missing.
    pub directory: PathBuf,
    /// Who runs it.
    pub user: User,
    /// The name of the machine.
    pub hostname: String,
    /// More lines of `/etc/hosts`: address, name.
    pub hosts: Vec<(String, String)>,
    /// What the step can reach.
    pub network: Network,
    /// What the step may use up.
    pub limits: Limits,
    /// Whether setuid programs and file capabilities work; without, nothing in the step gains a right.
    pub new_privileges: bool,
    /// Whether folders that were made to hold a mount point go as well, when they are empty afterwards.
    pub remove_stub_parents: bool,
}

/// A file system made of trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// What is read, the topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go; without it nothing can be changed.
    pub upper: Option<PathBuf>,
    /// An empty folder on the file system of `upper`.
    pub work: Option<PathBuf>,
}

/// Something mounted in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, as the step sees it.
    pub target: PathBuf,
    /// What.
    pub source: Source,
    /// Whether the step may not write to it.
    pub read_only: bool,
}

/// What can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or a folder of the host.
    Bind(PathBuf),
    /// Trees.
    Overlay(Overlay),
    /// A file or a folder inside of trees; symbolic links are followed inside of them.
    Within(Overlay, PathBuf),
    /// Memory.
    Tmpfs {
        /// The most it holds, in bytes.
        size: Option<u64>,
    },
}

/// What a step can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Itself.
    #[default]
    None,
    /// What the host reaches.
    Host,
}

/// Who runs a step, in the ids of the step's user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
}

/// What a step may use up. What is not named is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How long it runs.
    pub timeout: Option<Duration>,
    /// Between the request to end and the end: two seconds if not said.
    pub grace: Option<Duration>,
    /// Bytes on stdout and stderr together.
    pub output: Option<u64>,
    /// Bytes of memory; holds where a cgroup can be made.
    pub memory: Option<u64>,
    /// Processes at once; holds where a cgroup can be made. Elsewhere an ordinary user's step may have about as many
    /// more as that user has at all.
    pub processes: Option<u64>,
    /// Bytes that are written to trees and bound folders, which are looked at several times a second.
    pub disk: Option<u64>,
    /// How far behind others it stands in the scheduler's queue, 0 to 19 (sched(7), "The nice value").
    pub nice: u64,
    /// Limits of each process, as `setrlimit` has them.
    pub resources: Vec<ResourceLimit>,
}

/// A limit of each process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// Its name in lower case without `RLIMIT_`: `nofile`.
    pub name: String,
    /// What holds.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// What all processes of a step together may use up: what the launcher reads first, perhaps long before there is a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupLimits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Processes at once.
    pub processes: Option<u64>,
}

impl Limits {
    /// Those of them that hold for all processes together.
    pub fn of_group(&self) -> GroupLimits {
        GroupLimits {
            memory: self.memory,
            processes: self.processes,
        }
    }
}

/// What the launcher reads then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The step.
    pub spec: Spec,
    /// The contents of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// The seccomp filter, an instruction of eight bytes each.
    pub filter: Vec<u64>,
    /// Whether overlays are mounted in the way of kernels before 6.8.
    pub old_mounts: bool,
    /// Whether the launcher first takes the rights that building takes, and says what it got.
    pub enter: bool,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            root: Overlay::default(),
            root_read_only: false,
            mounts: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            directory: "/".into(),
            user: User::default(),
            hostname: HOSTNAME.into(),
            hosts: Vec::new(),
            network: Network::None,
            limits: Limits::default(),
            new_privileges: false,
            remove_stub_parents: false,
        }
    }
}

wire_struct!(Spec {
    root,
    root_read_only,
    mounts,
    arguments,
    environment,
    directory,
    user,
    hostname,
    hosts,
    network,
    limits,
    new_privileges,
    remove_stub_parents,
});
wire_struct!(Overlay { lower, upper, work });
wire_struct!(Mount {
    target,
    source,
    read_only
});
wire_struct!(User { uid, gid, groups });
wire_struct!(Limits {
    timeout,
    grace,
    output,
    memory,
    processes,
    disk,
    nice,
    resources
});
wire_struct!(GroupLimits { memory, processes });
wire_struct!(ResourceLimit { name, soft, hard });
wire_struct!(Job {
    spec,
    resolv_conf,
    filter,
    old_mounts,
    enter
});

impl wire::Wire for Source {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Source::Bind(path) => (0u32, path.clone()).put(out),
            Source::Overlay(overlay) => (1u32, overlay.clone()).put(out),
            Source::Within(overlay, path) => (2u32, (overlay.clone(), path.clone())).put(out),
            Source::Tmpfs { size } => (3u32, *size).put(out),
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(match u32::take(input)? {
            0 => Source::Bind(wire::Wire::take(input)?),
            1 => Source::Overlay(wire::Wire::take(input)?),
            2 => Source::Within(wire::Wire::take(input)?, wire::Wire::take(input)?),
            3 => Source::Tmpfs {
                size: wire::Wire::take(input)?,
            },
            _ => return None,
        })
    }
}

impl wire::Wire for Network {
    fn put(&self, out: &mut Vec<u8>) {
        (*self == Network::Host).put(out);
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        bool::take(input).map(|host| if host { Network::Host } else { Network::None })
    }
}
