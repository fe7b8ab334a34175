//! Syntax errors as people meet them.

use std::collections::BTreeSet;

use kcompose_core::diagnostic::{Diagnostics, Sink};
use kcompose_core::source::{SourceFile, Span};
use miette::Diagnostic;
use thiserror::Error;

use super::scan::{Opener, Unclosed, unclosed};

#[derive(Debug, Error, Diagnostic)]
#[error("this `{{` is never closed")]
#[diagnostic(code("kcompose::syntax::unclosed"), help("add the missing `}}`"))]
struct UnclosedBrace {
    #[label(primary, "opened here")]
    opened: Span,
    #[label("the text ends here")]
    end: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this text is never closed")]
#[diagnostic(
    code("kcompose::syntax::unclosed"),
    help(
        "close it with `\"` on the same line; text of many lines stands between `\"\"\"` and `\"\"\"`, each on a line of its own"
    )
)]
struct UnclosedText {
    #[label("opened here")]
    opened: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this comment is never closed")]
#[diagnostic(code("kcompose::syntax::unclosed"), help("close it with `*/`"))]
struct UnclosedComment {
    #[label("opened here")]
    opened: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a bare `{word}` is not a value")]
#[diagnostic(
    code("kcompose::syntax::keyword"),
    help("write `#{word}`, or `\"{word}\"` if text is meant")
)]
struct BareKeyword {
    word: String,
    #[label("needs a `#`")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("a bare name cannot begin with a digit")]
#[diagnostic(code("kcompose::syntax::digit"), help("put it in quotes: \"{word}\""))]
struct LeadingDigit {
    word: String,
    #[label("begins with a digit")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{word}` cannot stand without quotes")]
#[diagnostic(code("kcompose::syntax::bare"), help("put it in quotes: \"{word}\""))]
struct NeedsQuotes {
    word: String,
    #[label("has a character that means something in KDL")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the value of `{name}` is missing")]
#[diagnostic(
    code("kcompose::syntax::missing-value"),
    help("write `{name}=\"…\"`, without a space behind `=`")
)]
struct MissingValue {
    name: String,
    #[label("no value behind `=`")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this `}}` closes nothing")]
#[diagnostic(
    code("kcompose::syntax::stray-brace"),
    help("take it out, or add the `{{` that it closes")
)]
struct StrayBrace {
    #[label("nothing is open here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code("kcompose::syntax::invalid"), help("{advice}"))]
struct Invalid {
    fact: String,
    advice: String,
    #[label("{label}")]
    span: Span,
    label: String,
}

/// What a node looks like, for errors that the parser has no advice for.
const SHAPE: &str =
    "a node is a name, then values and name=value pairs, then children in braces; text stands in quotes";

/// The problems of a text that is no KDL: what is left open first, then what the parser says beside it.
pub(super) fn syntax_problems(file: &SourceFile, text: &str, error: &kdl::KdlError) -> Diagnostics {
    let mut sink = Sink::new();
    let mut open = unclosed(text);
    // Behind a text or comment that does not end nothing is known of braces.
    if open.last().is_some_and(|last| last.what != Opener::Brace) {
        open.drain(..open.len() - 1);
    }
    for unclosed in &open {
        push_unclosed(&mut sink, file, *unclosed);
    }
    let first_open = open.first().map_or(usize::MAX, |unclosed| unclosed.offset);
    let mut places = BTreeSet::new();
    for diagnostic in &error.diagnostics {
        // The parser says some places twice.
        if !places.insert(diagnostic.span.offset()) {
            continue;
        }
        // What follows an opening that never closes is the parser's guesswork.
        if diagnostic.span.offset() < first_open && !is_follow_up(diagnostic, text, &open) {
            push_invalid(&mut sink, file, text, diagnostic);
        }
    }
    if !sink.has_errors() {
        // Never silent: the parser refused the text, so something is said.
        for diagnostic in &error.diagnostics {
            push_invalid(&mut sink, file, text, diagnostic);
        }
    }
    sink.into_diagnostics()
}

/// Whether an error that begins before the first opening reaches over it, as those of the whole document do.
fn is_follow_up(diagnostic: &kdl::KdlDiagnostic, text: &str, open: &[Unclosed]) -> bool {
    let end = diagnostic.span.offset() + diagnostic.span.len();
    let whole = diagnostic.span.offset() == 0 && end >= text.trim_end().len();
    !open.is_empty() && (whole || open.iter().any(|unclosed| end > unclosed.offset))
}

fn push_unclosed(sink: &mut Sink, file: &SourceFile, unclosed: Unclosed) {
    let opened = file.span(unclosed.offset, 1);
    match unclosed.what {
        Opener::Brace => sink.push(UnclosedBrace {
            opened,
            end: file.span(file.text.trim_end().len(), 0),
        }),
        Opener::Text => sink.push(UnclosedText { opened }),
        Opener::Comment => sink.push(UnclosedComment {
            opened: file.span(unclosed.offset, 2),
        }),
    }
}

fn push_invalid(sink: &mut Sink, file: &SourceFile, text: &str, diagnostic: &kdl::KdlDiagnostic) {
    let (offset, length) = (diagnostic.span.offset(), diagnostic.span.len());
    let marked = text.get(offset..offset + length).unwrap_or_default();
    if marked.contains('\n')
        && let Some((name, place)) = property_without_value(text)
    {
        return sink.push(MissingValue {
            span: file.span(place, name.len() + 1),
            name,
        });
    }
    // The first line of a mark says enough; behind its last character there may be no text at all.
    let line = marked.trim_start().lines().next().unwrap_or_default().trim_end();
    let offset = offset + (marked.len() - marked.trim_start().len());
    let span = file.span(offset.min(text.len()), line.len());
    let digits = line.starts_with(|first: char| first.is_ascii_digit());
    match line {
        "true" | "false" | "null" | "inf" | "-inf" | "nan" => sink.push(BareKeyword {
            word: line.to_owned(),
            span,
        }),
        "}" => sink.push(StrayBrace { span }),
        _ if digits && !line.contains(char::is_whitespace) && line.contains(char::is_alphabetic) => {
            sink.push(LeadingDigit {
                word: line.to_owned(),
                span,
            });
        }
        _ if !line.is_empty()
            && line.starts_with(is_word)
            && line.chars().all(|c| is_word(c) || "/\\()[]#".contains(c)) =>
        {
            sink.push(NeedsQuotes {
                word: line.to_owned(),
                span,
            });
        }
        _ => sink.push(Invalid {
            fact: lower_first(diagnostic.message.as_deref().unwrap_or("this is not KDL")),
            advice: diagnostic
                .help
                .as_deref()
                .map_or_else(|| SHAPE.to_owned(), lower_first),
            span,
            label: diagnostic.label.clone().unwrap_or_else(|| "here".to_owned()),
        }),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || "-_.+:@%".contains(c)
}

/// The first property whose value is missing: its name and its offset.
fn property_without_value(text: &str) -> Option<(String, usize)> {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_end();
        if let Some(before) = trimmed.strip_suffix('=') {
            let start = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
            return Some((before[start..].to_owned(), offset + start));
        }
        offset += line.len();
    }
    None
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}
