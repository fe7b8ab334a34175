//! Trees of files: what of them is kept, and how they lie over each other.

mod flatten;
mod listing;
mod same;

pub(super) use flatten::{flatten, linked, owned};
pub(super) use listing::{contents, listing};
pub(super) use same::same_contents;
