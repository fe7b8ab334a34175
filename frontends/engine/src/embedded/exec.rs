//! Runs a step: an operation's mounts as those of the sandbox, and what it wrote as trees.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use kcompose_core::llb::proto::pb;
use kcompose_sandbox::{Ending, Limits, Mount, Network, Overlay, ResourceLimit, Source, Spec, Stream};
use kcompose_scratch::Folder;

use super::accounts::user;
use super::problem::Problem;
use super::run::{Work, seal_tree};
use super::store::{CacheFolder, Claim, Draft, TreeId};
use super::unmounting::take_out;

/// `PATH` where a definition names none, as the daemon has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a step, that far behind others; the trees of those outputs that somebody wants.
pub(super) async fn exec(
    work: &Arc<Work>,
    vertex: usize,
    nice: u64,
    op: &pb::ExecOp,
    inputs: &[Vec<TreeId>],
) -> Result<Claim, Problem> {
    refuse(op)?;
    let draft = work
        .build
        .draft()
        .map(Arc::new)
        .map_err(Problem::io("write", work.build.trees().root()))?;
    let caches = caches(work, op).await?;
    let mut prepared = Prepared::new(work, &draft, inputs, &caches);
    let mut spec = prepared.spec(op)?;
    spec.limits.nice = nice;
    let sink = |stream: Stream, bytes: &[u8]| work.monitor.log(vertex, stream == Stream::Stderr, bytes);
    let standby = work.next_launcher.take(&spec.limits).await;
    let ended = kcompose_sandbox::run_on(standby, &spec, sink, &work.cancel).await;
    let ended = ended.map_err(|problem| sandbox_failed(&problem))?;
    work.unmounting.add(ended.unmounted, Arc::clone(&draft));
    if !ended.left.is_empty() {
        let text = "the step left processes running, which were ended with it";
        work.monitor.warning(vertex, text, ended.left);
    }
    if let Some(problem) = work.limits.problem(ended.ending, work.build.trees().root()) {
        return Err(problem);
    }
    check(
        ended.ending,
        op.meta.as_ref().map_or(&[], |meta| &meta.valid_exit_codes),
    )?;
    let written = std::mem::take(&mut prepared.written);
    drop(prepared);
    keep(work, vertex, written).await
}

/// What no definition of ours has, and what would be wrong to pass over.
fn refuse(op: &pb::ExecOp) -> Result<(), Problem> {
    if op.security != i32::from(pb::SecurityMode::Sandbox) {
        return Err(Problem::Unsupported(
            "steps with all rights of the host".to_owned(),
        ));
    }
    if !op.cdi_devices.is_empty() {
        return Err(Problem::Unsupported("devices of the host for steps".to_owned()));
    }
    Ok(())
}

fn check(ending: Ending, valid: &[i32]) -> Result<(), Problem> {
    match ending {
        Ending::Exited(code) if code == 0 && valid.is_empty() || valid.contains(&code) => Ok(()),
        Ending::Exited(code) => Err(Problem::Exit(code.unsigned_abs())),
        // As a shell has it.
        Ending::Signalled(signal) => Err(Problem::Exit(128 + signal.unsigned_abs())),
        Ending::Cancelled => Err(Problem::Cancelled),
        Ending::TimedOut
        | Ending::OutputLimit
        | Ending::DiskLimit
        | Ending::ProcessLimit
        | Ending::MemoryLimit => unreachable!("a limit that was met is a problem of its own"),
    }
}

fn sandbox_failed(problem: &kcompose_sandbox::Problem) -> Problem {
    match problem {
        // The daemon's code for a program that is not there.
        kcompose_sandbox::Problem::Program { .. } => Problem::Ended(format!("cannot start: {problem}")),
        _ => Problem::Failed(problem.to_string()),
    }
}

/// A folder that a step writes to.
#[derive(Debug)]
struct Written {
    /// The number of the output.
    index: usize,
    /// The folder with `fs` in it.
    folder: PathBuf,
    /// The trees below, the lowest first.
    below: Vec<TreeId>,
}

/// A step's mounts, and what has to stay while it runs.
struct Prepared<'a> {
    work: &'a Work,
    draft: &'a Draft,
    inputs: &'a [Vec<TreeId>],
    written: Vec<Written>,
    /// Secrets on a disk of memory.
    secrets: Option<Folder>,
    caches: &'a BTreeMap<String, CacheFolder>,
    folders: usize,
}

impl<'a> Prepared<'a> {
    fn new(
        work: &'a Work,
        draft: &'a Draft,
        inputs: &'a [Vec<TreeId>],
        caches: &'a BTreeMap<String, CacheFolder>,
    ) -> Self {
        Prepared {
            work,
            draft,
            inputs,
            written: Vec::new(),
            secrets: None,
            caches,
            folders: 0,
        }
    }

    fn spec(&mut self, op: &pb::ExecOp) -> Result<Spec, Problem> {
        let meta = op.meta.clone().unwrap_or_default();
        let mut root = None;
        let mut mounts = Vec::new();
        let mut outputs = 0;
        for mount in &op.mounts {
            let index = (mount.output >= 0).then(|| {
                // Results are counted in the order of the mounts, whatever number the mount says.
                outputs += 1;
                outputs - 1
            });
            if mount.dest == "/" {
                root = Some((self.root(mount, index)?, mount.readonly));
            } else {
                mounts.extend(self.mount(mount, index)?);
            }
        }
        let (root, root_read_only) = root.ok_or_else(|| Problem::Failed("it has no root".to_owned()))?;
        // Parents first, whatever the order in the definition.
        mounts.sort_by(|one: &Mount, other| one.target.cmp(&other.target));
        let user = user(&meta.user, &root.lower)?;
        Ok(Spec {
            root,
            root_read_only,
            mounts,
            environment: self.environment(&meta, &op.secretenv)?,
            arguments: meta.args,
            directory: Path::new("/").join(if meta.cwd.is_empty() { "/" } else { &meta.cwd }),
            user,
            hostname: if meta.hostname.is_empty() {
                kcompose_sandbox::HOSTNAME.to_owned()
            } else {
                meta.hostname
            },
            hosts: meta
                .extra_hosts
                .into_iter()
                .map(|host| (host.ip, host.host))
                .collect(),
            network: network(op.network)?,
            limits: Limits {
                resources: meta.ulimit.iter().map(limit).collect(),
                ..self.work.limits.of_step(self.draft.path())
            },
            new_privileges: false,
            remove_stub_parents: meta.remove_mount_stubs_recursive,
        })
    }

    fn root(&mut self, mount: &pb::Mount, index: Option<usize>) -> Result<Overlay, Problem> {
        let below = self
            .input(mount)?
            .ok_or_else(|| Problem::Failed("its root has no input".to_owned()))?;
        // Without an output it is still written to; that is thrown away.
        self.writable(index, below)
    }

    fn mount(&mut self, mount: &pb::Mount, index: Option<usize>) -> Result<Option<Mount>, Problem> {
        let kind = pb::MountType::try_from(mount.mount_type);
        let (source, read_only) = match kind {
            Ok(pb::MountType::Bind) => self.bind(mount, index)?,
            Ok(pb::MountType::Tmpfs) => {
                let size = mount.tmpfs_opt.as_ref().map_or(0, |options| options.size);
                let size = u64::try_from(size).ok().filter(|size| *size > 0);
                (Source::Tmpfs { size }, mount.readonly)
            }
            Ok(pb::MountType::Secret) => match self.secret(mount)? {
                Some(path) => (Source::Bind(path), true),
                None => return Ok(None),
            },
            Ok(pb::MountType::Cache) => (Source::Bind(self.cache(mount)?), mount.readonly),
            Ok(pb::MountType::Ssh) => return Err(Problem::Unsupported("agents of SSH for steps".to_owned())),
            Err(_) => return Err(Problem::Unsupported("such mounts for steps".to_owned())),
        };
        Ok(Some(Mount {
            target: Path::new("/").join(&mount.dest),
            source,
            read_only,
        }))
    }

    fn bind(&mut self, mount: &pb::Mount, index: Option<usize>) -> Result<(Source, bool), Problem> {
        let below = self.input(mount)?;
        if mount.readonly || (index.is_none() && below.is_some()) {
            let trees = below.unwrap_or_default();
            let overlay = self.readable(&trees)?;
            let selector = mount.selector.trim_matches('/');
            let source = if selector.is_empty() {
                Source::Overlay(overlay)
            } else {
                Source::Within(overlay, PathBuf::from(selector))
            };
            return Ok((source, true));
        }
        let overlay = self.writable(index, below.unwrap_or_default())?;
        let selector = mount.selector.trim_matches('/');
        if selector.is_empty() {
            Ok((Source::Overlay(overlay), false))
        } else {
            Ok((Source::Within(overlay, PathBuf::from(selector)), false))
        }
    }

    /// Trees that are only read.
    fn readable(&mut self, trees: &[TreeId]) -> Result<Overlay, Problem> {
        let mut lower = self.work.lowers(trees)?;
        if lower.is_empty() {
            lower.push(self.folder("empty")?);
        }
        Ok(Overlay {
            lower,
            upper: None,
            work: None,
        })
    }

    /// Trees with a new one on top.
    fn writable(&mut self, index: Option<usize>, below: Vec<TreeId>) -> Result<Overlay, Problem> {
        let folder = self.folder("written")?;
        let upper = folder.join("fs");
        fs::create_dir(&upper).map_err(Problem::io("write", &upper))?;
        set_mode(&upper)?;
        let lower = self.work.lowers(&below)?;
        let work = match lower.is_empty() {
            true => None,
            false => Some(self.folder("work")?),
        };
        if let Some(index) = index {
            self.written.push(Written { index, folder, below });
        }
        Ok(Overlay {
            lower,
            upper: Some(upper),
            work,
        })
    }

    fn folder(&mut self, name: &str) -> Result<PathBuf, Problem> {
        self.folders += 1;
        let folder = self.draft.folder(&format!("{name}{}", self.folders));
        folder.map_err(Problem::io("write", self.draft.path()))
    }

    fn input(&self, mount: &pb::Mount) -> Result<Option<Vec<TreeId>>, Problem> {
        if mount.input < 0 {
            return Ok(None);
        }
        let input = usize::try_from(mount.input)
            .ok()
            .and_then(|at| self.inputs.get(at));
        let input = input.ok_or_else(|| Problem::Failed("it mounts an input that it has not".to_owned()))?;
        Ok(Some(input.clone()))
    }

    /// A file in memory with the secret; `None` if it may be missing and is.
    fn secret(&mut self, mount: &pb::Mount) -> Result<Option<PathBuf>, Problem> {
        let options = mount.secret_opt.clone().unwrap_or_default();
        let Some(value) = self.work.secret(&options.id, options.optional)? else {
            return Ok(None);
        };
        if self.secrets.is_none() {
            self.secrets = Some(memory()?);
        }
        let folder = self
            .secrets
            .as_ref()
            .map(|folder| folder.path().to_owned())
            .unwrap_or_default();
        self.folders += 1;
        let path = folder.join(self.folders.to_string());
        let write = || {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            file.write_all(&value)?;
            std::os::unix::fs::chown(&path, Some(options.uid), Some(options.gid))?;
            fs::set_permissions(
                &path,
                std::os::unix::fs::PermissionsExt::from_mode(options.mode & 0o7777),
            )
        };
        write().map_err(Problem::io("write", &path))?;
        Ok(Some(path))
    }

    fn cache(&self, mount: &pb::Mount) -> Result<PathBuf, Problem> {
        let folder = mount
            .cache_opt
            .as_ref()
            .and_then(|options| self.caches.get(&options.id));
        let folder = folder.ok_or_else(|| Problem::Failed("it mounts a cache without a name".to_owned()))?;
        Ok(folder.path().to_owned())
    }

    fn environment(&self, meta: &pb::Meta, secrets: &[pb::SecretEnv]) -> Result<Vec<String>, Problem> {
        let mut environment = meta.env.clone();
        if !environment.iter().any(|variable| variable.starts_with("PATH=")) {
            environment.insert(0, PATH.to_owned());
        }
        for secret in secrets {
            if let Some(value) = self.work.secret(&secret.id, secret.optional)? {
                environment.push(format!("{}={}", secret.name, String::from_utf8_lossy(&value)));
            }
        }
        Ok(environment)
    }
}

/// The folders of all cache mounts, by name; some are waited for.
async fn caches(work: &Work, op: &pb::ExecOp) -> Result<BTreeMap<String, CacheFolder>, Problem> {
    let named: BTreeMap<&str, i32> = op
        .mounts
        .iter()
        .filter_map(|mount| mount.cache_opt.as_ref())
        .map(|options| (options.id.as_str(), options.sharing))
        .collect();
    let mut folders = BTreeMap::new();
    for (id, sharing) in named {
        let sharing = pb::CacheSharingOpt::try_from(sharing).unwrap_or(pb::CacheSharingOpt::Shared);
        let folder = tokio::select! {
            folder = work.build.cache_folder(id, sharing) => folder,
            () = work.cancel.cancelled() => return Err(Problem::Cancelled),
        };
        let folder = folder.map_err(Problem::io("write", work.build.trees().root()))?;
        folders.insert(id.to_owned(), folder);
    }
    Ok(folders)
}

/// A folder on a disk of memory, where nothing outlives the machine's power.
fn memory() -> Result<Folder, Problem> {
    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() {
        Folder::within(shared, "kcompose-")
    } else {
        Folder::new()
    };
    folder.map_err(Problem::io("write", shared))
}

/// The root of a tree is what its layer does not say; every tree has the same.
fn set_mode(folder: &Path) -> Result<(), Problem> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder, mode).map_err(Problem::io("write", folder))
}

fn network(mode: i32) -> Result<Network, Problem> {
    match pb::NetMode::try_from(mode) {
        Ok(pb::NetMode::None) => Ok(Network::None),
        Ok(pb::NetMode::Unset | pb::NetMode::Host) => Ok(Network::Host),
        Err(_) => Err(Problem::Unsupported("such networks for steps".to_owned())),
    }
}

fn limit(limit: &pb::Ulimit) -> ResourceLimit {
    // A negative number is no limit.
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    ResourceLimit {
        name: limit.name.clone(),
        soft: value(limit.soft),
        hard: value(limit.hard),
    }
}

/// Keeps what a step wrote where somebody wants it.
async fn keep(work: &Arc<Work>, vertex: usize, written: Vec<Written>) -> Result<Claim, Problem> {
    let mut outputs = BTreeMap::new();
    for Written { index, folder, below } in written {
        if work.wanted[vertex].contains(&index) {
            take_out(&folder).map_err(Problem::io("write", &folder))?;
            let tree = seal_tree(work, folder, &below).await?;
            outputs.insert(index, [below, vec![tree]].concat());
        }
    }
    Ok(outputs)
}
