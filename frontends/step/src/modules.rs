//! Modules that packages built with DKMS, for an image that has nothing else of them.

use std::path::Path;

use kcompose_core::modules::{self, DIRECTORY};
use kcompose_core::step::TakeModules;

use crate::depmod::kernel_version;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};
use crate::root_tree::RootTree;

/// Copies the modules that are not of the kernel's package.
pub(crate) fn take(take: &TakeModules, epoch: i64) -> Outcome<()> {
    let root = Path::new("/");
    let version = kernel_version(root)?;
    all_are_built(root, &version)?;
    let out = Path::new(&take.out);
    let folder = format!("{DIRECTORY}/{version}");
    let built = modules::files(&RootTree::new(root), &folder);
    let built = built.keys().filter(|path| !path.starts_with("kernel/"));
    let time = time_of_kernel(root, &folder)?.unwrap_or(epoch).min(epoch);
    for path in built {
        let from = root.join(fs::relative(folder.as_bytes())).join(path);
        let to = out.join(fs::relative(folder.as_bytes())).join(path);
        let content = std::fs::read(&from).doing("read", &from)?;
        fs::make_parent(&to, epoch)?;
        fs::write_file(&to, &content, Meta::root(0o644, time))?;
        // A file more in it gave it another time.
        if let Some(above) = to.parent() {
            fs::set_mtime(above, epoch).doing("set the time of", above)?;
        }
    }
    Ok(())
}

/// When the kernel was built.
fn time_of_kernel(root: &Path, folder: &str) -> Outcome<Option<i64>> {
    let list = root.join(fs::relative(folder.as_bytes())).join("modules.builtin");
    Ok(fs::look(&list)?.map(|found| fs::meta_of(&found).mtime))
}

/// Every module that DKMS knows was built for the kernel. It skips one that says that it is not for this kernel.
fn all_are_built(root: &Path, version: &str) -> Outcome<()> {
    let tree = root.join("var/lib/dkms");
    let mut problems = Problems::default();
    let mut known = 0;
    for module in fs::names(&tree) {
        for release in fs::names(&tree.join(&module)) {
            let here = tree.join(&module).join(&release);
            if fs::look(&here.join("source"))?.is_none() {
                continue;
            }
            known += 1;
            if !here.join(version).is_dir() {
                let message = format!(
                    "DKMS did not build `{}` {} for the kernel {version}",
                    module.display(),
                    release.display()
                );
                let help =
                    "see what it says above; a module may refuse a kernel (BUILD_EXCLUSIVE in its dkms.conf)";
                problems.push(Problem::new("kcompose::step::dkms", message).help(help));
            }
        }
    }
    if known == 0 {
        let help = "name packages that build modules, such as `v4l2loopback-dkms`";
        problems
            .push(Problem::new("kcompose::step::dkms", "no package gave DKMS a module to build").help(help));
    }
    problems.or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_dkms_skipped_is_a_problem() {
        let root = tempfile::tempdir().unwrap();
        let said = || {
            all_are_built(root.path(), "6.12")
                .err()
                .map(|problems| problems.to_string())
        };
        assert!(said().unwrap().contains("no package gave DKMS a module"));
        fs::put(root.path(), "var/lib/dkms/zfs/2.3/source/dkms.conf", "");
        assert!(
            said()
                .unwrap()
                .contains("did not build `zfs` 2.3 for the kernel 6.12")
        );
        fs::put(root.path(), "var/lib/dkms/zfs/2.3/6.12/x86_64/module/zfs.ko", "");
        assert_eq!(said(), None);
    }
}
