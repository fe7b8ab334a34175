//! Problems that a failed step prints, as diagnostics at the places of the flavor that are responsible.
//!
//! A step knows names and no positions. It prints `error[CODE]: MESSAGE`, then `  at ORIGIN` for each origin that may be
//! responsible, the nearest first, then `  help: TEXT`.

use std::fmt::Display;

use kcompose_core::diagnostic::{Diagnostics, Problem};
use kcompose_core::model::{FileBody, Flavor};
use kcompose_core::plan::Plan;
use kcompose_core::resolve::Resolved;
use kcompose_core::source::Span;
use kcompose_engine::EngineError;
use miette::{Diagnostic, LabeledSpan};
use thiserror::Error;

/// What the origins of a step are looked up in.
#[derive(Clone, Copy, Debug)]
pub struct Origins<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// The flavor.
    pub flavor: &'a Flavor,
    /// Its packages.
    pub resolved: &'a Resolved,
}

/// A problem that a step printed.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{message}")]
struct Complaint {
    code: String,
    message: String,
    help: Option<String>,
    place: Option<Span>,
}

impl Diagnostic for Complaint {
    fn code(&self) -> Option<Box<dyn Display + '_>> {
        Some(Box::new(&self.code))
    }

    fn help(&self) -> Option<Box<dyn Display + '_>> {
        self.help
            .as_ref()
            .map(|help| -> Box<dyn Display> { Box::new(help) })
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = |span| LabeledSpan::new_primary_with_span(Some("asked for here".to_owned()), span);
        Some(Box::new(self.place.map(label).into_iter()))
    }
}

/// The problems that a failed step printed, each at its own place; `None` if it printed none.
pub fn complaints(error: &EngineError, origins: &Origins<'_>) -> Option<Diagnostics> {
    let EngineError::Step { log, place, .. } = error else {
        return None;
    };
    let step = place.map(|place| Span::new(number(place.offset()), number(place.len())));
    let problems: Vec<Problem> = printed(log)
        .into_iter()
        .map(|printed| -> Problem {
            let mut places = printed.origins.iter().filter_map(|origin| origins.place(origin));
            Box::new(Complaint {
                // The step as a whole stands for what names no origin; what names one that no line has stays without.
                place: places.next().or(step.filter(|_| printed.origins.is_empty())),
                code: printed.code,
                message: printed.message,
                help: printed.help,
            })
        })
        .collect();
    (!problems.is_empty()).then(|| problems.into_iter().collect())
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Origins<'_> {
    /// The place of an origin: a path of the image, a package, or a name of the plan.
    fn place(&self, origin: &str) -> Option<Span> {
        let found = match origin.split_once(':') {
            Some(("path", path)) => self.path(path),
            Some(("package", name)) => self.package(name),
            _ => self.plan.origin(origin),
        };
        found.filter(|span| span.is_some())
    }

    /// The file, the copy or the line of the layout that a path of the image comes from.
    fn path(&self, path: &str) -> Option<Span> {
        if let Some(span) = self.plan.origin(&format!("file:{path}")) {
            return Some(span);
        }
        let rules = &self.flavor.layout.rules;
        if let Some(rule) = rules.iter().find(|rule| rule.value.path.as_str() == path) {
            return self.is_own(rule.span).then_some(rule.span);
        }
        let mut copies = self.flavor.files.iter().filter(|file| {
            let to = file.value.path.value.as_str();
            let rest = path.strip_prefix(to.trim_end_matches('/'));
            matches!(file.value.body, FileBody::Copy(_)) && rest.is_some_and(|rest| rest.starts_with('/'))
        });
        let (first, second) = (copies.next(), copies.next());
        first.filter(|_| second.is_none()).map(|file| file.span)
    }

    /// Whether a line is the flavor's, not one of the distro.
    fn is_own(&self, span: Span) -> bool {
        let stock = &self.flavor.distro.value.layout.rules;
        !stock.iter().any(|stock| stock.span == span)
    }

    /// The line that asks for a package, or for one that needs it.
    fn package(&self, name: &str) -> Option<Span> {
        let requests = || {
            let own = self.flavor.packages.requests.iter();
            own.chain(&self.flavor.block_packages.requests)
        };
        let direct = requests().find(|request| request.value.name.as_str() == name);
        let needed = || {
            requests().find(|request| {
                let closure = self.resolved.closure([&request.value.name]);
                closure.iter().any(|package| package.as_str() == name)
            })
        };
        direct.or_else(needed).map(|request| request.span)
    }
}

/// A problem as it stands in a log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Printed {
    code: String,
    message: String,
    origins: Vec<String>,
    help: Option<String>,
}

/// The problems in a log.
fn printed(log: &[String]) -> Vec<Printed> {
    let mut found: Vec<Printed> = Vec::new();
    let mut inside = false;
    for line in log {
        if let Some((code, message)) = header(line) {
            found.push(Printed {
                code: code.to_owned(),
                message: message.to_owned(),
                ..Printed::default()
            });
            inside = true;
            continue;
        }
        inside &= line.starts_with("  ");
        let Some(last) = found.last_mut().filter(|_| inside) else {
            continue;
        };
        let content = line.trim();
        if let Some(origin) = content.strip_prefix("at ") {
            last.origins.push(origin.to_owned());
        } else if let Some(help) = content.strip_prefix("help: ") {
            last.help = Some(help.to_owned());
        } else {
            last.message.push_str("\n  ");
            last.message.push_str(content);
        }
    }
    found
}

/// `error[CODE]: MESSAGE`
fn header(line: &str) -> Option<(&str, &str)> {
    let (code, message) = line.strip_prefix("error[")?.split_once("]: ")?;
    code.starts_with("kcompose::").then_some((code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_found_in_a_log() {
        let log = "Setting up x ...\n\
                   error[kcompose::verify::identity]: `/etc/hostname`: the image has a host name\n\
                   \x20 at path:/etc/hostname\n\
                   \x20 at check:identity\n\
                   \x20 help: delete the file\n\
                   error[kcompose::step::script]: it failed\n\
                   \x20 the end of what it printed\n\
                   other output\n\
                   \x20 at nothing";
        let log: Vec<String> = log.lines().map(str::to_owned).collect();
        let found = printed(&log);
        assert_eq!(
            found,
            [
                Printed {
                    code: "kcompose::verify::identity".to_owned(),
                    message: "`/etc/hostname`: the image has a host name".to_owned(),
                    origins: vec!["path:/etc/hostname".to_owned(), "check:identity".to_owned()],
                    help: Some("delete the file".to_owned()),
                },
                Printed {
                    code: "kcompose::step::script".to_owned(),
                    message: "it failed\n  the end of what it printed".to_owned(),
                    ..Printed::default()
                },
            ]
        );
        assert_eq!(printed(&["error: no".to_owned()]), []);
    }
}
