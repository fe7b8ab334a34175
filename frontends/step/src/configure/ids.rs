//! Users and groups of packages get their fixed ids.
//!
//! Maintainer scripts make users in many ways (adduser, systemd-sysusers, useradd), and each takes the next free id, so
//! that any change of the package set would renumber them. Whatever they chose is translated afterwards, in the tables
//! and in the owners of files, to the ids of the distro and the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kcompose_core::step::Ids;

use crate::fs;
use crate::problem::{Doing, Outcome, Problem, Problems};
use crate::unpack::ADMIN;
use crate::walk;

/// The names that are there, with their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Users,
    Groups,
}

impl Table {
    fn word(self) -> &'static str {
        match self {
            Table::Users => "user",
            Table::Groups => "group",
        }
    }
}

/// Reads the tables of a root.
pub(crate) fn read(root: &Path) -> Outcome<Known> {
    Ok(Known {
        users: parse(&fs::read_text(&root.join("etc/passwd"))?),
        groups: parse(&fs::read_text(&root.join("etc/group"))?),
    })
}

fn parse(text: &str) -> BTreeMap<String, u32> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
        })
        .collect()
}

/// Gives what is new since `before` the listed ids; what is not listed is a problem.
pub(crate) fn settle(root: &Path, before: &Known, ids: &Ids) -> Outcome<()> {
    let now = read(root)?;
    let master = Known {
        users: parse(&fs::read_text(&root.join("usr/share/base-passwd/passwd.master"))?),
        groups: parse(&fs::read_text(&root.join("usr/share/base-passwd/group.master"))?),
    };
    let mut problems = Problems::default();
    let mut moves = |table, now, before, master, listed| {
        moves(root, table, now, before, master, listed).unwrap_or_else(|Problems(more)| {
            problems.0.extend(more);
            BTreeMap::new()
        })
    };
    let users = moves(Table::Users, &now.users, &before.users, &master.users, &ids.users);
    let groups = moves(
        Table::Groups,
        &now.groups,
        &before.groups,
        &master.groups,
        &ids.groups,
    );
    problems.or(())?;
    if users.is_empty() && groups.is_empty() {
        return Ok(());
    }
    rewrite(&root.join("etc/passwd"), &[(2, &users), (3, &groups)])?;
    rewrite(&root.join("etc/group"), &[(2, &groups)])?;
    change_owners(root, &users, &groups)
}

/// Old ids to new ones, for the names that are new.
fn moves(
    root: &Path,
    table: Table,
    now: &BTreeMap<String, u32>,
    before: &BTreeMap<String, u32>,
    master: &BTreeMap<String, u32>,
    listed: &BTreeMap<String, u32>,
) -> Outcome<BTreeMap<u32, u32>> {
    let mut problems = Problems::default();
    let mut moves = BTreeMap::new();
    let mut taken: BTreeMap<u32, &str> = BTreeMap::new();
    for (name, id) in now {
        let fixed = before
            .get(name)
            .or_else(|| master.get(name))
            .is_some_and(|known| known == id);
        let target = if fixed { Some(id) } else { listed.get(name) };
        let Some(target) = target else {
            problems.push(unlisted(root, table, name, *id));
            continue;
        };
        if let Some(other) = taken.insert(*target, name) {
            let message = format!(
                "{} `{name}` is to get id {target}, which `{other}` has",
                table.word()
            );
            problems.push(Problem::new("kcompose::step::id_taken", message));
        }
        if target != id {
            moves.insert(*id, *target);
        }
    }
    problems.or(moves)
}

fn unlisted(root: &Path, table: Table, name: &str, id: u32) -> Problem {
    let word = table.word();
    let owner = maker(root, name).map_or(String::new(), |package| format!(" of package `{package}`"));
    let message = format!("{word} `{name}`{owner} has no fixed id; it was given {id}");
    Problem::new("kcompose::step::unlisted_id", message).help(format!(
        "add `{word} \"{name}\"` with an id to the ids of the distro, so that it never changes"
    ))
}

/// The package whose scripts or sysusers files speak of a name.
fn maker(root: &Path, name: &str) -> Option<String> {
    let info = root.join(ADMIN).join("info");
    let speaks = |path: &Path| {
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.split(|letter: char| !letter.is_alphanumeric() && !"_-".contains(letter))
            .any(|word| word == name)
    };
    let files: Vec<String> = fs::names(&info)
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .collect();
    let sysusers = root.join("usr/lib/sysusers.d");
    let declared = fs::names(&sysusers)
        .into_iter()
        .map(|file| sysusers.join(file))
        .find(|file| speaks(file));
    if let Some(declared) = declared {
        let listed = format!("/usr/lib/sysusers.d/{}", declared.file_name()?.to_str()?);
        let has = |list: &&String| {
            fs::read_text(&info.join(list)).is_ok_and(|text| text.lines().any(|line| line == listed))
        };
        if let Some(list) = files.iter().filter(|file| file.ends_with(".list")).find(has) {
            return package_of(list);
        }
    }
    let script = |file: &&String| {
        [".preinst", ".postinst"]
            .iter()
            .any(|suffix| file.ends_with(suffix))
    };
    package_of(
        files
            .iter()
            .filter(script)
            .find(|file| speaks(&info.join(file)))?,
    )
}

fn package_of(file: &str) -> Option<String> {
    Some(file.rsplit_once('.')?.0.split(':').next()?.to_owned())
}

/// Translates fields of a table, whose lines stay in their order.
fn rewrite(path: &Path, fields: &[(usize, &BTreeMap<u32, u32>)]) -> Outcome<()> {
    let Some(found) = fs::look(path)? else {
        return Ok(());
    };
    let text = fs::read_text(path)?;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut parts: Vec<String> = line.split(':').map(str::to_owned).collect();
        for (index, moves) in fields {
            let Some(part) = parts.get_mut(*index) else {
                continue;
            };
            if let Some(new) = part.parse().ok().and_then(|old: u32| moves.get(&old)) {
                *part = new.to_string();
            }
        }
        out.push_str(&parts.join(":"));
        out.push('\n');
    }
    fs::write_file(path, out.as_bytes(), fs::meta_of(&found))
}

/// Gives files the new ids; setuid bits and capabilities, which a change of owner clears, are put back.
fn change_owners(root: &Path, users: &BTreeMap<u32, u32>, groups: &BTreeMap<u32, u32>) -> Outcome<()> {
    let mut linked = BTreeSet::new();
    walk::walk(root, &mut |path, found| {
        let uid = users.get(&found.uid()).copied().unwrap_or(found.uid());
        let gid = groups.get(&found.gid()).copied().unwrap_or(found.gid());
        if (uid, gid) == (found.uid(), found.gid()) {
            return Ok(());
        }
        // The other name of a file that is done; its new id may be somebody's old one.
        if found.nlink() > 1 && !found.is_dir() && !linked.insert((found.dev(), found.ino())) {
            return Ok(());
        }
        let capabilities = capabilities(path, found);
        fs::set_owner(path, uid, gid).doing("change the owner of", path)?;
        if !found.is_symlink() {
            fs::set_mode(path, found.mode() & 0o7777).doing("set the mode of", path)?;
        }
        match capabilities {
            Some(value) => rustix::fs::lsetxattr(path, CAPABILITY, &value, rustix::fs::XattrFlags::empty())
                .doing("set the capabilities of", path),
            None => Ok(()),
        }
    })
}

const CAPABILITY: &str = "security.capability";

fn capabilities(path: &Path, found: &std::fs::Metadata) -> Option<Vec<u8>> {
    if !found.is_file() {
        return None;
    }
    // A capability set of any revision fits (capabilities(7)).
    let mut value = vec![0; 64];
    let length = rustix::fs::lgetxattr(path, CAPABILITY, &mut value).ok()?;
    value.truncate(length);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(passwd: &str, group: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(root.path().join("etc/group"), group).unwrap();
        root
    }

    #[test]
    fn new_names_get_their_listed_ids_even_when_they_swap() {
        let root = root(
            "root:x:0:0:r:/:/s\na:x:101:101::/:/s\nb:x:102:102::/:/s\n",
            "a:x:101:b\nb:x:102:\n",
        );
        let before = Known {
            users: [("root".to_owned(), 0)].into(),
            groups: BTreeMap::new(),
        };
        let users: BTreeMap<String, u32> = [("a".to_owned(), 102), ("b".to_owned(), 101)].into();
        let ids = Ids {
            groups: users.clone(),
            users,
        };
        // Nothing below is owned by these ids, so this needs no privilege.
        settle(root.path(), &before, &ids).unwrap();
        let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
        assert_eq!(
            passwd,
            "root:x:0:0:r:/:/s\na:x:102:102::/:/s\nb:x:101:101::/:/s\n"
        );
        assert_eq!(
            std::fs::read_to_string(root.path().join("etc/group")).unwrap(),
            "a:x:102:b\nb:x:101:\n"
        );
    }

    #[test]
    fn an_unlisted_name_is_a_problem_that_names_its_package() {
        let root = root("x:x:998:998::/:/s\n", "");
        let info = root.path().join("var/lib/dpkg/info");
        std::fs::create_dir_all(&info).unwrap();
        std::fs::write(info.join("pkg.postinst"), "adduser --system x\n").unwrap();
        let problem = settle(root.path(), &Known::default(), &Ids::default())
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("user `x` of package `pkg` has no fixed id; it was given 998"),
            "{problem}"
        );
    }

    #[test]
    fn two_names_never_share_an_id() {
        let root = root("a:x:50:50::/:/s\nb:x:998:998::/:/s\n", "");
        let before = Known {
            users: [("a".to_owned(), 50)].into(),
            groups: BTreeMap::new(),
        };
        let ids = Ids {
            users: [("b".to_owned(), 50)].into(),
            groups: BTreeMap::new(),
        };
        let problem = settle(root.path(), &before, &ids).unwrap_err().to_string();
        assert!(
            problem.contains("user `b` is to get id 50, which `a` has"),
            "{problem}"
        );
    }
}
