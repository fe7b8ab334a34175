//! What people see: data on stdout, talk on stderr.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{self, Format, Style};

use crate::args::Color;
use crate::failure::Failure;

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

    /// Data, to stdout. A reader that went away is not an error.
    pub(crate) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// One line of talk, to stderr.
    pub(crate) fn say(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Problems, to stderr.
    pub(crate) fn report(&self, problems: &Diagnostics, sources: &SourceMap) {
        if !problems.is_empty() {
            let text = report::render(problems, sources, Format::Human(self.style()));
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// Says why a command failed, and gives its exit code.
    pub(crate) fn fail(&self, failure: &Failure, sources: &SourceMap) -> ExitCode {
        match failure {
            Failure::Wrong(problems) | Failure::World(problems) => self.report(problems, sources),
            Failure::Usage(problem) => {
                let text = report::render_one(problem.as_ref(), sources, self.style());
                let _ = std::io::stderr().lock().write_all(text.as_bytes());
            }
            Failure::Interrupted => self.say("interrupted"),
            Failure::Exit(_) => {}
        }
        ExitCode::from(failure.exit_code())
    }
}
