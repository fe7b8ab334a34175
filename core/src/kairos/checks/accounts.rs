//! The accounts of the image: those that every system needs, and the owners of files.

use std::collections::BTreeMap;

use super::Severity::{Error, Warning};
use super::walk::walk;
use super::{Check, Fault, Subject, fault, shown};

pub(super) const ACCOUNTS: Check = Check {
    name: "accounts",
    doc: "The tables of users and groups have those that the distro and its packages need.",
    severity: Error,
    run: accounts,
};

pub(super) const OWNERS: Check = Check {
    name: "accounts-owners",
    doc: "Files of the system belong to users and groups that have a name.",
    severity: Warning,
    run: owners,
};

/// A table of accounts.
struct Table {
    path: &'static str,
    /// The table of base-passwd, with the accounts that are in every image of the family (update-passwd(8)).
    master: &'static str,
    word: &'static str,
    /// Names that no system works without (LSB 5.0, "User & Group Names"; systemd needs `nobody`).
    needed: &'static [&'static str],
}

const TABLES: [Table; 2] = [
    Table {
        path: "/etc/passwd",
        master: "/usr/share/base-passwd/passwd.master",
        word: "users",
        needed: &["root", "daemon", "bin", "nobody"],
    },
    Table {
        path: "/etc/group",
        master: "/usr/share/base-passwd/group.master",
        word: "groups",
        needed: &["root", "daemon", "bin", "shadow", "nogroup"],
    },
];

/// Ids that a system has names for; above are those of people and of containers.
const SYSTEM: std::ops::Range<u32> = 1..1000;

fn accounts(subject: &Subject<'_>) -> Vec<Fault> {
    let tables = TABLES.iter().zip([true, false]);
    tables
        .filter_map(|(table, of_users)| lacking(subject, table, of_users))
        .collect()
}

/// What a table lacks: names that are always needed, and static ones that own files.
fn lacking(subject: &Subject<'_>, table: &Table, of_users: bool) -> Option<Fault> {
    let there = ids(subject, table.path);
    let mut master = ids(subject, table.master);
    let mut missing: Vec<String> = Vec::new();
    if !there.contains_key("root") {
        missing.push("root".to_owned());
    }
    master.retain(|name, _| name != "root" && !there.contains_key(name));
    if !master.is_empty() {
        let unnamed = unnamed(subject, of_users, &there);
        let is_needed = |name: &str, id: &u32| table.needed.contains(&name) || unnamed.contains_key(id);
        let names = master.iter().filter(|(name, id)| is_needed(name, id));
        missing.extend(names.map(|(name, _)| name.clone()));
    }
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
    let fact = format!(
        "it lacks {} that every system needs: {}",
        table.word,
        names.join(", ")
    );
    let help = "take out what replaces the file, and declare accounts in `users` and `groups`";
    Some(fault(table.path, fact, help))
}

fn owners(subject: &Subject<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (table, of_users) in TABLES.iter().zip([true, false]) {
        let there = ids(subject, table.path);
        for (id, path) in unnamed(subject, of_users, &there) {
            let word = table.word.trim_end_matches('s');
            let fact = format!("it belongs to {word} {id}, which `{}` does not name", table.path);
            faults.push(fault(
                path,
                fact,
                "install the package that makes it, or give the file another owner",
            ));
        }
    }
    faults
}

/// System ids without a name that own something, with the first such path.
fn unnamed(subject: &Subject<'_>, of_users: bool, there: &BTreeMap<String, u32>) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    walk(subject.tree, b"/", &mut |path, entry| {
        let id = if of_users { entry.uid } else { entry.gid };
        if SYSTEM.contains(&id) && !found.contains_key(&id) && !there.values().any(|known| *known == id) {
            found.insert(id, shown(path));
        }
    });
    found
}

/// Names and ids of a table.
fn ids(subject: &Subject<'_>, path: &str) -> BTreeMap<String, u32> {
    let text = subject.text(path).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
