//! What an engine can do.

use std::collections::BTreeSet;

use kcompose_core::llb::proto::moby::buildkit::v1::apicaps::ApiCap;

/// The names of what an engine supports, of LLB and of the frontend API alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<String>);

impl Capabilities {
    /// From a list of names.
    pub fn new(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Capabilities(names.into_iter().map(Into::into).collect())
    }

    /// What a daemon says. What it lists as disabled counts as absent.
    pub fn from_daemon(caps: impl IntoIterator<Item = ApiCap>) -> Self {
        Capabilities(
            caps.into_iter()
                .filter(|cap| cap.enabled)
                .map(|cap| cap.id)
                .collect(),
        )
    }

    /// Whether the engine has this.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether file systems can be merged as layers; without it they are copied.
    pub fn merge(&self) -> bool {
        self.has("mergeop")
    }

    /// Those of the given names that the engine lacks.
    pub fn missing<'a>(&self, needed: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        needed.into_iter().filter(|name| !self.has(name)).collect()
    }
}
