//! Ids of users and groups: once given, never given to another name.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::ids::complete;
use crate::model::Flavor;
use crate::packages::accounts::{AccountKind, SystemAccount};
use crate::source::Span;
use crate::step::Ids;

use super::Resolved;
use super::lock::Lock;

/// The first id that a person may have (adduser.conf(5), `FIRST_UID`).
const FIRST: u32 = 1000;

#[derive(Debug, Error, Diagnostic)]
#[error("{what} has id {locked} in the lock, and an id never moves: files on machines belong to it")]
#[diagnostic(
    code("kcompose::accounts::locked-id"),
    help(
        "write {locked}; if no machine has run this flavor yet, delete the lock, and `kcompose lock` takes the id from here"
    )
)]
struct LockedId {
    what: String,
    locked: u32,
    #[label("another id here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("id {id} belongs to {other} in the lock")]
#[diagnostic(
    code("kcompose::accounts::taken-id"),
    help("choose another number; `group`, `user` and `account` lines of the lock list those that are taken")
)]
struct TakenId {
    id: u32,
    other: String,
    #[label("taken")]
    span: Span,
}

/// Ids of a flavor, as far as they are known without looking into packages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Those of packages' users and groups, and of the flavor's own groups.
    pub(crate) ids: Ids,
    /// Those of the flavor's own users.
    pub(crate) accounts: BTreeMap<String, u32>,
}

/// What the flavor says, what the lock says, what the distro says; then the next free ones for the flavor's own.
///
/// Names that the flavor no longer has keep their entry, so that nothing inherits their files.
pub(crate) fn numbers(flavor: &Flavor, lock: Option<&Lock>) -> Numbers {
    let mut numbers = lock.map_or_else(Numbers::default, |lock| Numbers {
        ids: lock.resolved.ids.clone(),
        accounts: lock.resolved.accounts.clone(),
    });
    for user in &flavor.users {
        if let Some(uid) = &user.value.uid {
            numbers.accounts.insert(user.value.name.value.clone(), uid.value);
        }
    }
    for group in &flavor.groups {
        if let Some(gid) = &group.value.gid {
            numbers
                .ids
                .groups
                .insert(group.value.name.value.clone(), gid.value);
        }
    }
    for fixed in flavor.ids.iter().map(|fixed| &fixed.value) {
        let table = numbers.ids.table_mut(fixed.kind);
        table.insert(fixed.name.value.clone(), fixed.id.value);
    }
    take_those_of_the_distro(flavor, &mut numbers);
    number_the_own(flavor, &mut numbers);
    numbers
}

/// An id in the lock may stand on disks by now: it wins over the library's, and a number that is taken goes to no second
/// name. A name without a number gets one by the rule of [`crate::ids`] when a package makes it.
fn take_those_of_the_distro(flavor: &Flavor, numbers: &mut Numbers) {
    let distro = &flavor.distro.value.ids;
    let known: BTreeSet<String> = numbers
        .ids
        .users
        .keys()
        .chain(numbers.ids.groups.keys())
        .cloned()
        .collect();
    let taken = numbers.taken(flavor);
    let names: BTreeSet<&String> = distro.users.keys().chain(distro.groups.keys()).collect();
    for name in names.into_iter().filter(|name| !known.contains(*name)) {
        let entries = [AccountKind::User, AccountKind::Group].map(|kind| (kind, distro.get(kind, name)));
        let is_taken = entries
            .iter()
            .any(|(_, id)| id.is_some_and(|id| taken.contains(&id)));
        for (kind, id) in entries.into_iter().filter(|_| !is_taken) {
            if let Some(id) = id {
                numbers.ids.table_mut(kind).insert(name.clone(), id);
            }
        }
    }
}

/// A user and a group of one name share their number; else they get the next free one, in order of names.
fn number_the_own(flavor: &Flavor, numbers: &mut Numbers) {
    let users: BTreeSet<&String> = flavor.users.iter().map(|user| &user.value.name.value).collect();
    let groups: BTreeSet<&String> = flavor
        .groups
        .iter()
        .map(|group| &group.value.name.value)
        .collect();
    let statics = &flavor.distro.value.static_ids;
    let mut taken = numbers.taken(flavor);
    for name in users
        .iter()
        .filter(|name| !numbers.accounts.contains_key(**name))
        .copied()
        .collect::<Vec<_>>()
    {
        if let Some(id) = statics.users.get(name) {
            numbers.accounts.insert(name.clone(), *id);
        }
    }
    for name in users.union(&groups).copied().filter(|name| *name != "root") {
        let is_user = users.contains(name) && !numbers.accounts.contains_key(name);
        let is_group = groups.contains(name)
            && !numbers.ids.groups.contains_key(name)
            && !statics.groups.contains_key(name);
        if !is_user && !is_group {
            continue;
        }
        let own_group = numbers.ids.groups.get(name).filter(|_| groups.contains(name));
        let shared = if is_user {
            own_group
        } else {
            numbers.accounts.get(name)
        };
        let free = || (FIRST..).find(|id| !taken.contains(id));
        let id = shared
            .copied()
            .or_else(free)
            .expect("there are fewer accounts than ids");
        taken.insert(id);
        if is_user {
            numbers.accounts.insert(name.clone(), id);
        }
        if is_group {
            numbers.ids.groups.insert(name.clone(), id);
        }
    }
}

impl Numbers {
    fn taken(&self, flavor: &Flavor) -> BTreeSet<u32> {
        let own = self.accounts.values().copied();
        self.ids
            .numbers()
            .chain(own)
            .chain(flavor.distro.value.static_ids.numbers())
            .collect()
    }
}

impl Resolved {
    /// Gives ids to the accounts that packages make and that have none, by the rule of [`crate::ids`].
    pub(super) fn number(&mut self, flavor: &Flavor, accounts: &[SystemAccount]) {
        let statics = &flavor.distro.value.static_ids;
        let own = self.accounts.values().copied();
        let reserved: BTreeSet<u32> = statics.numbers().chain(own).collect();
        let is_static = |account: &SystemAccount| statics.get(account.kind, &account.name).is_some();
        let accounts: Vec<SystemAccount> = accounts
            .iter()
            .filter(|account| !is_static(account))
            .cloned()
            .collect();
        // The build gives numbers to names for which the range has none, or says so.
        let _ = complete(&mut self.ids, &accounts, &reserved);
    }

    /// Whether a locked package makes an account, as far as archives were looked into.
    pub(crate) fn is_made(&self, kind: AccountKind, name: &str) -> bool {
        self.packages.values().any(|package| match kind {
            AccountKind::Group => package.groups.contains(name),
            AccountKind::User => package.users.contains(name),
        })
    }
}

/// Notes numbers of the flavor that the lock contradicts.
pub(crate) fn judge(flavor: &Flavor, lock: Option<&Lock>, sink: &mut Sink) {
    let Some(lock) = lock.map(|lock| &lock.resolved) else {
        return;
    };
    let groups = flavor.groups.iter().filter_map(|group| {
        let gid = group.value.gid.as_ref()?;
        Some((AccountKind::Group, &group.value.name.value, gid))
    });
    let fixed = flavor.ids.iter().map(|fixed| {
        let fixed = &fixed.value;
        (fixed.kind, &fixed.name.value, &fixed.id)
    });
    for (kind, name, id) in groups.chain(fixed) {
        let what = format!("{} `{name}`", kind.word());
        match lock.ids.get(kind, name) {
            Some(locked) if locked != id.value => sink.push(LockedId {
                what,
                locked,
                span: id.span,
            }),
            Some(_) => {}
            None => judge_number(lock, name, id.value, id.span, |_, _| true, sink),
        }
    }
    for user in &flavor.users {
        let (name, uid) = (&user.value.name.value, &user.value.uid);
        if let Some(uid) = uid
            .as_ref()
            .filter(|uid| lock.accounts.get(name) != Some(&uid.value))
        {
            // The library has numbers for many packages that are not in the image.
            judge_number(
                lock,
                name,
                uid.value,
                uid.span,
                |kind, name| lock.is_made(kind, name),
                sink,
            );
        }
    }
}

fn judge_number(
    lock: &Resolved,
    name: &str,
    id: u32,
    span: Span,
    matters: impl Fn(AccountKind, &str) -> bool,
    sink: &mut Sink,
) {
    let kinds = [AccountKind::User, AccountKind::Group].into_iter();
    let of_packages = kinds.flat_map(|kind| lock.ids.table(kind).iter().map(move |entry| (kind, entry)));
    let of_packages = of_packages.filter(|(kind, (name, _))| matters(*kind, name));
    let own = lock.accounts.iter().map(|entry| (AccountKind::User, entry));
    let holder = of_packages
        .chain(own)
        .find(|(_, (other, taken))| **taken == id && *other != name);
    if let Some((kind, (other, _))) = holder {
        sink.push(TakenId {
            id,
            other: format!("{} `{other}`", kind.word()),
            span,
        });
    }
}
