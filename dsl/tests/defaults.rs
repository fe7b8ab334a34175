//! Default packages of a distro: what belongs to one goes with it.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;

use kcompose_core::model::{Architecture, FileBody, Flavor, Rank};
use kcompose_core::plan::{Input, plan};
use kcompose_core::resolve::Resolved;
use kcompose_core::source::SourceMap;
use kcompose_core::step::Files;
use kcompose_dsl::{LoadError, Options, load};

const FLAVOR: &str = include_str!("../../examples/minimal/flavor.kdl");

fn flavor(more: &str) -> Flavor {
    let text = format!("{FLAVOR}{more}");
    let mut read = |_: &str| Err(LoadError::Missing);
    let loaded = load(
        &mut SourceMap::new(),
        "flavor.kdl",
        &text,
        &mut read,
        &Options::default(),
    );
    loaded.unwrap().value
}

/// Every step of an image that has exactly the default packages that its flavor does not exclude.
fn steps(flavor: &Flavor) -> String {
    let resolved = Resolved::empty(Architecture::Amd64);
    let mut flavor = flavor.clone();
    // Without an index there are no packages; those that stay belong to the distro itself then.
    let distro = &mut flavor.distro.value;
    let stock: Vec<_> = distro.stock_packages().cloned().collect();
    for package in stock {
        distro.services.extend(package.services);
        distro.files.extend(package.files);
    }
    let plan = plan(&Input {
        flavor: &flavor,
        resolved: &resolved,
        image_files: &Files::default(),
        kept: &[],
        epoch: 0,
    });
    plan.steps()
        .map(|(_, step)| format!("{:?}\n", step.kind))
        .collect()
}

#[test]
fn units_and_links_of_an_excluded_package_are_not_in_the_plan() {
    let whole = flavor("");
    let before = steps(&whole);
    let mut seen = BTreeSet::new();
    for package in whole.distro.value.stock_packages() {
        if package.rank != Rank::Default {
            continue;
        }
        let after = steps(&flavor(&format!(
            "packages {{ without \"{}\"; }}\n",
            package.name
        )));
        let units = package
            .services
            .iter()
            .map(|service| format!("\"{}\"", service.value.unit.value));
        let links = package.files.iter().map(|file| match &file.value.body {
            FileBody::Link(target) => format!("\"{target}\""),
            other => panic!("{other:?}"),
        });
        for belonging in units.chain(links) {
            assert!(before.contains(&belonging), "{belonging}");
            assert!(!after.contains(&belonging), "{belonging}");
            seen.insert(belonging);
        }
    }
    for known in [
        "\"../run/systemd/resolve/stub-resolv.conf\"",
        "\"systemd-timesyncd.service\"",
    ] {
        assert!(seen.contains(known), "{seen:?}");
    }
}
