//! A failure says what was attempted.

use std::fmt::Display;
use std::io;

use crate::report::Failure;

/// Adds to an error what was attempted.
pub trait Attempt<T> {
    /// The attempt is spelled out only when it fails.
    fn attempt<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt<D: Display>(self, what: impl FnOnce() -> D) -> Result<T, Failure> {
        self.map_err(|error| failure(what(), error.into()))
    }
}

/// A failure of the sandbox.
pub fn failure(attempt: impl Display, error: impl Display) -> Failure {
    Failure {
        attempt: attempt.to_string(),
        error: error.to_string(),
        of_program: false,
    }
}
