//! Reports for people.

use std::fmt::Write as _;

use kcompose_core::source::SourceMap;

use super::excerpt::excerpt;
use super::{Finding, Level};

/// How a report for people looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
    /// The width to wrap messages at; `None` wraps nothing, for what is no terminal.
    pub width: Option<usize>,
}

/// What colours are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Error,
    Warning,
    Advice,
    Second,
    Gutter,
    Help,
    Bold,
}

impl Style {
    /// A text in a colour, if there are colours.
    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Error => "1;31",
            Ink::Warning => "1;33",
            Ink::Advice | Ink::Help => "36",
            Ink::Second => "35",
            Ink::Gutter => "2",
            Ink::Bold => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

pub(super) fn render(findings: &[Finding], sources: &SourceMap, style: Style) -> String {
    let reports: Vec<String> = findings
        .iter()
        .map(|finding| report(finding, sources, style))
        .collect();
    reports.join("\n")
}

fn report(finding: &Finding, sources: &SourceMap, style: Style) -> String {
    let mut text = String::new();
    let (ink, word) = match finding.level {
        Level::Error => (Ink::Error, "error"),
        Level::Warning => (Ink::Warning, "warning"),
        Level::Advice => (Ink::Advice, "advice"),
    };
    line(&mut text, &style.paint(ink, &finding.code));
    if let Some(place) = &finding.place {
        line(&mut text, &style.paint(Ink::Bold, &place.begin.to_string()));
    }
    let title = style.paint(ink, word);
    paragraph(&mut text, (word, &title), &finding.message, style);
    for cause in &finding.causes {
        paragraph(
            &mut text,
            ("because", &style.paint(Ink::Gutter, "because")),
            cause,
            style,
        );
    }
    text.push_str(&excerpt(finding, ink, sources, style));
    if let Some(help) = &finding.help {
        let title = style.paint(Ink::Help, "help");
        let help = if style.width.is_some() {
            help.clone()
        } else {
            joined(help)
        };
        paragraph(&mut text, ("help", &title), &help, style);
    }
    text
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// The indent of the further lines of a message that is not wrapped.
const INDENT: &str = "  ";

/// `title: message`, wrapped where there is a width. Line breaks of the message stay, and what follows them is indented.
fn paragraph(text: &mut String, (word, title): (&str, &str), message: &str, style: Style) {
    let lines = match style.width {
        Some(width) => {
            let indent = word.len() + 2;
            let lines = wrapped(message, width.saturating_sub(indent).max(20));
            lines.join(&format!("\n{}", " ".repeat(indent)))
        }
        None => unwrapped(message),
    };
    writeln!(text, "{title}: {lines}").expect("a string takes any text");
}

/// The lines of a message that have content; all but the first are indented.
fn unwrapped(message: &str) -> String {
    let mut lines = message.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        text.push('\n');
        if !line.starts_with(INDENT) {
            text.push_str(INDENT);
        }
        text.push_str(line);
    }
    text
}

/// A help without line breaks, which is one line for what reads logs.
fn joined(help: &str) -> String {
    help.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text in lines of at most `width` characters where it has spaces; its own line breaks stay.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_inclusive(' ') {
            if !line.is_empty() && line.chars().count() + word.trim_end().chars().count() > width {
                lines.push(std::mem::take(&mut line).trim_end().to_owned());
            }
            line.push_str(word);
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}
