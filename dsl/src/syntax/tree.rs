//! KDL text into nodes with the [`kdl`] crate, which only this module names.
//!
//! The crate reads what [`reader`](super::reader) found free of mistakes and within limits, so a text that it refuses
//! is KDL that the two read differently: that is an error, never a guess.

use super::problems::{NoThread, Refused};
use super::{Argument, Node, Property, Value, reader};
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::{SourceFile, Span, Spanned};

/// The stack that the crate gets: it descends for each level of braces, and [`NESTING`](kcompose_core::limits::NESTING)
/// of them take less than a quarter of it in a debug build.
const STACK: usize = 32 << 20;

/// The nodes of a file, from its text without what counts as not there.
pub(super) fn read(file: &SourceFile, text: &str) -> Result<Vec<Node>, Diagnostics> {
    let read = || {
        let document: kdl::KdlDocument = text.parse().map_err(|error| refused(&error, file))?;
        Ok(Tree { file, text }.nodes(&document))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("kdl".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, read);
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => Err(Diagnostics::from(NoThread {
                reason: error.to_string(),
            })),
        }
    })
}

fn refused(error: &kdl::KdlError, file: &SourceFile) -> Diagnostics {
    let first = error.diagnostics.first();
    let reason = first.and_then(|first| first.message.clone()).unwrap_or_default();
    Diagnostics::from(Refused {
        reason,
        span: first.map_or(file.whole(), |first| {
            file.span(first.span.offset(), first.span.len())
        }),
    })
}

/// The text that the crate read, which gives its offsets a place.
struct Tree<'a> {
    file: &'a SourceFile,
    text: &'a str,
}

impl Tree<'_> {
    fn nodes(&self, document: &kdl::KdlDocument) -> Vec<Node> {
        document.nodes().iter().map(|node| self.node(node)).collect()
    }

    fn node(&self, node: &kdl::KdlNode) -> Node {
        let mut arguments = Vec::new();
        let mut properties = Vec::new();
        for entry in node.entries() {
            match entry.name() {
                Some(name) => properties.push(self.property(entry, name)),
                None => arguments.push(self.argument(entry, self.span(entry.span()))),
            }
        }
        // The crate counts the spaces before `;` to the node.
        let whole = node.span();
        let text = &self.text[whole.offset()..whole.offset() + whole.len()];
        Node {
            name: self.identifier(node.name()),
            annotation: node.ty().map(|annotation| self.identifier(annotation)),
            arguments,
            properties,
            children: node.children().map(|children| self.nodes(children)),
            span: self.file.span(whole.offset(), text.trim_end().len()),
        }
    }

    fn property(&self, entry: &kdl::KdlEntry, name: &kdl::KdlIdentifier) -> Property {
        let whole = entry.span();
        let end = whole.offset() + whole.len();
        let behind = &self.text[name.span().offset() + name.span().len()..end];
        let value = behind.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
        Property {
            name: self.identifier(name),
            value: self.argument(entry, self.file.span(end - value.len(), value.len())),
            span: self.span(whole),
        }
    }

    fn argument(&self, entry: &kdl::KdlEntry, span: Span) -> Argument {
        let value = match entry.value() {
            kdl::KdlValue::String(text) => Value::Text(text.clone()),
            kdl::KdlValue::Integer(number) => Value::Integer(*number),
            kdl::KdlValue::Float(number) => Value::Float(*number),
            kdl::KdlValue::Bool(truth) => Value::Boolean(*truth),
            kdl::KdlValue::Null => Value::Null,
        };
        let written = entry.format().map_or("", |format| format.value_repr.as_str());
        Argument {
            bare: reader::bare(&value, written),
            value,
            annotation: entry.ty().map(|annotation| self.identifier(annotation)),
            span,
        }
    }

    fn identifier(&self, identifier: &kdl::KdlIdentifier) -> Spanned<String> {
        Spanned::new(identifier.value().to_owned(), self.span(identifier.span()))
    }

    fn span(&self, span: miette::SourceSpan) -> Span {
        self.file.span(span.offset(), span.len())
    }
}
