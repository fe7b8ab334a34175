//! Files that a flavor downloads: by checksum into the store, as packages are.

use std::sync::atomic::{AtomicU64, Ordering};

use kcompose_core::model::Flavor;
use kcompose_core::resolve::{DownloadFacts, DownloadNeed, Resolved};
use kcompose_core::source::Span;

use super::error::{FetchError, SourceFailure};
use super::http::{LARGEST, Wanted};
use super::suites::all;
use super::{Fetcher, Fetching, Network, Progress};

impl Fetcher {
    /// Finds out the size of a file, and whether it has its checksum; one that has is in the store then.
    pub(super) async fn download_facts(&self, need: &DownloadNeed) -> Result<DownloadFacts, FetchError> {
        let wanted = Wanted {
            url: &need.url.value,
            sha256: need.sha256.as_str(),
            size: None,
        };
        let (sha256, size) = match self.download(&wanted, &|_| {}).await {
            Ok(size) => (need.sha256.clone(), size),
            Err(FetchError::DownloadMoved { found, .. }) => {
                (found.parse().expect("what was computed is a sha256"), 0)
            }
            Err(error) => return Err(explain(error, need.url.span)),
        };
        Ok(DownloadFacts { sha256, size })
    }

    /// Fetches every download of a lock that the store lacks; each is checked before it is kept.
    pub async fn downloads(&self, flavor: &Flavor, resolved: &Resolved) -> Result<(), FetchError> {
        let missing = || {
            let all = resolved.downloads.iter();
            all.filter(|locked| !self.options.store.has_blob(locked.sha256.as_str()))
        };
        let total = missing().map(|locked| locked.size).sum();
        let done = AtomicU64::new(0);
        let on_bytes = |count: i64| {
            let before = done.fetch_add(count as u64, Ordering::Relaxed);
            (self.options.progress)(Progress {
                what: Fetching::Downloads,
                done: before.wrapping_add(count as u64),
                total,
            });
        };
        let on_bytes = &on_bytes;
        let fetches = missing().map(|locked| async move {
            let wanted = Wanted {
                url: &locked.url,
                sha256: locked.sha256.as_str(),
                size: Some(locked.size),
            };
            let fetched = self.download(&wanted, on_bytes).await;
            fetched.map_err(|error| explain(error, flavor.download_at(&locked.url)))
        });
        all(fetches).await.map(drop)
    }

    /// The size of a download in the store, into which it is fetched if it is not there.
    async fn download(
        &self,
        wanted: &Wanted<'_>,
        on_bytes: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<u64, FetchError> {
        let store = &self.options.store;
        let unusable = |error| FetchError::Store(store.failure(error));
        if store.has_blob(wanted.sha256) {
            let found = std::fs::metadata(store.blob_path(wanted.sha256));
            return Ok(found.map_err(unusable)?.len());
        }
        if self.options.network == Network::Offline {
            return Err(FetchError::Offline {
                what: format!("`{}`", wanted.url),
            });
        }
        let mut draft = self.http.file(wanted, store, on_bytes).await.map_err(moved)?;
        let length = draft.file().metadata().map_err(unusable)?.len();
        store.keep_blob(wanted.sha256, draft)?;
        Ok(length)
    }
}

/// A checksum that no index says.
fn moved(error: FetchError) -> FetchError {
    match error {
        FetchError::Checksum { url, wanted, found } => FetchError::DownloadMoved { url, wanted, found },
        other => other,
    }
}

/// The help for an error whose own speaks of mirrors and indexes.
fn advice(error: &FetchError) -> Option<&'static str> {
    match error {
        FetchError::TooLarge { limit, .. } if *limit == LARGEST => {
            Some("name a smaller file: no download may be larger")
        }
        FetchError::TooLarge { .. } => Some(
            "the file behind the URL changed: name a URL with a version, or write the sha256 of the new file if it may be trusted",
        ),
        FetchError::TooSlow { .. } => {
            Some("try again later, or name another server that has the same file: `sha256=` stays")
        }
        _ => None,
    }
}

/// An error with the place that asks for the download.
fn explain(error: FetchError, span: Span) -> FetchError {
    FetchError::Source(SourceFailure {
        advice: advice(&error).map(str::to_owned),
        error: Box::new(error),
        span: Some(span).filter(|span| span.is_some()),
        label: "this download",
    })
}
