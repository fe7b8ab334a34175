//! Documents against the tables: everything that is unknown, missing, doubled or of the wrong type.

use std::collections::{BTreeMap, BTreeSet};

use kcompose_core::diagnostic::{Sink, did_you_mean, near};
use kcompose_core::source::Span;
use miette::Diagnostic;
use thiserror::Error;

use crate::schema::{ArgumentSpec, Children, Count, NodeSpec, Properties, PropertySpec, Repeat};
use crate::synonyms;
use crate::syntax::{Argument, Node, Property, Value};
use crate::values::{Kind, Refusal, ValueType};

#[derive(Debug, Error, Diagnostic)]
#[error("there is no node `{name}` {place}")]
#[diagnostic(code("kcompose::node::unknown"), help("{help}"))]
struct UnknownNode {
    name: String,
    place: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{node}` has no property `{name}`")]
#[diagnostic(code("kcompose::node::unknown-property"), help("{help}"))]
struct UnknownProperty {
    node: String,
    name: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{node}` has no place for this value")]
#[diagnostic(code("kcompose::node::unexpected-value"), help("{help}"))]
struct UnexpectedValue {
    node: String,
    help: String,
    #[label("one too many")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("text with spaces stands in quotes")]
#[diagnostic(code("kcompose::node::words"), help("put it in quotes: \"{text}\""))]
struct WordsWithoutQuotes {
    text: String,
    #[label("several words")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{node}` has no children")]
#[diagnostic(code("kcompose::node::unexpected-children"), help("take the braces out"))]
struct UnexpectedChildren {
    node: String,
    #[label("unexpected")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{node}` needs {what}")]
#[diagnostic(code("kcompose::node::missing-value"), help("write it as: {example}"))]
struct MissingValue {
    node: String,
    what: String,
    example: String,
    #[label("{what} is missing here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{name}` is said twice")]
#[diagnostic(code("kcompose::node::repeated"), help("keep one of them"))]
struct Repeated {
    name: String,
    #[label("first here")]
    first: Span,
    #[label(primary, "and again here")]
    again: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{name} must be {what}, not {found}")]
#[diagnostic(code("kcompose::node::wrong-type"), help("{help}"))]
struct WrongType {
    name: String,
    what: String,
    found: String,
    help: String,
    #[label("{found}")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code("kcompose::node::invalid-value"), help("{help}"))]
struct Invalid {
    fact: String,
    help: String,
    #[label("not {what}")]
    span: Span,
    what: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the type `({name})` means nothing here")]
#[diagnostic(
    code("kcompose::node::annotation"),
    help("take it out; the only annotation is `(parameter)` in front of a parameter's name")
)]
struct UnknownAnnotation {
    name: String,
    #[label("unknown")]
    span: Span,
}

/// Checks the nodes of a document against a table, and returns the names of the table's nodes that the document means:
/// those that are there, and those that an unknown node is near to. What is meant is not missing.
pub(crate) fn check_document(
    nodes: &[Node],
    table: &[&'static NodeSpec],
    sink: &mut Sink,
) -> BTreeSet<&'static str> {
    let mut meant = BTreeSet::new();
    for node in nodes {
        match table.iter().find(|spec| spec.name == node.name.value) {
            Some(spec) => {
                meant.insert(spec.name);
                check_node(node, spec, table, sink);
                if matches!(spec.children, Children::Sections) {
                    meant.extend(check_document(node.children(), table, sink));
                }
            }
            None => {
                meant.extend(meant_node(&node.name.value, table));
                push_unknown_node(node, table, "at the top of a document".to_owned(), table, sink);
            }
        }
    }
    meant
}

/// The node of a table that an unknown name means.
fn meant_node(name: &str, known: &[&'static NodeSpec]) -> Option<&'static str> {
    let name = synonyms::without_colon(name).unwrap_or(name);
    synonym(name, known).or_else(|| near(name, known.iter().map(|spec| spec.name)).first().copied())
}

/// The node of a table that has a name, or for which the name is another word.
fn synonym(name: &str, known: &[&'static NodeSpec]) -> Option<&'static str> {
    let other = synonyms::node(name);
    let is_meant =
        |spec: &&&NodeSpec| spec.name == name || spec.aliases.contains(&name) || other == Some(spec.name);
    known.iter().find(is_meant).map(|spec| spec.name)
}

fn check_node(node: &Node, spec: &'static NodeSpec, table: &[&'static NodeSpec], sink: &mut Sink) {
    check_annotations(node, sink);
    check_arguments(node, spec, sink);
    match spec.properties {
        Properties::Known(known) => check_properties(node, spec, known, sink),
        Properties::Any(_) => check_repeated_properties(node, sink),
    }
    if !matches!(spec.children, Children::Sections) {
        check_children(node, spec, table, sink);
    }
}

fn check_annotations(node: &Node, sink: &mut Sink) {
    let values = node
        .arguments
        .iter()
        .chain(node.properties.iter().map(|property| &property.value));
    let annotations = values
        .filter_map(|argument| argument.annotation.as_ref())
        .chain(&node.annotation);
    for annotation in annotations {
        sink.push(UnknownAnnotation {
            name: annotation.value.clone(),
            span: annotation.span,
        });
    }
}

fn check_arguments(node: &Node, spec: &NodeSpec, sink: &mut Sink) {
    if let Some(words) = words_without_quotes(node, spec) {
        return sink.push(words);
    }
    // Where an argument stands as a property, the others are not where they belong.
    if node
        .properties
        .iter()
        .any(|property| synonyms::is_argument(spec, &property.name.value))
    {
        return;
    }
    let mut rest = node.arguments.as_slice();
    for wanted in spec.arguments {
        let (taken, behind) = match (wanted.count, rest) {
            (Count::Many, _) => (rest, &[][..]),
            (Count::One | Count::Optional, []) => (&[][..], &[][..]),
            (Count::One | Count::Optional, [_, behind @ ..]) => (&rest[..1], behind),
        };
        if taken.is_empty() && wanted.count != Count::Optional && !has_unknown_property(node, spec) {
            push_missing(node, spec, format!("the {}", wanted.name.to_lowercase()), sink);
        }
        for argument in taken {
            check_value(argument, wanted.value, &argument_name(wanted, node), sink);
        }
        rest = behind;
    }
    if let [first, ..] = rest {
        push_unexpected_value(first, node, spec, sink);
    }
}

/// The bare words at the end of a node that are one text without its quotes: the node has no place for so many, or only
/// all of them together are what it takes.
fn words_without_quotes(node: &Node, spec: &NodeSpec) -> Option<WordsWithoutQuotes> {
    let last = spec.arguments.last()?;
    if last.value.kind != Kind::Text {
        return None;
    }
    let words = node.arguments.get(spec.arguments.len() - 1..)?;
    let bare: Option<Vec<&str>> = words.iter().map(|argument| argument.bare.as_deref()).collect();
    let bare = bare.filter(|bare| bare.len() > 1)?;
    let text = bare.join(" ");
    let check = last.value.check;
    let is_one = last.count != Count::Many || (check(&text).is_ok() && check(bare[0]).is_err());
    let (first, end) = (words.first()?.span, words.last()?.span);
    is_one.then(|| WordsWithoutQuotes {
        text,
        span: Span::new(first.start, end.start + end.length - first.start),
    })
}

/// Whether a node has a property that its table does not know: what it lacks may be said there.
fn has_unknown_property(node: &Node, spec: &NodeSpec) -> bool {
    let Properties::Known(known) = spec.properties else {
        return false;
    };
    let mut names = node.properties.iter().map(|property| &property.name.value);
    names.any(|name| known.iter().all(|property| property.name != name))
}

/// What messages call an argument: "the path of `file`", or only the node where it says the same.
fn argument_name(argument: &ArgumentSpec, node: &Node) -> String {
    let name = argument.name.to_lowercase();
    if name == node.name.value {
        format!("`{name}`")
    } else {
        format!("the {name} of `{}`", node.name.value)
    }
}

fn push_unexpected_value(argument: &Argument, node: &Node, spec: &NodeSpec, sink: &mut Sink) {
    let children = spec.children.known();
    let help = if let Value::Text(text) = &argument.value
        && let [name, ..] = near(text, children.iter().map(|child| child.name)).as_slice()
    {
        format!(
            "`{name}` is a child: write it in braces, as in {}",
            children
                .iter()
                .find(|child| child.name == *name)
                .map_or("", |child| child.example)
        )
    } else if spec.arguments.is_empty() && !children.is_empty() {
        format!("its values stand in braces, as in: {}", one_line(spec.example))
    } else {
        format!(
            "take it out, or write each in a node of its own, as in: {}",
            one_line(spec.example)
        )
    };
    sink.push(UnexpectedValue {
        node: node.name.value.clone(),
        help,
        span: argument.span,
    });
}

fn push_missing(node: &Node, spec: &NodeSpec, what: String, sink: &mut Sink) {
    sink.push(MissingValue {
        node: node.name.value.clone(),
        what,
        example: one_line(spec.example),
        span: node.name.span,
    });
}

fn check_properties(node: &Node, spec: &NodeSpec, known: &'static [PropertySpec], sink: &mut Sink) {
    check_repeated_properties(node, sink);
    for property in &node.properties {
        match known.iter().find(|spec| spec.name == property.name.value) {
            Some(wanted) => check_value(&property.value, wanted.value, &format!("`{}`", wanted.name), sink),
            None => sink.push(UnknownProperty {
                node: node.name.value.clone(),
                name: property.name.value.clone(),
                help: property_help(property, spec, known),
                span: property.name.span,
            }),
        }
    }
    if has_unknown_property(node, spec) {
        return;
    }
    for wanted in known.iter().filter(|wanted| wanted.required) {
        if node.property(wanted.name).is_none() {
            push_missing(node, spec, format!("`{}=`", wanted.name), sink);
        }
    }
}

fn property_help(property: &Property, spec: &NodeSpec, known: &[PropertySpec]) -> String {
    let name = property.name.value.as_str();
    if let Some(answer) = synonyms::property(spec, name) {
        return answer;
    }
    if let Some(child) = spec.children.known().iter().find(|child| child.name == name) {
        return format!(
            "`{name}` is a child: write it in braces, as in {{ {} }}",
            one_line(child.example)
        );
    }
    let names: Vec<&str> = known.iter().map(|property| property.name).collect();
    let takes_text = spec
        .arguments
        .last()
        .is_some_and(|argument| argument.value.kind == Kind::Text);
    did_you_mean(name, &names, || match names.as_slice() {
        [] if takes_text => format!(
            "it has no properties; if text is meant, put it in quotes: \"{name}={}\"",
            text_of(&property.value.value)
        ),
        [] => "it has no properties".to_owned(),
        names => format!("its properties are {}", listed(names)),
    })
}

fn check_repeated_properties(node: &Node, sink: &mut Sink) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for property in &node.properties {
        if let Some(first) = first.get(property.name.value.as_str()) {
            sink.push(Repeated {
                name: property.name.value.clone(),
                first: *first,
                again: property.span,
            });
        } else {
            first.insert(&property.name.value, property.span);
        }
    }
}

fn check_children(node: &Node, spec: &'static NodeSpec, table: &[&'static NodeSpec], sink: &mut Sink) {
    let Some(children) = &node.children else { return };
    if matches!(spec.children, Children::None) {
        return sink.push(UnexpectedChildren {
            node: node.name.value.clone(),
            span: node.span,
        });
    }
    let known = spec.children.known();
    for child in children {
        if let Some(spec) = known.iter().find(|spec| spec.name == child.name.value) {
            check_node(child, spec, table, sink);
        } else if let Children::Named { any, name, .. } = spec.children {
            check_free_name(child, name, sink);
            check_node(child, any, table, sink);
        } else {
            let known: Vec<&'static NodeSpec> = known.iter().collect();
            push_unknown_node(child, &known, format!("in `{}`", node.name.value), table, sink);
        }
    }
    check_repeated_children(children, known, sink);
}

fn check_free_name(node: &Node, wanted: &ValueType, sink: &mut Sink) {
    if let Err(refused) = (wanted.check)(&node.name.value) {
        sink.push(Invalid {
            fact: refused.fact,
            help: refused.help,
            span: node.name.span,
            what: wanted.what.to_owned(),
        });
    }
}

fn check_repeated_children(children: &[Node], known: &[NodeSpec], sink: &mut Sink) {
    for spec in known.iter().filter(|spec| spec.repeat == Repeat::Once) {
        let mut same = children.iter().filter(|child| child.name.value == spec.name);
        let Some(first) = same.next() else { continue };
        for again in same {
            sink.push(Repeated {
                name: spec.name.to_owned(),
                first: first.span,
                again: again.span,
            });
        }
    }
}

fn push_unknown_node(
    node: &Node,
    known: &[&'static NodeSpec],
    place: String,
    table: &[&'static NodeSpec],
    sink: &mut Sink,
) {
    sink.push(UnknownNode {
        name: node.name.value.clone(),
        place,
        help: unknown_node_help(&node.name.value, known, table),
        span: node.name.span,
    });
}

fn unknown_node_help(name: &str, known: &[&'static NodeSpec], table: &[&'static NodeSpec]) -> String {
    if let Some(plain) = synonyms::without_colon(name) {
        return match stands(plain, table) {
            Some(place) => format!("leave the `:` out; {place}"),
            None => unknown_node_help(plain, known, table),
        };
    }
    if let Some(answer) = synonyms::answer(name) {
        return answer.to_owned();
    }
    // A child that stands outside its parent, or a section inside another.
    let meant = stands(name, table).or_else(|| {
        let meant = synonym(name, known).or_else(|| synonym(name, table));
        meant
            .or_else(|| synonyms::node(name))
            .and_then(|meant| stands(meant, table))
    });
    let names = || -> Vec<&str> { known.iter().map(|spec| spec.name).collect() };
    meant.unwrap_or_else(|| did_you_mean(name, &names(), || format!("known are {}", listed(&names()))))
}

/// The place of a node that the table knows.
fn stands(name: &str, table: &[&'static NodeSpec]) -> Option<String> {
    let section = table.iter().find(|spec| spec.name == name);
    if let Some(section) = section {
        let example = one_line(section.example);
        return Some(format!("`{name}` stands at the top of a document: {example}"));
    }
    table.iter().find_map(|parent| {
        let child = parent.children.known().iter().find(|child| child.name == name)?;
        let example = one_line(child.example);
        Some(format!("`{name}` stands in `{} {{ … }}`: {example}", parent.name))
    })
}

fn check_value(argument: &Argument, wanted: &ValueType, name: &str, sink: &mut Sink) {
    match wanted.accept(&argument.value) {
        Ok(()) => {}
        Err(Refusal::Kind) => sink.push(WrongType {
            name: name.to_owned(),
            what: wanted.what.to_owned(),
            found: found(&argument.value),
            help: kind_help(argument, wanted),
            span: argument.span,
        }),
        Err(Refusal::Choice) => {
            let text = text_of(&argument.value);
            let help = did_you_mean(&text, wanted.choices, || {
                format!("choose {}", listed_or(wanted.choices))
            });
            sink.push(Invalid {
                fact: format!("{name} cannot be `{text}`"),
                help,
                span: argument.span,
                what: wanted.what.to_owned(),
            });
        }
        Err(Refusal::Text(refused)) => sink.push(Invalid {
            fact: refused.fact,
            help: refused.help,
            span: argument.span,
            what: wanted.what.to_owned(),
        }),
    }
}

fn kind_help(argument: &Argument, wanted: &ValueType) -> String {
    match (wanted.kind, &argument.value) {
        (Kind::Boolean, Value::Text(text)) if text == "yes" || text == "on" || text == "1" => {
            "write `#true`".to_owned()
        }
        (Kind::Boolean, Value::Text(text)) if text == "no" || text == "off" || text == "0" => {
            "write `#false`".to_owned()
        }
        (Kind::BooleanOrText, _) => format!("write {}", wanted.what),
        (Kind::Boolean, _) => "write `#true` or `#false`".to_owned(),
        (Kind::Text, Value::Integer(_) | Value::Float(_)) => {
            let text = argument.bare.clone().unwrap_or_else(|| text_of(&argument.value));
            match (wanted.check)(&text) {
                Ok(()) => format!("put it in quotes: \"{text}\""),
                Err(refused) => format!("{}, in quotes", refused.help),
            }
        }
        (Kind::Integer, _) => "write a whole number, without quotes".to_owned(),
        (Kind::Text | Kind::IntegerOrText | Kind::Scalar, _) => format!("write {}, in quotes", wanted.what),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Text(_) => "text".to_owned(),
        Value::Integer(_) => "a number".to_owned(),
        Value::Float(_) => "a number with a fraction".to_owned(),
        Value::Boolean(truth) => format!("`#{truth}`"),
        Value::Null => "`#null`".to_owned(),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => format!("#{truth}"),
        Value::Null => "#null".to_owned(),
    }
}

/// "`a`, `b` and `c`".
pub(crate) fn listed(names: &[&str]) -> String {
    listed_with("and", names)
}

/// "`a`, `b` or `c`".
pub(crate) fn listed_or(names: &[&str]) -> String {
    listed_with("or", names)
}

fn listed_with(word: &str, names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(|name| format!("`{name}`")).collect();
            format!("{} {word} `{last}`", head.join(", "))
        }
    }
}

/// An example in one line: reports print each help in one.
pub(crate) fn one_line(example: &str) -> String {
    let mut lines = example.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let glue = if text.ends_with('{') || line == "}" {
            " "
        } else {
            "; "
        };
        text.push_str(glue);
        text.push_str(line);
    }
    text
}
