//! Trixie as the mirror has it now: resolved, locked, and resolved again from the store alone.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::time::Instant;

use kcompose_core::resolve::Recommends;
use kcompose_core::resolve::lock::{self, Lock};
use kcompose_engine::fetch::{FetchError, Network};
use kcompose_testing::needs;

#[tokio::test]
async fn a_lock_is_made_read_back_and_made_again_without_the_network() {
    needs!(Mirror);
    let folder = tempfile::tempdir().unwrap();
    let flavor = common::trixie(&["openssh-server", "jq"]);
    let start = Instant::now();
    let mut online = common::fetcher(folder.path(), Network::Online);
    let resolved = common::resolved(&flavor, &mut online, Recommends::Off)
        .await
        .unwrap();
    eprintln!(
        "resolved {} packages with an empty store in {:?}",
        resolved.packages.len(),
        start.elapsed()
    );
    assert!(resolved.packages.contains_key(&"openssh-server".parse().unwrap()));
    assert!(
        resolved.packages.contains_key(&"dpkg".parse().unwrap()),
        "Essential packages are always there"
    );

    let start = Instant::now();
    let mut offline = common::fetcher(folder.path(), Network::Offline);
    assert_eq!(
        common::resolved(&flavor, &mut offline, Recommends::Off)
            .await
            .unwrap(),
        resolved
    );
    eprintln!("resolved again from the store in {:?}", start.elapsed());

    let made = Lock::new(&flavor, resolved.clone());
    let read = lock::parse("flavor.lock", &lock::render(&made)).unwrap();
    assert_eq!(read, made);
    assert_eq!(common::text(&read.fits(&flavor)), "");
    let more = common::trixie(&["openssh-server", "tree"]);
    assert_eq!(
        common::text(&read.fits(&more)),
        "package `tree` is asked for and not locked\npackage `jq` is locked and no longer asked for\n"
    );

    // A lock that fits needs no index; one that does not keeps what it can.
    let mut nowhere = common::fetcher(&folder.path().join("empty"), Network::Offline);
    nowhere.facts.lock = Some(read.clone());
    assert_eq!(
        common::resolved(&flavor, &mut nowhere, Recommends::Off)
            .await
            .unwrap(),
        resolved
    );
    let failure = common::resolved(&more, &mut nowhere, Recommends::Off)
        .await
        .unwrap_err();
    assert!(matches!(failure.cause(), FetchError::Offline { .. }), "{failure}");
}
