//! The seed of kept paths, run as a boot runs it: on a folder instead of a root.
#![allow(
    clippy::disallowed_methods,
    reason = "a test's own folder holds nothing of others"
)]
#![expect(clippy::unwrap_used, reason = "a test's own files are where it put them")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// One thing in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u32, &'static str),
    Directory(u32),
    Link(&'static str),
}
use Node::{Directory, File, Link};

const KEPT: [&str; 3] = ["/etc/app", "/etc/app/deep", "/root"];

/// A machine with a disk; images come and go on it.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Machine {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    /// The place of a kept path's entry in the state.
    fn state(&self, path: &str) -> PathBuf {
        self.path(&format!("/usr/local/.state/{path}"))
    }

    /// Puts an image in place of the one before and runs its seed.
    fn boot(&self, image: &[(&str, Node)]) -> &Self {
        self.install(image);
        assert!(self.seed(), "the seed failed");
        self
    }

    fn install(&self, image: &[(&str, Node)]) {
        for top in ["/etc", "/root", "/usr/lib"] {
            let _ = fs::remove_dir_all(self.path(top));
        }
        for (path, node) in image {
            make(&self.path(path), *node);
        }
        let data = self.path("/usr/lib/kcompose/layout");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("kept"), KEPT.map(|path| format!("{path}\n")).concat()).unwrap();
        let manifest = self.manifest();
        fs::write(
            self.path("/usr/lib/kcompose/image-id"),
            format!("{}\n", hex(manifest.as_bytes())),
        )
        .unwrap();
        fs::write(data.join("seed.manifest"), manifest).unwrap();
    }

    /// Runs the seed; whether it succeeded.
    fn seed(&self) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime/systemd/image/seed.sh");
        let status = Command::new("sh")
            .arg(script)
            .arg(self.folder.path())
            .status()
            .unwrap();
        status.success()
    }

    fn manifest(&self) -> String {
        let mut paths = Vec::new();
        for kept in KEPT {
            walk(&self.path(kept), &mut paths);
        }
        paths.sort();
        paths.dedup();
        let mut lines: Vec<String> = paths.iter().map(|path| self.manifest_line(path)).collect();
        lines.sort_by_key(|line| line.rsplit(' ').next().map(str::to_owned));
        lines.concat()
    }

    fn manifest_line(&self, path: &Path) -> String {
        let entry = fs::symlink_metadata(path).unwrap();
        let (kind, value) = if entry.is_symlink() {
            ('l', escaped(fs::read_link(path).unwrap().to_str().unwrap()))
        } else if entry.is_dir() {
            ('d', "-".to_owned())
        } else {
            ('f', hex(&fs::read(path).unwrap()))
        };
        let inside = path.strip_prefix(self.folder.path()).unwrap().to_str().unwrap();
        let (mode, uid, gid) = (entry.mode() & 0o7777, entry.uid(), entry.gid());
        format!("{kind} {mode:04o} {uid} {gid} {value} /{}\n", escaped(inside))
    }

    #[track_caller]
    fn expect(&self, path: &str, node: Node) -> &Self {
        assert_eq!(look(&self.state(path)), Some(node), "{path}");
        self
    }

    #[track_caller]
    fn expect_nothing(&self, path: &str) -> &Self {
        assert_eq!(look(&self.state(path)), None, "{path}");
        self
    }
}

fn make(path: &Path, node: Node) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match node {
        File(mode, text) => {
            fs::write(path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Directory(mode) => {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Link(target) => symlink(target, path).unwrap(),
    }
}

fn look(path: &Path) -> Option<Node> {
    let entry = fs::symlink_metadata(path).ok()?;
    let mode = entry.mode() & 0o7777;
    Some(if entry.is_symlink() {
        Link(fs::read_link(path).unwrap().to_str().unwrap().to_owned().leak())
    } else if entry.is_dir() {
        Directory(mode)
    } else {
        File(mode, fs::read_to_string(path).unwrap().leak())
    })
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entry) = fs::symlink_metadata(path) else {
        return;
    };
    found.push(path.to_owned());
    if entry.is_dir() {
        for inner in fs::read_dir(path).unwrap() {
            walk(&inner.unwrap().path(), found);
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040")
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

const FIRST: &[(&str, Node)] = &[
    ("/etc/app/plain", File(0o644, "one")),
    ("/etc/app/secret", File(0o600, "one")),
    ("/etc/app/sub/inner", File(0o644, "one")),
    ("/etc/app/link", Link("plain")),
    ("/etc/app/a name with \\ in it", File(0o644, "one")),
    ("/etc/app/F\u{151}tan\u{fa}s", File(0o644, "one")),
    ("/etc/app/deep/own", File(0o644, "one")),
    ("/root", Directory(0o700)),
];

#[test]
fn the_first_boot_copies_everything_with_modes_and_links() {
    Machine::new()
        .boot(FIRST)
        .expect("etc-app.bind/plain", File(0o644, "one"))
        .expect("etc-app.bind/secret", File(0o600, "one"))
        .expect("etc-app.bind/sub/inner", File(0o644, "one"))
        .expect("etc-app.bind/link", Link("plain"))
        .expect("etc-app.bind/a name with \\ in it", File(0o644, "one"))
        .expect("etc-app.bind/F\u{151}tan\u{fa}s", File(0o644, "one"))
        .expect("root.bind", Directory(0o700));
}

#[test]
fn a_kept_path_inside_another_has_its_own_state() {
    Machine::new()
        .boot(FIRST)
        .expect("etc-app-deep.bind/own", File(0o644, "one"))
        .expect_nothing("etc-app.bind/deep/own");
}

#[test]
fn what_nobody_touched_follows_the_image() {
    let machine = Machine::new();
    machine.boot(FIRST).boot(&[
        ("/etc/app/plain", File(0o644, "two")),
        ("/etc/app/secret", File(0o640, "one")),
        ("/etc/app/link", Link("secret")),
        ("/etc/app/new/file", File(0o644, "two")),
        ("/etc/app/a name with \\ in it", File(0o644, "two")),
        ("/root", Directory(0o750)),
    ]);
    machine
        .expect("etc-app.bind/plain", File(0o644, "two"))
        .expect("etc-app.bind/secret", File(0o640, "one"))
        .expect("etc-app.bind/link", Link("secret"))
        .expect("etc-app.bind/new/file", File(0o644, "two"))
        .expect("etc-app.bind/a name with \\ in it", File(0o644, "two"))
        .expect("root.bind", Directory(0o750))
        .expect_nothing("etc-app.bind/sub")
        .expect_nothing("etc-app.bind/F\u{151}tan\u{fa}s")
        .expect_nothing("etc-app-deep.bind/own");
}

#[test]
fn what_somebody_edited_stays() {
    let machine = Machine::new();
    machine.boot(FIRST);
    fs::write(machine.state("etc-app.bind/plain"), "mine").unwrap();
    fs::set_permissions(
        machine.state("etc-app.bind/secret"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    fs::remove_file(machine.state("etc-app.bind/link")).unwrap();
    symlink("elsewhere", machine.state("etc-app.bind/link")).unwrap();
    fs::write(machine.state("etc-app.bind/sub/mine"), "mine").unwrap();
    machine.boot(&[
        ("/etc/app/plain", File(0o644, "two")),
        ("/etc/app/secret", File(0o600, "two")),
        ("/etc/app/link", Link("secret")),
    ]);
    machine
        .expect("etc-app.bind/plain", File(0o644, "mine"))
        .expect("etc-app.bind/secret", File(0o644, "one"))
        .expect("etc-app.bind/link", Link("elsewhere"))
        .expect("etc-app.bind/sub/mine", File(0o644, "mine"))
        .expect_nothing("etc-app.bind/sub/inner");
}

#[test]
fn an_edited_file_stays_when_the_image_drops_it() {
    let machine = Machine::new();
    machine.boot(FIRST);
    fs::write(machine.state("etc-app.bind/plain"), "mine").unwrap();
    machine
        .boot(&[("/etc/app", Directory(0o755))])
        .expect("etc-app.bind/plain", File(0o644, "mine"));
}

#[test]
fn what_somebody_deleted_stays_deleted_and_what_is_new_comes() {
    let machine = Machine::new();
    machine.boot(FIRST);
    fs::remove_file(machine.state("etc-app.bind/plain")).unwrap();
    fs::remove_dir_all(machine.state("etc-app.bind/sub")).unwrap();
    machine.boot(&[
        ("/etc/app/plain", File(0o644, "two")),
        ("/etc/app/sub", Directory(0o750)),
        ("/etc/app/sub/inner", File(0o644, "two")),
        ("/etc/app/sub/new", File(0o644, "two")),
    ]);
    machine
        .expect_nothing("etc-app.bind/plain")
        .expect_nothing("etc-app.bind/sub/inner")
        .expect("etc-app.bind/sub", Directory(0o750))
        .expect("etc-app.bind/sub/new", File(0o644, "two"));
}

#[test]
fn files_and_directories_take_each_others_place() {
    let machine = Machine::new();
    machine.boot(FIRST).boot(&[
        ("/etc/app/plain/now", File(0o644, "two")),
        ("/etc/app/sub", File(0o644, "two")),
    ]);
    machine
        .expect("etc-app.bind/plain/now", File(0o644, "two"))
        .expect("etc-app.bind/sub", File(0o644, "two"));
}

#[test]
fn a_directory_with_somebodys_file_does_not_give_way_to_a_file() {
    let machine = Machine::new();
    machine.boot(FIRST);
    fs::write(machine.state("etc-app.bind/sub/mine"), "mine").unwrap();
    machine.boot(&[
        ("/etc/app/sub", File(0o644, "two")),
        ("/etc/app/plain", File(0o644, "two")),
    ]);
    machine
        .expect("etc-app.bind/sub/mine", File(0o644, "mine"))
        .expect("etc-app.bind/plain", File(0o644, "two"));
}

#[test]
fn a_link_in_place_of_a_directory_leads_nowhere() {
    let machine = Machine::new();
    machine.boot(FIRST);
    let outside = machine.path("/outside");
    make(&outside.join("inner"), File(0o644, "one"));
    fs::remove_dir_all(machine.state("etc-app.bind/sub")).unwrap();
    symlink(&outside, machine.state("etc-app.bind/sub")).unwrap();
    machine.boot(&[
        ("/etc/app/sub/inner", File(0o644, "two")),
        ("/etc/app/sub/new", File(0o644, "two")),
    ]);
    assert_eq!(look(&outside.join("inner")), Some(File(0o644, "one")));
    assert_eq!(look(&outside.join("new")), None);
}

#[test]
fn a_directory_made_before_any_image_shipped_it_takes_the_images_mode() {
    let machine = Machine::new();
    make(&machine.state("root.bind"), Directory(0o755));
    machine.boot(FIRST).expect("root.bind", Directory(0o700));
}

#[test]
fn state_of_another_tool_is_only_added_to() {
    let machine = Machine::new();
    make(&machine.state("etc-app.bind/plain"), File(0o644, "theirs"));
    machine
        .boot(FIRST)
        .expect("etc-app.bind/plain", File(0o644, "theirs"))
        .expect("etc-app.bind/secret", File(0o600, "one"));
}

#[test]
fn a_cut_seed_is_made_good_by_the_same_image_and_by_the_one_before() {
    let second: &[(&str, Node)] = &[
        ("/etc/app/plain", File(0o644, "two")),
        ("/etc/app/added", File(0o644, "two")),
    ];
    for (image, plain, added) in [(second, "two", Some(File(0o644, "two"))), (FIRST, "one", None)] {
        let machine = Machine::new();
        machine.boot(FIRST);
        // The power went while the second image was at work: one file half written, one gone, one there already.
        let dirty = "etc-app.bind/plain\netc-app.bind/secret\netc-app.bind/added\n";
        fs::write(machine.state(".kcompose/dirty"), dirty).unwrap();
        fs::write(machine.state("etc-app.bind/plain"), "tw").unwrap();
        fs::remove_file(machine.state("etc-app.bind/secret")).unwrap();
        fs::write(machine.state("etc-app.bind/added"), "two").unwrap();
        machine
            .boot(image)
            .expect("etc-app.bind/plain", File(0o644, plain.to_owned().leak()));
        assert_eq!(look(&machine.state("etc-app.bind/added")), added);
        assert_eq!(
            look(&machine.state("etc-app.bind/secret")).is_some(),
            image.len() == FIRST.len()
        );
        assert!(!machine.state(".kcompose/dirty").exists());
    }
}

#[test]
fn a_failed_seed_says_so_and_is_repeated() {
    let machine = Machine::new();
    machine.install(FIRST);
    // The image lacks what its manifest promises.
    fs::remove_file(machine.path("/etc/app/plain")).unwrap();
    assert!(!machine.seed());
    assert!(!machine.state(".kcompose/image-id").exists());
    machine
        .boot(FIRST)
        .expect("etc-app.bind/plain", File(0o644, "one"));
}
