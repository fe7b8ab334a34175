//! Runtime `immucore` with Kairos' real parts, which somebody has to give: `KCOMPOSE_TEST_KAIROS_INIT` is a source of
//! kairos-init as in `from=`, an image or an absolute path.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kcompose_core::initrd::Contents;
use kcompose_testing::needs;

use crate::archive::sha256;
use crate::boots::partition_start;
use crate::run::{Outcome, kcompose, replace, scratch};

const FLAVOR: &str = r#"flavor "kairos-probe" version="1.2.3" { title "Probe OS"; }
base "debian" release="@RELEASE@"
kernel "linux-image-cloud-amd64" { cmdline "probe=1"; }
kairos { runtime "immucore" from="@FROM@"; }
packages { without "fail2ban"; }
layout {
    keep "/var/lib/probe" "/probe"
    ephemeral "/scratch"
    forget "/opt"
}
files {
    file "/probe/shipped" "shipped\n"
    directory "/scratch" mode="0755"
}
cloud-config "90_probe" """
    stages:
      boot:
        - name: "say it"
          commands:
            - touch /run/probe-was-here
    """
"#;

const FIRST: &str = r#"set -e
grep -q probe=1 /proc/cmdline
grep -q '^GRUB_ENTRY_NAME="Probe OS"' /etc/kairos-release
grep -q '^KAIROS_VERSION="v1.2.3"' /etc/kairos-release
test -e /run/probe-was-here
test "$(cat /probe/shipped)" = shipped
test "$(kairos-agent state get boot)" = active_boot
if findmnt -no SOURCE /opt; then exit 1; fi
. /run/cos/extra-layout.env
findmnt -no LABEL --target /snap | grep -q COS_PERSISTENT
for path in /probe /var/lib/probe /scratch /etc; do echo mark > $path/marker; done
sync
"#;

const SECOND: &str = r#"set -e
test -e /probe/marker && test -e /var/lib/probe/marker
test ! -e /scratch/marker && test ! -e /etc/marker
"#;

#[test]
fn an_image_of_kairos_is_the_same_twice_and_keeps_its_layout() {
    needs!(
        Given("KCOMPOSE_TEST_KAIROS_INIT"),
        Root,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let machine = Machine::new("trixie");
    machine.build_twice();
    machine.boot("active", FIRST);
    // Behind the last partition is room now, as on a machine whose disk was made larger.
    machine.enlarge();
    machine.boot("active", SECOND);
    machine.boot(
        "passive",
        "test -e /run/cos/passive_mode && test -e /probe/marker\n",
    );
    machine.boot("recovery", "test -e /run/cos/recovery_mode\n");
}

#[test]
fn the_release_before_boots_too() {
    needs!(
        Given("KCOMPOSE_TEST_KAIROS_INIT"),
        Root,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let machine = Machine::new("bookworm");
    machine.build_twice();
    machine.boot("active", FIRST);
}

#[test]
fn the_agent_upgrades_and_passive_is_the_image_before() {
    needs!(
        Given("KCOMPOSE_TEST_KAIROS_INIT"),
        Root,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs"),
        Program("debugfs")
    );
    let machine = Machine::new("trixie");
    machine.build("-o type=oci,dest=a.tar").ok();
    machine.boot("active", KEYS);
    replace(&machine.flavor(), "version=\"1.2.3\"", "version=\"1.2.4\"");
    machine.build("-o type=local,dest=next").ok();
    machine.give_next();
    machine.boot("active", UPGRADE);
    // What the agent wrote is another image than the one that was put on the disk, and boots as it is.
    machine.boot_disk(
        "active",
        "grep -q '^KAIROS_VERSION=\"v1.2.4\"' /etc/kairos-release && ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cmp - /usr/local/keys\n",
    );
    machine.boot_disk(
        "passive",
        "grep -q '^KAIROS_VERSION=\"v1.2.3\"' /etc/kairos-release && test -e /run/cos/passive_mode\n",
    );
}

const KEYS: &str = "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub > /usr/local/keys; sync\n";

/// The agent wants an operator, who is in no image.
const UPGRADE: &str = r##"set -e
printf '#cloud-config\nusers:\n- name: ops\n  groups: [admin]\n' > /oem/90_ops.yaml
mkdir /run/next
mount -o loop,ro /usr/local/next.img /run/next
kairos-agent upgrade --source dir:/run/next
sync
"##;

/// A flavor, and a disk that is kept between boots.
struct Machine {
    folder: tempfile::TempDir,
    release: &'static str,
}

impl Machine {
    fn new(release: &'static str) -> Machine {
        let folder = scratch();
        let from = std::env::var("KCOMPOSE_TEST_KAIROS_INIT").unwrap();
        fs::create_dir(folder.path().join("f")).unwrap();
        let text = FLAVOR.replace("@FROM@", &from).replace("@RELEASE@", release);
        fs::write(folder.path().join("f/flavor.kdl"), text).unwrap();
        Machine { folder, release }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn flavor(&self) -> PathBuf {
        self.path("f/flavor.kdl")
    }

    fn build(&self, more: &str) -> Outcome {
        kcompose(self.folder.path(), &format!("build f {more}"))
    }

    /// Builds with what is cached and without it; the same bytes, which keep the contract.
    fn build_twice(&self) {
        self.build("-o type=oci,dest=a.tar").ok();
        self.build("--locked --no-cache -o type=oci,dest=b.tar -o type=local,dest=tree")
            .ok();
        let digest = |name: &str| sha256(&fs::read(self.path(name)).unwrap());
        assert_eq!(digest("a.tar"), digest("b.tar"), "two builds differ");
        kcompose(self.folder.path(), "verify a.tar").ok();
        self.assert_modules();
    }

    /// The initrd is made of the modules that the library names, and of no other.
    fn assert_modules(&self) {
        let initrd = Contents::read(&fs::read(self.path("tree/boot/initrd")).unwrap()).unwrap();
        let mut found = initrd.dracut_modules();
        found.sort();
        let text = kcompose_library::file(&format!("distros/debian/{}.kdl", self.release)).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("initrd-modules "));
        let mut named: Vec<&str> = lines
            .flat_map(|line| line.split_whitespace().map(|word| word.trim_matches('"')))
            .collect();
        named.sort_unstable();
        assert_eq!(found, named, "dracut takes other modules on {}", self.release);
    }

    fn boot(&self, mode: &str, script: &str) {
        self.boot_disk_with("a.tar", mode, script);
    }

    fn boot_disk(&self, mode: &str, script: &str) {
        self.boot_disk_with("", mode, script);
    }

    fn boot_disk_with(&self, image: &str, mode: &str, script: &str) {
        fs::write(self.path("probe.sh"), script).unwrap();
        let line = format!("boot {image} --disk d.img --mode {mode} --check --script probe.sh --timeout 20m");
        kcompose(self.folder.path(), &line).ok();
    }

    fn enlarge(&self) {
        let disk = fs::OpenOptions::new()
            .write(true)
            .open(self.path("d.img"))
            .unwrap();
        let now = disk.metadata().unwrap().len();
        disk.set_len(now + (512 << 20)).unwrap();
    }

    /// Puts the next image's tree, as a file system in a file, onto the persistent partition.
    fn give_next(&self) {
        let image = self.path("next.img");
        fs::File::create(&image).unwrap().set_len(1400 << 20).unwrap();
        let mke2fs = ["-q", "-t", "ext4", "-m", "0", "-d", "next", "next.img"];
        self.run("mke2fs", &mke2fs);
        let start = partition_start(&self.path("d.img"), "persistent");
        let persistent = format!("d.img?offset={start}");
        self.run("debugfs", &["-w", "-R", "write next.img next.img", &persistent]);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(kcompose_testing::program(program).unwrap())
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    }
}
