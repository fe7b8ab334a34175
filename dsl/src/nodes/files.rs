//! `files`: what the flavor writes itself.

use kcompose_core::model::{AbsPath, FileBody, FileNode, Fragment, PathPattern};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{CONTEXT_PATH, LINK_TARGET, MODE, OWNER, PATH, TEXT};

const MODE_PROPERTY: PropertySpec = PropertySpec::optional(
    "mode",
    &MODE,
    "Permission bits; 0644 for files, 0755 for directories.",
);
pub(super) const USER: PropertySpec = PropertySpec::optional("user", &OWNER, "The owner; root when absent.");
pub(super) const GROUP: PropertySpec =
    PropertySpec::optional("group", &OWNER, "The group; root when absent.");

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "files",
        doc: "Files, directories and links that the flavor writes itself, after all packages are installed.",
        children: Children::Known(&[FILE, DIRECTORY, LINK, COPY]),
        example: "files {\n    file \"/etc/motd\" mode=\"0644\" \"Branch gateway\\n\"\n    directory \"/data\" mode=\"0755\"\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.files.extend(node.children().iter().filter_map(lower)),
};

const FILE: NodeSpec = NodeSpec {
    name: "file",
    doc: "A file with this text.",
    arguments: &[
        ArgumentSpec::one("PATH", &PATH, "Where it is in the image."),
        ArgumentSpec::one("TEXT", &TEXT, "Its whole text."),
    ],
    properties: Properties::Known(&[MODE_PROPERTY, USER, GROUP]),
    example: "file \"/etc/motd\" mode=\"0644\" \"Branch gateway\\n\"",
    ..NodeSpec::EMPTY
};

/// A directory, for documents and for distros.
pub(crate) const DIRECTORY: NodeSpec = NodeSpec {
    name: "directory",
    doc: "A directory.",
    arguments: &[ArgumentSpec::one("PATH", &PATH, "Where it is in the image.")],
    properties: Properties::Known(&[MODE_PROPERTY, USER, GROUP]),
    example: "directory \"/data\" mode=\"0755\"",
    ..NodeSpec::EMPTY
};

/// A link, for documents and for distros.
pub(crate) const LINK: NodeSpec = NodeSpec {
    name: "link",
    doc: "A symbolic link.",
    arguments: &[ArgumentSpec::one("PATH", &PATH, "Where it is in the image.")],
    properties: Properties::Known(&[PropertySpec::required("to", &LINK_TARGET, "What it points to.")]),
    example: "link \"/etc/localtime\" to=\"/usr/share/zoneinfo/UTC\"",
    ..NodeSpec::EMPTY
};

const COPY: NodeSpec = NodeSpec {
    name: "copy",
    doc: "A copy of a file, or of everything in a folder, from the folder of the flavor. Owners become root and modes 0644, \
          or 0755 for what is executable, unless said.",
    arguments: &[ArgumentSpec::one("FROM", &CONTEXT_PATH, "The file or folder.")],
    properties: Properties::Known(&[
        PropertySpec::required(
            "to",
            &PATH,
            "Where it is in the image; for a folder: the directory that gets its contents.",
        ),
        MODE_PROPERTY,
        USER,
        GROUP,
    ]),
    example: "copy \"overlay/etc\" to=\"/etc\"",
    ..NodeSpec::EMPTY
};

/// One child of a `files` node.
pub(crate) fn lower(node: &Node) -> Option<Spanned<FileNode>> {
    let path = if node.name.value == "copy" {
        node.value("to")
    } else {
        node.argument::<AbsPath>(0)
    }?;
    let body = match node.name.value.as_str() {
        "file" => FileBody::Text(node.argument::<String>(1)?.value),
        "directory" => FileBody::Directory,
        "link" => FileBody::Link(node.value::<String>("to")?.value),
        "copy" => FileBody::Copy(node.argument::<PathPattern>(0)?),
        _ => return None,
    };
    let file = FileNode {
        path,
        mode: node.value("mode"),
        user: node.value("user"),
        group: node.value("group"),
        body,
    };
    Some(Spanned::new(file, node.span))
}
