//! The root of a step, and what has to be there before its namespaces are.
//!
//! The launcher mounts the root in a mount namespace of its own, where nothing is ever mounted above it; the step's mount
//! namespace is a copy. So the launcher sees the bare root while the step runs and after it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use kcompose_launcher::report::Failure;
use kcompose_launcher::{Job, Overlay, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use crate::stubs::Stubs;
use crate::system;
use kcompose_launcher::attempt::{Attempt, failure};
use kcompose_launcher::inside;
use kcompose_launcher::tree::{self, Manner};

/// What stands before the step's first process is.
#[derive(Debug)]
pub(crate) struct World {
    /// The bare root.
    pub(crate) root: OwnedFd,
    /// Where the root is mounted.
    pub(crate) root_path: PathBuf,
    /// What the step mounts, in the order of the spec; memory comes later.
    pub(crate) mounts: Vec<Option<OwnedFd>>,
    /// `/etc/resolv.conf`, `/etc/hosts`.
    pub(crate) files: [(PathBuf, &'static str); 2],
    /// What was made to mount upon, and goes afterwards.
    pub(crate) stubs: Stubs,
}

/// Builds the root in a mount namespace of this process.
pub(crate) fn build(job: &Job) -> Result<World, Failure> {
    let spec = &job.spec;
    system::unshare(UnshareFlags::NEWNS).attempt(|| "making a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .attempt(|| "separating the mounts from the host's")?;
    // Modes are meant as they are written.
    rustix::process::umask(Mode::empty());

    let manner = Manner::of_this_process(job.old_mounts);
    let mounts = spec
        .mounts
        .iter()
        .map(|mount| tree::of_mount(mount, manner))
        .collect::<Result<Vec<_>, _>>()?;
    let (stage, root) = staged_root(&spec.root, manner)?;
    let root_path = stage.join("root");
    tree::attach(root.as_fd(), tree::folder(&root_path)?.as_fd()).attempt(|| "mounting the root")?;
    let root = tree::folder(&root_path)?;
    let files = [
        (
            write(&stage, "resolv.conf", &job.resolv_conf)?,
            "/etc/resolv.conf",
        ),
        (write(&stage, "hosts", &hosts(spec))?, "/etc/hosts"),
    ];
    let targets = files
        .iter()
        .map(|(_, target)| Path::new(*target))
        .chain(spec.mounts.iter().map(|mount| &*mount.target));
    let stubs = Stubs::missing(root.as_fd(), targets, spec.remove_stub_parents);
    make_directory(&root, spec)?;
    Ok(World {
        root,
        root_path,
        mounts,
        files,
        stubs,
    })
}

/// A stage of memory, mounted over one of the root's own trees, and the root that will be mounted on it.
fn staged_root(overlay: &Overlay, manner: Manner) -> Result<(PathBuf, OwnedFd), Failure> {
    let place = tree::place(overlay);
    let stage = tree::of_memory(&[("mode", "0700")], false)?;
    let make = |name: &str| {
        rustix::fs::mkdirat(
            &stage,
            name,
            Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH,
        )
        .attempt(|| "making the stage")
    };
    make("root")?;
    if overlay.upper.is_some() {
        let root = tree::of_overlay(overlay, false, manner)?;
        hang(&stage, &place)?;
        return Ok((place, root));
    }
    // Mount points may have to be made, so there is an upper tree that nobody keeps. The trees below are opened first:
    // the stage hides one of them.
    make("upper")?;
    make("work")?;
    let opened = overlay
        .lower
        .iter()
        .map(|path| tree::folder(path))
        .collect::<Result<Vec<_>, _>>()?;
    if opened.is_empty() {
        return Err(failure("mounting the root", "there is no tree"));
    }
    hang(&stage, &place)?;
    let name =
        |file: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
    let kept_nowhere = Overlay {
        lower: opened.iter().map(name).collect(),
        upper: Some(place.join("upper")),
        work: Some(place.join("work")),
    };
    let root = tree::of_overlay(&kept_nowhere, false, manner)?;
    Ok((place, root))
}

fn hang(stage: &OwnedFd, place: &Path) -> Result<(), Failure> {
    tree::attach(stage.as_fd(), tree::folder(place)?.as_fd()).attempt(|| "mounting the stage")
}

fn write(stage: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = stage.join(name);
    std::fs::write(&path, text).attempt(|| format!("writing {name}"))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&path, mode).attempt(|| format!("writing {name}"))?;
    Ok(path)
}

/// As BuildKit writes it (`executor/oci/hosts.go`).
fn hosts(spec: &Spec) -> String {
    let mut text = format!(
        "127.0.0.1\tlocalhost {}\n::1\tlocalhost ip6-localhost ip6-loopback\n",
        spec.hostname
    );
    for (address, name) in &spec.hosts {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// The working directory is the user's, if it has to be made; BuildKit makes it before anything is mounted.
fn make_directory(root: &OwnedFd, spec: &Spec) -> Result<(), Failure> {
    let what = || format!("making the working directory {}", spec.directory.display());
    let real = inside::real_path(root.as_fd(), &spec.directory).attempt(what)?;
    let missing: Vec<&Path> = real
        .ancestors()
        .take_while(|path| inside::open(root.as_fd(), path, OFlags::PATH).is_err())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    inside::make_folder(root.as_fd(), &real).attempt(what)?;
    for path in missing {
        let folder = inside::open(root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY).attempt(what)?;
        let (uid, gid) = (spec.user.uid, spec.user.gid);
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::fchown(&folder, Some(owner.0), Some(owner.1)).attempt(what)?;
    }
    Ok(())
}
