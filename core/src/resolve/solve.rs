//! Dependencies as a satisfiability problem; the only file that names `resolvo`.
//!
//! A name is a package, a solvable one of its versions. A group of alternatives is a union of sets of versions in the
//! order in which they are preferred: the first alternative's own package, what provides it, the second alternative…
//! `Conflicts` and `Breaks` constrain every other package that they name or that provides the name, never the declaring
//! package itself: to provide and to conflict with one name is how "only one of" is said.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use resolvo::conflict::{ConflictCause, ConflictEdge, ConflictNode};
use resolvo::utils::{Pool, VersionSet};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
};

use crate::packages::deb::relation::{self, Atom};

use super::universe::{Choice, Place};

/// Something that must be satisfied: any one of these, best first.
pub(crate) type Root = Vec<Place>;

/// Why there is no solution: edges of the proof.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clash {
    /// The first package, when it is there, keeps the second out.
    Excludes(Place, Place),
    /// A dependency of this package has no candidate.
    Unmet(Place),
    /// Two versions of one package would be needed.
    TwoVersions(Place, Place),
}

/// A proof that there is no solution.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proof {
    /// What clashes, sorted.
    pub(crate) clashes: Vec<Clash>,
    /// Which package may be there because of which: needing, needed. What nothing needs is a root.
    pub(crate) edges: Vec<(Option<Place>, Place)>,
}

/// Packages that satisfy all roots, sorted; or the proof that there are none.
pub(crate) fn solve(choice: &Choice<'_>, roots: &[Root], wanted: &[Place]) -> Result<Vec<Place>, Proof> {
    let provider = Provider::new(choice);
    let requirements = roots
        .iter()
        .map(|root| provider.requirement(root, "").into())
        .collect();
    let soft: Vec<SolvableId> = wanted.iter().map(|place| provider.solvable(*place)).collect();
    let problem = Problem::new().requirements(requirements).soft_requirements(soft);
    let mut solver = Solver::new(provider);
    match solver.solve(problem) {
        Ok(solvables) => {
            let pool = &solver.provider().pool;
            let mut places: Vec<Place> = solvables
                .iter()
                .map(|id| pool.resolve_solvable(*id).record.0)
                .collect();
            places.sort_unstable();
            Ok(places)
        }
        Err(UnsolvableOrCancelled::Unsolvable(conflict)) => Err(proof(&solver, &conflict)),
        Err(UnsolvableOrCancelled::Cancelled(_)) => unreachable!("nothing cancels the solver"),
    }
}

fn proof(solver: &Solver<Provider<'_>>, conflict: &resolvo::conflict::Conflict) -> Proof {
    let found = conflict.graph(solver);
    let pool = &solver.provider().pool;
    let place = |node| match found.graph[node] {
        ConflictNode::Solvable(id) => Some(pool.resolve_solvable(id).record.0),
        ConflictNode::Root | ConflictNode::UnresolvedDependency | ConflictNode::Excluded(_) => None,
    };
    let mut proof = Proof::default();
    for edge in found.graph.edge_indices() {
        let Some((from, to)) = found.graph.edge_endpoints(edge) else {
            continue;
        };
        match (found.graph[edge], place(from), place(to)) {
            (ConflictEdge::Requires(_), from, Some(to)) => proof.edges.push((from, to)),
            (ConflictEdge::Requires(_), Some(from), None) => proof.clashes.push(Clash::Unmet(from)),
            (ConflictEdge::Conflict(ConflictCause::ForbidMultipleInstances), Some(from), Some(to)) => {
                proof.clashes.push(Clash::TwoVersions(from, to));
            }
            (ConflictEdge::Conflict(_), Some(from), Some(to)) => {
                proof.clashes.push(Clash::Excludes(from, to));
            }
            _ => {}
        }
    }
    proof.edges.sort_unstable();
    proof.edges.dedup();
    proof.clashes.sort();
    proof.clashes.dedup();
    proof
}

/// A set of versions of one package.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Set {
    /// These.
    Only(Rc<[Place]>),
    /// All but these.
    Except(Rc<[Place]>),
    /// None; the text keeps the unmet dependencies apart.
    Nothing(Rc<str>),
}

impl Set {
    fn has(&self, place: Place) -> bool {
        match self {
            Set::Only(places) => places.contains(&place),
            Set::Except(places) => !places.contains(&place),
            Set::Nothing(_) => false,
        }
    }
}

struct Record(Place);

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl VersionSet for Set {
    type V = Record;
}

struct Provider<'a> {
    choice: &'a Choice<'a>,
    pool: Pool<Set, String>,
    solvables: RefCell<HashMap<Place, SolvableId>>,
}

impl<'a> Provider<'a> {
    fn new(choice: &'a Choice<'a>) -> Self {
        Provider {
            choice,
            pool: Pool::new(),
            solvables: RefCell::default(),
        }
    }

    fn name_of(&self, place: Place) -> NameId {
        self.pool
            .intern_package_name(self.choice.universe.package(place).name)
    }

    fn solvable(&self, place: Place) -> SolvableId {
        if let Some(known) = self.solvables.borrow().get(&place) {
            return *known;
        }
        let id = self.pool.intern_solvable(self.name_of(place), Record(place));
        self.solvables.borrow_mut().insert(place, id);
        id
    }

    /// Any one of these places, best first; nothing can satisfy an empty list.
    fn requirement(&self, places: &[Place], what: &str) -> Requirement {
        let mut sets: Vec<VersionSetId> = Vec::new();
        let mut rest = places;
        while let Some(first) = rest.first() {
            // Neighbours of one name are one set; the same name may come again later.
            let name = self.name_of(*first);
            let end = rest
                .iter()
                .position(|place| self.name_of(*place) != name)
                .unwrap_or(rest.len());
            sets.push(self.pool.intern_version_set(name, Set::Only(rest[..end].into())));
            rest = &rest[end..];
        }
        match sets[..] {
            [] => {
                let name = self.pool.intern_package_name(format!("unmet {what}"));
                self.pool
                    .intern_version_set(name, Set::Nothing(what.into()))
                    .into()
            }
            [one] => one.into(),
            [first, ..] => self
                .pool
                .intern_version_set_union(first, sets[1..].iter().copied())
                .into(),
        }
    }

    fn constraints(&self, package: &str, field: &str) -> Vec<VersionSetId> {
        let mut sets = Vec::new();
        for atom in relation::atoms(field) {
            let mut places = excluded(self.choice, package, &atom);
            while let Some(first) = places.first().copied() {
                let name = self.name_of(first);
                let (same, others) = places.into_iter().partition(|place| self.name_of(*place) == name);
                let same: Vec<Place> = same;
                sets.push(self.pool.intern_version_set(name, Set::Except(same.into())));
                places = others;
            }
        }
        sets
    }
}

/// The places that an atom of a package's `Conflicts` or `Breaks` keeps out.
pub(crate) fn excluded(choice: &Choice<'_>, package: &str, atom: &Atom<'_>) -> Vec<Place> {
    // A package never conflicts with itself, whatever it provides (deb-control(5), `Conflicts`).
    let mut places = choice.real(atom);
    places.extend(choice.providing(atom));
    places.retain(|place| choice.universe.package(*place).name != package);
    places
}

impl Interner for Provider<'_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl fmt::Display + '_ {
        format!(
            "{:?}",
            self.choice
                .universe
                .package(self.pool.resolve_solvable(solvable).record.0)
        )
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.pool.resolve_package_name(name)
    }

    fn display_version_set(&self, _: VersionSetId) -> impl fmt::Display + '_ {
        ""
    }

    fn display_string(&self, string: StringId) -> impl fmt::Display + '_ {
        self.pool.resolve_string(string)
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_> {
    async fn filter_candidates(
        &self,
        candidates: &[SolvableId],
        set: VersionSetId,
        inverse: bool,
    ) -> Vec<SolvableId> {
        let set = self.pool.resolve_version_set(set);
        let fits = |id: &SolvableId| set.has(self.pool.resolve_solvable(*id).record.0) != inverse;
        candidates.iter().copied().filter(fits).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let places = self.choice.candidates(self.pool.resolve_package_name(name));
        let candidates: Vec<SolvableId> = places.iter().map(|place| self.solvable(*place)).collect();
        Some(Candidates {
            candidates,
            hint_dependencies_available: HintDependenciesAvailable::None,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        let rank = |id: &SolvableId| {
            let place = self.pool.resolve_solvable(*id).record.0;
            let candidates = self.choice.candidates(self.choice.universe.package(place).name);
            candidates.iter().position(|known| *known == place)
        };
        solvables.sort_by_key(rank);
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        let package = self
            .choice
            .universe
            .package(self.pool.resolve_solvable(solvable).record.0);
        let groups = relation::groups(package.pre_depends).chain(relation::groups(package.depends));
        let requirements = groups.map(|group| {
            let what = format!("{} {group:?}", package.name);
            ConditionalRequirement::from(self.requirement(&self.choice.satisfying(&group), &what))
        });
        let constrains = [package.conflicts, package.breaks];
        Dependencies::Known(KnownDependencies {
            requirements: requirements.collect(),
            constrains: constrains
                .iter()
                .flat_map(|field| self.constraints(package.name, field))
                .collect(),
        })
    }
}
