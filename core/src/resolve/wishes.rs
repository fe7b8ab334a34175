//! What a flavor asks of packages, gathered from all its places.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Flavor, Hold, PackageName, Packages, Rank, Repository, Url, VersionRequest};
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

/// The package sources of a flavor: the distro's, then its own.
pub(crate) fn sources(flavor: &Flavor) -> impl Iterator<Item = (&Repository, bool)> {
    let own = flavor
        .repositories
        .iter()
        .map(|repository| (&repository.value, false));
    flavor
        .distro
        .value
        .sources
        .iter()
        .map(|repository| (repository, true))
        .chain(own)
}

/// Everything that has to be read to resolve a flavor; `unknown` says whether places to look further would help.
pub(crate) fn needs(flavor: &Flavor, wishes: &Wishes, facts: &Facts, unknown: bool) -> BTreeSet<Need> {
    let extra = wishes.components();
    let suites = sources(flavor).flat_map(|(source, is_distro)| {
        let extra = &extra;
        source.suites.iter().map(move |suite| {
            let key = SuiteKey {
                source: source.name.value.clone(),
                suite: suite.name.clone(),
            };
            let mut components = suite.components();
            if is_distro {
                components.extend(extra.iter().cloned());
            }
            let helpful = match facts.suites.get(&key) {
                Some(known) if unknown && is_distro => known.release.components.iter().cloned().collect(),
                _ => BTreeSet::new(),
            };
            Need::Suite(Box::new(SuiteNeed {
                location: location(flavor, source, suite.security, is_distro),
                architecture: flavor.architecture,
                helpful: helpful.difference(&components).cloned().collect(),
                components,
                keys: source.keys.iter().map(|key| key.value.clone()).collect(),
                not_before: facts.lock.as_ref().and_then(|lock| lock.date(&key)),
                key,
            }))
        })
    });
    suites.filter(|need| !facts.answers(need)).collect()
}

fn location(flavor: &Flavor, source: &Repository, security: bool, is_distro: bool) -> Location {
    let distro = &flavor.distro.value;
    let own = source.url.as_ref();
    // Who names a mirror of the distro and no security archive means the archive beside it.
    let mirror = distro
        .sources
        .iter()
        .filter(|_| security && is_distro && own.is_none())
        .find_map(|other| other.url.as_ref());
    let said = own.or(mirror).map_or(flavor.distro.span, |url| url.span);
    Location {
        source: source.name.value.clone(),
        span: said,
        url: own
            .map(|url| url.value.clone())
            .or_else(|| beside(&mirror?.value)),
        derived: mirror.is_some(),
        distro: is_distro.then(|| distro.id.clone()),
        fallback: if security {
            distro.security_mirror.clone()
        } else {
            distro.mirror.clone()
        },
        security,
    }
}

/// `http://mirror/debian-security` for `http://mirror/debian`.
pub fn beside(mirror: &Url) -> Option<Url> {
    let name = mirror.file_name();
    let parent = format!("{mirror}-security");
    (!name.is_empty()).then(|| parent.parse().expect("a longer path makes a URL"))
}

/// Where a locked package lies, by the sources of the flavor; `None` if the flavor has no such source.
pub fn location_of(flavor: &Flavor, source: &str, suite: &str) -> Option<Location> {
    let (found, is_distro) = sources(flavor).find(|(known, _)| known.name.value == source)?;
    let suite = found.suites.iter().find(|known| known.name == suite)?;
    Some(location(flavor, found, suite.security, is_distro))
}
