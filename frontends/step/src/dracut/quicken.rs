//! What makes dracut quicker, and its initrd no other one.

use std::path::Path;

use crate::command::{self, STUBS};
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome};
use kcompose_core::elf;

/// Where dracut's modules are.
const MODULES: &str = "usr/lib/dracut/modules.d";

/// How its module `kernel-modules` looks for drivers of disks: each module below `drivers` is unpacked, and its symbols
/// are compared (dracut 059 and 106).
const SEARCH: &str = r#"dracut_instmods -o -s "${_blockfuncs}" "=drivers""#;

/// Folders of drivers of other devices, which are more than half of what is unpacked.
///
/// Of Debian's kernels 6.1 and 6.12 they have nothing of a disk but `libertas_sdio`, a driver of WLAN cards that calls
/// `mmc_add_host` as disks do, and that an initrd cannot use.
const ELSEWHERE: &str =
    "accel|bluetooth|comedi|edac|gpu|hid|hwmon|iio|input|isdn|media|net/ethernet|net/wireless|video|watchdog";

/// The search that leaves them out (`-P`, dracut-install(1)).
fn narrowed() -> String {
    SEARCH.replace(" -s ", &format!(r#" -P ".*/drivers/({ELSEWHERE})/.*" -s "#))
}

/// Leaves the search for drivers of disks out where there are none. A dracut that searches in another way is left as it is.
pub(super) fn narrow_search(root: &Path) -> Outcome<()> {
    let modules = root.join(MODULES);
    for name in fs::names(&modules) {
        if !name.to_string_lossy().ends_with("kernel-modules") {
            continue;
        }
        let path = modules.join(&name).join("module-setup.sh");
        let Some(text) = fs::read_optional(&path)? else {
            continue;
        };
        let text = String::from_utf8_lossy(&text);
        if text.contains(SEARCH) {
            let meta = fs::meta_of(&path.metadata().doing("look at", &path)?);
            fs::write_file(&path, text.replace(SEARCH, &narrowed()).as_bytes(), meta)?;
        }
    }
    Ok(())
}

/// The program that dracut has install files; it asks `ldd` for the libraries of each.
const INSTALL: &str = "/usr/lib/dracut/dracut-install";

/// A program that says what `ldd` says, which is a script that tries the loader of every architecture in turn.
pub(super) fn ldd() -> Outcome<Option<String>> {
    let needs = fs::read_optional(Path::new(INSTALL))?.and_then(|bytes| elf::needs(&bytes));
    let Some(loader) = needs.and_then(|needs| needs.interpreter) else {
        return Ok(None);
    };
    command::stub(STUBS, "ldd", &script(&loader))?;
    Ok(Some(format!("{STUBS}/ldd")))
}

/// The words and exit codes are those of ldd(1) of glibc.
fn script(loader: &str) -> String {
    format!(
        r#"#!/bin/sh
{loader} --verify "$1" > /dev/null 2>&1
case $? in
0 | 2) exec {loader} --list "$1" ;;
*)
    echo "	not a dynamic executable" >&2
    exit 1
    ;;
esac
"#
    )
}

/// The one name of where dracut puts thousands of files together: it writes its arguments into the initrd, which must not
/// tell how much memory there was.
pub(super) const SCRATCH: &str = "/run/kcompose/dracut";

/// Leads there: into memory, if there is much more than the files take, else to the disk.
pub(super) fn make_scratch(link: &Path) -> Outcome<()> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let folder = match available(&text) {
        Some(kib) if kib >= PLENTY => "/tmp",
        _ => "/var/tmp",
    };
    fs::make_parent(link, 0)?;
    fs::write_link(link, folder.as_bytes(), Meta::root(0o777, 0)).doing("make the link", link)
}

/// In KiB. All of a kernel's modules and firmware are less than a quarter of it.
const PLENTY: u64 = 4 << 20;

/// The line `MemAvailable: N kB` of proc_meminfo(5).
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_a_search_that_is_known_is_narrowed() {
        let root = tempfile::tempdir().unwrap();
        let [known, other] = ["90kernel-modules", "90kernel-modules-extra"]
            .map(|name| format!("{MODULES}/{name}/module-setup.sh"));
        fs::put(root.path(), &known, &format!("a() {{\n        {SEARCH}\n}}\n"));
        fs::put(root.path(), &other, "instmods =drivers\n");
        narrow_search(root.path()).unwrap();
        let text = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        let found = text(&known);
        assert!(
            found.starts_with("a() {\n        dracut_instmods -o -P \".*/drivers/(accel|"),
            "{found}"
        );
        assert!(
            found.ends_with("|watchdog)/.*\" -s \"${_blockfuncs}\" \"=drivers\"\n}\n"),
            "{found}"
        );
        assert_eq!(text(&other), "instmods =drivers\n");
    }

    #[test]
    fn libraries_are_those_that_ldd_finds() {
        let program = std::fs::read("/bin/sh").unwrap();
        let loader = elf::needs(&program).unwrap().interpreter.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().to_str().unwrap();
        command::stub(at, "ldd", &script(&loader)).unwrap();
        let said = |ldd: &str, path: &str| {
            let output = Command::new(ldd).arg(path).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            // Where each is mapped differs from run to run.
            let lines = text
                .lines()
                .map(|line| line.split(" (0x").next().unwrap().to_owned());
            (output.status.code(), lines.collect::<Vec<_>>())
        };
        std::fs::write(folder.path().join("text"), "#!/bin/sh\n").unwrap();
        for path in ["/bin/sh", &format!("{at}/text")] {
            assert_eq!(said(&format!("{at}/ldd"), path), said("ldd", path), "{path}");
        }
    }

    #[test]
    fn scratch_is_somewhere() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("dracut");
        make_scratch(&link).unwrap();
        assert!(link.is_dir());
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24678912 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(available(text), Some(20 << 20));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }
}
