//! Files that a flavor downloads: fetched once, and refused when the server has another file.

use std::collections::BTreeSet;

use kcompose_core::model::{Architecture, Download, FileBody, FileNode, Sha256};
use kcompose_core::resolve::{DownloadNeed, LockedDownload, Need, Resolved};
use kcompose_core::source::{Span, Spanned};
use kcompose_engine::Fault;
use kcompose_engine::digest::sha256_of;
use kcompose_engine::fetch::{FetchError, Network};
use kcompose_testing::needs;
use miette::Diagnostic;

use crate::world::World;

const PATH: &str = "/releases/tool";

fn sha256(content: &[u8]) -> Sha256 {
    sha256_of(content).unwrap().parse().unwrap()
}

/// A world whose flavor downloads a file with this content, at a place that reports show.
fn downloading(content: &[u8]) -> (World, Resolved) {
    let mut world = World::unpublished("probe");
    let url = world.server.url(PATH).parse().unwrap();
    let body = FileBody::Download(Download {
        url: Spanned::new(url, Span::new(7, 3)),
        sha256: Some(Spanned::unplaced(sha256(content))),
        unpack: None,
        strip: None,
    });
    world.flavor.files.push(Spanned::unplaced(FileNode {
        path: Spanned::unplaced("/usr/bin/tool".parse().unwrap()),
        mode: None,
        user: None,
        group: None,
        body,
    }));
    let locked = LockedDownload {
        url: world.server.url(PATH).parse().unwrap(),
        sha256: sha256(content),
        size: content.len() as u64,
    };
    let resolved = Resolved {
        downloads: vec![locked],
        ..Resolved::empty(Architecture::Amd64)
    };
    (world, resolved)
}

/// The code, the help and the place of the error that a fetch ends with.
async fn failure(world: &World, resolved: &Resolved, network: Network) -> (FetchError, String, String) {
    let fetcher = world.fetcher(network);
    let error = fetcher.downloads(&world.flavor, resolved).await.unwrap_err();
    let label = error.labels().unwrap().next().unwrap();
    assert_eq!((label.offset(), label.label()), (7, Some("this download")));
    let (code, help) = (
        error.code().unwrap().to_string(),
        error.help().unwrap().to_string(),
    );
    (error, code, help)
}

#[tokio::test]
async fn a_download_is_fetched_once() {
    needs!(Program("gpg"));
    let (world, resolved) = downloading(b"tool");
    world.server.put(PATH, "tool");
    for network in [Network::Online, Network::Online, Network::Offline] {
        let fetcher = world.fetcher(network);
        fetcher.downloads(&world.flavor, &resolved).await.unwrap();
    }
    assert_eq!(world.server.requests().len(), 1);
    let kept = world.store().blob(sha256(b"tool").as_str()).unwrap();
    assert_eq!(kept.as_deref(), Some(&b"tool"[..]));
}

#[tokio::test]
async fn another_file_behind_the_url_is_refused_and_not_kept() {
    needs!(Program("gpg"));
    let (world, resolved) = downloading(b"tool");
    world.server.put(PATH, "evil");
    let (error, code, help) = failure(&world, &resolved, Network::Online).await;
    assert_eq!(code, "kcompose::fetch::download-moved");
    assert_eq!(error.fault(), Fault::Flavor);
    assert!(
        help.contains(&format!("sha256=\"{}\"", sha256(b"evil"))),
        "{help}"
    );
    assert_eq!(world.store().blobs().unwrap(), []);
    // The file that a flavor names anew is a question of the resolver, whose answer has the true checksum.
    let need = Need::Download(DownloadNeed {
        url: Spanned::unplaced(world.server.url(PATH).parse().unwrap()),
        sha256: sha256(b"tool"),
    });
    let mut fetcher = world.fetcher(Network::Online);
    fetcher.answer(&BTreeSet::from([need])).await.unwrap();
    let found: Vec<&Sha256> = fetcher
        .facts
        .downloads
        .values()
        .map(|found| &found.sha256)
        .collect();
    assert_eq!(found, [&sha256(b"evil")]);
}

#[tokio::test]
async fn a_larger_file_and_a_missing_one_have_advice_of_their_own() {
    needs!(Program("gpg"));
    let (world, resolved) = downloading(b"tool");
    world.server.put(PATH, "a larger tool");
    let (_, code, help) = failure(&world, &resolved, Network::Online).await;
    assert_eq!(code, "kcompose::fetch::too-large");
    assert!(help.starts_with("the file behind the URL changed"), "{help}");
    let (error, code, help) = failure(&world, &resolved, Network::Offline).await;
    assert_eq!(code, "kcompose::fetch::offline");
    assert!(error.to_string().contains(&world.server.url(PATH)), "{error}");
    assert!(help.contains("kcompose lock"), "{help}");
}
