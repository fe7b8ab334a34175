//! `base`: what the image builds on.

use kcompose_core::model::{Base, Fragment, Url};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ARCHIVE_URL, BOOLEAN, COMPONENTS, DISTRO, SNAPSHOT, WORD, words};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "base",
        doc: "The distro that the image builds on, from the library. Exactly one.",
        arguments: &[ArgumentSpec::one(
            "DISTRO",
            &DISTRO,
            "A distro of the library, such as `debian`.",
        )],
        properties: Properties::Known(&[
            PropertySpec::optional(
                "release",
                &WORD,
                "The release by its code name; the distro's default when absent.",
            ),
            PropertySpec::optional(
                "mirror",
                &ARCHIVE_URL,
                "A mirror to use instead of the distro's own.",
            ),
            PropertySpec::optional(
                "security-mirror",
                &ARCHIVE_URL,
                "A mirror of the distro's security archive. Where only `mirror` is said, the archive beside it is read: its URL \
                 with `-security` behind it.",
            ),
            PropertySpec::optional(
                "components",
                &COMPONENTS,
                "The components to read, separated by spaces, in the place of those of the release.",
            ),
            PropertySpec::optional(
                "snapshot",
                &SNAPSHOT,
                "The time as of which the archive is read, from the distro's snapshot service; `mirror` and \
                 `security-mirror` name another one, below whose URLs times are folders. A snapshot is past its \
                 `Valid-Until` on purpose, so this implies `allow-expired`.",
            ),
            PropertySpec::optional(
                "allow-expired",
                &BOOLEAN,
                "Whether release files past their `Valid-Until` are read: somebody could hold back updates unnoticed.",
            ),
        ]),
        example: "base \"debian\" release=\"trixie\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let distro: Option<Spanned<String>> = node.argument(0);
    let Some(distro) = distro.filter(|distro| (DISTRO.check)(&distro.value).is_ok()) else {
        return;
    };
    let base = Base {
        distro,
        release: node.value("release"),
        mirror: node.value("mirror").map(folder),
        security_mirror: node.value("security-mirror").map(folder),
        components: node
            .value::<String>("components")
            .map(|text| text.map(|text| words(&text).map(str::to_owned).collect())),
        snapshot: node.value("snapshot"),
        allow_expired: node.value("allow-expired"),
    };
    fragment.bases.push(Spanned::new(base, node.span));
}

fn folder(url: Spanned<Url>) -> Spanned<Url> {
    url.map(Url::folder)
}
