//! `flavor`: who the image is.

use kcompose_core::model::{Fragment, Identity};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Repeat, Section};
use crate::syntax::Node;
use crate::values::{FLAVOR_NAME, LINE, VERSION};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "flavor",
        doc: "Who the image is: its name and version. Exactly one.",
        arguments: &[ArgumentSpec::one(
            "NAME",
            &FLAVOR_NAME,
            "The flavor's name; also the name of the image.",
        )],
        properties: Properties::Known(&[PropertySpec::required(
            "version",
            &VERSION,
            "The image's version. It becomes `KAIROS_VERSION` (with a `v` in front) and the version label.",
        )]),
        children: Children::Known(&[
            NodeSpec {
                name: "title",
                doc: "The title for people; the name when absent.",
                arguments: &[ArgumentSpec::one("TITLE", &LINE, "The title.")],
                repeat: Repeat::Once,
                example: "title \"Branch gateway\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "vendor",
                doc: "Who makes the image; the label `org.opencontainers.image.vendor`.",
                arguments: &[ArgumentSpec::one("VENDOR", &LINE, "The vendor's name.")],
                repeat: Repeat::Once,
                example: "vendor \"Example\"",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "flavor \"branch-gateway\" version=\"1.4.0\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let (Some(name), Some(version)) = (node.argument(0), node.value("version")) else {
        return;
    };
    let identity = Identity {
        name,
        version,
        title: node.child_value("title"),
        vendor: node.child_value("vendor"),
    };
    fragment.identities.push(Spanned::new(identity, node.span));
}
