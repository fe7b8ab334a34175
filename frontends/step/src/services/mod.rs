//! Not there yet.
use crate::problem::{Outcome, Problem};
use kcompose_core::step::Services;
use std::path::Path;
pub(crate) fn run(_: &Services, _root: &Path) -> Outcome<()> {
    Err(Problem::new("kcompose::step::program", "this action is not there yet").into())
}
