//! How a lock is kept, read and moved.

use super::super::lock::{LockError, parse, render};
use super::*;

const OLD: &str = "aa 1\nbb 1 | Depends: mta\ncc 1\nyy 1 | Provides: mta";
const NEW: &str = "aa 1\naa 2\nbb 1 | Depends: mta\nbb 2 | Depends: mta\ncc 1\ncc 2 | Depends: bb (>= 2)\nxx 1 | Provides: mta\nyy 1 | Provides: mta";

#[track_caller]
fn check_moved(wishes: &str, movement: Movement, expected: &str) {
    let mut facts = facts(NEW, "", "");
    facts.lock = Some(locked("aa\nbb", &super::facts(OLD, "", "")));
    facts.movement = movement;
    let (flavor, sources) = flavor(wishes);
    let resolution = resolve(&flavor, &facts);
    let Resolution::Done(done) = &resolution else {
        panic!("{}", outcome(&resolution, &sources))
    };
    assert_eq!(solution(&done.value), expected);
}

#[test]
fn a_lock_moves_only_as_far_as_it_is_let() {
    check_moved("aa\nbb", Movement::Keep, "aa 1, bb 1, yy 1");
    check_moved("aa\nbb", Movement::All, "aa 2, bb 2, xx 1");
    check_moved(
        "aa\nbb",
        Movement::Only(["aa".to_owned()].into()),
        "aa 2, bb 1, yy 1",
    );
    // What is new is the newest; what that needs moves, and nothing else.
    check_moved("aa\nbb\ncc", Movement::Keep, "aa 1, bb 2, cc 2, yy 1");
    check_moved("aa\nbb version==2", Movement::Keep, "aa 1, bb 2, yy 1");
}

#[test]
fn a_lock_is_written_sorted_and_read_back() {
    let mut lock = locked("aa\nwithout zz\nhold bb =1", &facts(OLD, "", ""));
    lock.resolved.accounts.insert("ops".to_owned(), 1000);
    lock.resolved.ids.groups.insert("messagebus".to_owned(), 996);
    let text = render(&lock);
    assert_eq!(parse("flavor.lock", &text).unwrap(), lock);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("package \"linux"))
        .collect();
    let expected = [
        "// Written by `kcompose lock`. Keep it in version control; do not edit it.",
        "lock format=1 language=1",
        "architecture \"amd64\"",
        "epoch 200",
        &format!("request sha256=\"{}\" urls=0", lock.request),
        "asked \"base debian trixie amd64\"",
        "asked \"hold bb =1\"",
        "asked \"kernel linux-image-amd64\"",
        "asked \"package aa\"",
        "asked \"without zz\"",
        &format!(
            "index source=\"debian\" suite=\"trixie\" date=\"1970-01-01T00:01:40Z\" sha256=\"{:064}\" signed-by=\"AB\"",
            100
        ),
        &format!(
            "index source=\"debian\" suite=\"trixie-updates\" date=\"1970-01-01T00:03:20Z\" sha256=\"{:064}\" signed-by=\"AB\"",
            200
        ),
        "group \"messagebus\" 996",
        "account \"ops\" 1000",
        &format!(
            "package \"aa\" version=\"1\" architecture=\"amd64\" source=\"debian\" suite=\"trixie\" path=\"pool/aa_1.deb\" size=1 \
             sha256=\"{}\" installed=0 depends=\"\"",
            lock.resolved.packages[&"aa".parse().unwrap()].sha256
        ),
    ];
    assert_eq!(lines, expected);
}

#[track_caller]
fn check_unreadable(from: &str, to: &str, why: &str) {
    let text = render(&locked("aa\nbb", &facts(OLD, "", "")));
    assert!(text.contains(from), "{from}");
    let error = parse("flavor.lock", &text.replacen(from, to, 1)).unwrap_err();
    assert_eq!(
        error
            .to_string()
            .split_once(": ")
            .map_or(error.to_string(), |(_, why)| why.to_owned()),
        why
    );
}

#[test]
fn a_damaged_lock_tells_the_line() {
    check_unreadable("size=1", "size=x", "`x` is not a number that fits here");
    check_unreadable(
        "path=\"pool",
        "path=\"../pool",
        "`../pool/aa_1.deb` leaves the package source",
    );
    check_unreadable("epoch", "epok", "`epok` is not a line of a lock");
    check_unreadable(
        "depends=\"yy\"",
        "depends=\"zz\"",
        "package `zz` is needed and not locked",
    );
    check_unreadable("\"amd64\"", "\"amd64", "a quote is not closed");
}

#[test]
fn a_lock_of_a_newer_format_is_a_problem_of_its_own() {
    let text = render(&locked("aa", &facts(OLD, "", ""))).replace("format=1", "format=2 shape=round");
    let error = parse("flavor.lock", &text).unwrap_err();
    assert!(matches!(error, LockError::Newer { found: 2, .. }), "{error}");
}

#[track_caller]
fn check_fits(before: &str, now: &str, expected: &str) {
    let lock = locked(before, &facts(OLD, "", ""));
    let (flavor, sources) = flavor(now);
    assert_eq!(report(&lock.fits(&flavor), &sources).trim_end(), expected);
}

#[test]
fn what_no_longer_fits_is_said_in_words() {
    check_fits("aa\nbb", "bb\naa", "");
    let gone = "package `bb` is locked and no longer asked for
  `base\nkernel\naa\ncc version==1` of this flavor
  help: `kcompose lock` takes it out, and moves nothing else";
    let new = "package `cc` in version `=1` is asked for and not locked
  `cc version==1` asked for here
  help: `kcompose lock` adds it, and moves nothing else";
    check_fits("aa\nbb", "aa\ncc version==1", &format!("{gone}\n{new}"));
    check_fits("aa\ncc", "aa\ncc version==1", new);
    let changed = "the data of the distro changed since the lock was made
  `base` the distro
  help: `kcompose lock` takes the changes in, and moves as little as it can";
    check_fits("aa", "aa\ndistro cc", changed);
}

#[test]
fn ids_are_never_given_to_somebody_else() {
    let mut facts = facts(OLD, "", "");
    let mut lock = locked("aa", &facts);
    lock.resolved.ids.users.insert("messagebus".to_owned(), 996);
    lock.resolved.accounts.insert("gone".to_owned(), 1000);
    facts.lock = Some(lock);
    facts.movement = Movement::All;
    let (mut flavor, _) = flavor("aa");
    flavor
        .distro
        .value
        .ids
        .users
        .extend([("messagebus".to_owned(), 100), ("sshd".to_owned(), 101)]);
    let user = |name: &str, uid: Option<u32>| {
        Spanned::unplaced(crate::model::User {
            name: Spanned::unplaced(name.to_owned()),
            uid: uid.map(Spanned::unplaced),
            groups: Vec::new(),
            shell: None,
            home: None,
            comment: None,
            password_hash: None,
            ssh_keys: Vec::new(),
        })
    };
    flavor.users = vec![user("zoe", None), user("ada", None), user("bob", Some(1001))];
    let Resolution::Done(done) = resolve(&flavor, &facts) else {
        panic!("it resolves")
    };
    let ids = |map: &std::collections::BTreeMap<String, u32>| {
        map.iter()
            .map(|(name, id)| format!("{name} {id}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    assert_eq!(ids(&done.value.ids.users), "messagebus 996, sshd 101");
    assert_eq!(
        ids(&done.value.accounts),
        "ada 1002, bob 1001, gone 1000, zoe 1003"
    );
}

#[test]
fn a_lock_keeps_which_default_packages_were_left_out_and_for_what() {
    let world = "ntp 1\nchrony 4 | Conflicts: ntp";
    let lock = locked("default ntp\nchrony", &facts(world, "", ""));
    let text = render(&lock);
    assert!(text.contains("\nleft-out \"ntp\" for=\"chrony\"\n"), "{text}");
    assert_eq!(parse("flavor.lock", &text).unwrap(), lock);
}

#[test]
fn a_default_package_is_asked_for_as_a_needed_one_is() {
    // So a lock that was made when the package was needed still fits.
    let before = locked("distro aa", &facts("aa 1", "", ""));
    let (flavor, _) = flavor("default aa");
    assert!(before.fits(&flavor).is_empty());
}
