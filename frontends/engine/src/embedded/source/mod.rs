//! Sources: what comes into a build from outside of it.

mod http;
mod image;
mod local;

use std::path::PathBuf;
use std::sync::Arc;

use kcompose_core::llb::proto::pb;
use prost::Message;

use super::cachekey::Key;
use super::problem::Problem;
use super::run::{Work, blocking, facts};
use super::store::{Claim, Draft, TreeId};
use crate::bridge::Job;
use crate::digest;

/// Where a source comes from.
enum Origin<'a> {
    /// A file by its checksum.
    Http(http::File<'a>),
    /// An image by its digest.
    Image(&'a str, &'a str),
    /// A directory of this machine.
    Local(&'a str),
}

/// The key of a source: what it brings, and not where from.
pub(super) fn key(op: &pb::SourceOp, platform: Option<&pb::Platform>, job: &Job) -> Result<Key, Problem> {
    match origin(op)? {
        Origin::Http(file) => Ok(Key::of_source(
            "http",
            &[file.sha256, &file.name, &format!("{:o}", file.mode)],
        )),
        Origin::Image(_, digest) => {
            let platform = platform.map(Message::encode_to_vec).unwrap_or_default();
            Ok(Key::of_source("image", &[digest, &digest::sha256(&platform)]))
        }
        Origin::Local(name) => {
            let contents = local::contents(super::plan::local(job, name)?, &local::filter(op)?)?;
            Ok(Key::of_source("local", &[&contents]))
        }
    }
}

/// Brings a source as a tree.
pub(super) async fn fetch(work: &Arc<Work>, vertex: usize, op: &pb::SourceOp) -> Result<Claim, Problem> {
    match origin(op)? {
        Origin::Http(file) => http::fetch(work, vertex, &op.identifier, &file).await,
        Origin::Image(reference, _) => image::fetch(work, reference).await,
        Origin::Local(name) => {
            let folder = super::plan::local(&work.job, name)?.to_owned();
            let filter = local::filter(op)?;
            made(work, move |into| local::copy(&folder, &filter, into)).await
        }
    }
}

pub(super) use image::own_layers;

fn origin(op: &pb::SourceOp) -> Result<Origin<'_>, Problem> {
    let (scheme, rest) = op.identifier.split_once("://").unwrap_or(("", &op.identifier));
    match scheme {
        "http" | "https" => http::File::of(op).map(Origin::Http),
        "docker-image" => match rest.rsplit_once('@') {
            Some((_, digest)) if digest::hex(digest).is_some() => Ok(Origin::Image(rest, digest)),
            _ => Err(Problem::Unsupported(format!(
                "images without a digest, such as `{rest}`"
            ))),
        },
        "local" => Ok(Origin::Local(rest)),
        other => Err(Problem::Unsupported(format!("sources of the kind `{other}`"))),
    }
}

/// Makes a tree of what a function puts into a folder.
async fn made(
    work: &Arc<Work>,
    put: impl FnOnce(&std::path::Path) -> Result<(), Problem> + Send + 'static,
) -> Result<Claim, Problem> {
    let work = Arc::clone(work);
    blocking(move || {
        let root = work.build.trees().root().to_owned();
        let draft = work.build.draft().map_err(Problem::io("write", &root))?;
        let folder = new_tree(&draft)?;
        put(&folder.join("fs"))?;
        kept(&work, &folder)
    })
    .await
}

/// A folder with an empty `fs` in it.
fn new_tree(draft: &Draft) -> Result<PathBuf, Problem> {
    let folder = draft.folder("tree").map_err(Problem::io("write", draft.path()))?;
    let files = folder.join("fs");
    fs_err::create_dir(&files).map_err(Problem::io("write", &files))?;
    Ok(folder)
}

fn kept(work: &Work, folder: &std::path::Path) -> Result<Claim, Problem> {
    let id: TreeId = work
        .build
        .keep(folder, &facts(folder, &[])?)
        .map_err(Problem::io("write", work.build.trees().root()))?;
    Ok(Claim::from([(0, vec![id])]))
}
