//! `kcompose config`: the composed flavor.

use kcompose_core::source::SourceMap;

use crate::args::{Config, ConfigFormat};
use crate::failure::Failure;
use crate::project::Project;
use crate::terminal::Terminal;

/// Prints the composed flavor with the origin of each line.
pub(crate) fn run(args: &Config, terminal: &Terminal, sources: &mut SourceMap) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    let text = match args.format {
        ConfigFormat::Kdl => kcompose_dsl::render::kdl(&project.flavor, sources),
        ConfigFormat::Json => pretty(&kcompose_dsl::render::json(&project.flavor, sources)),
    };
    terminal.data(&text);
    Ok(())
}

/// JSON over several lines, with a final newline.
pub(crate) fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
