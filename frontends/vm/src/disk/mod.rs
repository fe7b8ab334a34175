//! A disk with Kairos' partitions, made from a root tree without loop devices and without mounts.
//!
//! `oem` (COS_OEM), `recovery` (COS_RECOVERY with `/cOS/recovery.img`), `state` (COS_STATE with `/cOS/active.img` and
//! `/cOS/passive.img`) and `persistent` (COS_PERSISTENT). The UUID of the file system in each image file is derived
//! from the image's id, so that a disk tells by itself which image is active on it.

mod filesystem;
mod sparse;
mod table;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt;
use kcompose_scratch::Folder;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use crate::problem::{DiskBusy, DiskTooSmall, Failure, NotADisk, NotRoot};
use crate::{Image, Mode, Output};
pub(crate) use view::ImageView;

const MIB: u64 = 1 << 20;

/// A disk that is ready to boot an image, locked until it is dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    partitions: table::Partitions,
    _lock: fs::File,
    /// The folder of a disk that nobody wants to keep.
    _temporary: Option<Folder>,
}

impl Disk {
    /// A disk at a path on which the image is active; made, changed or taken as it is.
    pub(crate) async fn open(
        kept: Option<&Path>,
        image: &Image,
        output: &mut dyn Output,
    ) -> Result<Self, Failure> {
        match kept {
            None => Self::throw_away(image, output).await,
            Some(path) => Self::keep(path, image, output).await,
        }
    }

    /// A disk that is there, whatever is active on it: an agent may have put another image on it.
    pub(crate) async fn as_it_is(path: &Path) -> Result<Self, Failure> {
        let lock = lock(path)?;
        let partitions = table::read(path).await?;
        Ok(Self {
            path: path.to_owned(),
            partitions,
            _lock: lock,
            _temporary: None,
        })
    }

    /// The file of the disk.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The image that a mode boots, as it is on the disk.
    pub(crate) fn image(&self, mode: Mode) -> Result<ImageView, Failure> {
        let (partition, file) = match mode {
            Mode::Active => (self.partitions.state, "/cOS/active.img"),
            Mode::Passive => (self.partitions.state, "/cOS/passive.img"),
            Mode::Recovery => (self.partitions.recovery, "/cOS/recovery.img"),
        };
        ImageView::open(&self.path, partition, file)
    }

    async fn throw_away(image: &Image, output: &mut dyn Output) -> Result<Self, Failure> {
        let place = std::env::temp_dir();
        let folder =
            Folder::within(&place, "kcompose-disk-").map_err(Failure::io("make a folder in", &place))?;
        let path = folder.path().join("disk.raw");
        let partitions = make(&path, folder.path(), image, output).await?;
        let lock = lock(&path)?;
        Ok(Self {
            path,
            partitions,
            _lock: lock,
            _temporary: Some(folder),
        })
    }

    async fn keep(path: &Path, image: &Image, output: &mut dyn Output) -> Result<Self, Failure> {
        if !path.exists() {
            let work = work_folder(path)?;
            let made = work.path().join("new.raw");
            make(&made, work.path(), image, output).await?;
            fs::rename(&made, path).map_err(Failure::io("write", path))?;
        }
        let disk = Self::as_it_is(path).await?;
        if disk.image(Mode::Active)?.uuid() == image_uuid(&image.id) {
            return Ok(disk);
        }
        upgrade(path, &disk.partitions, image, output).await?;
        let lock = lock(path)?;
        Ok(Self { _lock: lock, ..disk })
    }
}

/// The UUID of an image's file system: the first half of a hash of its id.
fn image_uuid(id: &str) -> [u8; 16] {
    let hash = Sha256::digest(format!("kcompose image {id}").as_bytes());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash[..16]);
    // Version 8 (of one's own making), variant 1: RFC 9562, section 5.8.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

/// A folder beside a disk for its parts: on the same file system, so that the result can be renamed into place.
fn work_folder(path: &Path) -> Result<Folder, Failure> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Folder::within(parent, ".kcompose-disk-").map_err(Failure::io("write in", parent))
}

/// Creates the file of a disk or of a part of one. It holds what no other user may read: secrets, and programs with rights.
fn create(path: &Path) -> Result<fs::File, Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path).map_err(Failure::io("write", path))
}

fn lock(path: &Path) -> Result<fs::File, Failure> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Failure::io("open", path))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::world(DiskBusy {
            path: path.to_owned(),
        })
    })?;
    Ok(file)
}

/// Makes a whole disk at a path; parts are made in the folder.
async fn make(
    path: &Path,
    folder: &Path,
    image: &Image,
    output: &mut dyn Output,
) -> Result<table::Partitions, Failure> {
    let active = image_file(folder, image, output).await?;
    output.progress("making the disk");
    let size = fs::metadata(&active).map_err(Failure::io("read", &active))?.len();
    let state = folder.join("state");
    let recovery = folder.join("recovery");
    for part in [&state, &recovery] {
        fs::create_dir_all(part.join("cOS")).map_err(Failure::io("make", part))?;
    }
    copy(&active, &state.join("cOS/passive.img")).await?;
    copy(&active, &recovery.join("cOS/recovery.img")).await?;
    fs::rename(&active, state.join("cOS/active.img")).map_err(Failure::io("write", &state))?;
    filesystem::label(&state.join("cOS/passive.img"), "COS_PASSIVE").await?;
    filesystem::label(&recovery.join("cOS/recovery.img"), "COS_SYSTEM").await?;

    let partitions = table::write(path, table::Sizes::for_image(size)).await?;
    for (partition, label, content) in [
        (partitions.oem, "COS_OEM", None),
        (partitions.recovery, "COS_RECOVERY", Some(recovery.as_path())),
        (partitions.state, "COS_STATE", Some(state.as_path())),
        (partitions.persistent, "COS_PERSISTENT", None),
    ] {
        filesystem::make_partition(path, partition, label, content).await?;
    }
    Ok(partitions)
}

/// The image as a file with an ext2 file system, which is what GRUB and the initrd look for.
async fn image_file(folder: &Path, image: &Image, output: &mut dyn Output) -> Result<PathBuf, Failure> {
    if !owners_can_be_kept() {
        return Err(Failure::world(NotRoot));
    }
    output.progress("unpacking the image");
    let scratch = folder.join("root");
    let (source, into) = (Arc::clone(&image.root), scratch.clone());
    let root = blocking(move || source.tree(&into).map_err(Failure::World)).await?;
    output.progress("writing the file system of the image");
    let file = folder.join("active.img");
    filesystem::make_image(&file, &root, &image_uuid(&image.id)).await?;
    // Only what was unpacked here: a tree that the user named stays.
    if scratch.exists() {
        let gone = scratch.clone();
        blocking(move || fs::remove_dir_all(&gone).map_err(Failure::io("delete", &gone))).await?;
    }
    Ok(file)
}

/// Whether files can be given to other ids: as root, if the user namespace has more than that one.
fn owners_can_be_kept() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let count = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let ids: u64 = map.lines().filter_map(count).sum();
    rustix::process::geteuid().is_root() && ids > 1
}

/// Makes an image active on a disk and the one that was active passive, in a copy that then takes the disk's place.
async fn upgrade(
    path: &Path,
    partitions: &table::Partitions,
    image: &Image,
    output: &mut dyn Output,
) -> Result<(), Failure> {
    let work = work_folder(path)?;
    let active = image_file(work.path(), image, output).await?;
    output.progress("putting the image on the disk; the one before becomes passive");
    let needed = sparse::allocated(&active)?;
    let next = work.path().join("next.raw");
    copy(path, &next).await?;
    filesystem::check(&next, partitions.state).await?;
    let free = filesystem::replace_active(&next, partitions.state, &active).await?;
    let written = ImageView::open(&next, partitions.state, "/cOS/active.img")
        .ok()
        .map(|view| view.uuid());
    if written != Some(image_uuid(&image.id)) {
        let too_small = DiskTooSmall {
            path: path.to_owned(),
            needed: needed / MIB,
            free: free / MIB,
        };
        return Err(Failure::world(too_small));
    }
    filesystem::check(&next, partitions.state).await?;
    fs::rename(&next, path).map_err(Failure::io("write", path))
}

async fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let (from, to) = (from.to_owned(), to.to_owned());
    blocking(move || sparse::copy(&from, &to)).await
}

/// Runs what takes seconds beside the runtime, so that an interrupt is heard.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A disk that lacks what this program puts on one.
fn not_a_disk(path: &Path, reason: impl Into<String>) -> Failure {
    Failure::world(NotADisk {
        path: path.to_owned(),
        reason: reason.into(),
    })
}

#[cfg(test)]
mod tests;
