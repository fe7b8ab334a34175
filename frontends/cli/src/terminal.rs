//! What people see: data on stdout, talk on stderr.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::printable::printable;
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{self, Format, Style};

use crate::args::Color;
use crate::failure::{Failure, FileFailed};

/// The first error of stdout; there is one stdout in a process.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// True once stderr has a report: an empty line separates the next one from it.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Where a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    color: bool,
    width: Option<usize>,
}

impl Terminal {
    /// The terminal behind stderr; colours as asked, as NO_COLOR says, or where it is one.
    pub(crate) fn new(color: Color) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let said = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let color = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                (is_terminal && !said("NO_COLOR")) || said("FORCE_COLOR") || said("CLICOLOR_FORCE")
            }
        };
        Terminal {
            color,
            width: is_terminal.then_some(100),
        }
    }

    /// The style of reports.
    pub(crate) fn style(&self) -> Style {
        Style {
            color: self.color,
            width: self.width,
        }
    }

    /// Data, to stdout: text.
    pub(crate) fn data(&self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Data, to stdout. Once an error lost some of it, the rest is left out, and [`delivered`](Self::delivered) tells.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        if LOST.get().is_none() {
            let mut out = io::stdout().lock();
            if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
                let _ = LOST.set(error);
            }
        }
    }

    /// Whether stdout took all data; at the end of a command.
    pub(crate) fn delivered(&self) -> Result<(), Failure> {
        match LOST.get() {
            None => Ok(()),
            Some(error) => Err(lost(error)),
        }
    }

    /// One line of talk, to stderr.
    pub(crate) fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{}", printable(line));
    }

    /// Problems, to stderr.
    pub(crate) fn report(&self, problems: &Diagnostics, sources: &SourceMap) {
        if !problems.is_empty() {
            print_report(&report::render(problems, sources, Format::Human(self.style())));
        }
    }

    /// Says why a command failed, and gives its exit code.
    pub(crate) fn fail(&self, failure: &Failure, sources: &SourceMap) -> ExitCode {
        match failure {
            Failure::Wrong(problems) | Failure::World(problems) => self.report(problems, sources),
            Failure::Usage(problem) => {
                print_report(&report::render_one(problem.as_ref(), sources, self.style()));
            }
            Failure::Interrupted => self.say("interrupted"),
            Failure::Exit(_) => {}
        }
        ExitCode::from(failure.exit_code())
    }
}

/// Prints a report to stderr, after an empty line if another one was printed before.
fn print_report(text: &str) {
    let separator = if REPORTED.swap(true, Ordering::Relaxed) {
        "\n"
    } else {
        ""
    };
    let _ = write!(std::io::stderr().lock(), "{separator}{text}");
}

/// The failure of a command whose data is lost. A reader that has read enough wants to hear nothing.
pub(crate) fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Exit(CLOSED),
        kind => {
            let error = error
                .raw_os_error()
                .map_or(kind.into(), io::Error::from_raw_os_error);
            Failure::world(FileFailed::new("cannot write to the standard output", error))
        }
    }
}

/// The exit code of a shell for a program that SIGPIPE ended.
const CLOSED: u8 = 128 + 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_silent_and_a_full_disk_is_not() {
        assert!(matches!(
            lost(&io::ErrorKind::BrokenPipe.into()),
            Failure::Exit(141)
        ));
        let full = lost(&io::Error::from_raw_os_error(28));
        let Failure::World(problems) = &full else {
            panic!("{full:?}")
        };
        let text = report::render(
            problems,
            &SourceMap::new(),
            Format::Human(Terminal::new(Color::Never).style()),
        );
        assert!(
            text.contains("cannot write to the standard output: No space left on device"),
            "{text}"
        );
        assert_eq!(full.exit_code(), 3);
    }
}
