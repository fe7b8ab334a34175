//! Unpacks packages without dpkg, as `dpkg --unpack` would leave them.
//!
//! One thread reads a package at a time, as decompression is the cost. Two packages that own one path are looked at
//! when everything is unpacked: `Replaces` decides, or the step fails and names both. So the result does not depend on
//! which thread was faster.
//!
//! Maintainer scripts run when everything is unpacked. A package whose `preinst` must come first, because it moves files of
//! other packages away, stays an archive in the parts directory: [`unpack_late`] runs that script and unpacks it then.

mod claims;
mod database;
mod extract;
mod links;
mod package;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use kcompose_core::step::Unpack;

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};

pub(crate) use claims::file_conflict;
pub(crate) use database::{ADMIN, DIRECTORIES, STATUS};
pub(crate) use extract::hex;
pub(crate) use links::{LINKS, restore_listed};
pub(crate) use package::{database_name, parse_replaces, replaces};

use claims::{Claims, Order};
use database::Installed;
use extract::Extracted;
use package::Package;

/// How many archives are decompressed at the same time.
const THREADS: usize = 2;

/// The directory with the archives of late packages in a parts directory.
const LATE: &str = "late";

/// Unpacks the archives.
pub(crate) fn run(unpack: &Unpack, epoch: i64) -> Outcome<()> {
    let root = Path::new(&unpack.root);
    for directory in [root, Path::new(&unpack.parts)] {
        fs::make_directories(directory).doing("make directory", directory)?;
    }
    let installed = Installed::read(root)?;
    let packages = installed.without_present(package::read_all(&unpack.archives)?)?;
    // In a root with a dpkg, every such script can come first; elsewhere only where it has to.
    let is_late = |package: &Package| installed.has("dpkg") && package.changes_files_first();
    let (late, packages): (Vec<_>, Vec<_>) = packages.into_iter().partition(is_late);
    keep_archives(Path::new(&unpack.parts), &late, epoch)?;
    if unpack.merged_usr {
        make_merged_usr(root, &packages, epoch)?;
    }
    let claims = Claims::new(root, epoch, Order::PreinstLater, installed);
    write_packages(root, Path::new(&unpack.parts), &packages, claims, epoch)
}

/// Unpacks the packages of a parts directory whose `preinst` has run; what it leaves to be configured is in `done`.
pub(crate) fn unpack_late(root: &Path, late: &[LatePackage], done: &Path, epoch: i64) -> Outcome<()> {
    let archives: Vec<String> = late.iter().map(|late| late.0.archive.clone()).collect();
    fs::make_directories(done).doing("make directory", done)?;
    let installed = Installed::read(root)?;
    let packages = installed.without_present(package::read_all(&archives)?)?;
    let claims = Claims::new(root, epoch, Order::PreinstDone, installed);
    write_packages(root, done, &packages, claims, epoch)
}

/// A package that is still an archive.
#[derive(Debug)]
pub(crate) struct LatePackage(Package);

impl LatePackage {
    /// The late packages of a parts directory, sorted by name.
    pub(crate) fn read(parts: &Path) -> Outcome<Vec<Self>> {
        let directory = parts.join(LATE);
        let names = fs::names(&directory).into_iter();
        let archives: Vec<String> = names
            .map(|name| directory.join(name).to_string_lossy().into_owned())
            .collect();
        Ok(package::read_all(&archives)?
            .into_iter()
            .map(LatePackage)
            .collect())
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Its architecture.
    pub(crate) fn architecture(&self) -> &str {
        &self.0.architecture
    }

    /// Writes its control archive into a directory.
    pub(crate) fn write_control(&self, directory: &Path, epoch: i64) -> Outcome<()> {
        let control = format!("{}\n", self.0.control).into_bytes();
        let members = self
            .0
            .members
            .iter()
            .map(|(name, (mode, text))| (name.as_str(), *mode, text));
        for (name, mode, text) in members.chain([("control", 0o644, &control)]) {
            fs::write_file(&directory.join(name), text, Meta::root(mode, epoch))?;
        }
        Ok(())
    }
}

fn write_packages(
    root: &Path,
    parts: &Path,
    packages: &[Package],
    mut claims: Claims,
    epoch: i64,
) -> Outcome<()> {
    let mut extracted = extract_all(packages, &claims)?;
    claims.settle(packages, &mut extracted)?;
    claims.finish_directories()?;
    let late = claims.late();
    let in_time = packages.iter().zip(&extracted).enumerate();
    let in_time = in_time.filter(|(index, _)| !late.contains(index));
    database::write(root, in_time.map(|(_, package)| package), epoch)?;
    database::rewrite_lists(root, &claims, epoch)?;
    keep_archives(parts, late.iter().map(|index| &packages[*index]), epoch)?;
    database::write_parts(parts, packages, &extracted, &claims, epoch)
}

/// Copies the archives of late packages to where the configure step finds them.
fn keep_archives<'a>(parts: &Path, late: impl IntoIterator<Item = &'a Package>, epoch: i64) -> Outcome<()> {
    let directory = parts.join(LATE);
    for package in late {
        fs::make_directories(&directory).doing("make directory", &directory)?;
        let bytes = std::fs::read(&package.archive).doing("read", Path::new(&package.archive))?;
        let at = directory.join(format!("{}_{}.deb", package.name, package.architecture));
        fs::write_file(&at, &bytes, Meta::root(0o644, epoch))?;
        fs::set_mtime(&directory, epoch).doing("set the time of", &directory)?;
    }
    Ok(())
}

/// Extracts every package, on a few threads; the result is in the order of the packages.
fn extract_all(packages: &[Package], claims: &Claims) -> Outcome<Vec<Extracted>> {
    let next = AtomicUsize::new(0);
    // The largest first, so that no thread is left alone with it at the end.
    let mut order: Vec<usize> = (0..packages.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(packages[*index].archive_size));
    let work = || {
        let mut done = Vec::new();
        while let Some(index) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((*index, extract::extract(*index, &packages[*index], claims)));
        }
        done
    };
    let mut done: Vec<(usize, Outcome<Extracted>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("an extracting thread does not panic"))
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    let mut problems = Problems::default();
    let mut extracted = Vec::new();
    for (_, outcome) in done {
        match outcome {
            Ok(one) => extracted.push(one),
            Err(Problems(more)) => problems.0.extend(more),
        }
    }
    problems.or(extracted)
}

/// The directories of `/` that are links into `/usr`.
pub(crate) const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib64", "lib32", "libx32"];

/// Makes the links of a merged `/usr`: the four that every amd64 system has, and the others if a package needs them.
fn make_merged_usr(root: &Path, packages: &[Package], epoch: i64) -> Outcome<()> {
    let usr = root.join("usr");
    let made = fs::make_directories(&usr).doing("make directory", &usr)?;
    // arm64 and riscv64 have no lib64; base-files knows which ones an architecture has.
    let shipped = packages
        .iter()
        .find(|package| package.name == "base-files")
        .map(Package::top_level_links);
    let links = shipped.transpose()?.filter(|links| !links.is_empty());
    let links = links.unwrap_or_else(|| MERGED[..4].iter().map(|&name| name.to_owned()).collect());
    for name in links {
        let link = root.join(&name);
        fs::write_link(&link, format!("usr/{name}").as_bytes(), Meta::root(0o777, epoch))
            .doing("make link", &link)?;
        let target = usr.join(&name);
        fs::make_directories(&target).doing("make directory", &target)?;
        fs::set_mtime(&target, epoch).doing("set the time of", &target)?;
    }
    for directory in made.iter().map(PathBuf::as_path).chain([usr.as_path(), root]) {
        fs::set_mtime(directory, epoch).doing("set the time of", directory)?;
    }
    Ok(())
}

/// A path of an archive (`./bin/x`) as a path below the root, with `/bin` and its like rewritten to `/usr/bin`.
///
/// `None` for the root itself and for the links that make a merged `/usr`.
pub(crate) fn placed(path: &[u8]) -> Result<Option<PathBuf>, Problem> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        let shown = String::from_utf8_lossy(path);
        return Err(Problem::new(
            "kcompose::step::archive",
            format!("the path `{shown}` leaves the root"),
        ));
    }
    let merged = parts
        .first()
        .is_some_and(|first| MERGED.iter().any(|name| name.as_bytes() == *first));
    if parts.is_empty() || (merged && parts.len() == 1) {
        return Ok(None);
    }
    let mut placed = PathBuf::new();
    if merged {
        placed.push("usr");
    }
    placed.extend(parts.iter().map(|part| std::ffi::OsStr::from_bytes(part)));
    Ok(Some(placed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_directories_are_rewritten() {
        let at = |path: &str| placed(path.as_bytes()).unwrap();
        assert_eq!(at("./bin/sh"), Some("usr/bin/sh".into()));
        assert_eq!(at("./lib64/ld.so"), Some("usr/lib64/ld.so".into()));
        assert_eq!(at("./usr/lib/x/"), Some("usr/lib/x".into()));
        assert_eq!(at("./etc/bin/x"), Some("etc/bin/x".into()));
        assert_eq!((at("./"), at("./bin"), at("./lib/")), (None, None, None));
        assert!(placed(b"./../etc/passwd").is_err());
    }
}
