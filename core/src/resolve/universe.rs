//! Every package version of all indexes, and which of them may be chosen.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::model::{Flavor, PackageName, VersionRequest};
use crate::packages::deb::index::{Package, PackageIndex};
use crate::packages::deb::relation::{self, Atom};
use crate::packages::deb::version;

use super::facts::{Facts, Movement, SuiteKey};
use super::wishes::{Source, Wishes, sources};

/// Where a package version stands: which index, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    index: u32,
    position: u32,
}

/// One index and what its suite says about it.
struct Listed<'a> {
    source: Source<'a>,
    key: SuiteKey,
    component: &'a str,
    pin: u16,
    index: &'a PackageIndex,
}

/// All indexes, in the order of the flavor's sources.
pub(crate) struct Universe<'a> {
    listed: Vec<Listed<'a>>,
    /// Packages and the sources that wishes name for them.
    chosen: Vec<(&'a str, &'a str)>,
    architecture: &'static str,
}

impl<'a> Universe<'a> {
    /// The indexes of the components that a flavor reads.
    pub(crate) fn new(flavor: &'a Flavor, wishes: &'a Wishes, facts: &'a Facts) -> Self {
        let named: Vec<&String> = wishes
            .wants
            .iter()
            .filter_map(|wish| Some(&wish.component.as_ref()?.value))
            .collect();
        let mut listed = Vec::new();
        for source in sources(flavor) {
            let repository = source.repository;
            for suite in &repository.suites {
                let key = SuiteKey {
                    source: repository.name.value.clone(),
                    suite: suite.name.clone(),
                };
                let Some(known) = facts.suites.get(&key) else {
                    continue;
                };
                let pin = repository
                    .priority
                    .as_ref()
                    .map_or(known.release.pin, |said| said.value);
                let read = suite.components();
                let wanted = |component: &String| {
                    read.contains(component) || source.of_distro && named.contains(&component)
                };
                for (component, indexes) in known.components.iter().filter(|(component, _)| wanted(component))
                {
                    listed.extend(indexes.iter().map(|index| Listed {
                        source,
                        key: key.clone(),
                        component,
                        pin,
                        index,
                    }));
                }
            }
        }
        let chosen = wishes
            .wants
            .iter()
            .filter_map(|wish| Some((wish.name.as_str(), wish.repository.as_ref()?.value.as_str())));
        Universe {
            listed,
            chosen: chosen.collect(),
            architecture: flavor.architecture.as_str(),
        }
    }

    /// The package version at a place.
    pub(crate) fn package(&self, place: Place) -> Package<'_> {
        self.listed[place.index as usize]
            .index
            .package(place.position as usize)
    }

    /// The suite and component of a place.
    pub(crate) fn suite(&self, place: Place) -> (&SuiteKey, &str) {
        let listed = &self.listed[place.index as usize];
        (&listed.key, listed.component)
    }

    /// All versions of a package that may be chosen, most wanted first: by pin, version, order of sources. Equal ones come
    /// once. A third-party source has no say in a package of the distro unless the flavor lets it replace that.
    pub(crate) fn versions(&self, name: &str) -> Vec<Place> {
        let (mut found, withheld) = self.offered(name);
        found.retain(|place| !withheld.contains(place));
        self.sorted(found)
    }

    /// The versions of a package that third-party sources have and may not put in the place of the distro's.
    pub(crate) fn withheld(&self, name: &str) -> Vec<Place> {
        let (_, withheld) = self.offered(name);
        self.sorted(withheld)
    }

    /// The versions of a package that there are, and those among them that may not replace the distro's.
    fn offered(&self, name: &str) -> (Vec<Place>, Vec<Place>) {
        let mut found: Vec<Place> = Vec::new();
        for (listed, index) in self.listed.iter().zip(0..) {
            found.extend(listed.index.positions(name).map(|position| Place {
                index,
                position: u32::try_from(position).expect("an index is under 4 GiB"),
            }));
        }
        found.retain(|place| self.is_installable(self.package(*place).architecture));
        let of_distro = |place: &Place| self.source(*place).of_distro;
        let withheld = if found.iter().any(of_distro) {
            let foreign = found.iter().filter(|place| !of_distro(place));
            foreign
                .filter(|place| {
                    !self.source(**place).repository.may_replace(name) && !self.is_chosen(**place)
                })
                .copied()
                .collect()
        } else {
            Vec::new()
        };
        (found, withheld)
    }

    /// Whether a wish names the source of a package version.
    fn is_chosen(&self, place: Place) -> bool {
        let source = &self.listed[place.index as usize].key.source;
        let name = self.package(place).name;
        self.chosen
            .iter()
            .any(|(package, chosen)| *package == name && *chosen == source)
    }

    fn sorted(&self, places: Vec<Place>) -> Vec<Place> {
        let mut found: Vec<(u16, Place)> = places.into_iter().map(|place| (self.pin(place), place)).collect();
        found.sort_by(|(left_pin, left), (right_pin, right)| {
            let versions = version::compare(self.package(*right).version, self.package(*left).version);
            right_pin.cmp(left_pin).then(versions).then(left.cmp(right))
        });
        let mut places: Vec<Place> = Vec::new();
        for (_, place) in found {
            let this = self.package(place).version;
            if !places.iter().any(|known| self.package(*known).version == this) {
                places.push(place);
            }
        }
        places
    }

    /// The package source of a place.
    pub(crate) fn source(&self, place: Place) -> Source<'a> {
        self.listed[place.index as usize].source
    }

    /// Whether some suites are wanted less than others.
    pub(crate) fn has_lower_pins(&self) -> bool {
        let mut pins = self.listed.iter().map(|listed| listed.pin);
        pins.next().is_some_and(|first| pins.any(|pin| pin != first))
    }

    /// How much a place is wanted by itself.
    pub(crate) fn pin(&self, place: Place) -> u16 {
        self.listed[place.index as usize].pin
    }

    /// All package versions that provide a name, and the version that they provide it in.
    pub(crate) fn providers(&self, name: &str) -> Vec<(Place, Option<&str>)> {
        let mut found = Vec::new();
        for (listed, index) in self.listed.iter().zip(0..) {
            for position in listed.index.may_provide(name) {
                let place = Place {
                    index,
                    position: u32::try_from(position).expect("an index is under 4 GiB"),
                };
                let provided = relation::atoms(self.package(place).provides).filter(|atom| atom.name == name);
                found.extend(provided.map(|atom| (place, atom.version.map(|(_, version)| version))));
            }
        }
        found
    }

    /// Names of packages that every image has, sorted. Only the distro decides that.
    pub(crate) fn essential(&self) -> Vec<String> {
        let all = self
            .listed
            .iter()
            .filter(|listed| listed.pin >= 500 && listed.source.of_distro);
        let mut names: Vec<String> = all
            .flat_map(|listed| {
                listed
                    .index
                    .essential()
                    .map(|at| listed.index.name(at).to_owned())
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// All names of all indexes.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().flat_map(|listed| listed.index.names())
    }

    /// The suites that were searched, in order.
    pub(crate) fn suites(&self) -> Vec<&SuiteKey> {
        let mut keys: Vec<&SuiteKey> = self.listed.iter().map(|listed| &listed.key).collect();
        keys.dedup();
        keys
    }

    /// The architecture that images are built for.
    pub(crate) fn architecture(&self) -> &'static str {
        self.architecture
    }

    fn is_installable(&self, architecture: &str) -> bool {
        architecture == "all" || architecture == self.architecture
    }
}

/// Which versions may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// The most wanted version of each package, and the locked one.
    Candidates,
    /// Every version of the most wanted suites, and the locked one.
    AllVersions,
    /// Every version of all suites: what only a suite of lower priority can satisfy is taken from there.
    AllSuites,
}

/// The universe as a flavor's wishes and its lock narrow it.
pub(crate) struct Choice<'a> {
    pub(crate) universe: &'a Universe<'a>,
    wishes: &'a Wishes,
    locked: BTreeMap<&'a str, &'a str>,
    width: Width,
    candidates: RefCell<HashMap<String, Rc<[Place]>>>,
}

impl<'a> Choice<'a> {
    /// A choice of this width.
    pub(crate) fn new(
        universe: &'a Universe<'a>,
        wishes: &'a Wishes,
        facts: &'a Facts,
        width: Width,
    ) -> Self {
        let stays = |name: &str| match &facts.movement {
            Movement::Keep => true,
            Movement::Only(moving) => !moving.contains(name),
            Movement::All => false,
        };
        let packages = facts.lock.iter().flat_map(|lock| lock.resolved.packages.values());
        let locked = packages
            .map(|package| (package.name.as_str(), package.version.as_str()))
            .filter(|(name, _)| stays(name))
            .collect();
        Choice {
            universe,
            wishes,
            locked,
            width,
            candidates: RefCell::default(),
        }
    }

    /// The versions of a package that may be chosen, best first.
    pub(crate) fn candidates(&self, name: &str) -> Rc<[Place]> {
        if let Some(known) = self.candidates.borrow().get(name) {
            return known.clone();
        }
        let found: Rc<[Place]> = self.select(name).into();
        self.candidates
            .borrow_mut()
            .insert(name.to_owned(), found.clone());
        found
    }

    /// The version that the lock wants to keep.
    pub(crate) fn locked(&self, name: &str) -> Option<&str> {
        self.locked.get(name).copied()
    }

    fn select(&self, name: &str) -> Vec<Place> {
        let is_unwanted = self.wishes.without.keys().any(|without| without.as_str() == name);
        if is_unwanted || name.parse::<PackageName>().is_err() {
            return Vec::new();
        }
        let mut versions = self.universe.versions(name);
        let requests: Vec<&VersionRequest> = self.requests(name).collect();
        versions.retain(|place| {
            let version = self.universe.package(*place).version;
            requests
                .iter()
                .all(|request| version::is_wanted(version, request))
        });
        if let Some(wanted) = self.repository(name) {
            versions.retain(|place| self.universe.suite(*place).0.source == wanted);
        }
        let Some(best) = versions.first().map(|place| self.universe.pin(*place)) else {
            return versions;
        };
        let locked = self.locked(name);
        let position = versions
            .iter()
            .position(|place| Some(self.universe.package(*place).version) == locked);
        let locked = position.map(|at| versions.remove(at));
        let is_best = |place: &Place| self.universe.pin(*place) == best;
        let count = match self.width {
            Width::Candidates => 1,
            Width::AllVersions | Width::AllSuites => usize::MAX,
        };
        let others = versions
            .into_iter()
            .filter(|place| self.width == Width::AllSuites || is_best(place));
        locked.into_iter().chain(others.take(count)).collect()
    }

    /// The package source that the flavor names for a package.
    fn repository(&self, name: &str) -> Option<&str> {
        let mut wants = self.wishes.wants.iter().filter(|wish| wish.name.as_str() == name);
        wants.find_map(|wish| Some(wish.repository.as_ref()?.value.as_str()))
    }

    /// What the flavor asks of the versions of a package.
    fn requests(&self, name: &str) -> impl Iterator<Item = &VersionRequest> {
        let wanted = self
            .wishes
            .wants
            .iter()
            .filter(move |wish| wish.name.as_str() == name);
        let holds = self
            .wishes
            .holds
            .values()
            .filter(move |hold| hold.name.as_str() == name);
        wanted
            .filter_map(|wish| Some(&wish.version.as_ref()?.value))
            .chain(holds.map(|hold| &hold.version.value))
    }

    /// What satisfies one of some alternatives, best first: each one's own package, then what provides it.
    pub(crate) fn satisfying(&self, group: &[Atom<'_>]) -> Vec<Place> {
        let mut found: Vec<Place> = Vec::new();
        for atom in group {
            found.extend(self.real(atom));
            found.extend(self.providing(atom));
        }
        let preferred = group
            .iter()
            .filter_map(|atom| self.preferred(atom.name))
            .collect::<Vec<_>>();
        // Stable: what the flavor prefers comes first, all else stays in order.
        found.sort_by_key(|place| !preferred.contains(&self.universe.package(*place).name));
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|place| seen.insert(*place));
        found
    }

    /// Versions of an atom's own package that fit, best first.
    pub(crate) fn real(&self, atom: &Atom<'_>) -> Vec<Place> {
        let candidates = self.candidates(atom.name);
        let fits = |place: &Place| {
            let package = self.universe.package(*place);
            atom.takes(package.version) && self.takes_qualifier(atom, &package)
        };
        candidates.iter().copied().filter(fits).collect()
    }

    /// Packages that provide what an atom names, best first.
    pub(crate) fn providing(&self, atom: &Atom<'_>) -> Vec<Place> {
        let mut found: Vec<Place> = Vec::new();
        for (place, version) in self.universe.providers(atom.name) {
            let package = self.universe.package(place);
            let fits = package.name != atom.name
                && atom.takes_provided(version)
                && self.takes_qualifier(atom, &package);
            if fits && self.candidates(package.name).contains(&place) {
                found.push(place);
            }
        }
        found.sort_by_key(|place| {
            let package = self.universe.package(*place);
            let is_locked = self.locked(package.name).is_some();
            (!is_locked, self.rank(*place), package.name, *place)
        });
        found
    }

    /// What makes a provider better than another, apart from its name: Essential first, then by priority.
    pub(crate) fn rank(&self, place: Place) -> (bool, u8) {
        let package = self.universe.package(place);
        (!package.essential, package.priority)
    }

    /// The provider that the flavor prefers for a name.
    pub(crate) fn preferred(&self, name: &str) -> Option<&str> {
        let mut all = self.wishes.prefer.iter();
        all.find(|(wanted, _)| wanted.as_str() == name)
            .map(|(_, provider)| provider.value.as_str())
    }

    fn takes_qualifier(&self, atom: &Atom<'_>, package: &Package<'_>) -> bool {
        match atom.qualifier {
            None => true,
            Some("any") => package.multi_arch_allowed,
            Some(architecture) => architecture == self.universe.architecture(),
        }
    }
}
