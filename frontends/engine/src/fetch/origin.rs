//! Where release files and indexes come from: the web, or whatever else a frontend has.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use kcompose_core::model::Url;
use kcompose_core::packages::deb::release::FileEntry;
use kcompose_core::packages::hex;

use super::error::FetchError;
use super::http::{Http, Wanted};
use super::{Fetching, Network, Options, Progress};
use crate::store::Shelf;

/// Where release files and indexes come from, and where what was read of them is remembered.
pub trait Origin {
    /// Whether there is a network; without one only what is remembered is there.
    fn network(&self) -> Network;

    /// The whole of a file of which no checksum is known.
    fn small(&self, url: &Url, limit: u64) -> impl Future<Output = Result<Vec<u8>, FetchError>>;

    /// The whole of a file by its checksum.
    fn whole(&self, url: &Url, file: &FileEntry) -> impl Future<Output = Result<Vec<u8>, FetchError>>;

    /// What is remembered under a name.
    fn item(&self, shelf: Shelf, name: &str) -> Result<Option<Vec<u8>>, FetchError>;

    /// Remembers something.
    fn keep(&self, shelf: Shelf, name: &str, bytes: &[u8]) -> Result<(), FetchError>;
}

/// The web, with the store to remember.
pub(super) struct Web<'a> {
    options: &'a Options,
    http: &'a Http,
    done: AtomicU64,
    total: AtomicU64,
}

impl<'a> Web<'a> {
    pub(super) fn new(options: &'a Options, http: &'a Http) -> Self {
        Web {
            options,
            http,
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }

    fn add(&self, done: u64, total: u64) {
        let done = self.done.fetch_add(done, Ordering::Relaxed) + done;
        let total = self.total.fetch_add(total, Ordering::Relaxed) + total;
        (self.options.progress)(Progress {
            what: Fetching::Indexes,
            done: done.min(total),
            total,
        });
    }
}

impl Origin for Web<'_> {
    fn network(&self) -> Network {
        self.options.network
    }

    async fn small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
        let bytes = self.http.small(url, limit).await?;
        self.add(bytes.len() as u64, bytes.len() as u64);
        Ok(bytes)
    }

    async fn whole(&self, url: &Url, file: &FileEntry) -> Result<Vec<u8>, FetchError> {
        let sha256 = hex::encode(&file.sha256);
        let wanted = Wanted {
            url,
            sha256: &sha256,
            size: Some(file.size),
        };
        self.add(0, file.size);
        let on_bytes = |count: i64| self.add(count.try_into().unwrap_or(0), 0);
        let mut draft = self.http.file(&wanted, &self.options.store, &on_bytes).await?;
        Ok(draft
            .contents()
            .map_err(|error| self.options.store.failure(error))?)
    }

    fn item(&self, shelf: Shelf, name: &str) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(self.options.store.item(shelf, name)?)
    }

    fn keep(&self, shelf: Shelf, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        Ok(self.options.store.keep_item(shelf, name, bytes)?)
    }
}
