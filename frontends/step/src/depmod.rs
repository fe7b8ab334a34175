//! The indexes of the kernel's modules, by the `depmod` of the root, and the name that boot loaders know the kernel by.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_core::step::Depmod;

use crate::command;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

/// Runs `depmod` for the one kernel of the root.
pub(crate) fn run(depmod: &Depmod, epoch: i64) -> Outcome<()> {
    let out = Path::new(&depmod.out);
    let version = kernel_version(Path::new("/"))?;
    let scratch = out.join(".depmod");
    let written = shadow(&scratch, &version)?;
    let mut command = command::command("depmod", epoch);
    command.arg("--all").arg("--basedir").arg(&scratch).arg(&version);
    let run = command::run(&mut command)?;
    if !run.status.success() {
        let message = format!(
            "depmod failed for the kernel {version} ({}):{}",
            run.status,
            run.shown_tail()
        );
        return Err(Problem::new("kcompose::step::depmod", message).into());
    }
    move_indexes(&written, out, &version, epoch)?;
    link_kernel(out, &version, epoch)?;
    fs::remove(&scratch)?;
    fs::set_mtime(out, epoch).doing("set the time of", out)
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
    // It looks below `lib/modules` or `usr/lib/modules`, as it was built.
    let lib = scratch.join("lib");
    fs::write_link(&lib, b"usr/lib", Meta::root(0o777, 0)).doing("make link", &lib)?;
    Ok(shadow)
}

/// Moves what `depmod` wrote among the links.
fn move_indexes(written: &Path, out: &Path, version: &str, epoch: i64) -> Outcome<()> {
    let target = out.join("usr/lib/modules").join(version);
    let made = fs::make_directories(&target).doing("make directory", &target)?;
    for name in fs::names(written) {
        let (from, to) = (written.join(&name), target.join(&name));
        if fs::look(&from)?.is_none_or(|found| !found.is_file()) {
            continue;
        }
        std::fs::rename(from, &to).doing("move to", &to)?;
        fs::set_meta(&to, Meta::root(0o644, epoch)).doing("set owner and mode of", &to)?;
    }
    made.iter()
        .try_for_each(|directory| fs::set_mtime(directory, epoch).doing("set the time of", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

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
