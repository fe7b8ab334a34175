//! Why a flavor's packages cannot be installed together, in words.

use std::collections::{BTreeMap, VecDeque};

use crate::diagnostic::{Diagnostics, Sink};
use crate::model::{Flavor, PackageName};
use crate::packages::deb::relation::{self, Atom};
use crate::source::Span;

use super::answer::{Asked, LeftOut, asked};
use super::facts::Facts;
use super::judge::elsewhere;
use super::problems::{Conflict, DefaultLeftOut, Unsatisfiable, listed};
use super::solve::{Clash, Proof, Root, excluded, solve};
use super::universe::{Choice, Place};
use super::wishes::{Origin, Wishes};

/// Why there is no solution: the smallest set of wishes that fails, and what clashes in it.
pub(crate) fn no_solution(
    choice: &Choice<'_>,
    wishes: &Wishes,
    flavor: &Flavor,
    facts: &Facts,
) -> Diagnostics {
    let mut asked = asked(choice, wishes);
    asked.retain(|asked| asked.origin != Origin::Default);
    let (asked, proof) = smallest_failure(choice, asked);
    let story = Story {
        choice,
        wishes,
        flavor,
        facts,
        asked: &asked,
        proof: &proof,
    };
    story.tell()
}

/// Notes each default package that was left out. Returns what is asked for and conflicts with it, by its name.
pub(crate) fn left_out(
    choice: &Choice<'_>,
    wishes: &Wishes,
    (flavor, facts): (&Flavor, &Facts),
    all: &[LeftOut],
    sink: &mut Sink,
) -> BTreeMap<PackageName, PackageName> {
    let mut causes = BTreeMap::new();
    for LeftOut { package, kept } in all {
        let (asked, proof) = conflict_with(choice, package, kept);
        let story = Story {
            choice,
            wishes,
            flavor,
            facts,
            asked: &asked,
            proof: &proof,
        };
        let others: Vec<&Asked> = asked.iter().filter(|asked| asked.name != package.name).collect();
        let Some(cause) = others.last() else { continue };
        sink.push(DefaultLeftOut {
            name: package.name.clone(),
            reason: story.short(),
            others: listed(others.iter().map(|asked| asked.name.as_str()), "and"),
            span: Some(cause.span).filter(|span| span.is_some()),
        });
        let names = package.name.parse().ok().zip(cause.name.parse().ok());
        causes.extend(names);
    }
    causes
}

/// The fewest wishes that fail together with a package that fails together with all of them.
fn conflict_with(choice: &Choice<'_>, package: &Asked, kept: &[Asked]) -> (Vec<Asked>, Proof) {
    // Nearly always it is one of them, and a pair has a small closure.
    let pairs = kept
        .iter()
        .rev()
        .map(|other| vec![package.clone(), other.clone()]);
    let mut failing = pairs.filter_map(|pair| {
        let proof = failure(choice, &pair)?;
        Some((pair, proof))
    });
    failing.next().unwrap_or_else(|| {
        let mut all = vec![package.clone()];
        all.extend_from_slice(kept);
        smallest_failure(choice, all)
    })
}

fn failure(choice: &Choice<'_>, asked: &[Asked]) -> Option<Proof> {
    let roots: Vec<Root> = asked.iter().map(|asked| asked.places.clone()).collect();
    solve(choice, &roots, &[]).err()
}

/// Takes wishes out as long as the rest still fails, those far from the user first.
fn smallest_failure(choice: &Choice<'_>, mut asked: Vec<Asked>) -> (Vec<Asked>, Proof) {
    let fails = |some: &[Asked]| failure(choice, some);
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
    flavor: &'a Flavor,
    facts: &'a Facts,
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
        match self.clash() {
            Some(Clash::Excludes(keeper, out)) => self.conflict(*keeper, *out),
            Some(Clash::Unmet(place)) => self.unmet(*place).into(),
            Some(Clash::TwoVersions(one, other)) => self.two_versions(*one, *other).into(),
            None => self.together().into(),
        }
    }

    /// What clashes, without who asks for it.
    fn short(&self) -> String {
        match self.clash() {
            Some(Clash::Excludes(keeper, out)) => self.reason(*keeper, *out),
            Some(Clash::Unmet(place)) => self.unmet(*place).reason,
            Some(Clash::TwoVersions(one, other)) => self.two_versions(*one, *other).reason,
            None => self.together().reason,
        }
    }

    /// The clash that is explained in the fewest words.
    fn clash(&self) -> Option<&Clash> {
        let mut clashes: Vec<&Clash> = self.proof.clashes.iter().collect();
        clashes.sort_by_key(|clash| self.length(clash));
        clashes.first().copied()
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

    /// `a` needs `b`; b declares Conflicts: c.
    fn reason(&self, keeper: Place, out: Place) -> String {
        let mut reasons = Vec::new();
        for way in [self.way(out), self.way(keeper)] {
            let chain = self.chain(&way);
            if !chain.is_empty() {
                reasons.push(format!("`{}` needs {chain}", way.asked.name));
            }
        }
        reasons.push(self.declaration(keeper, out));
        reasons.join("; ")
    }

    fn conflict(&self, keeper: Place, out: Place) -> Diagnostics {
        let (of_keeper, of_out) = (self.way(keeper), self.way(out));
        let reason = self.reason(keeper, out);
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
                Origin::Essential | Origin::Default | Origin::Distro => {
                    format!("`{}` belongs to this", second.name)
                }
                Origin::Block | Origin::Kernel | Origin::Build | Origin::User => {
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
                None => self.advice_for(&group),
            },
            span: way.asked.span,
            without: without.filter(|span| span.is_some()),
        }
    }

    /// What to do about a dependency that no package meets.
    fn advice_for(&self, group: &[Atom<'_>]) -> String {
        let universe = self.choice.universe;
        let is_absent = |atom: &&Atom<'_>| universe.versions(atom.name).is_empty();
        let elsewhere = group
            .iter()
            .filter(is_absent)
            .find_map(|atom| elsewhere(atom.name, self.flavor, self.facts));
        if let Some(found) = elsewhere {
            return found.advice(self.flavor);
        }
        let withheld = group.iter().find_map(|atom| {
            let places = universe.withheld(atom.name).into_iter();
            let mut fitting = places.filter(|place| atom.takes(universe.package(*place).version));
            fitting.next().map(|place| (atom.name, place))
        });
        match withheld {
            Some((name, place)) => format!(
                "write override=\"{name}\" in the repository `{}`, or take out what needs it",
                universe.suite(place).0.source
            ),
            None => "take it out, or add a `repository` that has what it needs".to_owned(),
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
            Some(place) => {
                let universe = self.choice.universe;
                let withheld = universe.withheld(atom.name).into_iter();
                let mut fitting = withheld.filter(|place| atom.takes(universe.package(*place).version));
                let other = fitting.next().map_or_else(String::new, |place| {
                    format!(
                        " ({} of the repository `{}` may not replace it)",
                        universe.package(place).version,
                        universe.suite(place).0.source
                    )
                });
                let version = universe.package(*place).version;
                format!("the version of `{}` is {version}{other}", atom.name)
            }
            None => match elsewhere(atom.name, self.flavor, self.facts) {
                Some(found) => format!(
                    "`{}` is in component `{}`, which is not read",
                    atom.name, found.component
                ),
                None => format!("there is no `{}`", atom.name),
            },
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
        Origin::Essential | Origin::Default | Origin::Distro => {
            format!(
                "take `{}` out: `{}` belongs to every image of this distro",
                first.name, second.name
            )
        }
        Origin::Block => format!(
            "take `{}` out, or the block that asks for `{}`",
            first.name, second.name
        ),
        Origin::Kernel | Origin::Build | Origin::User => "take one of the two out".to_owned(),
    }
}
