//! Small packages, made here, through the whole of unpacking. Owners are set, so this needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const EPOCH: i64 = 1_700_000_000;

/// A package to be made: its control fields, members of the control archive, and files.
#[derive(Default)]
struct Package {
    control: String,
    members: Vec<(&'static str, &'static str)>,
    entries: Vec<Entry>,
}

enum Entry {
    Directory(&'static str, u32),
    File(&'static str, &'static str),
    Link(&'static str, &'static str),
    HardLink(&'static str, &'static str),
}

fn package(name: &str, fields: &str) -> Package {
    let control = format!(
        "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nMaintainer: t\nDescription: t\n{fields}"
    );
    Package {
        control,
        ..Package::default()
    }
}

impl Package {
    fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    fn file(self, path: &'static str, text: &'static str) -> Self {
        self.entry(Entry::File(path, text))
    }

    fn member(mut self, name: &'static str, text: &'static str) -> Self {
        self.members.push((name, text));
        self
    }

    fn write(&self, path: &Path) {
        let mut control = tar::Builder::new(Vec::new());
        append(&mut control, "./control", self.control.as_bytes(), 0o644);
        for (name, text) in &self.members {
            append(&mut control, &format!("./{name}"), text.as_bytes(), 0o755);
        }
        let mut data = tar::Builder::new(Vec::new());
        for entry in &self.entries {
            match entry {
                Entry::Directory(path, mode) => {
                    let mut header = header(0, *mode);
                    header.set_entry_type(tar::EntryType::Directory);
                    data.append_data(&mut header, path, std::io::empty()).unwrap();
                }
                Entry::File(path, text) => append(&mut data, path, text.as_bytes(), 0o640),
                Entry::Link(path, target) => link(&mut data, tar::EntryType::Symlink, path, target),
                Entry::HardLink(path, target) => link(&mut data, tar::EntryType::Link, path, target),
            }
        }
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar", control.into_inner().unwrap()),
            ("data.tar", data.into_inner().unwrap()),
        ];
        let mut out = std::fs::File::create(path).unwrap();
        out.write_all(b"!<arch>\n").unwrap();
        for (name, bytes) in members {
            writeln!(
                out,
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
                0,
                0,
                0,
                "100644",
                bytes.len()
            )
            .unwrap();
            out.write_all(&bytes).unwrap();
            out.write_all(&vec![b'\n'; bytes.len() % 2]).unwrap();
        }
    }
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(7);
    header.set_gid(8);
    // Newer than the epoch: it has to be clamped.
    header.set_mtime(EPOCH as u64 + 5);
    header
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) {
    archive
        .append_data(&mut header(bytes.len() as u64, mode), path, bytes)
        .unwrap();
}

fn link(archive: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, path: &str, target: &str) {
    let mut header = header(0, 0o777);
    header.set_entry_type(kind);
    archive.append_link(&mut header, path, target).unwrap();
}

/// A root, the parts of a group, and the packages that are unpacked.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Bench(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// Unpacks packages; what was printed, if that failed.
    fn unpack(&self, packages: &[Package]) -> Result<(), String> {
        let mut archives = Vec::new();
        for (number, package) in packages.iter().enumerate() {
            let path = self.0.path().join(format!("{number}.deb"));
            package.write(&path);
            archives.push(path);
        }
        let program = serde_json::json!({ "epoch": EPOCH, "actions": [{
            "do": "unpack", "archives": archives, "root": self.root(), "parts": self.0.path().join("parts"), "merged_usr": true,
        }]});
        let path = self.0.path().join("program.json");
        std::fs::write(&path, program.to_string()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_kcompose-step"))
            .arg(path)
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stderr).unwrap();
        if output.status.success() {
            Ok(())
        } else {
            Err(printed)
        }
    }

    fn text(&self, path: &str) -> String {
        let path = self.0.path().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn meta(&self, path: &str) -> std::fs::Metadata {
        self.root().join(path).symlink_metadata().unwrap()
    }

    fn info(&self, name: &str) -> String {
        self.text(&format!("root/var/lib/dpkg/info/{name}"))
    }
}

#[test]
fn a_package_is_unpacked_with_its_database() {
    kcompose_testing::needs!(Root);
    let bench = Bench::new();
    let one = package("one", "Multi-Arch: same\n")
        .entry(Entry::Directory("./", 0o755))
        .entry(Entry::Directory("./bin/", 0o755))
        .entry(Entry::Directory("./var/spool/x/", 0o3775))
        .file("./bin/tool", "tool")
        .entry(Entry::HardLink("./bin/same", "./bin/tool"))
        .entry(Entry::Link("./bin/other", "tool"))
        .file("./etc/one.conf", "configuration\n")
        .member("conffiles", "/etc/one.conf\nremove-on-upgrade /etc/gone.conf\n")
        .member("postinst", "#!/bin/sh\n");
    bench.unpack(&[one]).unwrap();
    let tool = bench.meta("usr/bin/tool");
    assert_eq!(
        (tool.uid(), tool.gid(), tool.mode() & 0o7777, tool.mtime()),
        (7, 8, 0o640, EPOCH)
    );
    assert_eq!((tool.nlink(), tool.ino()), (2, bench.meta("usr/bin/same").ino()));
    assert_eq!(
        std::fs::read_link(bench.root().join("usr/bin/other")).unwrap(),
        Path::new("tool")
    );
    assert_eq!(
        std::fs::read_link(bench.root().join("bin")).unwrap(),
        Path::new("usr/bin")
    );
    let spool = bench.meta("var/spool/x");
    assert_eq!(
        (spool.permissions().mode() & 0o7777, spool.gid(), spool.mtime()),
        (0o3775, 8, EPOCH)
    );
    assert_eq!(
        (bench.meta("var/spool").uid(), bench.meta("").mtime()),
        (0, EPOCH)
    );
    for directory in [
        "usr",
        "usr/bin",
        "usr/lib64",
        "etc",
        "var",
        "var/lib",
        "var/lib/dpkg",
        "var/lib/dpkg/info",
    ] {
        assert_eq!(bench.meta(directory).mtime(), EPOCH, "{directory}");
    }
    let list = "/.\n/bin\n/var/spool/x\n/bin/tool\n/bin/same\n/bin/other\n/etc/one.conf\n";
    assert_eq!(bench.info("one:amd64.list"), list);
    assert_eq!(bench.info("one:amd64.postinst"), "#!/bin/sh\n");
    // The MD5 sum of `tool`, made here because the package brings none; conffiles are not in it.
    assert_eq!(
        bench.info("one:amd64.md5sums"),
        format!("{}  bin/tool\n", md5("tool"))
    );
    let status = bench.text("parts/status");
    assert!(status.contains("Status: install ok unpacked\n"), "{status}");
    let conffiles = format!(
        "Conffiles:\n /etc/one.conf {}\n /etc/gone.conf newconffile remove-on-upgrade\n",
        md5("configuration\n")
    );
    assert!(status.contains(&conffiles), "{status}");
    assert_eq!(bench.text("parts/directories"), "3775 7 8 one /var/spool/x\n");
}

fn md5(text: &str) -> String {
    use md5::{Digest, Md5};
    Md5::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn replaces_decides_whose_file_it_is() {
    kcompose_testing::needs!(Root);
    let bench = Bench::new();
    let old = package("a-old", "")
        .file("./usr/x", "old")
        .file("./usr/y", "mine");
    let new = package("b-new", "Replaces: a-old (<< 2)\n").file("./usr/x", "new");
    bench.unpack(&[old, new]).unwrap();
    assert_eq!(bench.text("root/usr/x"), "new");
    assert_eq!(
        (bench.info("a-old.list"), bench.info("b-new.list")),
        ("/usr/y\n".to_owned(), "/usr/x\n".to_owned())
    );
}

#[test]
fn two_owners_of_a_file_are_both_named() {
    kcompose_testing::needs!(Root);
    let one = package("one", "").file("./usr/x", "1");
    let two = package("two", "Replaces: one (<< 1)\n").file("./usr/x", "2");
    let printed = Bench::new().unpack(&[one, two]).unwrap_err();
    assert!(
        printed.contains("error[kcompose::step::file_conflict]: `/usr/x` is in `one` and in `two`"),
        "{printed}"
    );
    let directory = package("one", "")
        .entry(Entry::Directory("./usr/x/", 0o755))
        .file("./usr/x/f", "");
    let file = package("two", "").file("./usr/x", "2");
    let printed = Bench::new().unpack(&[directory, file]).unwrap_err();
    assert!(
        printed.contains("error[kcompose::step::type_conflict]: `/usr/x`"),
        "{printed}"
    );
}

#[test]
fn a_package_that_moves_files_of_others_waits_for_its_preinst() {
    kcompose_testing::needs!(Root);
    let one = || package("one", "").file("./usr/x", "1").file("./usr/y", "1");
    let two = || {
        package("two", "")
            .file("./usr/x", "2")
            .file("./usr/y", "2")
            .file("./usr/z", "2")
            .entry(Entry::HardLink("./usr/w", "./usr/z"))
            .member("preinst", "dpkg-divert --rename --add /usr/x\n")
    };
    for packages in [[one(), two()], [two(), one()]] {
        let bench = Bench::new();
        bench.unpack(&packages).unwrap();
        assert_eq!(
            (bench.text("root/usr/x"), bench.text("root/usr/y")),
            ("1".into(), "1".into())
        );
        assert!(!bench.root().join("usr/z").exists() && !bench.root().join("usr/w").exists());
        assert!(!bench.root().join("var/lib/dpkg/info/two.list").exists());
        assert!(!bench.text("parts/status").contains("Package: two"));
        assert!(bench.0.path().join("parts/late/two_amd64.deb").is_file());
    }
    // Alone, it is unpacked at once.
    let bench = Bench::new();
    bench.unpack(&[two()]).unwrap();
    assert_eq!(bench.text("root/usr/x"), "2");
    // In a root with a dpkg, its preinst never sees its own files.
    let bench = installed();
    let more = package("more", "")
        .file("./usr/more", "")
        .member("preinst", "set -e\n  rm -rf /usr/more\n");
    bench.unpack(&[two(), more]).unwrap();
    assert!(!bench.root().join("usr/more").exists());
    assert!(bench.0.path().join("parts/late/more_amd64.deb").is_file());
}

#[test]
fn a_link_to_a_directory_is_that_directory() {
    kcompose_testing::needs!(Root);
    let base = || {
        package("base", "")
            .entry(Entry::Link("./var/run", "/run"))
            .entry(Entry::Link("./usr/share/name", "real"))
            .file("./usr/share/real/x", "")
    };
    let other = || {
        package("other", "")
            .entry(Entry::Directory("./var/run/", 0o755))
            .file("./var/run/lost", "")
            .file("./usr/share/name/y", "")
    };
    for packages in [[base(), other()], [other(), base()]] {
        let bench = Bench::new();
        bench.unpack(&packages).unwrap();
        let target = |path: &str| std::fs::read_link(bench.root().join(path)).unwrap();
        assert_eq!(target("var/run"), Path::new("/run"));
        assert_eq!(target("usr/share/name"), Path::new("real"));
        assert!(bench.root().join("usr/share/real/y").is_file() && !bench.root().join("run").exists());
        assert_eq!(bench.text("parts/links"), "usr/share/name\treal\nvar/run\t/run\n");
    }
    // The link is there already, and leads nowhere yet.
    let bench = installed();
    std::os::unix::fs::symlink("memory/lock", bench.root().join("usr/lock")).unwrap();
    let package = package("one", "").entry(Entry::Directory("./usr/lock/sub/", 0o750));
    bench.unpack(&[package]).unwrap();
    assert_eq!(
        std::fs::read_link(bench.root().join("usr/lock")).unwrap(),
        Path::new("memory/lock")
    );
    assert!(bench.root().join("usr/memory/lock/sub").is_dir());
}

/// A root where `base` is installed, and `/usr/moved` is diverted by it.
fn installed() -> Bench {
    let bench = Bench::new();
    let base = package("base", "Replaces: loser\n")
        .file("./usr/x", "base")
        .file("./usr/z", "base");
    bench.unpack(&[base, package("dpkg", "")]).unwrap();
    let admin = bench.root().join("var/lib/dpkg");
    let status = bench.text("parts/status").replace("ok unpacked", "ok installed");
    std::fs::write(admin.join("status"), status).unwrap();
    std::fs::write(admin.join("diversions"), "/usr/moved\n/usr/moved.real\nbase\n").unwrap();
    bench
}

#[test]
fn a_later_stratum_respects_what_is_installed() {
    kcompose_testing::needs!(Root);
    let bench = installed();
    let loser = package("loser", "")
        .file("./usr/x", "loser")
        .file("./usr/moved", "moved");
    let winner = package("winner", "Replaces: base\n").file("./usr/z", "winner");
    let again = package("base", "").file("./usr/never", "the same version is there");
    bench.unpack(&[loser, winner, again]).unwrap();
    assert_eq!(
        (bench.text("root/usr/x"), bench.text("root/usr/z")),
        ("base".to_owned(), "winner".to_owned())
    );
    assert_eq!(bench.info("base.list"), "/usr/x\n");
    assert_eq!(bench.info("loser.list"), "/usr/moved\n");
    assert_eq!(bench.text("root/usr/moved.real"), "moved");
    assert!(!bench.root().join("usr/moved").exists() && !bench.root().join("usr/never").exists());
}

#[test]
fn a_later_stratum_cannot_change_a_lower_one() {
    kcompose_testing::needs!(Root);
    let mut newer = package("base", "");
    newer.control = newer.control.replace("1.0-1", "2.0-1");
    let printed = installed().unpack(&[newer]).unwrap_err();
    assert!(
        printed.contains("error[kcompose::step::other_version]: `base` 2.0-1"),
        "{printed}"
    );
    let printed = installed()
        .unpack(&[package("thief", "").file("./usr/z", "")])
        .unwrap_err();
    assert!(
        printed.contains("`/usr/z` is in `base` and in `thief`, and neither replaces the other"),
        "{printed}"
    );
}

#[test]
fn a_broken_archive_is_named() {
    kcompose_testing::needs!(Root);
    let bench = Bench::new();
    let path = bench.0.path().join("cut.deb");
    package("cut", "").file("./usr/x", "text").write(&path);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 600]).unwrap();
    let program = serde_json::json!({ "epoch": 0, "actions": [{
        "do": "unpack", "archives": [path], "root": bench.root(), "parts": bench.0.path().join("parts"), "merged_usr": false,
    }]});
    let file = bench.0.path().join("program.json");
    std::fs::write(&file, program.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kcompose-step"))
        .arg(file)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("error[kcompose::step::archive]") && printed.contains("cut.deb"),
        "{printed}"
    );
}
