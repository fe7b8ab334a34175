//! Steps on overlays of this machine, without an engine, and layers to compare with an engine's.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use kcompose_engine::{BuildResult, LayerStore};

/// Where an overlay is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// As root of this machine.
    Root,
    /// In a user namespace that has root alone.
    User,
}

/// An overlay: what is below, and what a step changes.
pub struct Overlay {
    pub lower: Vec<PathBuf>,
    pub upper: PathBuf,
    place: PathBuf,
}

impl Overlay {
    /// Directories for an overlay on layers, the top one first.
    pub fn new(place: &Path, lower: &[PathBuf]) -> Overlay {
        for name in ["upper", "work", "merged"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        Overlay {
            lower: lower.to_vec(),
            upper: place.join("upper"),
            place: place.to_owned(),
        }
    }

    /// Runs a script with the overlay as its root, in namespaces that end with it.
    #[track_caller]
    pub fn run(&self, script: &str) {
        // The shell finds its own program in /proc.
        self.mounted(
            Space::Root,
            r#"mount -t proc proc merged/proc; exec chroot merged /bin/sh -c "$1" sh"#,
            &[script],
        );
    }

    /// Runs a command of this machine's shell while the overlay is mounted at `merged`.
    #[track_caller]
    pub fn mounted(&self, space: Space, command: &str, arguments: &[&str]) {
        let lower: Vec<String> = self
            .lower
            .iter()
            .map(|layer| layer.display().to_string())
            .collect();
        let (flags, option): (&[&str], _) = match space {
            Space::Root => (&[], ""),
            Space::User => (&["--user", "--map-root-user"], "userxattr,"),
        };
        let mount = format!(
            r#"set -e; cd '{place}'
            mount -t overlay overlay -o '{option}lowerdir={lower},upperdir=upper,workdir=work,index=off,metacopy=off,redirect_dir=nofollow' merged
            {command}"#,
            place = self.place.display(),
            lower = lower.join(":"),
        );
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .args(flags)
            .args(["/bin/sh", "-c", &mount, "sh"])
            .args(arguments)
            .status()
            .unwrap();
        assert!(status.success(), "{status}");
    }

    /// The layer of what was changed.
    #[track_caller]
    pub fn layer(&self) -> Vec<u8> {
        kcompose_engine::layer::diff(&self.upper, &self.lower, Vec::new()).unwrap()
    }
}

/// The archives of an image's layers, the lowest first.
pub fn archives(result: &BuildResult, store: &Path) -> Vec<Vec<u8>> {
    let store = LayerStore::new(store, result.image.compression);
    let archive = |layer| {
        let mut bytes = Vec::new();
        store.unpacked(layer).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    result.image.layers.iter().map(archive).collect()
}

/// Unpacks the archive of a layer that deletes nothing.
pub fn unpack(archive: &[u8], into: &Path) {
    let file = into.with_extension("tar");
    fs::write(&file, archive).unwrap();
    fs::create_dir_all(into).unwrap();
    let status = Command::new("tar")
        .args([
            "--extract",
            "--numeric-owner",
            "--same-owner",
            "--same-permissions",
            "--xattrs",
            "--xattrs-include=*",
            "--file",
        ])
        .arg(&file)
        .arg("--directory")
        .arg(into)
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    fs::remove_file(file).unwrap();
}

/// Compares archives and says where they begin to differ.
#[track_caller]
pub fn check_equal(ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    check_lines(&lines(ours), &lines(theirs));
    panic!("the same entries, and other bytes");
}

/// Compares what archives hold and says where that begins to differ.
#[track_caller]
pub fn check_lines(ours: &[String], theirs: &[String]) {
    let at = ours
        .iter()
        .zip(theirs)
        .take_while(|(one, other)| one == other)
        .count();
    let from = at.saturating_sub(3);
    let some = |lines: &[String]| lines[from.min(lines.len())..(at + 4).min(lines.len())].join("\n  ");
    assert!(
        ours == theirs,
        "{} and {} entries, different from {at}:\nours\n  {}\ntheirs\n  {}",
        ours.len(),
        theirs.len(),
        some(ours),
        some(theirs)
    );
}

/// The names in an archive.
pub fn names(archive: &[u8]) -> Vec<String> {
    let mut read = tar::Archive::new(archive);
    read.entries()
        .unwrap()
        .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
        .collect()
}

/// A line for each entry.
pub fn lines(archive: &[u8]) -> Vec<String> {
    let mut read = tar::Archive::new(archive);
    read.entries()
        .unwrap()
        .map(|entry| line(&mut entry.unwrap()))
        .collect()
}

fn line<R: Read>(entry: &mut tar::Entry<'_, R>) -> String {
    let mut content = Vec::new();
    let records: Vec<String> = entry
        .pax_extensions()
        .unwrap()
        .into_iter()
        .flatten()
        .map(|record| String::from_utf8_lossy(record.unwrap().value_bytes()).into_owned())
        .collect();
    entry.read_to_end(&mut content).unwrap();
    let header = entry.header();
    format!(
        "{:?} {:?} -> {:?} {:o} {:?}:{:?} @{:?} dev {:?}:{:?} {} bytes {} {} {records:?}",
        String::from_utf8_lossy(&entry.path_bytes()),
        header.entry_type(),
        entry
            .link_name_bytes()
            .map(|link| String::from_utf8_lossy(&link).into_owned()),
        header.mode().unwrap_or(0),
        header.uid(),
        header.gid(),
        header.mtime(),
        header.device_major(),
        header.device_minor(),
        content.len(),
        String::from_utf8_lossy(&content[..content.len().min(20)]),
        &kcompose_engine::digest::sha256(&content)[7..15],
    )
}

/// Times of the last hour as one: what is dated by the clock differs between two runs.
pub fn without_now(archive: &[u8]) -> Vec<String> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    lines(archive)
        .into_iter()
        .map(|line| {
            let (before, rest) = line.split_once(" @Ok(").unwrap();
            let (time, after) = rest.split_once(')').unwrap();
            let is_recent = time
                .parse::<u64>()
                .is_ok_and(|time| time + 3600 > now && time <= now);
            if is_recent {
                format!("{before} @now{after}")
            } else {
                line
            }
        })
        .collect()
}
