//! Package archives: every one of a lock into the store.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use kcompose_core::model::{Flavor, PackageName, Url};
use kcompose_core::packages::deb::facts::{FactsError, PackageFacts};
use kcompose_core::resolve::{LockedPackage, Resolved};
use kcompose_scratch::Draft;

use crate::store::{Shelf, Store};

use super::error::FetchError;
use super::http::Wanted;
use super::suites::all;
use super::{Access, Fetcher, Fetching, Mirrors, Network, Progress};

/// How many threads read facts.
const READERS: usize = 4;

/// What the packages of a lock hold, as far as that is known.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Facts of packages, by name.
    pub packages: BTreeMap<PackageName, PackageFacts>,
    /// Packages that were never fetched, so that nothing is known about them.
    pub unknown: Vec<PackageName>,
}

/// What fetching the archives of a lock came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Archives that were fetched now.
    pub archives: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Fetcher {
    /// Fetches every archive of a lock that the store lacks; each is checked before it is kept.
    pub async fn archives(&self, flavor: &Flavor, resolved: &Resolved) -> Result<Fetched, FetchError> {
        let store = &self.options.store;
        let missing: Vec<&LockedPackage> = resolved
            .packages
            .values()
            .filter(|package| !store.has_blob(&package.sha256))
            .collect();
        let bytes = missing.iter().map(|package| package.size).sum();
        if let Some(package) = missing
            .first()
            .filter(|_| self.options.network == Network::Offline)
        {
            let more = missing.len() - 1;
            let others = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more)")
            };
            return Err(FetchError::Offline {
                what: format!("package `{}`{others}", package.name),
            });
        }
        let done = AtomicU64::new(0);
        let on_bytes = |count: i64| {
            let before = done.fetch_add(count as u64, Ordering::Relaxed);
            let progress = Progress {
                what: Fetching::Packages,
                done: before.wrapping_add(count as u64),
                total: bytes,
            };
            (self.options.progress)(progress);
        };
        let outcomes = all(missing
            .iter()
            .map(|package| self.archive(flavor, package, &on_bytes)))
        .await?;
        let gone: Vec<_> = outcomes.into_iter().flatten().collect();
        if gone.is_empty() {
            return Ok(Fetched {
                archives: missing.len(),
                bytes,
            });
        }
        let mut packages = gone;
        packages.sort();
        Err(FetchError::Gone { packages })
    }

    /// What the packages of a lock hold; reads only the store.
    pub fn contents(&self, resolved: &Resolved) -> Result<Contents, FetchError> {
        let packages: Vec<&LockedPackage> = resolved.packages.values().collect();
        let store = &self.options.store;
        // `check` is to be instant, and half of it is opening these few hundred files.
        let per_thread = packages.len().div_ceil(READERS).max(1);
        let found = std::thread::scope(|scope| {
            let readers: Vec<_> = packages
                .chunks(per_thread)
                .map(|part| {
                    scope.spawn(move || {
                        part.iter()
                            .map(|package| facts(store, package))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let joined = readers
                .into_iter()
                .map(|reader| reader.join().expect("reading facts does not panic"));
            joined.flatten().collect::<Vec<_>>()
        });
        let mut contents = Contents::default();
        for (package, facts) in packages.into_iter().zip(found) {
            match facts? {
                Some(facts) => drop(contents.packages.insert(package.name.clone(), facts)),
                None => contents.unknown.push(package.name.clone()),
            }
        }
        Ok(contents)
    }

    /// Fetches one archive; returns what the mirror no longer has.
    async fn archive(
        &self,
        flavor: &Flavor,
        package: &LockedPackage,
        on_bytes: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<Option<(String, String, Url)>, FetchError> {
        let location = self.options.mirrors.location(flavor, package)?;
        let mut asked = None;
        for base in self.options.mirrors.bases(&location) {
            let url = base.join(&package.path);
            let wanted = Wanted {
                url: &url,
                sha256: &package.sha256,
                size: Some(package.size),
            };
            match self.http.file(&wanted, &self.options.store, on_bytes).await {
                Ok(draft) => {
                    let (store, package) = (self.options.store.clone(), package.clone());
                    let kept = tokio::task::spawn_blocking(move || keep(&store, &package, draft));
                    kept.await
                        .expect("looking into an archive neither panics nor is cancelled")?;
                    return Ok(None);
                }
                Err(FetchError::Refused { status, .. })
                    if status.starts_with("404") || status.starts_with("410") =>
                {
                    asked = asked.or(Some(url));
                }
                Err(error) => return Err(self.options.mirrors.explain(error, &location)),
            }
        }
        Ok(asked.map(|url| (package.name.to_string(), package.version.clone(), url)))
    }

    /// The first of some URLs that is fetched with a login.
    pub fn needs_login<'a>(&self, urls: impl IntoIterator<Item = &'a Url>) -> Option<&'a Url> {
        let mut urls = urls.into_iter();
        urls.find(|url| matches!(self.options.logins.access(url), Access::Login(_)))
    }

    /// The mirrors that it fetches from.
    pub fn mirrors(&self) -> &Mirrors {
        &self.options.mirrors
    }
}

/// Looks into an archive that was fetched and checked, and puts it and what was found into the store.
fn keep(store: &Store, package: &LockedPackage, mut draft: Draft) -> Result<(), FetchError> {
    let bytes = draft.contents().map_err(|error| store.failure(error))?;
    let facts = look_into(package, &bytes)?;
    store.keep_item(Shelf::Facts, &package.sha256, &facts.to_bytes())?;
    store.keep_blob(&package.sha256, draft)?;
    Ok(())
}

/// Facts of a package that was fetched before: those that were kept, else found again.
fn facts(store: &Store, package: &LockedPackage) -> Result<Option<PackageFacts>, FetchError> {
    if let Some(bytes) = store.item(Shelf::Facts, &package.sha256)?
        && let Ok(facts) = PackageFacts::from_bytes(bytes)
    {
        return Ok(Some(facts));
    }
    let Some(bytes) = store.blob(&package.sha256)? else {
        return Ok(None);
    };
    let facts = look_into(package, &bytes)?;
    store.keep_item(Shelf::Facts, &package.sha256, &facts.to_bytes())?;
    Ok(Some(facts))
}

fn look_into(package: &LockedPackage, bytes: &[u8]) -> Result<PackageFacts, FetchError> {
    PackageFacts::of(bytes).map_err(|error| match error {
        FactsError::Limit(exceeded) => FetchError::PackageLimit {
            package: package.name.to_string(),
            exceeded,
        },
        error => FetchError::Archive {
            package: package.name.to_string(),
            reason: error.to_string(),
        },
    })
}
