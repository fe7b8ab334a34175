//! Programs of the root, with the environment that makes their results the same each time.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome};
use crate::say;

/// How many lines of output are kept for a message.
const TAIL: usize = 40;

/// What a program came to.
#[derive(Debug)]
pub(crate) struct Run {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// The last lines of what it printed.
    pub(crate) tail: Vec<String>,
}

impl Run {
    /// The last lines, indented for a message.
    pub(crate) fn shown_tail(&self) -> String {
        self.tail.iter().map(|line| format!("\n    {line}")).collect()
    }
}

/// A program of the root with nothing in its environment but what makes it repeatable.
///
/// `C.UTF-8` and not `C`: the character map of the console depends on it.
pub(crate) fn command(program: &str, epoch: i64) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).envs([
        ("SOURCE_DATE_EPOCH", epoch.to_string().as_str()),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
        ("PYTHONHASHSEED", "0"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        // The initrd has a step of its own (initramfs-tools and dracut look at this).
        ("INITRD", "No"),
        // systemctl changes files, and ignores what is for a running systemd, as in a chroot (systemctl(1), "Environment").
        ("SYSTEMD_OFFLINE", "1"),
        ("HOME", "/root"),
        ("PATH", PATH),
    ]);
    command
}

/// Programs that stand in for others, for whoever has it in `PATH`; on a tmpfs, so that no layer has them.
pub(crate) const STUBS: &str = "/run/kcompose/stubs";

/// Puts a script into a folder of stubs.
pub(crate) fn stub(folder: &str, name: &str, text: &str) -> Outcome<()> {
    let stub = Path::new(folder).join(name);
    fs::make_parent(&stub, 0)?;
    fs::write_file(&stub, text.as_bytes(), Meta::root(0o755, 0))
}

/// Where programs are looked for.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program; what it prints goes to the log at once, and its last lines are kept.
pub(crate) fn run(command: &mut Command) -> Outcome<Run> {
    run_with_input(command, "")
}

/// Runs a program with a text as standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> Outcome<Run> {
    let program = Path::new(command.get_program()).to_owned();
    let (reader, writer) = std::io::pipe().doing("make a pipe for", &program)?;
    let errors = writer.try_clone().doing("make a pipe for", &program)?;
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(writer)
        .stderr(errors)
        .spawn()
        .doing("run", &program)?;
    // The command holds its ends of the pipe until these are replaced; the reader would wait for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input says so by how it ends.
        let _ = stdin.write_all(input.as_bytes());
    }
    let mut tail = VecDeque::with_capacity(TAIL);
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line.doing("read the output of", &program)?).into_owned();
        say(&line);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = child.wait().doing("wait for", &program)?;
    Ok(Run {
        status,
        tail: tail.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_end_are_kept() {
        let mut cat = command("sh", 7);
        let run = run_with_input(
            cat.args([
                "-c",
                "read x; echo $x $SOURCE_DATE_EPOCH $SYSTEMD_OFFLINE; echo bad >&2; exit 3",
            ]),
            "in\n",
        );
        let run = run.unwrap();
        assert_eq!(run.status.code(), Some(3));
        assert_eq!(run.tail, ["in 7 1", "bad"]);
        assert_eq!(run.shown_tail(), "\n    in 7 1\n    bad");
    }
}
