//! Which package belongs to which stratum and group.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::model::{Flavor, PackageName};
use crate::resolve::{LockedPackage, Resolved};
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
    /// Kernel, Essential closure, and what the boot needs.
    pub core: Vec<Group>,
    /// The other packages of distro and blocks.
    pub rest: Vec<Group>,
    /// What the flavor adds.
    pub user: Option<Group>,
}

/// A group holds about this many KiB of unpacked files; six to sixteen groups are equally fast, one or hundreds are not.
const GROUP_KIB: u64 = 48 * 1024;
const MOST_GROUPS: u64 = 8;

/// Divides the packages of a flavor.
pub fn strata(flavor: &Flavor, resolved: &Resolved) -> Strata {
    let distro = &flavor.distro.value;
    let essential = closure(
        resolved,
        resolved
            .packages
            .values()
            .filter(|p| p.essential)
            .map(|p| &p.name),
    );
    let kernel = closure(resolved, [&flavor.kernel.value.package.value]);
    let boot = closure(resolved, &distro.core_packages);
    let core: BTreeSet<&PackageName> = essential
        .union(&kernel)
        .copied()
        .chain(boot.iter().copied())
        .collect();
    let blocks = flavor
        .block_packages
        .requests
        .iter()
        .map(|request| &request.value.name);
    let rest: BTreeSet<&PackageName> = closure(resolved, distro.packages.iter().chain(blocks))
        .difference(&core)
        .copied()
        .collect();
    let user: Vec<LockedPackage> = resolved
        .packages
        .values()
        .filter(|p| !core.contains(&p.name) && !rest.contains(&p.name))
        .cloned()
        .collect();
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
    let core_groups = [
        group("kernel", only_kernel.collect(), flavor.kernel.span, false),
        group(
            "base",
            essential.iter().copied().collect(),
            flavor.distro.span,
            true,
        ),
        group("boot", only_boot.collect(), flavor.distro.span, false),
    ];
    Strata {
        essential: essential.into_iter().cloned().collect(),
        core: core_groups
            .into_iter()
            .filter(|group| !group.packages.is_empty())
            .collect(),
        rest: by_hash(pick(resolved, rest), flavor.distro.span),
        user: (!user.is_empty()).then(|| Group {
            name: "install the flavor's packages".to_owned(),
            packages: user,
            merged_usr: false,
            span: flavor
                .packages
                .requests
                .first()
                .map_or(Span::NONE, |request| request.span),
        }),
    }
}

/// Everything that the given packages need, themselves included.
fn closure<'a>(
    resolved: &'a Resolved,
    names: impl IntoIterator<Item = &'a PackageName>,
) -> BTreeSet<&'a PackageName> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&PackageName> = names.into_iter().collect();
    while let Some(name) = open.pop() {
        let Some((name, package)) = resolved.packages.get_key_value(name) else {
            continue;
        };
        if found.insert(name) {
            open.extend(&package.depends);
        }
    }
    found
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
