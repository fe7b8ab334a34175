//! `kcompose config`: the composed flavor.

use kcompose_core::source::SourceMap;
use kcompose_dsl::render;

use crate::args::{Config, ConfigFormat};
use crate::failure::Failure;
use crate::pinning;
use crate::project::Project;
use crate::terminal::Terminal;

/// Prints the composed flavor with the origin of each line.
pub(crate) fn run(args: &Config, terminal: &Terminal, sources: &mut SourceMap) -> Result<(), Failure> {
    let project = Project::load(&args.source, sources, terminal)?;
    // The command is about the flavor: a lock that is unreadable or old says nothing here.
    let lock = pinning::read(&project.lock_file).ok().flatten();
    let lock = lock.filter(|lock| lock.fits(&project.flavor).is_empty());
    let left_out = lock.map(|lock| lock.resolved.left_out).unwrap_or_default();
    let text = match args.format {
        ConfigFormat::Kdl => render::kdl(&project.flavor, &left_out, sources),
        ConfigFormat::Json => pretty(&render::json(&project.flavor, &left_out, sources)),
    };
    terminal.data(&text);
    Ok(())
}

/// JSON over several lines, with a final newline.
pub(crate) fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
