//! The solution: what it is, whether it is sound, and what a person should hear about it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::diagnostic::Sink;
use crate::model::{Flavor, PackageName};
use crate::packages::deb::check;
use crate::packages::deb::relation::{self, Atom};
use crate::packages::hex;
use crate::source::Span;

use super::accounts::Numbers;
use super::facts::Facts;
use super::judge::{self, is_kernel};
use super::problems::{KernelMissing, KernelNotOne, ProviderByName, Unsound, listed};
use super::solve::{Root, solve};
use super::universe::{Choice, Place};
use super::wishes::{Origin, Wishes};
use super::{LockedIndex, LockedPackage, Recommends, Resolved, accounts};

/// Something that must be there, and who asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) places: Root,
    pub(crate) span: Span,
    pub(crate) origin: Origin,
}

/// All that must be there, in the order of origins.
pub(crate) fn asked(choice: &Choice<'_>, wishes: &Wishes) -> Vec<Asked> {
    let essential = choice.universe.essential().into_iter().map(|name| Asked {
        places: choice.candidates(&name).to_vec(),
        span: Span::NONE,
        origin: Origin::Essential,
        name,
    });
    let wanted = wishes.wants.iter().map(|wish| {
        let atom = Atom {
            name: wish.name.as_str(),
            qualifier: None,
            version: None,
        };
        Asked {
            name: wish.name.to_string(),
            places: choice.satisfying(&[atom]),
            span: wish.span,
            origin: wish.origin,
        }
    });
    let mut all: Vec<Asked> = essential.chain(wanted).collect();
    all.sort_by_key(|asked| asked.origin);
    all
}

/// A solution, with what led to it.
pub(crate) struct Answer<'a> {
    choice: &'a Choice<'a>,
    asked: Vec<Asked>,
    left_out: Vec<LeftOut>,
    packages: BTreeMap<&'a str, Place>,
}

/// A default package that conflicts with what is needed.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    /// The package.
    pub(crate) package: Asked,
    /// What the solution has instead: whatever is needed, and the defaults before it.
    pub(crate) kept: Vec<Asked>,
}

/// The solution for all wishes, if there is one; default packages that conflict with what is needed are left out.
pub(crate) fn find<'a>(
    choice: &'a Choice<'a>,
    wishes: &Wishes,
    recommends: Recommends,
) -> Option<Answer<'a>> {
    let asked = asked(choice, wishes);
    if let Some(answer) = install(choice, &asked, recommends) {
        return Some(answer);
    }
    let (defaults, mut kept): (Vec<Asked>, Vec<Asked>) = asked
        .into_iter()
        .partition(|asked| asked.origin == Origin::Default);
    if defaults.is_empty() || !can_be_installed(choice, &kept) {
        return None;
    }
    let mut left_out = Vec::new();
    keep_most(choice, &defaults, &mut kept, &mut left_out);
    kept.sort_by_key(|asked| asked.origin);
    let answer = install(choice, &kept, recommends)?;
    Some(Answer { left_out, ..answer })
}

fn can_be_installed(choice: &Choice<'_>, asked: &[Asked]) -> bool {
    let roots: Vec<Root> = asked.iter().map(|asked| asked.places.clone()).collect();
    solve(choice, &roots, &[]).is_ok()
}

/// Keeps each default that goes with what is kept already, in order. Halves that go together cost one attempt.
fn keep_most(choice: &Choice<'_>, defaults: &[Asked], kept: &mut Vec<Asked>, left_out: &mut Vec<LeftOut>) {
    let before = kept.len();
    kept.extend_from_slice(defaults);
    if can_be_installed(choice, kept) {
        return;
    }
    kept.truncate(before);
    match defaults {
        [package] => left_out.push(LeftOut {
            package: package.clone(),
            kept: kept.clone(),
        }),
        _ => {
            let (first, second) = defaults.split_at(defaults.len() / 2);
            keep_most(choice, first, kept, left_out);
            keep_most(choice, second, kept, left_out);
        }
    }
}

/// The solution for all that is asked for, if there is one.
fn install<'a>(choice: &'a Choice<'a>, asked: &[Asked], recommends: Recommends) -> Option<Answer<'a>> {
    let roots: Vec<Root> = asked.iter().map(|asked| asked.places.clone()).collect();
    let mut wanted: Vec<Place> = Vec::new();
    loop {
        let places = solve(choice, &roots, &wanted).ok()?;
        let packages = places
            .iter()
            .map(|place| (choice.universe.package(*place).name, *place))
            .collect();
        let mut answer = Answer {
            choice,
            asked: asked.to_vec(),
            left_out: Vec::new(),
            packages,
        };
        let more: Vec<Place> = match recommends {
            Recommends::Off => {
                answer.drop_unneeded();
                Vec::new()
            }
            Recommends::On => answer
                .unmet_recommends()
                .filter(|place| !wanted.contains(place))
                .collect(),
        };
        if more.is_empty() {
            return Some(answer);
        }
        wanted.extend(more);
    }
}

impl<'a> Answer<'a> {
    /// What it was chosen from.
    pub(crate) fn choice(&self) -> &'a Choice<'a> {
        self.choice
    }

    /// The default packages that it lacks.
    pub(crate) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Takes out what the solver tried for a group that something else meets as well.
    fn drop_unneeded(&mut self) {
        let mut needed: BTreeSet<Place> = BTreeSet::new();
        let meeting = |group: &[Place]| {
            group
                .iter()
                .copied()
                .filter(|place| self.has(*place))
                .collect::<Vec<_>>()
        };
        // What leaves no choice goes first: it may meet what leaves one.
        let (mut forced, choices): (Vec<_>, Vec<_>) = self
            .asked
            .iter()
            .map(|asked| meeting(&asked.places))
            .partition(|places| places.len() < 2);
        let mut choices = VecDeque::from(choices);
        while let Some(places) = forced.pop().or_else(|| choices.pop_front()) {
            let Some(first) = places
                .first()
                .filter(|_| !places.iter().any(|place| needed.contains(place)))
            else {
                continue;
            };
            needed.insert(*first);
            for group in self.groups(*first) {
                let places = meeting(&self.choice.satisfying(&group));
                if places.len() < 2 {
                    forced.push(places);
                } else {
                    choices.push_back(places);
                }
            }
        }
        self.packages.retain(|_, place| needed.contains(place));
    }

    /// The first package of a group that the solution has.
    fn chosen(&self, group: &[Atom<'_>]) -> Option<Place> {
        self.choice
            .satisfying(group)
            .into_iter()
            .find(|place| self.has(*place))
    }

    fn has(&self, place: Place) -> bool {
        self.packages.get(self.choice.universe.package(place).name) == Some(&place)
    }

    fn groups(&self, place: Place) -> impl Iterator<Item = Vec<Atom<'a>>> {
        let package = self.choice.universe.package(place);
        relation::groups(package.pre_depends).chain(relation::groups(package.depends))
    }

    /// For each group that a package recommends and the solution lacks: the best package for it.
    fn unmet_recommends(&self) -> impl Iterator<Item = Place> {
        self.packages.values().flat_map(|place| {
            let groups = relation::groups(self.choice.universe.package(*place).recommends);
            groups
                .filter(|group| self.chosen(group).is_none())
                .filter_map(|group| self.choice.satisfying(&group).first().copied())
        })
    }

    /// The names that satisfy what a package depends on, itself left out.
    fn depends(&self, place: Place) -> BTreeSet<PackageName> {
        let own = self.choice.universe.package(place).name;
        let names = self.groups(place).filter_map(|group| self.chosen(&group));
        names
            .map(|place| self.choice.universe.package(place).name)
            .filter(|name| *name != own)
            .map(package_name)
            .collect()
    }

    /// The answer as the stages behind see it.
    pub(crate) fn resolved(&self, flavor: &Flavor, facts: &Facts) -> Resolved {
        let mut packages: Vec<LockedPackage> =
            self.packages.values().map(|place| self.locked(*place)).collect();
        // An archive that the lock knows was looked into already.
        for package in &mut packages {
            let before = facts
                .lock
                .as_ref()
                .and_then(|lock| lock.resolved.packages.get(&package.name));
            if let Some(before) = before.filter(|before| before.sha256 == package.sha256) {
                package.plain = before.plain;
                package.users.clone_from(&before.users);
                package.groups.clone_from(&before.groups);
            }
        }
        let used: BTreeSet<(&str, &str)> = packages
            .iter()
            .map(|package| (package.source.as_str(), package.suite.as_str()))
            .collect();
        let mut indexes: Vec<LockedIndex> = facts
            .suites
            .iter()
            .filter(|(key, _)| {
                self.choice.universe.suites().contains(key) || used.contains(&(&key.source, &key.suite))
            })
            .map(|(key, suite)| LockedIndex {
                source: key.source.clone(),
                suite: key.suite.clone(),
                inrelease_sha256: suite.release.sha256.clone(),
                date: suite.release.date,
                signed_by: suite.release.signed_by.clone(),
            })
            .collect();
        indexes.sort();
        let Numbers { ids, accounts } = accounts::numbers(flavor, facts.lock.as_ref());
        Resolved {
            epoch: indexes.iter().map(|index| index.date).max().unwrap_or(0),
            indexes,
            accounts,
            ids,
            packages: packages
                .into_iter()
                .map(|package| (package.name.clone(), package))
                .collect(),
            ..Resolved::empty(flavor.architecture)
        }
    }

    fn locked(&self, place: Place) -> LockedPackage {
        let package = self.choice.universe.package(place);
        let (key, _) = self.choice.universe.suite(place);
        LockedPackage {
            name: package_name(package.name),
            version: package.version.to_owned(),
            architecture: package.architecture.to_owned(),
            source: key.source.clone(),
            suite: key.suite.clone(),
            path: package.path.to_owned(),
            size: package.size,
            sha256: hex::encode(&package.sha256),
            essential: package.essential,
            installed_size: u64::from(package.installed_size),
            depends: self.depends(place),
            plain: false,
            users: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }
}

fn package_name(name: &str) -> PackageName {
    name.parse()
        .expect("only packages with a legal name are chosen from")
}

/// Checks an answer by means that share nothing with the solver, and looks for what a person should hear.
pub(crate) fn judge(answer: &Answer<'_>, flavor: &Flavor, sink: &mut Sink) {
    let universe = answer.choice.universe;
    let set = check::Installation::new(
        universe.architecture(),
        answer.packages.values().map(|place| {
            let package = universe.package(*place);
            check::Installed {
                name: package.name,
                version: package.version,
                is_any: package.multi_arch_allowed,
                depends: [package.pre_depends, package.depends],
                conflicts: [package.conflicts, package.breaks],
                provides: package.provides,
            }
        }),
    );
    for violation in set.violations() {
        sink.push(Unsound(violation));
    }
    judge_kernel(answer, flavor, sink);
    judge_providers(answer, sink);
}

fn judge_kernel(answer: &Answer<'_>, flavor: &Flavor, sink: &mut Sink) {
    let kernel = &flavor.kernel.value.package;
    let name = kernel.value.to_string();
    let kernels: Vec<&str> = answer
        .packages
        .keys()
        .copied()
        .filter(|name| is_kernel(name))
        .collect();
    let below = answer.below(&name);
    let own: Vec<&&str> = kernels.iter().filter(|kernel| below.contains(**kernel)).collect();
    if own.is_empty() {
        let metas = judge::kernels(answer.choice.universe);
        let advice = format!("kernels of this distro are {}", listed(metas, "and"));
        sink.push(KernelMissing {
            name,
            advice,
            span: kernel.span,
        });
        return;
    }
    if kernels.len() > 1 {
        let brings_another = |asked: &&Asked| {
            let below = answer.below(&asked.name);
            below.iter().any(|name| is_kernel(name) && !own.contains(&name))
        };
        let others: BTreeSet<Span> = answer
            .asked
            .iter()
            .filter(|asked| asked.origin != Origin::Kernel && asked.span.is_some())
            .filter(brings_another)
            .map(|asked| asked.span)
            .collect();
        push_each(others, |other| {
            sink.push(KernelNotOne {
                kernels: listed(kernels.iter().copied(), "and"),
                span: kernel.span,
                other,
            });
        });
    }
}

/// Reports a problem at each of the lines that cause it, or once without one.
pub(super) fn push_each(others: BTreeSet<Span>, mut push: impl FnMut(Option<Span>)) {
    if others.is_empty() {
        push(None);
    }
    others.into_iter().for_each(|other| push(Some(other)));
}

impl Answer<'_> {
    /// The names of all that a package needs, with itself.
    fn below(&self, name: &str) -> BTreeSet<&str> {
        let universe = self.choice.universe;
        let mut found = BTreeSet::new();
        let mut open: Vec<Place> = self.packages.get(name).copied().into_iter().collect();
        while let Some(place) = open.pop() {
            if found.insert(universe.package(place).name) {
                open.extend(self.groups(place).filter_map(|group| self.chosen(&group)));
            }
        }
        found
    }

    /// Names of packages that are there for a reason of their own: asked for, or the own package of a dependency.
    fn needed_by_name(&self) -> BTreeSet<&str> {
        let universe = self.choice.universe;
        let roots = self
            .asked
            .iter()
            .flat_map(|asked| asked.places.iter().filter(|place| self.has(**place)));
        let mut names: BTreeSet<&str> = roots.map(|place| universe.package(*place).name).collect();
        for place in self.packages.values() {
            let atoms = self.groups(*place).flatten().map(|atom| atom.name);
            names.extend(
                atoms
                    .filter_map(|name| self.packages.get_key_value(name))
                    .map(|(name, _)| *name),
            );
        }
        names
    }
}

/// Warns where nothing but the order of names decided between packages that provide one name.
fn judge_providers(answer: &Answer<'_>, sink: &mut Sink) {
    let universe = answer.choice.universe;
    let needed = answer.needed_by_name();
    let mut said = BTreeSet::new();
    for place in answer.packages.values() {
        for group in answer.groups(*place) {
            let [atom, ..] = group[..] else { continue };
            let Some(chosen) = answer.chosen(&group) else {
                continue;
            };
            let name = universe.package(chosen).name;
            let is_free = answer.choice.real(&atom).is_empty() && !needed.contains(name);
            let providers = answer.choice.providing(&atom);
            let equals: Vec<&str> = providers
                .iter()
                .filter(|place| answer.choice.rank(**place) == answer.choice.rank(chosen))
                .map(|place| universe.package(*place).name)
                .collect();
            let decided =
                answer.choice.preferred(atom.name).is_some() || answer.choice.locked(name).is_some();
            if is_free && equals.contains(&name) && equals.len() > 1 && !decided && said.insert(atom.name) {
                let needing = universe.package(*place).name;
                sink.push(provider_by_name(answer, atom.name, name, needing, &equals));
            }
        }
    }
}

fn provider_by_name(
    answer: &Answer<'_>,
    wanted: &str,
    chosen: &str,
    needing: &str,
    equals: &[&str],
) -> ProviderByName {
    let asking = answer.asked.iter().filter(|asked| asked.span.is_some());
    let span = asking
        .filter(|asked| answer.below(&asked.name).contains(needing))
        .map(|asked| asked.span)
        .next_back();
    let others = equals.iter().copied().filter(|name| *name != chosen).take(6);
    let advice = format!(
        "say which one you want: `prefer \"{wanted}\" \"{chosen}\"` in `packages`; there is also {}",
        listed(others, "and")
    );
    ProviderByName {
        wanted: wanted.to_owned(),
        chosen: chosen.to_owned(),
        needing: format!("`{needing}`"),
        advice,
        span: span.unwrap_or(Span::NONE),
    }
}
