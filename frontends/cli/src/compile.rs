//! The shared stages, with their warnings said on the terminal.

use kcompose_core::layout::CompiledLayout;
use kcompose_core::model::Flavor;
use kcompose_core::source::SourceMap;

use crate::failure::Failure;
use crate::terminal::Terminal;

pub(crate) use kcompose_compile::{Compiled, Wiring, compile, definition};

/// The layout of a flavor; its warnings are said.
pub(crate) fn layout(
    flavor: &Flavor,
    sources: &SourceMap,
    terminal: &Terminal,
) -> Result<CompiledLayout, Failure> {
    let compiled = kcompose_compile::layout(flavor)?;
    terminal.report(&compiled.warnings, sources);
    Ok(compiled.value)
}
