//! The rights that building takes, for a whole process.
//!
//! Root has them. Anyone else enters a user namespace, in which the user is root and a range of ids, which the
//! administrator set aside in `/etc/subuid` and `/etc/subgid`, stands for everybody else. The range is mapped by
//! `newuidmap` and `newgidmap`, which must be called from outside, so a helper waits there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::UnshareFlags;

use crate::report::Failure;
use crate::wire::{self, Wire};

/// The helper's first argument.
pub const MAP: &str = "map-ids";

/// What a process got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is in a user namespace of its own now.
    pub user_namespace: bool,
    /// The ids that files can belong to.
    pub ids: Ids,
}

/// The ids that files can belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ids {
    /// All.
    All,
    /// Those from 0 up, this many of them.
    Range(u64),
    /// Only the user itself, which is 0.
    Single {
        /// Why there are no more.
        reason: String,
        /// What mends it.
        help: String,
    },
}

/// A map as the kernel takes it: the first id inside, the first outside, how many.
type Extent = (u64, u64, u64);

/// Takes the rights, for a process that has one thread; `launcher` is the program of the helper.
///
/// # Errors
///
/// When the kernel refuses a user namespace, or what one is for.
pub fn enter(launcher: &Path) -> Result<Standing, Failure> {
    if rustix::process::geteuid().is_root() && unshare(UnshareFlags::NEWNS).is_ok() {
        separate()?;
        return Ok(Standing {
            user_namespace: false,
            ids: present_ids(),
        });
    }
    let range = Range::of_this_user();
    let mut helper = match &range {
        Ok(range) => {
            Some(start_helper(launcher, range).map_err(|error| failure("starting the helper", error))?)
        }
        Err(_) => None,
    };
    let own = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)
        .map_err(|error| failure("making a user namespace", error))?;
    let mapped = match (range, helper.take()) {
        (Ok(range), Some(helper)) => finish(helper).map(|()| Ids::Range(range.count())),
        (Err(lack), _) => Err(lack),
        (Ok(_), None) => unreachable!("the helper was started for the range"),
    };
    let ids = match mapped {
        Ok(ids) => ids,
        Err(Lack { reason, help }) => {
            map_one(own).map_err(|error| failure("mapping the user", error))?;
            Ids::Single { reason, help }
        }
    };
    separate()?;
    Ok(Standing {
        user_namespace: true,
        ids,
    })
}

/// The helper: waits for a word, then maps the ids of a process, and says what went wrong.
///
/// # Errors
///
/// With what `newuidmap` or `newgidmap` said.
pub fn map_ids(arguments: &[String]) -> Result<(), String> {
    let mut word = [0];
    io::Read::read(&mut io::stdin(), &mut word).map_err(|error| error.to_string())?;
    for list in arguments.split(|argument| argument == "--") {
        let [program, arguments @ ..] = list else { continue };
        let output = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
    }
    Ok(())
}

/// Why there is no range, and what mends it.
#[derive(Clone, Debug)]
struct Lack {
    reason: String,
    help: String,
}

/// Ids set aside for a user, and the programs that map them.
#[derive(Clone, Debug)]
struct Range {
    programs: [PathBuf; 2],
    users: Vec<Extent>,
    groups: Vec<Extent>,
}

impl Range {
    fn of_this_user() -> Result<Self, Lack> {
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let names = names_of(uid);
        let extents = |file: &str, own: u32| -> Result<Vec<Extent>, Lack> {
            let text = fs::read_to_string(file).unwrap_or_default();
            let set_aside = ranges(&text, &names);
            if set_aside.is_empty() {
                let user = names.first().map_or_else(|| uid.to_string(), Clone::clone);
                return Err(Lack {
                    reason: format!("`{file}` sets no ids aside for the user {user}"),
                    help: format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
                });
            }
            Ok(map_of(own.into(), &set_aside))
        };
        let (users, groups) = (extents("/etc/subuid", uid)?, extents("/etc/subgid", gid)?);
        let program = |name: &str| {
            program(name).ok_or_else(|| Lack {
                reason: format!("`{name}` is not on PATH"),
                help: "apt-get install uidmap".into(),
            })
        };
        Ok(Range {
            programs: [program("newuidmap")?, program("newgidmap")?],
            users,
            groups,
        })
    }

    fn count(&self) -> u64 {
        let total = |extents: &[Extent]| extents.iter().map(|(_, _, count)| count).sum::<u64>();
        total(&self.users).min(total(&self.groups))
    }
}

/// The name of a user, and its number: both are written in `/etc/subuid`.
fn names_of(uid: u32) -> Vec<String> {
    let accounts = fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    let number = uid.to_string();
    let accounts = String::from_utf8_lossy(&accounts);
    let name = accounts
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&number.as_str()))
        .map(|fields| fields[0].to_owned());
    name.into_iter().chain([number]).collect()
}

/// The ranges of `/etc/subuid` that belong to one of the names.
fn ranges(text: &str, names: &[String]) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let (first, count) = numbers.split_once(':')?;
        let wanted = names.iter().any(|known| known == name);
        wanted.then_some((first.trim().parse().ok()?, count.trim().parse().ok()?))
    };
    text.lines()
        .filter_map(range)
        .filter(|(_, count)| *count > 0)
        .collect()
}

/// The user is 0; what is set aside follows, in its order.
fn map_of(own: u64, set_aside: &[(u64, u64)]) -> Vec<Extent> {
    let mut map = vec![(0, own, 1)];
    let mut next = 1;
    for (first, count) in set_aside {
        map.push((next, *first, *count));
        next += count;
    }
    map
}

fn start_helper(launcher: &Path, range: &Range) -> io::Result<std::process::Child> {
    let target = std::process::id().to_string();
    let list = |program: &PathBuf, extents: &[Extent]| {
        let numbers = extents
            .iter()
            .flat_map(|(a, b, c)| [a, b, c].map(ToString::to_string));
        [program.display().to_string(), target.clone()]
            .into_iter()
            .chain(numbers)
            .collect::<Vec<_>>()
    };
    Command::new(launcher)
        .arg(MAP)
        .args(list(&range.programs[0], &range.users))
        .arg("--")
        .args(list(&range.programs[1], &range.groups))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}

fn finish(mut helper: std::process::Child) -> Result<(), Lack> {
    drop(helper.stdin.take());
    let lack = |reason: String| Lack {
        reason,
        help: "newuidmap must be setuid root; `apt-get install --reinstall uidmap` makes it so".into(),
    };
    let output = helper
        .wait_with_output()
        .map_err(|error| lack(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(lack(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// A user may always stand for itself.
fn map_one((uid, gid): (u32, u32)) -> io::Result<()> {
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n"))?;
    // Leaving a group could be a way past a file's mode, so who has one group may not.
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n"))
}

/// Whether this process is in the first user namespace of the machine, where nothing is translated.
pub fn is_first_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The ids of the namespace that this process is in.
pub fn present_ids() -> Ids {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let counts: BTreeMap<u64, u64> = map
        .lines()
        .filter_map(|line| {
            let numbers: Vec<u64> = line
                .split_whitespace()
                .filter_map(|field| field.parse().ok())
                .collect();
            Some((*numbers.first()?, *numbers.get(2)?))
        })
        .collect();
    match counts.values().sum() {
        4_294_967_295 => Ids::All,
        1 => Ids::Single {
            reason: "the user namespace has one id".into(),
            help: "give the container a range of ids".into(),
        },
        count => Ids::Range(count),
    }
}

/// Gives the calling thread mounts of its own, which go with it.
///
/// # Errors
///
/// When the kernel refuses.
pub fn own_mounts() -> Result<(), Failure> {
    let own = UnshareFlags::NEWNS | UnshareFlags::FS;
    unshare(own).map_err(|error| failure("making a mount namespace", error))?;
    separate()
}

/// What is mounted from now on is this process's, and goes with it.
fn separate() -> Result<(), Failure> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags).map_err(|error| failure("separating the mounts from the host's", error))
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the call has no safe form")]
    // SAFETY: the flags name namespaces; no table of files is unshared.
    let result = unsafe { rustix::thread::unshare_unsafe(flags) };
    Ok(result?)
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn failure(attempt: &str, error: impl Into<io::Error>) -> Failure {
    Failure {
        attempt: attempt.to_owned(),
        error: error.into().to_string(),
        of_program: false,
    }
}

wire::wire_struct!(Standing { user_namespace, ids });

impl Wire for Ids {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ids::All => 0u8.put(out),
            Ids::Range(count) => {
                1u8.put(out);
                count.put(out);
            }
            Ids::Single { reason, help } => {
                2u8.put(out);
                reason.put(out);
                help.put(out);
            }
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(input)? {
            0 => Ids::All,
            1 => Ids::Range(Wire::take(input)?),
            2 => Ids::Single {
                reason: Wire::take(input)?,
                help: Wire::take(input)?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_belongs_to_a_name_or_a_number() {
        let text = "root:1:1\nbob:100000:65536\n1000:300000:10\nbob:x:1\nbob:5:0\n";
        let names = ["bob".to_owned(), "1000".to_owned()];
        assert_eq!(ranges(text, &names), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(
            map_of(1000, &ranges(text, &names)),
            [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]
        );
    }
}
