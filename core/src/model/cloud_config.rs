//! `cloud-config`: configuration that runs at boot.

use crate::source::{Span, Spanned};

use super::PathPattern;

/// A cloud-config file of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudConfig {
    /// The name without `.yaml`, such as `80_gateway`.
    pub name: Spanned<String>,
    /// The text, when it stands in the flavor.
    pub text: Option<Spanned<String>>,
    /// The place of each line of the text, in the flavor or in a file of its own; empty for text of one line.
    pub lines: Vec<Span>,
    /// The file below the flavor's folder that holds it.
    pub from: Option<Spanned<PathPattern>>,
}
