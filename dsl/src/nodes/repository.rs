//! `repository`: a package source.

use kcompose_core::model::{Fragment, Repository, Suite};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{CONTEXT_PATH, LINE, URL, WORD, words};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "repository",
        doc: "A package source beside those of the distro. Its index must be signed with the given key.",
        arguments: &[ArgumentSpec::one(
            "NAME",
            &WORD,
            "A name for it, in the lock and in messages.",
        )],
        properties: Properties::Known(&[
            PropertySpec::required("url", &URL, "Its URL, the part before `/dists`."),
            PropertySpec::required(
                "suite",
                &LINE,
                "Its suites, separated by spaces: the names below `dists/`.",
            ),
            PropertySpec::optional(
                "components",
                &LINE,
                "The components to read, separated by spaces; `main` when absent.",
            ),
            PropertySpec::required(
                "key",
                &CONTEXT_PATH,
                "The file with its OpenPGP public key, ASCII-armoured.",
            ),
        ]),
        example: "repository \"internal\" url=\"https://deb.example.org\" suite=\"trixie\" components=\"main\" key=\"keys/internal.asc\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let (Some(name), Some(url), Some(suite)) = (node.argument(0), node.value("url"), node.value("suite"))
    else {
        return;
    };
    let (url, suite): (Spanned<String>, Spanned<String>) = (url, suite);
    let components: Option<Spanned<String>> = node.value("components");
    let components: Vec<String> = words(components.as_ref().map_or("main", |text| &text.value))
        .map(str::to_owned)
        .collect();
    let suites = words(&suite.value)
        .map(|name| Suite {
            name: name.to_owned(),
            components: components.clone(),
            security: false,
        })
        .collect();
    let repository = Repository {
        name,
        url: Some(url.map(|url| url.trim_end_matches('/').to_owned())),
        suites,
        keys: node.value("key").into_iter().collect(),
    };
    fragment.repositories.push(Spanned::new(repository, node.span));
}
