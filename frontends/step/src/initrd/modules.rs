//! Kernel modules and what they need, from the indexes that `depmod` wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kcompose_core::modules::{self, name};
use kcompose_core::step::InitrdRecipe;

use crate::fs;
use crate::near::nearest;
use crate::problem::{Doing, Outcome, Problem, Problems};

/// What kmod and udev read at run time; the texts that `depmod` makes them from are not needed.
const INDEXES: &[&str] = &[
    "modules.alias.bin",
    "modules.builtin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.builtin.modinfo",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols.bin",
    "modules.weakdep",
];

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Modules {
    version: String,
    directory: PathBuf,
    newer: Option<PathBuf>,
    /// Module by name: its path and the paths that it needs, relative to the directory.
    known: BTreeMap<String, (String, Vec<String>)>,
    builtin: BTreeSet<String>,
    before: BTreeMap<String, Vec<String>>,
    aliases: BTreeMap<String, Vec<String>>,
}

impl Modules {
    /// Reads the indexes of the only kernel of a root; those in another directory are newer.
    pub(crate) fn read(root: &Path, indexes: Option<&Path>, version: &str) -> Outcome<Self> {
        let below = Path::new("usr/lib/modules").join(version);
        let mut modules = Modules {
            version: version.to_owned(),
            directory: root.join(&below),
            newer: indexes.map(|indexes| indexes.join(&below)),
            known: BTreeMap::new(),
            builtin: BTreeSet::new(),
            before: BTreeMap::new(),
            aliases: BTreeMap::new(),
        };
        modules.known = parse_dependencies(&modules.text("modules.dep")?);
        modules.builtin = modules.text("modules.builtin")?.lines().map(name).collect();
        modules.before = parse_before(&modules.text("modules.softdep")?);
        modules.aliases = modules::aliases(&modules.text("modules.alias")?);
        if modules.known.is_empty() {
            let message = format!("the kernel {version} has no list of its modules (`modules.dep`)");
            return Err(Problem::new("kcompose::step::kernel", message).into());
        }
        Ok(modules)
    }

    /// A file of the kernel's folder, the newer one first.
    fn find(&self, index: &str) -> PathBuf {
        let newer = self
            .newer
            .as_ref()
            .map(|newer| newer.join(index))
            .filter(|path| path.is_file());
        newer.unwrap_or_else(|| self.directory.join(index))
    }

    fn text(&self, index: &str) -> Outcome<String> {
        fs::read_text(&self.find(index))
    }

    /// The files of the modules that a recipe and a flavor ask for, with what they need, and of the indexes: path in the root
    /// and path on this machine.
    pub(crate) fn files(
        &self,
        recipe: &InitrdRecipe,
        added: &[(String, String)],
    ) -> Outcome<BTreeMap<String, PathBuf>> {
        let mut problems = Problems::default();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        for module in &recipe.modules {
            match self.resolve(module) {
                Some(names) => wanted.extend(names),
                None => problems.push(self.missing(module)),
            }
        }
        for (module, origin) in added {
            let own = name(module);
            if self.known.contains_key(&own) {
                wanted.insert(own);
            } else if !self.builtin.contains(&own) {
                problems.push(self.missing(module).at(origin).help(self.near(&own)));
            }
        }
        wanted.extend(
            recipe
                .optional_modules
                .iter()
                .filter_map(|module| self.resolve(module))
                .flatten(),
        );
        for directory in &recipe.module_directories {
            let below = format!("kernel/{}/", directory.trim_matches('/'));
            let inside = self
                .known
                .iter()
                .filter(|(_, (path, _))| path.starts_with(&below));
            wanted.extend(inside.map(|(name, _)| name.clone()));
        }
        problems.or(())?;
        let paths = self
            .closure(wanted)
            .into_iter()
            .map(|path| (self.inside(&path), self.find(&path)));
        let indexes = INDEXES
            .iter()
            .map(|index| (self.inside(index), self.find(index)))
            .filter(|(_, path)| path.is_file());
        Ok(paths.chain(indexes).collect())
    }

    fn inside(&self, path: &str) -> String {
        format!("/usr/lib/modules/{}/{path}", self.version)
    }

    fn missing(&self, module: &str) -> Problem {
        let message = format!(
            "the kernel {} has no module `{module}`, which the initrd needs",
            self.version
        );
        Problem::new("kcompose::step::missing_module", message)
    }

    fn near(&self, module: &str) -> String {
        let known = self.known.keys().map(String::as_str);
        match nearest(module, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "take it out, or take a kernel package that has it".to_owned(),
        }
    }

    /// The modules behind a name: itself, nothing if it is built in, or all that bear the name as an alias.
    fn resolve(&self, module: &str) -> Option<Vec<String>> {
        let module = name(module);
        if self.known.contains_key(&module) {
            return Some(vec![module]);
        }
        if self.builtin.contains(&module) {
            return Some(Vec::new());
        }
        self.aliases.get(&module).cloned()
    }

    /// The paths of the modules and of all that they need, also what is only to be loaded before (`softdep … pre:`).
    fn closure(&self, wanted: BTreeSet<String>) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        let mut todo: Vec<String> = wanted.into_iter().collect();
        while let Some(module) = todo.pop() {
            let Some((path, needs)) = self.known.get(&module) else {
                continue;
            };
            if paths.insert(path.clone()) {
                todo.extend(needs.iter().map(|path| name(path)));
                let before = self.before.get(&module).into_iter().flatten();
                todo.extend(before.filter_map(|module| self.resolve(module)).flatten());
            }
        }
        paths
    }
}

fn parse_dependencies(text: &str) -> BTreeMap<String, (String, Vec<String>)> {
    modules::listed(text)
        .map(|(path, needs)| (name(path), (path.to_owned(), needs.map(str::to_owned).collect())))
        .collect()
}

/// `softdep NAME pre: A B post: C`: what comes before each module.
fn parse_before(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut before: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else {
            continue;
        };
        let pre = words
            .skip_while(|word| *word != "pre:")
            .skip(1)
            .take_while(|word| *word != "post:");
        before.entry(name(module)).or_default().extend(pre.map(name));
    }
    before
}

/// Reads a file that an index names.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).doing("read", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> Modules {
        Modules {
            version: "1".to_owned(),
            directory: "/m".into(),
            newer: None,
            known: parse_dependencies(
                "kernel/fs/ext4/ext4.ko.xz: kernel/fs/jbd2/jbd2.ko.xz\nkernel/fs/jbd2/jbd2.ko.xz:\n\
                 kernel/crypto/crc32c-generic.ko.xz:\nkernel/drivers/usb/uas.ko.xz:\n",
            ),
            builtin: ["loop".to_owned()].into(),
            before: parse_before("softdep ext4 pre: crc32c post: never\n"),
            aliases: modules::aliases("alias crc32c crc32c_generic\nalias pci:v00* uas\n"),
        }
    }

    fn files(recipe: &InitrdRecipe) -> Outcome<Vec<String>> {
        let prefix = "/usr/lib/modules/1/kernel/";
        Ok(modules()
            .files(recipe, &[])?
            .into_keys()
            .map(|path| path.strip_prefix(prefix).unwrap().to_owned())
            .collect())
    }

    #[test]
    fn modules_bring_what_they_need() {
        let recipe = InitrdRecipe {
            modules: vec!["ext4".to_owned(), "loop".to_owned()],
            optional_modules: vec!["absent".to_owned()],
            module_directories: vec!["drivers/usb".to_owned()],
            ..InitrdRecipe::default()
        };
        let expected = [
            "crypto/crc32c-generic.ko.xz",
            "drivers/usb/uas.ko.xz",
            "fs/ext4/ext4.ko.xz",
            "fs/jbd2/jbd2.ko.xz",
        ];
        assert_eq!(files(&recipe).unwrap(), expected);
    }

    #[test]
    fn a_flavor_adds_modules_by_their_own_names() {
        let added = |module: &str| {
            let added = [(module.to_owned(), format!("initrd:{module}"))];
            modules().files(&InitrdRecipe::default(), &added)
        };
        let paths: Vec<String> = added("ext4").unwrap().into_keys().collect();
        assert_eq!(paths.len(), 3, "what it needs comes along: {paths:?}");
        assert!(added("loop").unwrap().is_empty(), "it is built in");
        let shown = added("ext5").unwrap_err().to_string();
        assert!(shown.contains("no module `ext5`"), "{shown}");
        assert!(shown.contains("at initrd:ext5") && shown.contains("did you mean `ext4`?"));
    }

    #[test]
    fn a_missing_module_is_a_problem() {
        let recipe = InitrdRecipe {
            modules: vec!["zfs".to_owned()],
            ..InitrdRecipe::default()
        };
        assert!(
            files(&recipe)
                .unwrap_err()
                .to_string()
                .contains("no module `zfs`")
        );
    }
}
