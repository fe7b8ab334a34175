//! `services`: which units start.

use crate::source::Spanned;

use super::UnitName;

/// What to do with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceVerb {
    /// Starts at boot.
    Enable,
    /// Does not start at boot by itself.
    Disable,
    /// Can't be started at all.
    Mask,
}

/// A unit and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The unit.
    pub unit: Spanned<UnitName>,
    /// What to do.
    pub verb: ServiceVerb,
}
