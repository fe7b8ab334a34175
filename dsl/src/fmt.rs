//! The one canonical form of a document.
//!
//! Four spaces a level, one node a line, a space between values, braces on the line of their node; comments, blank lines
//! between groups, and the way in which strings are written stay. Formatting twice is formatting once.

use std::fmt::Write as _;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::SourceFile;

use crate::syntax;

/// The canonical form of a document, or its syntax errors.
pub fn fmt(file: &SourceFile) -> Result<String, Diagnostics> {
    syntax::parse(file)?;
    let text = syntax::kdl_text(&file.text);
    let body = text.strip_prefix('\u{feff}').unwrap_or(&text).replace("\r\n", "\n");
    let tokens = syntax::tokens(&body);
    let mut written = Writer::default().document(&tokens);
    restore_first_line(&mut written, &file.text);
    Ok(written)
}

/// A first line for Docker before 23, or a shebang, was hidden as a comment of the same length.
fn restore_first_line(written: &mut String, original: &str) {
    let original = original.strip_prefix('\u{feff}').unwrap_or(original);
    if original.starts_with("# ") || original.starts_with("#!") {
        written.replace_range(0..2, &original[0..2]);
    }
}
