//! The layout in real boots of the unmodified image: over reboots, in all modes, and when the next image comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kcompose_testing::needs;

use crate::archive::sha256;
use crate::image::shared;
use crate::run::{Outcome, kcompose, probe, replace, scratch};

#[test]
fn the_layout_holds_over_reboots_modes_and_the_next_image() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let built = shared();
    let machine = Machine::new();
    let before = sha256(&fs::read(built.archive()).unwrap());

    machine.boot(&built.archive(), "", "first").ok();
    // Its checks done, this one exits 7: the script's code is ours.
    machine.boot(&built.archive(), "", "second").ends(7);
    machine.boot(&built.archive(), "--mode passive", "passive").ok();
    machine.boot(&built.archive(), "--mode recovery", "recovery").ok();

    let next = machine.build_next();
    machine.boot(&next, "", "upgraded").ok();
    machine.boot(&next, "--mode passive", "previous").ok();

    assert_eq!(
        sha256(&fs::read(built.archive()).unwrap()),
        before,
        "a boot changed the image"
    );
    machine.assert_off();
}

#[test]
fn a_lost_persistent_partition_degrades_and_says_so() {
    needs!(
        Root,
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs"),
        Program("sfdisk")
    );
    let machine = Machine::new();
    machine.boot(&shared().archive(), "", "mark").ok();
    machine.wipe("persistent");
    machine.boot(&shared().archive(), "", "degraded").ok();
}

/// Where a partition of a disk begins, in bytes.
pub(crate) fn partition_start(disk: &Path, partition: &str) -> u64 {
    let table = Command::new(kcompose_testing::program("sfdisk").unwrap())
        .arg("--json")
        .arg(disk)
        .output()
        .unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let found = partitions.iter().find(|entry| entry["name"] == partition);
    let found = found.unwrap_or_else(|| panic!("no {partition} in {table}"));
    found["start"].as_u64().unwrap() * 512
}

/// A disk that is kept between boots.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Machine {
        Machine(scratch())
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn boot(&self, image: &Path, mode: &str, name: &str) -> Outcome {
        fs::write(self.folder().join("probe.sh"), probe(name)).unwrap();
        let image = image.display();
        kcompose(
            self.folder(),
            &format!("boot {image} --disk d.img {mode} --script probe.sh --timeout 10m"),
        )
    }

    /// Builds the next version of the shared flavor.
    fn build_next(&self) -> PathBuf {
        let flavor = shared().copy_flavor(self.folder(), "next").join("flavor.kdl");
        replace(&flavor, "version=\"2.0.1\"", "version=\"2.0.2\"");
        replace(&flavor, "of the first image", "of the second image");
        replace(&flavor, "file \"/etc/app/dropped\"", "file \"/etc/app/added\"");
        replace(&flavor, "    link \"/etc/app/link\" to=\"untouched\"\n", "");
        kcompose(self.folder(), "build next --locked -o type=oci,dest=next.tar").ok();
        self.folder().join("next.tar")
    }

    /// Overwrites the file system of a partition.
    fn wipe(&self, partition: &str) {
        let disk = self.folder().join("d.img");
        let start = partition_start(&disk, partition);
        let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 65536], start).unwrap();
    }

    /// Asserts that no process has the disk open.
    fn assert_off(&self) {
        let disk = fs::canonicalize(self.folder().join("d.img")).unwrap();
        for process in fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()) {
            // Not a process, or one that has just ended.
            let Ok(files) = fs::read_dir(process.join("fd")) else {
                continue;
            };
            let holds = files
                .flatten()
                .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == disk));
            assert!(!holds, "{} still has the disk open", process.display());
        }
    }
}
