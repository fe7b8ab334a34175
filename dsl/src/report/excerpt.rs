//! The lines of a text that a problem marks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kcompose_core::model::redacted;
use kcompose_core::printable::printable;
use kcompose_core::source::SourceMap;

use super::human::{Ink, Style};
use super::{Finding, Label};

/// Longer lines are cut around the mark.
const WIDEST: usize = 110;

/// The marked lines of each file, the file of the problem's place first.
pub(super) fn excerpt(finding: &Finding, ink: Ink, sources: &SourceMap, style: Style) -> String {
    let mut files: Vec<&str> = Vec::new();
    let first = finding.place.iter().map(|place| &place.begin.file);
    for file in first.chain(finding.labels.iter().map(|label| &label.region.begin.file)) {
        if !files.contains(&file.as_ref()) {
            files.push(file);
        }
    }
    let gutter = finding
        .labels
        .iter()
        .map(|label| label.region.begin.line.to_string().len())
        .max()
        .unwrap_or(1);
    let mut text = String::new();
    for (position, file) in files.iter().enumerate() {
        let labels: Vec<&Label> = finding
            .labels
            .iter()
            .filter(|label| label.region.begin.file.as_ref() == *file)
            .collect();
        if position > 0
            && let Some(label) = labels.first()
        {
            let arrow = style.paint(Ink::Gutter, &format!("{} ┌", " ".repeat(gutter + 1)));
            writeln!(text, "{arrow} {}", label.region.begin).expect("a string takes any text");
        }
        text.push_str(&lines(&labels, gutter, ink, sources, style));
    }
    text
}

/// The marked lines of one file, each with its marks below.
fn lines(labels: &[&Label], gutter: usize, ink: Ink, sources: &SourceMap, style: Style) -> String {
    let mut by_line: BTreeMap<usize, Vec<&Label>> = BTreeMap::new();
    for label in labels {
        by_line.entry(label.region.begin.line).or_default().push(label);
    }
    let mut text = String::new();
    let mut before: Option<usize> = None;
    for (number, mut labels) in by_line {
        if before.is_some_and(|before| number > before + 1) {
            let dots = style.paint(Ink::Gutter, &format!("{} ⋮", " ".repeat(gutter + 1)));
            writeln!(text, "{dots}").expect("a string takes any text");
        }
        before = Some(number);
        let Some(first) = labels.first() else { continue };
        let Some(shown) = Shown::of(first, sources) else {
            continue;
        };
        let bar = style.paint(Ink::Gutter, &format!(" {number:>gutter$} │"));
        writeln!(text, "{bar} {}", shown.text).expect("a string takes any text");
        labels.sort_by_key(|label| label.region.begin.column);
        for label in labels {
            let bar = style.paint(Ink::Gutter, &format!(" {} ·", " ".repeat(gutter)));
            writeln!(text, "{bar} {}", mark(label, &shown, ink, style)).expect("a string takes any text");
        }
    }
    text
}

fn mark(label: &Label, shown: &Shown, ink: Ink, style: Style) -> String {
    let begin = label.region.begin.column;
    let same_line = label.region.end.line == label.region.begin.line;
    let end = if same_line {
        label.region.end.column
    } else {
        shown.columns + 1
    };
    let offset = begin.saturating_sub(1).saturating_sub(shown.cut) + usize::from(shown.cut > 0);
    let room = (WIDEST + 2).saturating_sub(offset).max(1);
    let length = end.saturating_sub(begin).clamp(1, room);
    let ink = if label.primary { ink } else { Ink::Second };
    let sign = if label.primary { "^" } else { "-" };
    let signs = style.paint(ink, &sign.repeat(length));
    let said = style.paint(ink, &label.text);
    format!("{}{signs} {said}", " ".repeat(offset))
        .trim_end()
        .to_owned()
}

/// A line as it is printed.
struct Shown {
    text: String,
    /// How many characters it has.
    columns: usize,
    /// How many characters are cut off at its beginning.
    cut: usize,
}

impl Shown {
    fn of(label: &Label, sources: &SourceMap) -> Option<Shown> {
        let file = sources.file(label.span)?;
        let line = file.line(label.region.begin.line)?.trim_end_matches('\r');
        // A tab is one column for the place, so it is one here.
        let characters: Vec<char> = printable(&redacted(line))
            .chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .collect();
        if characters.len() <= WIDEST {
            return Some(Shown {
                columns: characters.len(),
                text: characters.into_iter().collect(),
                cut: 0,
            });
        }
        let cut = (label.region.begin.column - 1)
            .saturating_sub(WIDEST / 3)
            .min(characters.len() - WIDEST);
        let window: String = characters[cut..cut + WIDEST].iter().collect();
        let front = if cut > 0 { "…" } else { "" };
        let back = if cut + WIDEST < characters.len() {
            "…"
        } else {
            ""
        };
        Some(Shown {
            columns: characters.len(),
            text: format!("{front}{window}{back}"),
            cut,
        })
    }
}
