//! `groups`: groups that the image has.

use kcompose_core::model::{Fragment, Group};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ACCOUNT, GROUP_ID};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "groups",
        doc: "Groups that the image has, for `groups=` of users and `group=` of files. A user has a group of its own name \
              without being asked.",
        children: Children::Known(&[NodeSpec {
            name: "group",
            doc: "One group.",
            arguments: &[ArgumentSpec::one("NAME", &ACCOUNT, "Its name.")],
            properties: Properties::Known(&[PropertySpec::optional(
                "gid",
                &GROUP_ID,
                "Its number; when absent that of the user of the same name, else the next free one from 1000 on, kept by the lock.",
            )]),
            example: "group \"gateway\" gid=950",
            ..NodeSpec::EMPTY
        }]),
        example: "groups {\n    group \"gateway\" gid=950\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.groups.extend(node.children().iter().filter_map(lower)),
};

fn lower(node: &Node) -> Option<Spanned<Group>> {
    let group = Group {
        name: node.argument(0)?,
        gid: node.value("gid"),
    };
    Some(Spanned::new(group, node.span))
}
