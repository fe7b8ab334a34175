//! Directories laid over each other, read as overlayfs shows them and without mounting them.
//!
//! The trees are at rest: no step that could exchange a directory for a link runs while they are read, and a link is never
//! followed, so nothing in a tree leads out of it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::io::Errno;

use super::LayerError;

/// The namespace of attributes that overlayfs keeps its notes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.`, which only root of the machine may write.
    Trusted,
    /// `user.overlay.`, with the mount option `userxattr`: the way inside a user namespace.
    User,
}

impl Marks {
    /// The namespace for overlays that this process mounts.
    pub fn here() -> Marks {
        static HERE: OnceLock<Marks> = OnceLock::new();
        *HERE.get_or_init(|| {
            if kcompose_sandbox::is_first_namespace() {
                Marks::Trusted
            } else {
                Marks::User
            }
        })
    }

    /// The full name of a note, such as `opaque`.
    pub fn attribute(self, note: &str) -> String {
        match self {
            Marks::Trusted => format!("trusted.overlay.{note}"),
            Marks::User => format!("user.overlay.{note}"),
        }
    }
}

/// A directory as several layers make it together.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Where the directory is in each layer that adds to it, the top one first.
    parts: Vec<PathBuf>,
    marks: Marks,
}

/// Something that a name stands for.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is, in the topmost layer that has it.
    pub path: PathBuf,
    /// What it is.
    pub metadata: Metadata,
    /// What is in it; nothing unless it is a directory.
    pub inside: Stack,
}

impl Stack {
    /// The root of layers, the top one first.
    pub fn new(layers: &[PathBuf]) -> Stack {
        Stack {
            parts: layers.to_vec(),
            marks: Marks::here(),
        }
    }

    /// A directory with nothing in it.
    pub fn empty() -> Stack {
        Stack::new(&[])
    }

    /// The directory itself; `None` if no layer has it.
    pub fn itself(&self) -> Result<Option<Found>, LayerError> {
        let Some(path) = self.parts.first() else {
            return Ok(None);
        };
        Ok(metadata_of(path)?.map(|metadata| Found {
            path: path.clone(),
            metadata,
            inside: self.clone(),
        }))
    }

    /// What a name in this directory stands for.
    pub fn entry(&self, name: &OsStr) -> Result<Option<Found>, LayerError> {
        let mut found: Option<Found> = None;
        for part in &self.parts {
            let path = part.join(name);
            let Some(metadata) = metadata_of(&path)? else {
                continue;
            };
            if is_whiteout(&metadata) {
                break;
            }
            let is_directory = metadata.is_dir();
            if found.is_some() && !is_directory {
                break;
            }
            let is_opaque = is_directory && is_opaque(&path, self.marks)?;
            let top = found.get_or_insert_with(|| Found {
                path: path.clone(),
                metadata,
                inside: Stack {
                    parts: Vec::new(),
                    marks: self.marks,
                },
            });
            if !is_directory {
                break;
            }
            top.inside.parts.push(path);
            if is_opaque {
                break;
            }
        }
        Ok(found)
    }

    /// The names in this directory, sorted by bytes.
    pub fn names(&self) -> Result<BTreeSet<OsString>, LayerError> {
        let (mut seen, mut hidden) = (BTreeSet::new(), BTreeSet::new());
        for part in &self.parts {
            let mut whiteouts = Vec::new();
            for entry in std::fs::read_dir(part).map_err(LayerError::read(part))? {
                let entry = entry.map_err(LayerError::read(part))?;
                let name = entry.file_name();
                let is_device = entry.file_type().is_ok_and(|kind| kind.is_char_device());
                if is_device && metadata_of(&entry.path())?.is_some_and(|found| is_whiteout(&found)) {
                    whiteouts.push(name);
                } else if !hidden.contains(&name) {
                    seen.insert(name);
                }
            }
            hidden.extend(whiteouts.into_iter().filter(|name| !seen.contains(name)));
        }
        Ok(seen)
    }
}

/// What is at a path, a link itself and not what it names; `None` if nothing is.
pub fn metadata_of(path: &Path) -> Result<Option<Metadata>, LayerError> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(LayerError::read(path)(error)),
    }
}

/// Whether it stands for something that was deleted.
pub(super) fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

/// Whether a directory hides what layers below have in it.
pub(super) fn is_opaque(path: &Path, marks: Marks) -> Result<bool, LayerError> {
    Ok(attribute(path, &marks.attribute("opaque"))?.as_deref() == Some(b"y"))
}

/// Whether a directory was renamed and its files left where they were.
pub(super) fn is_redirected(path: &Path, marks: Marks) -> Result<bool, LayerError> {
    Ok(attribute(path, &marks.attribute("redirect"))?.is_some_and(|value| !value.is_empty()))
}

/// An extended attribute of a file or of a link itself.
pub(super) fn attribute(path: &Path, name: &str) -> Result<Option<Vec<u8>>, LayerError> {
    // Notes and capabilities are a few bytes long.
    let mut buffer = vec![0; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(Some(buffer));
            }
            Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM) => return Ok(None),
            Err(Errno::RANGE) if buffer.len() < 1 << 16 => buffer.resize(1 << 16, 0),
            Err(error) => return Err(LayerError::read(path)(error.into())),
        }
    }
}

/// The names of all attributes of a file or of a link itself, sorted; none where there can be none.
pub(crate) fn all_attribute_names(path: &Path) -> Vec<Vec<u8>> {
    // The kernel's limit for a list.
    let mut buffer = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, buffer.as_mut_slice()).unwrap_or(0);
    let mut names: Vec<Vec<u8>> = buffer[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    names.sort_unstable();
    names
}

/// The names of the notes that overlayfs keeps on a file.
pub(super) fn notes(path: &Path, marks: Marks) -> Vec<Vec<u8>> {
    let prefix = marks.attribute("");
    let mut names = all_attribute_names(path);
    names.retain(|name| name.starts_with(prefix.as_bytes()));
    names
}
