//! Why a step fails, as the log of the build shows it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::Path;

/// One reason, with its code, the place in the flavor that is responsible, and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    code: Cow<'static, str>,
    message: String,
    /// Names of what may be responsible, the nearest first.
    origins: Vec<String>,
    help: Option<String>,
}

impl Problem {
    /// A problem with a code `kcompose::step::…` and what is the case.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Problem {
            code: code.into(),
            message: message.into(),
            origins: Vec::new(),
            help: None,
        }
    }

    /// Adds a name of what may be responsible, behind those that were added before; an empty one is none.
    pub(crate) fn at(mut self, origin: &str) -> Self {
        if !origin.is_empty() {
            self.origins.push(origin.to_owned());
        }
        self
    }

    /// Adds what to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// As it is shown when the step goes on in spite of it.
    pub(crate) fn as_warning(&self) -> String {
        let mut text = String::new();
        self.show("warning", &mut text)
            .expect("writing to a string never fails");
        text
    }

    fn show(&self, word: &str, f: &mut dyn fmt::Write) -> fmt::Result {
        write!(f, "{word}[{}]: {}", self.code, self.message)?;
        for origin in &self.origins {
            write!(f, "\n  at {origin}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("error", f)
    }
}

/// All the reasons of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// Adds one.
    pub(crate) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Adds what a part found.
    pub(crate) fn extend(&mut self, outcome: Outcome<()>) {
        if let Err(Problems(more)) = outcome {
            self.0.extend(more);
        }
    }

    /// `value`, if there is no problem.
    pub(crate) fn or<T>(self, value: T) -> Outcome<T> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Problems(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// What an action or a part of it comes to.
pub(crate) type Outcome<T> = Result<T, Problems>;

/// Says what was tried when the system refuses.
pub(crate) trait Doing<T> {
    /// Turns the error into "cannot `verb` `path`: …".
    fn doing(self, verb: &str, path: &Path) -> Outcome<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, verb: &str, path: &Path) -> Outcome<T> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            Problem::new(
                "kcompose::step::io",
                format!("cannot {verb} `{}`: {error}", path.display()),
            )
            .into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_code_place_and_help() {
        let problem = Problem::new("kcompose::step::unknown_unit", "no unit `x`")
            .at("flavor.kdl:3:1")
            .help("try `y`");
        let shown = "error[kcompose::step::unknown_unit]: no unit `x`\n  at flavor.kdl:3:1\n  help: try `y`";
        assert_eq!(problem.to_string(), shown);
        assert!(Problems::default().or(1).is_ok());
    }

    #[test]
    fn a_refusal_names_the_path() {
        let refused = std::fs::read("/nonexistent/x")
            .doing("read", Path::new("/nonexistent/x"))
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("cannot read `/nonexistent/x`: No such file"),
            "{refused}"
        );
    }
}
