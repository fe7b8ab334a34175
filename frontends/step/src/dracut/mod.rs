//! The initrd of runtime `immucore`: one call of the root's dracut, with its modules named, and the same bytes each time.

mod quicken;

use std::collections::BTreeSet;
use std::path::Path;

use kcompose_core::initrd::Contents;
use kcompose_core::modules;
use kcompose_core::step::{Dracut, FileContent, FileEntry, Files};

use crate::command;
use crate::depmod::kernel_version;
use crate::files;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem, Problems};

/// Writes the initrd. The root is changed for it, and thrown away by the plan.
pub(crate) fn run(dracut: &Dracut, epoch: i64) -> Outcome<()> {
    lay_over(dracut, epoch)?;
    name_keymaps()?;
    quicken::narrow_search(Path::new("/"))?;
    quicken::make_scratch(Path::new(quicken::SCRATCH))?;
    let version = kernel_version(Path::new("/"))?;
    let out = Path::new(&dracut.out);
    fs::make_parent(out, epoch)?;
    let mut command = command::command("dracut", epoch);
    // The command line wins over the settings that kairos-init wrote. zstd -3: a fifth of the time of xz, and the modules
    // in it are compressed already. Several threads of zstd would make other bytes.
    command
        .args([
            "--force",
            "--reproducible",
            "--no-hostonly",
            "--no-hostonly-cmdline",
            "--no-early-microcode",
        ])
        .args(["--compress", "zstd -3 -T1 -q"])
        .args(["--tmpdir", quicken::SCRATCH]);
    if let Some(ldd) = quicken::ldd()? {
        command.env("DRACUT_LDD", ldd);
    }
    if !dracut.modules.is_empty() {
        command.arg("--modules").arg(dracut.modules.join(" "));
    }
    if !dracut.drivers.is_empty() {
        let names: Vec<&str> = dracut.drivers.iter().map(|(module, _)| module.as_str()).collect();
        command.arg("--add-drivers").arg(names.join(" "));
    }
    let objects = multipath(dracut, Path::new(MULTIPATH));
    if !objects.is_empty() {
        command.arg("--install").arg(objects.join(" "));
    }
    command.arg("--kver").arg(&version).arg(out);
    let run = command::run(&mut command)?;
    if !run.status.success() {
        let message = format!("dracut failed ({}):{}", run.status, run.shown_tail());
        return Err(Problem::new("kcompose::step::dracut", message).into());
    }
    check(dracut, out)?;
    check_drivers(dracut, out, &version)?;
    fs::set_meta(out, Meta::root(0o600, epoch)).doing("set owner and mode of", out)?;
    match out.parent() {
        Some(folder) => fs::set_mtime(folder, epoch).doing("set the time of", folder),
        None => Ok(()),
    }
}

/// Puts what the initrd is made from into the root.
fn lay_over(dracut: &Dracut, epoch: i64) -> Outcome<()> {
    let entry = |path: &str, mode, content| FileEntry {
        path: path.to_owned(),
        mode,
        user: None,
        group: None,
        content,
        origin: String::new(),
    };
    let trees = dracut
        .over
        .iter()
        .map(|tree| entry("/", None, FileContent::Copy(tree.clone())));
    let inline = dracut
        .inline
        .iter()
        .map(|file| entry(&file.path, Some(file.mode), FileContent::Text(file.text.clone())));
    let entries = trees.chain(inline).collect();
    files::run(&Files { entries }, Path::new("/"), epoch)
}

/// Where multipathd looks for what it checks paths with.
const MULTIPATH: &str = "/usr/lib/multipath";

/// The objects that multipathd loads, or does not start without.
///
/// dracut 059, of Debian 12, looks for them beside the libraries only (`inst_libdir_file` in its module `multipath`).
fn multipath(dracut: &Dracut, folder: &Path) -> Vec<String> {
    if !dracut.modules.iter().any(|module| module == "multipath") {
        return Vec::new();
    }
    let paths = fs::names(folder).into_iter().map(|name| folder.join(name));
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "so"))
        .map(|path| path.display().to_string())
        .collect()
}

/// The program that dracut's module `console-setup` takes keymaps from.
const SETUPCON: &str = "/usr/bin/setupcon";

/// Puts a program before it that gives the keymaps names which stay the same.
///
/// What `setupcon --setup-dir` makes of the keyboard's settings it copies under the name of its temporary file,
/// `tmpkbd.` and six random characters (console-setup 1.242): every initrd would be another one.
fn name_keymaps() -> Outcome<()> {
    if !Path::new(SETUPCON).exists() {
        return Ok(());
    }
    // dracut looks for programs in `/usr/sbin` first.
    command::stub("/usr/sbin", "setupcon", &setupcon(SETUPCON))
}

fn setupcon(program: &str) -> String {
    format!(
        r#"#!/bin/sh
{program} "$@" || exit
[ "$1" = --setup-dir ] || exit 0
number=0
for keymap in "$2"/etc/console-setup/tmpkbd.*; do
    [ -e "$keymap" ] || continue
    name=${{keymap##*/}}
    mv "$keymap" "$2/etc/console-setup/keymap.$number" || exit
    sed -i "s/$name/keymap.$number/g" "$2/bin/setupcon" || exit
    number=$((number + 1))
done
"#
    )
}

/// dracut leaves a module out, with a word in its log, when something that it needs is missing.
fn check(dracut: &Dracut, out: &Path) -> Outcome<()> {
    let bytes = std::fs::read(out).doing("read", out)?;
    let Some(contents) = Contents::read(&bytes) else {
        let message = format!("dracut wrote no initrd to `{}`", out.display());
        return Err(Problem::new("kcompose::step::dracut", message).into());
    };
    let there = contents.dracut_modules();
    let missing: Vec<&str> = dracut
        .modules
        .iter()
        .filter(|module| !there.contains(module))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the initrd lacks the modules {}; dracut made it of {}",
        missing.join(", "),
        there.join(", ")
    );
    Err(Problem::new("kcompose::step::dracut", message)
        .help("a package that the modules need is missing: see what dracut says above")
        .into())
}

/// dracut goes on without a module that it does not find.
fn check_drivers(dracut: &Dracut, out: &Path, version: &str) -> Outcome<()> {
    if dracut.drivers.is_empty() {
        return Ok(());
    }
    let bytes = std::fs::read(out).doing("read", out)?;
    let contents = Contents::read(&bytes).unwrap_or_default();
    let mut there: BTreeSet<String> = contents
        .paths()
        .filter(|path| modules::is_module(path))
        .map(modules::name)
        .collect();
    let built_in = Path::new(modules::DIRECTORY)
        .join(version)
        .join("modules.builtin");
    there.extend(modules::built_in(&fs::read_text(&built_in)?));
    let mut problems = Problems::default();
    for (module, origin) in &dracut.drivers {
        if !there.contains(&modules::name(module)) {
            let message = format!("the kernel {version} has no module `{module}`, which the initrd needs");
            let help = "correct the name, or take a kernel package that has it";
            problems.push(
                Problem::new("kcompose::step::missing_module", message)
                    .at(origin)
                    .help(help),
            );
        }
    }
    problems.or(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use kcompose_core::step::Dracut;

    use crate::command::stub;

    #[test]
    fn multipath_has_the_objects_that_are_there() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libpriob.so", "libchecka.so", "README"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |modules: &[&str], folder| {
            let dracut = Dracut {
                over: Vec::new(),
                inline: Vec::new(),
                modules: modules.iter().map(|&module| module.to_owned()).collect(),
                drivers: Vec::new(),
                out: String::new(),
            };
            let objects = super::multipath(&dracut, folder);
            let name = |path: &String| path.rsplit('/').next().unwrap().to_owned();
            objects.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&["lvm", "multipath"], folder.path()),
            ["libchecka.so", "libpriob.so"]
        );
        assert!(names(&["lvm"], folder.path()).is_empty());
        assert!(names(&["multipath"], &folder.path().join("none")).is_empty());
    }

    #[test]
    fn keymaps_have_names_that_stay_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let program = r#"#!/bin/sh
[ "$1" = --setup-dir ] || exit 3
mkdir -p "$2/bin" "$2/etc/console-setup"
file=$(mktemp "$2/etc/console-setup/tmpkbd.XXXXXX")
echo keys > "$file"
printf 'loadkeys /etc/console-setup/%s\n' "${file##*/}" > "$2/bin/setupcon"
"#;
        stub(path, "real", program).unwrap();
        stub(path, "setupcon", &super::setupcon(&format!("{path}/real"))).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new(folder.path().join("setupcon"));
            command.args(arguments).status().unwrap().code()
        };
        let out = folder.path().join("out");
        assert_eq!(run(&["--setup-dir", out.to_str().unwrap()]), Some(0));
        let text = fs::read_to_string(out.join("bin/setupcon")).unwrap();
        assert_eq!(text, "loadkeys /etc/console-setup/keymap.0\n");
        let keymap = out.join("etc/console-setup/keymap.0");
        assert_eq!(fs::read_to_string(keymap).unwrap(), "keys\n");
        assert_eq!(run(&["--help"]), Some(3));
    }
}
