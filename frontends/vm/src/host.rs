//! Programs of the host that make disks and run machines.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::problem::{Failure, MissingTool, ToolFailed};

/// The Debian package of each program that is called here.
const PACKAGES: &[(&str, &str)] = &[
    ("mke2fs", "e2fsprogs"),
    ("debugfs", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("e2label", "e2fsprogs"),
    ("sfdisk", "fdisk"),
    ("setpriv", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// The path of a program, or which package to install.
pub(crate) fn find(tool: &str) -> Result<PathBuf, Failure> {
    look_up(tool).ok_or_else(|| {
        let package = PACKAGES
            .iter()
            .find(|(name, _)| *name == tool)
            .map_or("", |(_, package)| package);
        Failure::world(MissingTool {
            tool: tool.to_owned(),
            package,
        })
    })
}

/// The path of a program, if it is there. File system tools live in `sbin`, which users often lack in `PATH`.
pub(crate) fn look_up(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(tool))
        .find(|file| file.is_file())
}

/// Runs a program to its end in a directory, and gives back what it printed.
pub(crate) async fn run<A: AsRef<OsStr>>(
    tool: &str,
    arguments: impl IntoIterator<Item = A>,
    directory: &Path,
) -> Result<Printed, Failure> {
    run_with_input(tool, arguments, directory, "").await
}

/// What a program printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The same, with a text on its stdin.
pub(crate) async fn run_with_input<A: AsRef<OsStr>>(
    tool: &str,
    arguments: impl IntoIterator<Item = A>,
    directory: &Path,
    input: &str,
) -> Result<Printed, Failure> {
    use tokio::io::AsyncWriteExt;

    let failed = |reason: String| {
        Failure::world(ToolFailed {
            tool: tool.to_owned(),
            reason,
        })
    };
    let mut child = Command::new(find(tool)?)
        .args(arguments)
        .current_dir(directory)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading all of it says why on stderr.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child
        .wait_with_output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(failed(format!("{}: {}", output.status, one_line(&stderr))));
    }
    Ok(Printed {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr,
    })
}

/// A program's complaint as one line.
pub(crate) fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
