//! `sysctl`: kernel parameters.

use kcompose_core::model::{Fragment, Sysctl};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Section};
use crate::syntax::Node;
use crate::values::{SYSCTL_KEY, SYSCTL_VALUE};

static PARAMETER: NodeSpec = NodeSpec {
    name: "KEY",
    doc: "A kernel parameter and its value.",
    arguments: &[ArgumentSpec::one(
        "VALUE",
        &SYSCTL_VALUE,
        "The value, as it is written to `/proc/sys`.",
    )],
    example: "net.ipv4.ip_forward 1",
    ..NodeSpec::EMPTY
};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "sysctl",
        doc: "Kernel parameters, set at boot.",
        children: Children::Named {
            known: &[],
            any: &PARAMETER,
            name: &SYSCTL_KEY,
        },
        example: "sysctl {\n    net.ipv4.ip_forward 1\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.sysctls.extend(node.children().iter().filter_map(lower)),
};

fn lower(node: &Node) -> Option<Spanned<Sysctl>> {
    if (SYSCTL_KEY.check)(&node.name.value).is_err() {
        return None;
    }
    Some(Spanned::new(
        Sysctl {
            key: node.name.clone(),
            value: node.argument(0)?,
        },
        node.span,
    ))
}
