//! Users and groups of packages get their fixed ids.
//!
//! Maintainer scripts make users in many ways (adduser, systemd-sysusers, useradd), and each takes the next free id, so
//! that any change of the package set would renumber them. Whatever they chose is translated afterwards, in the tables
//! and in the owners of files: to the ids of the distro and the lock, else by the rule of [`kcompose_core::ids`].
//!
//! The rule is applied to all names of the root each time, so the result does not depend on the step that made a name.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kcompose_core::ids::complete;
use kcompose_core::packages::accounts::{AccountKind, SystemAccount, of_script, of_sysusers};
use kcompose_core::step::Ids;

use crate::fs;
use crate::problem::{Doing, Outcome, Problem, Problems};
use crate::unpack::ADMIN;
use crate::walk;

/// Ids that scripts choose by themselves; all others are static (Debian Policy, 9.2.2).
const CHOSEN: std::ops::Range<u32> = 100..65534;

/// Ids of system accounts (Debian Policy, 9.2.2).
const SYSTEM: std::ops::Range<u32> = 100..1000;

const KINDS: [AccountKind; 2] = [AccountKind::User, AccountKind::Group];

/// Gives every account of packages its id. `reserved` are numbers of accounts that are still to come.
pub(crate) fn settle(root: &Path, ids: &Ids, reserved: &BTreeSet<u32>) -> Outcome<()> {
    let now = tables(root, "etc/passwd", "etc/group")?;
    let statics = tables(
        root,
        "usr/share/base-passwd/passwd.master",
        "usr/share/base-passwd/group.master",
    )?;
    let ids = completed(root, &now, &statics, ids, reserved)?;
    translate(root, &now, &statics, &ids)
}

/// The accounts of a root.
pub(crate) fn accounts(root: &Path) -> Outcome<Ids> {
    tables(root, "etc/passwd", "etc/group")
}

/// Gives the system accounts that a script of the flavor made, which are not among those `before`, their ids: those that
/// the flavor fixes or the script asks for, else by the rule.
pub(crate) fn settle_new(root: &Path, before: &Ids, fixed: &Ids, script: &str) -> Outcome<()> {
    let now = accounts(root)?;
    let asked = of_script(script).accounts;
    let mut new = Vec::new();
    let mut ids = before.clone();
    for kind in KINDS {
        for (name, id) in now.table(kind) {
            if before.get(kind, name).is_some() {
                continue;
            }
            match fixed.get(kind, name) {
                Some(fixed) => drop(ids.table_mut(kind).insert(name.clone(), fixed)),
                None if SYSTEM.contains(id) => new.push(SystemAccount {
                    kind,
                    name: name.clone(),
                    id: asked
                        .iter()
                        .find(|asked| asked.kind == kind && asked.name == *name)
                        .and_then(|asked| asked.id),
                }),
                None => drop(ids.table_mut(kind).insert(name.clone(), *id)),
            }
        }
    }
    let left = complete(&mut ids, &new, &BTreeSet::new());
    none_left(left)?;
    translate(root, &now, &Ids::default(), &ids)
}

/// Gives the accounts that a root has `now` their ids.
fn translate(root: &Path, now: &Ids, statics: &Ids, ids: &Ids) -> Outcome<()> {
    let mut problems = Problems::default();
    let mut moves = |kind: AccountKind| {
        Moves::of(root, kind, now.table(kind), statics.table(kind), ids.table(kind)).unwrap_or_else(
            |Problems(more)| {
                problems.0.extend(more);
                Moves::default()
            },
        )
    };
    let (users, groups) = (moves(AccountKind::User), moves(AccountKind::Group));
    problems.or(())?;
    if users.names.is_empty() && groups.names.is_empty() {
        return Ok(());
    }
    rewrite(&root.join("etc/passwd"), &users.names, &groups.ids)?;
    rewrite(&root.join("etc/group"), &groups.names, &BTreeMap::new())?;
    change_owners(root, &users.ids, &groups.ids)
}

/// Two tables of a root.
fn tables(root: &Path, users: &str, groups: &str) -> Outcome<Ids> {
    Ok(Ids {
        users: parse(&fs::read_text(&root.join(users))?),
        groups: parse(&fs::read_text(&root.join(groups))?),
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

/// The ids with those of all accounts that they lack.
fn completed(root: &Path, now: &Ids, statics: &Ids, ids: &Ids, reserved: &BTreeSet<u32>) -> Outcome<Ids> {
    let lacks = |ids: &Ids, account: &SystemAccount| {
        ids.get(account.kind, &account.name).is_none() && statics.get(account.kind, &account.name).is_none()
    };
    let accounts = KINDS.into_iter().flat_map(|kind| {
        let owners = owners(now.table(kind), statics.table(kind)).into_iter();
        let chosen = owners.filter(|(id, _)| CHOSEN.contains(id));
        chosen.map(move |(_, name)| SystemAccount {
            kind,
            name: name.to_owned(),
            id: None,
        })
    });
    let unlisted: Vec<SystemAccount> = accounts.filter(|account| lacks(ids, account)).collect();
    let mut ids = ids.clone();
    if unlisted.is_empty() {
        return Ok(ids);
    }
    let reserved: BTreeSet<u32> = reserved.iter().copied().chain(statics.numbers()).collect();
    // First the names that a lock would know: they get the same ids whether a lock has them or not.
    let declared: Vec<SystemAccount> = declared(root)?
        .into_iter()
        .map(|(_, account)| account)
        .filter(|account| lacks(&ids, account))
        .collect();
    complete(&mut ids, &declared, &reserved);
    let left = complete(&mut ids, &unlisted, &reserved);
    none_left(left)?;
    Ok(ids)
}

/// Reports the names for which the range has no id left.
fn none_left(names: BTreeSet<String>) -> Outcome<()> {
    let mut problems = Problems::default();
    for name in names {
        let message = format!("no system id is left for `{name}`");
        let problem = Problem::new("kcompose::step::no_free_id", message);
        problems.push(problem.help("give it one in the flavor: ids { user \"NAME\" NUMBER; }"));
    }
    problems.or(())
}

/// The accounts that the packages of a root declare, each with its package.
fn declared(root: &Path) -> Outcome<Vec<(String, SystemAccount)>> {
    let info = root.join(ADMIN).join("info");
    let mut declared = Vec::new();
    let names = |directory: &Path| {
        let names = fs::names(directory).into_iter();
        names
            .filter_map(|name| name.into_string().ok())
            .collect::<Vec<String>>()
    };
    let files = names(&info);
    for file in &files {
        let is_script = [".preinst", ".postinst"]
            .iter()
            .any(|suffix| file.ends_with(suffix));
        if let Some(package) = package_of(file).filter(|_| is_script) {
            let text = fs::read_optional(&info.join(file))?.unwrap_or_default();
            let accounts = of_script(&String::from_utf8_lossy(&text)).accounts;
            declared.extend(accounts.into_iter().map(|account| (package.clone(), account)));
        }
    }
    let sysusers = root.join("usr/lib/sysusers.d");
    for file in names(&sysusers) {
        let text = fs::read_optional(&sysusers.join(&file))?.unwrap_or_default();
        let listed = format!("/usr/lib/sysusers.d/{file}");
        let lists = files.iter().filter(|file| file.ends_with(".list"));
        let mut lists = lists.filter(|list| {
            fs::read_text(&info.join(list)).is_ok_and(|text| text.lines().any(|line| line == listed))
        });
        let package = lists
            .next()
            .and_then(|list| package_of(list))
            .unwrap_or(listed.clone());
        let accounts = of_sysusers(String::from_utf8_lossy(&text).lines());
        declared.extend(accounts.into_iter().map(|account| (package.clone(), account)));
    }
    Ok(declared)
}

fn package_of(file: &str) -> Option<String> {
    Some(file.rsplit_once('.')?.0.split(':').next()?.to_owned())
}

/// The first name of each id: a static one, else the first in their order.
fn owners<'a>(now: &'a BTreeMap<String, u32>, statics: &BTreeMap<String, u32>) -> BTreeMap<u32, &'a str> {
    let mut owners: BTreeMap<u32, &str> = BTreeMap::new();
    for (name, id) in now {
        let owner = owners.entry(*id).or_insert(name);
        if statics.contains_key(name) && !statics.contains_key(*owner) {
            *owner = name;
        }
    }
    owners
}

/// New ids for one table.
#[derive(Debug, Default)]
struct Moves {
    /// By name, where the id changes.
    names: BTreeMap<String, u32>,
    /// By the old id, for owners of files.
    ids: BTreeMap<u32, u32>,
}

impl Moves {
    fn of(
        root: &Path,
        kind: AccountKind,
        now: &BTreeMap<String, u32>,
        statics: &BTreeMap<String, u32>,
        listed: &BTreeMap<String, u32>,
    ) -> Outcome<Self> {
        let mut problems = Problems::default();
        let mut moves = Moves::default();
        let mut taken: BTreeMap<u32, &str> = BTreeMap::new();
        for (id, name) in owners(now, statics) {
            let listed = listed.get(name).filter(|_| !statics.contains_key(name));
            let target = listed.copied().unwrap_or(id);
            if let Some(other) = taken.insert(target, name) {
                problems.push(id_taken(root, kind, name, target, other));
            }
            if target != id {
                moves.ids.insert(id, target);
            }
        }
        // Another name of an id (`useradd --non-unique`) goes where the first one goes.
        let named = now
            .iter()
            .filter_map(|(name, id)| Some((name.clone(), *moves.ids.get(id)?)));
        moves.names = named.collect();
        problems.or(moves)
    }
}

fn id_taken(root: &Path, kind: AccountKind, name: &str, id: u32, other: &str) -> Problem {
    let declared = declared(root).unwrap_or_default();
    let owner = declared
        .iter()
        .find(|(_, account)| account.kind == kind && account.name == name);
    let owner = owner.map_or(String::new(), |(package, _)| format!(" of package `{package}`"));
    let word = kind.word();
    let message = format!("{word} `{name}`{owner} is to get id {id}, which `{other}` has");
    let help = format!("give one of them another id in the flavor: ids {{ {word} \"{name}\" NUMBER; }}");
    Problem::new("kcompose::step::id_taken", message).help(help)
}

/// Gives the accounts of a table their new ids, and translates the groups of users. Lines stay in their order.
fn rewrite(path: &Path, names: &BTreeMap<String, u32>, groups: &BTreeMap<u32, u32>) -> Outcome<()> {
    let Some(found) = fs::look(path)? else {
        return Ok(());
    };
    let text = fs::read_text(path)?;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        if let Some(id) = names.get(&fields[0])
            && let Some(field) = fields.get_mut(2)
        {
            *field = id.to_string();
        }
        if let Some(field) = fields.get_mut(3)
            && let Some(id) = field.parse().ok().and_then(|old: u32| groups.get(&old))
        {
            *field = id.to_string();
        }
        out.push_str(&fields.join(":"));
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
    use kcompose_core::ids::candidate;

    use super::*;

    fn root(passwd: &str, group: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::put(root.path(), "etc/passwd", passwd);
        fs::put(root.path(), "etc/group", group);
        root
    }

    fn text(root: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(root.path().join("etc").join(name)).unwrap()
    }

    fn table(entries: &[(&str, u32)]) -> BTreeMap<String, u32> {
        entries
            .iter()
            .map(|(name, id)| ((*name).to_owned(), *id))
            .collect()
    }

    /// Ids of users that are their groups', too.
    fn ids(entries: &[(&str, u32)]) -> Ids {
        Ids {
            users: table(entries),
            groups: table(entries),
        }
    }

    // Nothing below these roots is owned by the ids, so the tests need no privilege.

    #[test]
    fn names_get_their_listed_ids_even_when_they_swap() {
        let root = root(
            "root:x:0:0:r:/:/s\na:x:101:101::/:/s\nb:x:102:102::/:/s\n",
            "a:x:101:b\nb:x:102:\n",
        );
        settle(
            root.path(),
            &ids(&[("root", 0), ("a", 102), ("b", 101)]),
            &BTreeSet::new(),
        )
        .unwrap();
        assert_eq!(
            text(&root, "passwd"),
            "root:x:0:0:r:/:/s\na:x:102:102::/:/s\nb:x:101:101::/:/s\n"
        );
        assert_eq!(text(&root, "group"), "a:x:102:b\nb:x:101:\n");
    }

    #[test]
    fn names_without_an_id_get_one_by_the_rule() {
        let root = root(
            "root:x:0:0:r:/:/s\nsplit:x:101:102::/:/s\nfixed:x:998:998::/:/s\n",
            "root:x:0:\nsplit:x:102:\nfixed:x:998:split\n",
        );
        fs::put(
            root.path(),
            "usr/share/base-passwd/passwd.master",
            "root:*:0:0:r:/:/s\n",
        );
        fs::put(root.path(), "usr/share/base-passwd/group.master", "root:*:0:\n");
        fs::put(
            root.path(),
            "var/lib/dpkg/info/pkg.postinst",
            "adduser --system --group --uid 300 fixed\n",
        );
        settle(root.path(), &Ids::default(), &BTreeSet::new()).unwrap();
        let split = candidate("split");
        assert_eq!(
            text(&root, "passwd"),
            format!("root:x:0:0:r:/:/s\nsplit:x:{split}:{split}::/:/s\nfixed:x:300:300::/:/s\n")
        );
        assert_eq!(
            text(&root, "group"),
            format!("root:x:0:\nsplit:x:{split}:\nfixed:x:300:split\n")
        );
    }

    #[test]
    fn system_accounts_of_a_script_get_ids_by_the_rule() {
        let before = "root:x:0:0::/:/s\nthere:x:104:104::/:/s\n";
        let root = root(
            &format!(
                "{before}own:x:998:998::/:/s\nasked:x:997:997::/:/s\nfixed:x:996:996::/:/s\nhuman:x:1001:1001::/:/s\n"
            ),
            "there:x:104:own\nown:x:998:\nasked:x:997:\nfixed:x:996:\nhuman:x:1001:\n",
        );
        let before = Ids {
            users: parse(before),
            groups: table(&[("there", 104)]),
        };
        let script = "groupadd -g 555 asked\nuseradd -r -u 555 -g asked asked\n";
        settle_new(
            root.path(),
            &before,
            &ids(&[("fixed", 951), ("there", 104)]),
            script,
        )
        .unwrap();
        let own = candidate("own");
        assert_eq!(
            text(&root, "passwd"),
            format!(
                "root:x:0:0::/:/s\nthere:x:104:104::/:/s\nown:x:{own}:{own}::/:/s\nasked:x:555:555::/:/s\nfixed:x:951:951::/:/s\nhuman:x:1001:1001::/:/s\n"
            )
        );
        assert_eq!(
            text(&root, "group"),
            format!("there:x:104:own\nown:x:{own}:\nasked:x:555:\nfixed:x:951:\nhuman:x:1001:\n")
        );
    }

    #[test]
    fn names_that_only_the_build_sees_yield_to_those_of_scripts_and_of_the_lock() {
        let id = candidate("late");
        let passwd = format!("asked:x:101:100::/:/s\nlate:x:{id}:100::/:/s\nlisted:x:102:100::/:/s\n");
        let root = root(&passwd, "");
        let info = "var/lib/dpkg/info/pkg.preinst";
        fs::put(root.path(), info, &format!("useradd -r -N -u {id} asked\n"));
        let listed = Ids {
            users: table(&[("listed", id + 1)]),
            groups: BTreeMap::new(),
        };
        settle(root.path(), &listed, &[id + 2].into()).unwrap();
        let expected = format!(
            "asked:x:{id}:100::/:/s\nlate:x:{}:100::/:/s\nlisted:x:{}:100::/:/s\n",
            id + 3,
            id + 1
        );
        assert_eq!(text(&root, "passwd"), expected);
        // A second look finds nothing to do.
        settle(root.path(), &listed, &[id + 2].into()).unwrap();
        assert_eq!(text(&root, "passwd"), expected);
    }

    #[test]
    fn another_name_of_an_id_follows_the_first() {
        let root = root(
            "root:x:0:0:r:/:/s\nalias:x:0:0::/:/s\na:x:101:0::/:/s\nb:x:101:0::/:/s\n",
            "",
        );
        fs::put(
            root.path(),
            "usr/share/base-passwd/passwd.master",
            "root:*:0:0:r:/:/s\n",
        );
        settle(root.path(), &ids(&[("a", 300)]), &BTreeSet::new()).unwrap();
        assert_eq!(
            text(&root, "passwd"),
            "root:x:0:0:r:/:/s\nalias:x:0:0::/:/s\na:x:300:0::/:/s\nb:x:300:0::/:/s\n"
        );
    }

    #[test]
    fn two_listed_names_never_share_an_id() {
        let root = root("a:x:50:50::/:/s\nb:x:998:998::/:/s\n", "");
        let info = root.path().join("var/lib/dpkg/info");
        // A word in a comment of another package makes it no owner.
        fs::put(&info, "aaa.postinst", "# b\necho b\n");
        fs::put(&info, "pkg:amd64.list", "/usr/lib/sysusers.d/pkg.conf\n");
        fs::put(root.path(), "usr/lib/sysusers.d/pkg.conf", "u b - -\n");
        let ids = ids(&[("a", 50), ("b", 50)]);
        let problem = settle(root.path(), &ids, &BTreeSet::new())
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("user `b` of package `pkg` is to get id 50, which `a` has"),
            "{problem}"
        );
    }
}
