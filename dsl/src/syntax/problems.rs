//! Syntax errors as people meet them.

use std::collections::BTreeMap;

use kcompose_core::diagnostic::Sink;
use kcompose_core::limits::Limit;
use kcompose_core::source::Span;
use miette::{Diagnostic, LabeledSpan};
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
#[error("this `{{` is never closed")]
#[diagnostic(code("kcompose::syntax::unclosed"), help("add the missing `}}`"))]
pub(super) struct UnclosedBrace {
    #[label(primary, "opened here")]
    pub(super) opened: Span,
    #[label("the text ends here")]
    pub(super) end: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this text is never closed")]
#[diagnostic(
    code("kcompose::syntax::unclosed"),
    help(
        "close it with `\"` on the same line; text of many lines stands between `\"\"\"` and `\"\"\"`, each on a line of its own"
    )
)]
pub(super) struct UnclosedText {
    #[label("opened here")]
    pub(super) opened: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this text of many lines is never closed")]
#[diagnostic(
    code("kcompose::syntax::unclosed"),
    help("close it with `\"\"\"` on a line of its own")
)]
pub(super) struct UnclosedLines {
    #[label("opened here")]
    pub(super) opened: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this comment is never closed")]
#[diagnostic(code("kcompose::syntax::unclosed"), help("close it with `*/`"))]
pub(super) struct UnclosedComment {
    #[label("opened here")]
    pub(super) opened: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("more than {limit} are inside each other here")]
#[diagnostic(
    code("kcompose::syntax::too-deep"),
    help("take blocks or comments apart that need not be inside each other")
)]
pub(super) struct TooDeep {
    pub(super) limit: Limit,
    #[label("one level too many")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this document is larger than {limit}")]
#[diagnostic(
    code("kcompose::syntax::too-large"),
    help(
        "put parts of it into documents that it names with `use`, and long texts into files that it copies"
    )
)]
pub(super) struct TooLarge {
    pub(super) limit: Limit,
    #[label("it begins here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a bare `{word}` is not a value")]
#[diagnostic(
    code("kcompose::syntax::keyword"),
    help("write `#{word}`, or `\"{word}\"` if text is meant")
)]
pub(super) struct BareKeyword {
    pub(super) word: String,
    #[label("needs a `#`")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no keyword `#{word}`")]
#[diagnostic(code("kcompose::syntax::keyword"), help("{help}"))]
pub(super) struct UnknownKeyword {
    pub(super) word: String,
    pub(super) help: String,
    #[label("keywords are #true, #false and #null")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a bare name cannot begin with a digit")]
#[diagnostic(code("kcompose::syntax::digit"), help("put it in quotes: \"{word}\""))]
pub(super) struct LeadingDigit {
    pub(super) word: String,
    #[label("begins with a digit")]
    pub(super) span: Span,
}

/// A bare word that needs quotes.
#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code("kcompose::syntax::bare"), help("{help}"))]
pub(super) struct NeedsQuotes {
    fact: String,
    help: String,
    label: &'static str,
    #[label("{label}")]
    span: Span,
}

impl NeedsQuotes {
    /// A word with signs that only text in quotes may have, or one that begins like a number and is none.
    pub(super) fn of(word: &str, is_number: bool, span: Span) -> Self {
        let (fact, label) = if is_number {
            ("is not a number, and stands without quotes", "not a number")
        } else {
            (
                "cannot stand without quotes",
                "has a character that means something in KDL",
            )
        };
        NeedsQuotes {
            fact: format!("`{word}` {fact}"),
            help: format!("put it in quotes: \"{word}\""),
            label,
            span,
        }
    }

    /// A word in front of a `"` that belongs to nothing.
    pub(super) fn opening(word: &str, span: Span) -> Self {
        NeedsQuotes {
            fact: format!("the quote behind `{word}` closes nothing"),
            help: format!("put the text in quotes: \"{word}\""),
            label: "the opening quote is missing",
            span,
        }
    }

    /// A `"` that belongs to nothing.
    pub(super) fn unpaired(span: Span) -> Self {
        NeedsQuotes {
            fact: "this quote closes nothing".to_owned(),
            help: "put each text in quotes of its own".to_owned(),
            label: "no text ends here",
            span,
        }
    }
}

#[derive(Debug, Error, Diagnostic)]
#[error("the quotes of this line do not pair up")]
#[diagnostic(
    code("kcompose::syntax::quotes"),
    help("put each text in quotes of its own, and a space between two of them")
)]
pub(super) struct UnpairedQuotes {
    #[label("a quote is missing or too much near here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{word}` is no value")]
#[diagnostic(
    code("kcompose::syntax::invalid"),
    help("put text in quotes, and a space between two values")
)]
pub(super) struct InvalidWord {
    pub(super) word: String,
    #[label("not a value")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the character U+{number:04X} cannot stand here")]
#[diagnostic(
    code("kcompose::syntax::character"),
    help("delete it, or write it as `\\u{{{number:x}}}` in a text; editors do not show it")
)]
pub(super) struct Forbidden {
    number: u32,
    #[label("an invisible character")]
    span: Span,
}

impl Forbidden {
    pub(super) fn new(character: char, span: Span) -> Self {
        Forbidden {
            number: character.into(),
            span,
        }
    }
}

#[derive(Debug, Error, Diagnostic)]
#[error("the value of `{name}` is missing")]
#[diagnostic(code("kcompose::syntax::missing-value"), help("write `{name}=\"…\"`"))]
pub(super) struct MissingValue {
    pub(super) name: String,
    #[label("no value behind `=`")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is a node, and a node has no `=`")]
#[diagnostic(code("kcompose::syntax::assignment"), help("{help}"))]
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) help: String,
    #[label("not a node")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a node begins with its name")]
#[diagnostic(
    code("kcompose::syntax::missing-name"),
    help("write a name in front of it, as in: packages {{ curl; }}")
)]
pub(super) struct MissingName {
    #[label("the name is missing")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{sign}` cannot stand here")]
#[diagnostic(code("kcompose::syntax::invalid"), help("{help}"))]
pub(super) struct StraySign {
    pub(super) sign: char,
    pub(super) help: &'static str,
    #[label("unexpected")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this `}}` closes nothing")]
#[diagnostic(
    code("kcompose::syntax::stray-brace"),
    help("take it out, or add the `{{` that it closes")
)]
pub(super) struct StrayBrace {
    #[label("nothing is open here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("text and `\"\"\"` are on one line")]
#[diagnostic(code("kcompose::syntax::lines"), help("{help}"))]
pub(super) struct TextOnQuotes {
    pub(super) help: &'static str,
    #[label("here")]
    pub(super) span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this line begins further left than the `\"\"\"` that closes the text")]
#[diagnostic(
    code("kcompose::syntax::lines"),
    help("indent it, or move the closing `\"\"\"` to the left: its indent is taken off each line")
)]
pub(super) struct Undented {
    #[label(primary, "begins here")]
    pub(super) span: Span,
    #[label("the indent of all lines")]
    pub(super) closing: Span,
}

/// Escapes of one text that mean nothing.
#[derive(Debug, Error, Diagnostic)]
#[error("`{escape}` is no escape")]
#[diagnostic(code("kcompose::syntax::escape"), help("{help}"))]
pub(super) struct BadEscape {
    escape: String,
    help: String,
    #[label(primary, "unknown")]
    first: Span,
    #[label(collection)]
    others: Vec<LabeledSpan>,
}

/// More places of one mistake are not marked.
const MARKED: usize = 3;

impl BadEscape {
    /// From the first of the escapes and the places of all.
    pub(super) fn new(escape: String, places: &[Span], has_lines: bool) -> Self {
        let raw = if has_lines {
            "`#\"\"\"` and `\"\"\"#`"
        } else {
            "`#\"` and `\"#`"
        };
        let help = format!("write `\\{escape}`; between {raw} a backslash is a backslash");
        let (first, others) = marks(places, "unknown");
        BadEscape {
            escape,
            help,
            first,
            others,
        }
    }
}

fn marks(places: &[Span], label: &str) -> (Span, Vec<LabeledSpan>) {
    let first = places.first().copied().unwrap_or_default();
    let others = places.iter().skip(1).take(MARKED - 1);
    let others = others.map(|span| LabeledSpan::new_with_span(Some(label.to_owned()), *span));
    (first, others.collect())
}

/// A habit of another language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Habit {
    /// `# comment`
    HashComment,
    /// `a, b`
    Comma,
    /// `- a`
    Dash,
    /// `'a'` and typographic quotes.
    OtherQuotes,
}

/// The places of habits: each habit is one problem, however often it shows.
#[derive(Debug, Default)]
pub(super) struct Habits(BTreeMap<Habit, Vec<Span>>);

#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code("kcompose::syntax::habit"), help("{help}"))]
struct OtherLanguage {
    fact: &'static str,
    help: &'static str,
    label: &'static str,
    #[label(primary, "{label}")]
    first: Span,
    #[label(collection)]
    others: Vec<LabeledSpan>,
}

impl Habits {
    /// Notes a place.
    pub(super) fn note(&mut self, habit: Habit, span: Span) {
        self.0.entry(habit).or_default().push(span);
    }

    /// Reports each habit once.
    pub(super) fn report(&mut self, sink: &mut Sink) {
        for (habit, places) in std::mem::take(&mut self.0) {
            let (fact, help, label) = match habit {
                Habit::HashComment => (
                    "`#` begins no comment",
                    "begin a comment with `//`",
                    "not a comment",
                ),
                Habit::Comma => (
                    "values and nodes are not separated by commas",
                    "leave the commas out: values are separated by spaces, nodes by lines or `;`",
                    "leave it out",
                ),
                Habit::Dash => (
                    "a list has no dashes",
                    "leave the dashes out: write each entry on a line of its own",
                    "leave it out",
                ),
                Habit::OtherQuotes => (
                    "these quotes are no quotes of KDL",
                    "put text between straight double quotes: \"…\"",
                    "not in quotes",
                ),
            };
            let (first, others) = marks(&places, label);
            sink.push(OtherLanguage {
                fact,
                help,
                label,
                first,
                others,
            });
        }
    }
}

/// A document of another language.
#[derive(Debug, Error, Diagnostic)]
#[error("this is {what}, not a flavor")]
#[diagnostic(code("kcompose::syntax::foreign"), help("{help}"))]
pub(super) struct Foreign {
    pub(super) what: &'static str,
    pub(super) help: &'static str,
    #[label("{what}")]
    pub(super) span: Span,
}

/// A text that the reader accepts and the `kdl` crate does not.
#[derive(Debug, Error, Diagnostic)]
#[error("this cannot be read as KDL: {reason}")]
#[diagnostic(
    code("kcompose::syntax::refused"),
    help("write it in a simpler form: one node a line, text in double quotes")
)]
pub(super) struct Refused {
    pub(super) reason: String,
    #[label("here")]
    pub(super) span: Span,
}

/// The system starts no thread.
#[derive(Debug, Error, Diagnostic)]
#[error("no thread starts to read the document: {reason}")]
#[diagnostic(
    code("kcompose::syntax::no-thread"),
    help("raise the limits on threads and memory (`ulimit -u`, `ulimit -v`)")
)]
pub(super) struct NoThread {
    pub(super) reason: String,
}
