//! The pages of `docs/reference/`, written from the tables of nodes, limits and checks.

use std::fmt::Write as _;

use kcompose_core::kairos::checks::{self, Severity};
use kcompose_core::limits;

use crate::nodes::ALL;
use crate::schema::{ArgumentSpec, Children, Count, NodeSpec, Properties, PropertySpec, Repeat};
use crate::values::ValueType;

/// Every page: its file name, and its text. The first is the overview.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), overview())];
    pages.extend(
        ALL.iter()
            .map(|section| (format!("{}.md", section.spec.name), page(&section.spec))),
    );
    pages.push(("types.md".to_owned(), types()));
    pages.push(("limits.md".to_owned(), limits()));
    pages.push(("checks.md".to_owned(), checks()));
    pages
}

const GENERATED: &str = "<!-- Written from the table of nodes in `dsl/src/nodes`. Change it there, then run `UPDATE=1 cargo test -p kcompose-dsl`. -->\n\n";

fn overview() -> String {
    let mut text = format!("{GENERATED}# The nodes of a flavor\n\n");
    text.push_str("A flavor is a KDL 2 document. These nodes stand at its top, in any order.\n\n| node | what it says |\n| --- | --- |\n");
    for section in ALL {
        let name = section.spec.name;
        line(
            &mut text,
            &format!("| [`{name}`]({name}.md) | {} |", first_sentence(section.spec.doc)),
        );
    }
    text.push_str("\nThe values that they take: [types](types.md). Limits on inputs: [limits](limits.md). What `verify` finds: [checks](checks.md). `kcompose config` prints a composed flavor, with the origin of each\nline and with every default.\n");
    text
}

fn page(spec: &NodeSpec) -> String {
    let mut text = format!(
        "{GENERATED}# `{}`\n\n{}\n\n```kdl\n{}\n```\n",
        spec.name, spec.doc, spec.example
    );
    tables(&mut text, spec);
    match spec.children {
        Children::None => {}
        Children::Sections => text.push_str("\nIts children are the nodes of the top of a document.\n"),
        Children::Known(known) => children(&mut text, known, spec.name, 2),
        Children::Named { known, any, name } => {
            line(
                &mut text,
                &format!(
                    "\n## Any other name\n\n{} {}\n\n```kdl\n{}\n```",
                    any.doc, name.doc, any.example
                ),
            );
            tables(&mut text, any);
            children(&mut text, known, spec.name, 2);
        }
    }
    text
}

fn children(text: &mut String, known: &[NodeSpec], parent: &str, level: usize) {
    for child in known {
        let once = if child.repeat == Repeat::Once {
            " At most once."
        } else {
            ""
        };
        let heading = "#".repeat(level);
        line(
            text,
            &format!(
                "\n{heading} `{}` in `{parent}`\n\n{}{once}\n\n```kdl\n{}\n```",
                child.name, child.doc, child.example
            ),
        );
        tables(text, child);
        children(text, child.children.known(), child.name, level + 1);
    }
}

/// The arguments and properties of a node.
fn tables(text: &mut String, spec: &NodeSpec) {
    let properties = match spec.properties {
        Properties::Known(known) => known,
        Properties::Any(doc) => {
            line(text, &format!("\nProperties: {doc}"));
            &[]
        }
    };
    if spec.arguments.is_empty() && properties.is_empty() {
        return;
    }
    text.push_str("\n| value | type | | what it means |\n| --- | --- | --- | --- |\n");
    for argument in spec.arguments {
        line(text, &argument_row(argument));
    }
    for property in properties {
        line(text, &property_row(property));
    }
}

fn argument_row(argument: &ArgumentSpec) -> String {
    let count = match argument.count {
        Count::One => "needed",
        Count::Optional => "",
        Count::Many => "one or more",
    };
    format!(
        "| {} | {} | {count} | {} |",
        argument.name,
        link(argument.value),
        cell(argument.doc)
    )
}

fn property_row(property: &PropertySpec) -> String {
    let needed = if property.required { "needed" } else { "" };
    format!(
        "| `{}=` | {} | {needed} | {} |",
        property.name,
        link(property.value),
        cell(property.doc)
    )
}

/// A type with the place where it is described.
fn link(value: &ValueType) -> String {
    format!("[{}](types.md#{})", value.name, value.name.replace(' ', "-"))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn types() -> String {
    let mut types: Vec<&'static ValueType> = Vec::new();
    for section in ALL {
        collect(&section.spec, &mut types);
    }
    types.sort_by_key(|value| value.name);
    let mut text = format!(
        "{GENERATED}# Types of values\n\nText stands in quotes, or bare where it is a plain word; booleans are `#true` and `#false`.\n"
    );
    for value in types {
        line(&mut text, &format!("\n## {}\n\n{}", value.name, value.doc));
    }
    text
}

const LIMITS_GENERATED: &str = "<!-- Written from `core/src/limits.rs`. Change it there, then run `UPDATE=1 cargo test -p kcompose-dsl`. -->\n\n";

fn limits() -> String {
    let mut text = format!(
        "{LIMITS_GENERATED}# Limits\n\nA file that is over a limit is an error. The limits bound the memory and time that files written by others can cost.\n\n| limit | value | what it bounds | how to raise it |\n| --- | --- | --- | --- |\n"
    );
    for limit in limits::ALL {
        let raise = limit.raise.unwrap_or("fixed");
        line(
            &mut text,
            &format!(
                "| `{}` | {limit} | {} | {} |",
                limit.name,
                cell(limit.bounds),
                cell(raise)
            ),
        );
    }
    text
}

const CHECKS: &str = "<!-- Written from `core/src/kairos/checks`. Change it there, then run `UPDATE=1 cargo test -p kcompose-dsl`. -->\n\n# Checks of an image\n\n\
`kcompose verify` runs these on an image of any tool, and so does the last step of a build. A finding has the code\n\
`kcompose::verify::NAME`. Errors end `verify` with exit code 1 and fail a build; warnings do neither.\n\n\
An image alone tells which paths packages ship (dpkg's lists) and which the flavor writes, but not which modes packages\n\
gave their files. So `privileges` refuses a program with privileges that neither a package nor the flavor has, and\n\
`privileges-packages` compares those of packages with a table of programs that Debian and Ubuntu are known to ship with\n\
privileges. In an image without dpkg's lists each unknown program is a finding of `privileges-packages`. Programs that run\n\
with another user or group than root, and setgid directories, are no findings.\n\n\
| check | severity | what it says of a good image |\n| --- | --- | --- |\n";

fn checks() -> String {
    let mut text = CHECKS.to_owned();
    for check in checks::ALL {
        let severity = match check.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        line(
            &mut text,
            &format!("| `{}` | {severity} | {} |", check.name, cell(check.doc)),
        );
    }
    text
}

/// The types that a node names, each once. Of two with one name the first is described.
fn collect(spec: &NodeSpec, types: &mut Vec<&'static ValueType>) {
    let mut add = |value: &'static ValueType| {
        if !types.iter().any(|known| known.name == value.name) {
            types.push(value);
        }
    };
    spec.arguments.iter().for_each(|argument| add(argument.value));
    if let Properties::Known(known) = spec.properties {
        known.iter().for_each(|property| add(property.value));
    }
    if let Children::Named { any, name, .. } = spec.children {
        add(name);
        collect(any, types);
    }
    for child in spec.children.known() {
        collect(child, types);
    }
}

fn first_sentence(doc: &str) -> String {
    let end = doc.find(". ").map_or(doc.len(), |at| at + 1);
    cell(&doc[..end])
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    #[test]
    fn the_reference_is_the_table() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let pages = pages();
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in &pages {
                fs::write(folder.join(name), text).unwrap();
            }
        }
        for (name, text) in &pages {
            let found = fs::read_to_string(folder.join(name)).unwrap_or_default();
            assert!(
                found == *text,
                "docs/reference/{name} is not what the table says; UPDATE=1 writes it anew"
            );
        }
        let names: BTreeSet<String> = pages.into_iter().map(|(name, _)| name).collect();
        let there = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(there.collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn every_example_is_fine() {
        use kcompose_core::diagnostic::Sink;
        use kcompose_core::source::SourceMap;

        for section in ALL {
            let file = SourceMap::new().add("example.kdl", section.spec.example).clone();
            let document = crate::syntax::parse(&file).unwrap();
            let mut sink = Sink::new();
            crate::nodes::lower(&document, &mut sink);
            assert!(sink.into_diagnostics().is_empty(), "{}", section.spec.example);
        }
    }
}
