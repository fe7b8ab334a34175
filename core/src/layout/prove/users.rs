//! Users, and the groups and owners that the flavor names, against the accounts, shells and directories of the image.

use std::collections::BTreeMap;

use crate::diagnostic::{Sink, did_you_mean};
use crate::model::{AbsPath, FileBody, Flavor, PathClass, User};
use crate::packages::accounts::AccountKind;
use crate::source::Spanned;

use super::PackageFiles;
use super::problems::{HomelessUser, UnknownGroup, UnknownOwner, UnknownShell, UnmadeAccount};

pub(super) fn prove(flavor: &Flavor, packages: &dyn PackageFiles, sink: &mut Sink) {
    let known = Known::of(flavor, packages);
    prove_groups(flavor, &known, sink);
    prove_owners(flavor, &known, sink);
    for user in &flavor.users {
        if known.users.get(&user.value.name.value) == Some(&Maker::Flavor) {
            prove_home(flavor, user, packages, sink);
        }
        prove_shell(flavor, user, packages, sink);
    }
}

/// What makes an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// The distro, in every image.
    Distro,
    /// The flavor.
    Flavor,
    /// A package of the image.
    Package,
    /// Nothing in the image, as far as scripts can be read; a table has a number for it.
    Nothing,
}

/// The accounts of the image, by name.
struct Known {
    users: BTreeMap<String, Maker>,
    groups: BTreeMap<String, Maker>,
}

impl Known {
    fn of(flavor: &Flavor, packages: &dyn PackageFiles) -> Self {
        let distro = &flavor.distro.value;
        let mut known = Known {
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        };
        let groups = distro.groups.iter().map(|name| (AccountKind::Group, name));
        let statics = [AccountKind::User, AccountKind::Group].into_iter();
        let statics =
            statics.flat_map(|kind| distro.static_ids.table(kind).keys().map(move |name| (kind, name)));
        for (kind, name) in statics.chain(groups) {
            known.add(kind, name, Maker::Distro);
        }
        packages.accounts(&mut |_, account| known.add(account.kind, &account.name, Maker::Package));
        for user in &flavor.users {
            known.add(AccountKind::User, &user.value.name.value, Maker::Flavor);
            known.add(AccountKind::Group, &user.value.name.value, Maker::Flavor);
        }
        for group in &flavor.groups {
            known.add(AccountKind::Group, &group.value.name.value, Maker::Flavor);
        }
        for kind in [AccountKind::User, AccountKind::Group] {
            for name in distro.ids.table(kind).keys() {
                known.add(kind, name, Maker::Nothing);
            }
        }
        for fixed in flavor.ids.iter().map(|fixed| &fixed.value) {
            known.add(fixed.kind, &fixed.name.value, Maker::Nothing);
        }
        known
    }

    /// Adds an account; the first maker stands.
    fn add(&mut self, kind: AccountKind, name: &str, maker: Maker) {
        self.table_mut(kind).entry(name.to_owned()).or_insert(maker);
    }

    fn table_mut(&mut self, kind: AccountKind) -> &mut BTreeMap<String, Maker> {
        match kind {
            AccountKind::Group => &mut self.groups,
            AccountKind::User => &mut self.users,
        }
    }

    fn table(&self, kind: AccountKind) -> &BTreeMap<String, Maker> {
        match kind {
            AccountKind::Group => &self.groups,
            AccountKind::User => &self.users,
        }
    }

    /// Names that the image has.
    fn names(&self, kind: AccountKind) -> Vec<&str> {
        let made = self
            .table(kind)
            .iter()
            .filter(|(_, maker)| **maker != Maker::Nothing);
        made.map(|(name, _)| name.as_str()).collect()
    }
}

/// Whether all scripts that run are the distro's, whose accounts can be read from them.
fn is_certain(flavor: &Flavor) -> bool {
    flavor.repositories.is_empty()
}

fn prove_groups(flavor: &Flavor, known: &Known, sink: &mut Sink) {
    for group in flavor.users.iter().flat_map(|user| &user.value.groups) {
        match known.groups.get(&group.value) {
            Some(Maker::Distro | Maker::Flavor | Maker::Package) => {}
            Some(Maker::Nothing) => push_unmade(AccountKind::Group, group, sink),
            None => {
                let otherwise = || {
                    "administrators are in `sudo` and `adm`; make one of your own with groups { group \"NAME\"; }, or add the package that makes it"
                        .to_owned()
                };
                let problem = UnknownGroup {
                    group: group.value.clone(),
                    help: did_you_mean(&group.value, &known.names(AccountKind::Group), otherwise),
                    span: group.span,
                };
                sink.push_if_certain(problem, is_certain(flavor));
            }
        }
    }
}

fn push_unmade(kind: AccountKind, name: &Spanned<String>, sink: &mut Sink) {
    sink.push(UnmadeAccount {
        word: kind.word(),
        name: name.value.clone(),
        span: name.span,
    });
}

/// Owners of the flavor's files. A distro without static accounts is one that is described elsewhere.
fn prove_owners(flavor: &Flavor, known: &Known, sink: &mut Sink) {
    if flavor.distro.value.static_ids.users.is_empty() {
        return;
    }
    let owners = flavor.files.iter().flat_map(|file| {
        let user = file.value.user.iter().map(|owner| (AccountKind::User, owner));
        user.chain(file.value.group.iter().map(|owner| (AccountKind::Group, owner)))
    });
    for (kind, owner) in owners.filter(|(_, owner)| owner.value.parse::<u32>().is_err()) {
        match known.table(kind).get(&owner.value) {
            Some(Maker::Distro | Maker::Flavor | Maker::Package) => {}
            Some(Maker::Nothing) => push_unmade(kind, owner, sink),
            None => {
                let (word, name) = (kind.word(), &owner.value);
                let otherwise =
                    || format!("make it: {word}s {{ {word} \"{name}\"; }}; or add the package that makes it");
                let problem = UnknownOwner {
                    word,
                    name: name.clone(),
                    help: did_you_mean(name, &known.names(kind), otherwise),
                    span: owner.span,
                };
                sink.push_if_certain(problem, is_certain(flavor));
            }
        }
    }
}

/// A shell must be there: login(1), su(1) and sshd(8) run it.
fn prove_shell(flavor: &Flavor, user: &Spanned<User>, packages: &dyn PackageFiles, sink: &mut Sink) {
    let Some(shell) = &user.value.shell else { return };
    let path = merged(shell.value.as_str());
    let has = |wanted: &str| {
        let mut found = false;
        packages.below(wanted, &mut |shipped| found |= shipped.path == wanted);
        packages.alternatives(&mut |link| found |= merged(link) == wanted);
        found
    };
    let by_flavor = flavor.files.iter().any(|file| {
        let own = merged(file.value.path.value.as_str());
        let is_copy = matches!(file.value.body, FileBody::Copy(_));
        own == path || is_copy && path.starts_with(&format!("{own}/"))
    });
    if by_flavor || has(&path) {
        return;
    }
    let usual = [
        "/bin/bash",
        "/bin/sh",
        "/bin/zsh",
        "/usr/bin/fish",
        "/bin/dash",
        "/usr/sbin/nologin",
    ];
    let there: Vec<&str> = usual.into_iter().filter(|shell| has(&merged(shell))).collect();
    let name = path.rsplit('/').next().unwrap_or_default();
    let problem = UnknownShell {
        user: user.value.name.value.clone(),
        shell: shell.value.to_string(),
        help: format!(
            "add the package that has it (`{name}`, if it is called so) to `packages`; the image has {}",
            there.join(", ")
        ),
        span: shell.span,
    };
    sink.push_if_certain(problem, flavor.runs.is_empty());
}

/// The path on a system with merged `/usr` (file-hierarchy(7)).
fn merged(path: &str) -> String {
    let top = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match top {
        "bin" | "sbin" | "lib" | "lib64" => format!("/usr{path}"),
        _ => path.to_owned(),
    }
}

/// Tops of paths that each boot makes anew, in memory.
const MADE_AT_BOOT: [&str; 3] = ["/run", "/tmp", "/dev"];

/// The boot makes a home directory, which needs a place that can be written to.
fn prove_home(flavor: &Flavor, user: &Spanned<User>, packages: &dyn PackageFiles, sink: &mut Sink) {
    let name = &user.value.name.value;
    let (home, span) = match &user.value.home {
        Some(home) => (home.value.clone(), home.span),
        None => match format!("/home/{name}").parse() {
            Ok(home) => (home, user.span),
            Err(_) => return,
        },
    };
    let text = home.as_str();
    let in_memory = MADE_AT_BOOT.iter().any(|top| {
        text.strip_prefix(top)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if matches!(text, "/" | "/nonexistent") || in_memory || is_writable(flavor, &home) {
        return;
    }
    let mut there = flavor
        .distro
        .value
        .directories
        .iter()
        .any(|directory| directory.is_within(&home));
    there |= flavor.files.iter().any(|file| match &file.value.body {
        FileBody::Directory => file.value.path.value.is_within(&home),
        // What a copied folder holds is not known here.
        FileBody::Copy(_) => file.value.path.value.is_within(&home) || home.is_within(&file.value.path.value),
        FileBody::Download(download) if download.is_unpacked() => {
            file.value.path.value.is_within(&home) || home.is_within(&file.value.path.value)
        }
        FileBody::Text(_) | FileBody::Link(_) | FileBody::Download(_) => {
            file.value.path.value != home && file.value.path.value.is_within(&home)
        }
    });
    let below = merged(text);
    packages.below(&below, &mut |shipped| {
        there |= shipped
            .path
            .strip_prefix(&below)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    });
    if there {
        return;
    }
    let problem = HomelessUser {
        user: name.clone(),
        top: top_of(&home),
        home: home.to_string(),
        span,
    };
    sink.push_if_certain(problem, flavor.runs.is_empty());
}

/// Whether the innermost rule for a path lets it be written to; the root of the image is read-only.
fn is_writable(flavor: &Flavor, path: &AbsPath) -> bool {
    let rules = flavor.layout.rules.iter().map(|rule| &rule.value);
    let above = rules.filter(|rule| path.is_within(&rule.path));
    above
        .max_by_key(|rule| rule.path.depth())
        .is_some_and(|rule| rule.class != PathClass::ReadOnly)
}

/// The first directory of a path, to keep with all that is below it.
fn top_of(path: &AbsPath) -> String {
    let parent = path.parent().filter(|parent| parent.as_str() != "/");
    parent.unwrap_or_else(|| path.clone()).to_string()
}
