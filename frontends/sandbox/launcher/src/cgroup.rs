//! Limits of a step as a whole, where this process may make a cgroup.
//!
//! In the second version a group with processes can hand no controller down, so the new group is made beside ours rather
//! than below it; where only the first version has a controller, it is made below. Where neither can be, the limit does
//! not hold, which is no failure: `kcompose doctor` says it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kcompose_launcher::Limits;
use kcompose_launcher::report::Failure;

use kcompose_launcher::attempt::Attempt;

/// The groups that were made for a step, one for each hierarchy; they go when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    groups: Vec<PathBuf>,
    lacks: Vec<String>,
}

/// A limit in both versions.
struct Knob {
    controller: &'static str,
    second: &'static str,
    first: &'static str,
    value: Option<u64>,
}

impl Cgroup {
    /// Groups that hold what of the limits can be held.
    pub(crate) fn with(limits: &Limits) -> Self {
        let knobs = [
            Knob {
                controller: "memory",
                second: "memory.max",
                first: "memory.limit_in_bytes",
                value: limits.memory,
            },
            Knob {
                controller: "pids",
                second: "pids.max",
                first: "pids.max",
                value: limits.processes,
            },
        ];
        let mut made = Cgroup::default();
        for knob in knobs.iter().filter(|knob| knob.value.is_some()) {
            match limited(knob, &made.groups) {
                Some(group) => made.groups.push(group),
                None => made.lacks.push(knob.controller.to_owned()),
            }
        }
        made.groups.dedup();
        made
    }

    /// The limits that could not be set.
    pub(crate) fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// Moves this process into the groups.
    pub(crate) fn join(&self) -> Result<(), Failure> {
        for group in &self.groups {
            fs::write(group.join("cgroup.procs"), "0").attempt(|| format!("joining {}", group.display()))?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for group in &self.groups {
            // It is empty now; should it not be, an empty name stays in the list of groups.
            let _ = fs::remove_dir(group);
        }
    }
}

/// The first place where the limit can be written.
fn limited(knob: &Knob, made: &[PathBuf]) -> Option<PathBuf> {
    let value = knob.value?.to_string();
    places(knob.controller)
        .into_iter()
        .find_map(|(place, is_second)| {
            let file = if is_second { knob.second } else { knob.first };
            let group = place.join(format!("kcompose-step-{}", std::process::id()));
            if made.contains(&group) {
                return fs::write(group.join(file), &value).ok().map(|()| group);
            }
            make(&group).ok()?;
            if fs::write(group.join(file), &value).is_ok() && can_move(&group) {
                return Some(group);
            }
            let _ = fs::remove_dir(&group);
            None
        })
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Whether a process can be moved there: a member of ours is tried, which ends at once.
fn can_move(group: &Path) -> bool {
    fs::OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))
        .is_ok()
}

/// Folders below which a group can be tried, and whether they are of the second version.
fn places(controller: &str) -> Vec<(PathBuf, bool)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut places = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let below = |hierarchy: &str| Path::new(hierarchy).join(path.trim_start_matches('/'));
        if controllers.is_empty() {
            for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
                let own = below(hierarchy);
                places.extend(
                    own.parent()
                        .filter(|_| path != "/")
                        .map(|parent| (parent.to_owned(), true)),
                );
                places.push((own, true));
            }
        } else if controllers.split(',').any(|name| name == controller) {
            places.push((below(&format!("/sys/fs/cgroup/{controllers}")), false));
        }
    }
    places
}
