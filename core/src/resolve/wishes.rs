//! What a flavor asks of packages, gathered from all its places.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Flavor, Hold, PackageName, Packages, Rank, Repository, Snapshot, Url, VersionRequest, is_flat,
};
use crate::source::{Span, Spanned};

use super::Resolved;
use super::facts::{Facts, Location, Need, SuiteKey, SuiteNeed};

/// Who asks for a package; later ones are closer to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// Every image has it, because it is Essential.
    Essential,
    /// The distro's data of the library, which an image can be without.
    Default,
    /// The distro's data of the library.
    Distro,
    /// A block of the library.
    Block,
    /// The kernel.
    Kernel,
    /// The kernel's `dkms`: what is built beside the image.
    Build,
    /// The user's `packages`.
    User,
}

/// A package that must be there.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) name: PackageName,
    pub(crate) version: Option<Spanned<VersionRequest>>,
    pub(crate) component: Option<Spanned<String>>,
    pub(crate) repository: Option<Spanned<String>>,
    pub(crate) span: Span,
    pub(crate) origin: Origin,
}

/// All that a flavor asks of packages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) wants: Vec<Wish>,
    pub(crate) without: BTreeMap<PackageName, Span>,
    pub(crate) prefer: BTreeMap<PackageName, Spanned<PackageName>>,
    pub(crate) holds: BTreeMap<PackageName, Hold>,
}

impl Wishes {
    /// Gathers the wishes of a flavor for its architecture.
    pub(crate) fn of(flavor: &Flavor) -> Self {
        let mut wishes = Wishes::default();
        let distro = &flavor.distro.value;
        let base = flavor.distro.span;
        wishes.wants.extend(distro.stock_packages().map(|package| Wish {
            name: package.name.clone(),
            version: None,
            component: None,
            repository: None,
            span: base,
            origin: match package.rank {
                Rank::Needed => Origin::Distro,
                Rank::Default => Origin::Default,
            },
        }));
        wishes
            .without
            .extend(distro.without.iter().map(|name| (name.clone(), base)));
        wishes.add(flavor, &flavor.block_packages, Origin::Block);
        let kernel = &flavor.kernel.value;
        wishes.wants.push(Wish {
            name: kernel.package.value.clone(),
            version: kernel.version.clone(),
            component: None,
            repository: None,
            span: kernel.package.span,
            origin: Origin::Kernel,
        });
        wishes.wants.extend(build_wishes(flavor));
        wishes.add(flavor, &flavor.packages, Origin::User);
        wishes
    }

    fn add(&mut self, flavor: &Flavor, packages: &Packages, origin: Origin) {
        let here = |architecture: &Option<Spanned<_>>| {
            architecture
                .as_ref()
                .is_none_or(|wanted| wanted.value == flavor.architecture)
        };
        self.wants.extend(
            packages
                .requests
                .iter()
                .filter(|request| here(&request.value.architecture))
                .map(|request| Wish {
                    name: request.value.name.clone(),
                    version: request.value.version.clone(),
                    component: request.value.component.clone(),
                    repository: request.value.repository.clone(),
                    span: request.span,
                    origin,
                }),
        );
        self.without.extend(
            packages
                .without
                .iter()
                .map(|name| (name.value.clone(), name.span)),
        );
        self.prefer.extend(packages.prefer.iter().map(|prefer| {
            (
                prefer.value.wanted.clone(),
                Spanned::new(prefer.value.provider.clone(), prefer.span),
            )
        }));
        self.holds.extend(
            packages
                .holds
                .iter()
                .map(|hold| (hold.value.name.clone(), hold.value.clone())),
        );
    }

    /// The components that wishes name, beside those of the sources.
    fn components(&self) -> BTreeSet<String> {
        self.wants
            .iter()
            .filter_map(|wish| wish.component.as_ref())
            .map(|component| component.value.clone())
            .collect()
    }
}

/// What is needed to build modules beside the image: packages of DKMS, and the headers of the kernel, which bring the compiler.
fn build_wishes(flavor: &Flavor) -> Vec<Wish> {
    let kernel = &flavor.kernel.value;
    let wish = |name: &PackageName, version, span| Wish {
        name: name.clone(),
        version,
        component: None,
        repository: None,
        span,
        origin: Origin::Build,
    };
    let packages = kernel
        .dkms
        .iter()
        .map(|package| wish(&package.value, None, package.span));
    let headers = kernel.dkms.first().and_then(|first| {
        let name = flavor.distro.value.headers_of(&kernel.package.value)?;
        Some(wish(&name, kernel.version.clone(), first.span))
    });
    packages.chain(headers).collect()
}

/// The packages that are not in the image, but only where its modules are built.
pub fn build_only<'a>(flavor: &Flavor, resolved: &'a Resolved) -> BTreeSet<&'a PackageName> {
    let (build, image): (Vec<Wish>, Vec<Wish>) = Wishes::of(flavor)
        .wants
        .into_iter()
        .partition(|wish| wish.origin == Origin::Build);
    if build.is_empty() {
        return BTreeSet::new();
    }
    let essential = resolved.packages.values().filter(|package| package.essential);
    let image = image
        .iter()
        .map(|wish| &wish.name)
        .chain(essential.map(|package| &package.name));
    let image = resolved.closure(image);
    resolved
        .closure(build.iter().map(|wish| &wish.name))
        .difference(&image)
        .copied()
        .collect()
}

/// The packages that build the modules of a flavor, with all that these need; none if it builds none.
pub fn builders<'a>(flavor: &Flavor, resolved: &'a Resolved) -> BTreeSet<&'a PackageName> {
    resolved.closure(build_wishes(flavor).iter().map(|wish| &wish.name))
}

/// A package source as resolving sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) repository: &'a Repository,
    /// Whether the library's data of the distro name it, and not the flavor.
    pub(crate) of_library: bool,
    /// Whether it lies in the distro's archive, whoever names it.
    pub(crate) of_distro: bool,
}

/// The package sources of a flavor: the distro's, then its own.
pub(crate) fn sources(flavor: &Flavor) -> impl Iterator<Item = Source<'_>> {
    let of_library = flavor.distro.value.sources.iter().map(|repository| Source {
        repository,
        of_library: true,
        of_distro: true,
    });
    let own = flavor.repositories.iter().map(|repository| Source {
        repository: &repository.value,
        of_library: false,
        of_distro: repository.value.url.is_none(),
    });
    of_library.chain(own)
}

/// The suites whose indexes a flavor is resolved with.
pub fn suite_needs(flavor: &Flavor) -> Vec<SuiteNeed> {
    let needs = needs(flavor, &Wishes::of(flavor), &Facts::default(), false).into_iter();
    needs
        .filter_map(|need| match need {
            Need::Suite(need) => Some(*need),
            Need::Upstream(_) | Need::Download(_) => None,
        })
        .collect()
}

/// Everything that has to be read to resolve a flavor; `unknown` says whether places to look further would help.
pub(crate) fn needs(flavor: &Flavor, wishes: &Wishes, facts: &Facts, unknown: bool) -> BTreeSet<Need> {
    let extra = wishes.components();
    let suites = sources(flavor).flat_map(|source| {
        let extra = &extra;
        source.repository.suites.iter().map(move |suite| {
            let key = SuiteKey {
                source: source.repository.name.value.clone(),
                suite: suite.name.clone(),
            };
            let mut components = suite.components();
            if source.of_distro {
                components.extend(extra.iter().cloned());
            }
            let helpful = match facts.suites.get(&key) {
                Some(known) if unknown && !is_flat(&suite.name) => {
                    known.release.components.iter().cloned().collect()
                }
                _ => BTreeSet::new(),
            };
            let location = location(flavor, source, suite.security);
            Need::Suite(Box::new(SuiteNeed {
                architecture: flavor.architecture,
                helpful: helpful.difference(&components).cloned().collect(),
                components,
                keys: keys(flavor, source.repository),
                // Who reads an archive as of a time goes back in time on purpose.
                not_before: facts
                    .lock
                    .as_ref()
                    .filter(|_| location.snapshot.is_none())
                    .and_then(|lock| lock.date(&key)),
                location,
                key,
            }))
        })
    });
    suites.filter(|need| !facts.answers(need)).collect()
}

/// The keys that may sign a source: its own; without any, those of the distro whose archive it lies in.
fn keys(flavor: &Flavor, source: &Repository) -> Vec<String> {
    let of_distro = flavor.distro.value.sources.first().map(|first| &first.keys);
    let keys = match of_distro {
        Some(keys) if source.keys.is_empty() && source.url.is_none() => keys,
        _ => &source.keys,
    };
    keys.iter().map(|key| key.value.clone()).collect()
}

fn location(flavor: &Flavor, source: Source<'_>, security: bool) -> Location {
    let distro = &flavor.distro.value;
    let repository = source.repository;
    let own = repository.url.as_ref();
    // A mirror of the distro that the flavor names is that of all its suites. Who names no security archive means the one
    // beside it.
    let mirror = distro
        .sources
        .iter()
        .filter(|_| source.of_distro && own.is_none())
        .find(|other| !other.suites.iter().any(|suite| suite.security))
        .and_then(|main| main.url.as_ref());
    let derived = security && mirror.is_some();
    let of_mirror = mirror.and_then(|mirror| {
        if derived {
            beside(&mirror.value)
        } else {
            Some(mirror.value.clone())
        }
    });
    let named = own.map(|url| url.value.clone()).or(of_mirror);
    let snapshot = repository.snapshot.as_ref().map(|time| time.value.clone());
    let fallback = match (&snapshot, security) {
        (None, false) => &distro.mirror,
        (None, true) => &distro.security_mirror,
        (Some(_), false) => &distro.snapshots,
        (Some(_), true) => &distro.security_snapshots,
    };
    let said = own.or(mirror).map(|url| url.span);
    let said = said.or_else(|| Some(repository.name.span).filter(|span| span.is_some()));
    Location {
        source: repository.name.value.clone(),
        span: said.unwrap_or(flavor.distro.span),
        url: named,
        derived,
        distro: source.of_distro.then(|| distro.id.clone()),
        fallback: fallback.clone(),
        security,
        allow_expired: repository.allow_expired || snapshot.is_some(),
        snapshot,
    }
}

/// `http://mirror/debian-security` for `http://mirror/debian`.
pub fn beside(mirror: &Url) -> Option<Url> {
    let name = mirror.file_name();
    if name.is_empty() {
        return None;
    }
    // The archive's name stands before the time of a snapshot.
    let text = mirror.to_string();
    let security = match text.strip_suffix(name).map(|folder| folder.trim_end_matches('/')) {
        Some(archive) if name.parse::<Snapshot>().is_ok() => format!("{archive}-security/{name}"),
        _ => format!("{text}-security"),
    };
    security.parse().ok()
}

/// Where a locked package lies, by the sources of the flavor; `None` if the flavor has no such source.
pub fn location_of(flavor: &Flavor, source: &str, suite: &str) -> Option<Location> {
    let found = sources(flavor).find(|known| known.repository.name.value == source)?;
    let suite = found.repository.suites.iter().find(|known| known.name == suite)?;
    Some(location(flavor, found, suite.security))
}
