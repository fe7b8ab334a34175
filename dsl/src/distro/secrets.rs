//! What a distro says of the secrets that its packages make.

use kcompose_core::model::{AbsPath, MachineSecret, Runtime};

use super::nodes::Draft;
use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec};
use crate::syntax::Node;
use crate::values::{BOOLEAN, LINE, PACKAGE, PATH, TEXT, UNIT, ValueType, WORD};

static RUNTIME: ValueType = ValueType::choice(
    "runtime",
    "a runtime",
    "The runtime of an image.",
    &["systemd", "immucore"],
);

pub(super) const SPEC: NodeSpec = NodeSpec {
    name: "secret",
    doc: "What a package makes when it is configured and each machine must have for itself.",
    arguments: &[ArgumentSpec::one("NAME", &WORD, "Its name.")],
    properties: Properties::Known(&[
        PropertySpec::required("package", &PACKAGE, "The package that makes it."),
        PropertySpec::optional("runtime", &RUNTIME, "The only runtime whose images make it."),
    ]),
    children: Children::Known(&[
        NodeSpec {
            name: "remove",
            doc: "Paths that no image has; each part may have one `*`.",
            arguments: &[ArgumentSpec::many("PATTERN", &LINE, "A path.")],
            example: "remove \"/etc/ssh/ssh_host_*\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "text",
            doc: "A file that has another text in the image.",
            arguments: &[
                ArgumentSpec::one("PATH", &PATH, "The file."),
                ArgumentSpec::one("TEXT", &TEXT, "Its text."),
            ],
            example: "text \"/etc/iscsi/initiatorname.iscsi\" \"GenerateName=yes\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "make",
            doc: "The script that makes it, for `/bin/sh -eu`.",
            arguments: &[ArgumentSpec::one("SCRIPT", &TEXT, "The script.")],
            properties: Properties::Known(&[PropertySpec::optional(
                "early",
                &BOOLEAN,
                "Whether it runs before the system is set up.",
            )]),
            example: "make \"ssh-keygen -A\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "keep",
            doc: "Paths of it that lie in no kept directory.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "keep \"/etc/hostid\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "unless",
            doc: "Paths, with `*`, that are there when nothing has to be made; else those of `keep`.",
            arguments: &[ArgumentSpec::many("PATTERN", &LINE, "A path.")],
            example: "unless \"/etc/ssh/ssh_host_ed25519_key\"",
            ..NodeSpec::EMPTY
        },
        NodeSpec {
            name: "before",
            doc: "Units that need it earlier than other services.",
            arguments: &[ArgumentSpec::many("UNIT", &UNIT, "A unit.")],
            example: "before \"zfs-import.target\"",
            ..NodeSpec::EMPTY
        },
    ]),
    example: "secret \"zfs-hostid\" package=\"zfsutils-linux\" {\n    remove \"/etc/hostid\"\n}",
    ..NodeSpec::EMPTY
};

pub(super) fn lower(node: &Node, draft: &mut Draft) {
    let (Some(name), Some(package)) = (node.argument::<String>(0), node.value("package")) else {
        return;
    };
    let runtime = node.value::<String>("runtime");
    let mut secret = MachineSecret {
        name: name.value,
        package: package.value,
        runtime: runtime.map(|runtime| match runtime.value.as_str() {
            "immucore" => Runtime::Immucore,
            _ => Runtime::Systemd,
        }),
        remove: Vec::new(),
        texts: Vec::new(),
        make: None,
        early: false,
        keep: Vec::new(),
        unless: Vec::new(),
        before: Vec::new(),
    };
    for child in node.children() {
        let texts = || child.all_arguments::<String>().into_iter().map(|text| text.value);
        match child.name.value.as_str() {
            "remove" => secret.remove.extend(texts()),
            "unless" => secret.unless.extend(texts()),
            "before" => secret.before.extend(texts()),
            "keep" => {
                let paths = child.all_arguments::<AbsPath>();
                secret.keep.extend(paths.into_iter().map(|path| path.value));
            }
            "text" => {
                let (path, text) = (child.argument::<AbsPath>(0), child.argument::<String>(1));
                secret
                    .texts
                    .extend(path.zip(text).map(|(path, text)| (path.value, text.value)));
            }
            _ => {
                secret.make = child.argument::<String>(0).map(|make| make.value);
                secret.early = child.value::<bool>("early").is_some_and(|early| early.value);
            }
        }
    }
    draft.distro.secrets.push(secret);
}
