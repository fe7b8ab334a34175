//! Every example and every flavor of these tests, built by both engines: the same image to the last byte.

use std::fs;
use std::path::{Path, PathBuf};

use kcompose_testing::{needs, workspace};

use crate::run::{copy_folder, data, kcompose_with, scratch};

/// The flavors that there are, by the folder that each is in.
fn flavors() -> Vec<PathBuf> {
    let mut folders = vec![data("flavor")];
    for parent in [workspace().join("examples"), data("flavors")] {
        let entries = fs::read_dir(parent).unwrap();
        folders.extend(entries.map(|entry| entry.unwrap().path()));
    }
    folders.retain(|folder| folder.join("flavor.kdl").is_file());
    folders.sort();
    folders
}

#[test]
fn both_engines_make_the_same_image_of_every_flavor() {
    needs!(Root, BuildKit, Mirror);
    let flavors = flavors();
    assert!(flavors.len() >= 5, "{flavors:?}");
    for flavor in flavors {
        check(&flavor);
    }
}

fn check(flavor: &Path) {
    let folder = scratch();
    copy_folder(flavor, &folder.path().join("flavor"));
    let build = |engine: &str| {
        // Each with layers of its own, or the second would take those of the first.
        let layers = folder.path().join(format!("cache-{engine}"));
        share_packages(&layers);
        let environment = [("KCOMPOSE_CACHE_DIR", layers.to_str().unwrap())];
        let line = format!(
            "build flavor --engine {engine} --progress plain -o type=oci,dest={engine}.tar --metadata-file {engine}.json"
        );
        kcompose_with(folder.path(), &environment, &line).ok();
        let read = |end: &str| fs::read(folder.path().join(format!("{engine}.{end}"))).unwrap();
        let metadata: serde_json::Value = serde_json::from_slice(&read("json")).unwrap();
        let digest = |name: &str| {
            metadata[format!("containerimage.{name}digest")]
                .as_str()
                .unwrap()
                .to_owned()
        };
        (digest("config."), digest(""), read("tar"))
    };
    // The lock that the first one writes is the second one's as well.
    let (ours, theirs) = (build("embedded"), build("buildkit"));
    let name = flavor.file_name().unwrap_or_default().display();
    assert_eq!(
        ours.0, theirs.0,
        "{name}: the config, in which the layers are by their contents"
    );
    assert_eq!(ours.1, theirs.1, "{name}: the manifest");
    assert!(ours.2 == theirs.2, "{name}: the archive");
}

/// A cache folder with the packages and indexes of all tests, and no trees and layers.
pub(crate) fn share_packages(cache: &Path) {
    fs::create_dir_all(cache).unwrap();
    let shared = kcompose_testing::cache().join("store");
    fs::create_dir_all(&shared).unwrap();
    for entry in fs::read_dir(shared).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if !["engine", "layers", "tmp"].iter().any(|other| name == *other) {
            std::os::unix::fs::symlink(entry.path(), cache.join(name)).unwrap();
        }
    }
}
