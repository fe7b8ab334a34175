//! A composed flavor as KDL or JSON, with the origin of each line.
//!
//! The KDL is a flavor again: it composes to the same, without anything that it would have to use. What nobody says is said
//! here as a default.

mod items;
mod kdl;

use std::collections::BTreeMap;

use kcompose_core::model::{Flavor, PackageName};
use kcompose_core::source::{SourceMap, Span};
use serde_json::{Value as Json, json};

use crate::syntax::{Node, Value};

/// The version of the JSON form.
const VERSION: u32 = 1;

/// What no node of the language can say otherwise, as people should know it.
const DEFAULTS: [&str; 4] = [
    "root is locked, and nobody logs in by password unless a user has a password hash",
    "every wired interface that no other .network file names gets its address by DHCP, from systemd-networkd",
    "the console is on tty1 and ttyS0; the last `console=` is where the boot's messages go",
    "nothing reads a cloud-config unless the block cloud-init is used",
];

/// What holds because the flavor does not say otherwise.
fn defaults(flavor: &Flavor) -> Vec<&'static str> {
    let system = &flavor.system;
    let of_system = [
        (
            system.host_name.is_none(),
            "the host name is the flavor's name and four digits of the machine id",
        ),
        (system.time_zone.is_none(), "the time zone is UTC"),
        (system.locales.is_empty(), "the locale is C.UTF-8"),
        (system.keyboard.is_none(), "the keyboard is a US one"),
    ];
    let of_system = of_system.into_iter().filter(|(absent, _)| *absent);
    DEFAULTS
        .into_iter()
        .chain(of_system.map(|(_, line)| line))
        .collect()
}

/// The composed flavor as KDL; each line ends with a comment that says where it comes from.
///
/// `left_out` are the default packages that the lock [lacks](kcompose_core::resolve::Resolved::left_out).
pub fn kdl(flavor: &Flavor, left_out: &BTreeMap<PackageName, PackageName>, sources: &SourceMap) -> String {
    let mut text = String::new();
    for item in items::items(flavor, left_out, sources) {
        kdl::write(&item, 0, &mut text);
    }
    text.push_str("\n// Defaults:\n");
    for line in defaults(flavor) {
        text.push_str(&format!("//   {line}\n"));
    }
    text
}

/// The composed flavor as JSON: the same nodes, each with its `origin`.
pub fn json(flavor: &Flavor, left_out: &BTreeMap<PackageName, PackageName>, sources: &SourceMap) -> Json {
    let nodes: Vec<Json> = items::items(flavor, left_out, sources)
        .iter()
        .map(json_item)
        .collect();
    json!({ "version": VERSION, "architecture": flavor.architecture.as_str(), "nodes": nodes, "defaults": defaults(flavor) })
}

/// Nodes as KDL.
pub(crate) fn document(nodes: &[Node]) -> String {
    let mut text = String::new();
    for node in nodes {
        kdl::write(&Item::of(node), 0, &mut text);
    }
    text
}

fn json_item(item: &Item) -> Json {
    let properties: serde_json::Map<String, Json> = item
        .properties
        .iter()
        .map(|(name, value)| (name.clone(), json_value(value)))
        .collect();
    json!({
        "name": item.name,
        "arguments": item.arguments.iter().map(json_value).collect::<Vec<Json>>(),
        "properties": properties,
        "children": item.children.iter().map(json_item).collect::<Vec<Json>>(),
        "origin": item.origin,
    })
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Integer(number) => {
            i64::try_from(*number).map_or_else(|_| json!(number.to_string()), |number| json!(number))
        }
        Value::Float(number) => json!(number),
        Value::Boolean(truth) => json!(truth),
        Value::Null => Json::Null,
    }
}

/// A node that is written out.
#[derive(Clone, Debug)]
struct Item {
    name: String,
    arguments: Vec<Value>,
    properties: Vec<(String, Value)>,
    children: Vec<Item>,
    /// Where it comes from; nothing for a node that only groups others.
    origin: Option<String>,
}

impl Item {
    fn new(name: impl Into<String>) -> Self {
        Item {
            name: name.into(),
            arguments: Vec::new(),
            properties: Vec::new(),
            children: Vec::new(),
            origin: None,
        }
    }

    /// A node of a document, without its places.
    fn of(node: &Node) -> Self {
        Item {
            name: node.name.value.clone(),
            arguments: node
                .arguments
                .iter()
                .map(|argument| argument.value.clone())
                .collect(),
            properties: node
                .properties
                .iter()
                .map(|property| (property.name.value.clone(), property.value.value.clone()))
                .collect(),
            children: node.children().iter().map(Item::of).collect(),
            origin: None,
        }
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand in what they have")]
    fn argument(mut self, text: impl ToString) -> Self {
        self.arguments.push(Value::Text(text.to_string()));
        self
    }

    #[expect(clippy::needless_pass_by_value, reason = "callers hand in what they have")]
    fn property(mut self, name: &str, text: impl ToString) -> Self {
        self.properties
            .push((name.to_owned(), Value::Text(text.to_string())));
        self
    }

    fn optional(self, name: &str, text: Option<impl ToString>) -> Self {
        match text {
            Some(text) => self.property(name, text),
            None => self,
        }
    }

    fn number(mut self, name: &str, number: Option<impl Into<i128>>) -> Self {
        let value = number.map(|number| (name.to_owned(), Value::Integer(number.into())));
        self.properties.extend(value);
        self
    }

    /// A property that is said only when it holds.
    fn flag(mut self, name: &str, holds: bool) -> Self {
        if holds {
            self.properties.push((name.to_owned(), Value::Boolean(true)));
        }
        self
    }

    fn children(mut self, children: impl IntoIterator<Item = Item>) -> Self {
        self.children.extend(children);
        self
    }

    /// Says where it comes from.
    fn from(mut self, span: Span, sources: &SourceMap) -> Self {
        self.origin = Some(
            sources
                .place(span)
                .map_or_else(|| "default".to_owned(), |place| place.to_string()),
        );
        self
    }

    fn by_default(self) -> Self {
        self.said_by("default".to_owned())
    }

    fn said_by(mut self, origin: String) -> Self {
        self.origin = Some(origin);
        self
    }
}

#[cfg(test)]
mod tests;
