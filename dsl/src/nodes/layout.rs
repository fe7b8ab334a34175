//! `layout`: which paths are immutable, ephemeral, persistent.

use kcompose_core::model::{
    AbsPath, Fragment, Layout, LayoutRule, OnMissing, OnMissingRule, PathClass, Size,
};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{FS_LABEL, PATH, SIZE, ValueType};

static THEN: ValueType = ValueType::choice(
    "policy",
    "`degrade` or `reboot`",
    "`degrade` goes on with memory in its place and says so; `reboot` reboots.",
    &["degrade", "reboot"],
);

pub(super) const NODE: Section<Fragment> = Section {
    spec: SPEC,
    lower: |node, fragment| lower(node, &mut fragment.layout, &mut fragment.sizes),
};

/// The node, for documents and for distros.
pub(crate) const SPEC: NodeSpec = NodeSpec {
    name: "layout",
    doc: "What happens to writes below a path. The stock layout of the distro stands; these lines add to it.",
    children: Children::Known(&[
        NodeSpec {
            name: "read-only",
            doc: "Paths that nothing can write to, as the rest of the image.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "read-only \"/usr\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "ephemeral",
            doc: "Paths whose changes are lost at reboot: an overlay in memory over what the image has.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            properties: Properties::Known(&[PropertySpec::optional(
                "size",
                &SIZE,
                "The size of the memory behind all ephemeral paths together; `25%` in the stock layout.",
            )]),
            example: "ephemeral \"/scratch\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "persistent",
            doc: "Paths that are partitions of their own. What the image has below them is hidden.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            properties: Properties::Known(&[PropertySpec::required(
                "label",
                &FS_LABEL,
                "The label of the partition's file system.",
            )]),
            example: "persistent \"/usr/local\" label=\"COS_PERSISTENT\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "keep",
            doc: "Paths that keep what is written to them: bound from the partition COS_PERSISTENT, first filled with what \
                  the image has. Outside `/etc`, `/var` and `/srv` the directory must be in the image.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "keep \"/var/lib/gateway\" \"/etc/gateway\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "forget",
            doc: "Paths of the stock layout that are taken out of it.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "forget \"/opt\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "allow-hidden",
            doc: "Paths of the image that are hidden at run time on purpose, because a partition is mounted over them: \
                  no check complains of them.",
            arguments: &[ArgumentSpec::many(
                "PATH",
                &PATH,
                "A path; what is below it counts too.",
            )],
            example: "allow-hidden \"/usr/local/lib/vendor\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "on-missing",
            doc: "What the boot does when a partition is not there.",
            arguments: &[ArgumentSpec::one("LABEL", &FS_LABEL, "The partition's label.")],
            properties: Properties::Known(&[PropertySpec::required(
                "then",
                &THEN,
                "What to do; `degrade` unless said.",
            )]),
            example: "on-missing \"COS_PERSISTENT\" then=\"reboot\"",
            ..NodeSpec::EMPTY
        },
    ]),
    example: "layout {\n    keep \"/var/lib/gateway\"\n    ephemeral \"/scratch\"\n}",
    ..NodeSpec::EMPTY
};

/// Adds what a `layout` node says to a layout, and the sizes that it says to the others.
pub(crate) fn lower(node: &Node, layout: &mut Layout, sizes: &mut Vec<Spanned<Size>>) {
    for child in node.children() {
        match child.name.value.as_str() {
            "read-only" => lower_rules(child, PathClass::ReadOnly, layout),
            "ephemeral" => lower_rules(child, PathClass::Ephemeral, layout),
            "persistent" => lower_rules(child, PathClass::Persistent, layout),
            "keep" => lower_rules(child, PathClass::Keep, layout),
            "forget" => layout.forget.extend(child.all_arguments()),
            "allow-hidden" => layout.allow_hidden.extend(child.all_arguments()),
            _ => lower_on_missing(child, layout),
        }
        sizes.extend(child.value("size"));
    }
}

fn lower_rules(node: &Node, class: PathClass, layout: &mut Layout) {
    let label: Option<Spanned<String>> = node.value("label");
    let paths: Vec<Spanned<AbsPath>> = node.all_arguments();
    layout.rules.extend(paths.into_iter().map(|path| {
        let label = label.as_ref().map(|label| label.value.clone());
        path.map(|path| LayoutRule { path, class, label })
    }));
}

fn lower_on_missing(node: &Node, layout: &mut Layout) {
    let (Some(label), Some(then)) = (node.argument::<String>(0), node.value::<String>("then")) else {
        return;
    };
    let then = match then.value.as_str() {
        "degrade" => OnMissing::Degrade,
        "reboot" => OnMissing::Reboot,
        _ => return,
    };
    layout.on_missing.push(Spanned::new(
        OnMissingRule {
            label: label.value,
            then,
        },
        node.span,
    ));
}
