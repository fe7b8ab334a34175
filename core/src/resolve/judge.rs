//! Wishes that cannot be met, whatever the others are.

use std::collections::BTreeSet;

use crate::diagnostic::{self, Sink};
use crate::limits::SUGGESTIONS;
use crate::model::{Flavor, Repository, VersionRequest, is_flat};
use crate::packages::deb::index::PackageIndex;
use crate::packages::deb::relation::Atom;
use crate::packages::deb::release::Release;
use crate::packages::deb::version;
use crate::source::Span;

use super::facts::{Facts, SuiteKey};
use super::problems::{
    ArchitectureMissing, ComponentUnknown, EssentialUnwanted, NotInRepository, OtherSuiteName,
    PackageUnknown, PackageVirtual, PreferUseless, VersionContradiction, VersionUnavailable,
    WantedAndUnwanted, Withheld, WithoutUnknown, listed,
};
use super::universe::{Choice, Place, Universe};
use super::wishes::{Origin, Wish, Wishes, sources};

impl Choice<'_> {
    /// Whether any version of a package is called so, or provides the name.
    pub(crate) fn is_known(&self, name: &str) -> bool {
        !self.universe.versions(name).is_empty() || !self.universe.providers(name).is_empty()
    }
}

/// Notes every wish that cannot be met, whatever the others are.
pub(crate) fn judge_wishes(
    choice: &Choice<'_>,
    wishes: &Wishes,
    flavor: &Flavor,
    facts: &Facts,
    sink: &mut Sink,
) {
    judge_components(wishes, flavor, facts, sink);
    judge_repositories(flavor, facts, sink);
    judge_withheld(choice, wishes, sink);
    let mut suggestions = Suggestions::new(choice.universe);
    for wish in &wishes.wants {
        if let Some((_, without)) = wishes.without.get_key_value(&wish.name) {
            sink.push(WantedAndUnwanted {
                name: wish.name.to_string(),
                without: *without,
                span: wish.span,
            });
        } else if choice.candidates(wish.name.as_str()).is_empty() {
            judge_absent(choice, wishes, wish, flavor, facts, &mut suggestions, sink);
        }
    }
    for name in choice.universe.essential() {
        if let Some((name, span)) = wishes
            .without
            .iter()
            .find(|(without, _)| without.as_str() == name)
        {
            let release = format!("{} {}", flavor.distro.value.id, flavor.distro.value.release);
            sink.push(EssentialUnwanted {
                name: name.to_string(),
                release,
                span: *span,
            });
        }
    }
    judge_holds(choice, wishes, flavor, facts, &mut suggestions, sink);
    judge_prefers(choice, wishes, sink);
    for (name, span) in wishes
        .without
        .iter()
        .filter(|(name, _)| !flavor.distro.value.without.contains(name))
    {
        if !choice.is_known(name.as_str()) {
            let near = suggestions.near(name.as_str());
            let advice = if near.is_empty() {
                "take it out".to_owned()
            } else {
                format!("did you mean {}?", listed(near, "or"))
            };
            sink.push(WithoutUnknown {
                name: name.to_string(),
                advice,
                span: *span,
            });
        }
    }
}

/// A held package that nobody asks for by name is judged here, the others with their wish.
fn judge_holds(
    choice: &Choice<'_>,
    wishes: &Wishes,
    flavor: &Flavor,
    facts: &Facts,
    suggestions: &mut Suggestions<'_>,
    sink: &mut Sink,
) {
    for (name, hold) in &wishes.holds {
        let is_wanted = wishes.wants.iter().any(|wish| wish.name == *name);
        if is_wanted || !choice.candidates(name.as_str()).is_empty() {
            continue;
        }
        let span = hold.version.span;
        if choice.universe.versions(name.as_str()).is_empty() {
            let wish = Wish {
                name: name.clone(),
                version: None,
                component: None,
                repository: None,
                span,
                origin: Origin::User,
            };
            sink.push(unknown(choice, &wish, flavor, facts, suggestions));
        } else {
            sink.push(unavailable(choice, name.as_str(), &hold.version.value, span));
        }
    }
}

fn judge_prefers(choice: &Choice<'_>, wishes: &Wishes, sink: &mut Sink) {
    for (wanted, provider) in &wishes.prefer {
        let providers: BTreeSet<&str> = choice
            .universe
            .providers(wanted.as_str())
            .into_iter()
            .map(|(place, _)| choice.universe.package(place).name)
            .collect();
        let name = provider.value.as_str();
        if providers.contains(name) || name == wanted.as_str() {
            continue;
        }
        let known: Vec<&str> = providers.iter().copied().collect();
        let otherwise = || match known.as_slice() {
            [] => format!("nothing provides `{wanted}`; take the line out"),
            some => format!(
                "it is provided by {}",
                listed(some.iter().copied().take(12), "and")
            ),
        };
        let advice = diagnostic::did_you_mean(name, &known, otherwise);
        sink.push(PreferUseless {
            wanted: wanted.to_string(),
            provider: name.to_owned(),
            advice,
            span: provider.span,
        });
    }
}

fn judge_components(wishes: &Wishes, flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
    let of_distro: Vec<&str> = sources(flavor)
        .filter(|source| source.of_distro)
        .map(|source| source.repository.name.value.as_str())
        .collect();
    let known: BTreeSet<&str> = facts
        .suites
        .iter()
        .filter(|(key, _)| of_distro.contains(&key.source.as_str()))
        .flat_map(|(_, suite)| suite.release.components.iter().map(String::as_str))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    let of_wishes = wishes.wants.iter().filter_map(|wish| wish.component.as_ref());
    let of_base = flavor.distro.value.components.iter();
    let of_base = of_base.flat_map(|all| all.value.iter().map(|name| (name, all.span)));
    let all = of_wishes
        .map(|component| (&component.value, component.span))
        .chain(of_base);
    for (name, span) in all.filter(|(name, _)| !known.contains(&name.as_str())) {
        let otherwise = || format!("there are {}", listed(known.iter().copied(), "and"));
        sink.push(ComponentUnknown {
            whose: "the distro".to_owned(),
            advice: diagnostic::did_you_mean(name, &known, otherwise),
            name: name.clone(),
            span,
        });
    }
}

/// Notes components that a repository of the flavor does not have: it would contribute nothing, and nobody would say so.
fn judge_repositories(flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
    for source in sources(flavor).filter(|source| !source.of_library) {
        let repository = source.repository;
        for suite in repository.suites.iter().filter(|suite| !is_flat(&suite.name)) {
            let key = SuiteKey {
                source: repository.name.value.clone(),
                suite: suite.name.clone(),
            };
            let Some(found) = facts.suites.get(&key) else {
                continue;
            };
            let names = &found.release.names;
            if !source.of_distro && !names.is_empty() && !names.contains(&suite.name) {
                sink.push(OtherSuiteName {
                    repository: repository.name.value.clone(),
                    suite: suite.name.clone(),
                    found: listed(names.iter().map(String::as_str), "and"),
                    first: names[0].clone(),
                    span: repository.name.span,
                });
            }
            for name in &suite.components {
                judge_component(flavor, repository, &found.release, name, sink);
            }
        }
    }
}

fn judge_component(flavor: &Flavor, repository: &Repository, release: &Release, name: &str, sink: &mut Sink) {
    let span = repository.name.span;
    if release.lists(name, flavor.architecture.as_str()) {
        return;
    }
    let has_it = release.has_component(name);
    if has_it || release.components.is_empty() && release.lists_component(name) {
        sink.push(ArchitectureMissing {
            repository: repository.name.value.clone(),
            component: name.to_owned(),
            architecture: flavor.architecture.as_str(),
            span,
        });
        return;
    }
    let known: Vec<&str> = release.components.iter().map(String::as_str).collect();
    let otherwise = || match known.as_slice() {
        [] => "say its own with `components`".to_owned(),
        some => format!("there are {}", listed(some.iter().copied(), "and")),
    };
    sink.push(ComponentUnknown {
        whose: format!("repository `{}`", repository.name.value),
        advice: diagnostic::did_you_mean(name, &known, otherwise),
        name: name.to_owned(),
        span,
    });
}

/// Notes where a third-party source has a newer version of a package that a person asks for, and may not replace it.
fn judge_withheld(choice: &Choice<'_>, wishes: &Wishes, sink: &mut Sink) {
    let universe = choice.universe;
    for wish in wishes.wants.iter().filter(|wish| wish.origin == Origin::User) {
        let name = wish.name.as_str();
        let (Some(best), Some(other)) = (
            choice.candidates(name).first().copied(),
            universe.withheld(name).first().copied(),
        ) else {
            continue;
        };
        if version::compare(universe.package(other).version, universe.package(best).version).is_gt() {
            sink.push(Withheld {
                name: name.to_owned(),
                version: universe.package(other).version.to_owned(),
                taken: universe.package(best).version.to_owned(),
                repository: universe.suite(other).0.source.clone(),
                span: wish.span,
            });
        }
    }
}

fn judge_absent(
    choice: &Choice<'_>,
    wishes: &Wishes,
    wish: &Wish,
    flavor: &Flavor,
    facts: &Facts,
    suggestions: &mut Suggestions<'_>,
    sink: &mut Sink,
) {
    let name = wish.name.as_str();
    if !choice.universe.versions(name).is_empty() {
        judge_versions(choice, wishes, wish, sink);
        return;
    }
    let atom = Atom {
        name,
        qualifier: None,
        version: None,
    };
    let providers: BTreeSet<&str> = choice
        .providing(&atom)
        .into_iter()
        .map(|place| choice.universe.package(place).name)
        .collect();
    if providers.is_empty() {
        sink.push(unknown(choice, wish, flavor, facts, suggestions));
    } else if providers.len() > 1 && choice.preferred(name).is_none() {
        let providers = listed(providers, "and");
        sink.push(PackageVirtual {
            name: name.to_owned(),
            providers,
            span: wish.span,
        });
    }
}

/// A package of this name exists, and no version of it is what is asked for.
fn judge_versions(choice: &Choice<'_>, wishes: &Wishes, wish: &Wish, sink: &mut Sink) {
    let mut versions = choice.universe.versions(wish.name.as_str());
    if let Some(repository) = &wish.repository {
        versions.retain(|place| choice.universe.suite(*place).0.source == repository.value);
        if versions.is_empty() {
            sink.push(NotInRepository {
                name: wish.name.to_string(),
                repository: repository.value.clone(),
                available: available(choice, wish.name.as_str()),
                span: wish.span,
            });
            return;
        }
    }
    let matches = |request: &VersionRequest| {
        versions
            .iter()
            .any(|place| version::is_wanted(choice.universe.package(*place).version, request))
    };
    if let Some(request) = wish.version.as_ref().filter(|request| !matches(&request.value)) {
        sink.push(unavailable(choice, wish.name.as_str(), &request.value, wish.span));
        return;
    }
    let same = wishes.wants.iter().filter(|other| other.name == wish.name);
    let requests: Vec<_> = same
        .filter_map(|other| Some((&other.version.as_ref()?.value, other.span)))
        .collect();
    let hold = wishes
        .holds
        .get(&wish.name)
        .map(|hold| (&hold.version.value, hold.version.span));
    let all: Vec<_> = requests.into_iter().chain(hold).collect();
    if let Some((request, span)) = all.iter().find(|(request, _)| !matches(request)) {
        if *span != wish.span {
            sink.push(unavailable(choice, wish.name.as_str(), request, *span));
        }
    } else if all.first().is_some_and(|(_, span)| *span == wish.span) {
        let wanted: Vec<String> = all.iter().map(|(request, _)| request.to_string()).collect();
        sink.push(VersionContradiction {
            name: wish.name.to_string(),
            wanted: listed(wanted.iter().map(String::as_str), "and"),
            spans: all.iter().map(|(_, span)| (*span).into()).collect(),
        });
    }
}

fn unavailable(choice: &Choice<'_>, name: &str, wanted: &VersionRequest, span: Span) -> VersionUnavailable {
    let universe = choice.universe;
    let withheld = universe
        .withheld(name)
        .into_iter()
        .find(|place| version::is_wanted(universe.package(*place).version, wanted));
    let advice = match withheld {
        Some(place) => format!(
            "{} is in the repository `{source}`, which may not replace packages of the distro: write \
             override=\"{name}\" there, or `{name} repository=\"{source}\"` here",
            universe.package(place).version,
            source = universe.suite(place).0.source,
        ),
        None => "ask for a version that there is, or for none".to_owned(),
    };
    VersionUnavailable {
        name: name.to_owned(),
        wanted: wanted.to_string(),
        available: available(choice, name),
        advice,
        span,
    }
}

/// The versions of a package that may be chosen, with their suites.
fn available(choice: &Choice<'_>, name: &str) -> String {
    let universe = choice.universe;
    let text = |place: &Place| {
        format!(
            "{} in {}",
            universe.package(*place).version,
            universe.suite(*place).0.suite
        )
    };
    universe
        .versions(name)
        .iter()
        .map(text)
        .collect::<Vec<_>>()
        .join(", ")
}

fn unknown(
    choice: &Choice<'_>,
    wish: &Wish,
    flavor: &Flavor,
    facts: &Facts,
    suggestions: &mut Suggestions<'_>,
) -> PackageUnknown {
    let name = wish.name.as_str();
    let distro = &flavor.distro.value;
    let suites: Vec<&str> = choice
        .universe
        .suites()
        .iter()
        .map(|key| key.suite.as_str())
        .collect();
    let searched = format!(
        "{} {} (searched: {})",
        distro.id,
        distro.release,
        suites.join(", ")
    );
    let advice = elsewhere(name, flavor, facts).map(|found| {
        if found.of_distro {
            format!(
                "it is in component `{component}` of {suite}: write `\"{name}\" component=\"{component}\"`",
                component = found.component,
                suite = found.suite
            )
        } else {
            found.advice(flavor)
        }
    });
    PackageUnknown {
        name: name.to_owned(),
        searched,
        advice: advice.unwrap_or_else(|| near_advice(choice, wish, facts, suggestions)),
        span: wish.span,
    }
}

/// A place where a package is, and that the flavor does not read.
pub(crate) struct Elsewhere {
    source: String,
    of_distro: bool,
    suite: String,
    pub(crate) component: String,
}

impl Elsewhere {
    /// How to read that component for everything.
    pub(crate) fn advice(&self, flavor: &Flavor) -> String {
        let source = sources(flavor).find(|source| source.repository.name.value == self.source);
        let suite = source.and_then(|source| {
            source
                .repository
                .suites
                .iter()
                .find(|suite| suite.name == self.suite)
        });
        let mut components = suite.map_or_else(Vec::new, |suite| suite.components.clone());
        components.push(self.component.clone());
        let node = match source.filter(|source| !source.of_library) {
            Some(source) => format!("repository `{}`", source.repository.name.value),
            None => format!("`base \"{}\"`", flavor.distro.value.id),
        };
        format!("write components=\"{}\" in {node}", components.join(" "))
    }
}

/// Where a package is that the flavor does not read.
pub(crate) fn elsewhere(name: &str, flavor: &Flavor, facts: &Facts) -> Option<Elsewhere> {
    let has = |indexes: &Vec<PackageIndex>| indexes.iter().any(|index| !index.positions(name).is_empty());
    sources(flavor).find_map(|source| {
        let of_source = facts
            .suites
            .iter()
            .filter(|(key, _)| key.source == source.repository.name.value);
        let mut places =
            of_source.flat_map(|(key, suite)| suite.components.iter().map(move |found| (key, found)));
        let (key, (component, _)) = places.find(|(_, (_, indexes))| has(indexes))?;
        Some(Elsewhere {
            source: key.source.clone(),
            of_distro: source.of_distro,
            suite: key.suite.clone(),
            component: component.clone(),
        })
    })
}

fn near_advice(choice: &Choice<'_>, wish: &Wish, facts: &Facts, suggestions: &mut Suggestions<'_>) -> String {
    let name = wish.name.as_str();
    let is_kernel = wish.origin == Origin::Kernel || name.starts_with("linux-image-");
    let near = suggestions.near(name);
    let meant = (!near.is_empty()).then(|| format!("did you mean {}?", listed(near, "or")));
    let kernels = is_kernel
        .then(|| kernels(choice.universe))
        .filter(|kernels| !kernels.is_empty());
    let kernels = kernels.map(|kernels| format!("kernels of this distro are {}", listed(kernels, "and")));
    if meant.is_some() || kernels.is_some() {
        return [meant, kernels]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" ");
    }
    if let Some(unread) = unread_components(facts) {
        return format!("check the spelling; or it is in {unread}, whose index `kcompose lock` reads");
    }
    match wish.origin {
        Origin::User | Origin::Kernel => "check the spelling, or add the `repository` that has it".to_owned(),
        Origin::Build => {
            "check the spelling, or add the `repository` that has it; modules are built with the package of \
                          the kernel's headers, which is called as the kernel's own"
                .to_owned()
        }
        Origin::Essential | Origin::Default | Origin::Distro | Origin::Block => {
            "the library names a package that this release does not have; please report it".to_owned()
        }
    }
}

/// The components whose indexes are not at hand: without a network they are not read for advice alone.
fn unread_components(facts: &Facts) -> Option<String> {
    let unread: BTreeSet<&str> = facts
        .suites
        .values()
        .flat_map(|suite| {
            let is_unread = |name: &&str| suite.components.get(*name).is_none_or(Vec::is_empty);
            let listed = suite.release.components.iter().map(String::as_str);
            listed
                .filter(is_unread)
                .filter(|name| suite.release.lists_component(name))
        })
        .collect();
    (!unread.is_empty()).then(|| {
        let word = if unread.len() == 1 {
            "component"
        } else {
            "one of the components"
        };
        format!("{word} {}", listed(unread, "and"))
    })
}

/// The packages that stand for the newest kernel of their kind, sorted.
pub(crate) fn kernels<'a>(universe: &'a Universe<'_>) -> Vec<&'a str> {
    let names = universe
        .names()
        .filter(|name| name.starts_with("linux-image-") && !is_kernel(name));
    let mut names: Vec<&str> = names
        .filter(|name| !name.ends_with("-dbg") && !name.contains("-template"))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether a package is a kernel itself and not a name for the newest one.
pub(crate) fn is_kernel(name: &str) -> bool {
    let rest = name
        .strip_prefix("linux-image-")
        .or_else(|| name.strip_prefix("linux-image-unsigned-"));
    rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Looks up names that are near to unknown ones, as long as [`SUGGESTIONS`] allows.
struct Suggestions<'a> {
    universe: &'a Universe<'a>,
    left: u64,
}

impl<'a> Suggestions<'a> {
    fn new(universe: &'a Universe<'a>) -> Self {
        Suggestions {
            universe,
            left: SUGGESTIONS.value,
        }
    }

    /// Package names near to an unknown one, best first.
    fn near(&mut self, unknown: &str) -> Vec<&'a str> {
        let Some(left) = self.left.checked_sub(1) else {
            return Vec::new();
        };
        self.left = left;
        let limit = (unknown.len() / 4).clamp(1, 3);
        diagnostic::near_within(unknown, self.universe.names(), limit)
    }
}
