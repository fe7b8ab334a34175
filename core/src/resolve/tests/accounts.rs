//! Ids of users and groups: where they come from, and that they stay.

use std::collections::BTreeMap;

use super::super::lock::{parse, render};
use super::*;
use crate::ids::candidate;
use crate::model::{FixedId, Group, PackageName, User};
use crate::packages::accounts::AccountKind;
use crate::packages::deb::facts::PackageFacts;

const WORLD: &str = "aa 1\nbb 1\ncc 1";

/// Kind, name and id.
type Made<'a> = (&'a str, &'a str, Option<u32>);

/// Facts of packages: the name, and the accounts that it makes.
fn archives(packages: &[(&str, &[Made<'_>])]) -> BTreeMap<PackageName, PackageFacts> {
    let facts = packages.iter().map(|(package, accounts)| {
        let accounts = accounts.iter().map(|(kind, name, id)| {
            let id = id.map_or(String::new(), |id| format!(",\"id\":{id}"));
            format!("{{\"kind\":\"{kind}\",\"name\":\"{name}\"{id}}}")
        });
        let head = format!("{{\"accounts\":[{}]}}\n", accounts.collect::<Vec<_>>().join(","));
        (
            package.parse().unwrap(),
            PackageFacts::from_bytes(head.into_bytes()).unwrap(),
        )
    });
    facts.collect()
}

/// A flavor of wishes in which these lines name numbers: `user NAME NUMBER`, `group NAME NUMBER` or `id KIND NAME NUMBER`.
fn numbered(wishes: &str, lines: &str) -> (Flavor, SourceMap) {
    let (mut flavor, mut sources) = flavor(wishes);
    let file = sources.add("numbers.kdl", lines).clone();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let start = lines.find(line).unwrap();
        let span = file.span(start, line.len());
        let text = |text: &str| Spanned::new(text.to_owned(), span);
        let number = |text: &&str| {
            let at = line.rfind(text).unwrap();
            Spanned::new(text.parse::<u32>().unwrap(), file.span(start + at, text.len()))
        };
        match words[..] {
            ["id", kind, name, id] => {
                let kind = if kind == "user" {
                    AccountKind::User
                } else {
                    AccountKind::Group
                };
                let fixed = FixedId {
                    kind,
                    name: text(name),
                    id: number(&id),
                };
                flavor.ids.push(Spanned::new(fixed, span));
            }
            ["group", name, ref gid @ ..] => {
                let group = Group {
                    name: text(name),
                    gid: gid.first().map(number),
                };
                flavor.groups.push(Spanned::new(group, span));
            }
            ["user", name, ref uid @ ..] => {
                let user = User {
                    name: text(name),
                    uid: uid.first().map(number),
                    groups: Vec::new(),
                    shell: None,
                    home: None,
                    comment: None,
                    password_hash: None,
                    ssh_keys: Vec::new(),
                };
                flavor.users.push(Spanned::new(user, span));
            }
            _ => panic!("{line}"),
        }
    }
    (flavor, sources)
}

/// The lock of a flavor whose packages were looked into.
fn lock_of(flavor: &Flavor, before: Option<Lock>, archives: &BTreeMap<PackageName, PackageFacts>) -> Lock {
    let mut facts = facts(WORLD, "", "");
    facts.lock = before;
    let Resolution::Done(done) = resolve(flavor, &facts) else {
        panic!("it resolves")
    };
    let mut lock = Lock::new(flavor, done.value);
    lock.resolved.look_into(flavor, archives);
    lock
}

fn shown(lock: &Lock) -> String {
    let table = |word: &str, table: &BTreeMap<String, u32>| {
        let lines = table.iter().map(|(name, id)| format!("{word} {name} {id}"));
        lines.collect::<Vec<_>>()
    };
    let (ids, accounts) = (&lock.resolved.ids, &lock.resolved.accounts);
    [
        table("group", &ids.groups),
        table("user", &ids.users),
        table("account", accounts),
    ]
    .concat()
    .join(", ")
}

#[test]
fn accounts_of_packages_get_ids_that_stay() {
    let samba: &[_] = &[("group", "sambashare", None)];
    let munge: &[_] = &[("user", "munge", None), ("group", "munge", None)];
    let (flavor, _) = numbered("aa", "");
    let first = lock_of(&flavor, None, &archives(&[("aa", samba)]));
    let share = candidate("sambashare");
    assert_eq!(shown(&first), format!("group sambashare {share}"));
    // A package comes that wants the number.
    let thief: &[_] = &[("user", "thief", Some(share))];
    let (flavor, _) = numbered("aa\nbb\ncc", "");
    let second = lock_of(
        &flavor,
        Some(first),
        &archives(&[("aa", samba), ("bb", munge), ("cc", thief)]),
    );
    let (own, late) = (candidate("munge"), candidate("thief"));
    let expected =
        format!("group munge {own}, group sambashare {share}, user munge {own}, user thief {late}");
    assert_eq!(shown(&second), expected);
    // Packages go, and their ids stay; also through the text.
    let (flavor, _) = numbered("bb", "");
    let second = parse("flavor.lock", &render(&second)).unwrap();
    let third = lock_of(&flavor, Some(second), &archives(&[("bb", munge)]));
    assert_eq!(shown(&third), expected);
}

#[test]
fn a_lock_says_which_package_makes_an_account() {
    let made: &[_] = &[("user", "a", None), ("user", "b", None), ("group", "c", None)];
    let (flavor, _) = numbered("aa", "");
    let lock = lock_of(&flavor, None, &archives(&[("aa", made)]));
    let text = render(&lock);
    assert!(text.contains(" users=\"a b\" groups=\"c\" depends="), "{text}");
    assert_eq!(parse("flavor.lock", &text).unwrap(), lock);
    // The archive is known by its sum, so a lock that resolves again need not look into it.
    let (flavor, _) = numbered("aa\nbb", "");
    let again = lock_of(&flavor, Some(lock), &BTreeMap::new());
    assert!(again.resolved.is_made(AccountKind::Group, "c"));
}

#[test]
fn a_number_that_is_taken_goes_to_no_second_name() {
    let (mut flavor, _) = numbered("aa", "id user _greetd 951\ngroup gateway 180\nuser ops 181");
    flavor.distro.value.ids.users.extend([
        ("mysql".to_owned(), 142),
        ("free".to_owned(), 180),
        ("late".to_owned(), 181),
        ("_greetd".to_owned(), 182),
    ]);
    flavor
        .distro
        .value
        .static_ids
        .users
        .insert("www-data".to_owned(), 33);
    let made: &[_] = &[
        ("user", "_greetd", None),
        ("group", "_greetd", None),
        ("user", "late", None),
        ("user", "www-data", None),
        ("group", "wish", Some(33)),
    ];
    let lock = lock_of(&flavor, None, &archives(&[("aa", made)]));
    let (late, wish) = (candidate("late"), candidate("wish"));
    let expected = format!(
        "group _greetd 951, group gateway 180, group wish {wish}, user _greetd 951, user late {late}, user mysql 142, account ops 181"
    );
    assert_eq!(shown(&lock), expected);
}

#[test]
fn own_users_and_groups_of_one_name_share_a_number() {
    let (mut flavor, _) = numbered(
        "aa",
        "user gateway\ngroup gateway 950\nuser ops\ngroup ops\ngroup plain\ngroup adm\nuser games",
    );
    flavor.distro.value.static_ids.groups.insert("adm".to_owned(), 4);
    flavor.distro.value.static_ids.users.insert("games".to_owned(), 5);
    let lock = lock_of(&flavor, None, &BTreeMap::new());
    let expected = "group gateway 950, group ops 1000, group plain 1001, account games 5, account gateway 950, account ops 1000";
    assert_eq!(shown(&lock), expected);
    // What is locked stays when the flavor no longer has it.
    let (flavor, _) = numbered("aa", "group late");
    let lock = lock_of(&flavor, Some(lock), &BTreeMap::new());
    assert!(
        shown(&lock).contains("group late 1002, group ops 1000"),
        "{}",
        shown(&lock)
    );
}

#[track_caller]
fn check_against_lock(lines: &str, expected: &str) {
    let made: &[_] = &[("user", "munge", Some(300)), ("user", "sddm", Some(301))];
    let (before, _) = numbered("aa", "user ops 1001");
    let mut facts = facts(WORLD, "", "");
    facts.lock = Some(lock_of(&before, None, &archives(&[("aa", made)])));
    let (flavor, sources) = numbered("aa", lines);
    let found = match resolve(&flavor, &facts) {
        Resolution::Failed(problems) => report(&problems, &sources),
        other => outcome(&other, &sources),
    };
    assert_eq!(found.trim_end(), expected);
}

#[test]
fn numbers_that_the_lock_contradicts_are_errors_at_their_line() {
    check_against_lock("id user munge 300\nid group munge 300\nuser ops 1001", "aa 1");
    check_against_lock(
        "id user munge 302",
        "user `munge` has id 300 in the lock, and an id never moves: files on machines belong to it
  `302` another id here
  help: write 300; if no machine has run this flavor yet, delete the lock, and `kcompose lock` takes the id from here",
    );
    let taken = "help: choose another number; `group`, `user` and `account` lines of the lock list those that are taken";
    check_against_lock(
        "group gateway 301",
        &format!("id 301 belongs to user `sddm` in the lock\n  `301` taken\n  {taken}"),
    );
    check_against_lock(
        "id group late 1001",
        &format!("id 1001 belongs to user `ops` in the lock\n  `1001` taken\n  {taken}"),
    );
    check_against_lock(
        "user ann 300",
        &format!("id 300 belongs to user `munge` in the lock\n  `300` taken\n  {taken}"),
    );
}

#[test]
fn a_lock_fits_as_long_as_the_numbers_are_the_same() {
    let (before, _) = numbered("aa", "group gateway 950\nid user _greetd 951");
    let lock = lock_of(&before, None, &BTreeMap::new());
    assert!(lock.fits(&before).is_empty());
    let (now, sources) = numbered("aa", "group gateway\nid user _greetd 952\nid group _greetd 952");
    let adds = "help: `kcompose lock` adds it, and moves nothing else";
    let expected = format!(
        "group `gateway` is asked for and not locked\n  `group gateway` asked for here\n  {adds}\n\
         id 952 of user `_greetd` is asked for and not locked\n  `id user _greetd 952` asked for here\n  {adds}\n\
         id 952 of group `_greetd` is asked for and not locked\n  `id group _greetd 952` asked for here\n  {adds}"
    );
    assert_eq!(report(&lock.fits(&now), &sources).trim_end(), expected);
}
