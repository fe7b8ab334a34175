//! `image`: where the image goes, and what its config says.

use crate::source::Spanned;

/// A label of the image config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The key.
    pub key: Spanned<String>,
    /// The value.
    pub value: Spanned<String>,
}

/// The `image` node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSettings {
    /// The repository to push to.
    pub repository: Option<Spanned<String>>,
    /// Labels.
    pub labels: Vec<Label>,
}
