//! `services`: which units start.

use kcompose_core::model::{Fragment, Service, ServiceVerb};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Section};
use crate::syntax::Node;
use crate::values::UNIT;

pub(super) const NODE: Section<Fragment> = Section {
    spec: SPEC,
    lower: |node, fragment| lower(node, &mut fragment.services),
};

/// The node, for documents and for distros.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    name: "services",
    doc: "Which systemd units start at boot. The links are part of the read-only image.",
    children: Children::Known(&[
        ENABLE,
        NodeSpec {
            name: "disable",
            doc: "Units that do not start by themselves.",
            arguments: &[ArgumentSpec::many("UNIT", &UNIT, "A unit.")],
            example: "disable \"cron\"",
            ..NodeSpec::EMPTY
        },
        MASK,
    ]),
    example: "services {\n    enable \"ssh\"\n    mask \"apt-daily.timer\"\n}",
    ..NodeSpec::EMPTY
};

/// Units to enable, for documents and for distros.
pub(crate) const ENABLE: NodeSpec = NodeSpec {
    name: "enable",
    doc: "Units that start at boot, as their `[Install]` section says.",
    arguments: &[ArgumentSpec::many("UNIT", &UNIT, "A unit.")],
    example: "enable \"ssh\" \"gateway.service\"",
    ..NodeSpec::EMPTY
};

/// Units to mask, for documents and for distros.
pub(crate) const MASK: NodeSpec = NodeSpec {
    name: "mask",
    doc: "Units that cannot be started at all.",
    arguments: &[ArgumentSpec::many("UNIT", &UNIT, "A unit.")],
    example: "mask \"apt-daily.timer\"",
    ..NodeSpec::EMPTY
};

/// Adds the units that the children of a node name.
pub(crate) fn lower(node: &Node, services: &mut Vec<Spanned<Service>>) {
    for child in node.children() {
        let verb = match child.name.value.as_str() {
            "enable" => ServiceVerb::Enable,
            "disable" => ServiceVerb::Disable,
            "mask" => ServiceVerb::Mask,
            _ => continue,
        };
        services.extend(child.all_arguments().into_iter().map(|unit: Spanned<_>| {
            let span = unit.span;
            Spanned::new(Service { unit, verb }, span)
        }));
    }
}
