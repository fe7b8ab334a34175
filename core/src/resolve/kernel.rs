//! The kernel's modules, seen in the files of the packages.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostics, Sink, did_you_mean};
use crate::model::{FileBody, Flavor, PackageName};
use crate::modules;
use crate::packages::deb::facts::{PackageFacts, UNKNOWN_MODULE};
use crate::source::{Span, Spanned};

use super::answer::push_each;
use super::problems::{
    KernelWithoutModules, ModulesNotOne, NoHeaders, NothingToDeny, OtherKernel, UnknownInInitrd,
    UnknownModule, listed,
};

/// Where the modules of all kernels are, each in a folder named for its version.
const MODULES: &str = "/usr/lib/modules/";

/// What is wrong with the modules that the packages of a flavor bring, and with those that it names: there must be those of
/// exactly one kernel, and everything else must be for this one.
///
/// Asked only when the files of all packages are known.
pub fn judge_modules(flavor: &Flavor, packages: &BTreeMap<PackageName, PackageFacts>) -> Diagnostics {
    let kernel = &flavor.kernel.value.package;
    let versions: BTreeSet<&str> = packages
        .values()
        .flat_map(of_kernels)
        .filter(|(_, path)| path.starts_with("kernel/"))
        .map(|(version, _)| version)
        .collect();
    let mut sink = Sink::new();
    let mut versions = versions.into_iter();
    match (versions.next(), versions.next()) {
        (None, _) => sink.push(KernelWithoutModules {
            name: kernel.value.to_string(),
            span: kernel.span,
        }),
        (Some(version), None) => Judge {
            flavor,
            packages,
            version,
            sink: &mut sink,
        }
        .all(),
        (Some(first), Some(second)) => {
            let versions = listed([first, second].into_iter().chain(versions), "and");
            let has_modules =
                |facts: &PackageFacts| of_kernels(facts).any(|(_, path)| path.starts_with("kernel/"));
            let packages = packages.iter().filter(|(_, facts)| has_modules(facts));
            let others: BTreeSet<Span> = packages
                .filter(|(name, _)| **name != kernel.value)
                .filter_map(|(name, _)| requested(flavor, name))
                .collect();
            push_each(others, |other| {
                sink.push(ModulesNotOne {
                    versions: versions.clone(),
                    span: kernel.span,
                    other,
                });
            });
        }
    }
    sink.into_diagnostics()
}

/// The paths of a package in the folders of kernels: version, and path below its folder.
fn of_kernels(facts: &PackageFacts) -> impl Iterator<Item = (&str, &str)> {
    facts
        .below(MODULES)
        .filter_map(|fact| fact.path.strip_prefix(MODULES)?.split_once('/'))
}

/// The place that asks for a package by name.
fn requested(flavor: &Flavor, package: &PackageName) -> Option<Span> {
    let requests = flavor
        .packages
        .requests
        .iter()
        .chain(&flavor.block_packages.requests);
    let mut named = requests.filter(|request| request.value.name == *package);
    named.next().map(|request| request.span)
}

/// Packages against the version of the one kernel.
struct Judge<'a> {
    flavor: &'a Flavor,
    packages: &'a BTreeMap<PackageName, PackageFacts>,
    version: &'a str,
    sink: &'a mut Sink,
}

impl Judge<'_> {
    fn all(&mut self) {
        self.packages_of_other_kernels();
        self.files_of_other_kernels();
        self.headers();
        self.names();
    }

    /// The node that asks for a package by name, or else the kernel.
    fn asked(&self, package: &PackageName) -> Span {
        requested(self.flavor, package).unwrap_or(self.flavor.kernel.value.package.span)
    }

    /// The package with the headers of the one kernel.
    fn headers_of_kernel(&self) -> String {
        let distro = &self.flavor.distro.value;
        let headers = distro.headers_of(&self.flavor.kernel.value.package.value);
        headers.map_or_else(
            || format!("the package with the headers of `{}`", self.version),
            |name| format!("`{name}`"),
        )
    }

    fn packages_of_other_kernels(&mut self) {
        for (package, facts) in self.packages {
            let mut others = of_kernels(facts).filter(|(version, _)| *version != self.version);
            let Some((other, path)) = others.next() else {
                continue;
            };
            let help = match path {
                "build" => format!("add {} in its place", self.headers_of_kernel()),
                _ => format!("take the package for `{}`", self.version),
            };
            self.sink.push(OtherKernel {
                name: package.to_string(),
                other: other.to_owned(),
                version: self.version.to_owned(),
                help,
                span: self.asked(package),
            });
        }
    }

    fn files_of_other_kernels(&mut self) {
        for file in &self.flavor.files {
            let Some(below) = below_modules(file.value.path.value.as_str()) else {
                continue;
            };
            let other = below.split('/').next().unwrap_or_default();
            if !other.is_empty() && other != self.version {
                self.sink.push(OtherKernel {
                    name: file.value.path.value.to_string(),
                    other: other.to_owned(),
                    version: self.version.to_owned(),
                    help: format!("write it for this kernel, below `{MODULES}{}`", self.version),
                    span: file.value.path.span,
                });
            }
        }
    }

    /// What builds modules needs the headers of this kernel.
    fn headers(&mut self) {
        let has_headers = |facts: &PackageFacts| {
            of_kernels(facts).any(|(version, path)| version == self.version && path == "build")
        };
        if self.packages.values().any(has_headers) {
            return;
        }
        for (package, facts) in self.packages {
            if !facts.head().dkms.is_empty() {
                self.sink.push(NoHeaders {
                    name: package.to_string(),
                    version: self.version.to_owned(),
                    help: format!("add {} to `packages`", self.headers_of_kernel()),
                    span: self.asked(package),
                });
            }
        }
    }

    /// What the flavor loads and denies. An alias that a module has is not known here, so the build has the last word.
    fn names(&mut self) {
        let Some(known) = self.known_names() else { return };
        let kernel = &self.flavor.kernel.value;
        let unknown = |module: &&Spanned<String>| !known.contains(&modules::name(&module.value));
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        for module in kernel.load.iter().filter(unknown) {
            let help = did_you_mean(&module.value, &known, || {
                "correct the name, or add the package with the module".to_owned()
            });
            self.sink.push(UnknownModule {
                module: module.value.clone(),
                help,
                span: module.span,
            });
        }
        for module in self.flavor.initrd.modules.iter().filter(unknown) {
            let help = did_you_mean(&module.value, &known, || {
                "correct the name, or take a kernel package that has it".to_owned()
            });
            self.sink.push(UnknownInInitrd {
                module: module.value.clone(),
                help,
                span: module.span,
            });
        }
        for module in kernel.deny.iter().filter(unknown) {
            let help = did_you_mean(&module.value, &known, || "take it out".to_owned());
            self.sink.push(NothingToDeny {
                module: module.value.clone(),
                help,
                span: module.span,
            });
        }
    }

    /// The names of all modules; nothing if some come from where nobody looks before the build.
    fn known_names(&self) -> Option<BTreeSet<String>> {
        let mut known = BTreeSet::new();
        for facts in self.packages.values() {
            let files = of_kernels(facts).filter(|(_, path)| modules::is_module(path));
            known.extend(files.map(|(_, path)| modules::name(path)));
            known.extend(facts.head().built_in.iter().cloned());
            known.extend(facts.head().dkms.iter().cloned());
        }
        for file in &self.flavor.files {
            let path = file.value.path.value.as_str();
            if modules::is_module(path) {
                known.insert(modules::name(path));
            } else if matches!(file.value.body, FileBody::Copy(_)) && may_hold_modules(path) {
                return None;
            }
        }
        (self.flavor.runs.is_empty() && !known.contains(UNKNOWN_MODULE)).then_some(known)
    }
}

/// The path below the folder of all modules.
fn below_modules(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/usr").unwrap_or(path);
    path.strip_prefix("/lib/modules/")
}

/// Whether a copied folder may have the folder of modules in it.
fn may_hold_modules(path: &str) -> bool {
    let above = [
        "/",
        "/usr",
        "/lib",
        "/usr/lib",
        "/lib/modules",
        "/usr/lib/modules",
    ];
    above.contains(&path.trim_end_matches('/')) || path == "/" || below_modules(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flavor, report};
    use super::*;
    use crate::diagnostic::primary_span;
    use crate::model::FileNode;

    /// A package with a head and these paths.
    fn package(name: &str, head: &str, paths: &[&str]) -> (PackageName, PackageFacts) {
        let mut paths = paths.to_vec();
        paths.sort_unstable();
        let lines: String = paths.iter().map(|path| format!("{path}\tf\n")).collect();
        let facts = PackageFacts::from_bytes(format!("{head}\n{lines}").into_bytes()).unwrap();
        (name.parse().unwrap(), facts)
    }

    /// What is said of a flavor with these lines and packages.
    fn judged(lines: &str, packages: Vec<(PackageName, PackageFacts)>) -> String {
        let (mut flavor, sources) = flavor(lines);
        flavor.distro.value.headers = Some(("linux-image-".to_owned(), "linux-headers-".to_owned()));
        if flavor.kernel.value.package.span == Span::NONE {
            flavor.kernel.value.package.span = flavor.distro.span;
        }
        let found = judge_modules(&flavor, &packages.into_iter().collect());
        report(&found, &sources)
    }

    #[track_caller]
    fn check(paths: &[&str], expected: &str) {
        let found = judged("", vec![package("linux", "{}", paths)]);
        assert_eq!(found.lines().next().unwrap_or_default(), expected);
    }

    const EXT4: &str = "/usr/lib/modules/6.12/kernel/fs/ext4.ko.xz";

    fn kernel() -> (PackageName, PackageFacts) {
        let paths = [EXT4, "/usr/lib/modules/6.12/kernel/br_netfilter.ko"];
        package("linux", "{\"built_in\":[\"loop\"]}", &paths)
    }

    fn dkms() -> (PackageName, PackageFacts) {
        package(
            "zfs-dkms",
            "{\"dkms\":[\"zfs\"]}",
            &["/usr/src/zfs-2.3/dkms.conf"],
        )
    }

    fn headers(version: &str) -> (PackageName, PackageFacts) {
        package(
            "linux-headers",
            "{}",
            &[&format!("/usr/lib/modules/{version}/build")],
        )
    }

    #[test]
    fn what_builds_modules_needs_the_headers_of_this_kernel() {
        assert_eq!(
            judged("zfs-dkms\n", vec![kernel(), dkms()]),
            "\
`zfs-dkms` builds modules, and no package has the headers of the kernel `6.12`
  `zfs-dkms` cannot build its modules
  help: add `linux-headers-amd64` to `packages`
"
        );
        assert_eq!(judged("zfs-dkms\n", vec![kernel(), dkms(), headers("6.12")]), "");
        assert_eq!(
            judged("linux-headers\n", vec![kernel(), headers("6.1")]),
            "\
`linux-headers` is for the kernel `6.1`, and the image has `6.12`
  `linux-headers` for another kernel
  help: add `linux-headers-amd64` in its place
"
        );
    }

    #[test]
    fn modules_of_packages_and_files_are_for_this_kernel() {
        let driver = |version: &str| {
            let path = format!("/usr/lib/modules/{version}/extra/driver.ko");
            package("driver", "{}", &[&path])
        };
        assert_eq!(judged("driver\n", vec![kernel(), driver("6.12")]), "");
        let found = judged("driver\n", vec![kernel(), driver("6.1")]);
        assert!(found.contains("`driver` is for the kernel `6.1`"), "{found}");
        assert!(found.contains("help: take the package for `6.12`"), "{found}");

        let (mut flavor, sources) = flavor("");
        let span = flavor.distro.span;
        let file = |path: &str| {
            let node = FileNode {
                path: Spanned::new(path.parse().unwrap(), span),
                mode: None,
                user: None,
                group: None,
                body: FileBody::Directory,
            };
            Spanned::new(node, span)
        };
        let paths = ["/lib/modules/6.1/extra/a.ko", "/usr/lib/modules/6.12/extra/b.ko"];
        flavor.files = paths.iter().map(|path| file(path)).collect();
        let found = judge_modules(&flavor, &[kernel()].into_iter().collect());
        assert_eq!(
            report(&found, &sources),
            "\
`/lib/modules/6.1/extra/a.ko` is for the kernel `6.1`, and the image has `6.12`
  `base` for another kernel
  help: write it for this kernel, below `/usr/lib/modules/6.12`
"
        );
    }

    /// What is said of names that a flavor loads, denies and puts into the initrd.
    fn named(load: &[&str], deny: &[&str], initrd: &[&str]) -> String {
        let (mut flavor, sources) = flavor("");
        let span = flavor.distro.span;
        let names = |names: &[&str]| {
            let names = names.iter().map(|name| Spanned::new((*name).to_owned(), span));
            names.collect::<Vec<_>>()
        };
        flavor.kernel.value.load = names(load);
        flavor.kernel.value.deny = names(deny);
        flavor.initrd.modules = names(initrd);
        let packages = [kernel(), dkms(), headers("6.12")];
        report(&judge_modules(&flavor, &packages.into_iter().collect()), &sources)
    }

    #[test]
    fn names_of_modules_are_known() {
        let known = ["br-netfilter", "loop", "zfs"];
        assert_eq!(named(&known, &known, &known), "");
        let found = named(&["br_netfiler"], &["floppy"], &["nosuchmodule"]);
        for expected in [
            "no package has the kernel module `br_netfiler`\n",
            "help: did you mean `br_netfilter`?",
            "no package has the kernel module `floppy`, so there is nothing to deny",
            "no package has the kernel module `nosuchmodule`, which the initrd is to hold",
            "help: correct the name, or take a kernel package that has it",
        ] {
            assert!(found.contains(expected), "{expected} is not in:\n{found}");
        }
    }

    #[test]
    fn nothing_is_said_of_names_where_modules_may_come_from_anywhere() {
        let unknown = package("x-dkms", "{\"dkms\":[\"*\"]}", &[]);
        let (mut flavor, _) = flavor("");
        flavor.kernel.value.load = vec![Spanned::unplaced("nosuchmodule".to_owned())];
        let mut packages: BTreeMap<_, _> = [kernel()].into_iter().collect();
        assert!(!judge_modules(&flavor, &packages).is_empty());
        packages.extend([unknown, headers("6.12")]);
        assert!(judge_modules(&flavor, &packages).is_empty());
    }

    #[test]
    fn there_are_modules_of_exactly_one_kernel() {
        check(&[EXT4, "/usr/lib/modules/6.12/kernel/lib/a.ko"], "");
        let none =
            "the kernel `linux-image-amd64` has no modules: no package has files below `/usr/lib/modules`";
        check(&["/boot/vmlinuz-6.12"], none);
        let two = ["/usr/lib/modules/6.1/kernel/a.ko", EXT4];
        check(
            &two,
            "there are modules for more than one kernel: `6.1` and `6.12`",
        );
        // The place is the line that asks for the other one.
        let (flavor, sources) = flavor("old-modules\n");
        let old = package("old-modules", "{}", &["/usr/lib/modules/6.1/kernel/a.ko"]);
        let found = judge_modules(&flavor, &[kernel(), old].into_iter().collect());
        let places: Vec<_> = found
            .iter()
            .map(|one| primary_span(one.as_ref()).unwrap())
            .collect();
        assert_eq!(places, [flavor.packages.requests[0].span]);
        assert!(report(&found, &sources).contains("`old-modules` this brings modules of another"));
    }
}
