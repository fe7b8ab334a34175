//! Answers to what resolving needs to know, from mirrors or from the store.
//!
//! [`Fetcher::answer`] reads signed indexes, [`Fetcher::archives`] fetches the packages of a lock; both in parallel, a
//! few requests a host at a time, and everything by checksum. What a mirror serves is believed only as far as a
//! signature or a checksum reaches.

mod apt;
mod archives;
mod download;
mod downloads;
mod error;
mod http;
mod logins;
mod mirrors;
mod origin;
mod suites;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use kcompose_core::model::{Architecture, Flavor};
use kcompose_core::resolve::lock::{Evidence, Lock};
use kcompose_core::resolve::{Facts, LockedUpstream, Need, SuiteKey, suite_needs};

use crate::store::Store;

pub use archives::{Contents, Fetched};
pub(crate) use download::Download;
pub use error::{FetchError, KnownLogin};
pub use logins::{Access, Logins};
pub use mirrors::Mirrors;
pub use origin::Origin;
pub use suites::Suites;

use http::Http;

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It may.
    Online,
    /// Only what the store has is there.
    Offline,
}

/// How far fetching is: bytes of how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being fetched.
    pub what: Fetching,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that there will be, as far as is known by now.
    pub total: u64,
}

/// What is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching {
    /// Release files and indexes.
    Indexes,
    /// Package archives.
    Packages,
    /// Files that the flavor downloads.
    Downloads,
}

/// Who hears about the progress; called from several tasks.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// How to fetch.
#[derive(Clone)]
pub struct Options {
    /// Where things are kept.
    pub store: Store,
    /// Whether the network may be used.
    pub network: Network,
    /// Where distros are fetched from.
    pub mirrors: Mirrors,
    /// Who we are to which server.
    pub logins: Logins,
    /// Now, in seconds since 1970: what expiry is judged by.
    pub now: i64,
    /// Who hears about the progress.
    pub progress: OnProgress,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            store,
            network,
            mirrors,
            logins,
            now,
            progress: _,
        } = self;
        let mut out = f.debug_struct("Options");
        out.field("store", store)
            .field("network", network)
            .field("mirrors", mirrors)
            .field("logins", logins)
            .field("now", now);
        out.finish_non_exhaustive()
    }
}

/// Fetches what resolving and building need, and keeps what it learnt.
#[derive(Debug)]
pub struct Fetcher {
    options: Options,
    http: Http,
    /// What is known by now; put the lock in before the first [`Fetcher::answer`].
    pub facts: Facts,
    /// The folder where relative paths of the flavor begin.
    pub folder: PathBuf,
}

impl Fetcher {
    /// A fetcher that knows nothing yet.
    pub fn new(options: Options) -> Self {
        Fetcher {
            http: Http::new(options.logins.clone()),
            options,
            facts: Facts::default(),
            folder: PathBuf::from("."),
        }
    }

    /// The signed indexes that prove the packages of a lock, by suite: from the store where it has those that the lock was
    /// made from, else from the mirrors.
    pub async fn evidence(
        &self,
        flavor: &Flavor,
        lock: &Lock,
    ) -> Result<BTreeMap<SuiteKey, Evidence>, FetchError> {
        let suites = &Suites {
            origin: &origin::Web::new(&self.options, &self.http),
            mirrors: &self.options.mirrors,
            now: self.options.now,
        };
        let needs = suite_needs(flavor);
        let found = needs.iter().map(|need| async move {
            let mut indexes = lock.resolved.indexes.iter();
            let index =
                indexes.find(|index| index.source == need.key.source && index.suite == need.key.suite);
            let locked = index.map(|index| index.inrelease_sha256.as_str());
            let evidence = suites.evidence(need, locked).await?;
            Ok((need.key.clone(), evidence))
        });
        Ok(suites::all(found).await?.into_iter().collect())
    }

    /// Answers all needs, in parallel, into [`Fetcher::facts`].
    pub async fn answer(&mut self, needs: &BTreeSet<Need>) -> Result<(), FetchError> {
        let suites = Suites {
            origin: &origin::Web::new(&self.options, &self.http),
            mirrors: &self.options.mirrors,
            now: self.options.now,
        };
        suites.answer(needs, &mut self.facts).await?;
        for need in needs {
            match need {
                Need::Suite(_) => {}
                Need::Upstream(need) => {
                    let found = self.programs().find(need).await?;
                    self.facts.upstream.insert(need.part, found);
                }
                Need::Download(need) => {
                    let found = self.download_facts(need).await?;
                    let key = (need.url.value.clone(), need.sha256.clone());
                    self.facts.downloads.insert(key, found);
                }
            }
        }
        Ok(())
    }

    /// The file of a locked program in the store, named by its sha256.
    pub async fn upstream(
        &self,
        locked: &LockedUpstream,
        architecture: Architecture,
    ) -> Result<PathBuf, FetchError> {
        self.programs().file(locked, architecture).await
    }

    fn programs(&self) -> upstream::Programs<'_> {
        upstream::Programs {
            options: &self.options,
            http: &self.http,
            folder: &self.folder,
        }
    }
}
