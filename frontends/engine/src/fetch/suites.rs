//! Suites: a verified release file, and compact indexes of the components that are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io::Read;
use std::sync::Arc;

use kcompose_core::model::{Url, is_flat};
use kcompose_core::packages::deb::index::{self, PackageIndex};
use kcompose_core::packages::deb::release::{Expected, IndexFile, ListedIndex, Release, ReleaseError};
use kcompose_core::packages::deb::signature::Keyring;
use kcompose_core::packages::decompress::{Compression, Decoder};
use kcompose_core::packages::{hex, sha256};
use kcompose_core::resolve::lock::Evidence;
use kcompose_core::resolve::{Facts, Need, SuiteFacts, SuiteKey, SuiteNeed};
use tokio_stream::StreamExt;

use crate::store::Shelf;

use super::Network;
use super::error::FetchError;
use super::mirrors::Mirrors;
use super::origin::Origin;

/// No release file of any distro is nearly as large.
const RELEASE_LIMIT: u64 = 32 << 20;
/// An index that unpacks to more than this is an attack.
const INDEX_LIMIT: u64 = 1 << 30;

/// Runs all at once, and stops at the first failure.
pub(super) async fn all<T, F>(tasks: impl Iterator<Item = F>) -> Result<Vec<T>, FetchError>
where
    F: Future<Output = Result<T, FetchError>>,
{
    let mut running: futures_util::stream::FuturesUnordered<F> = tasks.collect();
    let mut done = Vec::new();
    while let Some(outcome) = running.next().await {
        done.push(outcome?);
    }
    Ok(done)
}

/// A release file that nobody has verified yet.
struct ReleaseFile {
    text: Vec<u8>,
    /// Its signatures, where they are a file of their own.
    signatures: Option<Vec<u8>>,
}

impl ReleaseFile {
    fn name(&self) -> &'static str {
        match self.signatures {
            Some(_) => "Release",
            None => "InRelease",
        }
    }

    fn read(&self, expected: &Expected<'_>) -> Result<Release, ReleaseError> {
        match &self.signatures {
            Some(signatures) => Release::read_detached(&self.text, signatures, expected),
            None => Release::read(&self.text, expected),
        }
    }
}

/// What suites are read with.
#[derive(Debug)]
pub struct Suites<'a, O> {
    /// Where their files come from.
    pub origin: &'a O,
    /// Where distros are fetched from.
    pub mirrors: &'a Mirrors,
    /// Now, in seconds since 1970: what expiry is judged by.
    pub now: i64,
}

impl<O: Origin> Suites<'_, O> {
    /// Answers all needs that are suites, at the same time.
    pub async fn answer(&self, needs: &BTreeSet<Need>, facts: &mut Facts) -> Result<(), FetchError> {
        let suites = needs.iter().filter_map(|need| match need {
            Need::Suite(need) => Some(need),
            Need::Upstream(_) | Need::Download(_) => None,
        });
        for (key, found) in all(suites.map(|need| self.suite(need))).await? {
            facts
                .suites
                .entry(key)
                .and_modify(|known| known.components.extend(found.components.clone()))
                .or_insert(found);
        }
        Ok(())
    }

    /// The answer to one need; what fails says of which package source.
    async fn suite(&self, need: &SuiteNeed) -> Result<(SuiteKey, SuiteFacts), FetchError> {
        let found = self.facts(need).await;
        found.map_err(|error| self.mirrors.explain(error, &need.location))
    }

    /// The signed indexes of a suite, to prove a lock that names a release file by its sha256: those of that release file
    /// where they are remembered, else the present ones.
    pub async fn evidence(&self, need: &SuiteNeed, locked: Option<&str>) -> Result<Evidence, FetchError> {
        let found = match locked {
            Some(locked) => self.remembered(need, locked).await?,
            None => None,
        };
        if let Some(facts) = found {
            return Ok(Evidence {
                locked: Some(facts),
                current: None,
            });
        }
        match self.suite(need).await {
            Ok((_, facts)) => Ok(Evidence {
                locked: None,
                current: Some(facts),
            }),
            Err(error) if matches!(error.cause(), FetchError::Offline { .. }) => Ok(Evidence::default()),
            Err(error) => Err(error),
        }
    }

    /// The indexes of a release file that was verified before; `None` where it or one of them is gone.
    async fn remembered(&self, need: &SuiteNeed, locked: &str) -> Result<Option<SuiteFacts>, FetchError> {
        let text = self
            .origin
            .item(Shelf::Releases, &Self::verified_key(need, locked))?;
        let known: Option<Release> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let known = match known {
            Some(release) => Some(release),
            None => self.cached_release(need)?,
        };
        let Some(release) = known.filter(|release| release.sha256 == locked) else {
            return Ok(None);
        };
        let base = self.bases(need)?.remove(0);
        let names = need.components.iter();
        let components = all(names.map(|name| self.component(need, &base, &release, name, true))).await;
        // A mirror that moved on may have them no more.
        Ok(components.ok().map(|components| SuiteFacts {
            release,
            components: components.into_iter().collect(),
        }))
    }

    async fn facts(&self, need: &SuiteNeed) -> Result<(SuiteKey, SuiteFacts), FetchError> {
        let keys = Keyring::from_armoured(need.keys.iter().map(String::as_str));
        let keys = keys.map_err(|error| FetchError::Keys {
            repository: need.key.source.clone(),
            error,
        })?;
        let (base, release) = self.release(need, &keys).await?;
        let required = need
            .components
            .iter()
            .map(|name| self.component(need, &base, &release, name, true));
        let helpful = need
            .helpful
            .iter()
            .map(|name| self.component(need, &base, &release, name, false));
        let mut components: BTreeMap<_, _> = all(required).await?.into_iter().collect();
        components.extend(all(helpful).await?);
        Ok((need.key.clone(), SuiteFacts { release, components }))
    }

    /// The release file and the URL of the suite that it came from.
    async fn release(&self, need: &SuiteNeed, keys: &Keyring) -> Result<(Url, Release), FetchError> {
        let cached = self.cached_release(need)?;
        if self.origin.network() == Network::Offline {
            let missing = || FetchError::Offline {
                what: format!("the index of suite `{}`", need.key.suite),
            };
            let release = cached.ok_or_else(missing)?;
            let url = self.bases(need)?.remove(0);
            // What the store has was fresh when it was fetched; without a network there is nothing newer.
            let judged = release.judge(&Expected {
                fresh: false,
                ..self.expected(need, keys, need.not_before)
            });
            judged.map_err(|error| FetchError::Release {
                url: url.join("InRelease"),
                error,
            })?;
            return Ok((url, release));
        }
        let (url, file) = self.fetch_release(need).await?;
        // A mirror must neither fall behind the lock nor behind what it served before.
        let seen = cached.as_ref().map(|known| known.date);
        let not_before = need
            .not_before
            .max(seen.filter(|_| need.location.snapshot.is_none()));
        let expected = self.expected(need, keys, not_before);
        let known = cached.filter(|known| known.sha256 == hex::encode(&sha256(&file.text)));
        let release = match known {
            Some(release) => release.judge(&expected).map(|()| release),
            None => file.read(&expected),
        };
        let release = release.map_err(|error| FetchError::Release {
            url: url.join(file.name()),
            error,
        })?;
        let text = serde_json::to_vec(&release).expect("a release has only text and numbers");
        self.origin
            .keep(Shelf::Releases, &self.release_key(need), &text)?;
        let verified = Self::verified_key(need, &release.sha256);
        self.origin.keep(Shelf::Releases, &verified, &text)?;
        Ok((url, release))
    }

    async fn fetch_release(&self, need: &SuiteNeed) -> Result<(Url, ReleaseFile), FetchError> {
        let mut missing = None;
        for suite in self.bases(need)? {
            match self.release_file(&suite).await {
                Ok(file) => return Ok((suite, file)),
                Err(error) if error.is_refusal() => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(missing.expect("there is always a mirror to ask"))
    }

    /// `InRelease`; where there is none, `Release` with its signatures beside it.
    async fn release_file(&self, suite: &Url) -> Result<ReleaseFile, FetchError> {
        let small = async |name: &str| self.origin.small(&suite.join(name), RELEASE_LIMIT).await;
        let missing = match small("InRelease").await {
            Ok(text) => {
                return Ok(ReleaseFile {
                    text,
                    signatures: None,
                });
            }
            Err(error) if error.is_absence() => error,
            Err(error) => return Err(error),
        };
        let text = match small("Release").await {
            Ok(text) => text,
            Err(error) if error.is_refusal() => return Err(missing),
            Err(error) => return Err(error),
        };
        match small("Release.gpg").await {
            Ok(signatures) => Ok(ReleaseFile {
                text,
                signatures: Some(signatures),
            }),
            Err(error) if error.is_absence() => Err(FetchError::Unsigned {
                url: suite.join("Release"),
            }),
            Err(error) => Err(error),
        }
    }

    fn expected<'b>(&self, need: &'b SuiteNeed, keys: &'b Keyring, not_before: Option<i64>) -> Expected<'b> {
        Expected {
            suite: &need.key.suite,
            // Suites of one distro are signed by the same keys, so each must say which it is. Others name theirs freely.
            named: need.location.distro.is_some() && !is_flat(&need.key.suite),
            keys,
            now: self.now,
            fresh: !need.location.allow_expired,
            not_before,
        }
    }

    fn cached_release(&self, need: &SuiteNeed) -> Result<Option<Release>, FetchError> {
        let text = self.origin.item(Shelf::Releases, &self.release_key(need))?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    /// What a cached release file is of: the place, the suite, and the keys that were trusted.
    fn release_key(&self, need: &SuiteNeed) -> String {
        let location = &need.location;
        // Mirrors of a distro hold the same suites.
        let place = match (&location.distro, &location.url) {
            (Some(distro), _) => format!("{distro} {}", location.security),
            (None, url) => url.as_ref().map(Url::to_string).unwrap_or_default(),
        };
        let place = match &location.snapshot {
            Some(time) => format!("{place} {time}"),
            None => place,
        };
        let all = [&[place, need.key.suite.clone()][..], &need.keys[..]].concat();
        hex::encode(&sha256(all.join("\n").as_bytes()))
    }

    /// The name of a release file that was verified with the keys of a suite, by its sha256.
    fn verified_key(need: &SuiteNeed, release: &str) -> String {
        let all = [
            &["verified".to_owned(), need.key.suite.clone(), release.to_owned()][..],
            &need.keys[..],
        ];
        hex::encode(&sha256(all.concat().join("\n").as_bytes()))
    }

    /// The URLs that the suite may be found at, best first.
    fn bases(&self, need: &SuiteNeed) -> Result<Vec<Url>, FetchError> {
        let bases = self.mirrors.bases(&need.location);
        let below = need.key.folder();
        let bases: Vec<Url> = bases
            .into_iter()
            .map(|base| if below.is_empty() { base } else { base.join(&below) })
            .collect();
        if bases.is_empty() {
            return Err(FetchError::NoMirror {
                repository: need.key.source.clone(),
            });
        }
        Ok(bases)
    }

    /// The indexes of a component; none where the suite does not have it, or where it is only helpful and not at hand.
    async fn component(
        &self,
        need: &SuiteNeed,
        suite: &Url,
        release: &Release,
        name: &str,
        required: bool,
    ) -> Result<(String, Vec<PackageIndex>), FetchError> {
        let indexes = release.indexes(name, need.architecture.as_str());
        if required && name.is_empty() && indexes.is_empty() {
            return Err(FetchError::Index {
                url: suite.join("Packages"),
                reason: "the release file of this flat repository lists no `Packages`".to_owned(),
            });
        }
        match all(indexes.iter().map(|index| self.listed(suite, index))).await {
            Ok(indexes) => Ok((name.to_owned(), indexes)),
            Err(_) if !required => Ok((name.to_owned(), Vec::new())),
            Err(error) => Err(error),
        }
    }

    /// An index in the first of its forms that the server has: release files also list some that are not there.
    async fn listed(&self, suite: &Url, listed: &ListedIndex) -> Result<PackageIndex, FetchError> {
        let mut missing = None;
        for file in &listed.files {
            match self.index(suite, listed, file).await {
                Ok(index) => return Ok(index),
                Err(error) if error.is_refusal() => missing = missing.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        let Some(name) = listed.unreadable.first() else {
            return Err(missing.expect("an index that is listed has a file"));
        };
        Err(FetchError::UnreadableForm {
            url: suite.clone(),
            name: name.clone(),
        })
    }

    async fn index(
        &self,
        suite: &Url,
        listed: &ListedIndex,
        file: &IndexFile,
    ) -> Result<PackageIndex, FetchError> {
        let key = format!("{}-{}", hex::encode(&file.file.sha256), index::FORMAT);
        if let Some(bytes) = self.origin.item(Shelf::Indexes, &key)?
            && let Ok(index) = PackageIndex::open(Arc::new(bytes))
        {
            return Ok(index);
        }
        if self.origin.network() == Network::Offline {
            return Err(FetchError::Offline {
                what: format!("the index of component `{}`", listed.component),
            });
        }
        if file.file.size > INDEX_LIMIT {
            return Err(FetchError::TooLarge {
                url: suite.join(file.paths.last().map_or("", String::as_str)),
                limit: INDEX_LIMIT,
            });
        }
        let (url, bytes) = self.fetch_index(suite, file).await?;
        let compression = file.compression;
        let compact = tokio::task::spawn_blocking(move || compact(compression, &bytes));
        let compact = compact
            .await
            .expect("reading an index neither panics nor is cancelled");
        let compact = compact.map_err(|reason| FetchError::Index {
            url: url.clone(),
            reason,
        })?;
        self.origin.keep(Shelf::Indexes, &key, &compact)?;
        PackageIndex::open(Arc::new(compact)).map_err(|error| FetchError::index(&url, &error))
    }

    /// The file by its checksum, or by its name where the mirror has no such place.
    async fn fetch_index(&self, suite: &Url, file: &IndexFile) -> Result<(Url, Vec<u8>), FetchError> {
        let mut missing = None;
        for path in &file.paths {
            let url = suite.join(path);
            match self.origin.whole(&url, &file.file).await {
                Ok(bytes) => return Ok((url, bytes)),
                Err(error) if error.is_refusal() => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(missing.expect("an index has at least one path"))
    }
}

fn compact(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    Decoder::new(compression, bytes)
        .take(INDEX_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(|error| format!("it cannot be decompressed: {error}"))?;
    if text.len() as u64 > INDEX_LIMIT {
        return Err("it is larger than 1 GiB".to_owned());
    }
    index::compact(&text).map_err(|error| error.to_string())
}
