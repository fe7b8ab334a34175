//! Limits of a step as a whole, where this process may make a cgroup.
//!
//! In the second version a group with processes can hand no controller down, so the new group is made beside ours rather
//! than below it; where only the first version has a controller, it is made below. Where neither can be, the limit does
//! not hold, which is no failure: `kcompose doctor` says it.
//!
//! To move a process into a group, the kernel waits until no processor looks at any process' groups: about ten milliseconds.
//! So the launcher moves itself, as soon as it knows the limits, and the step is born there. Only where memory is limited it
//! stays outside, as it must not be the one that is killed.
//!
//! Whoever made a group holds a lock on it. So a group that a killed launcher left is known, and the next step takes it
//! away.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kcompose_launcher::report::Failure;
use kcompose_launcher::{GroupLimits, remove_groups};

use kcompose_launcher::attempt::Attempt;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

/// The groups that were made for a step, one for each hierarchy.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    groups: Vec<Group>,
    lacks: Vec<String>,
    /// Whether the launcher is in them.
    has_launcher: bool,
}

/// One group, ours as long as the file is open.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    /// The group that the launcher comes from.
    origin: PathBuf,
    _lock: OwnedFd,
}

/// The controllers, by their names.
const MEMORY: &str = "memory";
pub(crate) const PIDS: &str = "pids";

/// Where each controller counts what met its limit: the file, and the line in it.
const COUNTS: [(&str, &str, &str); 3] = [
    (PIDS, "pids.events", "max"),
    (MEMORY, "memory.events", "oom_kill"),
    (MEMORY, "memory.oom_control", "oom_kill"),
];

/// How all groups of ours are named.
const PREFIX: &str = "kcompose-step-";

/// A limit in both versions.
struct Knob {
    controller: &'static str,
    second: &'static str,
    first: &'static str,
    value: Option<u64>,
}

impl Cgroup {
    /// Groups that hold what of the limits can be held.
    pub(crate) fn with(limits: &GroupLimits) -> Result<Self, Failure> {
        let mut made = Cgroup {
            has_launcher: limits.memory.is_none(),
            ..Cgroup::default()
        };
        let knobs = [
            Knob {
                controller: MEMORY,
                second: "memory.max",
                first: "memory.limit_in_bytes",
                value: limits.memory,
            },
            Knob {
                controller: PIDS,
                second: "pids.max",
                first: "pids.max",
                value: limits
                    .processes
                    .map(|most| most.saturating_add(made.has_launcher.into())),
            },
        ];
        let name = name();
        for knob in &knobs {
            let Some(value) = knob.value else { continue };
            if !made.limit(knob, &name, &value.to_string()) {
                made.lacks.push(knob.controller.to_owned());
            }
        }
        if made.has_launcher
            && let Err(failure) = made.join()
        {
            made.remove();
            return Err(failure);
        }
        Ok(made)
    }

    /// Lets the step stand behind others.
    pub(crate) fn stand_behind(&self, nice: u64) {
        for group in self.groups.iter().filter(|_| nice > 0) {
            // There if the controller `cpu` is: the group then stands in the scheduler's queue, and not its processes.
            let _ = fs::write(group.path.join("cpu.weight.nice"), nice.to_string());
        }
    }

    /// Where they are.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.groups.iter().map(|group| group.path.clone()).collect()
    }

    /// Writes the limit in the first place where it can be written.
    fn limit(&mut self, knob: &Knob, name: &str, value: &str) -> bool {
        for Place {
            path: place,
            origin,
            is_second,
        } in places(knob.controller)
        {
            let file = if is_second { knob.second } else { knob.first };
            let path = place.join(name);
            if self.groups.iter().any(|group| group.path == path) {
                if fs::write(path.join(file), value).is_ok() {
                    return true;
                }
                continue;
            }
            sweep(&place);
            let Some(group) = make(path, origin) else { continue };
            if fs::write(group.path.join(file), value).is_ok() && can_move(&group.path) {
                self.groups.push(group);
                return true;
            }
            let _ = fs::remove_dir(&group.path);
        }
        false
    }

    /// The controllers whose limits the step met.
    pub(crate) fn met(&self) -> Vec<String> {
        let counted = |group: &Group, file: &str, name: &str| {
            let text = fs::read_to_string(group.path.join(file)).unwrap_or_default();
            let mut counts = text.lines().filter_map(|line| line.split_once(' '));
            counts.any(|(known, count)| known == name && count != "0")
        };
        let mut met: Vec<String> = COUNTS
            .iter()
            .filter(|(_, file, name)| self.groups.iter().any(|group| counted(group, file, name)))
            .map(|(controller, ..)| (*controller).to_owned())
            .collect();
        met.dedup();
        met
    }

    /// The limits that could not be set.
    pub(crate) fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// Sees to it that this process of the step is in the groups.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        if self.has_launcher { Ok(()) } else { self.join() }
    }

    fn join(&self) -> Result<(), Failure> {
        for group in &self.groups {
            let path = &group.path;
            fs::write(path.join("cgroup.procs"), "0").attempt(|| format!("joining {}", path.display()))?;
        }
        Ok(())
    }

    /// Leaves the groups and removes them, where nobody else will.
    pub(crate) fn remove(&self) {
        for group in self.groups.iter().filter(|_| self.has_launcher) {
            // One that is not empty then stays.
            let _ = fs::write(group.origin.join("cgroup.procs"), "0");
        }
        remove_groups(&self.paths());
    }
}

/// A name that no other step has, whatever process namespace its launcher is in.
fn name() -> String {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = time.map_or(0, |time| time.as_nanos());
    format!("{PREFIX}{}-{nanoseconds:x}", std::process::id())
}

/// Makes a group and locks it; nothing if that is not allowed.
fn make(path: PathBuf, origin: PathBuf) -> Option<Group> {
    loop {
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return None,
            _ => {}
        }
        // Whoever sweeps may have taken it away between the two.
        if let Some(lock) = lock(&path).filter(|_| path.exists()) {
            return Some(Group {
                path,
                origin,
                _lock: lock,
            });
        }
    }
}

fn lock(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Takes groups away that killed launchers left.
fn sweep(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Some(_lock) = lock(&entry.path()) {
            // One that still has processes stays until the kernel has ended them.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether a process can be moved there: a member of ours is tried, which ends at once.
fn can_move(group: &Path) -> bool {
    fs::OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))
        .is_ok()
}

/// A folder below which a group can be tried.
struct Place {
    path: PathBuf,
    /// The group that this process is in.
    origin: PathBuf,
    /// Whether it is of the second version.
    is_second: bool,
}

/// The folders, those that are tried first in front.
fn places(controller: &str) -> Vec<Place> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut places = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let below = |hierarchy: &str| Path::new(hierarchy).join(path.trim_start_matches('/'));
        let mut add = |path: PathBuf, origin: &Path, is_second| {
            places.push(Place {
                path,
                origin: origin.to_owned(),
                is_second,
            });
        };
        if controllers.is_empty() {
            for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                let own = below(hierarchy);
                if let Some(parent) = own.parent().filter(|_| path != "/") {
                    add(parent.to_owned(), &own, true);
                }
                add(own.clone(), &own, true);
            }
        } else if controllers.split(',').any(|name| name == controller) {
            let own = below(&format!("/sys/fs/cgroup/{controllers}"));
            add(own.clone(), &own, false);
        }
    }
    places
}
