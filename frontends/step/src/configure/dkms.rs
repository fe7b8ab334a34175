//! Kernel modules that packages build with DKMS while they are configured.

use std::path::{Path, PathBuf};

use crate::command;
use crate::depmod::kernel_version;
use crate::fs;
use crate::problem::Outcome;

/// Keeps DKMS from signing: it looks for this program, finds none, and goes on (`prepare_signing` in dkms 3.0 and 3.2).
///
/// It would sign with a key that it makes at that moment: every build would have other modules, and every image a private key.
pub(crate) const UNSIGNED: (&str, &str) = ("sign_file", "none");

/// How many lines of a log are shown.
const TAIL: usize = 30;

/// The last lines of the logs of modules that are not built, for a message.
pub(crate) fn shown_logs(root: &Path) -> Outcome<String> {
    let mut shown = String::new();
    for log in logs(root) {
        let text = fs::read_text(&log)?;
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        let path = log.strip_prefix(root).unwrap_or(&log);
        shown.push_str(&format!("\n    /{}:", path.display()));
        shown.extend(tail.iter().map(|line| format!("\n      {line}")));
    }
    Ok(shown)
}

/// `/var/lib/dkms/MODULE/VERSION/build/make.log`: a module that is built has its log elsewhere.
fn logs(root: &Path) -> Vec<PathBuf> {
    let tree = root.join("var/lib/dkms");
    let below = |folder: &Path| {
        let names = fs::names(folder).into_iter();
        names.map(|name| folder.join(name)).collect::<Vec<_>>()
    };
    let releases = below(&tree).into_iter().flat_map(|module| below(&module));
    releases
        .map(|release| release.join("build/make.log"))
        .filter(|log| log.is_file())
        .collect()
}

/// Puts a program before `uname` that names the kernel of the root: what is built is for that, and not for the builder's.
pub(crate) fn stub_uname(root: &Path) -> Outcome<()> {
    let Ok(version) = kernel_version(root) else {
        return Ok(());
    };
    // It becomes a word of a script.
    if version.contains('\'') {
        return Ok(());
    }
    command::stub(command::STUBS, "uname", &uname("/usr/bin/uname", &version))
}

fn uname(program: &str, version: &str) -> String {
    format!(
        r#"#!/bin/sh
text=$({program} "$@") || exit
running=$({program} -r)
case $text in
    *"$running"*) text=${{text%%"$running"*}}'{version}'${{text#*"$running"}} ;;
esac
printf '%s\n' "$text"
"#
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_modules_that_failed_have_a_log_to_show() {
        let root = tempfile::tempdir().unwrap();
        let lines: String = (0..100).map(|line| format!("line {line}\n")).collect();
        fs::put(root.path(), "var/lib/dkms/zfs/2.3/build/make.log", &lines);
        fs::put(
            root.path(),
            "var/lib/dkms/v4l2/1/6.12/x86_64/log/make.log",
            "fine\n",
        );
        let shown = shown_logs(root.path()).unwrap();
        assert!(shown.starts_with("\n    /var/lib/dkms/zfs/2.3/build/make.log:\n      line 70\n"));
        assert!(shown.ends_with("\n      line 99") && !shown.contains("fine"));
    }

    #[test]
    fn uname_names_the_kernel_of_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("uname");
        let text = "#!/bin/sh\n[ $# = 1 ] || exit 1\n\
            case $1 in -r) echo 5.4-x ;; -a) echo Linux host 5.4-x '#1 SMP' ;; -m) echo x86_64 ;; esac\n";
        fs::put(folder.path(), "uname", text);
        fs::set_mode(&real, 0o755).unwrap();
        let stub = uname(real.to_str().unwrap(), "6.12+deb13-amd64");
        for (argument, printed) in [
            ("-r", "6.12+deb13-amd64\n"),
            ("-a", "Linux host 6.12+deb13-amd64 #1 SMP\n"),
            ("-m", "x86_64\n"),
        ] {
            let out = Command::new("sh").args(["-c", &stub, "uname", argument]).output();
            assert_eq!(String::from_utf8(out.unwrap().stdout).unwrap(), printed);
        }
    }
}
