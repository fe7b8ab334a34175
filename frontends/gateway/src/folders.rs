//! The folders of a build, as operations that the daemon reads them by.

use std::collections::BTreeMap;

use kcompose_compile::BadFlag;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::{Folder, Folders, Image, Made};

use crate::asked::Asked;
use crate::bridge::{Bridge, Solving};
use crate::failure::Failure;
use crate::place::Place;
use crate::reading;

/// Where everything is that a build reads.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The flavor and what it uses.
    pub(crate) documents: Folder,
    /// What the flavor copies.
    pub(crate) folders: Folders,
    /// Patterns of what is left out of the build context.
    pub(crate) ignored: Vec<String>,
}

/// Finds the folders that a client speaks of.
pub(crate) async fn find(bridge: &mut Bridge, asked: &Asked) -> Result<Found, Failure> {
    let mut inputs = bridge.inputs().await?;
    let documents = match &asked.documents {
        Place::Local(name) if inputs.contains_key(name) => Place::Input(name.clone()),
        place => place.clone(),
    };
    let context = match &asked.context {
        Place::Local(name) if inputs.contains_key(name) => Place::Input(name.clone()),
        place => place.clone(),
    };
    let mut folders = Folders::of(folder(bridge, asked, &context, &mut inputs).await?);
    for (name, place) in &asked.named {
        let folder = folder(bridge, asked, place, &mut inputs).await?;
        folders.replaced.insert(name.clone(), folder);
    }
    let documents = if documents == context {
        folders.context.clone()
    } else {
        folder(bridge, asked, &documents, &mut inputs).await?
    };
    Ok(Found {
        documents,
        folders,
        ignored: Vec::new(),
    })
}

async fn folder(
    bridge: &mut Bridge,
    asked: &Asked,
    place: &Place,
    inputs: &mut BTreeMap<String, pb::Definition>,
) -> Result<Folder, Failure> {
    match place {
        Place::Local(name) => Ok(Folder::local(name, asked.owner(name).clone())),
        Place::Git { commit, below } => Ok(Folder::Git {
            commit: commit.clone(),
            below: below.clone(),
        }),
        Place::Web { url, below } => {
            must_be_archive(bridge, url).await?;
            Ok(Folder::Archive {
                url: url.clone(),
                below: below.clone(),
            })
        }
        Place::Image(reference) => Ok(Folder::Image(Image {
            reference: reference.clone(),
        })),
        Place::Input(name) => {
            let definition = inputs.get(name).cloned().ok_or_else(|| {
                Failure::of(BadFlag::new(
                    format!("the client says that `{name}` is made by another build, and sends none"),
                    "use a newer client",
                ))
            })?;
            let made = Made::new(definition).map_err(|error| {
                Failure::of(BadFlag::new(
                    format!("what makes `{name}` cannot be used: {error}"),
                    "name a folder instead",
                ))
            })?;
            Ok(Folder::Made(made))
        }
    }
}

/// A single file is no build context: the lock of a flavor lies beside it.
async fn must_be_archive(bridge: &mut Bridge, url: &str) -> Result<(), Failure> {
    let (definition, file) = reading::web(url, None);
    let tree = bridge.solve(&definition, &[], Solving::Later).await?;
    let head = bridge.read_part(&tree, file, 0, 512).await?.unwrap_or_default();
    if is_archive(&head) {
        return Ok(());
    }
    Err(Failure::of(BadFlag::new(
        format!("the build context `{url}` is no archive"),
        "name a tar archive or a Git repository that holds the flavor with its lock",
    )))
}

/// Archives as the daemon unpacks them: tar, as it is or compressed by gzip, bzip2, xz or zstd.
fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_first_bytes() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(is_archive(&tar) && is_archive(b"\x1f\x8b\x08\0"));
        assert!(!is_archive(b"flavor \"x\"\n") && !is_archive(b""));
    }
}
