//! The manifest of what the image ships in its kept paths.
//!
//! The boot compares it with that of the image before, so that untouched files follow the image and edited ones stay. One
//! line an entry: `type mode uid gid value path`, where the value is the sha256 of a file, the target of a link, or `-`.
//! In paths and targets, white space, backslashes and control characters are octal (`\040`).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use kcompose_core::step::Seed;
use sha2::{Digest, Sha256};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome};
use crate::unpack::hex;

/// Identifies the release; part of the image's id.
const RELEASE: &str = "etc/kairos-release";

/// Writes the manifest and the image's id.
pub(crate) fn run(seed: &Seed, root: &Path, epoch: i64) -> Outcome<()> {
    let mut lines: BTreeMap<Vec<u8>, String> = BTreeMap::new();
    for path in &seed.paths {
        add(
            &fs::inside(root, path)?,
            path.trim_end_matches('/').as_bytes(),
            &mut lines,
        )?;
    }
    let manifest: String = lines.values().map(String::as_str).collect();
    let release = fs::read_optional(&root.join(RELEASE))?.unwrap_or_default();
    let id = hex(&Sha256::new()
        .chain_update(&manifest)
        .chain_update(release)
        .finalize());
    for (path, text) in [(&seed.manifest, manifest), (&seed.image_id, id + "\n")] {
        let at = fs::inside(root, path)?;
        fs::make_parent(&at, epoch)?;
        fs::write_file(&at, text.as_bytes(), Meta::root(0o644, epoch))?;
    }
    Ok(())
}

fn add(at: &Path, path: &[u8], lines: &mut BTreeMap<Vec<u8>, String>) -> Outcome<()> {
    let Some(found) = fs::look(at)? else { return Ok(()) };
    let Some((kind, value)) = describe(at, &found)? else {
        return Ok(());
    };
    let Meta { mode, uid, gid, .. } = fs::meta_of(&found);
    let line = format!("{kind} {mode:04o} {uid} {gid} {value} {}\n", escape(path));
    lines.insert(path.to_vec(), line);
    if found.is_dir() {
        for name in fs::names(at) {
            add(&at.join(&name), &[path, b"/", name.as_bytes()].concat(), lines)?;
        }
    }
    Ok(())
}

/// The letter and the value of an entry; devices, pipes and sockets are not shipped.
fn describe(at: &Path, found: &Metadata) -> Outcome<Option<(char, String)>> {
    if found.is_dir() {
        return Ok(Some(('d', "-".to_owned())));
    }
    if found.is_symlink() {
        let target = std::fs::read_link(at).doing("read", at)?;
        return Ok(Some(('l', escape(target.as_os_str().as_bytes()))));
    }
    if found.is_file() {
        let content = std::fs::read(at).doing("read", at)?;
        return Ok(Some(('f', hex(&Sha256::digest(content)))));
    }
    Ok(None)
}

fn escape(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_control() || byte.is_ascii_whitespace() || *byte == b'\\' {
            let mut octal = String::new();
            write!(octal, "\\{byte:03o}").expect("writing to a string never fails");
            out.extend_from_slice(octal.as_bytes());
        } else {
            out.push(*byte);
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| {
        // A name that is no UTF-8: all its other bytes are octal, so that the manifest stays text.
        error
            .as_bytes()
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    char::from(*byte).to_string()
                } else {
                    format!("\\{byte:03o}")
                }
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_lists_what_is_shipped() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/probe/a b")).unwrap();
        std::fs::write(root.path().join("etc/probe/f"), "abc").unwrap();
        fs::set_mode(&root.path().join("etc/probe/f"), 0o640).unwrap();
        std::os::unix::fs::symlink("f", root.path().join("etc/probe/l")).unwrap();
        let path = |path: &str| path.to_owned();
        let seed = Seed {
            paths: vec![path("/etc/probe"), path("/var/no")],
            manifest: path("/usr/m"),
            image_id: path("/usr/id"),
        };
        run(&seed, root.path(), 9).unwrap();
        let owner = fs::meta_of(&root.path().join("etc").metadata().unwrap());
        let (uid, gid) = (owner.uid, owner.gid);
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = format!(
            "d 0755 {uid} {gid} - /etc/probe\nd 0755 {uid} {gid} - /etc/probe/a\\040b\n\
             f 0640 {uid} {gid} {sum} /etc/probe/f\nl 0777 {uid} {gid} f /etc/probe/l\n"
        );
        assert_eq!(
            std::fs::read_to_string(root.path().join("usr/m")).unwrap(),
            expected
        );
        let first = std::fs::read_to_string(root.path().join("usr/id")).unwrap();
        assert_eq!(first.len(), 65);
        std::fs::write(root.path().join(RELEASE), "KAIROS_VERSION=2\n").unwrap();
        run(&seed, root.path(), 9).unwrap();
        assert_ne!(
            std::fs::read_to_string(root.path().join("usr/id")).unwrap(),
            first
        );
    }

    #[test]
    fn names_that_are_no_text_are_escaped() {
        assert_eq!(escape(b"a b\\\n"), "a\\040b\\134\\012");
        assert_eq!(escape("ü".as_bytes()), "ü");
        assert_eq!(escape(b"\xff x"), "\\377\\040x");
    }
}
