use super::*;
use crate::{Output, Root};

struct Nowhere;

impl Output for Nowhere {
    fn stdout(&mut self, _: &[u8]) {}
    fn stderr(&mut self, _: &[u8]) {}
    fn console(&mut self, _: &[u8]) {}
    fn progress(&mut self, _: &str) {}
}

/// A root tree with one file that says which image it is, and none of the mount points.
fn tree(folder: &Path, which: &str) -> Arc<dyn Root> {
    let root = folder.join(which);
    fs::create_dir_all(root.join("boot")).unwrap();
    fs::write(root.join("boot/kernel"), which).unwrap();
    fs::os::unix::fs::symlink("kernel", root.join("boot/vmlinuz")).unwrap();
    Arc::new(root)
}

async fn open(path: &Path, root: &Arc<dyn Root>, id: &str) -> Result<Disk, Failure> {
    let image = Image {
        root: Arc::clone(root),
        id: id.to_owned(),
        architecture: String::new(),
    };
    Disk::open(Some(path), &image, &mut Nowhere).await
}

fn kernel(disk: &Disk, mode: Mode) -> String {
    let kernel = disk.image(mode).unwrap().read("/boot/vmlinuz").unwrap();
    String::from_utf8(kernel).unwrap()
}

/// Bytes in the middle of a partition, where no file system puts anything by itself.
fn mark(disk: &Path, partition: table::Partition) -> [u8; 4] {
    use std::os::unix::fs::FileExt;

    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .unwrap();
    let mut mark = [0; 4];
    file.read_exact_at(&mut mark, partition.start + partition.size / 2 + 12345)
        .unwrap();
    file.write_all_at(b"mine", partition.start + partition.size / 2 + 12345)
        .unwrap();
    mark
}

#[tokio::test]
async fn the_next_image_is_active_and_the_one_before_passive() {
    kcompose_testing::needs!(Root, Program("mke2fs"), Program("sfdisk"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let (first, second) = (tree(folder.path(), "first"), tree(folder.path(), "second"));

    let disk = open(&path, &first, "1").await.unwrap();
    assert_eq!(
        [Mode::Active, Mode::Passive, Mode::Recovery].map(|mode| kernel(&disk, mode)),
        ["first", "first", "first"]
    );
    let partitions = disk.partitions;
    mark(&path, partitions.oem);
    mark(&path, partitions.persistent);
    assert!(
        open(&path, &first, "1")
            .await
            .unwrap_err()
            .problem()
            .to_string()
            .contains("in use")
    );
    drop(disk);

    let disk = open(&path, &second, "2").await.unwrap();
    assert_eq!(
        [Mode::Active, Mode::Passive, Mode::Recovery].map(|mode| kernel(&disk, mode)),
        ["second", "first", "first"]
    );
    assert_eq!(
        (mark(&path, partitions.oem), mark(&path, partitions.persistent)),
        (*b"mine", *b"mine")
    );
    drop(disk);

    // The same image again: nothing is unpacked, so that a tree which is gone is not missed.
    let gone: Arc<dyn Root> = Arc::new(folder.path().join("gone"));
    let disk = open(&path, &gone, "2").await.unwrap();
    assert_eq!(kernel(&disk, Mode::Passive), "first");
    drop(disk);

    // Without an image the disk stays as it is, and nobody else may have it.
    let disk = Disk::as_it_is(&path).await.unwrap();
    assert_eq!(kernel(&disk, Mode::Active), "second");
    assert!(Disk::as_it_is(&path).await.is_err());
    drop(disk);

    let disk = open(&path, &first, "1").await.unwrap();
    assert_eq!(
        [Mode::Active, Mode::Passive].map(|mode| kernel(&disk, mode)),
        ["first", "second"]
    );
    assert!(sparse::allocated(&path).unwrap() < 64 * MIB);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".kcompose")),
        "{left:?}"
    );
}

#[tokio::test]
async fn the_image_gets_mount_points_and_its_tree_does_not() {
    kcompose_testing::needs!(Root, Program("mke2fs"), Program("sfdisk"));
    let folder = tempfile::tempdir().unwrap();
    let root = tree(folder.path(), "first");
    let file = folder.path().join("active.img");
    filesystem::make_image(&file, &folder.path().join("first"), &image_uuid("1"))
        .await
        .unwrap();
    let printed = crate::host::run("debugfs", ["-R", "stat /tmp", "active.img"], folder.path())
        .await
        .unwrap();
    assert!(printed.stdout.contains("Mode:  01777"), "{}", printed.stdout);
    let printed = crate::host::run("debugfs", ["-R", "stat /usr/local", "active.img"], folder.path())
        .await
        .unwrap();
    assert!(printed.stdout.contains("Type: directory"), "{}", printed.stderr);
    assert!(!root.tree(folder.path()).unwrap().join("tmp").exists());
    crate::host::run("e2fsck", ["-fn", "active.img"], folder.path())
        .await
        .unwrap();
}

#[tokio::test]
async fn another_file_is_not_taken_for_a_disk() {
    kcompose_testing::needs!(Root, Program("mke2fs"), Program("sfdisk"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, "not a disk".repeat(1000)).unwrap();
    let root = tree(folder.path(), "first");
    let failure = open(&path, &root, "1").await.unwrap_err();
    assert_eq!(failure.exit_code(), 3);
    assert!(
        failure
            .problem()
            .to_string()
            .contains("not a disk that was made here")
    );
    assert!(fs::read(&path).unwrap().starts_with(b"not a disk"));
}

/// An image with a setuid program that another user tries to run while the disk is made.
#[derive(Debug)]
struct Attacked(std::sync::Mutex<Option<std::io::ErrorKind>>);

impl Root for Attacked {
    fn tree(&self, scratch: &Path) -> Result<PathBuf, crate::Problem> {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;

        let program = scratch.join("evil");
        fs::create_dir_all(scratch).unwrap();
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755)).unwrap();
        let ran = std::process::Command::new(&program).uid(65534).status();
        *self.0.lock().unwrap() = ran.err().map(|error| error.kind());
        Ok(scratch.to_owned())
    }
}

#[tokio::test]
async fn programs_of_an_image_are_out_of_reach_of_other_users() {
    use std::os::unix::fs::MetadataExt;

    kcompose_testing::needs!(Root, Program("mke2fs"), Program("sfdisk"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    for kept in [None, Some(path.as_path())] {
        let attacked = Arc::new(Attacked(Default::default()));
        let image = Image {
            root: attacked.clone(),
            id: "1".to_owned(),
            architecture: String::new(),
        };
        let disk = Disk::open(kept, &image, &mut Nowhere).await.unwrap();
        let refused = *attacked.0.lock().unwrap();
        assert_eq!(refused, Some(std::io::ErrorKind::PermissionDenied), "{kept:?}");
        assert_eq!(
            fs::metadata(disk.path()).unwrap().mode() & 0o7777,
            0o600,
            "{kept:?}"
        );
    }
}
