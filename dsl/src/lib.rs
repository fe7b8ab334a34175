//! The kcompose language: documents to the model and back.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`syntax`] | KDL text into a spanned tree |
//! | [`nodes`] | the table of nodes; a tree into a `Fragment` |
//! | [`load`](fn@load) | a flavor with everything that it uses, into one `Flavor` |
//! | [`fmt`] | the one canonical form of a document |
//! | [`render`] | a composed flavor as KDL or JSON, with the origin of each line |
//! | [`builder`] | the same fragments from Rust |
//! | [`report`] | problems as text, JSON, SARIF and annotations |
//! | [`reference`] | the pages of `docs/reference/`, from the table |
//!
//! Nothing here reads files: what a document uses is asked for through a function.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod builder;
pub mod fmt;
pub mod nodes;
pub mod reference;
pub mod render;
pub mod report;
pub mod schema;
pub mod syntax;
pub mod values;

mod check;
mod distro;
mod load;
mod synonyms;

pub use load::{LoadError, Loader, NOT_TEXT, Options, REPLACED, load};
