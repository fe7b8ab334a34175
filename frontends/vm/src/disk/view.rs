//! An image file on a disk, read in place: a file system in a file in a file system in a partition.

use std::error::Error;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use ext4_view::{Ext4, Ext4Read, File};
use fs_err as fs;
use kcompose_core::limits;

use super::not_a_disk;
use super::table::Partition;
use crate::problem::Failure;

/// The file system of an image that lies on a disk.
pub(crate) struct ImageView(Ext4);

impl std::fmt::Debug for ImageView {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ImageView").field(&self.uuid()).finish()
    }
}

impl ImageView {
    /// Opens an image file in a partition of a disk.
    pub(crate) fn open(disk: &Path, partition: Partition, file: &str) -> Result<Self, Failure> {
        let raw = fs::File::open(disk).map_err(Failure::io("read", disk))?;
        let window = Window {
            file: raw,
            start: partition.start,
            size: partition.size,
        };
        let outer = Ext4::load(Box::new(window)).map_err(|error| not_a_disk(disk, error.to_string()))?;
        let missing = |error| not_a_disk(disk, format!("`{file}`: {error}"));
        let inner = Inner(outer.open(file).map_err(missing)?);
        let image = Ext4::load(Box::new(inner)).map_err(missing)?;
        Ok(ImageView(image))
    }

    /// The UUID of the image's file system.
    pub(crate) fn uuid(&self) -> [u8; 16] {
        *self.0.uuid().as_bytes()
    }

    /// The content of a file, links followed inside the image; `None` if it is over [`limits::IMAGE_FILE`].
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        let size = self.0.metadata(path).ok()?.len();
        (size <= limits::IMAGE_FILE.value).then(|| self.0.read(path).ok())?
    }
}

/// A partition of a file.
struct Window {
    file: fs::File,
    start: u64,
    size: u64,
}

impl Ext4Read for Window {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        if start + into.len() as u64 > self.size {
            return Err("a read behind the end of the partition".into());
        }
        self.file.seek(SeekFrom::Start(self.start + start))?;
        Ok(self.file.read_exact(into)?)
    }
}

/// A file of a file system.
struct Inner(File);

impl Ext4Read for Inner {
    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let file = &mut self.0;
        file.seek_to(start)?;
        let mut filled = 0;
        while filled < into.len() {
            match file.read_bytes(&mut into[filled..])? {
                0 => return Err("a read behind the end of the image".into()),
                count => filled += count,
            }
        }
        Ok(())
    }
}
