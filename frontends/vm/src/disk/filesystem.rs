//! File systems made by e2fsprogs straight into files, without mounting any.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fs_err as fs;

use super::table::{Partition, split};
use super::{MIB, not_a_disk};
use crate::host;
use crate::problem::{Failure, ToolFailed};

/// Features of the image's file system. Named, because defaults follow the host's release and old kernels refuse new ones.
const IMAGE_FEATURES: &str = "none,ext_attr,dir_index,filetype,sparse_super,large_file";
/// Features of the partitions.
const PARTITION_FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Directories that the boot mounts over. A deployment makes those that an image lacks, and so does this disk.
const MOUNT_POINTS: &[(&str, u32)] = &[
    ("/oem", 0o755),
    ("/usr", 0o755),
    ("/usr/local", 0o755),
    ("/proc", 0o555),
    ("/sys", 0o555),
    ("/dev", 0o755),
    ("/run", 0o755),
    ("/tmp", 0o1777),
];

const BLOCK: u64 = 4096;

/// Writes a root tree as an ext2 file system with the label COS_ACTIVE.
pub(crate) async fn make_image(file: &Path, root: &Path, uuid: &[u8; 16]) -> Result<(), Failure> {
    let measured = measure(root)?;
    let size = format!("{}k", measured.image_size() / 1024);
    let inodes = (measured.entries + 8192).to_string();
    let (folder, name) = split(file);
    let root_path = fs::canonicalize(root).map_err(Failure::io("read", root))?;
    let arguments: Vec<std::ffi::OsString> = ["-q", "-F", "-t", "ext2", "-b", "4096", "-m", "0", "-I", "256"]
        .into_iter()
        .chain([
            "-O",
            IMAGE_FEATURES,
            "-E",
            "lazy_itable_init=0",
            "-N",
            &inodes,
            "-L",
            "COS_ACTIVE",
        ])
        .chain(["-U", &format_uuid(uuid), "-d"])
        .map(Into::into)
        .chain([root_path.into_os_string(), name.into(), size.into()])
        .collect();
    host::run("mke2fs", arguments, folder).await?;
    add_mount_points(file, root).await
}

/// Sets the label of a file system in a file.
pub(crate) async fn label(file: &Path, label: &str) -> Result<(), Failure> {
    let (folder, name) = split(file);
    host::run("e2label", [name, label], folder).await.map(drop)
}

/// Makes an ext4 file system in a partition of a disk, with the content of a folder.
pub(crate) async fn make_partition(
    disk: &Path,
    partition: Partition,
    label: &str,
    content: Option<&Path>,
) -> Result<(), Failure> {
    let (folder, name) = split(disk);
    let place = format!(
        "offset={},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0",
        partition.start
    );
    let size = format!("{}k", partition.size / 1024);
    let mut arguments: Vec<std::ffi::OsString> = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-O",
        PARTITION_FEATURES,
        "-L",
        label,
        "-E",
        &place,
    ]
    .map(Into::into)
    .into();
    if let Some(content) = content {
        let content = fs::canonicalize(content).map_err(Failure::io("read", content))?;
        // Few and large files: a small inode table.
        arguments.extend(["-N", "1024", "-d"].map(Into::into));
        arguments.push(content.into_os_string());
    }
    arguments.extend([name.to_owned(), size].map(Into::into));
    host::run("mke2fs", arguments, folder).await.map(drop)
}

/// Replays the journal of a partition and mends what a crash left.
pub(crate) async fn check(disk: &Path, partition: Partition) -> Result<(), Failure> {
    let (folder, device) = device(disk, partition);
    // `-p` ends with 1 when it mended something, which is fine and which `run` takes for a failure: the second call tells.
    if host::run("e2fsck", ["-p", &device], folder).await.is_err() {
        host::run("e2fsck", ["-p", &device], folder).await?;
    }
    Ok(())
}

/// Turns `/cOS/active.img` into `/cOS/passive.img` and writes a new one; gives back the bytes that were free for it.
pub(crate) async fn replace_active(disk: &Path, partition: Partition, active: &Path) -> Result<u64, Failure> {
    relabel_inside(disk, partition, "/cOS/active.img", "COS_PASSIVE").await?;
    // `ln` and `unlink` of debugfs leave the link count alone, so that together they are a rename.
    let rename = "rm /cOS/passive.img\nln /cOS/active.img /cOS/passive.img\nunlink /cOS/active.img\n";
    edit(disk, partition, rename).await?;
    let free = free_bytes(disk, partition).await?;
    let (folder, device) = device(disk, partition);
    let source = fs::canonicalize(active).map_err(Failure::io("read", active))?;
    let write = format!("write \"{}\" /cOS/active.img\n", source.display());
    host::run_with_input("debugfs", ["-w", "-f", "-", &device], folder, &write).await?;
    Ok(free)
}

/// Writes a label into the superblock of a file system that is a file in another one.
async fn relabel_inside(disk: &Path, partition: Partition, file: &str, label: &str) -> Result<(), Failure> {
    use std::io::{Seek, SeekFrom, Write};

    let (folder, device) = device(disk, partition);
    let printed = host::run("debugfs", ["-R", &format!("bmap {file} 0"), &device], folder).await?;
    let block: u64 = printed.stdout.trim().parse().unwrap_or(0);
    if block == 0 {
        return Err(not_a_disk(disk, format!("its COS_STATE has no `{file}`")));
    }
    // The volume name: 16 bytes at 0x78 of the superblock, which begins at 1024. ext2 has no checksum over it.
    let mut name = [0; 16];
    name[..label.len()].copy_from_slice(label.as_bytes());
    let mut raw = fs::OpenOptions::new()
        .write(true)
        .open(disk)
        .map_err(Failure::io("write", disk))?;
    raw.seek(SeekFrom::Start(partition.start + block * BLOCK + 1024 + 0x78))
        .and_then(|_| raw.write_all(&name))
        .map_err(Failure::io("write", disk))
}

async fn edit(disk: &Path, partition: Partition, commands: &str) -> Result<(), Failure> {
    let (folder, device) = device(disk, partition);
    host::run_with_input("debugfs", ["-w", "-f", "-", &device], folder, commands)
        .await
        .map(drop)
}

async fn free_bytes(disk: &Path, partition: Partition) -> Result<u64, Failure> {
    let (folder, device) = device(disk, partition);
    let printed = host::run("debugfs", ["-R", "stats -h", &device], folder).await?;
    let line = printed
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("Free blocks:"));
    Ok(line
        .and_then(|blocks| blocks.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * BLOCK)
}

/// A partition as e2fsprogs names it: the folder to run in, and the file with an offset.
fn device(disk: &Path, partition: Partition) -> (&Path, String) {
    let (folder, name) = split(disk);
    (folder, format!("{name}?offset={}", partition.start))
}

/// Adds mount points that the tree lacks to its file system; the tree itself stays as it is.
async fn add_mount_points(file: &Path, root: &Path) -> Result<(), Failure> {
    let missing: Vec<_> = MOUNT_POINTS
        .iter()
        .filter(|(path, _)| fs::symlink_metadata(root.join(&path[1..])).is_err())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let commands: String = missing
        .iter()
        .map(|(path, mode)| {
            format!(
                "mkdir {path}\nset_inode_field {path} mode 0{:o}\n",
                0o040_000 | mode
            )
        })
        .collect();
    let (folder, name) = split(file);
    let printed = host::run_with_input("debugfs", ["-w", "-f", "-", name], folder, &commands).await?;
    // debugfs ends with 0 whatever happens; beside its banner it prints nothing when all is well.
    let complaint: Vec<&str> = printed
        .stderr
        .lines()
        .filter(|line| !line.starts_with("debugfs "))
        .collect();
    if complaint.is_empty() {
        return Ok(());
    }
    Err(Failure::world(ToolFailed {
        tool: "debugfs".to_owned(),
        reason: complaint.join("; "),
    }))
}

/// What a tree needs in a file system.
#[derive(Debug, Default)]
struct Measured {
    entries: u64,
    blocks: u64,
}

impl Measured {
    /// Bytes of a file system that holds the tree, with a margin for indirect blocks, bitmaps and directories.
    fn image_size(&self) -> u64 {
        let content = self.blocks * BLOCK;
        let inodes = (self.entries + 8192) * 256;
        (content + content / 20 + inodes + 48 * MIB).next_multiple_of(MIB)
    }
}

fn measure(root: &Path) -> Result<Measured, Failure> {
    let mut measured = Measured::default();
    let mut linked = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Failure::io("read", &folder))? {
            let path = entry.map_err(Failure::io("read", &folder))?.path();
            let metadata = fs::symlink_metadata(&path).map_err(Failure::io("read", &path))?;
            measured.entries += 1;
            if metadata.nlink() > 1 && !metadata.is_dir() && !linked.insert((metadata.dev(), metadata.ino()))
            {
                continue;
            }
            measured.blocks += metadata.len().div_ceil(BLOCK).max(1);
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(measured)
}

fn format_uuid(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
