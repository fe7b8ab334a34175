//! Mirrors that fail, lie or break off.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use kcompose_core::resolve::{Recommends, Resolved};
use kcompose_engine::Fault;
use kcompose_engine::fetch::{FetchError, Fetcher, Network, Options, Progress};
use kcompose_testing::needs;

use crate::common;
use crate::world::{World, flavor, options};

#[tokio::test]
async fn archives_are_kept_with_their_facts_and_fetched_once() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolve().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    let options = Options {
        progress: Arc::new(move |progress: Progress| {
            heard.lock().unwrap().push((progress.done, progress.total));
        }),
        ..options(world.store(), Network::Online)
    };
    let fetcher = Fetcher::new(options);
    let fetched = fetcher.archives(&world.flavor, &resolved).await.unwrap();
    let total: u64 = resolved.packages.values().map(|package| package.size).sum();
    assert_eq!((fetched.archives, fetched.bytes), (3, total));
    assert_eq!(
        seen.lock().unwrap().iter().map(|(done, _)| *done).max(),
        Some(total)
    );
    assert_eq!(
        fetcher.archives(&world.flavor, &resolved).await.unwrap().archives,
        0
    );
    let contents = world.fetcher(Network::Offline).contents(&resolved).unwrap();
    assert!(contents.unknown.is_empty());
    let facts = &contents.packages[&"probe".parse().unwrap()];
    assert_eq!(
        facts.paths().map(|fact| fact.path).collect::<Vec<_>>(),
        ["/usr/share/probe"]
    );
    world
        .fetcher(Network::Offline)
        .archives(&world.flavor, &resolved)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_breaks_off_is_resumed() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolve().await.unwrap();
    world.server.forget_requests();
    world.server.break_next(1);
    world
        .fetcher(Network::Online)
        .archives(&world.flavor, &resolved)
        .await
        .unwrap();
    let log = world.server.requests();
    assert_eq!(
        log.iter().filter(|request| request.from > Some(0)).count(),
        1,
        "{log:?}"
    );
    assert_eq!(world.store().verify().unwrap(), []);
}

async fn failure(world: &World, resolved: &Resolved) -> FetchError {
    let error = world
        .fetcher(Network::Online)
        .archives(&world.flavor, resolved)
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::World);
    error
}

#[tokio::test]
async fn a_wrong_archive_is_refused_and_nothing_of_it_is_kept() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolve().await.unwrap();
    let mut wrong = world.server.file("/debian/pool/probe_1.deb").unwrap();
    *wrong.last_mut().unwrap() ^= 1;
    world.server.put("/debian/pool/probe_1.deb", wrong.clone());
    let error = failure(&world, &resolved).await;
    assert!(
        matches!(error.cause(), FetchError::Checksum { url, .. } if url.file_name() == "probe_1.deb"),
        "{error}"
    );
    wrong.push(0);
    world.server.put("/debian/pool/probe_1.deb", wrong);
    let error = failure(&world, &resolved).await;
    assert!(matches!(error.cause(), FetchError::TooLarge { .. }), "{error}");
    assert!(
        !world
            .store()
            .has_blob(&resolved.packages[&"probe".parse().unwrap()].sha256)
    );
}

#[tokio::test]
async fn packages_that_left_the_pool_are_all_named() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolve().await.unwrap();
    world
        .server
        .retain(|path| !path.ends_with("probe_1.deb") && !path.ends_with("6-amd64_1.deb"));
    let FetchError::Gone { packages } = failure(&world, &resolved).await else {
        panic!("they are gone")
    };
    let names: Vec<&str> = packages.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["linux-image-6-amd64", "probe"]);
    assert!(world.store().blobs().unwrap().len() <= 1);
}

#[tokio::test]
async fn a_changed_index_and_a_mirror_that_goes_back_are_refused() {
    needs!(Program("gpg"));
    let world = World::new();
    let index = "/debian/dists/probe/main/binary-amd64/Packages";
    let good = world.server.file(index).unwrap();
    world
        .server
        .put(index, [&good[..good.len() - 2], b"x\n"].concat());
    let outcome = world.resolve().await;
    let error = outcome.unwrap_err();
    assert!(matches!(error.cause(), FetchError::Checksum { .. }), "{error}");
    world.server.put(index, good);
    world.resolve().await.unwrap();
    let release = "/debian/dists/probe/InRelease";
    let text = String::from_utf8(world.server.file(release).unwrap()).unwrap();
    let text = text.split("\n\n").nth(1).unwrap();
    let text = text.split("-----BEGIN").next().unwrap();
    let older = text.replace("2026 12:00", "2026 11:00");
    world.server.put(release, world.signer.inline(&older));
    let error = world.resolve().await.unwrap_err();
    assert!(matches!(error.cause(), FetchError::Release { .. }), "{error}");
    assert!(error.to_string().contains("went back in time"), "{error}");
}

#[tokio::test]
async fn a_dead_mirror_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let mut fetcher = common::fetcher(folder.path(), Network::Online);
    let flavor = flavor(
        &format!("http://{address}/debian"),
        common::TRIXIE_KEYS[0],
        "probe",
    );
    let error = common::resolved(&flavor, &mut fetcher, Recommends::Off)
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::World);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn keys_that_are_none_are_the_flavors_fault() {
    let folder = tempfile::tempdir().unwrap();
    let mut fetcher = common::fetcher(folder.path(), Network::Online);
    let error = common::resolved(
        &flavor("http://127.0.0.1:9/debian", "no key", "probe"),
        &mut fetcher,
        Recommends::Off,
    )
    .await;
    assert_eq!(error.unwrap_err().fault(), Fault::Flavor);
}
