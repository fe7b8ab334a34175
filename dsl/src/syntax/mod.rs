//! Text into a spanned tree.
//!
//! The first stage: KDL 2, read with the `kdl` crate, which only this module names; `plain` takes the texts that use
//! little of it. Every node, argument and property carries its place in the [`SourceMap`](kcompose_core::source::SourceMap).

mod plain;
mod problems;
mod scan;
mod tokens;

use kcompose_core::diagnostic::Diagnostics;
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
    match plain::read(file) {
        Some(nodes) => Ok(Document {
            nodes,
            span: file.whole(),
        }),
        None => by_crate(file),
    }
}

fn by_crate(file: &SourceFile) -> Result<Document, Diagnostics> {
    let text = kdl_text(&file.text);
    match text.parse() {
        Ok(document) => Ok(Document {
            nodes: nodes_of(&document, file),
            span: file.whole(),
        }),
        Err(error) => Err(problems::syntax_problems(file, &text, &error)),
    }
}

/// The text as KDL: a first line that begins with `#` (`# syntax=IMAGE` for Docker before 23, or a shebang) becomes a
/// comment of the same length, so that every offset stays what it was.
pub(crate) fn kdl_text(text: &str) -> String {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let begin = text.len() - body.len();
    let hidden = body.starts_with("#!")
        || body
            .strip_prefix("# ")
            .is_some_and(|rest| rest.trim_start().starts_with("syntax="));
    let mut text = text.to_owned();
    if hidden {
        text.replace_range(begin..begin + 2, "//");
    }
    text
}

fn nodes_of(document: &kdl::KdlDocument, file: &SourceFile) -> Vec<Node> {
    document.nodes().iter().map(|node| node_of(node, file)).collect()
}

fn node_of(node: &kdl::KdlNode, file: &SourceFile) -> Node {
    let mut arguments = Vec::new();
    let mut properties = Vec::new();
    for entry in node.entries() {
        match entry.name() {
            Some(name) => properties.push(property_of(entry, name, file)),
            None => arguments.push(argument_of(entry, span_of(entry.span(), file), file)),
        }
    }
    Node {
        name: identifier_of(node.name(), file),
        annotation: node.ty().map(|annotation| identifier_of(annotation, file)),
        arguments,
        properties,
        children: node.children().map(|children| nodes_of(children, file)),
        span: trimmed(span_of(node.span(), file), file),
    }
}

fn property_of(entry: &kdl::KdlEntry, name: &kdl::KdlIdentifier, file: &SourceFile) -> Property {
    let name = identifier_of(name, file);
    let whole = entry.span();
    let after_name = name.span.length as usize;
    let text = file
        .text
        .get(whole.offset()..whole.offset() + whole.len())
        .unwrap_or_default();
    let behind = text.get(after_name..).unwrap_or_default();
    let value_offset = after_name + behind.find(|c: char| c != '=' && !c.is_whitespace()).unwrap_or(0);
    let value_span = file.span(whole.offset() + value_offset, whole.len() - value_offset);
    Property {
        name,
        value: argument_of(entry, value_span, file),
        span: span_of(whole, file),
    }
}

fn argument_of(entry: &kdl::KdlEntry, span: Span, file: &SourceFile) -> Argument {
    let value = match entry.value() {
        kdl::KdlValue::String(text) => Value::Text(text.clone()),
        kdl::KdlValue::Integer(number) => Value::Integer(*number),
        kdl::KdlValue::Float(number) => Value::Float(*number),
        kdl::KdlValue::Bool(truth) => Value::Boolean(*truth),
        kdl::KdlValue::Null => Value::Null,
    };
    Argument {
        value,
        annotation: entry.ty().map(|annotation| identifier_of(annotation, file)),
        span,
    }
}

fn identifier_of(identifier: &kdl::KdlIdentifier, file: &SourceFile) -> Spanned<String> {
    Spanned::new(identifier.value().to_owned(), span_of(identifier.span(), file))
}

fn span_of(span: miette::SourceSpan, file: &SourceFile) -> Span {
    file.span(span.offset(), span.len())
}

/// The span without white space at its end: `kdl` counts the spaces before `;` to the node.
fn trimmed(span: Span, file: &SourceFile) -> Span {
    let start = (span.start - file.whole().start) as usize;
    let text = file
        .text
        .get(start..start + span.length as usize)
        .unwrap_or_default();
    file.span(start, text.trim_end().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcompose_core::source::SourceMap;

    fn parsed(text: &str) -> (SourceMap, Document) {
        let mut map = SourceMap::new();
        map.add("before.kdl", "x\n");
        let file = map.add("flavor.kdl", text).clone();
        let document = parse(&file).unwrap();
        (map, document)
    }

    #[test]
    fn spans_are_those_of_the_file() {
        let (map, document) = parsed("a \"x\" key = (t)\"v\"  ;b {\n    c 1\n}\n");
        let node = &document.nodes[0];
        assert_eq!(map.text(node.span), Some("a \"x\" key = (t)\"v\""));
        assert_eq!(map.text(node.arguments[0].span), Some("\"x\""));
        assert_eq!(map.text(node.properties[0].span), Some("key = (t)\"v\""));
        assert_eq!(map.text(node.properties[0].value.span), Some("(t)\"v\""));
        assert_eq!(
            map.place(document.nodes[1].children()[0].span)
                .unwrap()
                .to_string(),
            "flavor.kdl:2:5"
        );
    }

    #[test]
    fn the_first_line_may_be_for_docker() {
        for text in [
            "# syntax=a/b:1\nx",
            "// syntax=a/b:1\nx",
            "\u{feff}# syntax=a/b:1\nx",
            "#!/usr/bin/env kcompose\nx",
        ] {
            let (map, document) = parsed(text);
            assert_eq!(map.place(document.nodes[0].span).unwrap().line, 2, "{text:?}");
        }
    }
}
