mod immucore;

use super::*;
use crate::tree::MemoryTree;

/// A small image that keeps the contract, of the runtime `systemd`.
fn good() -> MemoryTree {
    let mut tree = MemoryTree::new();
    tree.file(
        "/usr/lib/os-release",
        0o644,
        "ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n",
    )
    .link("/etc/os-release", "../usr/lib/os-release")
    .file("/etc/kairos-release", 0o644, RELEASE)
    .link("/lib", "usr/lib")
    .file("/usr/lib/modules/6.12-amd64/modules.dep", 0o644, "")
    .file("/boot/vmlinuz-6.12-amd64", 0o644, "kernel")
    .link("/boot/vmlinuz", "vmlinuz-6.12-amd64")
    .file("/boot/initrd", 0o600, *b"\x28\xb5\x2f\xfd...")
    .file("/etc/cos/grub.cfg", 0o644, MENU)
    .file(
        "/etc/cos/bootargs.cfg",
        0o644,
        "set kernelcmd=\"root=LABEL=$label cos-img/filename=$img\"\n",
    )
    .file("/usr/lib/shim/shimx64.efi.signed", 0o644, "shim")
    .file(
        "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
        0o644,
        "grub",
    )
    .file("/usr/lib/grub/x86_64-efi/loopback.mod", 0o644, "module")
    .file("/usr/lib/grub/i386-pc/modinfo.sh", 0o644, "info");
    for path in [
        "/srv",
        "/home",
        "/oem",
        "/usr/local/etc",
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/tmp",
        "/etc/ssh",
    ] {
        tree.directory(path, 0o755);
    }
    tree.link("/var/lock", "/run/lock")
        .file("/etc/fstab", 0o644, "# none\n")
        .file("/etc/machine-id", 0o444, "")
        .file("/etc/passwd", 0o644, USERS)
        .file("/usr/share/base-passwd/passwd.master", 0o644, USERS)
        .file("/etc/group", 0o644, GROUPS)
        .file("/usr/share/base-passwd/group.master", 0o644, GROUPS)
        .link("/etc/hostname", "../usr/local/etc/hostname");
    layout(&mut tree);
    units(&mut tree);
    libraries(&mut tree);
    seal(&mut tree);
    tree
}

const RELEASE: &str = "KAIROS_ARCH=\"amd64\"\nKAIROS_BUG_REPORT_URL=\"u\"\nKAIROS_FAMILY=\"debian\"\nKAIROS_FIPS=\"false\"\n\
KAIROS_FLAVOR=\"debian\"\nKAIROS_FLAVOR_RELEASE=13\nKAIROS_HOME_URL=\"u\"\nKAIROS_ID=\"kairos\"\nKAIROS_ID_LIKE=\"n\"\n\
KAIROS_MODEL=\"generic\"\nKAIROS_NAME=\"n\"\nKAIROS_RELEASE=\"v1.2.3\"\nKAIROS_TARGETARCH=\"amd64\"\n\
KAIROS_TRUSTED_BOOT=\"false\"\nKAIROS_VARIANT=\"core\"\nKAIROS_VERSION=\"v1.2.3\"\n";

const USERS: &str = "root:*:0:0:::\ndaemon:*:1:1:::\nbin:*:2:2:::\nman:*:6:12:::\nnobody:*:65534:65534:::\n";
const GROUPS: &str = "root:*:0:\ndaemon:*:1:\nbin:*:2:\nman:*:12:\nshadow:*:42:\nnogroup:*:65534:\n";

const MENU: &str = "menuentry a --id cos {\n}\nmenuentry a --id fallback {\n}\nmenuentry a --id recovery {\n}\nmenuentry a --id statereset {\n}\n";

fn layout(tree: &mut MemoryTree) {
    for (name, content) in [
        ("settings", "overlay_size=25%\n"),
        (
            "partitions",
            "COS_OEM /oem degrade /oem\nCOS_PERSISTENT /usr/local degrade /usr/local\n",
        ),
        ("kept", "/home\n/etc/ssh\n/var/lib/late\n"),
        ("active.overlays", "/etc\n/var\n/srv\n"),
        ("active.fstab", ""),
        ("recovery.overlays", "/etc\n/var\n/usr/local\n"),
        ("recovery.fstab", ""),
    ] {
        tree.file(&format!("/usr/lib/kcompose/layout/{name}"), 0o644, content);
    }
    tree.file("/etc/ssh/sshd config", 0o640, "x")
        .link("/etc/ssh/link", "sshd config");
}

fn units(tree: &mut MemoryTree) {
    for unit in [
        "getty.target",
        "systemd-udevd.service",
        "systemd-logind.service",
        "systemd-networkd.service",
        "ssh.service",
    ] {
        tree.file(&format!("/usr/lib/systemd/system/{unit}"), 0o644, "[Unit]\n");
    }
    tree.file("/usr/lib/systemd/systemd", 0o755, "")
        .link(
            "/usr/lib/systemd/system/multi-user.target.wants/systemd-networkd.service",
            "../systemd-networkd.service",
        )
        .link(
            "/usr/lib/systemd/system/multi-user.target.wants/ssh.service",
            "../ssh.service",
        );
}

fn libraries(tree: &mut MemoryTree) {
    tree.file(
        "/usr/lib/x86_64-linux-gnu/libdemo.so.1.2",
        0o644,
        shared_object("libdemo.so.1"),
    )
    .link("/usr/lib/x86_64-linux-gnu/libdemo.so.1", "libdemo.so.1.2")
    .file(
        "/etc/ld.so.cache",
        0o644,
        cache(&[("libdemo.so.1", "/lib/x86_64-linux-gnu/libdemo.so.1")]),
    );
}

/// A shared object with nothing but its name: a header, two program headers, a dynamic section and strings.
fn shared_object(name: &str) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[16] = 3;
    file[32] = 64;
    file[54] = 56;
    file[56] = 2;
    let (dynamic, strings) = (64 + 2 * 56, 64 + 2 * 56 + 48);
    let total = (strings + name.len() + 2) as u64;
    let mut header = |kind: u32, offset: u64, length: u64| {
        let mut bytes = [0; 56];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[8..16].copy_from_slice(&offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&(offset + 0x1000).to_le_bytes());
        bytes[32..40].copy_from_slice(&length.to_le_bytes());
        file.extend(bytes);
    };
    header(1, 0, total);
    header(2, dynamic as u64, 48);
    for (tag, value) in [(5, strings as u64 + 0x1000), (14, 1), (0, 0)] {
        file.extend(u64::to_le_bytes(tag));
        file.extend(value.to_le_bytes());
    }
    file.push(0);
    file.extend(name.as_bytes());
    file.push(0);
    file
}

fn cache(libraries: &[(&str, &str)]) -> Vec<u8> {
    let mut file = vec![0; 48];
    file[..20].copy_from_slice(b"glibc-ld.so.cache1.1");
    file[20..24].copy_from_slice(&(libraries.len() as u32).to_le_bytes());
    let mut strings = Vec::new();
    for (name, path) in libraries {
        let offset = |strings: &Vec<u8>| (48 + libraries.len() * 24 + strings.len()) as u32;
        let mut entry = [0; 24];
        entry[4..8].copy_from_slice(&offset(&strings).to_le_bytes());
        strings.extend(name.bytes().chain([0]));
        entry[8..12].copy_from_slice(&offset(&strings).to_le_bytes());
        strings.extend(path.bytes().chain([0]));
        file.extend(entry);
    }
    file.extend(strings);
    file
}

/// The last two steps of a build.
fn seal(tree: &mut MemoryTree) {
    use sha2::{Digest, Sha256};

    let sum: String = Sha256::digest(b"x")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let manifest = format!(
        "d 0755 0 0 - /etc/ssh\nl 0777 0 0 sshd\\040config /etc/ssh/link\nf 0640 0 0 {sum} /etc/ssh/sshd\\040config\nd 0755 0 0 - /home\n"
    );
    tree.file("/usr/lib/kcompose/layout/seed.manifest", 0o644, manifest);
    tree.file("/etc/.updated", 0o644, "")
        .file("/var/.updated", 0o644, "");
    for path in ["/usr", "/etc/.updated", "/var/.updated"] {
        tree.entry_mut(path).unwrap().mtime = 1_700_000_000;
    }
}

fn failing(tree: &MemoryTree) -> Vec<&'static str> {
    let expectations = Expectations {
        architecture: Some("amd64".to_owned()),
    };
    let mut names: Vec<_> = check_all(tree, &expectations)
        .into_iter()
        .map(|finding| finding.check)
        .collect();
    names.dedup();
    names
}

/// A change to a good image, which exactly this check must notice.
#[track_caller]
fn check(name: &str, change: impl FnOnce(&mut MemoryTree)) {
    let mut tree = good();
    change(&mut tree);
    assert_eq!(failing(&tree), [name]);
    assert!(ALL.iter().any(|check| check.name == name));
}

#[test]
fn a_good_image_has_no_findings() {
    let findings = check_all(&good(), &Expectations::default());
    assert_eq!(findings, []);
}

#[test]
fn os_release() {
    check("os-release", |tree| {
        tree.file(
            "/usr/lib/os-release",
            0o644,
            "ID=debian\nVERSION_ID=\"13\"\nPRETTY_NAME=\"Acme OS\"\n",
        );
    });
    let unknown = "ID=acme\nVERSION_ID=13\nPRETTY_NAME=\"Acme OS\"\n";
    let mut tree = good();
    tree.file("/usr/lib/os-release", 0o644, unknown);
    assert!(failing(&tree).contains(&"os-release"));
}

#[test]
fn release_keys() {
    check("release-keys", |tree| {
        tree.remove("/etc/kairos-release");
    });
    check("release-keys", |tree| {
        tree.file(
            "/etc/kairos-release",
            0o644,
            RELEASE.replace("KAIROS_NAME=\"n\"\n", ""),
        );
    });
    check("release-keys", |tree| {
        tree.file(
            "/etc/kairos-release",
            0o644,
            RELEASE.replace("\"v1.2.3\"", "v1.2.3"),
        );
    });
    check("release-keys", |tree| {
        tree.file("/etc/kairos-release", 0o644, RELEASE.replace("v1.2.3", "1.2.3"));
    });
}

#[test]
fn release_values() {
    for (from, to) in [
        ("KAIROS_ARCH=\"amd64\"\n", "KAIROS_ARCH=\"arm64\"\n"),
        ("FAMILY=\"debian\"", "FAMILY=\"suse\""),
        ("RELEASE=13", "RELEASE=12"),
        ("\"generic\"", "\"toaster\""),
        ("\"core\"", "\"other\""),
    ] {
        check("release-values", |tree| {
            tree.file("/etc/kairos-release", 0o644, RELEASE.replace(from, to));
        });
    }
}

#[test]
fn release_quoting() {
    for extra in ["GRUB_ENTRY_NAME=\"a $b\"\n", "GRUB_ENTRY_NAME=\"open\n"] {
        check("release-quoting", |tree| {
            tree.file("/etc/kairos-release", 0o644, [RELEASE, extra].concat());
        });
    }
    let mut tree = good();
    tree.file(
        "/etc/kairos-release",
        0o644,
        [RELEASE, "GRUB_ENTRY_NAME=\"a \\$b\"\n"].concat(),
    );
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

#[test]
fn accounts_that_a_replaced_table_lacks() {
    for (path, text) in [
        ("/etc/passwd", "root:*:0:0:::\n".to_owned()),
        ("/etc/passwd", USERS.replace("root", "boss")),
        ("/etc/passwd", USERS.replace("bin", "bean")),
        ("/etc/group", GROUPS.replace("shadow", "light")),
    ] {
        check("accounts", |tree| {
            tree.file(path, 0o644, text);
        });
    }
    // A static user that owns nothing may go.
    let mut tree = good();
    tree.file("/etc/passwd", 0o644, USERS.replace("man:", "moon:"));
    assert_eq!(failing(&tree), Vec::<&str>::new());
    tree.file("/var/cache/man", 0o755, "")
        .entry_mut("/var/cache/man")
        .unwrap()
        .uid = 6;
    assert_eq!(failing(&tree), Vec::<&str>::new(), "`moon` has that id");
    tree.file("/etc/passwd", 0o644, USERS.replace("man:*:6", "moon:*:7"));
    assert_eq!(failing(&tree), ["accounts", "accounts-owners"]);
}

#[test]
fn accounts_owners() {
    check("accounts-owners", |tree| {
        tree.file("/var/x", 0o644, "").entry_mut("/var/x").unwrap().gid = 300;
    });
    let mut tree = good();
    // People and containers need no name.
    tree.file("/var/x", 0o644, "").entry_mut("/var/x").unwrap().uid = 1234;
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

#[test]
fn kernel_one() {
    check("kernel-one", |tree| {
        tree.file("/usr/lib/modules/6.13-amd64/modules.dep", 0o644, "");
    });
    check("kernel-one", |tree| {
        tree.file("/boot/vmlinuz-6.13-amd64", 0o644, "kernel");
    });
    check("kernel-one", |tree| {
        tree.remove("/usr/lib/modules/6.12-amd64/modules.dep");
    });
}

const MODULES: &str = "/usr/lib/modules/6.12-amd64";

#[test]
fn kernel_modules() {
    for file in ["updates/dkms/a.ko.xz", "extra/b.ko", "kernel/c.ko.zst"] {
        check("kernel-modules", |tree| {
            tree.file(&format!("{MODULES}/{file}"), 0o644, "module");
        });
    }
    check("kernel-modules", |tree| {
        tree.file(&format!("{MODULES}/modules.dep"), 0o644, "kernel/gone.ko.xz:\n");
    });
    // `depmod` lists the one of two that `modprobe` takes.
    let mut tree = good();
    tree.file(&format!("{MODULES}/updates/a.ko"), 0o644, "module")
        .file(&format!("{MODULES}/kernel/a.ko"), 0o644, "module")
        .file(&format!("{MODULES}/modules.dep"), 0o644, "updates/a.ko:\n");
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

#[test]
fn kernel_dkms() {
    let module = |tree: &mut MemoryTree| {
        tree.link(
            "/var/lib/dkms/v4l2loopback/0.15.0/source",
            "/usr/src/v4l2loopback-0.15.0",
        );
    };
    check("kernel-dkms", module);
    for there in [
        "/var/lib/dkms/v4l2loopback/0.15.0/6.12-amd64/x86_64/module/v4l2loopback.ko.xz",
        "/usr/lib/modules/6.12-amd64/build/Makefile",
    ] {
        let mut tree = good();
        module(&mut tree);
        tree.file(there, 0o644, "");
        assert_eq!(failing(&tree), Vec::<&str>::new());
    }
}

#[test]
fn kernel_load() {
    let load = |path: &str, names: &str| {
        let mut tree = good();
        tree.file(path, 0o644, names)
            .file(&format!("{MODULES}/kernel/br_netfilter.ko.xz"), 0o644, "")
            .file(
                &format!("{MODULES}/modules.dep"),
                0o644,
                "kernel/br_netfilter.ko.xz:\n",
            )
            .file(&format!("{MODULES}/modules.alias"), 0o644, "alias nfs4 nfsv4\n")
            .file(
                &format!("{MODULES}/modules.builtin"),
                0o644,
                "kernel/drivers/block/loop.ko\n",
            );
        failing(&tree)
    };
    let known = "# c\n\nbr-netfilter\nloop\nnfs4\n";
    let ours = "/usr/lib/modules-load.d/kcompose.conf";
    for (path, found) in [
        (ours, "kernel-load"),
        ("/etc/modules-load.d/x.conf", "kernel-load-missed"),
    ] {
        assert_eq!(load(path, known), Vec::<&str>::new());
        assert_eq!(load(path, "nosuchmodule\n"), [found]);
    }
    assert_eq!(
        load("/etc/modules-load.d/README", "nosuchmodule\n"),
        Vec::<&str>::new()
    );
}

#[test]
fn kernel_link() {
    for target in ["/boot/vmlinuz-6.12-amd64", "vmlinuz-old"] {
        check("kernel-link", |tree| {
            tree.link("/boot/vmlinuz", target);
        });
    }
}

#[test]
fn kernel_initrd() {
    check("kernel-initrd", |tree| {
        tree.remove("/boot/initrd");
    });
    check("kernel-initrd", |tree| {
        tree.file("/boot/initrd", 0o600, "text");
    });
    check("kernel-initrd", |tree| {
        tree.file("/boot/initrd.img-6.12-amd64", 0o600, "x");
    });
}

#[test]
fn kairos_grub() {
    check("kairos-grub", |tree| {
        tree.file(
            "/etc/cos/grub.cfg",
            0o644,
            MENU.replace("--id recovery", "--id other"),
        );
    });
    check("kairos-grub", |tree| {
        tree.file(
            "/etc/cos/bootargs.cfg",
            0o644,
            "set kernelcmd=\"root=LABEL=$label\"\n",
        );
    });
    check("kairos-grub", |tree| {
        tree.remove("/etc/cos/bootargs.cfg");
    });
}

#[test]
fn kairos_boot_loader() {
    for path in [
        "/usr/lib/shim",
        "/usr/lib/grub/i386-pc",
        "/usr/lib/grub/x86_64-efi/loopback.mod",
    ] {
        check("kairos-boot-loader", |tree| {
            tree.remove(path);
        });
    }
}

#[test]
fn layout_data() {
    check("layout", |tree| {
        tree.remove("/usr/lib/kcompose/layout/settings");
    });
    check("layout", |tree| {
        tree.remove("/usr/lib/kcompose");
    });
}

#[test]
fn layout_root_directories() {
    check("layout-root-directories", |tree| {
        tree.remove("/var/lock");
    });
}

#[test]
fn layout_mount_points() {
    check("layout-mount-points", |tree| {
        tree.remove("/oem").remove("/tmp");
    });
}

#[test]
fn layout_directories() {
    check("layout-directories", |tree| {
        tree.file("/usr/lib/kcompose/layout/kept", 0o644, "/home\n/etc/ssh\n/data\n");
    });
    check("layout-directories", |tree| {
        tree.file(
            "/usr/lib/kcompose/layout/active.overlays",
            0o644,
            "/etc\n/var\n/srv\n/scratch\n",
        )
        .link("/scratch", "srv");
    });
}

#[test]
fn layout_disjoint() {
    check("layout-disjoint", |tree| {
        tree.file(
            "/usr/lib/kcompose/layout/active.overlays",
            0o644,
            "/etc\n/var\n/srv\n/home\n",
        );
    });
    check("layout-disjoint", |tree| {
        tree.file(
            "/usr/lib/kcompose/layout/kept",
            0o644,
            "/home\n/etc/ssh\n/usr/local/etc\n",
        );
        tree.file(
            "/usr/lib/kcompose/layout/seed.manifest",
            0o644,
            [
                tree.content(b"/usr/lib/kcompose/layout/seed.manifest")
                    .unwrap()
                    .as_ref(),
                b"d 0755 0 0 - /usr/local/etc\n",
            ]
            .concat(),
        );
    });
}

#[test]
fn layout_hidden_files() {
    for path in ["/usr/local/bin/tool", "/oem/config.yaml"] {
        check("layout-hidden-files", |tree| {
            tree.file(path, 0o644, "x");
        });
    }
    check("layout-hidden-files", |tree| {
        tree.link("/usr/local/bin/tool", "/boot/initrd");
    });
    let mut tree = good();
    tree.directory("/usr/local/share/man", 0o755)
        .link("/usr/local/man", "share/man");
    assert_eq!(failing(&tree), Vec::<&str>::new());
    tree.file(ACCEPTED, 0o644, "hidden /usr/local/lib\n")
        .file("/usr/local/lib/x", 0o644, "x");
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

#[test]
fn layout_hidden_package_files() {
    check("layout-hidden-package-files", |tree| {
        tree.file("/var/lib/dpkg/info/a.list", 0o644, "/usr/local/bin/tool\n")
            .file("/usr/local/bin/tool", 0o755, "x");
    });
}

#[test]
fn layout_fstab() {
    check("layout-fstab", |tree| {
        tree.file("/etc/fstab", 0o644, "# comment\nLABEL=x /x ext4 defaults 0 0\n");
    });
}

#[test]
fn layout_seed() {
    check("layout-seed", |tree| {
        tree.file("/etc/ssh/new", 0o644, "x");
    });
    check("layout-seed", |tree| {
        tree.file("/etc/ssh/sshd config", 0o640, "changed");
    });
    check("layout-seed", |tree| {
        tree.entry_mut("/etc/ssh/sshd config").unwrap().mode = 0o644;
    });
    check("layout-seed", |tree| {
        tree.remove("/etc/ssh/link");
    });
    check("layout-seed", |tree| {
        tree.remove("/usr/lib/kcompose/layout/seed.manifest");
    });
}

#[test]
fn layout_stamps() {
    check("layout-stamps", |tree| {
        tree.remove("/var/.updated");
    });
    check("layout-stamps", |tree| {
        tree.entry_mut("/usr").unwrap().mtime += 1;
    });
}

#[test]
fn identity() {
    for (path, content) in [
        ("/etc/machine-id", "0123\n"),
        ("/etc/hostname", "builder\n"),
        ("/var/lib/systemd/random-seed", "x"),
    ] {
        check("identity", |tree| {
            tree.file(path, 0o644, content);
        });
    }
    let named = |found: &str| {
        let mut tree = good();
        let settings = "overlay_size=25%\nhost_name=gateway-7\n";
        tree.file("/usr/lib/kcompose/layout/settings", 0o644, settings);
        tree.remove("/etc/hostname");
        tree.file("/etc/hostname", 0o644, found);
        failing(&tree)
    };
    assert!(named("gateway-7\n").is_empty());
    assert_eq!(named("gateway-8\n"), ["identity"]);
    let mut tree = good();
    tree.file("/etc/ssh/ssh_host_ed25519_key", 0o600, "key");
    assert_eq!(failing(&tree), ["layout-seed", "identity"]);
    // What the image's own table says.
    let table = format!(
        "remove /etc/bind/rndc.key\nremove /var/lib/*/id-*\ntext /etc/name {}\n",
        crate::packages::hex::encode(&crate::packages::sha256(b"generate\n"))
    );
    for (path, content) in [
        ("/etc/bind/rndc.key", "k"),
        ("/var/lib/x/id-1", "1"),
        ("/etc/name", "mine"),
    ] {
        check("identity", |tree| {
            tree.file(SECRETS, 0o644, table.clone())
                .file(path, 0o640, content);
        });
    }
    let mut tree = good();
    tree.file(SECRETS, 0o644, table)
        .file("/etc/name", 0o644, "generate\n")
        .file("/var/lib/x/other", 0o644, "x");
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

const KEY: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAtesttesttesttest\n-----END RSA PRIVATE KEY-----\n";

#[test]
fn identity_keys() {
    for (path, content) in [
        ("/etc/app/server.key", KEY.to_owned()),
        (
            "/var/lib/app/both.pem",
            format!("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n{KEY}"),
        ),
        ("/root/.ssh/id", KEY.replace("RSA", "OPENSSH")),
    ] {
        check("identity-keys", |tree| {
            tree.file(path, 0o600, content);
        });
    }
    let mut tree = good();
    tree.file("/var/lib/dpkg/info/a.list", 0o644, "/etc/app/example.key\n")
        .file("/etc/app/example.key", 0o600, KEY)
        .file(
            "/usr/lib/python3/x.pyc",
            0o644,
            "-----BEGIN RSA PRIVATE KEY-----\0\0more",
        )
        .file("/etc/app/public.pem", 0o644, KEY.replace("PRIVATE", "PUBLIC"));
    assert_eq!(failing(&tree), Vec::<&str>::new());
}

#[test]
fn identity_own_keys() {
    check("identity-own-keys", |tree| {
        tree.file(ACCEPTED, 0o644, "own /etc/app\n")
            .file("/etc/app/server.key", 0o600, KEY);
    });
}

#[test]
fn identity_traces() {
    check("identity-traces", |tree| {
        tree.file("/etc/mailname", 0o644, "buildkitsandbox\n");
    });
    check("identity-traces", |tree| {
        tree.file("/.dockerenv", 0o644, "");
    });
}

#[test]
fn libraries_are_in_the_cache() {
    check("libraries", |tree| {
        tree.file(
            "/usr/lib/x86_64-linux-gnu/libnew.so.3",
            0o644,
            shared_object("libnew.so.3"),
        );
    });
    check("libraries", |tree| {
        tree.remove("/usr/lib/x86_64-linux-gnu/libdemo.so.1");
    });
    check("libraries", |tree| {
        tree.remove("/etc/ld.so.cache");
    });
    check("libraries", |tree| {
        tree.file("/etc/ld.so.cache", 0o644, "old");
    });
}

#[test]
fn units_are_there() {
    check("units", |tree| {
        tree.link("/etc/systemd/system/systemd-logind.service", "/dev/null");
    });
    check("units", |tree| {
        tree.remove("/usr/lib/systemd/system/multi-user.target.wants/ssh.service");
    });
}

#[test]
fn size() {
    check("size", |tree| {
        tree.file("/var/lib/apt/lists/ftp.debian.org_Packages", 0o644, "x");
    });
    check("size", |tree| {
        tree.file("/usr/big", 0o644, "")
            .entry_mut("/usr/big")
            .unwrap()
            .kind = crate::tree::Kind::File(4 << 30);
    });
}

#[test]
fn a_check_leads_to_the_longest_subject_that_it_begins_with() {
    let origins =
        BTreeMap::from([("layout", "f:1:1"), ("kernel", "f:2:1")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(origin("layout-seed", &origins), Some("f:1:1"));
    assert_eq!(origin("kernel-one", &origins), Some("f:2:1"));
    assert_eq!(origin("libraries", &origins), None);
    assert_eq!(origin("layouts", &origins), None);
}

#[test]
fn a_report_shows_a_few_of_many_places() {
    let mut tree = good();
    for number in 0..9 {
        tree.file(&format!("/usr/local/{number}"), 0o644, "x");
    }
    let report = text("image.tar", &check_all(&tree, &Expectations::default()));
    assert_eq!(report.matches("hides it at boot").count(), 5);
    assert!(report.contains("layout-hidden-files: and 4 more"), "{report}");
    assert!(report.contains("9 errors"));
}

#[test]
fn a_report_says_code_place_fact_and_help() {
    let mut tree = good();
    tree.remove("/boot/initrd");
    let findings = check_all(&tree, &Expectations::default());
    insta::assert_snapshot!(text("image.tar", &findings), @r"
    kcompose::verify::kernel-initrd
    /boot/initrd
      error: it is missing
      help: write the initrd there, without a version in its name

    image.tar does not keep the contract: 49 checks, 1 error, 0 warnings
    ");
    let json = json("image.tar", &findings);
    assert_eq!(
        (json["ok"].as_bool(), json["findings"][0]["check"].as_str()),
        (Some(false), Some("kernel-initrd"))
    );
}
