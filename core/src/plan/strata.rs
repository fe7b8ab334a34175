//! Which package belongs to which stratum and group.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::model::{Flavor, PackageName, StockPackage};
use crate::resolve::{LockedPackage, Resolved, build_only, builders};
use crate::source::Span;

/// Packages that are unpacked by one exec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name of its step, such as `unpack kernel`.
    pub name: String,
    /// Its packages, sorted by name.
    pub packages: Vec<LockedPackage>,
    /// Whether it brings `/bin /sbin /lib /lib64`.
    pub merged_usr: bool,
    /// The node that asks for it.
    pub span: Span,
}

/// All packages, from the lowest stratum to the highest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strata {
    /// The dependency closure of Essential: configured first and alone.
    pub essential: Vec<PackageName>,
    /// Essential closure, and what the boot needs.
    pub core: Vec<Group>,
    /// What only the kernel needs, and it; none if the core has it. It takes long to unpack, and nothing in the core waits
    /// for it.
    pub kernel: Option<Group>,
    /// The other packages of distro and blocks.
    pub rest: Vec<Group>,
    /// What builds the kernel's modules on top of core and kernel, beside the image.
    pub build: Option<Group>,
    /// What the flavor adds: first what runs scripts, with what that needs, then the [plain](LockedPackage::plain) ones, the
    /// small ones last.
    ///
    /// Each group is one exec. One more small plain package, which most tools are, makes only the last one again.
    pub user: Vec<Group>,
}

/// A group holds about this many KiB of unpacked files; six to sixteen groups are equally fast, one or hundreds are not.
const GROUP_KIB: u64 = 48 * 1024;
const MOST_GROUPS: u64 = 8;
/// A plain package is small up to so many KiB of unpacked files: dozens of these are unpacked in a tenth of a second.
const SMALL_KIB: u64 = 512;

/// The names of packages that a distro brings; those that an image does not have are no part of a closure.
fn names(packages: &[StockPackage]) -> impl Iterator<Item = &PackageName> {
    packages.iter().map(|package| &package.name)
}

/// Divides the packages of a flavor.
pub fn strata(flavor: &Flavor, resolved: &Resolved) -> Strata {
    let distro = &flavor.distro.value;
    let all = resolved.packages.values();
    let essential = resolved.closure(
        all.filter(|package| package.essential)
            .map(|package| &package.name),
    );
    let kernel = resolved.closure([&flavor.kernel.value.package.value]);
    let boot = resolved.closure(names(&distro.core_packages));
    let lower: BTreeSet<&PackageName> = essential
        .union(&kernel)
        .copied()
        .chain(boot.iter().copied())
        .collect();
    let blocks = flavor
        .block_packages
        .requests
        .iter()
        .map(|request| &request.value.name);
    let rest: BTreeSet<&PackageName> = resolved
        .closure(names(&distro.packages).chain(blocks))
        .difference(&lower)
        .copied()
        .collect();
    let build_only = build_only(flavor, resolved);
    let is_above = |name: &&PackageName| !lower.contains(name) && !rest.contains(name);
    let added: BTreeSet<&PackageName> = resolved
        .packages
        .keys()
        .filter(|name| is_above(name) && !build_only.contains(name))
        .collect();
    let headers = added_headers(flavor, &added);
    // What runs scripts is made once, with all that it needs; a plain package that nothing there needs goes on top.
    let scripted = resolved.closure(
        added
            .iter()
            .copied()
            .filter(|name| !resolved.packages[*name].plain || headers.contains(name)),
    );
    let (user, plain) = added
        .into_iter()
        .partition::<Vec<_>, _>(|name| scripted.contains(name));
    // Each group is configured before the next one, so what a large one needs lies below, however small.
    let large = resolved.closure(
        plain
            .iter()
            .copied()
            .filter(|name| resolved.packages[*name].installed_size > SMALL_KIB),
    );
    let (large, small) = plain
        .into_iter()
        .partition::<Vec<_>, _>(|name| large.contains(name));
    let only_kernel = kernel
        .iter()
        .filter(|name| !essential.contains(*name) && !boot.contains(*name))
        .copied();
    let only_boot = boot.iter().filter(|name| !essential.contains(*name)).copied();
    let group = |name: &str, names: Vec<&PackageName>, span, merged_usr| Group {
        name: format!("unpack {name}"),
        packages: pick(resolved, names),
        merged_usr,
        span,
    };
    let first = flavor.packages.requests.first();
    let asked = first.map_or(Span::NONE, |request| request.span);
    let core_groups = [
        group(
            "base",
            essential.iter().copied().collect(),
            flavor.distro.span,
            true,
        ),
        group("boot", only_boot.collect(), flavor.distro.span, false),
    ];
    Strata {
        kernel: Some(group("kernel", only_kernel.collect(), flavor.kernel.span, false))
            .filter(|group| !group.packages.is_empty()),
        essential: essential.into_iter().cloned().collect(),
        core: core_groups
            .into_iter()
            .filter(|group| !group.packages.is_empty())
            .collect(),
        rest: by_hash(pick(resolved, rest), flavor.distro.span),
        build: flavor.kernel.value.dkms.first().map(|first| Group {
            name: "build modules for the kernel".to_owned(),
            packages: pick(
                resolved,
                builders(flavor, resolved)
                    .into_iter()
                    .filter(|name| !lower.contains(name)),
            ),
            merged_usr: false,
            span: first.span,
        }),
        user: [
            ("install the flavor's packages", user),
            ("install its large plain packages", large),
            ("install its small plain packages", small),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(name, names)| Group {
            name: name.to_owned(),
            packages: pick(resolved, names),
            merged_usr: false,
            span: asked,
        })
        .collect(),
    }
}

/// The kernel's headers among the flavor's packages, where some of these build modules when they are configured: the headers
/// have to be there by then.
fn added_headers<'a>(flavor: &Flavor, added: &BTreeSet<&'a PackageName>) -> BTreeSet<&'a PackageName> {
    let builds = added.iter().any(|name| name.as_str() == "dkms");
    let Some((_, start)) = flavor.distro.value.headers.as_ref().filter(|_| builds) else {
        return BTreeSet::new();
    };
    let is_headers = |name: &&PackageName| name.as_str().starts_with(start.as_str());
    added.iter().copied().filter(is_headers).collect()
}

fn pick<'a>(resolved: &Resolved, names: impl IntoIterator<Item = &'a PackageName>) -> Vec<LockedPackage> {
    names
        .into_iter()
        .filter_map(|name| resolved.packages.get(name))
        .cloned()
        .collect()
}

/// Groups by a hash of the name, so that one more package changes one group and no other.
fn by_hash(packages: Vec<LockedPackage>, span: Span) -> Vec<Group> {
    let total: u64 = packages.iter().map(|package| package.installed_size).sum();
    let count = (total / GROUP_KIB + 1).min(MOST_GROUPS);
    let mut groups: BTreeMap<u64, Vec<LockedPackage>> = BTreeMap::new();
    for package in packages {
        let digest = Sha256::digest(package.name.as_str().as_bytes());
        groups
            .entry(u64::from(digest[0]) % count)
            .or_default()
            .push(package);
    }
    groups
        .into_iter()
        .map(|(index, packages)| Group {
            name: format!("unpack rest {index}"),
            packages,
            merged_usr: false,
            span,
        })
        .collect()
}
