//! The build context: what the flavor takes from the folder it is in.

use kcompose_core::compose::copied_accounts;
use kcompose_core::diagnostic::{Diagnostics, Problem};
use kcompose_core::model::{FileBody, Flavor, PathPattern};
use kcompose_core::source::{Span, Spanned};
use miette::Diagnostic;
use thiserror::Error;

/// A path of the build context that is not there.
#[derive(Debug, Error, Diagnostic)]
#[error("there is no `{path}` in the build context")]
#[diagnostic(
    code("kcompose::context::not-found"),
    help("paths are relative to the folder of the flavor; looked for {looked_for}")
)]
struct NotFound {
    path: String,
    looked_for: String,
    #[label(primary, "not found")]
    span: Span,
}

/// What the flavor takes from its folder and is not there, and tables of accounts that it must not take.
///
/// `is_there` says whether a path of the build context exists, and `shown` how a report names it.
pub fn missing(
    flavor: &Flavor,
    is_there: &dyn Fn(&str) -> bool,
    shown: &dyn Fn(&str) -> String,
) -> Diagnostics {
    let missing = taken(flavor).filter(|path| !is_there(path.value.as_str()));
    let mut problems: Diagnostics = missing
        .map(|path| -> Problem {
            Box::new(NotFound {
                path: path.value.as_str().to_owned(),
                looked_for: shown(path.value.as_str()),
                span: path.span,
            })
        })
        .collect();
    problems.extend(copied_accounts(flavor, is_there));
    problems
}

/// The paths of the build context that the flavor takes, in order.
pub fn paths(flavor: &Flavor) -> Vec<&str> {
    taken(flavor).map(|path| path.value.as_str()).collect()
}

fn taken(flavor: &Flavor) -> impl Iterator<Item = &Spanned<PathPattern>> {
    let copies = flavor.files.iter().filter_map(|file| match &file.value.body {
        FileBody::Copy(from) => Some(from),
        FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) | FileBody::Download(_) => None,
    });
    copies.chain(
        flavor
            .cloud_configs
            .iter()
            .filter_map(|config| config.value.from.as_ref()),
    )
}
