//! Not there yet.
use crate::problem::{Outcome, Problem};
use kcompose_core::step::Accounts;
use std::path::Path;
pub(crate) fn run(_: &Accounts, _root: &Path, _epoch: i64) -> Outcome<()> {
    Err(Problem::new("kcompose::step::program", "this action is not there yet").into())
}
