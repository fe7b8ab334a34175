//! The checks of the runtime `immucore`.

use super::*;

const STOCK_LAYOUT: &str = "stages:\n  rootfs:\n    - environment:\n        RW_PATHS: \"/var /etc /srv\"\n        PERSISTENT_STATE_PATHS: >-\n          /etc/ssh\n          /home\n          /gone\n        OTHER: /x\n";

/// A small image of the runtime `immucore` that keeps the contract.
fn good_immucore() -> MemoryTree {
    let mut tree = good();
    let program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
    tree.remove("/usr/lib/kcompose")
        .file("/usr/bin/kairos", 0o755, program)
        .link("/usr/bin/immucore", "/usr/bin/kairos")
        .link("/usr/bin/kairos-agent", "/usr/bin/kairos")
        .link("/system/discovery/kcrypt-discovery-challenger", "/usr/bin/kairos")
        .file("/system/installer/kairos-installer", 0o755, "x")
        .file("/usr/sbin/suc-upgrade", 0o755, "x")
        .file("/etc/kairos/branding/grubmenu.cfg", 0o644, "")
        .file("/etc/logrotate.d/kairos", 0o644, "x")
        .file("/etc/issue.d/01-KAIROS", 0o644, "x");
    for name in [
        "02_agent",
        "05_network",
        "08_grub",
        "08_ssh",
        "09_systemd_services",
        "10_accounting",
        "31_hosts",
        "50_recovery",
        "51_reset",
    ] {
        tree.file(&format!("/system/oem/{name}.yaml"), 0o644, "stages: {}\n");
    }
    tree.file("/system/oem/00_rootfs.yaml", 0o644, STOCK_LAYOUT).file(
        "/system/oem/00_rootfs_kcompose.yaml",
        0o644,
        "  kept=\"/home /etc/own\"\n  ephemeral=\"/etc\"\n  forgotten=\"/gone\"\n",
    );
    for name in [
        "less",
        "mount.nfs",
        "rsync",
        "cryptsetup",
        "lvm",
        "mkfs.ext2",
        "mkfs.ext3",
        "mkfs.ext4",
        "mkfs.vfat",
        "e2fsck",
        "tune2fs",
        "losetup",
        "findmnt",
        "lsblk",
        "blkid",
        "udevadm",
        "gawk",
        "jq",
        "curl",
        "ssh-keygen",
        "sshd",
        "systemctl",
        "blkdeactivate",
        "grub2-editenv",
    ] {
        tree.file(&format!("/usr/bin/{name}"), 0o755, "x");
    }
    tree.file("/usr/bin/sudo", 0o4755, "x")
        .file("/etc/dracut.conf.d/99-immucore.conf", 0o644, "x")
        .file("/usr/lib/dracut/modules.d/28immucore/module-setup.sh", 0o755, "x")
        .file("/usr/lib/dracut/modules.d/28immucore/generator.sh", 0o755, "x")
        .file(
            "/usr/lib/dracut/modules.d/28immucore/immucore.service",
            0o644,
            "unit",
        )
        .file(
            "/usr/lib/modules/6.12-amd64/modules.builtin",
            0o644,
            "kernel/fs/ext4/ext4.ko\nkernel/drivers/virtio/virtio_pci.ko\n",
        );
    tree.file("/boot/initrd", 0o600, initrd(|_| {}));
    seal(&mut tree);
    tree
}

/// The files of a good initrd, changed.
fn initrd(change: impl FnOnce(&mut Vec<(String, usize, String)>)) -> Vec<u8> {
    let program = |name: &str| (format!("usr/bin/{name}"), 0o100_755, "x".to_owned());
    let mut files: Vec<(String, usize, String)> =
        ["immucore", "rsync", "losetup", "cryptsetup", "mkfs.ext4", "lvm"]
            .map(program)
            .to_vec();
    let mut text = |path: &str, text: &str| files.push((path.to_owned(), 0o100_644, text.to_owned()));
    text("usr/lib/systemd/system/immucore.service", "unit");
    text(
        "usr/lib/systemd/system/initrd.target.requires/immucore.service",
        "unit",
    );
    text("usr/lib/systemd/system-generators/immucore-generator", "x");
    text(
        "usr/lib/dracut/modules.txt",
        "immucore\ndmsquash-live\nlivenet\nrootfs-block\ndm\nfs-lib\nlvm\nsystemd-networkd\nmultipath\nsystemd-sysext\n",
    );
    for driver in [
        "overlay",
        "loop",
        "squashfs",
        "vfat",
        "isofs",
        "virtio-blk",
        "virtio_net",
        "sd_mod",
        "nvme",
    ] {
        text(&format!("usr/lib/modules/6.12-amd64/kernel/{driver}.ko.xz"), "");
    }
    text("usr/lib/modules/keys/distro.x509", "");
    change(&mut files);
    let files: Vec<(&str, usize, &str)> = files
        .iter()
        .map(|(path, mode, text)| (path.as_str(), *mode, text.as_str()))
        .collect();
    crate::initrd::archive(&files)
}

/// A change to a good image of immucore, which exactly this check must notice.
#[track_caller]
fn check_immucore(name: &str, change: impl FnOnce(&mut MemoryTree)) {
    let mut tree = good_immucore();
    change(&mut tree);
    assert_eq!(failing(&tree), [name]);
    assert!(ALL.iter().any(|check| check.name == name));
}

/// An initrd without a file, or with another text in it.
fn without(path: &'static str) -> Vec<u8> {
    initrd(|files| files.retain(|(known, ..)| known != path))
}

#[test]
fn a_good_image_of_immucore_has_no_findings() {
    assert_eq!(failing(&good_immucore()), <[&str; 0]>::default());
}

#[test]
fn the_layout_of_immucore_is_read_too() {
    check_immucore("layout-directories", |tree| {
        tree.file("/system/oem/00_rootfs_kcompose.yaml", 0o644, "");
    });
    check_immucore("layout-directories", |tree| {
        tree.file(
            "/system/oem/00_rootfs_kcompose.yaml",
            0o644,
            "  kept=\"/own\"\n  forgotten=\"/gone\"\n",
        );
    });
    check_immucore("layout-disjoint", |tree| {
        tree.file(
            "/system/oem/00_rootfs_kcompose.yaml",
            0o644,
            "  kept=\"/etc\"\n  forgotten=\"/gone\"\n",
        );
    });
}

#[test]
fn kairos_programs() {
    check_immucore("kairos-programs", |tree| {
        tree.remove("/usr/bin/kairos-agent");
    });
    check_immucore("kairos-programs", |tree| {
        tree.file("/usr/bin/kairos", 0o644, "x");
    });
    check_immucore("kairos-programs", |tree| {
        tree.file(
            "/usr/bin/kairos",
            0o755,
            *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0",
        );
    });
    check_immucore("kairos-programs", |tree| {
        tree.remove("/system/discovery/kcrypt-discovery-challenger");
    });
}

#[test]
fn kairos_cloud_configs() {
    check_immucore("kairos-cloud-configs", |tree| {
        tree.remove("/system/oem/10_accounting.yaml");
    });
    check_immucore("kairos-cloud-configs", |tree| {
        tree.file(
            "/system/oem/90_own.yaml",
            0o644,
            "stages:\n  rootfs:\n    - environment_file: \"/run/cos/custom-layout.env\"\n",
        );
    });
}

#[test]
fn kairos_files() {
    check_immucore("kairos-files", |tree| {
        tree.remove("/usr/sbin/suc-upgrade");
    });
    check_immucore("kairos-files", |tree| {
        tree.remove("/etc/kairos/branding");
    });
    check_immucore("kairos-files-missed", |tree| {
        tree.remove("/system/installer/kairos-installer");
    });
}

#[test]
fn kairos_tools() {
    for name in ["rsync", "mkfs.vfat", "grub2-editenv", "sudo"] {
        check_immucore("kairos-tools", |tree| {
            tree.remove(&format!("/usr/bin/{name}"));
        });
    }
    check_immucore("kairos-tools", |tree| {
        tree.file("/usr/bin/sudo", 0o755, "x");
    });
}

#[test]
fn kairos_installed_loader() {
    check_immucore("kairos-installed-loader", |tree| {
        tree.remove("/usr/lib/grub/i386-pc");
    });
    check_immucore("kairos-installed-loader", |tree| {
        tree.remove("/usr/lib/shim");
    });
}

#[test]
fn initrd_content() {
    check_immucore("initrd-content", |tree| {
        tree.file("/boot/initrd", 0o600, without("usr/bin/immucore"));
    });
    check_immucore("initrd-content", |tree| {
        let path = "usr/lib/systemd/system/initrd.target.requires/immucore.service";
        tree.file("/boot/initrd", 0o600, without(path));
    });
    check_immucore("initrd-content", |tree| {
        let other = initrd(|files| {
            files.push((
                "usr/lib/modules/6.1/kernel/x.ko".to_owned(),
                0o100_644,
                String::new(),
            ));
        });
        tree.file("/boot/initrd", 0o600, other);
    });
}

#[test]
fn initrd_modules() {
    let made_of = |from: &'static str, to: &'static str| {
        initrd(move |files| {
            let list = files
                .iter_mut()
                .find(|(path, ..)| path.ends_with("modules.txt"))
                .unwrap();
            list.2 = list.2.replace(from, to);
        })
    };
    check_immucore("initrd-modules", |tree| {
        tree.file("/boot/initrd", 0o600, made_of("livenet\n", ""));
    });
    check_immucore("initrd-modules", |tree| {
        tree.file("/boot/initrd", 0o600, made_of("systemd-networkd\n", ""));
    });
    check_immucore("initrd-modules-missed", |tree| {
        tree.file("/boot/initrd", 0o600, made_of("multipath\n", ""));
    });
}

#[test]
fn initrd_drivers() {
    check_immucore("initrd-drivers", |tree| {
        tree.file(
            "/boot/initrd",
            0o600,
            without("usr/lib/modules/6.12-amd64/kernel/virtio-blk.ko.xz"),
        );
    });
    check_immucore("initrd-drivers", |tree| {
        tree.remove("/usr/lib/modules/6.12-amd64/modules.builtin");
    });
}

#[test]
fn initrd_sources() {
    check_immucore("initrd-sources", |tree| {
        tree.remove("/etc/dracut.conf.d/99-immucore.conf");
    });
    check_immucore("initrd-sources", |tree| {
        tree.file(
            "/usr/lib/dracut/modules.d/28immucore/immucore.service",
            0o644,
            "other",
        );
    });
}
