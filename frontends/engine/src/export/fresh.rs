//! Archives that are at their destinations already, so that nobody copies hundreds of megabytes over the same bytes.
//!
//! What was written where is remembered with the file's inode, size and times, as Git does it for a working tree: whoever
//! changes the file or puts another in its place moves its ctime, which nobody can set.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{Export, OutputKind};
use crate::digest::{self, sha256};

/// Another number for other bytes of the same image.
const FORMAT: u8 = 2;

/// What is remembered of an archive.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The image, its names, and how it is written.
    content: String,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// An archive of an image at a destination.
#[derive(Debug)]
pub(super) struct Fresh<'a> {
    destination: &'a Path,
    content: String,
    record: PathBuf,
}

impl<'a> Fresh<'a> {
    /// The archive as it should be; nothing is looked at yet.
    pub(super) fn new(export: &Export<'_>, kind: OutputKind, destination: &'a Path) -> io::Result<Self> {
        let place = std::path::absolute(destination)?;
        let place = sha256(place.as_os_str().as_encoded_bytes());
        let name = digest::hex(&place).unwrap_or(&place);
        let names = export.names.join(" ");
        Ok(Fresh {
            destination,
            content: format!("{FORMAT} {} {} {names}", kind.word(), export.image.digest),
            record: export.layers.root().join("written").join(name),
        })
    }

    /// Whether it is there; it then counts as written now, which others may compare its time with.
    pub(super) fn is_there(&self) -> bool {
        let known = || -> Option<Record> { serde_json::from_slice(&fs::read(&self.record).ok()?).ok() };
        let now = || {
            let file = fs::OpenOptions::new().write(true).open(self.destination)?;
            file.file().set_modified(SystemTime::now())
        };
        let found = self.found().ok();
        found.is_some() && known() == found && now().is_ok() && self.remember().is_ok()
    }

    /// Remembers that it was written.
    pub(super) fn remember(&self) -> io::Result<()> {
        let folder = self.record.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut draft = kcompose_scratch::Draft::new(folder, 0o600)?;
        serde_json::to_writer(&mut draft, &self.found()?)?;
        draft.place(&self.record)
    }

    /// The file as it is.
    fn found(&self) -> io::Result<Record> {
        let found = fs::symlink_metadata(self.destination)?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Record {
            content: self.content.clone(),
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use kcompose_core::image::ImageConfig;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::export::{Image, write};
    use crate::layers::{Compression, LayerStore};

    #[test]
    fn only_an_untouched_archive_of_the_same_image_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let layers = LayerStore::new(folder.path().join("layers"), Compression::Zstd);
        let path = folder.path().join("image.tar");
        let image = |created| {
            let config = ImageConfig {
                created,
                ..ImageConfig::default()
            };
            Image::new(&config, Vec::new(), Compression::Zstd)
        };
        let (image, other) = (image(7), image(8));
        let cancel = CancellationToken::new();
        let export = |image, names| Export {
            image,
            layers: &layers,
            names,
            stop: &cancel,
        };
        let inode = || fs::metadata(&path).unwrap().ino();
        let write = |image, names, kind| write(&export(image, names), kind, &path, None).unwrap();
        write(&image, &[], OutputKind::Oci);
        let (first, bytes) = (inode(), fs::read(&path).unwrap());
        let old = SystemTime::UNIX_EPOCH;
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .file()
            .set_modified(old)
            .unwrap();
        // Somebody set its time, so it is written again.
        write(&image, &[], OutputKind::Oci);
        assert_ne!(inode(), first);
        let second = inode();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write(&image, &[], OutputKind::Oci);
        assert_eq!(inode(), second);
        assert!(fs::metadata(&path).unwrap().modified().unwrap() >= before);
        write(&image, &[], OutputKind::Oci);
        assert_eq!((inode(), fs::read(&path).unwrap() == bytes), (second, true));
        let named = ["a:1".to_owned()];
        for (image, names, kind) in [
            (&other, &[][..], OutputKind::Oci),
            (&image, &named, OutputKind::Oci),
            (&image, &[], OutputKind::Docker),
            (&image, &[], OutputKind::Oci),
        ] {
            let before = inode();
            write(image, names, kind);
            assert_ne!(inode(), before, "{kind:?}");
        }
        let before = inode();
        fs::write(&path, "another").unwrap();
        write(&image, &[], OutputKind::Oci);
        assert_ne!(inode(), before);
        assert!(fs::read(&path).unwrap() == bytes);
    }
}
