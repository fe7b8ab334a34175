//! What an ordinary user can do.

use std::fs;
use std::path::Path;
use std::process::Command;

use kcompose_testing::{as_ordinary_user, needs};

/// The disk is made; that the image has no kernel is found after it.
#[test]
fn an_ordinary_user_makes_a_disk_whose_files_have_their_owners() {
    needs!(
        Root,
        Program("newuidmap"),
        Program("setpriv"),
        Program("mke2fs"),
        Program("debugfs"),
        Program("sfdisk")
    );
    let folder = tempfile::tempdir().unwrap();
    write_root(&folder.path().join("root.tar"));
    let boot = as_ordinary_user(folder.path(), Path::new(env!("CARGO_BIN_EXE_kcompose")))
        .args(["boot", "root.tar", "--disk", "home/disk.raw"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&boot.stderr);
    assert!(said.contains("kcompose::boot::kernel"), "{said}");

    let disk = folder.path().join("home/disk.raw");
    let image = active_image(&disk, folder.path());
    let shown = |path: &str| debugfs(&image, &format!("stat {path}"));
    assert!(
        shown("/etc/shadow").contains("User:     0   Group:    42"),
        "{}",
        shown("/etc/shadow")
    );
    assert!(
        shown("/home/user").contains("User:  1000   Group:  1000"),
        "{}",
        shown("/home/user")
    );
    assert!(shown("/etc/shadow").contains("Mode:  0640"));
    assert!(debugfs(&image, "ea_list /bin/ping").contains("security.capability (20)"));
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

/// A user without a range of ids is told so before anything is fetched.
#[test]
fn one_id_is_refused_before_the_build() {
    needs!(Root, Program("setpriv"), Program("unshare"));
    let folder = tempfile::tempdir().unwrap();
    let user = kcompose_testing::ORDINARY_USER;
    let program = folder.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_kcompose"), &program).unwrap();
    fs::write(
        folder.path().join("flavor.kdl"),
        fs::read(kcompose_testing::workspace().join("examples/minimal/flavor.kdl")).unwrap(),
    )
    .unwrap();
    let one_id = || {
        let mut command = Command::new("setpriv");
        command.args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
            "--",
        ]);
        command
    };
    let root_of_container = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--"]);
        command
    };
    for (mut command, owner) in [(one_id(), user), (root_of_container(), 0)] {
        std::os::unix::fs::chown(folder.path(), Some(owner), Some(owner)).unwrap();
        let build = command
            .arg(&program)
            .args(["build", "--engine", "embedded", "-o", "type=oci,dest=o.tar"])
            .args(["--cache-dir", "cache"])
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&build.stderr);
        assert_eq!(build.status.code(), Some(3), "{said}");
        assert!(said.contains("kcompose::engine::one-id"), "{said}");
        assert!(said.contains("help: "), "{said}");
        assert!(!folder.path().join("cache/blobs").exists() && !folder.path().join("o.tar").exists());
        let _ = fs::remove_dir_all(folder.path().join("cache"));
    }
}

/// A tree as a tar, with owners, a capability and a device.
fn write_root(path: &Path) {
    let mut archive = tar::Builder::new(fs::File::create(path).unwrap());
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, (uid, gid): (u64, u64), content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(1);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, name, content).unwrap();
    };
    for name in ["bin", "boot", "dev", "etc", "home", "usr"] {
        add(name, tar::EntryType::Directory, 0o755, (0, 0), b"");
    }
    add("etc/shadow", tar::EntryType::Regular, 0o640, (0, 42), b"secret");
    add("home/user", tar::EntryType::Directory, 0o700, (1000, 1000), b"");
    add("dev/console", tar::EntryType::Char, 0o600, (0, 0), b"");
    // VFS_CAP_REVISION_2, effective; CAP_NET_RAW permitted.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut archive = archive;
    archive
        .append_pax_extensions([("SCHILY.xattr.security.capability", &capability[..])])
        .unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(0);
    archive.append_data(&mut header, "bin/ping", &b""[..]).unwrap();
    archive.finish().unwrap();
}

/// Copies the active image out of the state partition of a disk.
fn active_image(disk: &Path, folder: &Path) -> std::path::PathBuf {
    let table = Command::new("sfdisk").arg("--json").arg(disk).output().unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let state = partitions
        .iter()
        .find(|partition| partition["name"] == "state")
        .unwrap();
    let offset = state["start"].as_u64().unwrap() * 512;
    let image = folder.join("active.img");
    let device = format!("{}?offset={offset}", disk.display());
    debugfs(
        Path::new(&device),
        &format!("dump /cOS/active.img {}", image.display()),
    );
    image
}

fn debugfs(device: &Path, request: &str) -> String {
    let output = Command::new("debugfs")
        .args(["-R", request])
        .arg(device)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
