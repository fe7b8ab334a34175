//! Files from web servers, by checksum.
//!
//! What is in kcompose's store already is linked into the tree, not copied; what is not is fetched into the store first.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::model::InvalidValue;

use super::made;
use crate::digest;
use crate::embedded::Reach;
use crate::embedded::problem::Problem;
use crate::embedded::run::Work;
use crate::embedded::store::Claim;
use crate::fetch::FetchError;
use crate::times::set_time;

/// A file of a web server as a result has it.
#[derive(Clone, Debug)]
pub(super) struct File<'a> {
    /// The hex of its sha256.
    pub(super) sha256: &'a str,
    pub(super) name: Cow<'a, str>,
    pub(super) mode: u32,
    owner: (u32, u32),
}

impl<'a> File<'a> {
    pub(super) fn of(op: &'a pb::SourceOp) -> Result<File<'a>, Problem> {
        let attribute = |name: &str| op.attrs.get(name).map(String::as_str);
        let known = [
            "http.checksum",
            "http.filename",
            "http.perm",
            "http.uid",
            "http.gid",
        ];
        if let Some(other) = op.attrs.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(Problem::Unsupported(format!(
                "files from web servers with `{other}`"
            )));
        }
        let sha256 = attribute("http.checksum").and_then(digest::hex);
        let sha256 = sha256
            .ok_or_else(|| Problem::Unsupported("files from web servers without a checksum".to_owned()))?;
        let number = |name: &str| attribute(name).map_or(Some(0), |text| text.parse().ok());
        let mode = attribute("http.perm").map_or(Some(0o600), |text| u32::from_str_radix(text, 8).ok());
        let (Some(mode), Some(uid), Some(gid)) = (mode, number("http.uid"), number("http.gid")) else {
            return Err(Problem::Failed("its mode or its owner is no number".to_owned()));
        };
        let name = match attribute("http.filename").filter(|name| !name.is_empty()) {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(name_of(&op.identifier)),
        };
        if name.contains('/') || name == "." || name == ".." {
            return Err(Problem::Failed(format!("`{name}` is not the name of a file")));
        }
        Ok(File {
            sha256,
            name,
            mode: mode & 0o7777,
            owner: (uid, gid),
        })
    }
}

/// The last part of a URL's path.
fn name_of(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path
        .rsplit('/')
        .next()
        .filter(|name| !name.is_empty() && path.matches('/').count() > 2);
    name.unwrap_or("download").to_owned()
}

pub(super) async fn fetch(
    work: &Arc<Work>,
    vertex: usize,
    url: &str,
    file: &File<'_>,
) -> Result<Claim, Problem> {
    if !is_here(work, file.sha256).await? {
        download(work, vertex, url, file.sha256).await?;
    }
    let blob = work.store.blob_path(file.sha256);
    let (name, mode, owner) = (file.name.clone().into_owned(), file.mode, file.owner);
    made(work, move |into| {
        let path = into.join(name);
        place(&blob, &path, mode, owner).map_err(Problem::io("write", &path))
    })
    .await
}

/// Whether the store has a file, whole; a damaged one is taken out.
async fn is_here(work: &Arc<Work>, sha256: &str) -> Result<bool, Problem> {
    let path = work.store.blob_path(sha256);
    let wanted = format!("sha256:{sha256}");
    crate::embedded::run::blocking(move || {
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(Problem::io("read", &path))?,
        };
        let found = digest::sha256_of(io::BufReader::with_capacity(1 << 18, file));
        if found.map_err(Problem::io("read", &path))? == wanted {
            return Ok(true);
        }
        fs::remove_file(&path).map_err(Problem::io("delete", &path))?;
        Ok(false)
    })
    .await
}

async fn download(work: &Arc<Work>, vertex: usize, url: &str, sha256: &str) -> Result<(), Problem> {
    if work.reach == Reach::Offline {
        return Err(Problem::Source {
            reason: format!("{url} is not in the store, and nothing is fetched with `--offline`"),
            help: "build it once without `--offline`".to_owned(),
        });
    }
    let from = url
        .parse()
        .map_err(|error: InvalidValue| Problem::Failed(error.fact))?;
    let progress = |bytes| work.monitor.transfer(vertex, url, bytes, false);
    tokio::select! {
        kept = work.download.keep(&from, sha256, &work.store, &progress) => kept.map_err(|error| failed(&error))?,
        () = work.cancel.cancelled() => return Err(Problem::Cancelled),
    }
    let size = fs::metadata(work.store.blob_path(sha256)).map_or(0, |metadata| metadata.len());
    work.monitor.transfer(vertex, url, size, true);
    Ok(())
}

fn failed(error: &FetchError) -> Problem {
    let help = "see that the server is reached and has the file that the lock names: `kcompose update` moves the lock";
    let help = miette::Diagnostic::help(error).map_or_else(|| help.to_owned(), |help| help.to_string());
    Problem::Source {
        reason: error.to_string(),
        help,
    }
}

/// Puts a blob into a tree: a link, if nothing about the file has to differ.
fn place(blob: &Path, path: &Path, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    let metadata = fs::symlink_metadata(blob)?;
    let plain = mode == 0o644 && owner == (metadata.uid(), metadata.gid());
    let linked = plain && fs::hard_link(blob, path).is_ok();
    if !linked {
        fs::copy(blob, path)?;
        std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1))?;
    }
    if !linked || metadata.mode() & 0o7777 != mode {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    // All builds see the same time.
    set_time(path, (0, 0))
}
