//! Kernel modules in a root file system: their files, their names, and the indexes that `depmod` writes.

use std::collections::{BTreeMap, BTreeSet};

use crate::tree::{Entry, Kind, Tree, content_following, resolve};

/// The directory with one folder for each kernel.
pub const DIRECTORY: &str = "/usr/lib/modules";

/// The name of a module from its path or another spelling: `kernel/fs/x-y.ko.xz` is `x_y`.
pub fn name(path: &str) -> String {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.split(".ko").next().unwrap_or_default().replace('-', "_")
}

/// Whether a file is a module, by its name: plain, or compressed in one of the ways that kmod knows.
pub fn is_module(path: &str) -> bool {
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"]
        .iter()
        .any(|suffix| path.ends_with(suffix))
}

/// The module files of a kernel, by path relative to its folder, with what they are; links to modules are followed.
///
/// Skips what `depmod` skips: the links `build` and `source`, and hidden names.
pub fn files(tree: &dyn Tree, folder: &str) -> BTreeMap<String, Entry> {
    // A folder that links lead to again and again is no deeper than this.
    const DEEPEST: usize = 20;
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), 0)];
    while let Some((below, depth)) = open.pop() {
        let Some(real) = resolve(tree, format!("{folder}/{below}").as_bytes()) else {
            continue;
        };
        for name in tree.names(&real) {
            let Ok(name) = String::from_utf8(name) else {
                continue;
            };
            if name.starts_with('.') || matches!(name.as_str(), "build" | "source") {
                continue;
            }
            let Some(entry) = followed(tree, &real, &name) else {
                continue;
            };
            let path = if below.is_empty() {
                name
            } else {
                format!("{below}/{name}")
            };
            match entry.kind {
                Kind::Directory if depth < DEEPEST => open.push((path, depth + 1)),
                Kind::File(_) if is_module(&path) => drop(found.insert(path, entry)),
                Kind::Directory | Kind::File(_) | Kind::Link(_) | Kind::Device | Kind::Special => {}
            }
        }
    }
    found
}

/// What a name in a directory is, or what its link leads to.
fn followed(tree: &dyn Tree, directory: &[u8], name: &str) -> Option<Entry> {
    let path = [directory, b"/", name.as_bytes()].concat();
    let entry = tree.entry(&path)?;
    match entry.kind {
        Kind::Link(_) => tree.entry(&resolve(tree, &path)?),
        Kind::Directory | Kind::File(_) | Kind::Device | Kind::Special => Some(entry),
    }
}

/// The paths that a `modules.dep` lists, relative to its folder, each with the paths that it needs.
pub fn listed(modules_dep: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
    let lines = modules_dep.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(path, needs)| (path, needs.split_whitespace()))
}

/// `alias NAME MODULE` of a `modules.alias` or a file of modprobe.d(5): modules by their other names.
///
/// Leaves out patterns.
pub fn aliases(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("alias"), Some(alias), Some(module)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        if !is_pattern(alias) {
            aliases.entry(name(alias)).or_default().push(name(module));
        }
    }
    aliases
}

/// The names that a `modules.builtin` lists, and the aliases that a `modules.builtin.modinfo` does, without patterns.
pub fn built_in(text: &str) -> Vec<String> {
    // Entries of the latter are `MODULE.KEY=VALUE`, each with a zero behind it.
    let entries = text.split('\0').filter_map(|entry| entry.split_once('='));
    let aliases = entries
        .filter(|(key, _)| key.ends_with(".alias"))
        .map(|(_, alias)| alias);
    let modules = text.lines().filter(|line| is_module(line));
    let names = modules.chain(aliases.filter(|alias| !is_pattern(alias)));
    names.map(name).collect()
}

/// Whether an alias is one of devices, which no person writes.
fn is_pattern(alias: &str) -> bool {
    alias.contains(['*', '?', '[', ':'])
}

/// All names by which `modprobe` finds something in a root: modules, what is built in, and the aliases of both.
pub fn known_names(tree: &dyn Tree, version: &str) -> BTreeSet<String> {
    let folder = format!("{DIRECTORY}/{version}");
    let text = |path: &str| {
        let content = content_following(tree, path.as_bytes()).unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    };
    let mut names: BTreeSet<String> = files(tree, &folder).keys().map(|path| name(path)).collect();
    names.extend(aliases(&text(&format!("{folder}/modules.alias"))).into_keys());
    for index in ["modules.builtin", "modules.builtin.modinfo"] {
        names.extend(built_in(&text(&format!("{folder}/{index}"))));
    }
    for directory in ["/etc/modprobe.d", "/usr/lib/modprobe.d"] {
        let real = resolve(tree, directory.as_bytes()).unwrap_or_default();
        for file in tree.names(&real) {
            let file = String::from_utf8_lossy(&file).into_owned();
            if file.ends_with(".conf") {
                names.extend(aliases(&text(&format!("{directory}/{file}"))).into_keys());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::MemoryTree;

    #[test]
    fn files_are_what_depmod_looks_at() {
        let mut tree = MemoryTree::new();
        tree.file("/usr/lib/modules/1/kernel/fs/a.ko.xz", 0o644, "a")
            .file("/usr/lib/modules/1/updates/dkms/b.ko", 0o644, "b")
            .file("/usr/lib/modules/1/modules.dep", 0o644, "")
            .file("/usr/lib/modules/1/.hidden/c.ko", 0o644, "c")
            .file("/usr/src/linux/d.ko", 0o644, "d")
            .file("/usr/lib/modules/2/e.ko.zst", 0o644, "e")
            .link("/usr/lib/modules/1/build", "/usr/src/linux")
            .link("/usr/lib/modules/1/weak-updates/e.ko.zst", "../../2/e.ko.zst")
            .link("/usr/lib/modules/1/weak-updates/gone.ko", "nowhere")
            .link("/usr/lib/modules/1/extra/loop", "../extra");
        let found: Vec<String> = files(&tree, "/usr/lib/modules/1").into_keys().collect();
        assert_eq!(
            found,
            ["kernel/fs/a.ko.xz", "updates/dkms/b.ko", "weak-updates/e.ko.zst"]
        );
    }

    #[test]
    fn modprobe_finds_modules_by_all_their_names() {
        let mut tree = MemoryTree::new();
        tree.file("/usr/lib/modules/1/kernel/x-y.ko", 0o644, "")
            .file(
                "/usr/lib/modules/1/modules.builtin",
                0o644,
                "kernel/net/tcp-cubic.ko\n",
            )
            .file(
                "/usr/lib/modules/1/modules.builtin.modinfo",
                0o644,
                "ext4.license=GPL\0ext4.alias=fs-ext4\0",
            )
            .file(
                "/usr/lib/modules/1/modules.alias",
                0o644,
                "alias nfs4 nfsv4\nalias pci:v00* uas\n",
            )
            .file("/etc/modprobe.d/a.conf", 0o644, "# c\nalias eth-card x_y\n");
        let expected = ["eth_card", "fs_ext4", "nfs4", "tcp_cubic", "x_y"];
        assert!(known_names(&tree, "1").iter().eq(&expected));
    }
}
