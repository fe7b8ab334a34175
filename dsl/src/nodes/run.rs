//! `run`: a step of the user's own.

use kcompose_core::model::{Fragment, Run};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Repeat, Section};
use crate::syntax::Node;
use crate::values::{BOOLEAN, LINE, TEXT, WORD, words};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "run",
        doc: "The escape hatch: a script that runs in the image while it is built, after packages and files, by \
              `/bin/sh -eu`, without network unless asked for.",
        arguments: &[ArgumentSpec::one("NAME", &WORD, "A name for the step.")],
        properties: Properties::Known(&[PropertySpec::optional(
            "after",
            &LINE,
            "Names of `run` steps that come before it, separated by spaces.",
        )]),
        children: Children::Known(&[
            NodeSpec {
                name: "script",
                doc: "What to run.",
                arguments: &[ArgumentSpec::one("SCRIPT", &TEXT, "The script.")],
                repeat: Repeat::Once,
                example: "script \"gateway --warm\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "network",
                doc: "Whether it may use the network. What it fetches is then pinned by nothing.",
                arguments: &[ArgumentSpec::one("NETWORK", &BOOLEAN, "`#true` to allow it.")],
                repeat: Repeat::Once,
                example: "network #false",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "run \"make-cache\" {\n    script \"gateway --warm\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let (Some(name), Some(script)) = (node.argument(0), node.child_value("script")) else {
        return;
    };
    let after: Option<Spanned<String>> = node.value("after");
    let after = after
        .iter()
        .flat_map(|after| words(&after.value).map(|name| Spanned::new(name.to_owned(), after.span)));
    let run = Run {
        name,
        script,
        network: node.child_value("network"),
        after: after.collect(),
    };
    fragment.runs.push(Spanned::new(run, node.span));
}
