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
    /// Where each line of a text that stands in the flavor is; empty for one that was read from a file of its own.
    pub lines: Vec<Span>,
    /// The file below the flavor's folder that holds it.
    pub from: Option<Spanned<PathPattern>>,
}
