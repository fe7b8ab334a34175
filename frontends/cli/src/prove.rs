//! What the packages' own file lists prove about a flavor.

use std::fmt::Write;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::layout::CompiledLayout;
use kcompose_core::layout::prove::{PackageFiles, Shipped, ShippedKind};
use kcompose_core::packages::deb::facts::{PathKind, UnitFacts};
use kcompose_core::resolve::{Resolved, judge_modules};
use kcompose_core::source::SourceMap;
use kcompose_engine::fetch::Contents;

use crate::failure::Failure;
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
}

/// Proves the kernel, the layout and the services, reports warnings, and fails on errors.
pub(crate) fn prove(
    project: &Project,
    layout: &CompiledLayout,
    resolved: &Resolved,
    world: &World,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let proof = proof(project, layout, resolved, world)?;
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
    world: &World,
) -> Result<Proof, Failure> {
    let contents = world.fetcher.contents(resolved).map_err(fetch_failed)?;
    if let Some(first) = contents.unknown.first() {
        let count = contents.unknown.len();
        let note = format!(
            "files and services were not checked: {count} packages were never fetched, `{first}` among them; `kcompose lock` fetches them"
        );
        return Ok(Proof {
            problems: Diagnostics::default(),
            note: Some(note),
        });
    }
    let mut problems = judge_modules(&project.flavor, &contents.packages);
    problems.extend(kcompose_core::layout::prove(
        &project.flavor,
        layout,
        &Files(contents),
    ));
    Ok(Proof { problems, note: None })
}

/// The packages of a lock, as the proof asks for them.
struct Files(Contents);

impl PackageFiles for Files {
    fn paths(&self, visit: &mut dyn FnMut(Shipped<'_>)) {
        for (name, facts) in &self.0.packages {
            for path in facts.paths() {
                let kind = match path.kind {
                    PathKind::File => ShippedKind::File,
                    PathKind::Directory => ShippedKind::Directory,
                    PathKind::Link => ShippedKind::Link,
                    PathKind::Special => continue,
                };
                visit(Shipped {
                    package: name.as_str(),
                    path: path.path,
                    kind,
                });
            }
        }
    }

    fn unit(&self, name: &str) -> Option<String> {
        self.0
            .packages
            .values()
            .find_map(|facts| facts.head().units.get(name))
            .map(unit_text)
    }

    fn sysusers(&self, visit: &mut dyn FnMut(&str)) {
        let lines = self.0.packages.values().flat_map(|facts| &facts.head().sysusers);
        lines.for_each(|line| visit(line));
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
