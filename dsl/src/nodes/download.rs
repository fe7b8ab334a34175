//! `download`: a file from a web server.

use kcompose_core::model::{Download, FileBody, FileNode, Fragment};
use kcompose_core::source::Spanned;

use super::files::{GROUP, USER};
use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{BOOLEAN, MODE, PARTS, PATH, SHA256, URL};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "download",
        doc: "A file from a web server, or the contents of an archive. `kcompose lock` fetches it; a build takes it from the store of \
              kcompose, or has the engine fetch it, and refuses another checksum. An https server's certificate is checked by what this \
              machine trusts, and a login comes from /etc/apt/auth.conf or ~/.netrc.",
        arguments: &[ArgumentSpec::one("URL", &URL, "Where it is.")],
        properties: Properties::Known(&[
            PropertySpec::optional(
                "sha256",
                &SHA256,
                "Its checksum, which must be there: without it a report names the command that prints it.",
            ),
            PropertySpec::required(
                "to",
                &PATH,
                "Where it is in the image; for an archive: the directory that gets its contents, and with `user=` or `group=` that owner as well, unless it is `/`.",
            ),
            PropertySpec::optional("mode", &MODE, "Permission bits of the file; 0644 when absent."),
            USER,
            GROUP,
            PropertySpec::optional(
                "unpack",
                &BOOLEAN,
                "`#true` to unpack it: a tar archive, plain or compressed with gzip, xz or zstd. Modes are the archive's without setuid bits.",
            ),
            PropertySpec::optional(
                "strip",
                &PARTS,
                "How many leading parts of each path in the archive are taken off.",
            ),
        ]),
        aliases: &["add", "curl", "fetch", "url", "wget"],
        example: "download \"https://example.org/tool-1.4.0\" to=\"/usr/bin/tool\" mode=\"0755\" sha256=\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| fragment.files.extend(lower(node)),
};

fn lower(node: &Node) -> Option<Spanned<FileNode>> {
    let sha256 = node.value("sha256");
    // One that was refused is not missing.
    if sha256.is_none() && node.property("sha256").is_some() {
        return None;
    }
    let download = Download {
        url: node.argument(0)?,
        sha256,
        unpack: node.value("unpack"),
        strip: node.value("strip"),
    };
    let file = FileNode {
        path: node.value("to")?,
        mode: node.value("mode"),
        user: node.value("user"),
        group: node.value("group"),
        body: FileBody::Download(download),
    };
    Some(Spanned::new(file, node.span))
}
