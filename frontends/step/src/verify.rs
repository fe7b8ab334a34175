//! Not there yet.
use crate::problem::{Outcome, Problem};
use kcompose_core::step::Verify;
pub(crate) fn run(_: &Verify) -> Outcome<()> {
    Err(Problem::new("kcompose::step::program", "this action is not there yet").into())
}
