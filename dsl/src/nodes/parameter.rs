//! `parameter`: what the user of a document chooses.

use kcompose_core::model::Fragment;
use kcompose_core::source::{Span, Spanned};

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Repeat, Section};
use crate::syntax::Node;
use crate::values::{PARAMETER_VALUE, WORD, scalar};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "parameter",
        doc: "A value that the user of this document chooses: `use \"./this.kdl\" NAME=\"value\"`, or `--build-arg NAME=value` \
              for the flavor itself. Written as `(parameter)\"NAME\"` it stands for a value anywhere in the document.",
        arguments: &[ArgumentSpec::one("NAME", &WORD, "Its name.")],
        properties: Properties::Known(&[PropertySpec::optional(
            "default",
            &PARAMETER_VALUE,
            "The value when nothing is chosen; without it a choice must be made.",
        )]),
        children: Children::Known(&[NodeSpec {
            name: "choices",
            doc: "The only values that it may have.",
            arguments: &[ArgumentSpec::many("VALUE", &PARAMETER_VALUE, "A value.")],
            repeat: Repeat::Once,
            example: "choices \"stable\" \"edge\"",
            ..NodeSpec::EMPTY
        }]),
        example: "parameter \"channel\" default=\"stable\" {\n    choices \"stable\" \"edge\"\n}",
        ..NodeSpec::EMPTY
    },
    // Parameters are taken in before a document is checked; nothing of them remains.
    lower: |_, _| {},
};

/// A parameter that a document declares.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Spanned<String>,
    /// The value when none is chosen.
    pub default: Option<String>,
    /// The only values; any when empty.
    pub choices: Vec<String>,
    /// Where it is declared.
    pub span: Span,
}

/// The parameters that the nodes of a document declare.
pub fn parameters(nodes: &[Node]) -> Vec<Parameter> {
    let declared = nodes.iter().filter(|node| node.name.value == "parameter");
    declared
        .filter_map(|node| {
            Some(Parameter {
                name: node.argument(0)?,
                default: node
                    .property("default")
                    .and_then(|default| scalar(&default.value)),
                choices: node
                    .children_named("choices")
                    .flat_map(|choices| &choices.arguments)
                    .filter_map(|choice| scalar(&choice.value))
                    .collect(),
                span: node.span,
            })
        })
        .collect()
}
