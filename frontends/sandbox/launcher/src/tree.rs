//! File systems that hang nowhere yet.
//!
//! Everything is opened before the first thing is mounted, so that no mount hides the source of another one.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::report::Failure;
use crate::{Mount, Overlay, Source};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::attempt::{Attempt, failure};
use crate::attributes::{self, Attributes};
use crate::{identity, inside};

/// How overlays are mounted here.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Only the owner of the first user namespace may keep `trusted.` attributes.
    pub user_attributes: bool,
    /// `mount(2)` instead of `fsconfig(2)`, as before Linux 6.8.
    pub old: bool,
}

impl Manner {
    /// How overlays are mounted for this process.
    pub fn of_this_process(old: bool) -> Self {
        Manner {
            user_attributes: !identity::is_first_namespace(),
            old,
        }
    }
}

/// The file system of a mount.
pub fn of_mount(mount: &Mount, manner: Manner) -> Result<Option<OwnedFd>, Failure> {
    match &mount.source {
        Source::Bind(path) => bind(path, mount.read_only).map(Some),
        Source::Overlay(overlay) => of_overlay(overlay, mount.read_only, manner).map(Some),
        Source::Within(overlay, path) => within(overlay, path, mount.read_only, manner).map(Some),
        // Its mode is that of the folder below, which is not known yet.
        Source::Tmpfs { .. } => Ok(None),
    }
}

/// Trees as one file system.
pub fn of_overlay(overlay: &Overlay, read_only: bool, manner: Manner) -> Result<OwnedFd, Failure> {
    match (&overlay.lower[..], &overlay.upper) {
        ([], None) => Err(failure("mounting a file system of trees", "there is no tree")),
        ([], Some(only)) => bind(only, read_only),
        ([only], None) => bind(only, true),
        _ if manner.old => mount_the_old_way(overlay, read_only, manner),
        _ => stack(overlay, read_only, manner),
    }
}

/// Memory as a file system; `options` are pairs of name and value.
pub fn of_memory(options: &[(&str, &str)], read_only: bool) -> Result<OwnedFd, Failure> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let read_only = if read_only {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    } else {
        MountAttrFlags::empty()
    };
    made("tmpfs", options, flags | read_only)
}

/// A file system of the kernel.
pub fn made(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<OwnedFd, Failure> {
    let what = || format!("mounting {kind}");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).attempt(what)?;
    for (name, value) in options {
        fsconfig_set_string(context.as_fd(), *name, *value)
            .attempt(|| format!("mounting {kind} with {name}={value}"))?;
    }
    finished(&context, flags).attempt(what)
}

/// A copy of the mount at a path, with what is mounted below it.
pub fn clone_of(path: &Path) -> Result<OwnedFd, Failure> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).attempt(|| format!("binding {}", path.display()))
}

/// Hangs a file system onto an opened file or folder.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// Opens a folder of the host.
pub fn folder(path: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .attempt(|| format!("opening {}", path.display()))
}

fn bind(path: &Path, read_only: bool) -> Result<OwnedFd, Failure> {
    let tree = clone_of(path)?;
    restrict(&tree, read_only, path)?;
    Ok(tree)
}

fn restrict(tree: &OwnedFd, read_only: bool, path: &Path) -> Result<(), Failure> {
    // Nobody keeps a list of permitted devices here, so a node that a step makes must open nothing.
    let attributes = Attributes {
        read_only,
        no_devices: true,
    };
    attributes::set_attributes(tree.as_fd(), attributes, true)
        .attempt(|| format!("restricting the mount of {}", path.display()))
}

fn within(overlay: &Overlay, path: &Path, read_only: bool, manner: Manner) -> Result<OwnedFd, Failure> {
    let what = || format!("mounting {} of a tree", path.display());
    // Only one tree: no file system has to be made.
    if let ([only], None) | ([], Some(only)) = (&overlay.lower[..], &overlay.upper) {
        let root = folder(only)?;
        let entry = inside::open(root.as_fd(), path, OFlags::PATH).attempt(what)?;
        let tree = bind(&through_descriptor(&entry), read_only || overlay.upper.is_none());
        return tree.map_err(|problem| failure(what(), problem.error));
    }
    let whole = of_overlay(overlay, read_only, manner)?;
    // What hangs nowhere cannot be cloned before Linux 6.15, so it hangs below its own tree for a moment.
    let place = place(overlay);
    let base = folder(&place)?;
    attach(whole.as_fd(), base.as_fd()).attempt(what)?;
    let root = folder(&place)?;
    let entry = inside::open(root.as_fd(), path, OFlags::PATH).attempt(what)?;
    let tree = bind(&through_descriptor(&entry), read_only)?;
    rustix::mount::unmount(&place, UnmountFlags::DETACH).attempt(what)?;
    Ok(tree)
}

fn through_descriptor(file: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// A folder of the overlay that something can be mounted onto.
pub fn place(overlay: &Overlay) -> PathBuf {
    let first = overlay.upper.as_ref().or(overlay.lower.first());
    first.cloned().unwrap_or_default()
}

/// With one parameter for each lower tree (Linux 6.8): any number up to the kernel's 500, any length of path.
fn stack(overlay: &Overlay, read_only: bool, manner: Manner) -> Result<OwnedFd, Failure> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).attempt(|| "opening overlayfs")?;
    let mut opened = Vec::new();
    for lower in &overlay.lower {
        let name = spelling(lower, &mut opened)?;
        match fsconfig_set_string(context.as_fd(), "lowerdir+", name.as_str()) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) if lower == &overlay.lower[0] => {
                return mount_the_old_way(overlay, read_only, manner);
            }
            Err(error) => return Err(refused(&context, lower, error)),
        }
    }
    for (key, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        if let Some(path) = path {
            let name = spelling(path, &mut opened)?;
            fsconfig_set_string(context.as_fd(), key, name.as_str())
                .map_err(|error| refused(&context, path, error))?;
        }
    }
    for (key, value) in settings() {
        fsconfig_set_string(context.as_fd(), key, value)
            .attempt(|| format!("mounting an overlay with {key}={value}"))?;
    }
    for key in switches(overlay, manner) {
        fsconfig_set_flag(context.as_fd(), key).attempt(|| format!("mounting an overlay with {key}"))?;
    }
    let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV;
    if read_only {
        flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    finished(&context, flags).map_err(|error| refused(&context, &place(overlay), error))
}

/// Distributions change the kernel's defaults, and with a redirect or a copied head the upper tree is no layer.
fn settings() -> [(&'static str, &'static str); 3] {
    [
        ("index", "off"),
        ("metacopy", "off"),
        ("redirect_dir", "nofollow"),
    ]
}

fn switches(overlay: &Overlay, manner: Manner) -> impl Iterator<Item = &'static str> {
    // What a killed step wrote is thrown away, so nothing it syncs has to reach the disk.
    let volatile = overlay.upper.is_some().then_some("volatile");
    volatile
        .into_iter()
        .chain(manner.user_attributes.then_some("userxattr"))
}

/// A path as overlayfs takes it: what it would cut or unescape goes by a descriptor, which is kept open in `opened`.
fn spelling(path: &Path, opened: &mut Vec<OwnedFd>) -> Result<String, Failure> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(byte);
    let bytes = path.as_os_str().as_bytes();
    if let Some(text) = path
        .to_str()
        .filter(|text| text.len() < 256 && bytes.iter().all(plain))
    {
        return Ok(text.to_owned());
    }
    let file = folder(path)?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    opened.push(file);
    Ok(name)
}

fn finished(context: &OwnedFd, flags: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
}

/// The kernel leaves its reason in the context.
fn refused(context: &OwnedFd, path: &Path, error: rustix::io::Errno) -> Failure {
    let mut text = [0; 256];
    let reason = match rustix::io::read(context, &mut text) {
        Ok(length) => String::from_utf8_lossy(&text[..length]).trim().to_owned(),
        Err(_) => String::new(),
    };
    let what = format!("mounting an overlay of {}", path.display());
    if reason.is_empty() {
        failure(what, std::io::Error::from(error))
    } else {
        failure(what, format!("{} ({reason})", std::io::Error::from(error)))
    }
}

/// All options of `mount(2)` must fit a page, so each tree goes by the number of a descriptor, below a folder of those.
fn mount_the_old_way(overlay: &Overlay, read_only: bool, manner: Manner) -> Result<OwnedFd, Failure> {
    let place = place(overlay);
    let what = || format!("mounting an overlay of {}", place.display());
    let mut opened = Vec::new();
    let mut number = |path: &PathBuf| -> Result<String, Failure> {
        let file = folder(path)?;
        let number = file.as_raw_fd().to_string();
        opened.push(file);
        Ok(number)
    };
    let lower = overlay
        .lower
        .iter()
        .map(&mut number)
        .collect::<Result<Vec<_>, _>>()?;
    let mut options = vec![format!("lowerdir={}", lower.join(":"))];
    for (key, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        if let Some(path) = path {
            options.push(format!("{key}={}", number(path)?));
        }
    }
    options.extend(settings().map(|(key, value)| format!("{key}={value}")));
    options.extend(switches(overlay, manner).map(str::to_owned));
    let options = CString::new(options.join(",")).attempt(what)?;

    let before = folder(Path::new("."))?;
    rustix::process::chdir("/proc/self/fd").attempt(what)?;
    let mounted = rustix::mount::mount(
        "overlay",
        &place,
        "overlay",
        MountFlags::NODEV,
        Some(options.as_c_str()),
    );
    rustix::process::fchdir(&before).attempt(what)?;
    mounted.attempt(what)?;

    let tree = clone_of(&place)?;
    rustix::mount::unmount(&place, UnmountFlags::DETACH).attempt(what)?;
    restrict(&tree, read_only, &place)?;
    Ok(tree)
}
