//! Wishes that cannot be met, whatever the others are.

use std::collections::BTreeSet;

use crate::diagnostic::{self, Sink};
use crate::model::{Flavor, VersionRequest};
use crate::packages::deb::relation::Atom;
use crate::packages::deb::version;
use crate::source::Span;

use super::facts::Facts;
use super::problems::{
    ComponentUnknown, EssentialUnwanted, PackageUnknown, PackageVirtual, PreferUseless, VersionContradiction,
    VersionUnavailable, WantedAndUnwanted, WithoutUnknown, listed,
};
use super::universe::Choice;
use super::wishes::{Origin, Wish, Wishes};

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
    judge_components(wishes, facts, sink);
    for wish in &wishes.wants {
        if let Some((_, without)) = wishes.without.get_key_value(&wish.name) {
            sink.push(WantedAndUnwanted {
                name: wish.name.to_string(),
                without: *without,
                span: wish.span,
            });
        } else if choice.candidates(wish.name.as_str()).is_empty() {
            judge_absent(choice, wishes, wish, flavor, facts, sink);
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
    judge_holds(choice, wishes, flavor, facts, sink);
    judge_prefers(choice, wishes, sink);
    for (name, span) in wishes
        .without
        .iter()
        .filter(|(name, _)| !flavor.distro.value.without.contains(name))
    {
        if !choice.is_known(name.as_str()) {
            let near = near_names(name.as_str(), choice.universe.names());
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
fn judge_holds(choice: &Choice<'_>, wishes: &Wishes, flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
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
                span,
                origin: Origin::User,
            };
            sink.push(unknown(choice, &wish, flavor, facts));
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

fn judge_components(wishes: &Wishes, facts: &Facts, sink: &mut Sink) {
    let known: BTreeSet<&str> = facts
        .suites
        .values()
        .flat_map(|suite| suite.release.components.iter().map(String::as_str))
        .collect();
    let known: Vec<&str> = known.into_iter().collect();
    for component in wishes.wants.iter().filter_map(|wish| wish.component.as_ref()) {
        if !known.contains(&component.value.as_str()) {
            let otherwise = || format!("there are {}", listed(known.iter().copied(), "and"));
            sink.push(ComponentUnknown {
                name: component.value.clone(),
                advice: diagnostic::did_you_mean(&component.value, &known, otherwise),
                span: component.span,
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
        sink.push(unknown(choice, wish, flavor, facts));
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
    let versions = choice.universe.versions(wish.name.as_str());
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
    let places = choice.universe.versions(name);
    let texts: Vec<String> = places
        .iter()
        .map(|place| {
            format!(
                "{} in {}",
                choice.universe.package(*place).version,
                choice.universe.suite(*place).0.suite
            )
        })
        .collect();
    VersionUnavailable {
        name: name.to_owned(),
        wanted: wanted.to_string(),
        available: texts.join(", "),
        span,
    }
}

fn unknown(choice: &Choice<'_>, wish: &Wish, flavor: &Flavor, facts: &Facts) -> PackageUnknown {
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
    let advice = elsewhere(name, facts).unwrap_or_else(|| near_advice(choice, name, wish.origin));
    PackageUnknown {
        name: name.to_owned(),
        searched,
        advice,
        span: wish.span,
    }
}

/// Where a package is that the flavor does not read.
fn elsewhere(name: &str, facts: &Facts) -> Option<String> {
    let mut all = facts
        .suites
        .iter()
        .flat_map(|(key, suite)| suite.components.iter().map(move |found| (key, found)));
    let has = |indexes: &Vec<crate::packages::deb::index::PackageIndex>| {
        indexes.iter().any(|index| !index.positions(name).is_empty())
    };
    let (key, (component, _)) = all.find(|(_, (_, indexes))| has(indexes))?;
    Some(format!(
        "it is in component `{component}` of {}: write `\"{name}\" component=\"{component}\"`",
        key.suite
    ))
}

fn near_advice(choice: &Choice<'_>, name: &str, origin: Origin) -> String {
    let near = near_names(name, choice.universe.names());
    if !near.is_empty() {
        return format!("did you mean {}?", listed(near, "or"));
    }
    match origin {
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

/// Names near to an unknown one, best first, out of very many.
///
/// Letters that only one of the two has are counted first: that is a lower bound of the distance, and costs two
/// machine instructions where the distance itself costs a table.
fn near_names<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (wanted.len() / 4).clamp(1, 3);
    let letters = letters(wanted);
    let may_be_near = |name: &&str| {
        let different = letters ^ self::letters(name);
        name.len().abs_diff(wanted.len()) <= limit && different.count_ones() as usize <= 2 * limit
    };
    diagnostic::near(wanted, names.filter(may_be_near))
}

fn letters(name: &str) -> u64 {
    name.bytes().fold(0, |set, byte| set | 1 << (byte & 63))
}
