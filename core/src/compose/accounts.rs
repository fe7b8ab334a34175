//! Users, groups, and their numbers.

use std::collections::BTreeMap;

use base64::Engine as _;
use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::Sink;
use crate::model::{Distro, FixedId, Group, User};
use crate::packages::accounts::AccountKind;
use crate::source::{Span, Spanned};
use crate::step::Ids;

#[derive(Debug, Error, Diagnostic)]
#[error("`{second}` has the same uid as `{first}`: {uid}")]
#[diagnostic(
    code("kcompose::compose::uid"),
    help("give each user a number of its own, or leave `uid=` out")
)]
struct SameUid {
    uid: u32,
    first: String,
    second: String,
    #[label("`{first}` has it here")]
    first_span: Span,
    #[label(primary, "`{second}` has it here")]
    second_span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{second} has the id of {first}: {id}")]
#[diagnostic(
    code("kcompose::accounts::same-id"),
    help("give each name a number of its own; only a user and a group of one name share theirs")
)]
struct SameId {
    id: u32,
    first: String,
    second: String,
    #[label("{first} has it here")]
    first_span: Span,
    #[label(primary, "{second} has it here")]
    second_span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{what} cannot have id {id}: {why}")]
#[diagnostic(code("kcompose::accounts::distro-id"), help("{help}"))]
struct DistroId {
    what: String,
    id: u32,
    why: String,
    help: String,
    #[label("this number")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`root` is not a user that a flavor makes")]
#[diagnostic(
    code("kcompose::compose::root"),
    help(
        "root stays locked; make a user of another name, in group `sudo` if it shall administer the system"
    )
)]
struct Root {
    #[label("declared here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this is no complete {kind} key, so nobody can log in with it")]
#[diagnostic(
    code("kcompose::users::ssh-key"),
    severity(Warning),
    help("copy the whole line of the `.pub` file")
)]
struct BrokenKey {
    kind: String,
    #[label("cut off or changed")]
    span: Span,
}

/// All users, sorted by name.
pub(super) fn users(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<User>> {
    let all = said(parts, |fragment| &fragment.users);
    let setting = |user: &User| format!("the user `{}`", user.name.value);
    let chosen = choose_each(all, |user| user.name.value.clone(), setting, |_| None, sink);
    let mut users: Vec<Spanned<User>> = chosen.iter().map(Said::spanned).collect();
    users.sort_by(|a, b| a.value.name.value.cmp(&b.value.name.value));
    for user in users.iter().filter(|user| user.value.name.value == "root") {
        sink.push(Root { span: user.span });
    }
    for key in users.iter().flat_map(|user| &user.value.ssh_keys) {
        check_key(key, sink);
    }
    users
}

/// The data of a key begins with the length and the name of its kind (RFC 4253, section 6.6), and goes on with fields that
/// have their lengths before them.
fn check_key(key: &Spanned<String>, sink: &mut Sink) {
    let mut words = key.value.split_whitespace();
    let kinds = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let Some(kind) = words.find(|word| kinds.iter().any(|kind| word.starts_with(kind))) else {
        return;
    };
    let data = words.next().unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(data)
        .unwrap_or_default();
    let mut rest = decoded.as_slice();
    let mut fields = Vec::new();
    while let Some((length, behind)) = rest.split_at_checked(4) {
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((field, behind)) = behind.split_at_checked(length) else {
            break;
        };
        fields.push(field);
        rest = behind;
    }
    if !rest.is_empty() || fields.len() < 2 || fields[0] != kind.as_bytes() {
        sink.push(BrokenKey {
            kind: kind.to_owned(),
            span: key.span,
        });
    }
}

/// All groups, sorted by name.
pub(super) fn groups(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Group>> {
    let all = said(parts, |fragment| &fragment.groups);
    let setting = |group: &Group| format!("the group `{}`", group.name.value);
    let show = |group: &Group| group.gid.as_ref().map(|gid| format!("gid={}", gid.value));
    let chosen = choose_each(all, |group| group.name.value.clone(), setting, show, sink);
    let mut groups: Vec<Spanned<Group>> = chosen.iter().map(Said::spanned).collect();
    groups.sort_by(|a, b| a.value.name.value.cmp(&b.value.name.value));
    groups
}

/// All numbers of packages' users and groups, sorted by name.
pub(super) fn ids(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<FixedId>> {
    let all = said(parts, |fragment| &fragment.ids);
    let key = |fixed: &FixedId| (fixed.name.value.clone(), fixed.kind);
    let setting = |fixed: &FixedId| format!("the id of {} `{}`", fixed.kind.word(), fixed.name.value);
    let show = |fixed: &FixedId| Some(fixed.id.value.to_string());
    let mut ids: Vec<Spanned<FixedId>> = choose_each(all, key, setting, show, sink)
        .iter()
        .map(Said::spanned)
        .collect();
    ids.sort_by_key(|fixed| key(&fixed.value));
    ids
}

/// A number that the flavor says.
struct Numbered<'a> {
    kind: AccountKind,
    name: &'a str,
    id: &'a Spanned<u32>,
    /// Whether packages make the account.
    of_package: bool,
}

impl Numbered<'_> {
    fn what(&self) -> String {
        account(self.kind, self.name)
    }
}

fn account(kind: AccountKind, name: &str) -> String {
    format!("{} `{name}`", kind.word())
}

/// Checks the numbers that the flavor says against each other and against the distro's.
pub(super) fn check_ids(
    users: &[Spanned<User>],
    groups: &[Spanned<Group>],
    ids: &[Spanned<FixedId>],
    distro: Option<&Distro>,
    sink: &mut Sink,
) {
    let users = users.iter().filter_map(|user| {
        let (name, id) = (&user.value.name.value, user.value.uid.as_ref()?);
        Some((AccountKind::User, name, id, false))
    });
    let groups = groups.iter().filter_map(|group| {
        let (name, id) = (&group.value.name.value, group.value.gid.as_ref()?);
        Some((AccountKind::Group, name, id, false))
    });
    let fixed = ids.iter().map(|fixed| {
        let FixedId { kind, name, id } = &fixed.value;
        (*kind, &name.value, id, true)
    });
    let all = users.chain(groups).chain(fixed);
    // Other numbers are no ids, which is said where they stand.
    let all = all.filter(|(_, _, id, _)| (1..=65533).contains(&id.value));
    let all: Vec<Numbered<'_>> = all
        .map(|(kind, name, id, of_package)| Numbered {
            kind,
            name,
            id,
            of_package,
        })
        .collect();
    check_against_each_other(&all, sink);
    if let Some(distro) = distro {
        for numbered in all.iter().filter(|numbered| numbered.name != "root") {
            check_against_distro(numbered, &all, distro, sink);
        }
    }
}

fn check_against_each_other(all: &[Numbered<'_>], sink: &mut Sink) {
    let mut taken: BTreeMap<u32, &Numbered<'_>> = BTreeMap::new();
    for second in all {
        let id = second.id.value;
        let first = *taken.entry(id).or_insert(second);
        if first.name == second.name {
            continue;
        }
        if first.kind == AccountKind::User && second.kind == AccountKind::User {
            sink.push(SameUid {
                uid: id,
                first: first.name.to_owned(),
                second: second.name.to_owned(),
                first_span: first.id.span,
                second_span: second.id.span,
            });
        } else {
            sink.push(SameId {
                id,
                first: first.what(),
                second: second.what(),
                first_span: first.id.span,
                second_span: second.id.span,
            });
        }
    }
}

fn check_against_distro(numbered: &Numbered<'_>, all: &[Numbered<'_>], distro: &Distro, sink: &mut Sink) {
    let Numbered { kind, name, id, .. } = numbered;
    let mut problem = |why: String, help: String| {
        sink.push(DistroId {
            what: numbered.what(),
            id: id.value,
            why,
            help,
            span: id.span,
        });
    };
    if let Some(known) = distro.static_ids.get(*kind, name) {
        if known != id.value {
            let why = format!("{} gives it {known} in every image", distro.id);
            problem(why, format!("write {known}, or leave the number out"));
        }
        return;
    }
    let choose = if *kind == AccountKind::User && !numbered.of_package {
        "choose a number from 1000 on, or leave `uid=` out"
    } else {
        "choose another number, such as one from 200 to 899; `kcompose lock` chooses by itself where none is said"
    };
    if let Some(other) = holder(&distro.static_ids, name, id.value) {
        problem(
            format!("{other} has it in every image of {}", distro.id),
            choose.to_owned(),
        );
        return;
    }
    // A person may have a number of the library's table; the package that wants it gets another.
    let renumbered = |other: &str| all.iter().any(|own| own.of_package && own.name == other);
    let of_library =
        holder(&distro.ids, name, id.value).filter(|_| *kind == AccountKind::Group || numbered.of_package);
    if let Some(other) = of_library.filter(|other| !renumbered(other.name)) {
        let advice = format!("{choose}; or give {other} another in `ids`");
        problem(
            format!("it is that of {other}, where a package makes that"),
            advice,
        );
    }
}

/// An account of a table, in words.
struct Holder<'a> {
    kind: AccountKind,
    name: &'a str,
}

impl std::fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&account(self.kind, self.name))
    }
}

/// The account of another name that has a number.
fn holder<'a>(ids: &'a Ids, name: &str, id: u32) -> Option<Holder<'a>> {
    let kinds = [AccountKind::User, AccountKind::Group].into_iter();
    let mut all = kinds.flat_map(|kind| ids.table(kind).iter().map(move |(name, id)| (kind, name, id)));
    let (kind, name, _) = all.find(|(_, other, taken)| **taken == id && *other != name)?;
    Some(Holder { kind, name })
}
