//! The indexes of the kernel's modules, by the `depmod` of the root, and the name that boot loaders know the kernel by.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_core::modules;
use kcompose_core::step::Depmod;
use kcompose_core::tree::{Tree, content_following};

use crate::command;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};
use crate::root_tree::RootTree;
use crate::say;

/// The order in which the kernel links its modules; `depmod` sorts its indexes by it (modules.order, kbuild).
const ORDER: &str = "modules.order";

/// Runs `depmod` for the one kernel of the root.
pub(crate) fn run(depmod: &Depmod, epoch: i64) -> Outcome<()> {
    let out = Path::new(&depmod.out);
    let version = kernel_version(Path::new("/"))?;
    write_indexes(out, &version, epoch)?;
    link_kernel(out, &version, epoch)?;
    fs::set_mtime(out, epoch).doing("set the time of", out)
}

/// Writes the indexes again if they do not list the modules that are there: packages, `files` and `run` steps bring some and
/// delete some, after the kernel's own were indexed.
pub(crate) fn refresh(epoch: i64) -> Outcome<()> {
    let root = Path::new("/");
    // The checks of the image find no kernel, or two.
    let Ok(version) = kernel_version(root) else {
        return Ok(());
    };
    if is_current(&RootTree::new(root), &version) {
        return Ok(());
    }
    say(&format!("the modules of the kernel {version} are indexed again"));
    write_indexes(root, &version, epoch)
}

/// Whether `modules.dep` lists exactly the modules that are there, and none of them is newer.
fn is_current(tree: &dyn Tree, version: &str) -> bool {
    let folder = format!("{}/{version}", modules::DIRECTORY);
    let index = format!("{folder}/modules.dep");
    let (Some(entry), Some(text)) = (
        tree.entry(index.as_bytes()),
        content_following(tree, index.as_bytes()),
    ) else {
        return false;
    };
    let text = String::from_utf8_lossy(&text);
    let listed: BTreeSet<&str> = modules::listed(&text).map(|(path, _)| path).collect();
    let files = modules::files(tree, &folder);
    // The index has the epoch. A package's file keeps its time, which is older; all else that a build writes has the epoch at
    // least: so a module that replaces another is seen, too.
    files.keys().map(String::as_str).eq(listed) && files.values().all(|file| file.mtime < entry.mtime)
}

/// Runs `depmod` and puts the indexes below `out`, which may be the root itself.
fn write_indexes(out: &Path, version: &str, epoch: i64) -> Outcome<()> {
    let scratch = out.join(".depmod");
    let written = shadow(&scratch, version)?;
    let mut command = command::command("depmod", epoch);
    command.arg("--all").arg("--basedir").arg(&scratch).arg(version);
    let run = command::run(&mut command)?;
    if !run.status.success() {
        let message = format!(
            "depmod failed for the kernel {version} ({}):{}",
            run.status,
            run.shown_tail()
        );
        return Err(Problem::new("kcompose::step::depmod", message).into());
    }
    move_indexes(&written, out, version, epoch)?;
    fs::remove(&scratch)
}

/// `/boot/vmlinuz`, relative: tools look at it from outside the image, where an absolute link leads astray.
fn link_kernel(out: &Path, version: &str, epoch: i64) -> Outcome<()> {
    let kernel = format!("vmlinuz-{version}");
    if !Path::new("/boot").join(&kernel).is_file() {
        let message = format!("the modules are of the kernel {version}, and there is no `/boot/{kernel}`");
        return Err(Problem::new("kcompose::step::kernel", message).into());
    }
    let link = out.join("boot/vmlinuz");
    fs::make_parent(&link, epoch)?;
    fs::write_link(&link, kernel.as_bytes(), Meta::root(0o777, epoch)).doing("make the link", &link)
}

/// The version of the only kernel whose modules a root has.
pub(crate) fn kernel_version(root: &Path) -> Outcome<String> {
    let modules = root.join("usr/lib/modules");
    let versions: Vec<String> = fs::names(&modules)
        .into_iter()
        .filter(|name| modules.join(name).join("kernel").is_dir())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    match versions.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Problem::new(
            "kcompose::step::kernel",
            "there is no kernel below `/usr/lib/modules`",
        )
        .into()),
        several => {
            let message = format!(
                "there is more than one kernel below `/usr/lib/modules`: {}",
                several.join(", ")
            );
            Err(Problem::new("kcompose::step::kernel", message).into())
        }
    }
}

/// A root of its own, whose modules are links: the kmod of bookworm knows no other way to write elsewhere.
fn shadow(scratch: &Path, version: &str) -> Outcome<PathBuf> {
    let modules = Path::new("/usr/lib/modules").join(version);
    let shadow = scratch.join(modules.strip_prefix("/").expect("the path is absolute"));
    fs::make_directories(&shadow).doing("make directory", &shadow)?;
    for name in fs::names(&modules) {
        let link = shadow.join(&name);
        fs::write_link(
            &link,
            modules.join(&name).as_os_str().as_bytes(),
            Meta::root(0o777, 0),
        )
        .doing("make link", &link)?;
    }
    write_order(&modules, &shadow, version)?;
    // It looks below `lib/modules` or `usr/lib/modules`, as it was built.
    let lib = scratch.join("lib");
    fs::write_link(&lib, b"usr/lib", Meta::root(0o777, 0)).doing("make link", &lib)?;
    Ok(shadow)
}

/// Puts the modules that the kernel's order lacks behind it, sorted: `depmod` would take them as the file system lists them,
/// which differs from machine to machine.
fn write_order(modules: &Path, shadow: &Path, version: &str) -> Outcome<()> {
    let order = fs::read_text(&modules.join(ORDER))?;
    let folder = format!("{}/{version}", modules::DIRECTORY);
    let files = modules::files(&RootTree::new(Path::new("/")), &folder);
    let order = completed_order(&order, files.keys().map(String::as_str));
    fs::write_file(&shadow.join(ORDER), order.as_bytes(), Meta::root(0o644, 0))
}

/// The order, with the files that it lacks behind it; it names modules without their compression.
fn completed_order<'a>(order: &str, files: impl Iterator<Item = &'a str>) -> String {
    let known: BTreeSet<&str> = order.lines().collect();
    let plain = |path: &'a str| path.rfind(".ko").map_or(path, |at| &path[..at + 3]);
    let missing: BTreeSet<&str> = files.map(plain).filter(|path| !known.contains(path)).collect();
    let lines = order.lines().chain(missing);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Moves what `depmod` wrote among the links.
fn move_indexes(written: &Path, out: &Path, version: &str, epoch: i64) -> Outcome<()> {
    let target = out.join("usr/lib/modules").join(version);
    let made = fs::make_directories(&target).doing("make directory", &target)?;
    for name in fs::names(written) {
        let (from, to) = (written.join(&name), target.join(&name));
        if name == ORDER || fs::look(&from)?.is_none_or(|found| !found.is_file()) {
            continue;
        }
        std::fs::rename(from, &to).doing("move to", &to)?;
        fs::set_meta(&to, Meta::root(0o644, epoch)).doing("set owner and mode of", &to)?;
    }
    // What is moved into a directory moves its time.
    let changed = made.iter().chain([&target]);
    changed
        .into_iter()
        .try_for_each(|directory| fs::set_mtime(directory, epoch).doing("set the time of", directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcompose_core::tree::MemoryTree;

    /// A root whose index is as old as the epoch, with two modules that are older.
    fn indexed() -> MemoryTree {
        let mut tree = MemoryTree::new();
        let dep = "kernel/b.ko.xz: kernel/a.ko.xz\nkernel/a.ko.xz:\n";
        tree.file("/usr/lib/modules/1/kernel/a.ko.xz", 0o644, "a")
            .file("/usr/lib/modules/1/kernel/b.ko.xz", 0o644, "b")
            .file("/usr/lib/modules/1/modules.dep", 0o644, dep);
        tree.entry_mut("/usr/lib/modules/1/modules.dep").unwrap().mtime = 1000;
        tree
    }

    #[test]
    fn indexes_are_current_until_a_module_comes_goes_or_changes() {
        assert!(is_current(&indexed(), "1"));
        let changed = |change: &dyn Fn(&mut MemoryTree)| {
            let mut tree = indexed();
            change(&mut tree);
            !is_current(&tree, "1")
        };
        assert!(changed(&|tree| {
            tree.file("/usr/lib/modules/1/extra/c.ko", 0o644, "c");
        }));
        for path in ["kernel/a.ko.xz", "modules.dep"] {
            assert!(changed(&|tree| {
                tree.remove(&format!("/usr/lib/modules/1/{path}"));
            }));
        }
        // What DKMS built beside the image comes with its indexes, and has the time of the kernel.
        let built = |mtime| {
            let mut tree = indexed();
            let dep = "kernel/b.ko.xz: kernel/a.ko.xz\nkernel/a.ko.xz:\nupdates/dkms/c.ko:\n";
            tree.file("/usr/lib/modules/1/updates/dkms/c.ko", 0o644, "c")
                .file("/usr/lib/modules/1/modules.dep", 0o644, dep);
            tree.entry_mut("/usr/lib/modules/1/modules.dep").unwrap().mtime = 1000;
            tree.entry_mut("/usr/lib/modules/1/updates/dkms/c.ko")
                .unwrap()
                .mtime = mtime;
            is_current(&tree, "1")
        };
        assert!(built(900) && !built(1000));
        let replaced = "/usr/lib/modules/1/kernel/a.ko.xz";
        assert!(changed(&|tree| tree.entry_mut(replaced).unwrap().mtime = 1000));
    }

    #[test]
    fn modules_of_others_have_an_order_too() {
        let files = ["updates/dkms/z.ko.xz", "extra/a.ko", "kernel/k.ko.zst"];
        assert_eq!(
            completed_order("kernel/k.ko\nkernel/gone.ko\n", files.into_iter()),
            "kernel/k.ko\nkernel/gone.ko\nextra/a.ko\nupdates/dkms/z.ko\n"
        );
    }

    #[test]
    fn exactly_one_kernel_is_expected() {
        let root = tempfile::tempdir().unwrap();
        assert!(kernel_version(root.path()).is_err());
        for version in ["1", "2"] {
            std::fs::create_dir_all(root.path().join("usr/lib/modules").join(version).join("kernel"))
                .unwrap();
            std::fs::create_dir_all(root.path().join("usr/lib/modules/leftover")).unwrap();
            assert_eq!(kernel_version(root.path()).is_ok(), version == "1");
        }
    }
}
