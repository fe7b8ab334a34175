//! Problems as people and programs read them.
//!
//! A report begins with its code and its place, each on a line of its own, so that editors and scripts find them.

mod excerpt;
mod human;
mod machine;

use kcompose_core::diagnostic::{Diagnostics, primary_span};
use kcompose_core::model::redacted;
use kcompose_core::printable::{printable, printable_line};
use kcompose_core::source::{Place, SourceMap, Span};
use miette::{Diagnostic, Severity};

pub use human::Style;

/// How problems are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people, with an excerpt of the text.
    Human(Style),
    /// One line a problem and one for its help, for programs that print an excerpt of their own.
    Lines,
    /// One JSON object with a list.
    Json,
    /// SARIF 2.1.0, for tools that collect findings.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// Writes problems in a format.
pub fn render(problems: &Diagnostics, sources: &SourceMap, format: Format) -> String {
    let findings: Vec<Finding> = problems
        .iter()
        .map(|problem| Finding::of(problem.as_ref(), sources))
        .collect();
    match format {
        Format::Human(style) => human::render(&findings, sources, style),
        Format::Lines => machine::lines(&findings),
        Format::Json => machine::json(&findings),
        Format::Sarif => machine::sarif(&findings),
        Format::Github => machine::github(&findings),
    }
}

/// One problem for people: for those that are not collected in [`Diagnostics`].
pub fn render_one(problem: &dyn Diagnostic, sources: &SourceMap, style: Style) -> String {
    human::render(&[Finding::of(problem, sources)], sources, style)
}

/// One problem as [`Format::Lines`].
pub fn render_one_as_lines(problem: &dyn Diagnostic, sources: &SourceMap) -> String {
    machine::lines(&[Finding::of(problem, sources)])
}

/// A problem, taken apart.
#[derive(Debug)]
struct Finding {
    code: String,
    level: Level,
    message: String,
    /// What lies behind the message, outermost first.
    causes: Vec<String>,
    help: Option<String>,
    place: Option<Region>,
    labels: Vec<Label>,
}

/// A marked part of a text, and what is said about it.
#[derive(Debug)]
struct Label {
    text: String,
    span: Span,
    region: Region,
    primary: bool,
}

/// Where a span begins and ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Region {
    begin: Place,
    end: Place,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Advice,
}

impl Finding {
    fn of(problem: &dyn Diagnostic, sources: &SourceMap) -> Self {
        let primary = primary_span(problem);
        let labels = problem.labels().into_iter().flatten().filter_map(|label| {
            let span = Span::new(
                u32::try_from(label.offset()).ok()?,
                u32::try_from(label.len()).ok()?,
            );
            let region = region(sources, span)?;
            let text = shown(label.label().unwrap_or_default());
            Some(Label {
                text,
                span,
                region,
                primary: primary == Some(span),
            })
        });
        Finding {
            code: problem
                .code()
                .map_or_else(|| "kcompose::error".to_owned(), |code| code.to_string()),
            level: match problem.severity() {
                None | Some(Severity::Error) => Level::Error,
                Some(Severity::Warning) => Level::Warning,
                Some(Severity::Advice) => Level::Advice,
            },
            message: shown(&problem.to_string()),
            causes: causes(problem),
            help: problem.help().map(|help| shown(&help.to_string())),
            place: primary.and_then(|span| region(sources, span)),
            labels: labels.collect(),
        }
    }
}

/// A text without logins, and without characters that steer a terminal.
fn shown(text: &str) -> String {
    printable(&redacted(text)).into_owned()
}

fn region(sources: &SourceMap, span: Span) -> Option<Region> {
    let named = |place: Place| Place {
        file: printable_line(&place.file).into(),
        ..place
    };
    Some(Region {
        begin: named(sources.place(span)?),
        end: named(sources.end_place(span)?),
    })
}

fn causes(problem: &dyn Diagnostic) -> Vec<String> {
    let mut found = Vec::new();
    let mut next = problem.source();
    while let Some(error) = next {
        found.push(shown(&error.to_string()));
        next = error.source();
    }
    found
}

#[cfg(test)]
mod tests;
