//! Locks that were changed by hand, and signed indexes.

use kcompose_core::resolve::lock::{Lock, render};
use kcompose_core::source::{SourceMap, Span};
use kcompose_engine::fetch::Network;
use kcompose_engine::store::Shelf;

use crate::world::{PACKAGES, World};

/// The report of comparing a lock with signed indexes, with the network or without.
async fn proof(world: &World, lock: &Lock, network: Network) -> String {
    let evidence = world
        .fetcher(network)
        .evidence(&world.flavor, lock)
        .await
        .unwrap();
    let mut sources = SourceMap::new();
    let text = sources.add("flavor.lock", render(lock)).clone();
    let problems = lock.prove(&evidence, &text);
    let lines = problems.iter().map(|problem| {
        let span = problem.labels().and_then(|mut labels| labels.next());
        let span = span.map(|label| Span::new(label.offset() as u32, label.len() as u32));
        let place = span.and_then(|span| sources.place(span));
        format!(
            "{}\n{}\n{problem}\n{}\n",
            problem.code().unwrap(),
            place.map(|place| place.to_string()).unwrap_or_default(),
            problem.help().unwrap()
        )
    });
    lines.collect()
}

async fn locked(world: &World) -> Lock {
    Lock::new(&world.flavor, world.resolve().await.unwrap())
}

/// A lock that an attacker changed: another archive is in the place of `probe`.
fn replaced(lock: &Lock) -> Lock {
    let mut lock = lock.clone();
    let package = lock.resolved.packages.get_mut(&"probe".parse().unwrap()).unwrap();
    package.sha256 = "ab".repeat(32);
    package.size = 4321;
    package.path = "pool/evil.deb".to_owned();
    lock
}

#[tokio::test]
async fn a_lock_that_was_not_changed_is_proved_without_a_network() {
    let world = World::new();
    let lock = locked(&world).await;
    assert_eq!(proof(&world, &lock, Network::Offline).await, "");
    assert_eq!(proof(&world, &lock, Network::Online).await, "");
    // Newer indexes are no reason to doubt it.
    world.publish("", &[("main", &PACKAGES.replace("probe 1", "probe 2"))]);
    world.resolve().await.unwrap();
    assert_eq!(proof(&world, &lock, Network::Offline).await, "");
    assert_eq!(proof(&world, &lock, Network::Online).await, "");
}

#[tokio::test]
async fn an_archive_that_no_index_has_is_reported_with_its_line() {
    let world = World::new();
    let lock = locked(&world).await;
    let line = render(&replaced(&lock))
        .lines()
        .position(|line| line.starts_with("package \"probe\""))
        .unwrap();
    for network in [Network::Offline, Network::Online] {
        let text = proof(&world, &replaced(&lock), network).await;
        let sha256 = "ab".repeat(32);
        assert!(text.starts_with("kcompose::lock::not-in-index\n"), "{text}");
        assert!(text.contains(&format!("flavor.lock:{}:1", line + 1)), "{text}");
        let message = format!("`probe` 1 with the sha256 {sha256} is in no signed index of `debian probe`");
        assert!(text.contains(&message), "{text}");
        let other = &lock.resolved.packages[&"probe".parse().unwrap()].sha256;
        assert!(
            text.contains(&format!("the index has this version with the sha256 {other}")),
            "{text}"
        );
    }
    // The same for each of the fields alone, and for a source that the flavor has not.
    let mut changed = [
        lock.clone(),
        lock.clone(),
        lock.clone(),
        lock.clone(),
        lock.clone(),
    ];
    let packages = changed.each_mut();
    let packages = packages.map(|lock| lock.resolved.packages.get_mut(&"probe".parse().unwrap()).unwrap());
    let [version, path, size, source, suite] = packages;
    version.version = "2".to_owned();
    path.path = "pool/evil.deb".to_owned();
    size.size += 1;
    source.source = "evil".to_owned();
    suite.suite = "evil".to_owned();
    for lock in &changed {
        let text = proof(&world, lock, Network::Offline).await;
        assert!(text.starts_with("kcompose::lock::not-in-index\n"), "{text}");
    }
}

#[tokio::test]
async fn a_lock_whose_index_is_made_up_is_compared_with_the_present_one() {
    let world = World::new();
    let lock = locked(&world).await;
    let mut changed = replaced(&lock);
    changed.resolved.indexes[0].inrelease_sha256 = "cd".repeat(32);
    let text = proof(&world, &changed, Network::Online).await;
    assert!(text.starts_with("kcompose::lock::not-in-index\n"), "{text}");
    changed.resolved.indexes.clear();
    let text = proof(&world, &changed, Network::Online).await;
    assert!(text.starts_with("kcompose::lock::not-in-index\n"), "{text}");
}

#[tokio::test]
async fn without_the_indexes_of_a_lock_nothing_is_proved() {
    let world = World::new();
    let lock = locked(&world).await;
    world.publish("", &[("main", &PACKAGES.replace("probe 1", "probe 2"))]);
    for shelf in [Shelf::Releases, Shelf::Indexes] {
        world.store().clear(shelf).unwrap();
    }
    let text = proof(&world, &lock, Network::Offline).await;
    assert!(text.starts_with("kcompose::lock::index-missing\n"), "{text}");
    assert!(
        text.contains("no index of `debian probe` is in the store: 3 packages"),
        "{text}"
    );
    let text = proof(&world, &lock, Network::Online).await;
    assert!(text.starts_with("kcompose::lock::not-proved\n"), "{text}");
    assert!(text.contains("`probe` 1 with the sha256"), "{text}");
    assert_eq!(text.matches("kcompose::lock").count(), 1, "{text}");
}
