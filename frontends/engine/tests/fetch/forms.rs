//! The forms that package sources come in, and what is said of those that cannot be used.

use kcompose_core::model::{Repository, Suite};
use kcompose_core::source::{SourceMap, Spanned};
use kcompose_engine::fetch::FetchError;
use kcompose_testing::archive::{self, Server, Signer, put_suite};
use kcompose_testing::needs;
use miette::Diagnostic;

use crate::world::{PACKAGES, World};

const MAIN: &[(&str, &str)] = &[("main", PACKAGES)];

fn suite<'a>(name: &'a str, fields: &'a str, components: &'a [(&'a str, &'a str)]) -> archive::Suite<'a> {
    archive::Suite {
        name,
        fields,
        components,
    }
}

/// What a person sees of a failure.
fn said(error: &FetchError) -> String {
    let help = error.help().map(|help| help.to_string()).unwrap_or_default();
    format!("{error}\nhelp: {help}")
}

/// A source whose release file has its signatures beside it.
fn detached(world: &World, signer: &Signer) -> String {
    let release = put_suite(&world.server, "/debian", &suite("probe", "", MAIN));
    let folder = "/debian/dists/probe";
    world.server.put(&format!("{folder}/Release"), release.as_bytes());
    world
        .server
        .put(&format!("{folder}/Release.gpg"), signer.detached(&release));
    release
}

#[tokio::test]
async fn a_release_file_with_its_signature_beside_it_is_read() {
    needs!(Program("gpg"));
    let world = World::unpublished("probe");
    let release = detached(&world, &world.signer);
    let resolved = world.resolve().await.unwrap();
    assert!(resolved.packages.contains_key(&"probe".parse().unwrap()));
    // Once more from what is remembered, and with the signature as bytes.
    world.resolve().await.unwrap();
    let binary = world.signer.gpg(&["--detach-sign"], release.as_bytes());
    world.server.put("/debian/dists/probe/Release.gpg", binary);
    let fresh = World::unpublished("probe");
    assert!(fresh.resolve().await.is_err(), "a source without files");
    world.resolve().await.unwrap();
}

#[tokio::test]
async fn a_signature_beside_a_release_file_is_judged_like_one_around_it() {
    needs!(Program("gpg"));
    let world = World::unpublished("probe");
    let release = detached(&world, &world.signer);
    let path = "/debian/dists/probe/Release";
    world.server.put(path, release.replace("12:00:00", "12:00:01"));
    let error = world.resolve().await.unwrap_err();
    assert!(error.to_string().contains("the text was changed"), "{error}");
    assert!(error.to_string().contains("dists/probe/Release`"), "{error}");
    detached(&world, &Signer::new("ed25519"));
    let error = world.resolve().await.unwrap_err();
    assert!(
        error.to_string().contains("none of these keys is trusted"),
        "{error}"
    );
    world.server.retain(|path| !path.ends_with("Release.gpg"));
    let error = world.resolve().await.unwrap_err();
    assert!(matches!(error.cause(), FetchError::Unsigned { .. }), "{error}");
    world.server.retain(|path| !path.ends_with("Release"));
    let error = world.resolve().await.unwrap_err();
    assert!(said(&error).contains("InRelease` answers 404"), "{error}");
}

#[tokio::test]
async fn flat_repositories_are_read() {
    needs!(Program("gpg"));
    for name in ["./", "/", "stable/x/"] {
        let world = World::unpublished(name);
        let release = put_suite(&world.server, "/debian", &suite(name, "", &[("", PACKAGES)]));
        let below = name.trim_start_matches("./").trim_start_matches('/');
        let folder = format!("/debian/{below}");
        world
            .server
            .put(&format!("{folder}InRelease"), world.signer.inline(&release));
        let resolved = world.resolve().await.unwrap();
        let probe = &resolved.packages[&"probe".parse().unwrap()];
        assert_eq!(
            (probe.path.as_str(), probe.suite.as_str()),
            ("pool/probe_1.deb", name)
        );
        let fetcher = world.fetcher(kcompose_engine::fetch::Network::Online);
        fetcher.archives(&world.flavor, &resolved).await.unwrap();
    }
}

#[tokio::test]
async fn an_index_that_is_not_there_in_one_form_is_read_in_another() {
    needs!(Program("gpg"));
    let world = World::unpublished("probe");
    let release = put_suite(&world.server, "/debian", &suite("probe", "", MAIN));
    let index = "/debian/dists/probe/main/binary-amd64/Packages";
    // Release files list forms that the server does not have: here the smallest one, then all.
    let other = |name: &str| format!("{release} {} 10 main/binary-amd64/{name}\n", "ab".repeat(32));
    let sign = |release: &str| {
        world
            .server
            .put("/debian/dists/probe/InRelease", world.signer.inline(release));
    };
    sign(&other("Packages.xz"));
    world.resolve().await.unwrap();
    let world = World::unpublished("probe");
    let release = put_suite(&world.server, "/debian", &suite("probe", "", MAIN));
    world.server.put(
        "/debian/dists/probe/InRelease",
        world.signer.inline(&format!(
            "{release} {} 10 main/binary-amd64/Packages.bz2\n",
            "ab".repeat(32)
        )),
    );
    world.server.retain(|path| path != index);
    let error = world.resolve().await.unwrap_err();
    assert!(
        said(&error).contains("is there as `Packages.bz2` only"),
        "{}",
        said(&error)
    );
}

#[tokio::test]
async fn other_checksums_and_other_times_are_named() {
    needs!(Program("gpg"));
    let cases = [
        (("SHA256:", "SHA512:"), "has no SHA256 of its files, only SHA512"),
        (
            ("12:00:00 UTC", "12:00:00 +0100"),
            "its `Date` is `Thu, 01 Jan 2026 12:00:00 +0100`",
        ),
        (
            ("Suite:", "Valid-Until: Thu, 01 Jan 2099 12:00:00 +0100\nSuite:"),
            "its `Valid-Until` is",
        ),
        (
            ("Jan 2026", "Jan 99999"),
            "no time in UTC of the years 1970 to 9999",
        ),
    ];
    for ((from, to), expected) in cases {
        let world = World::unpublished("probe");
        let release = put_suite(&world.server, "/debian", &suite("probe", "", MAIN));
        let release = release.replace(from, to);
        world
            .server
            .put("/debian/dists/probe/InRelease", world.signer.inline(&release));
        let error = world.resolve().await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let world = World::new();
    let index = "/debian/dists/probe/main/binary-amd64/Packages";
    let text = String::from_utf8(world.server.file(index).unwrap()).unwrap();
    let error = kcompose_core::packages::deb::index::compact(text.replace("SHA256:", "SHA512:").as_bytes());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("has no SHA256, only SHA512")
    );
}

#[tokio::test]
async fn weak_keys_are_refused_with_the_true_reason() {
    needs!(Program("gpg"));
    let mut world = World::unpublished("probe");
    world.signer = Signer::new("rsa1024");
    let key = Spanned::unplaced(world.signer.armored());
    world.flavor.distro.value.sources[0].keys = vec![key];
    world.publish("", MAIN);
    let error = world.resolve().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the key is RSA with 1024 bits, which is too weak"),
        "{error}"
    );
    world.signer = Signer::new("rsa2048");
    world.flavor.distro.value.sources[0].keys = vec![Spanned::unplaced(world.signer.armored())];
    world.publish("", MAIN);
    world.resolve().await.unwrap();
}

/// A third-party repository `extra` beside the distro, named in a flavor.
fn third_party(world: &mut World, url: &str) -> SourceMap {
    let mut sources = SourceMap::new();
    let text = format!("base \"debian\"\nrepository \"extra\" url=\"{url}\"\n");
    let file = sources.add("flavor.kdl", text.as_str()).clone();
    let at = text.find(url).unwrap();
    world.flavor.repositories = vec![Spanned::unplaced(Repository {
        name: Spanned::unplaced("extra".to_owned()),
        url: Some(Spanned::new(url.parse().unwrap(), file.span(at, url.len()))),
        suites: vec![Suite {
            name: "stable".to_owned(),
            components: vec!["main".to_owned()],
            security: false,
        }],
        keys: vec![Spanned::unplaced(world.signer.armored())],
        ..Repository::default()
    })];
    sources
}

#[tokio::test]
async fn a_failing_repository_is_named_at_its_line() {
    needs!(Program("gpg"));
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let empty = Server::start();
    for (url, expected) in [
        (format!("http://{dead}/apt"), "cannot be fetched"),
        (empty.url("/apt"), "answers 404 Not Found"),
    ] {
        let mut world = World::new();
        let sources = third_party(&mut world, &url);
        let error = world.resolve().await.unwrap_err();
        let text = said(&error);
        assert!(
            text.contains(expected) && text.contains("repository `extra`"),
            "{text}"
        );
        assert!(!text.contains("KCOMPOSE_MIRROR"), "{text}");
        let label = error.labels().unwrap().next().unwrap();
        let span = kcompose_core::source::Span::new(
            u32::try_from(label.offset()).unwrap(),
            u32::try_from(label.len()).unwrap(),
        );
        assert_eq!(sources.text(span), Some(url.as_str()));
    }
}

#[tokio::test]
async fn what_is_larger_than_it_may_be_is_given_up() {
    needs!(Program("gpg"));
    let world = World::unpublished("probe");
    world
        .server
        .put("/debian/dists/probe/InRelease", vec![b'x'; (32 << 20) + 1]);
    let error = world.resolve().await.unwrap_err();
    assert!(
        matches!(error.cause(), FetchError::TooLarge { limit, .. } if *limit == 32 << 20),
        "{error}"
    );
    let world = World::unpublished("probe");
    let release = put_suite(&world.server, "/debian", &suite("probe", "", &[]));
    let huge = format!(
        "{release} {} 2000000000 main/binary-amd64/Packages\n",
        "ab".repeat(32)
    );
    world
        .server
        .put("/debian/dists/probe/InRelease", world.signer.inline(&huge));
    let error = world.resolve().await.unwrap_err();
    assert!(
        matches!(error.cause(), FetchError::TooLarge { limit, .. } if *limit == 1 << 30),
        "{error}"
    );
}
