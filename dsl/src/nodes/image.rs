//! `image`: where the image goes, and what its config says.

use kcompose_core::model::{Fragment, ImageSettings, Label};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Repeat, Section};
use crate::syntax::Node;
use crate::values::{LINE, ValueType};

static REFERENCE: ValueType = ValueType::checked(
    "repository",
    "an image repository",
    "A registry and a path, such as `registry.example.org/os/gateway`, without a tag.",
    check_reference,
);

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "image",
        doc: "Where the image goes, and labels of its config.",
        children: Children::Known(&[
            NodeSpec {
                name: "repository",
                doc: "The repository that the image is pushed to; its tag is the flavor's version.",
                arguments: &[ArgumentSpec::one("REPOSITORY", &REFERENCE, "The repository.")],
                repeat: Repeat::Once,
                example: "repository \"registry.example.org/os/gateway\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "label",
                doc: "A label of the image.",
                arguments: &[
                    ArgumentSpec::one("KEY", &LINE, "The label's key."),
                    ArgumentSpec::one("VALUE", &LINE, "The label's value."),
                ],
                example: "label \"org.opencontainers.image.source\" \"https://example.org/gateway\"",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "image {\n    repository \"registry.example.org/os/gateway\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let labels = node.children_named("label").filter_map(|label| {
        Some(Label {
            key: label.argument(0)?,
            value: label.argument(1)?,
        })
    });
    let image = ImageSettings {
        repository: node.child_value("repository"),
        labels: labels.collect(),
    };
    fragment.images.push(Spanned::new(image, node.span));
}

fn check_reference(text: &str) -> Result<(), kcompose_core::model::InvalidValue> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let path = text.rsplit('/').next().unwrap_or_default();
    if !text.is_empty()
        && text.chars().all(legal)
        && !path.is_empty()
        && !path.contains(':')
        && !text.starts_with('/')
    {
        return Ok(());
    }
    Err(kcompose_core::model::InvalidValue {
        fact: format!("`{text}` is not an image repository"),
        help: "write it without a tag, as in \"registry.example.org/os/gateway\"".to_owned(),
    })
}
