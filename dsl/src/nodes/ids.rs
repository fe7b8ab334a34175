//! `ids`: numbers of users and groups that packages make.

use kcompose_core::model::{FixedId, Fragment};
use kcompose_core::packages::accounts::AccountKind;
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Section};
use crate::syntax::Node;
use crate::values::{PACKAGE_ID, SYSTEM_ACCOUNT};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "ids",
        doc: "Numbers of users and groups that packages make, where the lock's own choice does not do: for data that has an \
              owner already. It makes no account.",
        children: Children::Known(&[
            NodeSpec {
                name: "user",
                doc: "The number of a user, and of the group of the same name unless that has a line of its own.",
                arguments: &[
                    ArgumentSpec::one("NAME", &SYSTEM_ACCOUNT, "The user's name."),
                    ArgumentSpec::one("ID", &PACKAGE_ID, "Its uid."),
                ],
                example: "user \"_greetd\" 951",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "group",
                doc: "The number of a group, and of the user of the same name unless that has a line of its own.",
                arguments: &[
                    ArgumentSpec::one("NAME", &SYSTEM_ACCOUNT, "The group's name."),
                    ArgumentSpec::one("ID", &PACKAGE_ID, "Its gid."),
                ],
                example: "group \"sambashare\" 952",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "ids {\n    user \"_greetd\" 951\n    group \"sambashare\" 952\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.ids.extend(node.children().iter().filter_map(lower)),
};

fn lower(node: &Node) -> Option<Spanned<FixedId>> {
    let fixed = FixedId {
        kind: match node.name.value.as_str() {
            "user" => AccountKind::User,
            "group" => AccountKind::Group,
            _ => return None,
        },
        name: node.argument(0)?,
        id: node.argument(1)?,
    };
    Some(Spanned::new(fixed, node.span))
}
