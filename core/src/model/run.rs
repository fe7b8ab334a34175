//! `run`: a step of the user's own.

use crate::source::Spanned;

/// A script that runs in the image while it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The step's name.
    pub name: Spanned<String>,
    /// The script, run by `/bin/sh -eu`.
    pub script: Spanned<String>,
    /// Whether it may use the network; `false` unless said.
    pub network: Option<Spanned<bool>>,
    /// Steps that come before it.
    pub after: Vec<Spanned<String>>,
}
