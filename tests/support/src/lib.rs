//! What the tests of several crates share.
//!
//! A test that needs more than a compiler says so first:
//!
//! ```no_run
//! fn boots() {
//!     kcompose_testing::needs!(Root, BuildKit, Program("qemu-system-x86_64"));
//!     // …
//! }
//! ```
//!
//! Where something is missing, the test returns, and a line that begins with `SKIPPED: ` says why on stderr, past the
//! capture of the test runner. With `CI=true` it fails instead, unless no CI could have what is missing: a set-up that lost
//! a package would otherwise pass by testing nothing.

// Folders of tests may be readable.
#![allow(clippy::disallowed_methods)]

pub mod archive;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Something that a machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The user is root.
    Root,
    /// A BuildKit answers at `BUILDKIT_HOST`, as it does below `tests/with-buildkit`.
    BuildKit,
    /// A program on `PATH`.
    Program(&'static str),
    /// Debian's package mirror is reached.
    Mirror,
    /// An environment variable that names something no set-up can fetch by itself, such as an image of another project.
    Given(&'static str),
}

/// Returns from the test unless all that is named is there: `needs!(Root, Program("runc"))`.
#[macro_export]
macro_rules! needs {
    ($($name:ident $(($argument:expr))?),+ $(,)?) => {
        if !$crate::have(&[$($crate::Need::$name $(($argument))?),+]) {
            return;
        }
    };
}

/// Whether the machine has all of it; says on stderr what it lacks.
///
/// # Panics
///
/// With `CI=true`, when something is missing that a CI can have.
#[track_caller]
pub fn have(needs: &[Need]) -> bool {
    let missing: Vec<(Need, String)> = needs
        .iter()
        .filter_map(|need| Some((*need, need.missing()?)))
        .collect();
    if missing.is_empty() {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let why = missing
        .iter()
        .map(|(_, why)| why.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    let excused = missing.iter().any(|(need, _)| !need.ci_can_have_it());
    assert!(excused || !in_ci(), "{test} is skipped, and CI=true: {why}");
    say(&format!("SKIPPED: {test}: {why}"));
    false
}

/// The folder where tests keep what is expensive to make, named by a checksum of its inputs; it outlives `target/`.
pub fn cache() -> PathBuf {
    let home = || env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let user_cache = || env::var_os("XDG_CACHE_HOME").map_or_else(|| home().join(".cache"), PathBuf::from);
    env::var_os("KCOMPOSE_TEST_CACHE").map_or_else(|| user_cache().join("kcompose-test"), PathBuf::from)
}

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where a program is on `PATH`, or where Debian keeps those for root.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let root_only = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(root_only)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The id of the user of [`as_ordinary_user`]; no system has it.
pub const ORDINARY_USER: u32 = 54_321;

/// A command that runs a program as an ordinary user with 65536 ids set aside, in a folder that is that user's.
///
/// The user and the ids are in a mount namespace only, where `/etc/passwd`, `/etc/subuid` and `/etc/subgid` are other
/// files: the system's own stay as they are. Everybody may read the folder; `HOME` and `TMPDIR` are below it.
///
/// # Panics
///
/// When the folder cannot be written to, or this is not root.
pub fn as_ordinary_user(folder: &Path, program: &Path) -> Command {
    let user = format!(
        "kcompose-test:x:{ORDINARY_USER}:{ORDINARY_USER}::{}:/bin/sh",
        folder.display()
    );
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("the mode can be set");
    fs::write(folder.join("passwd"), format!("{accounts}{user}\n")).expect("the folder can be written to");
    fs::write(folder.join("ids"), "kcompose-test:100000:65536\n").expect("the folder can be written to");
    // The program may be below somebody's closed home.
    fs::copy(program, folder.join("program")).expect("the program can be copied");
    for name in ["home", "tmp"] {
        let made = folder.join(name);
        fs::create_dir(&made).expect("the folder can be written to");
        std::os::unix::fs::chown(&made, Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("this is root");
    }
    let script = format!(
        "set -e; cd '{folder}'; mount --bind passwd /etc/passwd
         for file in subuid subgid; do [ -e /etc/$file ] || touch /etc/$file; mount --bind ids /etc/$file; done
         exec setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups -- ./program \"$@\"",
        folder = folder.display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]);
    command
        .env("HOME", folder.join("home"))
        .env("TMPDIR", folder.join("tmp"));
    command
}

/// Prints a line on stderr that the test runner does not capture.
pub fn say(line: &str) {
    // `eprintln!` in a test is shown only when it fails. Nothing is lost where stderr is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Need::Root => (!is_root()).then(|| "it needs root".into()),
            Need::BuildKit => env::var_os("BUILDKIT_HOST")
                .is_none()
                .then(|| "no BUILDKIT_HOST; run below `tests/with-buildkit`".into()),
            Need::Program(name) => program(name)
                .is_none()
                .then(|| format!("no `{name}` on PATH; run `tests/setup`")),
            Need::Mirror => (!mirror_answers()).then(|| format!("{} does not answer", mirror())),
            Need::Given(name) => env::var_os(name).is_none().then(|| format!("{name} is not set")),
        }
    }

    fn ci_can_have_it(self) -> bool {
        match self {
            Need::Root | Need::BuildKit | Need::Program(_) | Need::Mirror => true,
            Need::Given(_) => false,
        }
    }
}

fn in_ci() -> bool {
    env::var_os("CI").as_deref() == Some(OsStr::new("true"))
}

fn is_root() -> bool {
    // The owner of our own entry in /proc is the effective user.
    std::os::unix::fs::MetadataExt::uid(&match std::fs::metadata("/proc/self") {
        Ok(metadata) => metadata,
        Err(_) => return false,
    }) == 0
}

/// The URL of a Debian archive, without a trailing `/`: `KCOMPOSE_MIRROR`, what this machine's apt uses, or Debian's own.
pub fn mirror() -> String {
    let wanted = env::var("KCOMPOSE_MIRROR").ok().filter(|url| !url.is_empty());
    let own = || "http://ftp.debian.org/debian".to_owned();
    let url = wanted.or_else(apt_mirror).unwrap_or_else(own);
    url.trim_end_matches('/').to_owned()
}

/// The first `…/debian` among the package sources of this machine (sources.list(5), either style).
fn apt_mirror() -> Option<String> {
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    let mut paths: Vec<_> = parts.map(|entry| entry.path()).collect();
    paths.sort();
    paths.insert(0, "/etc/apt/sources.list".into());
    paths.iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let url = lines
            .flat_map(str::split_whitespace)
            .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))?;
        Some(url.to_owned())
    })
}

fn mirror_answers() -> bool {
    let url = mirror();
    let host = url
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let port = if url.starts_with("https:") { 443 } else { 80 };
    let place = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let Ok(addresses) = place.to_socket_addrs() else {
        return false;
    };
    addresses
        .into_iter()
        .any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_there_and_nonsense_is_not() {
        assert_eq!(Need::Program("sh").missing(), None);
        assert_eq!(
            Need::Program("no-such-program").missing(),
            Some("no `no-such-program` on PATH; run `tests/setup`".into())
        );
    }

    #[test]
    fn only_what_must_be_given_excuses_a_ci() {
        let given = Need::Given("KCOMPOSE_TEST_NEVER_SET");
        assert_eq!(given.missing(), Some("KCOMPOSE_TEST_NEVER_SET is not set".into()));
        assert!(!given.ci_can_have_it());
        assert!(Need::Root.ci_can_have_it());
    }

    #[test]
    fn the_workspace_has_our_manifest() {
        assert!(workspace().join("tests/support/Cargo.toml").is_file());
    }
}
