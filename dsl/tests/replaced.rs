//! Folders in the place of a distro's.

use std::collections::BTreeMap;

use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, Options, REPLACED, load};

const FLAVOR: &str = include_str!("../../examples/minimal/flavor.kdl");

/// The codes that a load reports whose distro is in a folder with these files.
fn codes(files: &BTreeMap<String, String>) -> Vec<String> {
    let options = Options {
        replaced: ["debian".to_owned()].into(),
        ..Options::default()
    };
    let mut read = |path: &str| {
        let inside = path
            .strip_prefix(REPLACED)
            .and_then(|path| path.strip_prefix("debian/"));
        let text = inside.and_then(|path| files.get(path)).cloned();
        text.ok_or(LoadError::Missing)
    };
    match load(&mut SourceMap::new(), "flavor.kdl", FLAVOR, &mut read, &options) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .iter()
            .filter_map(|problem| Some(problem.code()?.to_string()))
            .collect(),
    }
}

#[test]
fn a_folder_may_stand_for_a_distro() {
    let prefix = "distros/debian/";
    let mut files: BTreeMap<String, String> = kcompose_library::paths()
        .filter_map(|path| {
            let text = kcompose_library::file(path)?;
            Some((path.strip_prefix(prefix)?.to_owned(), text.to_owned()))
        })
        .collect();
    assert_eq!(codes(&files), [""; 0]);
    let key = files
        .keys()
        .find(|path| path.starts_with("keys/trixie"))
        .unwrap()
        .clone();
    let text = files.remove(&key).unwrap();
    assert_eq!(codes(&files), ["kcompose::base::no-file"]);
    files.insert(key, text);
    for document in ["trixie.kdl", "distro.kdl"] {
        files.remove(document);
        assert_eq!(
            codes(&files),
            ["kcompose::base::no-document"],
            "without {document}"
        );
    }
}
