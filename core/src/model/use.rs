//! `use`: another document, or a block of the library.

use std::collections::BTreeMap;

use crate::source::Spanned;

/// A reference to another document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// A path that begins with `./` or `../`, or the name of a block.
    pub target: Spanned<String>,
    /// The block's parameters, as text.
    pub parameters: BTreeMap<String, Spanned<String>>,
}
