//! `cloud-config`: configuration that runs at boot.

use kcompose_core::model::{CloudConfig, Fragment};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{CONTEXT_PATH, TEXT, WORD};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "cloud-config",
        doc: "Configuration that is applied at each boot. With runtime `systemd` it is for the distro's cloud-init, which the \
              block of that name brings: `use \"cloud-init\"`. Either the text stands here, or `from` names a file.",
        arguments: &[
            ArgumentSpec::one(
                "NAME",
                &WORD,
                "Its name without `.yaml`; files are read in the order of their names.",
            ),
            ArgumentSpec::optional("TEXT", &TEXT, "Its text, in YAML."),
        ],
        properties: Properties::Known(&[PropertySpec::optional(
            "from",
            &CONTEXT_PATH,
            "The file that holds its text.",
        )]),
        example: "cloud-config \"80_gateway\" from=\"files/80_gateway.yaml\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let Some(name) = node.argument(0) else { return };
    let config = CloudConfig {
        name,
        text: node.argument(1),
        lines: Vec::new(),
        from: node.value("from"),
    };
    fragment.cloud_configs.push(Spanned::new(config, node.span));
}
