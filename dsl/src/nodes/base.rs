//! `base`: what the image builds on.

use kcompose_core::model::{Base, Fragment, Url};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ARCHIVE_URL, DISTRO, WORD};

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
                "A mirror of the distro's security archive.",
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
    };
    fragment.bases.push(Spanned::new(base, node.span));
}

fn folder(url: Spanned<Url>) -> Spanned<Url> {
    url.map(Url::folder)
}
