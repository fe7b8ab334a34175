//! The kernel's modules, seen in the files of its packages.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostics, Sink};
use crate::model::{Flavor, PackageName};
use crate::packages::deb::facts::PackageFacts;

use super::problems::{KernelWithoutModules, ModulesNotOne, listed};

/// Where the modules of all kernels are, each in a folder named for its version.
const MODULES: &str = "/usr/lib/modules/";

/// What is wrong with the modules that the packages of a flavor bring: there must be those of exactly one kernel.
///
/// Asked only when the files of all packages are known.
pub fn judge_modules(flavor: &Flavor, packages: &BTreeMap<PackageName, PackageFacts>) -> Diagnostics {
    let kernel = &flavor.kernel.value.package;
    let mut versions: BTreeSet<&str> = BTreeSet::new();
    for facts in packages.values() {
        let modules = facts
            .below(MODULES)
            .filter_map(|fact| fact.path.strip_prefix(MODULES));
        versions.extend(
            modules
                .filter_map(|path| path.split_once("/kernel/"))
                .map(|(version, _)| version),
        );
    }
    let mut sink = Sink::new();
    if versions.is_empty() {
        sink.push(KernelWithoutModules {
            name: kernel.value.to_string(),
            span: kernel.span,
        });
    } else if versions.len() > 1 {
        sink.push(ModulesNotOne {
            versions: listed(versions, "and"),
            span: kernel.span,
        });
    }
    sink.into_diagnostics()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flavor, report};
    use super::*;

    #[track_caller]
    fn check(paths: &[&str], expected: &str) {
        let lines: String = paths.iter().map(|path| format!("{path}\tf\n")).collect();
        let facts = PackageFacts::from_bytes(format!("{{}}\n{lines}").into_bytes()).unwrap();
        let (mut flavor, sources) = flavor("");
        flavor.kernel.value.package.span = flavor.distro.span;
        let found = judge_modules(&flavor, &[("linux".parse().unwrap(), facts)].into());
        assert_eq!(
            report(&found, &sources).lines().next().unwrap_or_default(),
            expected
        );
    }

    #[test]
    fn there_are_modules_of_exactly_one_kernel() {
        check(
            &[
                "/usr/lib/modules/6.12/kernel/fs/ext4.ko.xz",
                "/usr/lib/modules/6.12/kernel/lib/a.ko",
            ],
            "",
        );
        let none =
            "the kernel `linux-image-amd64` has no modules: no package has files below `/usr/lib/modules`";
        check(&["/boot/vmlinuz-6.12"], none);
        let two = [
            "/usr/lib/modules/6.1/kernel/a.ko",
            "/usr/lib/modules/6.12/kernel/a.ko",
        ];
        check(
            &two,
            "there are modules for more than one kernel: `6.1` and `6.12`",
        );
    }
}
