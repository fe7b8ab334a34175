//! Where the archives of a lock are fetched from.

use std::collections::BTreeMap;

use kcompose_core::model::{Flavor, Url};
use kcompose_core::plan::Fetch;
use kcompose_core::resolve::Resolved;
use kcompose_engine::fetch::{FetchError, Mirrors};

/// The URLs of archives, by their sha256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(pub BTreeMap<String, Url>);

impl Urls {
    /// The URL of every archive of a flavor on its mirror, and of every download.
    pub fn new(mirrors: &Mirrors, flavor: &Flavor, resolved: &Resolved) -> Result<Urls, FetchError> {
        let mut urls = BTreeMap::new();
        for package in resolved.packages.values() {
            let found = mirrors.urls(flavor, package)?;
            urls.extend(found.into_iter().next().map(|url| (package.sha256.clone(), url)));
        }
        let downloads = resolved.downloads.iter();
        urls.extend(downloads.map(|download| (download.sha256.to_string(), download.url.clone())));
        Ok(Urls(urls))
    }

    /// The URL of an archive.
    pub fn of(&self, fetch: &Fetch) -> String {
        self.0.get(&fetch.sha256).map(Url::to_string).unwrap_or_default()
    }
}
