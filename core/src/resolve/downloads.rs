//! Files from web servers, pinned: the flavor says their checksums, and what a frontend fetched must have them.

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::model::{Download, FileBody, Flavor, Sha256, Url};
use crate::source::{Span, Spanned};

use super::facts::Facts;

/// A file from a web server, pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedDownload {
    /// Where it is.
    pub url: Url,
    /// Its sha256.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// What has to be known about a file on a web server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DownloadNeed {
    /// Where it is, and the place that says it.
    pub url: Spanned<Url>,
    /// The sha256 that it must have.
    pub sha256: Sha256,
}

/// What was found there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadFacts {
    /// Its sha256, which may be another than the one that is wanted.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{url}` has another checksum: its sha256 is {found}, and the flavor says {wanted}")]
#[diagnostic(
    code("kcompose::download::checksum"),
    help(
        "compare both with what its project publishes; if the file may be the new one, write sha256=\"{found}\""
    )
)]
struct OtherChecksum {
    url: Url,
    wanted: Sha256,
    found: Sha256,
    #[label("fetched from here")]
    url_span: Span,
    #[label(primary, "not its checksum")]
    span: Span,
}

/// What a flavor downloads, with its checksum.
fn wanted(flavor: &Flavor) -> impl Iterator<Item = (&Download, &Spanned<Sha256>)> {
    flavor.files.iter().filter_map(|file| match &file.value.body {
        FileBody::Download(download) => Some((download, download.sha256.as_ref()?)),
        FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) | FileBody::Copy(_) => None,
    })
}

/// Each download as a line of what is asked for, with its place.
pub(super) fn lines(flavor: &Flavor) -> impl Iterator<Item = (String, Span)> {
    wanted(flavor).map(|(download, sha256)| {
        let line = format!("download {} {}", download.url.value, sha256.value);
        (line, download.url.span)
    })
}

/// What is to be pinned: locked ones that are still asked for, else what is known; `Err` with what has to be known first.
pub(super) fn pin(flavor: &Flavor, facts: &Facts) -> Result<Vec<LockedDownload>, Vec<DownloadNeed>> {
    let (mut pinned, mut needs) = (Vec::new(), Vec::new());
    for (download, sha256) in wanted(flavor) {
        match pin_one(&download.url.value, &sha256.value, facts) {
            Some(locked) => pinned.push(locked),
            None => needs.push(DownloadNeed {
                url: download.url.clone(),
                sha256: sha256.value.clone(),
            }),
        }
    }
    pinned.sort();
    pinned.dedup();
    if needs.is_empty() { Ok(pinned) } else { Err(needs) }
}

fn pin_one(url: &Url, sha256: &Sha256, facts: &Facts) -> Option<LockedDownload> {
    let locked = facts.lock.iter().flat_map(|lock| &lock.resolved.downloads);
    let locked = locked
        .into_iter()
        .find(|locked| locked.url == *url && locked.sha256 == *sha256);
    let known = facts.downloads.get(&(url.clone(), sha256.clone()));
    locked.cloned().or_else(|| {
        Some(LockedDownload {
            url: url.clone(),
            sha256: sha256.clone(),
            size: known?.size,
        })
    })
}

/// Whether what was fetched is what the flavor says.
pub(super) fn judge(flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
    for (download, sha256) in wanted(flavor) {
        let key = (download.url.value.clone(), sha256.value.clone());
        let found = facts.downloads.get(&key).map(|known| &known.sha256);
        if let Some(found) = found.filter(|found| **found != sha256.value) {
            sink.push(OtherChecksum {
                url: download.url.value.clone(),
                wanted: sha256.value.clone(),
                found: found.clone(),
                url_span: download.url.span,
                span: sha256.span,
            });
        }
    }
}
