//! Files that packages of different groups own; within a group, unpacking has settled it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use crate::deb822::stanzas;
use crate::fs::{self, Meta};
use crate::problem::{Outcome, Problems};
use crate::unpack::{self, ADMIN, STATUS};

use super::status::{Package, Status};

/// Checks that every file of the new packages has one owner.
///
/// Groups were merged in order, so that the last one has the file; that must be the package that replaces the other.
pub(crate) fn check(root: &Path, new: &[Package], parts: &[String]) -> Outcome<()> {
    let groups = groups(parts)?;
    let group = |package: &Package| {
        groups
            .get(&(package.name.clone(), package.architecture.clone()))
            .copied()
    };
    let packages = Status::read(root)?.packages();
    // By bytes: a path is compared and hashed part by part.
    let mut owners: HashMap<OsString, usize> = HashMap::new();
    let mut problems = Problems::default();
    for (index, package) in packages.iter().enumerate() {
        for path in package.paths(root)? {
            let Some(before) = owners.insert(path.clone().into_os_string(), index) else {
                continue;
            };
            let pair = [&packages[before], package];
            if !pair.iter().any(|one| new.contains(one)) || is_directory(root, &path) || is_shared(pair) {
                continue;
            }
            problems.extend(settle(root, &path, pair, group(pair[0]) <= group(pair[1])));
        }
    }
    problems.or(())
}

/// The number of each new package's group; packages of a lower stratum have none, which sorts before all.
fn groups(parts: &[String]) -> Outcome<HashMap<(String, String), usize>> {
    let mut groups = HashMap::new();
    for (number, directory) in parts.iter().enumerate() {
        let text = fs::read_text(&Path::new(directory).join(STATUS))?;
        for stanza in stanzas(&text) {
            let field = |name: &str| stanza.field(name).unwrap_or_default().to_owned();
            groups.insert((field("Package"), field("Architecture")), number);
        }
    }
    Ok(groups)
}

fn is_directory(root: &Path, path: &Path) -> bool {
    root.join(path)
        .symlink_metadata()
        .is_ok_and(|found| found.is_dir())
}

fn is_shared([one, other]: [&Package; 2]) -> bool {
    one.name == other.name
}

/// The package in the later group must be the one that replaces the other; its list keeps the path.
fn settle(root: &Path, path: &Path, pair: [&Package; 2], in_order: bool) -> Outcome<()> {
    let [under, over] = if in_order { pair } else { [pair[1], pair[0]] };
    if !unpack::replaces(
        &unpack::parse_replaces(&over.replaces),
        &under.name,
        &under.version,
    ) {
        return Err(unpack::file_conflict(path, &over.name, &under.name, false).into());
    }
    let list = root
        .join(ADMIN)
        .join("info")
        .join(format!("{}.list", under.database_name));
    let Some(found) = fs::look(&list)? else {
        return Ok(());
    };
    let mut kept = Vec::new();
    for line in fs::read_optional(&list)?
        .unwrap_or_default()
        .split_inclusive(|byte| *byte == b'\n')
    {
        if unpack::placed(line.strip_suffix(b"\n").unwrap_or(line))?.as_deref() != Some(path) {
            kept.extend_from_slice(line);
        }
    }
    fs::write_file(
        &list,
        &kept,
        Meta {
            ..fs::meta_of(&found)
        },
    )
}
