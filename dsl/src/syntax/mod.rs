//! Text into a spanned tree.
//!
//! The first stage: KDL 2. [`reader`] finds all mistakes of a text and holds it to the limits, then `tree` reads it with
//! the `kdl` crate. Every node, argument and property carries its place in the
//! [`SourceMap`](kcompose_core::source::SourceMap).

mod foreign;
mod problems;
mod reader;
mod scalar;
#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use std::ops::Range;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::limits;
use kcompose_core::source::{SourceFile, Span, Spanned};

pub(crate) use tokens::{Token, tokens};

/// A well-formed document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its nodes, in order.
    pub nodes: Vec<Node>,
    /// The whole text.
    pub span: Span,
}

/// A node with everything that belongs to it.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: Spanned<String>,
    /// The type annotation in front of the name.
    pub annotation: Option<Spanned<String>>,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// Its properties, in order, repeated ones too.
    pub properties: Vec<Property>,
    /// Its children; `None` when it has no braces.
    pub children: Option<Vec<Node>>,
    /// The node from its name to its end.
    pub span: Span,
}

/// An argument.
#[derive(Clone, Debug)]
pub struct Argument {
    /// Its value.
    pub value: Value,
    /// The type annotation in front of the value.
    pub annotation: Option<Spanned<String>>,
    /// The word as it is written, if it stands without quotes: text and numbers.
    pub bare: Option<String>,
    /// The value, with its annotation.
    pub span: Span,
}

/// A property.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name.
    pub name: Spanned<String>,
    /// Its value.
    pub value: Argument,
    /// The property from its name to its end.
    pub span: Span,
}

/// A value as KDL knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, quoted or bare.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// `#true` or `#false`.
    Boolean(bool),
    /// `#null`.
    Null,
}

impl Node {
    /// The children; none without braces.
    pub fn children(&self) -> &[Node] {
        self.children.as_deref().unwrap_or_default()
    }

    /// The children with a name.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children()
            .iter()
            .filter(move |child| child.name.value == name)
    }

    /// The value of a property, the last one when it is repeated.
    pub fn property(&self, name: &str) -> Option<&Argument> {
        self.properties
            .iter()
            .rfind(|property| property.name.value == name)
            .map(|property| &property.value)
    }
}

/// Parses a file. All syntax errors of the file are reported together.
pub fn parse(file: &SourceFile) -> Result<Document, Diagnostics> {
    if limits::DOCUMENT.is_exceeded_by(file.text.len()) {
        return Err(Diagnostics::from(problems::TooLarge {
            limit: limits::DOCUMENT,
            span: file.span(0, 1),
        }));
    }
    if let Some(foreign) = foreign::foreign(file) {
        return Err(foreign.into());
    }
    let text = reader::read(file)?;
    Ok(Document {
        nodes: tree::read(file, &plain_text(&file.text, &text.absent))?,
        span: file.whole(),
    })
}

/// Parses a file of the library. Its texts are part of the program, long, and known to mean the same to the reader and
/// the crate (a test reads all of them with both), so the reader's nodes are enough: the crate costs 40 times as much.
pub(crate) fn parse_library(file: &SourceFile) -> Result<Document, Diagnostics> {
    Ok(Document {
        nodes: reader::read(file)?.nodes,
        span: file.whole(),
    })
}

/// The text as the `kdl` crate reads it: with spaces in the place of what counts as not there. The crate descends once for
/// each `*` of a comment, and reads what `/-` takes out twice for each level.
fn plain_text(text: &str, absent: &[Range<usize>]) -> String {
    let mut plain = kdl_text(text).into_bytes();
    for range in absent {
        plain[range.clone()].fill(b' ');
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The text as KDL: a first line that begins with `#` (`# syntax=IMAGE` for Docker before 23, or a shebang) becomes a
/// comment of the same length, so that every offset stays what it was.
pub(crate) fn kdl_text(text: &str) -> String {
    let begin = text.len() - without_mark(text).len();
    let mut kdl = text.to_owned();
    if hidden_line(text) > 0 {
        kdl.replace_range(begin..begin + 2, "//");
    }
    kdl
}

/// The length of a first line that begins with `#` and is for other programs, or 0.
fn hidden_line(text: &str) -> usize {
    let body = without_mark(text);
    let is_hidden = body.starts_with("#!")
        || body
            .strip_prefix("# ")
            .is_some_and(|rest| rest.trim_start().starts_with("syntax="));
    if !is_hidden {
        return 0;
    }
    let begin = text.len() - body.len();
    begin + body.find(reader::is_newline).unwrap_or(body.len())
}

/// A text without its byte order mark.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
