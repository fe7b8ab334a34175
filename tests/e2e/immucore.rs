//! Runtime `immucore` with Kairos' real parts, which somebody has to give: `KCOMPOSE_TEST_KAIROS_INIT` is a source of
//! kairos-init as in `from=`, an image or an absolute path.

use std::fs;
use std::path::Path;

use kcompose_testing::needs;

use crate::archive::sha256;
use crate::run::{kcompose, scratch};

const FLAVOR: &str = r#"flavor "kairos-probe" version="1.2.3" title="Probe OS"
base "debian" release="trixie"
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
        BuildKit,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs")
    );
    let folder = scratch();
    let from = std::env::var("KCOMPOSE_TEST_KAIROS_INIT").unwrap();
    fs::create_dir(folder.path().join("f")).unwrap();
    fs::write(
        folder.path().join("f/flavor.kdl"),
        FLAVOR.replace("@FROM@", &from),
    )
    .unwrap();
    kcompose(folder.path(), "build f -o type=oci,dest=a.tar").ok();
    kcompose(
        folder.path(),
        "build f --locked --no-cache -o type=oci,dest=b.tar",
    )
    .ok();
    let digest = |name: &str| sha256(&fs::read(folder.path().join(name)).unwrap());
    assert_eq!(digest("a.tar"), digest("b.tar"), "two builds differ");
    kcompose(folder.path(), "verify a.tar").ok();
    boot(folder.path(), "active", FIRST);
    boot(folder.path(), "active", SECOND);
    boot(
        folder.path(),
        "passive",
        "test -e /run/cos/passive_mode && test -e /probe/marker\n",
    );
    boot(folder.path(), "recovery", "test -e /run/cos/recovery_mode\n");
}

fn boot(folder: &Path, mode: &str, script: &str) {
    fs::write(folder.join("probe.sh"), script).unwrap();
    let line = format!("boot a.tar --disk d.img --mode {mode} --check --script probe.sh --timeout 15m");
    kcompose(folder, &line).ok();
}
