//! What people give beside the text: the platform, build arguments, the time stamp.

use std::collections::{BTreeMap, BTreeSet};

use kcompose_core::model::Architecture;
use kcompose_dsl::Options;
use miette::Diagnostic;
use thiserror::Error;

/// The build argument that sets every time stamp. It is no parameter of a flavor.
pub const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A flag was used in a way that cannot be.
#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code(kcompose::usage::flag), help("{help}"))]
pub struct BadFlag {
    /// What is wrong.
    pub fact: String,
    /// What to type instead.
    pub help: String,
}

impl BadFlag {
    /// A wrong flag and what to type instead.
    pub fn new(fact: impl Into<String>, help: impl Into<String>) -> Self {
        BadFlag {
            fact: fact.into(),
            help: help.into(),
        }
    }
}

/// What a load is told: the platform, the build arguments as parameters of the flavor, the names of build contexts.
pub fn options(
    platform: Option<&str>,
    arguments: &BTreeMap<String, String>,
    contexts: BTreeSet<String>,
) -> Result<Options, BadFlag> {
    let mut parameters = arguments.clone();
    parameters.remove(EPOCH);
    Ok(Options {
        architecture: architecture(platform)?,
        parameters,
        replaced: contexts,
    })
}

/// The architecture of a platform; without one that of an amd64 machine.
pub fn architecture(platform: Option<&str>) -> Result<Architecture, BadFlag> {
    match platform {
        None | Some("linux/amd64" | "amd64") => Ok(Architecture::Amd64),
        Some(other) => Err(BadFlag::new(
            format!("`{other}` cannot be built yet"),
            "the platform is linux/amd64",
        )),
    }
}

/// The time stamp of everything in the image: what is said, else what the lock says.
pub fn epoch(said: Option<&str>, locked: i64) -> Result<i64, BadFlag> {
    let Some(text) = said.filter(|text| !text.is_empty()) else {
        return Ok(locked);
    };
    text.parse().ok().filter(|epoch| *epoch >= 0).ok_or_else(|| {
        BadFlag::new(
            format!("SOURCE_DATE_EPOCH is `{text}`"),
            "it is a number of seconds since 1970",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_is_no_parameter() {
        let arguments =
            [(EPOCH, "1"), ("ROLE", "edge")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = options(None, &arguments.into(), BTreeSet::new()).unwrap();
        assert_eq!(options.parameters.into_keys().collect::<Vec<_>>(), ["ROLE"]);
    }

    #[test]
    fn the_epoch_is_a_number_or_the_locks() {
        assert_eq!(epoch(None, 7).unwrap(), 7);
        assert_eq!(epoch(Some(""), 7).unwrap(), 7);
        assert_eq!(epoch(Some("1"), 7).unwrap(), 1);
        assert!(epoch(Some("-1"), 7).is_err());
        assert!(epoch(Some("soon"), 7).is_err());
    }
}
