//! Questions to the world, and its answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Architecture, Sha256, Snapshot, Url};
use crate::packages::deb::index::PackageIndex;
use crate::packages::deb::release::Release;
use crate::source::Span;

use super::downloads::{DownloadFacts, DownloadNeed};
use super::lock::Lock;
use super::upstream::{UpstreamFacts, UpstreamNeed, UpstreamPart};

/// A suite of a package source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuiteKey {
    /// The name of the package source.
    pub source: String,
    /// The suite below `dists/`.
    pub suite: String,
}

impl SuiteKey {
    /// The suite's folder below the URL of its source.
    pub fn folder(&self) -> String {
        crate::model::suite_folder(&self.suite)
    }
}

impl std::fmt::Display for SuiteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.source, self.suite)
    }
}

/// Where a suite lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The name of the package source.
    pub source: String,
    /// The place that names it, for messages.
    pub span: Span,
    /// The URL that the flavor names; without one, a mirror of the distro.
    pub url: Option<Url>,
    /// Whether that URL was derived from the one of another archive.
    pub derived: bool,
    /// The distro that it is part of, by its id; `None` for a source of somebody else.
    pub distro: Option<String>,
    /// The distro's own mirror or its security archive, or those of its snapshot service: the last resort.
    pub fallback: Option<Url>,
    /// Whether it lies in the distro's security archive instead of its mirror.
    pub security: bool,
    /// The time as of which it is read: a folder below the URL.
    pub snapshot: Option<Snapshot>,
    /// Whether a release file past its `Valid-Until` is read.
    pub allow_expired: bool,
}

/// Something that resolving has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// The verified release file of a suite and the indexes of its components.
    Suite(Box<SuiteNeed>),
    /// A program that is no package.
    Upstream(UpstreamNeed),
    /// A file from a web server.
    Download(DownloadNeed),
}

/// What has to be known of a suite.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuiteNeed {
    /// Which suite.
    pub key: SuiteKey,
    /// Where it lies.
    pub location: Location,
    /// The architecture.
    pub architecture: Architecture,
    /// The components that must be read; those that the suite does not have are left out of the answer.
    pub components: BTreeSet<String>,
    /// Components that would help to say where a package is: read if that is possible without much ado.
    pub helpful: BTreeSet<String>,
    /// The keys that may sign it, as ASCII-armoured texts.
    pub keys: Vec<String>,
    /// The `Date` that the lock knows, in seconds since 1970: an older release file is refused.
    pub not_before: Option<i64>,
}

/// The answer to a [`SuiteNeed`].
#[derive(Clone, Debug)]
pub struct SuiteFacts {
    /// The release file, verified.
    pub release: Release,
    /// The components that were asked for; one may have no index, or two (`all` apart).
    pub components: BTreeMap<String, Vec<PackageIndex>>,
}

/// How far an existing lock may move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Movement {
    /// Locked versions stay wherever the flavor allows it.
    #[default]
    Keep,
    /// Only these packages move, and what they need.
    Only(BTreeSet<String>),
    /// Everything moves to what the indexes have.
    All,
}

/// What is known of the world.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Suites that were read.
    pub suites: BTreeMap<SuiteKey, SuiteFacts>,
    /// Programs that are no packages, as they were found.
    pub upstream: BTreeMap<UpstreamPart, UpstreamFacts>,
    /// Files from web servers, as they were found, by their URL and the sha256 that they must have.
    pub downloads: BTreeMap<(Url, Sha256), DownloadFacts>,
    /// The lock, if there is one.
    pub lock: Option<Lock>,
    /// How far it may move.
    pub movement: Movement,
}

impl Facts {
    /// Whether a need is answered.
    pub fn answers(&self, need: &Need) -> bool {
        let need = match need {
            Need::Suite(need) => need,
            Need::Download(need) => {
                let key = (need.url.value.clone(), need.sha256.clone());
                return self.downloads.contains_key(&key);
            }
            Need::Upstream(need) => {
                return self
                    .upstream
                    .get(&need.part)
                    .is_some_and(|known| known.locked.from == need.from);
            }
        };
        self.suites.get(&need.key).is_some_and(|facts| {
            need.components
                .iter()
                .chain(&need.helpful)
                .all(|component| facts.components.contains_key(component))
        })
    }
}
