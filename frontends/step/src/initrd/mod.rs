//! Not there yet.
use crate::problem::{Outcome, Problem};
use kcompose_core::step::Initrd;
pub(crate) fn run(_: &Initrd, _: i64) -> Outcome<()> {
    Err(Problem::new("kcompose::step::program", "this action is not there yet").into())
}
