//! Who owns which path, among the packages of one step and against those that are installed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};

use super::database::Installed;
use super::extract::{self, Extracted};
use super::package::Package;

/// The paths of a root while packages are unpacked into it.
#[derive(Debug)]
pub(crate) struct Claims {
    root: PathBuf,
    /// The time stamp of what is made, and the newest that a file may have.
    pub(crate) epoch: i64,
    installed: Installed,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Only looked up; what is printed or written goes through sorted collections.
    owners: HashMap<PathBuf, Claim>,
    contests: BTreeMap<PathBuf, BTreeMap<usize, Vec<u8>>>,
    taken_over: BTreeSet<(usize, Vec<u8>)>,
}

#[derive(Debug)]
enum Claim {
    /// A directory, with the package and metadata that count so far; `None` if it is only a parent.
    Directory {
        wanted: Option<(usize, Meta)>,
        existed: bool,
    },
    /// Anything else, by package and path as the archive spells it.
    Other(usize, Vec<u8>),
}

/// What to do with a path of an archive that is no directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Write it here.
    Write(PathBuf),
    /// Another package has it; whether rightly is settled later.
    Skip,
    /// An installed package keeps it, because it replaces this one.
    Lost,
}

impl Claims {
    /// No path has an owner among the packages yet.
    pub(crate) fn new(root: &Path, epoch: i64, installed: Installed) -> Self {
        Claims {
            root: root.to_owned(),
            epoch,
            installed,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no thread panics while it holds the claims")
    }

    /// Where a path is on this machine.
    pub(crate) fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path)
    }

    /// Notes a directory of a package, and makes it.
    pub(crate) fn directory(&self, path: &Path, index: usize, meta: Meta, package: &str) -> Outcome<()> {
        let mut state = self.state();
        self.make_directory(&mut state, path, package)?;
        if let Some(Claim::Directory { wanted, .. }) = state.owners.get_mut(path)
            && wanted.is_none_or(|(known, before)| rank(index, meta) < rank(known, before))
        {
            *wanted = Some((index, meta));
        }
        Ok(())
    }

    /// Makes a directory if nobody has, and those above it.
    fn make_directory(&self, state: &mut State, path: &Path, package: &str) -> Outcome<()> {
        match state.owners.get(path) {
            Some(Claim::Directory { .. }) => return Ok(()),
            Some(Claim::Other(..)) => return Err(type_conflict(path, package).into()),
            None => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(state, parent, package)?;
        }
        let at = self.at(path);
        let existed = match std::fs::create_dir(&at) {
            Ok(()) => false,
            // dpkg, too, takes a link to a directory for the directory.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && at.is_dir() => true,
            Err(error) => return Err(error).doing("make directory", &at),
        };
        state.owners.insert(
            path.to_owned(),
            Claim::Directory {
                wanted: None,
                existed,
            },
        );
        Ok(())
    }

    /// Claims a path that is no directory for a package.
    pub(crate) fn other(&self, path: &Path, index: usize, package: &Package, listed: &[u8]) -> Outcome<Turn> {
        let mut state = self.state();
        let path = self.installed.diverted(path, &package.name);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(&mut state, parent, &package.name)?;
        }
        match state.owners.get(&path) {
            Some(Claim::Directory { .. }) => return Err(type_conflict(&path, &package.name).into()),
            Some(Claim::Other(owner, _)) if *owner == index => {}
            Some(Claim::Other(owner, as_listed)) => {
                let first = (*owner, as_listed.clone());
                state
                    .contests
                    .entry(path)
                    .or_default()
                    .extend([first, (index, listed.to_vec())]);
                return Ok(Turn::Skip);
            }
            None => {
                match self.against_installed(&mut state, &path, package)? {
                    Turn::Write(_) => {}
                    other => return Ok(other),
                }
                state
                    .owners
                    .insert(path.clone(), Claim::Other(index, listed.to_vec()));
            }
        }
        Ok(Turn::Write(self.at(&path)))
    }

    /// Whether a package may write a path that may be an installed package's.
    fn against_installed(&self, state: &mut State, path: &Path, package: &Package) -> Outcome<Turn> {
        let write = Turn::Write(self.at(path));
        let Some((owner, listed)) = self.installed.owner(path) else {
            return Ok(write);
        };
        let other = &self.installed.packages[owner];
        if other.name == package.name && other.same && package.same {
            return Ok(Turn::Skip);
        }
        if package.replaces(&other.name, &other.version) {
            state.taken_over.insert((owner, listed.to_vec()));
            return Ok(write);
        }
        if other.replaces(&package.name, &package.version) {
            return Ok(Turn::Lost);
        }
        Err(file_conflict(path, &package.name, &other.name, package.diverts()).into())
    }

    /// Decides the paths that several packages have: `Replaces` says who keeps it.
    pub(crate) fn settle(&mut self, packages: &[Package], extracted: &mut [Extracted]) -> Outcome<()> {
        let contests = std::mem::take(&mut self.state().contests);
        let mut problems = Problems::default();
        for (path, contenders) in contests {
            let all: Vec<usize> = contenders.keys().copied().collect();
            match winner(&all, packages) {
                Winner::Shared => {}
                Winner::One(winner) => {
                    for (loser, listed) in contenders.iter().filter(|(index, _)| **index != winner) {
                        extracted[*loser].lost.insert(listed.clone());
                    }
                    if !self.is_owner(&path, winner) {
                        problems.extend(extract::extract_one(
                            &packages[winner],
                            &contenders[&winner],
                            &self.at(&path),
                            self.epoch,
                        ));
                    }
                }
                Winner::Nobody(a, b) => {
                    let diverts = packages[a].diverts() || packages[b].diverts();
                    problems.push(file_conflict(
                        &path,
                        &packages[a].name,
                        &packages[b].name,
                        diverts,
                    ));
                }
            }
        }
        problems.or(())
    }

    fn is_owner(&self, path: &Path, index: usize) -> bool {
        matches!(self.state().owners.get(path), Some(Claim::Other(owner, _)) if *owner == index)
    }

    /// Gives directories that were made their owner and mode, and all of them the epoch.
    pub(crate) fn finish_directories(&self) -> Outcome<()> {
        let state = self.state();
        for (path, claim) in sorted(&state.owners) {
            let Claim::Directory { wanted, existed } = claim else {
                continue;
            };
            let at = self.at(path);
            let meta = wanted.map_or(Meta::root(0o755, self.epoch), |(_, meta)| meta);
            let done = if *existed {
                fs::set_mtime(&at, self.epoch)
            } else {
                fs::set_meta(&at, meta)
            };
            done.doing("set owner and mode of", &at)?;
        }
        Ok(())
    }

    /// The directories that are not simply root's with mode 0755, with the package that says so.
    pub(crate) fn special_directories(&self) -> Vec<(PathBuf, usize, Meta)> {
        let state = self.state();
        let special = sorted(&state.owners)
            .into_iter()
            .filter_map(|(path, claim)| match claim {
                Claim::Directory {
                    wanted: Some((index, meta)),
                    ..
                } if is_special(*meta) => Some((path.clone(), *index, *meta)),
                Claim::Directory { .. } | Claim::Other(..) => None,
            });
        special.collect()
    }

    /// The installed packages, and the paths that were taken from each.
    pub(crate) fn taken_over(&self) -> Vec<(String, BTreeSet<Vec<u8>>)> {
        let mut taken: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (owner, listed) in &self.state().taken_over {
            taken.entry(*owner).or_default().insert(listed.clone());
        }
        taken
            .into_iter()
            .map(|(owner, paths)| (self.installed.packages[owner].database_name(), paths))
            .collect()
    }
}

fn sorted(owners: &HashMap<PathBuf, Claim>) -> BTreeMap<&PathBuf, &Claim> {
    owners.iter().collect()
}

fn is_special(meta: Meta) -> bool {
    (meta.mode, meta.uid, meta.gid) != (0o755, 0, 0)
}

/// Which package's metadata of a directory count: dpkg keeps what the first package made, and base-files, which has
/// `/tmp` and its like, comes first. So what is not simply root's with 0755 wins, then the order of names.
fn rank(index: usize, meta: Meta) -> (bool, usize) {
    (!is_special(meta), index)
}

enum Winner {
    /// The same package for two architectures: the files are equal.
    Shared,
    One(usize),
    Nobody(usize, usize),
}

fn winner(contenders: &[usize], packages: &[Package]) -> Winner {
    let wins = |a: usize, b: usize| packages[a].replaces(&packages[b].name, &packages[b].version);
    let shared =
        |a: usize, b: usize| packages[a].name == packages[b].name && packages[a].same && packages[b].same;
    if contenders.iter().all(|other| shared(contenders[0], *other)) {
        return Winner::Shared;
    }
    let beats_all = |one: &&usize| {
        contenders
            .iter()
            .all(|other| other == *one || wins(**one, *other))
    };
    match contenders.iter().find(beats_all) {
        Some(one) => Winner::One(*one),
        None => Winner::Nobody(contenders[0], contenders[1]),
    }
}

fn type_conflict(path: &Path, package: &str) -> Problem {
    let shown = path.display();
    let message = format!(
        "`/{shown}` is a directory in one package and a file or link in another, one of them `{package}`"
    );
    Problem::new("kcompose::step::type_conflict", message)
}

/// Two packages have one file, and neither replaces the other.
pub(crate) fn file_conflict(path: &Path, one: &str, other: &str, diverts: bool) -> Problem {
    let (first, second) = if one < other { (one, other) } else { (other, one) };
    let message = format!(
        "`/{}` is in `{first}` and in `{second}`, and neither replaces the other",
        path.display()
    );
    let problem = Problem::new("kcompose::step::file_conflict", message);
    if diverts {
        return problem.help(
            "one of them moves it away with dpkg-divert before it is unpacked, which cannot be done here",
        );
    }
    problem.help("only one of the two packages can be in the image")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_files_decides_about_tmp() {
        let tmp = Meta::root(0o1777, 0);
        let plain = Meta::root(0o755, 0);
        assert!(rank(5, tmp) < rank(1, plain));
        assert!(rank(1, tmp) < rank(5, tmp));
    }
}
