//! What the packages' own file lists prove about a flavor.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::layout::CompiledLayout;
use kcompose_core::layout::prove::{Copied, PackageFiles, Shipped, ShippedKind};
use kcompose_core::model::PackageName;
use kcompose_core::packages::accounts::SystemAccount;
use kcompose_core::packages::deb::facts::{PackageFacts, PathFact, PathKind, UnitFacts};
use kcompose_core::resolve::lock::Lock;
use kcompose_core::resolve::{Resolved, build_only, judge_modules};
use kcompose_core::source::SourceMap;
use kcompose_engine::fetch::Contents;

use crate::copied;
use crate::failure::Failure;
use crate::pinning::{self, Pinned};
use crate::project::Project;
use crate::terminal::Terminal;
use crate::world::{World, fetch_failed};

/// What was proved, and what could not be looked at.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// What is wrong.
    pub(crate) problems: Diagnostics,
    /// Why some of it was not looked at.
    pub(crate) note: Option<String>,
    /// What the archives hold; nothing if one of them is unknown.
    pub(crate) archives: BTreeMap<PackageName, PackageFacts>,
}

/// Proves the kernel, the layout and the services, reports warnings, and fails on errors. A lock that may change learns
/// what the archives say.
pub(crate) fn prove(
    project: &Project,
    layout: &CompiledLayout,
    pinned: &mut Pinned,
    world: &World,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let resolved = &pinned.resolved;
    let proof = proof(project, layout, resolved, contents(world, resolved)?)?;
    pinned.look_into(&project.flavor, &proof.archives);
    if proof.problems.has_errors() {
        return Err(Failure::Wrong(proof.problems));
    }
    terminal.report(&proof.problems, sources);
    Ok(())
}

/// Looks at the files of the packages that the store has; with one of them unknown, nothing can be said.
pub(crate) fn proof(
    project: &Project,
    layout: &CompiledLayout,
    resolved: &Resolved,
    contents: Contents,
) -> Result<Proof, Failure> {
    if let Some(first) = contents.unknown.first() {
        let count = contents.unknown.len();
        let note = format!(
            "files and services were not checked: {count} packages were never fetched, `{first}` among them; `kcompose lock` fetches them"
        );
        return Ok(Proof {
            note: Some(note),
            ..Proof::default()
        });
    }
    let archives = contents.packages;
    let mut problems = judge_modules(&project.flavor, &archives);
    let elsewhere = build_only(&project.flavor, resolved);
    let of_image = archives.iter().filter(|(name, _)| !elsewhere.contains(name));
    let files = Files {
        packages: of_image.collect(),
        copied: copied::copied(project)?,
    };
    problems.extend(kcompose_core::layout::prove(&project.flavor, layout, &files));
    Ok(Proof {
        problems,
        note: None,
        archives,
    })
}

/// What the packages hold, as far as the store knows.
pub(crate) fn contents(world: &World, resolved: &Resolved) -> Result<Contents, Failure> {
    world.fetcher.contents(resolved).map_err(fetch_failed)
}

/// The lock, if there is one, and what the packages hold that it pins.
pub(crate) fn ahead(file: &Path, world: &World) -> Result<(Option<Lock>, Option<Contents>), Failure> {
    let lock = pinning::read(file)?;
    let contents = lock.as_ref().map(|lock| contents(world, &lock.resolved));
    Ok((lock, contents.transpose()?))
}

fn shipped<'a>(package: &'a PackageName, fact: &PathFact<'a>) -> Option<Shipped<'a>> {
    let kind = match fact.kind {
        PathKind::File => ShippedKind::File,
        PathKind::Directory => ShippedKind::Directory,
        PathKind::Link => ShippedKind::Link,
        PathKind::Special => return None,
    };
    Some(Shipped {
        package: package.as_str(),
        path: fact.path,
        kind,
    })
}

/// The packages of an image and the files of the build context, as the proof asks for them.
struct Files<'a> {
    packages: BTreeMap<&'a PackageName, &'a PackageFacts>,
    copied: Option<Copied>,
}

impl PackageFiles for Files<'_> {
    fn paths(&self, visit: &mut dyn FnMut(Shipped<'_>)) {
        for (name, facts) in &self.packages {
            facts
                .paths()
                .filter_map(|fact| shipped(name, &fact))
                .for_each(&mut *visit);
        }
    }

    fn below(&self, start: &str, visit: &mut dyn FnMut(Shipped<'_>)) {
        for (name, facts) in &self.packages {
            facts
                .below(start)
                .filter_map(|fact| shipped(name, &fact))
                .for_each(&mut *visit);
        }
    }

    fn unit(&self, name: &str) -> Option<String> {
        self.packages
            .values()
            .find_map(|facts| facts.head().units.get(name))
            .map(unit_text)
    }

    fn accounts(&self, visit: &mut dyn FnMut(&str, &SystemAccount)) {
        for (name, facts) in &self.packages {
            for account in &facts.head().accounts {
                visit(name.as_str(), account);
            }
        }
    }

    fn alternatives(&self, visit: &mut dyn FnMut(&str)) {
        let links = self
            .packages
            .values()
            .flat_map(|facts| &facts.head().alternatives);
        links.for_each(|link| visit(link));
    }

    fn enabled_units(&self, package: &str, visit: &mut dyn FnMut(&str, &str)) {
        let Some(facts) = package
            .parse::<PackageName>()
            .ok()
            .and_then(|name| self.packages.get(&name))
        else {
            return;
        };
        let starts =
            |(key, _): &(String, String)| matches!(key.as_str(), "WantedBy" | "RequiredBy" | "UpheldBy");
        for (name, unit) in &facts.head().units {
            if unit.install.iter().any(starts) {
                visit(name, &unit_text(unit));
            }
        }
    }

    fn copied(&self) -> Option<&Copied> {
        self.copied.as_ref()
    }
}

/// What the facts of a unit say, in the form of a unit file.
fn unit_text(unit: &UnitFacts) -> String {
    let mut text = String::new();
    for (section, lines) in [("Service", &unit.directories), ("Install", &unit.install)] {
        let _ = writeln!(text, "[{section}]");
        for (key, value) in lines {
            let _ = writeln!(text, "{key}={value}");
        }
    }
    text
}
