//! Single files by checksum, for builds.

use std::sync::atomic::{AtomicI64, Ordering};

use kcompose_core::model::Url;

use super::error::FetchError;
use super::http::{Http, Wanted};
use crate::store::Store;

/// Fetches files into a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Download(Http);

impl Download {
    /// Fetches a file into a store as a blob; `progress` hears how many bytes there are.
    pub(crate) async fn keep(
        &self,
        url: &Url,
        sha256: &str,
        store: &Store,
        progress: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), FetchError> {
        let wanted = Wanted {
            url,
            sha256,
            size: None,
        };
        let done = AtomicI64::new(0);
        let on_bytes = |count: i64| {
            let done = done.fetch_add(count, Ordering::Relaxed) + count;
            progress(u64::try_from(done).unwrap_or(0));
        };
        let draft = self.0.file(&wanted, store, &on_bytes).await?;
        store.keep_blob(sha256, draft)?;
        Ok(())
    }
}
