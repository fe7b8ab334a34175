//! The library: distros, blocks and scripts of the runtimes, as embedded text.
//!
//! A distro is a folder of `distros/` with `distro.kdl` (what all its releases share) and a file for each release; a block
//! is a folder of `blocks/` with `block.kdl`. The build script embeds what lies in the folders, so that adding a file is
//! all that it takes. The meaning of the text is the language's (`kcompose-dsl`); here it is only found.

/// Every file of the library: its path, and its text. Sorted by path.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// A release of a distro: a document of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Release {
    /// The release's name, such as `trixie`.
    pub name: &'static str,
    /// The path of its document.
    pub path: &'static str,
    /// The document.
    pub text: &'static str,
}

/// A distro: what its releases share, and the releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distro {
    /// The name of its folder, such as `debian`.
    pub name: &'static str,
    /// The path of the document with what its releases share.
    pub path: &'static str,
    /// That document.
    pub text: &'static str,
    /// The releases, by name.
    pub releases: Vec<Release>,
}

/// All distros, by name.
pub fn distros() -> Vec<Distro> {
    let shared = FILES.iter().filter_map(|(path, text)| {
        let name = path.strip_prefix("distros/")?.strip_suffix("/distro.kdl")?;
        Some(Distro {
            name,
            path,
            text,
            releases: releases(name),
        })
    });
    shared.collect()
}

/// A distro by the name of its folder.
pub fn distro(name: &str) -> Option<Distro> {
    distros().into_iter().find(|distro| distro.name == name)
}

/// The names of all blocks, sorted.
pub fn blocks() -> Vec<&'static str> {
    FILES
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("blocks/")?.strip_suffix("/block.kdl"))
        .collect()
}

/// The path and the text of a block's document.
pub fn block(name: &str) -> Option<(&'static str, &'static str)> {
    entry(&format!("blocks/{name}/block.kdl"))
}

/// The text of a file by its path in the library, such as `runtime/systemd/layout.sh`.
pub fn file(path: &str) -> Option<&'static str> {
    entry(path).map(|(_, text)| text)
}

/// The paths of all files, sorted.
pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}

fn entry(path: &str) -> Option<(&'static str, &'static str)> {
    let at = FILES.binary_search_by(|(known, _)| (*known).cmp(path)).ok()?;
    FILES.get(at).copied()
}

fn releases(distro: &str) -> Vec<Release> {
    let documents = FILES.iter().filter_map(|(path, text)| {
        let name = path
            .strip_prefix("distros/")?
            .strip_prefix(distro)?
            .strip_prefix('/')?
            .strip_suffix(".kdl")?;
        (name != "distro" && !name.contains('/')).then_some(Release { name, path, text })
    });
    documents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_the_folders_is_found() {
        let debian = distro("debian").expect("the library has Debian");
        let releases: Vec<&str> = debian.releases.iter().map(|release| release.name).collect();
        assert_eq!(releases, ["bookworm", "trixie"]);
        assert!(blocks().contains(&"cloud-init"));
        assert!(block("cloud-init").is_some_and(|(path, _)| path == "blocks/cloud-init/block.kdl"));
        assert_eq!(file("distros/nothing"), None);
    }
}
