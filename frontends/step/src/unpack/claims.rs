//! Who owns which path, among the packages of one step and against those that are installed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};

use super::database::Installed;
use super::extract::{self, Extracted};
use super::links;
use super::package::Package;

/// The paths of a root while packages are unpacked into it.
#[derive(Debug)]
pub(crate) struct Claims {
    root: PathBuf,
    /// The time stamp of what is made, and the newest that a file may have.
    pub(crate) epoch: i64,
    order: Order,
    installed: Installed,
    state: Mutex<State>,
}

/// When the `preinst` of the packages runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It has run: what it does not move away is a conflict.
    PreinstDone,
    /// It runs when all packages of the step are unpacked.
    PreinstLater,
}

#[derive(Debug, Default)]
struct State {
    /// Only looked up; what is printed or written goes through sorted collections.
    owners: HashMap<PathBuf, Claim>,
    contests: BTreeMap<PathBuf, BTreeMap<usize, Vec<u8>>>,
    /// Links that stand where another package has a directory: the package, and the target.
    links: BTreeMap<PathBuf, (usize, Vec<u8>)>,
    /// Paths of installed packages that a package replaces: the package, the owner, and the path as its list spells it.
    taken_over: BTreeSet<(usize, usize, Vec<u8>)>,
    /// Packages whose `preinst` has to run before they are unpacked.
    late: BTreeSet<usize>,
}

#[derive(Debug)]
enum Claim {
    /// A directory, with the package and metadata that count so far; `None` if it is only a parent.
    Directory {
        wanted: Option<(usize, Meta)>,
        existed: bool,
    },
    /// A symbolic link, by package, path as the archive spells it, and target.
    Link(usize, Vec<u8>, Vec<u8>),
    /// Anything else, by package and path as the archive spells it.
    Other(usize, Vec<u8>),
}

impl Claim {
    /// The package that has the path, and the path as its archive spells it; `None` for a directory, which many share.
    fn owner(&self) -> Option<(usize, &Vec<u8>)> {
        match self {
            Claim::Directory { .. } => None,
            Claim::Link(index, listed, _) | Claim::Other(index, listed) => Some((*index, listed)),
        }
    }
}

/// A path of an archive that is no directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Where it goes, below the root.
    pub(crate) path: &'a Path,
    /// As dpkg lists it.
    pub(crate) listed: &'a [u8],
    /// The target of a symbolic link.
    pub(crate) target: Option<&'a [u8]>,
}

/// What to do with a path of an archive that is no directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Write it here.
    Write(PathBuf),
    /// Another package has it, or it is written later: [`Claims::settle`] decides.
    Skip,
    /// An installed package keeps it, because it replaces this one.
    Lost,
}

impl Claims {
    /// No path has an owner among the packages yet.
    pub(crate) fn new(root: &Path, epoch: i64, order: Order, installed: Installed) -> Self {
        Claims {
            root: root.to_owned(),
            epoch,
            order,
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

    /// Makes a directory that no package has yet, and those above it.
    fn make_directory(&self, state: &mut State, path: &Path, package: &str) -> Outcome<()> {
        match state.owners.get(path) {
            Some(Claim::Directory { .. }) => return Ok(()),
            Some(Claim::Other(..)) => return Err(type_conflict(path, package).into()),
            Some(Claim::Link(index, _, target)) => {
                let link = (*index, target.clone());
                state.links.insert(path.to_owned(), link);
                fs::remove(&self.at(path))?;
            }
            None => {}
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(state, parent, package)?;
        }
        let at = self.at(path);
        let existed = match std::fs::create_dir(&at) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.follow_link(&at)?;
                if !at.is_dir() {
                    return Err(error).doing("make directory", &at);
                }
                true
            }
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

    /// dpkg takes a link to a directory for the directory. What a link leads to may be absent while an image is built:
    /// `/var/lock` leads to `/run/lock`, which a boot makes.
    fn follow_link(&self, at: &Path) -> Outcome<()> {
        if at.is_dir() || !fs::look(at)?.is_some_and(|found| found.is_symlink()) {
            return Ok(());
        }
        let target = links::target(&self.root, at, &std::fs::read_link(at).doing("read", at)?)?;
        fs::make_directories(&target)
            .map(drop)
            .doing("make directory", &target)
    }

    /// Claims a path that is no directory for a package.
    pub(crate) fn other(&self, entry: Entry<'_>, index: usize, package: &Package) -> Outcome<Turn> {
        let Entry { listed, target, .. } = entry;
        let mut state = self.state();
        if state.late.contains(&index) {
            return Ok(Turn::Skip);
        }
        let path = self.installed.diverted(entry.path, listed, &package.name);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.make_directory(&mut state, parent, &package.name)?;
        }
        match (state.owners.get(&path), target) {
            // dpkg keeps a directory that is there.
            (Some(Claim::Directory { existed: true, .. }), Some(_)) => return Ok(Turn::Skip),
            (Some(Claim::Directory { .. }), Some(target)) => {
                state.links.entry(path).or_insert((index, target.to_vec()));
                return Ok(Turn::Skip);
            }
            (Some(Claim::Directory { .. }), None) => return Err(type_conflict(&path, &package.name).into()),
            (Some(claim), _) => {
                let first = claim.owner().map(|(owner, listed)| (owner, listed.clone()));
                if first.as_ref().is_some_and(|(owner, _)| *owner != index) {
                    let both = first.into_iter().chain([(index, listed.to_vec())]);
                    state.contests.entry(path).or_default().extend(both);
                    return Ok(Turn::Skip);
                }
            }
            (None, _) => {
                match self.against_installed(&mut state, &path, index, package)? {
                    Turn::Write(_) => {}
                    other => return Ok(other),
                }
                let claim = match target {
                    Some(target) => Claim::Link(index, listed.to_vec(), target.to_vec()),
                    None => Claim::Other(index, listed.to_vec()),
                };
                state.owners.insert(path.clone(), claim);
            }
        }
        Ok(Turn::Write(self.at(&path)))
    }

    /// Writes a link that a package has claimed, unless another package has put a directory in its place meanwhile: then the
    /// link is [restored](Claims::restore_links) later. No other thread makes directories while the link is written.
    pub(crate) fn write_link(
        &self,
        at: &Path,
        index: usize,
        write: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let state = self.state();
        let claim = at
            .strip_prefix(&self.root)
            .ok()
            .and_then(|path| state.owners.get(path));
        match claim {
            Some(Claim::Link(owner, ..)) if *owner == index => write(),
            _ => Ok(()),
        }
    }

    /// Whether a package may write a path that may be an installed package's.
    fn against_installed(
        &self,
        state: &mut State,
        path: &Path,
        index: usize,
        package: &Package,
    ) -> Outcome<Turn> {
        let write = Turn::Write(self.at(path));
        let Some((owner, listed)) = self.installed.owner(path) else {
            return Ok(write);
        };
        let other = &self.installed.packages[owner];
        if other.name == package.name && other.same && package.same {
            return Ok(Turn::Skip);
        }
        if package.replaces(&other.name, &other.version) {
            state.taken_over.insert((index, owner, listed.to_vec()));
            return Ok(write);
        }
        if other.replaces(&package.name, &package.version) {
            return Ok(Turn::Lost);
        }
        if package.diverts() && self.order == Order::PreinstLater {
            state.late.insert(index);
            return Ok(Turn::Skip);
        }
        Err(file_conflict(path, &package.name, &other.name, package.diverts()).into())
    }

    /// Decides the paths that several packages have: `Replaces` says who keeps it, and a package that moves files of
    /// others away is unpacked [late](Claims::late).
    pub(crate) fn settle(&mut self, packages: &[Package], extracted: &mut [Extracted]) -> Outcome<()> {
        let contests = std::mem::take(&mut self.state().contests);
        if self.order == Order::PreinstLater {
            self.find_late(&contests, packages);
            self.withdraw_late()?;
        }
        let late = self.late();
        let mut problems = Problems::default();
        for (path, contenders) in &contests {
            let in_time = contenders.keys().copied().filter(|index| !late.contains(index));
            let in_time: Vec<usize> = in_time.collect();
            let winner = match winner(&in_time, packages) {
                Winner::Shared if in_time.len() == contenders.len() => continue,
                Winner::Shared => in_time.first().copied(),
                Winner::One(winner) => Some(winner),
                Winner::Nobody(a, b) => {
                    let diverts = packages[a].diverts() || packages[b].diverts();
                    let (a, b) = (&packages[a].name, &packages[b].name);
                    problems.push(file_conflict(path, a, b, diverts));
                    continue;
                }
            };
            let Some(winner) = winner else { continue };
            for (loser, listed) in contenders.iter().filter(|(index, _)| **index != winner) {
                extracted[*loser].lost.insert(listed.clone());
            }
            if !self.is_owner(path, winner) {
                let at = self.at(path);
                problems.extend(extract::extract_one(
                    &packages[winner],
                    &contenders[&winner],
                    &at,
                    self.epoch,
                ));
            }
        }
        self.restore_links()?;
        problems.or(())
    }

    /// Marks the packages as late that move files of others away and have files of others.
    fn find_late(&self, contests: &BTreeMap<PathBuf, BTreeMap<usize, Vec<u8>>>, packages: &[Package]) {
        let late = &mut self.state().late;
        for contenders in contests.values() {
            let in_time = contenders.keys().copied().filter(|index| !late.contains(index));
            let in_time: Vec<usize> = in_time.collect();
            if matches!(winner(&in_time, packages), Winner::Nobody(..)) {
                late.extend(in_time.into_iter().filter(|index| packages[*index].diverts()));
            }
        }
    }

    /// Takes back what late packages have written.
    fn withdraw_late(&self) -> Outcome<()> {
        let mut state = self.state();
        let State {
            late,
            owners,
            links,
            taken_over,
            ..
        } = &mut *state;
        let is_late = |claim: &Claim| claim.owner().is_some_and(|(index, _)| late.contains(&index));
        for (path, _) in owners.extract_if(|_, claim| is_late(claim)) {
            fs::remove(&self.at(&path))?;
        }
        links.retain(|_, (index, _)| !late.contains(index));
        taken_over.retain(|(index, ..)| !late.contains(index));
        Ok(())
    }

    /// Links win over directories of the same path, as they do when the package with the link is unpacked first.
    fn restore_links(&self) -> Outcome<()> {
        let links = std::mem::take(&mut self.state().links);
        for (path, (index, target)) in links {
            links::restore(&self.root, &path, &target, self.epoch)?;
            let claim = Claim::Link(index, Vec::new(), target);
            self.state().owners.insert(path, claim);
        }
        Ok(())
    }

    /// All links of the packages with their targets, sorted by path.
    pub(crate) fn links(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.state();
        let links = sorted(&state.owners).into_iter();
        let links = links.filter_map(|(path, claim)| match claim {
            Claim::Link(_, _, target) => Some((path.clone(), target.clone())),
            Claim::Directory { .. } | Claim::Other(..) => None,
        });
        links.collect()
    }

    /// Whether a package is unpacked late.
    pub(crate) fn is_late(&self, index: usize) -> bool {
        self.state().late.contains(&index)
    }

    /// The packages that are unpacked late, by their index.
    pub(crate) fn late(&self) -> BTreeSet<usize> {
        self.state().late.clone()
    }

    fn is_owner(&self, path: &Path, index: usize) -> bool {
        let state = self.state();
        let owner = state.owners.get(path).and_then(Claim::owner);
        owner.is_some_and(|(owner, _)| owner == index)
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
                Claim::Directory { .. } | Claim::Link(..) | Claim::Other(..) => None,
            });
        special.collect()
    }

    /// The installed packages, and the paths that were taken from each.
    pub(crate) fn taken_over(&self) -> Vec<(String, BTreeSet<Vec<u8>>)> {
        let mut taken: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for (_, owner, listed) in &self.state().taken_over {
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
            "the `preinst` of one of them calls dpkg-divert, but not for this path; only one of the two packages can be in the image",
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
