//! `repository`: a package source.

use kcompose_core::model::{Fragment, Replaces, Repository, Suite, Url, is_flat};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{
    ARCHIVE_URL, BOOLEAN, COMPONENTS, CONTEXT_PATH, OVERRIDE, PRIORITY, SNAPSHOT, SUITES, WORD, words,
};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "repository",
        doc: "A package source beside those of the distro. With a `url` it is somebody else's, whose index must be signed with the \
              given `key`; without one it is more suites of the distro's own archive, such as backports.",
        arguments: &[ArgumentSpec::one(
            "NAME",
            &WORD,
            "A name for it, in the lock and in messages.",
        )],
        properties: Properties::Known(&[
            PropertySpec::optional("url", &ARCHIVE_URL, "Its URL, the part before `/dists`."),
            PropertySpec::required(
                "suite",
                &SUITES,
                "Its suites, separated by spaces: the names below `dists/`. One that ends with a slash is the path of a flat \
                 repository, which has `Packages` beside its release file and no components: `./` is the URL itself.",
            ),
            PropertySpec::optional(
                "components",
                &COMPONENTS,
                "The components to read, separated by spaces; `main` when absent. A flat repository has none.",
            ),
            PropertySpec::optional(
                "key",
                &CONTEXT_PATH,
                "The file with its OpenPGP public key, as `gpg --export` writes it, armoured or not. Needed with a `url`.",
            ),
            PropertySpec::optional(
                "override",
                &OVERRIDE,
                "Which packages of the distro it may replace. Without it, a third-party repository only adds packages that the \
                 distro does not have. `repository` of a package lets it replace that one.",
            ),
            PropertySpec::optional(
                "priority",
                &PRIORITY,
                "The priority of its versions; when absent that which its release file implies: 100 or 1 for suites that \
                 are not automatic, such as backports and experimental, else 500.",
            ),
            PropertySpec::optional(
                "snapshot",
                &SNAPSHOT,
                "The time as of which it is read: a folder below its URL, as snapshot services have them. Implies \
                 `allow-expired`.",
            ),
            PropertySpec::optional(
                "allow-expired",
                &BOOLEAN,
                "Whether a release file past its `Valid-Until` is read: somebody could hold back updates unnoticed.",
            ),
        ]),
        example: "repository \"internal\" url=\"https://deb.example.org\" suite=\"trixie\" components=\"main\" key=\"keys/internal.asc\"",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let (Some(name), Some(suite)) = (node.argument(0), node.value::<String>("suite")) else {
        return;
    };
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
    let url: Option<Spanned<Url>> = node.value("url");
    // A URL that cannot be read is reported already, and its key is none that lacks a URL.
    let is_readable = url.is_some() || node.property("url").is_none();
    let repository = Repository {
        name,
        url: url.map(|url| url.map(Url::folder)),
        suites,
        keys: node.value("key").filter(|_| is_readable).into_iter().collect(),
        replaces: replaces(node),
        priority: node.value("priority"),
        snapshot: node.value("snapshot"),
        allow_expired: node.value("allow-expired").is_some_and(|allowed| allowed.value),
    };
    fragment.repositories.push(Spanned::new(repository, node.span));
}

fn replaces(node: &Node) -> Replaces {
    match (node.value::<bool>("override"), node.value::<String>("override")) {
        (Some(all), _) if all.value => Replaces::All,
        (None, Some(names)) => {
            Replaces::Named(words(&names.value).filter_map(|name| name.parse().ok()).collect())
        }
        _ => Replaces::None,
    }
}
