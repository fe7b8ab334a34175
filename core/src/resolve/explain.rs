//! Why a flavor's packages cannot be installed, in words.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::diagnostic::{self, Diagnostics, Sink};
use crate::model::{Flavor, VersionRequest};
use crate::packages::deb::relation::{self, Atom};
use crate::packages::deb::version;
use crate::source::Span;

use super::answer::{Asked, asked};
use super::facts::Facts;
use super::problems::{
    ComponentUnknown, Conflict, EssentialUnwanted, PackageUnknown, PackageVirtual, PreferUseless,
    Unsatisfiable, VersionContradiction, VersionUnavailable, WantedAndUnwanted, WithoutUnknown, listed,
};
use super::solve::{Clash, Proof, Root, excluded, solve};
use super::universe::{Choice, Place};
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
        Origin::Essential | Origin::Distro | Origin::Block => {
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

/// Why there is no solution: the smallest set of wishes that fails, and what clashes in it.
pub(crate) fn no_solution(choice: &Choice<'_>, wishes: &Wishes) -> Diagnostics {
    let (asked, proof) = smallest_failure(choice, asked(choice, wishes));
    let story = Story {
        choice,
        wishes,
        asked: &asked,
        proof: &proof,
    };
    story.tell()
}

/// Takes wishes out as long as the rest still fails, those far from the user first.
fn smallest_failure(choice: &Choice<'_>, mut asked: Vec<Asked>) -> (Vec<Asked>, Proof) {
    let fails = |some: &[Asked]| {
        let roots: Vec<Root> = some.iter().map(|asked| asked.places.clone()).collect();
        solve(choice, &roots, &[]).err()
    };
    let mut proof = fails(&asked).unwrap_or_default();
    let mut size = asked.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < asked.len() {
            let rest: Vec<Asked> = asked
                .iter()
                .enumerate()
                .filter(|(at, _)| !(start..start + size).contains(at))
                .map(|(_, one)| one.clone())
                .collect();
            match fails(&rest) {
                Some(found) => (asked, proof) = (rest, found),
                None => start += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    (asked, proof)
}

/// What is known about a failure.
struct Story<'a> {
    choice: &'a Choice<'a>,
    wishes: &'a Wishes,
    asked: &'a [Asked],
    proof: &'a Proof,
}

/// From a wish to a package: the wish, and the packages on the way, the last one being the package.
struct Way<'a> {
    asked: &'a Asked,
    places: Vec<Place>,
}

impl<'a> Story<'a> {
    fn tell(&self) -> Diagnostics {
        let mut clashes: Vec<&Clash> = self.proof.clashes.iter().collect();
        clashes.sort_by_key(|clash| self.length(clash));
        match clashes.first() {
            Some(Clash::Excludes(keeper, out)) => self.conflict(*keeper, *out),
            Some(Clash::Unmet(place)) => self.unmet(*place).into(),
            Some(Clash::TwoVersions(one, other)) => self.two_versions(*one, *other).into(),
            None => self.together().into(),
        }
    }

    /// How long the explanation of a clash would be.
    fn length(&self, clash: &Clash) -> usize {
        match clash {
            Clash::Excludes(one, other) => self.way(*one).places.len() + self.way(*other).places.len(),
            Clash::Unmet(place) => self.way(*place).places.len(),
            Clash::TwoVersions(one, other) => {
                10 + self.way(*one).places.len() + self.way(*other).places.len()
            }
        }
    }

    fn name(&self, place: Place) -> &'a str {
        self.choice.universe.package(place).name
    }

    /// The shortest way from a wish to a package; of equally short ones the one that begins nearest to the user.
    fn way(&self, to: Place) -> Way<'a> {
        let mut from: BTreeMap<Place, Option<Place>> = BTreeMap::new();
        let mut open: VecDeque<Place> = VecDeque::new();
        for asked in self.asked.iter().rev() {
            for place in &asked.places {
                if from.insert(*place, None).is_none() {
                    open.push_back(*place);
                }
            }
        }
        while let Some(place) = open.pop_front().filter(|place| *place != to) {
            for (_, next) in self
                .proof
                .edges
                .iter()
                .filter(|(needing, _)| *needing == Some(place))
            {
                if !from.contains_key(next) {
                    from.insert(*next, Some(place));
                    open.push_back(*next);
                }
            }
        }
        let mut places = vec![to];
        while let Some(Some(before)) = from.get(places.last().expect("it has a first")) {
            places.push(*before);
        }
        places.reverse();
        let asks = |asked: &&Asked| asked.places.contains(&places[0]);
        let last = self.asked.last().expect("an empty set of wishes does not fail");
        Way {
            asked: self.asked.iter().rev().find(asks).unwrap_or(last),
            places,
        }
    }

    /// `, which needs b, which needs c`, from the wish to the package.
    fn chain(&self, way: &Way<'_>) -> String {
        let names = way.places.iter().map(|place| self.name(*place));
        let steps = names
            .filter(|name| *name != way.asked.name)
            .map(|name| format!("`{name}`"));
        steps.collect::<Vec<_>>().join(", which needs ")
    }

    fn conflict(&self, keeper: Place, out: Place) -> Diagnostics {
        let declared = self.declaration(keeper, out);
        let (of_keeper, of_out) = (self.way(keeper), self.way(out));
        let mut reasons = Vec::new();
        for way in [&of_out, &of_keeper] {
            let chain = self.chain(way);
            if !chain.is_empty() {
                reasons.push(format!("`{}` needs {chain}", way.asked.name));
            }
        }
        reasons.push(declared);
        let reason = reasons.join("; ");
        if of_keeper.asked.name == of_out.asked.name {
            let asked = of_out.asked;
            let advice = "take it out, or wait for a version that can be installed".to_owned();
            return Unsatisfiable {
                name: asked.name.clone(),
                reason,
                advice,
                span: asked.span,
                without: None,
            }
            .into();
        }
        // The report stands at the wish that is nearer to the user.
        let (mut first, mut second) = (of_out.asked, of_keeper.asked);
        if second.origin > first.origin {
            (first, second) = (second, first);
        }
        Conflict {
            first: first.name.clone(),
            second: second.name.clone(),
            reason,
            advice: advice(first, second),
            first_span: first.span,
            first_label: format!("`{}` is asked for here", first.name),
            second_span: Some(second.span).filter(|span| span.is_some() && *span != first.span),
            second_label: match second.origin {
                Origin::Essential | Origin::Distro => format!("`{}` belongs to this", second.name),
                Origin::Block | Origin::Kernel | Origin::User => {
                    format!("`{}` is asked for here", second.name)
                }
            },
        }
        .into()
    }

    /// `systemd-sysv declares Conflicts: sysvinit-core`.
    fn declaration(&self, keeper: Place, out: Place) -> String {
        let package = self.choice.universe.package(keeper);
        let fields = [("Conflicts", package.conflicts), ("Breaks", package.breaks)];
        for (field, text) in fields {
            for atom in relation::atoms(text) {
                if excluded(self.choice, package.name, &atom).contains(&out) {
                    let name = self.name(out);
                    let provides = if atom.name == name {
                        String::new()
                    } else {
                        format!(", which `{name}` provides")
                    };
                    return format!("{} declares {field}: {atom}{provides}", package.name);
                }
            }
        }
        format!("`{}` does not go with `{}`", package.name, self.name(out))
    }

    fn unmet(&self, place: Place) -> Unsatisfiable {
        let package = self.choice.universe.package(place);
        let way = self.way(place);
        let mut groups = relation::groups(package.pre_depends).chain(relation::groups(package.depends));
        let group = groups
            .find(|group| self.choice.satisfying(group).is_empty())
            .unwrap_or_default();
        let wanted: Vec<String> = group.iter().map(ToString::to_string).collect();
        let whys: Vec<String> = group.iter().map(|atom| self.why_absent(atom)).collect();
        let chain = self.chain(&way);
        let needs = if chain.is_empty() {
            "it".to_owned()
        } else {
            format!("it needs {chain}, which")
        };
        let reason = format!(
            "{needs} depends on {}, and {}",
            listed(wanted.iter().map(String::as_str), "or"),
            whys.join(", and ")
        );
        let without = group.iter().find_map(|atom| self.without(atom.name));
        Unsatisfiable {
            name: way.asked.name.clone(),
            reason,
            advice: match without {
                Some(_) => "take it out of `without`, or take out what needs it".to_owned(),
                None => "take it out, or add a `repository` that has what it needs".to_owned(),
            },
            span: way.asked.span,
            without: without.filter(|span| span.is_some()),
        }
    }

    fn without(&self, name: &str) -> Option<Span> {
        self.wishes
            .without
            .iter()
            .find(|(without, _)| without.as_str() == name)
            .map(|(_, span)| *span)
    }

    fn why_absent(&self, atom: &Atom<'_>) -> String {
        let versions = self.choice.universe.versions(atom.name);
        if self.without(atom.name).is_some() {
            return format!("`without` keeps `{}` out", atom.name);
        }
        let candidates = self.choice.candidates(atom.name);
        match candidates.first().or_else(|| versions.first()) {
            Some(place) => format!(
                "the version of `{}` is {}",
                atom.name,
                self.choice.universe.package(*place).version
            ),
            None => format!("there is no `{}`", atom.name),
        }
    }

    fn two_versions(&self, one: Place, other: Place) -> Unsatisfiable {
        let way = self.way(one);
        let version = |place| self.choice.universe.package(place).version;
        Unsatisfiable {
            name: way.asked.name.clone(),
            reason: format!(
                "`{}` would be needed in two versions, {} and {}",
                self.name(one),
                version(one),
                version(other)
            ),
            advice: "take out what asks for one of them".to_owned(),
            span: way.asked.span,
            without: None,
        }
    }

    fn together(&self) -> Unsatisfiable {
        let last = self.asked.last().expect("an empty set of wishes does not fail");
        let names: Vec<&str> = self.asked.iter().map(|asked| asked.name.as_str()).collect();
        Unsatisfiable {
            name: last.name.clone(),
            reason: format!("{} exclude each other", listed(names, "and")),
            advice: "take one of them out".to_owned(),
            span: last.span,
            without: None,
        }
    }
}

fn advice(first: &Asked, second: &Asked) -> String {
    match second.origin {
        Origin::Essential | Origin::Distro => {
            format!(
                "take `{}` out: `{}` belongs to every image of this distro",
                first.name, second.name
            )
        }
        Origin::Block => format!(
            "take `{}` out, or the block that asks for `{}`",
            first.name, second.name
        ),
        Origin::Kernel | Origin::User => "take one of the two out".to_owned(),
    }
}
