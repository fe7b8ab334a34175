//! Real packages of Debian, from archives to a configured root with an initrd, twice and in different groups.
//!
//! The archives are fetched once, by the apt of this machine, and kept in the cache of the tests.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const EPOCH: i64 = 1_700_000_000;
const STEP: &str = env!("CARGO_BIN_EXE_kcompose-step");
/// What is asked for; Essential packages and what all of them need come along.
const ASKED: &[&str] = &[
    "?essential",
    "systemd-sysv",
    "udev",
    "kmod",
    "dbus",
    "e2fsprogs",
    "openssh-server",
    "linux-image-cloud-amd64",
];

#[test]
fn any_grouping_gives_the_same_root() {
    kcompose_testing::needs!(
        Root,
        Mirror,
        Program("apt-get"),
        Program("unshare"),
        Program("dpkg-deb")
    );
    let archives = archives();
    let essential = essential_closure(&archives);
    let scratch = tempfile::tempdir().unwrap();
    let roots: Vec<PathBuf> = [1, 3]
        .iter()
        .map(|groups| build(&scratch, &archives, *groups, &essential))
        .collect();
    let [one, three] = [listing(&roots[0]), listing(&roots[1])];
    assert!(one.len() > 5000, "{} paths", one.len());
    let different: Vec<_> = one
        .keys()
        .chain(three.keys())
        .filter(|path| one.get(*path) != three.get(*path))
        .collect();
    assert!(different.is_empty(), "{different:?}");
    let verified = in_root(&roots[0], &["dpkg", "--verify"]);
    assert!(verified.is_empty(), "{verified}");
    let ids = std::fs::read_to_string(roots[0].join("etc/passwd")).unwrap();
    assert!(
        ids.contains("\nmessagebus:x:701:701:") && ids.contains("\nsshd:x:703:65534:"),
        "{ids}"
    );
    let helper = roots[0]
        .join("usr/lib/dbus-1.0/dbus-daemon-launch-helper")
        .metadata()
        .unwrap();
    assert_eq!(
        (helper.gid(), helper.mode() & 0o7777),
        (701, 0o4754),
        "a new id keeps setuid"
    );
    check_initrd(&scratch, &roots[0]);
}

/// All archives of the closure; kept between runs.
fn archives() -> Vec<PathBuf> {
    let directory = kcompose_testing::cache().join(format!("step-{}", &hash(&ASKED.join(" "))[..12]));
    if !directory.join("complete").is_file() {
        fetch(&directory);
        std::fs::write(directory.join("complete"), "").unwrap();
    }
    let mut archives: Vec<PathBuf> = std::fs::read_dir(directory.join("archives"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    archives.sort();
    assert!(archives.len() > 100, "{archives:?}");
    archives
}

fn fetch(directory: &Path) {
    for below in ["lists/partial", "archives/partial", "etc"] {
        std::fs::create_dir_all(directory.join(below)).unwrap();
    }
    let at = |below: &str| directory.join(below).display().to_string();
    let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = format!(
        "deb [signed-by={keyring}] {} trixie main\n",
        kcompose_testing::mirror()
    );
    std::fs::write(directory.join("etc/sources.list"), signed).unwrap();
    std::fs::write(directory.join("status"), "").unwrap();
    let options = [
        "Dir::Etc::Parts=/nonexistent".to_owned(),
        format!("Dir::Etc::SourceList={}", at("etc/sources.list")),
        "Dir::Etc::SourceParts=/nonexistent".to_owned(),
        "Dir::Etc::Preferences=/nonexistent".to_owned(),
        "Dir::Etc::PreferencesParts=/nonexistent".to_owned(),
        format!("Dir::State::Lists={}", at("lists")),
        format!("Dir::State::Status={}", at("status")),
        format!("Dir::Cache={}", directory.display()),
        format!("Dir::Cache::Archives={}", at("archives")),
        "APT::Architecture=amd64".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        "APT::Install-Recommends=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "APT::Keep-Downloaded-Packages=true".to_owned(),
        "Binary::apt-get::APT::Keep-Downloaded-Packages=true".to_owned(),
    ];
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive")
            .args(options.iter().flat_map(|option| ["-o", option]));
        run(apt.args(arguments));
    };
    apt(&["update"]);
    apt(&[&["install", "--yes", "--download-only"], ASKED].concat());
}

/// The names of the packages that Essential ones need, themselves included.
fn essential_closure(archives: &[PathBuf]) -> Vec<String> {
    let format = "--showformat=${Package}|${Essential}|${Pre-Depends}, ${Depends}|${Provides}\n";
    let mut packages: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut providers: BTreeMap<String, String> = BTreeMap::new();
    let mut todo = Vec::new();
    for archive in archives {
        let text = run(Command::new("dpkg-deb").args(["--show", format]).arg(archive));
        let fields: Vec<&str> = text.trim_end().split('|').collect();
        // Alternatives are separated by the same sign as the fields: the last field is what is provided.
        let (name, provides) = (fields[0].to_owned(), fields[fields.len() - 1]);
        let needs = fields[2..fields.len() - 1].join("|");
        let word = |text: &str| {
            text.trim()
                .split([' ', '(', ':'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let first = |group: &str| group.split('|').map(word).collect::<Vec<_>>();
        packages.insert(name.clone(), needs.split(',').flat_map(first).collect());
        providers.extend(provides.split(',').map(|provided| (word(provided), name.clone())));
        if fields[1] == "yes" {
            todo.push(name);
        }
    }
    let mut closure = std::collections::BTreeSet::new();
    while let Some(name) = todo.pop() {
        let real = if packages.contains_key(&name) {
            Some(&name)
        } else {
            providers.get(&name)
        };
        if let Some(real) = real.filter(|real| closure.insert((*real).clone())) {
            todo.extend(packages[real].iter().cloned());
        }
    }
    closure.into_iter().collect()
}

/// Unpacks in so many groups, puts them together, and configures; the root.
fn build(scratch: &TempDir, archives: &[PathBuf], groups: usize, essential: &[String]) -> PathBuf {
    let place = scratch.path().join(format!("of-{groups}"));
    let root = place.join("root");
    let run_directory = place.join("run");
    std::fs::create_dir_all(&run_directory).unwrap();
    std::fs::create_dir_all(&root).unwrap();
    for group in 0..groups {
        let out = place.join(format!("group-{group}"));
        let mine: Vec<&PathBuf> = archives.iter().skip(group).step_by(groups).collect();
        step(
            &place,
            &json!([{
                "do": "unpack", "archives": mine, "root": out, "parts": run_directory.join(format!("parts/{group}")), "merged_usr": group == 0,
            }]),
        );
        run(Command::new("cp").arg("--archive").arg(out.join(".")).arg(&root));
        std::fs::remove_dir_all(out).unwrap();
    }
    let parts: Vec<String> = (0..groups).map(|group| format!("/run/parts/{group}")).collect();
    let actions = json!([
        { "do": "configure", "parts": parts, "merged": true, "first": essential, "ids": ids(), "selections": [], "stub_depmod": true },
        { "do": "clean", "delete": [] },
        { "do": "times", "added": null },
    ]);
    write_program(&run_directory.join("program.json"), &actions);
    std::fs::copy(STEP, run_directory.join("step")).unwrap();
    in_root(&root, &["/run/step", "/run/program.json"]);
    root
}

/// Ids that no package would choose by itself.
fn ids() -> Value {
    let users = json!({ "systemd-network": 700, "messagebus": 701, "sshd": 703, "systemd-timesync": 704 });
    let names = [
        "systemd-network",
        "messagebus",
        "systemd-journal",
        "_ssh",
        "systemd-timesync",
        "input",
        "sgx",
        "clock",
        "kvm",
        "render",
        "netdev",
        "crontab",
    ];
    let groups: BTreeMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(index, name)| (*name, 700 + index))
        .collect();
    json!({ "users": users, "groups": groups })
}

/// Runs a program in a root as a build step would: no network, `/proc`, a small `/dev`, and the directory beside the root
/// as `/run`. What it printed on stdout.
fn in_root(root: &Path, argv: &[&str]) -> String {
    const SCRIPT: &str = "
        set -e
        mount --make-rprivate /
        mount -t proc proc \"$0/proc\"
        mount --bind \"$0/../run\" \"$0/run\"
        mount -t tmpfs none \"$0/tmp\"
        mount -t tmpfs none \"$0/dev\"
        for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 \"$0/dev/${node%:*}\" c 1 \"${node#*:}\"; done
        ln -s /proc/self/fd \"$0/dev/fd\"
        exec chroot \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    run(unshare
        .args(["--mount", "--pid", "--fork", "--net", "sh", "-c", SCRIPT])
        .arg(root)
        .args(argv))
}

fn write_program(path: &Path, actions: &Value) {
    std::fs::write(path, json!({ "epoch": EPOCH, "actions": actions }).to_string()).unwrap();
}

fn step(place: &Path, actions: &Value) {
    let program = place.join("program.json");
    write_program(&program, actions);
    run(Command::new(STEP).arg(program));
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{printed}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Everything about each path of a root that an image would hold.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    fn add(root: &Path, at: &Path, all: &mut BTreeMap<PathBuf, String>) {
        let found = at.symlink_metadata().unwrap();
        let mut line = format!(
            "{:o} {}:{} {}",
            found.mode(),
            found.uid(),
            found.gid(),
            found.mtime()
        );
        if found.is_symlink() {
            write!(line, " {}", std::fs::read_link(at).unwrap().display()).unwrap();
        } else if found.is_file() {
            write!(
                line,
                " {} {:x?}",
                found.nlink(),
                Sha256::digest(std::fs::read(at).unwrap())
            )
            .unwrap();
        }
        all.insert(at.strip_prefix(root).unwrap().to_owned(), line);
        if found.is_dir() {
            std::fs::read_dir(at)
                .unwrap()
                .for_each(|entry| add(root, &entry.unwrap().path(), all));
        }
    }
    let mut all = BTreeMap::new();
    add(root, root, &mut all);
    all
}

fn hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The initrd has the libraries that systemd opens by name, and is the same each time.
fn check_initrd(scratch: &TempDir, root: &Path) {
    let place = scratch.path();
    let indexes = place.join("of-1/run/modules");
    std::fs::create_dir_all(&indexes).unwrap();
    write_program(
        &place.join("of-1/run/depmod.json"),
        &json!([{ "do": "depmod", "out": "/run/modules" }]),
    );
    in_root(root, &["/run/step", "/run/depmod.json"]);
    let recipe = json!({
        "programs": ["/usr/lib/systemd/systemd", "/usr/bin/kmod"], "optional_programs": ["/usr/bin/never"], "libraries": [],
        "units": ["initrd.target"], "files": ["/usr/lib/udev/rules.d/"], "modules": ["ext4", "virtio_blk"],
        "optional_modules": ["never"], "module_directories": [], "inline": [], "links": [["/init", "usr/lib/systemd/systemd"]],
    });
    let mut written = Vec::new();
    for out in ["first/boot/initrd", "second/boot/initrd"] {
        let out = place.join(out);
        step(
            place,
            &json!([{ "do": "initrd", "root": root, "modules_index": indexes, "out": out, "recipe": recipe }]),
        );
        written.push(std::fs::read(out).unwrap());
    }
    assert!(written[0] == written[1], "two initrds differ");
    let mut archive = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&written[0][..]), &mut archive).unwrap();
    let has = |part: &str| {
        archive
            .windows(part.len())
            .any(|window| window == part.as_bytes())
    };
    for part in [
        "usr/lib/x86_64-linux-gnu/libkmod.so.2",
        "ld-linux-x86-64.so.2",
        "virtio_blk.ko",
        "modules.dep.bin",
        "init\0",
    ] {
        assert!(has(part), "{part} is not in the initrd");
    }
}
