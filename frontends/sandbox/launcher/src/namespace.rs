//! What a step sees, mounted by the first process of its namespaces.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use kcompose_launcher::report::Failure;
use kcompose_launcher::{Network, Source, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::thread::UnshareFlags;

use crate::system;
use crate::world::World;
use kcompose_launcher::attempt::{Attempt, failure};
use kcompose_launcher::attributes::{self, Attributes};
use kcompose_launcher::inside;
use kcompose_launcher::tree;

/// What Docker hides.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker lets be read only.
const READ_ONLY: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The device nodes of a step.
const NODES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Links that programs expect in `/dev`.
const LINKS: [(&str, &str); 6] = [
    ("core", "/proc/kcore"),
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// The group that terminals belong to on every distribution.
const TTY_GROUP: &str = "5";

/// Leaves the host: new namespaces, the step's mounts, the step's root.
pub(crate) fn enter(spec: &Spec, world: &World) -> Result<(), Failure> {
    let mut flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWCGROUP;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    system::unshare(flags).attempt(|| "making namespaces")?;
    system::set_host_name(&spec.hostname).attempt(|| "naming the machine")?;
    if spec.network == Network::None {
        system::raise_loopback().attempt(|| "switching the loopback interface on")?;
    }
    // The copy of the root that is in this namespace.
    let root = tree::folder(&world.root_path)?;
    kernel_file_systems(&root, spec)?;
    for (file, target) in &world.files {
        let tree = tree::clone_of(file)?;
        attributes::set_attributes(tree.as_fd(), RESTRICTED, false)
            .attempt(|| format!("restricting {target}"))?;
        mount_on(&root, &tree, Path::new(target))?;
    }
    for (mount, tree) in spec.mounts.iter().zip(&world.mounts) {
        match (&mount.source, tree) {
            (Source::Tmpfs { size }, _) => memory(&root, &mount.target, *size, mount.read_only)?,
            (_, Some(tree)) => mount_on(&root, tree, &mount.target)?,
            (_, None) => return Err(failure("mounting", "the file system was not made")),
        }
    }
    pivot(&root)?;
    mask()?;
    if spec.root_read_only || spec.root.upper.is_none() {
        let root = tree::folder(Path::new("/"))?;
        attributes::set_attributes(root.as_fd(), RESTRICTED, false)
            .attempt(|| "making the root read-only")?;
    }
    Ok(())
}

const RESTRICTED: Attributes = Attributes {
    read_only: true,
    no_devices: true,
};

const BARE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

fn kernel_file_systems(root: &OwnedFd, spec: &Spec) -> Result<(), Failure> {
    mount_on(root, &tree::made("proc", &[], BARE)?, Path::new("/proc"))?;
    devices(root)?;
    mount_on(root, &system_tree(spec.network)?, Path::new("/sys"))
}

fn devices(root: &OwnedFd) -> Result<(), Failure> {
    let options = [("mode", "0755"), ("size", "65536k")];
    // The nodes are mounts of their own; one that the step makes opens nothing.
    let dev = tree::of_memory(&options, false)?;
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).attempt(|| format!("linking /dev/{name}"))?;
    }
    for name in ["mqueue", "pts", "shm"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
            .attempt(|| format!("making /dev/{name}"))?;
    }
    mount_on(root, &dev, Path::new("/dev"))?;
    for name in NODES {
        let path = Path::new("/dev").join(name);
        let node = tree::clone_of(&path)?;
        mount_on(root, &node, &path)?;
    }
    mount_on(root, &terminals()?, Path::new("/dev/pts"))?;
    let shared = tree::made("tmpfs", &[("mode", "1777"), ("size", "65536k")], BARE)?;
    mount_on(root, &shared, Path::new("/dev/shm"))?;
    mount_on(root, &tree::made("mqueue", &[], BARE)?, Path::new("/dev/mqueue"))
}

fn terminals() -> Result<OwnedFd, Failure> {
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
    // Without a range of ids there is no such group.
    tree::made("devpts", &options, flags).or_else(|_| tree::made("devpts", &options[..2], flags))
}

/// A step that shares the host's network may not mount its `/sys` in a user namespace, so it gets the host's.
fn system_tree(network: Network) -> Result<OwnedFd, Failure> {
    let made = tree::made("sysfs", &[], BARE | MountAttrFlags::MOUNT_ATTR_RDONLY);
    if made.is_ok() || network == Network::None {
        return made;
    }
    let host = tree::clone_of(Path::new("/sys"))?;
    attributes::set_attributes(host.as_fd(), RESTRICTED, true).attempt(|| "restricting /sys")?;
    Ok(host)
}

/// The mode of a file system of memory is that of the folder below, as runc has it.
fn memory(root: &OwnedFd, target: &Path, size: Option<u64>, read_only: bool) -> Result<(), Failure> {
    let what = || format!("mounting on {}", target.display());
    let real = inside::real_path(root.as_fd(), target).attempt(what)?;
    let mode = match inside::open(root.as_fd(), &real, OFlags::PATH) {
        Ok(folder) => rustix::fs::fstat(&folder).attempt(what)?.st_mode & 0o7777,
        Err(Errno::NOENT) => 0o1777,
        Err(error) => return Err(error).attempt(what),
    };
    let mode = format!("{mode:04o}");
    let size = size.map(|size| size.to_string());
    let options: Vec<_> = [("mode", mode.as_str())]
        .into_iter()
        .chain(size.as_deref().map(|size| ("size", size)))
        .collect();
    mount_on(root, &tree::of_memory(&options, read_only)?, target)
}

/// Hangs a file system onto a path of the root; the path is made if need be.
fn mount_on(root: &OwnedFd, tree: &OwnedFd, target: &Path) -> Result<(), Failure> {
    let what = || format!("mounting on {}", target.display());
    let real = inside::real_path(root.as_fd(), target).attempt(what)?;
    let below_proc = real.starts_with("/proc") && real != Path::new("/proc");
    if real == Path::new("/") || below_proc {
        return Err(failure(what(), "nothing can be mounted there"));
    }
    let place = if inside::is_folder(tree).attempt(what)? {
        inside::make_folder(root.as_fd(), &real).attempt(what)?
    } else {
        inside::make_file(root.as_fd(), &real).attempt(what)?
    };
    tree::attach(tree.as_fd(), place.as_fd()).attempt(what)
}

fn pivot(root: &OwnedFd) -> Result<(), Failure> {
    let what = || "changing the root";
    rustix::process::fchdir(root).attempt(what)?;
    // The old root lands above the new one (pivot_root(2)), from where it goes.
    rustix::process::pivot_root(".", ".").attempt(what)?;
    unmount(".", UnmountFlags::DETACH).attempt(what)?;
    rustix::process::chdir("/").attempt(what)
}

fn mask() -> Result<(), Failure> {
    for path in MASKED {
        let what = || format!("masking {path}");
        let Some(place) = present(path).attempt(what)? else {
            continue;
        };
        if inside::is_folder(&place).attempt(what)? {
            let empty = tree::of_memory(&[("mode", "0755"), ("size", "0")], true)?;
            tree::attach(empty.as_fd(), place.as_fd()).attempt(what)?;
        } else {
            let null = tree::clone_of(Path::new("/dev/null"))?;
            tree::attach(null.as_fd(), place.as_fd()).attempt(what)?;
        }
    }
    for path in READ_ONLY {
        let what = || format!("protecting {path}");
        let Some(place) = present(path).attempt(what)? else {
            continue;
        };
        let tree = tree::clone_of(Path::new(path))?;
        let attributes = Attributes {
            read_only: true,
            no_devices: false,
        };
        attributes::set_attributes(tree.as_fd(), attributes, true).attempt(what)?;
        tree::attach(tree.as_fd(), place.as_fd()).attempt(what)?;
    }
    Ok(())
}

fn present(path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match rustix::fs::open(
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
