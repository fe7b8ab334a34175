//! Programs that run in a container.

use super::caps;
use super::graph::{Draft, Inputs, Output, index};
use super::proto::pb;

/// A program that runs in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Its environment. The daemon adds `PATH` if it is missing.
    pub env: Vec<(String, String)>,
    /// The directory it starts in.
    pub directory: String,
    /// Who it runs as; root if empty.
    pub user: String,
    /// What it may reach.
    pub network: Network,
    /// The root file system, writable. It can't be scratch: the daemon refuses a root without an input.
    pub root: Output,
    /// What else is mounted. The daemon mounts parents first, whatever the order here.
    pub mounts: Vec<Mount>,
}

impl Exec {
    /// A program in a root, as root, in `/`, without network, environment and further mounts.
    pub fn new(root: Output, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Exec {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            directory: "/".into(),
            user: String::new(),
            network: Network::None,
            root,
            mounts: Vec::new(),
        }
    }

    /// The same with one more variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The same with one more mount.
    pub fn mount(mut self, destination: impl Into<String>, kind: MountKind) -> Self {
        self.mounts.push(Mount {
            destination: destination.into(),
            kind,
        });
        self
    }
}

/// What a program may reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Nothing but its own loopback.
    #[default]
    None,
    /// What the daemon gives to builds.
    Default,
}

/// Something mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, as an absolute path.
    pub destination: String,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file system, or one path of it, read-only.
    Input {
        /// The file system.
        from: Output,
        /// The path in it that is mounted; all of it if `None`.
        selector: Option<String>,
    },
    /// A file system that the program changes; what it becomes is an output of the exec.
    Writable {
        /// What it holds at the start; scratch if `None`.
        from: Option<Output>,
    },
    /// Memory that is gone afterwards.
    Tmpfs {
        /// The limit in bytes.
        size: Option<u64>,
    },
    /// A secret that the client gives; it is in no layer and no cache key.
    Secret {
        /// Its name.
        id: String,
        /// Permission bits of the file.
        mode: u32,
        /// Whether the program runs without it too.
        optional: bool,
    },
    /// A directory that stays on the daemon between builds.
    Cache {
        /// Its name.
        id: String,
        /// Who uses it at the same time.
        sharing: CacheSharing,
    },
}

/// Who uses a cache directory at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    /// Anybody.
    Shared,
    /// One; another gets a directory of its own.
    Private,
    /// One; another waits.
    Locked,
}

/// How many mounts have an output.
pub(super) fn writable(exec: &Exec) -> usize {
    exec.mounts
        .iter()
        .filter(|mount| matches!(mount.kind, MountKind::Writable { .. }))
        .count()
}

pub(super) fn draft(exec: &Exec) -> Draft {
    let mut inputs = Inputs::default();
    let mut caps = vec![caps::EXEC_BASE, caps::EXEC_MOUNT_BIND];
    let mut outputs = 0;
    let root = Mount {
        destination: "/".into(),
        kind: MountKind::Writable {
            from: Some(exec.root),
        },
    };
    let mounts: Vec<pb::Mount> = std::iter::once(&root)
        .chain(&exec.mounts)
        .map(|mount| message(mount, &mut inputs, &mut outputs, &mut caps))
        .collect();
    let network = match exec.network {
        Network::None => pb::NetMode::None,
        Network::Default => pb::NetMode::Unset,
    };
    if network != pb::NetMode::Unset {
        caps.push(caps::EXEC_NETWORK);
    }
    let meta = pb::Meta {
        args: exec.args.clone(),
        env: exec
            .env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        cwd: exec.directory.clone(),
        user: exec.user.clone(),
        ..pb::Meta::default()
    };
    let op = pb::ExecOp {
        meta: Some(meta),
        mounts,
        network: network.into(),
        ..pb::ExecOp::default()
    };
    Draft {
        on_platform: true,
        ..Draft::new(inputs, caps, pb::op::Op::Exec(op))
    }
}

fn message(
    mount: &Mount,
    inputs: &mut Inputs,
    outputs: &mut usize,
    caps: &mut Vec<&'static str>,
) -> pb::Mount {
    let mut message = pb::Mount {
        input: -1,
        output: -1,
        dest: mount.destination.clone(),
        ..pb::Mount::default()
    };
    match &mount.kind {
        MountKind::Input { from, selector } => {
            message.input = inputs.number(Some(*from));
            message.readonly = true;
            if let Some(selector) = selector {
                caps.push(caps::EXEC_MOUNT_SELECTOR);
                message.selector = selector.clone();
            }
        }
        MountKind::Writable { from } => {
            message.input = inputs.number(*from);
            // The daemon numbers outputs by the order of the mounts and ignores this number; another one here would
            // name the wrong tree without any error.
            message.output = index(*outputs);
            *outputs += 1;
        }
        MountKind::Tmpfs { size } => {
            caps.push(caps::EXEC_MOUNT_TMPFS);
            message.mount_type = pb::MountType::Tmpfs.into();
            let size = size.map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX));
            if size != 0 {
                caps.push(caps::EXEC_MOUNT_TMPFS_SIZE);
            }
            message.tmpfs_opt = Some(pb::TmpfsOpt { size });
        }
        MountKind::Secret { id, mode, optional } => {
            caps.push(caps::EXEC_MOUNT_SECRET);
            message.mount_type = pb::MountType::Secret.into();
            message.secret_opt = Some(pb::SecretOpt {
                id: id.clone(),
                uid: 0,
                gid: 0,
                mode: *mode,
                optional: *optional,
            });
        }
        MountKind::Cache { id, sharing } => {
            caps.extend([caps::EXEC_MOUNT_CACHE, caps::EXEC_MOUNT_CACHE_SHARING]);
            message.mount_type = pb::MountType::Cache.into();
            let sharing = match sharing {
                CacheSharing::Shared => pb::CacheSharingOpt::Shared,
                CacheSharing::Private => pb::CacheSharingOpt::Private,
                CacheSharing::Locked => pb::CacheSharingOpt::Locked,
            };
            message.cache_opt = Some(pb::CacheOpt {
                id: id.clone(),
                sharing: sharing.into(),
            });
        }
    }
    message
}
