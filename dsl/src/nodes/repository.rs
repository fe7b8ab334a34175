//! `repository`: a package source.

use kcompose_core::model::{Fragment, Repository, Suite, Url, is_flat};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ARCHIVE_URL, CONTEXT_PATH, LINE, SUITES, WORD, words};

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
            PropertySpec::required("url", &ARCHIVE_URL, "Its URL, the part before `/dists`."),
            PropertySpec::required(
                "suite",
                &SUITES,
                "Its suites, separated by spaces: the names below `dists/`. One that ends with a slash is the path of a flat \
                 repository, which has `Packages` beside its release file and no components: `./` is the URL itself.",
            ),
            PropertySpec::optional(
                "components",
                &LINE,
                "The components to read, separated by spaces; `main` when absent. A flat repository has none.",
            ),
            PropertySpec::required(
                "key",
                &CONTEXT_PATH,
                "The file with its OpenPGP public key, as `gpg --export` writes it, armoured or not.",
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
    let (url, suite): (Spanned<Url>, Spanned<String>) = (url, suite);
    let components: Option<Spanned<String>> = node.value("components");
    let suite_of = |name: &str| {
        let components = match &components {
            Some(said) => &said.value,
            None if is_flat(name) => "",
            None => "main",
        };
        Suite {
            name: name.to_owned(),
            components: words(components).map(str::to_owned).collect(),
            security: false,
        }
    };
    let suites = words(&suite.value).map(suite_of).collect();
    let repository = Repository {
        name,
        url: Some(url.map(Url::folder)),
        suites,
        keys: node.value("key").into_iter().collect(),
    };
    fragment.repositories.push(Spanned::new(repository, node.span));
}
