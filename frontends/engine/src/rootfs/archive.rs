//! The files of an image by name: in a folder, or in a tar that is read in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kcompose_core::archive::Archive;

use super::budget::Budget;
use super::layer::{decoder, is_compressed};

/// Files that make up an image.
#[derive(Debug)]
pub(super) enum Files {
    /// Below a folder.
    Folder(PathBuf),
    /// In an archive.
    Archive {
        /// The archive, unpacked if it was compressed.
        file: File,
        /// Each name: where its content is.
        members: BTreeMap<String, Member>,
    },
}

/// A member of an archive.
#[derive(Clone, Debug)]
pub(super) enum Member {
    /// Content at an offset, of a size.
    Piece(u64, u64),
    /// The same as another name; `docker save` writes a layer only once.
    Link(String),
}

/// Where a file is, opened.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) file: File,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Files {
    /// The members of an archive, which may be compressed as a whole.
    pub(super) fn archive(path: &Path, budget: &Budget) -> io::Result<Self> {
        let file = plain(File::open(path)?, budget)?;
        let mut members = BTreeMap::new();
        let mut archive = Archive::new(BufReader::new(&file), &budget.allowance);
        for entry in archive.members()? {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.path_bytes())
                .trim_start_matches("./")
                .to_owned();
            let kind = entry.header().entry_type();
            if kind.is_file() {
                members.insert(name, Member::Piece(entry.raw_file_position(), entry.size()));
            } else if let (true, Some(target)) =
                (kind.is_symlink() || kind.is_hard_link(), entry.link_name_bytes())
            {
                let target = link_target(&name, &String::from_utf8_lossy(&target), kind.is_symlink());
                members.insert(name, Member::Link(target));
            }
            // A root tree has tens of thousands of members; an image's own files come among the first few hundred.
            if members.len() > 4096 {
                break;
            }
        }
        drop(archive);
        Ok(Files::Archive { file, members })
    }

    /// Whether there is a file of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Files::Folder(folder) => folder.join(name).is_file(),
            Files::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// Where a file is.
    pub(super) fn place(&self, name: &str) -> io::Result<Place> {
        let missing = || io::Error::other(format!("`{name}` is missing"));
        match self {
            Files::Folder(folder) => {
                let path = folder.join(name);
                // A pipe in its place would never open.
                let size = path.metadata().map_err(|_| missing())?;
                let size = Some(size.len()).filter(|_| size.is_file()).ok_or_else(missing)?;
                let file = File::open(path).map_err(|_| missing())?;
                Ok(Place {
                    file,
                    offset: 0,
                    size,
                })
            }
            Files::Archive { file, members } => {
                let mut member = members.get(name).ok_or_else(missing)?;
                for _ in 0..8 {
                    match member {
                        Member::Piece(offset, size) => {
                            return Ok(Place {
                                file: file.try_clone()?,
                                offset: *offset,
                                size: *size,
                            });
                        }
                        Member::Link(target) => member = members.get(target).ok_or_else(missing)?,
                    }
                }
                Err(missing())
            }
        }
    }

    /// The whole content of a small file.
    pub(super) fn bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        let place = self.place(name)?;
        if place.size > 16 << 20 {
            return Err(io::Error::other(format!("`{name}` is too large")));
        }
        let mut bytes = vec![0; usize::try_from(place.size).unwrap_or(0)];
        place.file.read_exact_at(&mut bytes, place.offset)?;
        Ok(bytes)
    }
}

/// The file itself, or what it holds if it is compressed.
fn plain(file: File, budget: &Budget) -> io::Result<File> {
    let mut magic = [0; 6];
    let length = file.read_at(&mut magic, 0)?;
    if length < 6 || !is_compressed(&magic) {
        return Ok(file);
    }
    let mut unpacked = budget.file(file.metadata()?.len())?;
    io::copy(&mut decoder(&magic, file)?, &mut unpacked)?;
    let mut unpacked = unpacked.into_inner();
    io::Seek::rewind(&mut unpacked)?;
    Ok(unpacked)
}

/// The member that a link names: a symbolic one is relative to the link's directory.
fn link_target(name: &str, target: &str, symbolic: bool) -> String {
    let mut parts: Vec<&str> = match (symbolic, name.rsplit_once('/')) {
        (true, Some((directory, _))) => directory.split('/').collect(),
        _ => Vec::new(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_docker_save_leads_to_its_layer() {
        assert_eq!(link_target("b/layer.tar", "../a/layer.tar", true), "a/layer.tar");
        assert_eq!(link_target("b/layer.tar", "a/layer.tar", false), "a/layer.tar");
    }
}
