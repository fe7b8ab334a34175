//! `users`: accounts that the image has.

use kcompose_core::model::{Fragment, User};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ACCOUNT, GROUPS, LINE, PASSWORD_HASH, PATH, SSH_KEY, USER_ID, words};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "users",
        doc: "Accounts that the image has. root stays locked; without a password hash there is no login by password.",
        children: Children::Known(&[NodeSpec {
            name: "user",
            doc: "One account. Its home directory is made at boot, because `/home` is kept.",
            arguments: &[ArgumentSpec::one("NAME", &ACCOUNT, "The login name.")],
            properties: Properties::Known(&[
                PropertySpec::optional(
                    "uid",
                    &USER_ID,
                    "Its number; the next free one from 1000 on when absent, kept by the lock.",
                ),
                PropertySpec::optional(
                    "groups",
                    &GROUPS,
                    "Groups that it belongs to, beside its own; in group `sudo` it may use sudo where that is installed.",
                ),
                PropertySpec::optional("shell", &PATH, "The login shell; `/bin/bash` when absent."),
                PropertySpec::optional("home", &PATH, "The home directory; `/home/NAME` when absent."),
                PropertySpec::optional("comment", &LINE, "The comment field, such as the full name."),
                PropertySpec::optional(
                    "password-hash",
                    &PASSWORD_HASH,
                    "The password's hash; no login by password when absent.",
                ),
            ]),
            children: Children::Known(&[NodeSpec {
                name: "ssh-key",
                doc: "Public keys that may log in through ssh.",
                arguments: &[ArgumentSpec::many(
                    "KEY",
                    &SSH_KEY,
                    "A line of `authorized_keys`.",
                )],
                example: "ssh-key \"ssh-ed25519 AAAA… ops@example.org\"",
                ..NodeSpec::EMPTY
            }]),
            example: "user \"ops\" groups=\"sudo\" shell=\"/bin/bash\"",
            ..NodeSpec::EMPTY
        }]),
        example: "users {\n    user \"ops\" groups=\"sudo\" {\n        ssh-key \"ssh-ed25519 AAAA…\"\n    }\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.users.extend(node.children().iter().filter_map(lower)),
};

fn lower(node: &Node) -> Option<Spanned<User>> {
    let groups: Option<Spanned<String>> = node.value("groups");
    let groups = groups
        .iter()
        .flat_map(|groups| words(&groups.value).map(|name| Spanned::new(name.to_owned(), groups.span)));
    let user = User {
        name: node.argument(0)?,
        uid: node.value("uid"),
        groups: groups.collect(),
        shell: node.value("shell"),
        home: node.value("home"),
        comment: node.value("comment"),
        password_hash: node.value("password-hash"),
        ssh_keys: node.child_values("ssh-key"),
    };
    Some(Spanned::new(user, node.span))
}
