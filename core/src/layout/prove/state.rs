//! State of packages that a reboot loses.
//!
//! A package that runs a service and ships a directory below `/var/lib` writes there. Units that the flavor enables by name
//! are looked at beside, in `services`.

use std::collections::BTreeSet;

use crate::diagnostic::Sink;
use crate::layout::CompiledLayout;
use crate::model::{AbsPath, Flavor, PathClass, ServiceVerb};
use crate::source::Span;

use super::layout::request_span;
use super::problems::LostState;
use super::services::state_directories;
use super::{PackageFiles, ShippedKind};

/// The folder that holds the state of services.
const STATE: &str = "/var/lib/";

pub(super) fn prove(flavor: &Flavor, layout: &CompiledLayout, packages: &dyn PackageFiles, sink: &mut Sink) {
    let asked: BTreeSet<(&str, Span)> = flavor
        .packages
        .requests
        .iter()
        .filter_map(|request| {
            let name = request.value.name.as_str();
            Some((name, request_span(flavor, name)?))
        })
        .collect();
    let by_unit: BTreeSet<String> = states_of_enabled(flavor, packages);
    for (package, span) in asked {
        for path in states(flavor, package, packages) {
            let is_lost = layout
                .rule_of(&path)
                .is_some_and(|(top, rule)| rule.value == PathClass::Ephemeral && is_stock(flavor, top));
            if is_lost && !is_stateless(flavor, &path) && !by_unit.contains(path.as_str()) {
                sink.push(LostState {
                    owner: package.to_owned(),
                    path: path.to_string(),
                    span,
                });
            }
        }
    }
}

/// The state of units that the flavor enables by name, which is reported at that name.
fn states_of_enabled(flavor: &Flavor, packages: &dyn PackageFiles) -> BTreeSet<String> {
    let units = flavor
        .services
        .iter()
        .filter_map(|service| packages.unit(service.value.unit.value.as_str()));
    units
        .flat_map(|text| state_directories(&text))
        .map(|name| format!("{STATE}{name}"))
        .collect()
}

/// The directories that the services of a package write to, as far as the package shows it.
fn states(flavor: &Flavor, package: &str, packages: &dyn PackageFiles) -> BTreeSet<AbsPath> {
    let mut found = BTreeSet::new();
    let mut runs = false;
    packages.enabled_units(package, &mut |unit, text| {
        let mut services = flavor.services.iter().map(|service| &service.value);
        if services.any(|service| service.verb != ServiceVerb::Enable && service.unit.value.as_str() == unit)
        {
            return;
        }
        runs = true;
        let names = state_directories(text).into_iter();
        found.extend(names.filter_map(|name| format!("{STATE}{name}").parse().ok()));
    });
    if !runs {
        return found;
    }
    packages.below(STATE, &mut |shipped| {
        let is_top = !shipped.path[STATE.len()..].contains('/');
        if shipped.package == package && shipped.kind == ShippedKind::Directory && is_top {
            found.extend(shipped.path.parse::<AbsPath>());
        }
    });
    found
}

/// Whether a rule is of the stock layout: one of the flavor itself is meant.
fn is_stock(flavor: &Flavor, path: &AbsPath) -> bool {
    let mut rules = flavor.distro.value.layout.rules.iter();
    rules.any(|rule| rule.value.path == *path)
}

/// Whether the distro says that nothing below a path is worth keeping.
fn is_stateless(flavor: &Flavor, path: &AbsPath) -> bool {
    let mut stateless = flavor.distro.value.stateless.iter();
    stateless.any(|stateless| path.is_within(stateless))
}
